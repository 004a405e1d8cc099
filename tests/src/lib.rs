//! What the whole-program tests and the tools share.
