//! The errors of a configuration.

use std::io;
use std::path::PathBuf;

/// The errors of a configuration. Each message contains the place of the fault and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A value in the file is wrong.
    #[error("{path}, line {line}: {text}", path = path.display())]
    At {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The fault and the remedy.
        text: String,
    },
    /// A value is wrong that is not on one line of the file, such as a flag.
    #[error("{0}")]
    Value(String),
    /// No flag, environment variable or home directory determines the state directory.
    #[error("cannot determine the state directory: set HOME, or name one with --state-dir")]
    NoStateDir,
}
