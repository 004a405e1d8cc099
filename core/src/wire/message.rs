//! Bytes of the message layer.
