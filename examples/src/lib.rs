//! The examples are the binaries beside this file.
