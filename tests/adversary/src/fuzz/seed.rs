//! An input with which a fuzzer begins.

/// An input with which a fuzzer begins.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The target it is for.
    pub target: &'static str,
    /// The exchange that it contains: part of a file's name.
    pub name: String,
    /// The script.
    pub bytes: Vec<u8>,
}

impl Seed {
    pub(crate) fn new(target: &'static str, name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Seed { target, name: name.into(), bytes }
    }
}
