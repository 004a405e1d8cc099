//! Bytes of the link layer.
