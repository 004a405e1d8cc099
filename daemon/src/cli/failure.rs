//! The errors of commands, with their exit codes, messages and hints.

use std::io::{self, Write};

use async_signal::Signal;
use rouse_core::ipc::{AdminError, ClientError, ConnectError, Denial};
use rouse_core::{Address, AddressError, PingError, RequestError, SendError};

use super::json;
use super::terminal::for_stderr;

/// The failure of a command: the exit code, a stable code for programs, the message, and a hint with the next step.
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
const SIGNALLED: u8 = 128;
const INTERRUPTED: u8 = 130;

impl CommandFailure {
    fn new(exit: u8, code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        CommandFailure { exit, code, message: message.into(), hint: hint.into() }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        self.exit
    }

    pub(super) fn usage(error: &clap::Error) -> Self {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Self::new(USAGE, "usage", message, "`rouse help` lists the commands and options")
    }

    /// An error of usage that clap does not report.
    pub(super) fn wrong(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(USAGE, "usage", message, hint)
    }

    pub(super) fn bad_address(text: &str, error: &AddressError) -> Self {
        Self::new(
            USAGE,
            "bad_address",
            format!("{text}: {error}"),
            "copy it again from the output of `rouse id` on that node",
        )
    }

    pub(super) fn short_address(text: &str) -> Self {
        let message = format!("{text} is not an address, and too short for a shortened one");
        Self::new(
            USAGE,
            "bad_address",
            message,
            "write it as `rouse1abcd…wxyz` or `rouse1abcd...wxyz`, or in full",
        )
    }

    pub(super) fn unknown_short_address(text: &str) -> Self {
        let message = format!("no address that this node knows is {text}");
        Self::new(USAGE, "unknown_address", message, "`rouse --json routes` shows addresses in full")
    }

    pub(super) fn ambiguous_address(text: &str, found: &[&Address]) -> Self {
        let all: Vec<String> = found.iter().map(ToString::to_string).collect();
        let message = format!("{text} stands for several addresses: {}", all.join(", "));
        Self::new(USAGE, "ambiguous_address", message, "write the address in full")
    }

    pub(super) fn unknown_name(name: &str, near: Option<&str>) -> Self {
        let hint = match near {
            Some(near) => format!("did you mean `{near}`? `rouse name list` shows all names"),
            None => "add it with `rouse name add NAME ADDR`; `rouse name list` shows all names".to_owned(),
        };
        Self::new(USAGE, "unknown_name", format!("there is no name `{name}`"), hint)
    }

    /// The same where only an address of this node is of use, so that to add a name would not help.
    pub(super) fn unknown_identity(name: &str) -> Self {
        let message = format!("no identity of this node has the label or the name `{name}`");
        Self::new(USAGE, "unknown_name", message, "`rouse id list` shows the identities and their labels")
    }

    /// The error that a file named by the user cannot be read.
    pub(super) fn file(path: &str, error: &io::Error) -> Self {
        Self::new(USAGE, "file", format!("{path}: {error}"), "")
    }

    pub(super) fn timed_out(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(TIMED_OUT, "timed_out", message, hint)
    }

    /// The failure of a command that was executed and has a negative result.
    pub(super) fn no(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(NO, code, message, hint)
    }

    /// The end by a signal: the exit code is that of a shell whose command a signal has ended.
    pub(super) fn interrupted(signal: Signal) -> Self {
        let exit = u8::try_from(signal as i32).map_or(INTERRUPTED, |number| SIGNALLED.saturating_add(number));
        Self::new(exit, "interrupted", "", "")
    }

    pub(super) fn has_timed_out(&self) -> bool {
        self.exit == TIMED_OUT
    }

    /// Whether the daemon has ended, or the connection to it.
    pub(super) fn has_lost_daemon(&self) -> bool {
        matches!(self.code, "stopped" | "disconnected")
    }

    /// The failure of writing to standard output. A pipe that its reader has closed counts as success, because the
    /// reader needs no more.
    pub(super) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(0, "broken_pipe", "", ""),
            _ => Self::new(NO, "output", format!("cannot write to standard output: {error}"), ""),
        }
    }

    /// The failure of a command that has printed it already.
    pub(super) fn silent(self) -> Self {
        CommandFailure { message: String::new(), ..self }
    }

    /// The same failure in other words.
    pub(super) fn with_message(self, message: String) -> Self {
        CommandFailure { message, ..self }
    }

    /// The stable code for programs.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// The message, without the hint.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The next step; empty when there is none.
    pub(crate) fn hint(&self) -> &str {
        &self.hint
    }

    /// Prints the failure on standard error.
    pub(super) fn report(&self, json: bool) {
        if self.message.is_empty() {
            return;
        }
        let mut text = String::new();
        if json {
            let hint = Some(&self.hint).filter(|hint| !hint.is_empty());
            let error = serde_json::json!({ "code": self.code, "message": self.message, "hint": hint });
            let document = json::document(&serde_json::json!({ "error": error })).unwrap_or_default();
            text.push_str(&String::from_utf8_lossy(&document));
        } else {
            text.push_str(&for_stderr(&format!("rouse: {}", self.message)));
            if !self.hint.is_empty() {
                text.push_str(&format!("\n{}", for_stderr(&format!("       {}", self.hint))));
            }
        }
        // There is no other place to report that standard error is closed.
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
            ConnectError::Permission(_) => {
                (NO, "permission", "`ls -l` shows its owner and group; connect as one of them")
            }
            ConnectError::Version { .. } => (
                NO,
                "version",
                "compare `rouse --version` and `roused --version`, and restart the older one after an update",
            ),
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
            ClientError::Send(SendError::JournalFull { .. }) => {
                (NO, "journal_full", "`rouse outbox` lists the messages that wait")
            }
            ClientError::Send(SendError::NotStored(_)) => (
                NO,
                "not_stored",
                "`rouse status` shows the state of the journal; `--volatile` sends without it",
            ),
            ClientError::Send(SendError::Cancelled(_)) => (NO, "cancelled", ""),
            ClientError::Send(SendError::Expired(_)) => (NO, "expired", "send it again with a longer --ttl"),
            ClientError::Send(SendError::Unknown(_)) => {
                (NO, "unknown", "ask the recipient before you send it again, or use a longer --ttl")
            }
            ClientError::Send(_) => (NO, "not_sent", ""),
            ClientError::Request(RequestError::TimedOut(_)) => {
                (TIMED_OUT, "timed_out", "`rouse probe` finds the first stage on the way that fails")
            }
            ClientError::Request(RequestError::NoSuchService { .. }) => {
                (NO, "no_such_service", "serve it there with `rouse serve SERVICE -- CMD`")
            }
            ClientError::Request(RequestError::Failed { .. }) => (NO, "service_failed", ""),
            ClientError::Request(_) => (NO, "not_sent", ""),
            ClientError::Ping(PingError::NoRoute(_)) => {
                (NO, "no_route", "`rouse routes` lists the addresses that can be reached")
            }
            ClientError::Ping(_) => (NO, "no_reply", ""),
            ClientError::NoSuchAddress(_) => (USAGE, "no_such_address", ""),
            ClientError::Stopped => (NO_DAEMON, "stopped", "start it again with `roused`"),
            ClientError::Disconnected(_) => (
                NO_DAEMON,
                "disconnected",
                "see the log of roused, and start it again with `roused` if it does not run",
            ),
            _ => (NO, "failed", ""),
        };
        CommandFailure::new(exit, code, error.to_string(), hint)
    }
}
