//! In-memory medium.
