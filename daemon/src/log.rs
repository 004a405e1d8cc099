//! The daemon's log on standard error. It is written through a [`LineQueue`], so that no task of the daemon waits for
//! the reader.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic;

use clap::ValueEnum;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::line_queue::LineQueue;
use crate::text;

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text; in colour on a terminal, without times under systemd
    #[default]
    Auto,
    /// Text, always with times
    Text,
    /// One JSON document per line
    Json,
}

/// The log of a running daemon: its level can be changed, and its dropped lines are counted. A clone is a cheap handle.
#[derive(Clone, Debug)]
pub struct DaemonLog {
    filter: reload::Handle<EnvFilter, Registry>,
    lines: LineQueue,
}

/// Checks that `level` is a valid log level or list of levels.
///
/// # Errors
/// The reason, and how a level is written.
pub fn check(level: &str) -> Result<(), String> {
    filter(level).map(drop)
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    let hint = "write error, warn, info, debug, trace, or a list such as info,rouse_core=debug";
    // `EnvFilter` would take a mistyped level for the name of a module and log nothing.
    let known = ["error", "warn", "info", "debug", "trace", "off"];
    let bare = level.split(',').map(str::trim).filter(|part| !part.contains(['=', '[']));
    for part in bare {
        if !known.iter().any(|name| name.eq_ignore_ascii_case(part)) {
            return Err(format!("`{part}` is no log level; {hint}"));
        }
    }
    EnvFilter::try_new(level).map_err(|error| format!("{error}; {hint}"))
}

/// Logs the number of lines that are missing at this place of the log.
pub(crate) fn report_missing(lines: u64) {
    let missing = if lines == 1 { "1 log line was".to_owned() } else { format!("{lines} log lines were") };
    tracing::warn!("{missing} dropped here: standard error was not read");
}

/// Starts logging to `lines`.
///
/// # Errors
/// When the level is invalid, or logging was started before.
pub fn start(level: &str, format: LogFormat, lines: &LineQueue) -> Result<DaemonLog, String> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let colour =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let out = lines.clone();
    let writer = move || out.clone();
    // The formatter would print its internal errors to standard error directly, which can block.
    let text = fmt::layer()
        .fmt_fields(fields())
        .with_writer(writer.clone())
        .with_ansi(colour)
        .log_internal_errors(false);
    // systemd records the time of each line itself.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal();
    let layer = match format {
        LogFormat::Auto if journal => text.without_time().boxed(),
        LogFormat::Auto | LogFormat::Text => text.boxed(),
        LogFormat::Json => fmt::layer().json().with_writer(writer).log_internal_errors(false).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(|error| error.to_string())?;
    Ok(DaemonLog { filter: handle, lines: lines.clone() })
}

/// Formats the fields of an event in one line. The formatter of the library escapes colours only, so that a value with a
/// line end, such as an error text of another node, would begin a line that looks like one of the log.
fn fields() -> impl for<'writer> fmt::FormatFields<'writer> {
    let field = |writer: &mut fmt::format::Writer<'_>, field: &Field, value: &dyn std::fmt::Debug| {
        let value = format!("{value:?}");
        let value = text::one_line(&value);
        match field.name() {
            "message" => write!(writer, "{value}"),
            name => write!(writer, "{name}={value}"),
        }
    };
    fmt::format::debug_fn(field).delimited(" ")
}

impl DaemonLog {
    /// Changes the level.
    ///
    /// # Errors
    /// When the level is invalid; the one before then stays in effect.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        self.filter.reload(filter(level)?).map_err(|error| error.to_string())
    }

    /// Writes panics to the log, because the hook of the standard library writes to standard error and may block there.
    pub fn log_panics(&self) {
        let lines = self.lines.clone();
        panic::set_hook(Box::new(move |panic| {
            let backtrace = Backtrace::capture();
            match backtrace.status() {
                BacktraceStatus::Captured => {
                    tracing::error!("{panic}");
                    for line in backtrace.to_string().lines() {
                        tracing::error!("{line}");
                    }
                }
                _ => tracing::error!("{panic}; set RUST_BACKTRACE=1 for a backtrace"),
            }
            // A panic of the main thread ends the process and with it the writing thread, so the lines are flushed
            // here.
            if std::thread::current().name() == Some("main") {
                lines.flush();
            }
        }));
    }

    /// The number of lines that were dropped because standard error was not read.
    pub fn dropped(&self) -> u64 {
        self.lines.dropped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_word_or_a_list_of_modules() {
        for good in ["info", "TRACE", "off", "info,rouse_core=debug", "rouse_core::link=trace"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "loud", "info,loud", "a=b=c", "rouse_core=loud"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_its_values_contain() {
        let (reader, writer) = io::pipe().unwrap();
        let writer = std::sync::Mutex::new(writer);
        let layer = fmt::layer().fmt_fields(fields()).with_writer(writer).with_ansi(false);
        let hostile = "reset\n2026-01-01T00:00:00Z  INFO stopped\u{1b}[2K\u{202e}";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(reason = %hostile, name = hostile, "neighbour: {hostile}");
        });
        let text = io::read_to_string(reader).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().chars().any(text::is_hazardous), "{text:?}");
        assert!(text.contains("reason=reset\\n2026"), "{text}");
    }
}
