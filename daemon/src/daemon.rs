//! The daemon from start to end: configuration, state, node, socket, signals.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use async_signal::{Signal, Signals};
use clap::Parser;
use futures::channel::mpsc;
use futures::{FutureExt, StreamExt};
use rouse_core::ipc::{Access, Admin, BindError, Server};
use rouse_core::netmod::NetmodError;
use rouse_core::node::{Node, StartError};

use crate::config::{Api, Config, ConfigError, Flags};
use crate::keeper::Keeper;
use crate::log;
use crate::state::{StateDir, StateError};

/// Why the daemon did not start, or ended badly.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Netmod(#[from] NetmodError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("log: {0}")]
    Log(String),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("signals: {0}")]
    Signals(#[source] io::Error),
}

impl Failure {
    /// 2 for what the configuration is to blame for, 1 for the rest.
    fn code(&self) -> u8 {
        match self {
            Failure::Config(_) | Failure::Netmod(_) | Failure::Start(_) | Failure::Log(_) => 2,
            Failure::State(_) | Failure::Bind(_) | Failure::Signals(_) => 1,
        }
    }
}

/// Runs the daemon until it is told to stop.
pub async fn main() -> ExitCode {
    let flags = Flags::parse();
    let result = match (flags.check, flags.print_config) {
        (false, false) => run(flags).await,
        (check, _) => inspect(&flags, check),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("roused: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

/// Says something on standard output. When nobody reads it, that is all right.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn inspect(flags: &Flags, check: bool) -> Result<(), Failure> {
    let config = Config::load(flags)?;
    let key = config.read_mesh_key()?;
    config.make_netmods(key.as_ref())?;
    for warning in config.warnings() {
        let _ = writeln!(io::stderr(), "roused: {warning}");
    }
    match check {
        true => say("the configuration is good\n"),
        false => say(&config.to_toml()),
    }
    Ok(())
}

async fn run(flags: Flags) -> Result<(), Failure> {
    let config = Config::load(&flags)?;
    let level = log::start(&config.log_level, config.log_format).map_err(Failure::Log)?;
    // What this process makes is for its owner alone, unless it says otherwise.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let signals = Signals::new([Signal::Term, Signal::Int, Signal::Hup]).map_err(Failure::Signals)?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let state = StateDir::open(&config.state_dir)?;

    let node = start_node(&config, &state).await?;
    let access = match config.api {
        Api::StateDir => Access::Owner,
        Api::At(_) => Access::Group,
    };
    let server = match Server::bind(&config.socket(), access) {
        Ok(server) => server,
        Err(error) => {
            node.stop().await;
            return Err(error.into());
        }
    };
    let (stop, stopped) = mpsc::unbounded();
    let keeper = Arc::new(Keeper::start(node.clone(), state, flags, config, level, stop).await?);
    say(&format!("ready {} {}\n", node.address(), server.path().display()));
    tracing::info!(address = %node.address(), socket = %server.path().display(), "ready");
    notify(&[sd_notify::NotifyState::Ready]);

    serve(&server, &node, &keeper, signals, stopped).await;

    notify(&[sd_notify::NotifyState::Stopping]);
    server.drain().await;
    node.stop().await;
    server.remove_socket();
    // Whoever waits for the end sees its connection close, and may start the next daemon at once: so the directory is
    // given back before.
    keeper.release();
    server.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn start_node(config: &Config, state: &StateDir) -> Result<Node, Failure> {
    let mesh_key = config.read_mesh_key()?;
    let mut builder = Node::builder()
        .identity(state.identity()?)
        .epoch_file(state.epoch_file())
        .limits(config.limits.clone())
        .mesh_key(mesh_key.as_deref().copied());
    if let Some(name) = &config.name {
        builder = builder.name(name);
    }
    for netmod in config.make_netmods(mesh_key.as_ref())? {
        builder = builder.netmod(netmod);
    }
    for uri in &config.peers {
        builder = builder.peer(uri);
    }
    Ok(builder.start().await?)
}

/// Serves until a signal or a client says stop.
async fn serve(
    server: &Server,
    node: &Node,
    keeper: &Arc<Keeper>,
    mut signals: Signals,
    mut stopped: mpsc::UnboundedReceiver<()>,
) {
    let mut serving = std::pin::pin!(server.serve(node.clone(), keeper.clone()).fuse());
    loop {
        futures::select! {
            () = serving => return,
            _ = stopped.next() => {
                tracing::info!("a client said stop");
                return;
            }
            signal = signals.next().fuse() => match signal {
                Some(Ok(Signal::Hup)) => match keeper.reload().await {
                    Ok(notes) => tracing::info!("reloaded: {notes}"),
                    Err(error) => tracing::error!(hint = %error.hint, "not reloaded: {error}"),
                },
                Some(Ok(signal)) => {
                    tracing::info!(?signal, "stopping");
                    return;
                }
                Some(Err(error)) => tracing::warn!(%error, "a signal was lost"),
                None => return,
            },
        }
    }
}

/// Tells systemd, where it asked to be told.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
