//! Bytes of the route layer.
