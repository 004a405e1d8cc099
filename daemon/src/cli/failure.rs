//! What went wrong, as an exit code and words.

use std::io::{self, Write};

use rouse_core::ipc::{AdminError, ClientError, ConnectError, Denial};
use rouse_core::{AddressError, PingError, SendError};

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub struct CommandFailure {
    exit: u8,
    code: &'static str,
    message: String,
    hint: String,
}

const NO: u8 = 1;
const USAGE: u8 = 2;
const NO_DAEMON: u8 = 3;
const TIMED_OUT: u8 = 4;
const INTERRUPTED: u8 = 130;

impl CommandFailure {
    fn new(exit: u8, code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        CommandFailure { exit, code, message: message.into(), hint: hint.into() }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        self.exit
    }

    pub(super) fn usage(error: &clap::Error) -> Self {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Self::new(USAGE, "usage", message, "`rouse help` shows what may be typed")
    }

    /// What was typed makes no sense.
    pub(super) fn wrong(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(USAGE, "usage", message, hint)
    }

    pub(super) fn bad_address(text: &str, error: &AddressError) -> Self {
        Self::new(
            USAGE,
            "bad_address",
            format!("{text}: {error}"),
            "copy it again from `rouse id` over there",
        )
    }

    pub(super) fn unknown_name(name: &str, near: Option<&str>) -> Self {
        let hint = match near {
            Some(near) => format!("did you mean `{near}`? `rouse name list` shows all"),
            None => "`rouse name add NAME ADDR` makes one, `rouse name list` shows all".to_owned(),
        };
        Self::new(USAGE, "unknown_name", format!("there is no name `{name}`"), hint)
    }

    /// A file of the user's could not be read.
    pub(super) fn file(path: &str, error: &io::Error) -> Self {
        Self::new(USAGE, "file", format!("{path}: {error}"), "")
    }

    pub(super) fn timed_out(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(TIMED_OUT, "timed_out", message, hint)
    }

    /// It was done, and the answer is no.
    pub(super) fn no(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(NO, code, message, hint)
    }

    pub(super) fn interrupted() -> Self {
        Self::new(INTERRUPTED, "interrupted", "", "")
    }

    /// Standard output takes no more. When it was closed, whoever read it has seen enough: that is success.
    pub(super) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(0, "broken_pipe", "", ""),
            _ => Self::new(NO, "output", format!("standard output: {error}"), ""),
        }
    }

    /// Prints it on standard error.
    pub(super) fn report(&self, json: bool) {
        if self.message.is_empty() {
            return;
        }
        let mut text = String::new();
        if json {
            let hint = Some(&self.hint).filter(|hint| !hint.is_empty());
            let error = serde_json::json!({ "code": self.code, "message": self.message, "hint": hint });
            text.push_str(&serde_json::json!({ "error": error }).to_string());
        } else {
            text.push_str(&format!("rouse: {}", self.message));
            if !self.hint.is_empty() {
                text.push_str(&format!("\n       {}", self.hint));
            }
        }
        // Nobody is there to be told that standard error is closed.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

impl From<ConnectError> for CommandFailure {
    fn from(error: ConnectError) -> Self {
        let (exit, code, hint) = match &error {
            ConnectError::NoDaemon { .. } => (
                NO_DAEMON,
                "no_daemon",
                "start one with `roused`, or name its socket with --socket or --state-dir",
            ),
            ConnectError::Permission(_) => (NO, "permission", "`ls -l` shows whose it is"),
            ConnectError::Version { .. } => {
                (NO, "version", "`rouse --version` and `roused --version` show them")
            }
            ConnectError::Busy(_) => (NO, "busy", ""),
            ConnectError::NoHome => (USAGE, "no_home", ""),
            _ => (NO, "socket", ""),
        };
        let message = match &error {
            ConnectError::NoDaemon { tried } => {
                let tried: Vec<String> = tried.iter().map(|path| path.display().to_string()).collect();
                format!("no daemon answers at {}", tried.join(", "))
            }
            error => error.to_string(),
        };
        CommandFailure::new(exit, code, message, hint)
    }
}

impl From<AdminError> for CommandFailure {
    fn from(error: AdminError) -> Self {
        let (exit, code) = match error.denial {
            Denial::Invalid => (USAGE, "invalid"),
            Denial::NotFound => (USAGE, "not_found"),
            Denial::NotAllowed => (NO, "not_allowed"),
            Denial::ReadOnly => (NO, "read_only"),
            Denial::Exists => (NO, "exists"),
            Denial::Full => (NO, "limit"),
            _ => (NO, "failed"),
        };
        CommandFailure::new(exit, code, error.message, error.hint)
    }
}

impl From<ClientError> for CommandFailure {
    fn from(error: ClientError) -> Self {
        let (exit, code, hint) = match &error {
            ClientError::Refused(refusal) => return refusal.clone().into(),
            ClientError::Send(SendError::TooLong { .. }) => (NO, "too_long", ""),
            ClientError::Send(SendError::Expired(_)) => {
                (NO, "expired", "a longer --ttl gives the recipient more time")
            }
            ClientError::Send(_) => (NO, "not_sent", ""),
            ClientError::Ping(PingError::NoRoute(_)) => {
                (NO, "no_route", "`rouse routes` shows who can be reached")
            }
            ClientError::Ping(_) => (NO, "no_reply", ""),
            ClientError::NoSuchAddress(_) => (USAGE, "no_such_address", ""),
            ClientError::Stopped => (NO_DAEMON, "stopped", "start one with `roused`"),
            ClientError::Disconnected(_) => (NO_DAEMON, "disconnected", "see the log of roused"),
            _ => (NO, "failed", ""),
        };
        CommandFailure::new(exit, code, error.to_string(), hint)
    }
}
