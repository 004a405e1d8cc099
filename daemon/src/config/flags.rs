//! The command line of `roused`, and the environment variables that stand for its flags. The comments are its help
//! texts.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::FalseyValueParser;

use crate::log::LogFormat;

/// The rouse daemon: a peer message router.
///
/// It needs no configuration: it creates an identity, listens, finds its neighbours, and prints `ready ADDRESS SOCKET`
/// on standard output. SIGTERM and SIGINT stop it in order. SIGHUP, like `rouse reload`, reads names, peers, the
/// allow and deny lists and the log level again; the rest of the configuration takes effect at the next start.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "roused", version, max_term_width = 100)]
pub struct Flags {
    /// The configuration file [default: ~/.config/rouse/roused.toml, else /etc/rouse/roused.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "ROUSE_CONFIG")]
    pub config: Option<PathBuf>,
    /// The directory of the identity, the address book and the socket [default: $STATE_DIRECTORY, else
    /// $XDG_STATE_HOME/rouse, else ~/.local/state/rouse]
    #[arg(long, value_name = "DIR", env = "ROUSE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Listen on this address instead of those of the file: udp:HOST:PORT; may be repeated
    #[arg(long, value_name = "URI", env = "ROUSE_LISTEN", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// Dial this neighbour in addition to those of the file: udp:HOST:PORT; may be repeated
    #[arg(long, value_name = "URI", env = "ROUSE_PEER", value_delimiter = ',')]
    pub peer: Vec<String>,
    /// Do not search for neighbours by multicast
    #[arg(long, env = "ROUSE_NO_DISCOVER", value_parser = FalseyValueParser::new())]
    pub no_discover: bool,
    /// Keep all messages in memory, and no journal: they are accepted sooner, and those that wait are lost when the
    /// daemon ends
    #[arg(long, env = "ROUSE_VOLATILE_ONLY", value_parser = FalseyValueParser::new())]
    pub volatile_only: bool,
    /// The name of this node, shown in its own status
    #[arg(long, value_name = "NAME", env = "ROUSE_NAME")]
    pub name: Option<String>,
    /// The log level: error, warn, info, debug, trace, or a list such as info,rouse_core=debug
    #[arg(long, value_name = "LEVEL", env = "ROUSE_LOG")]
    pub log: Option<String>,
    /// The format of log lines
    #[arg(long, value_name = "FORMAT", env = "ROUSE_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
    /// Check the configuration, report the first error, and exit
    #[arg(long)]
    pub check: bool,
    /// Print the configuration in effect, in the format of the file, and exit
    #[arg(long)]
    pub print_config: bool,
}
