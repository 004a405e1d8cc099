//! The daemon's log, on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::LogFormat;

/// Changes what is logged while the daemon runs.
#[derive(Clone, Debug)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

/// Whether `level` says what to log.
///
/// # Errors
/// What is wrong with it.
pub fn check(level: &str) -> Result<(), String> {
    filter(level).map(drop)
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    let hint = "write error, warn, info, debug, trace, or a list such as info,rouse_core=debug";
    // A word that is no level would be taken for the name of a module and log nothing.
    let known = ["error", "warn", "info", "debug", "trace", "off"];
    let bare = level.split(',').map(str::trim).filter(|part| !part.contains(['=', '[']));
    for part in bare {
        if !known.iter().any(|name| name.eq_ignore_ascii_case(part)) {
            return Err(format!("`{part}` is no level; {hint}"));
        }
    }
    EnvFilter::try_new(level).map_err(|error| format!("{error}; {hint}"))
}

/// Starts logging.
///
/// # Errors
/// When the level is none, or logging was started before.
pub fn start(level: &str, format: LogFormat) -> Result<Level, String> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let colour =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let text = fmt::layer().with_writer(io::stderr).with_ansi(colour);
    // systemd writes down the time of each line itself.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal();
    let lines = match format {
        LogFormat::Auto if journal => text.without_time().boxed(),
        LogFormat::Auto | LogFormat::Text => text.boxed(),
        LogFormat::Json => fmt::layer().json().with_writer(io::stderr).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|error| error.to_string())?;
    Ok(Level(handle))
}

impl Level {
    /// Logs this from now on.
    ///
    /// # Errors
    /// When it is no level.
    pub fn set(&self, level: &str) -> Result<(), String> {
        self.0.reload(filter(level)?).map_err(|error| error.to_string())
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
}
