//! The daemon from start to end: configuration, state directory, node, socket, signals, and the order in which all of
//! them are closed.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use async_signal::{Signal, Signals};
use clap::Parser;
use futures::channel::mpsc;
use futures::future::select;
use futures::{FutureExt, StreamExt};
use rouse_core::ipc::{Access, Admin, BindError, Server};
use rouse_core::journal::{FolderDisk, JournalLimits, StoredJournal};
use rouse_core::netmod::NetmodError;
use rouse_core::node::{Node, NodeFailure, StartError};

use crate::admin::{DaemonAdmin, Settings};
use crate::api::JsonRpc;
use crate::config::{ApiSocket, Config, ConfigError, Flags};
use crate::http::HttpServer;
use crate::line_queue::LineQueue;
use crate::log;
use crate::state::{StateDir, StateError};
use crate::text;
use crate::units::counted;

/// The reasons for which the daemon does not start, or ends with an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonFailure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Netmod(#[from] NetmodError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot start the log: {0}")]
    Log(String),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(
        "the status page cannot listen at {0}: {1}; set another port in `listen` of [http], or \"\" for none"
    )]
    Http(SocketAddr, #[source] io::Error),
    #[error(
        "the journal in {path} cannot be opened: {text}; move the folder away to start with an empty one, or use --volatile-only", path = .path.display()
    )]
    Journal { path: PathBuf, text: String },
    #[error("{0}; this is a defect of roused: please report it with the log lines before")]
    Node(#[from] NodeFailure),
    #[error("cannot handle signals: {0}")]
    Signals(#[source] io::Error),
    #[error("cannot start a thread for the log: {0}; see `ulimit -u`")]
    Thread(#[source] io::Error),
}

impl DaemonFailure {
    /// The line that is printed on standard error.
    pub(crate) fn line(&self) -> String {
        format!("roused: {}\n", text::one_line(&self.to_string()))
    }

    /// The exit code: 2 for a fault of the configuration, 1 for any other.
    pub(crate) fn code(&self) -> u8 {
        match self {
            DaemonFailure::Config(_)
            | DaemonFailure::Netmod(_)
            | DaemonFailure::Start(_)
            | DaemonFailure::Log(_) => 2,
            DaemonFailure::State(_)
            | DaemonFailure::Journal { .. }
            | DaemonFailure::Bind(_)
            | DaemonFailure::Http(..)
            | DaemonFailure::Node(_)
            | DaemonFailure::Signals(_)
            | DaemonFailure::Thread(_) => 1,
        }
    }
}

/// Runs the daemon until a signal or a client stops it.
pub async fn main() -> ExitCode {
    let flags = Flags::parse();
    let result = match (flags.check, flags.print_config) {
        (false, false) => match StandardStreams::start() {
            Ok(output) => return output.finish(run(flags, &output).await),
            Err(failure) => Err(failure),
        },
        (check, _) => inspect(&flags, check),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // There is no other place to report that standard error is closed.
            let _ = io::stderr().write_all(failure.line().as_bytes());
            ExitCode::from(failure.code())
        }
    }
}

/// Standard output and standard error of a running daemon. A reader that does not read them cannot block the daemon.
struct StandardStreams {
    stdout: LineQueue,
    stderr: LineQueue,
}

impl StandardStreams {
    fn start() -> Result<Self, DaemonFailure> {
        let stdout = LineQueue::to(io::stdout(), drop).map_err(DaemonFailure::Thread)?;
        let stderr = LineQueue::to(io::stderr(), log::report_missing).map_err(DaemonFailure::Thread)?;
        Ok(StandardStreams { stdout, stderr })
    }

    /// Writes the reason of a failure after all log lines, and returns the exit code.
    fn finish(&self, result: Result<(), DaemonFailure>) -> ExitCode {
        // Flushing first makes room for the reason.
        self.stderr.flush();
        let code = match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                self.stderr.push(failure.line().as_bytes());
                self.stderr.flush();
                ExitCode::from(failure.code())
            }
        };
        self.stdout.flush();
        code
    }
}

/// Writes to standard output. An error is ignored, since a reader that has closed it needs nothing more.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn inspect(flags: &Flags, check: bool) -> Result<(), DaemonFailure> {
    let config = Config::load(flags)?;
    let key = config.read_mesh_key()?;
    config.make_netmods(key.as_ref())?;
    for warning in config.warnings() {
        let _ = writeln!(io::stderr(), "roused: {warning}");
    }
    match check {
        true => print("the configuration is good\n"),
        false => print(&config.to_toml()),
    }
    Ok(())
}

async fn run(flags: Flags, output: &StandardStreams) -> Result<(), DaemonFailure> {
    let config = Config::load(&flags)?;
    let log = log::start(&config.log_level, config.log_format, &output.stderr).map_err(DaemonFailure::Log)?;
    log.log_panics();
    // Files of this process are readable by its owner alone, unless a mode is given explicitly.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let signals = Signals::new([Signal::Term, Signal::Int, Signal::Hup]).map_err(DaemonFailure::Signals)?;
    announce(&config);
    let state = StateDir::open(&config.state_dir)?;

    let node = start_node(&config, &state).await?;
    let (server, http) = match listen(&config) {
        Ok(servers) => servers,
        Err(failure) => {
            node.stop().await;
            return Err(failure);
        }
    };
    let (stop, stopped) = mpsc::unbounded();
    let admin =
        Arc::new(DaemonAdmin::start(node.clone(), state, Settings { flags, config }, log, stop).await?);
    output.stdout.push(format!("ready {} {}\n", node.address(), server.path().display()).as_bytes());
    tracing::info!(address = %node.address(), socket = %server.path().display(), "ready");
    notify(&[sd_notify::NotifyState::Ready]);

    let serving = async {
        let page = async {
            match &http {
                Some(http) => http.serve(&node, &admin).await,
                None => std::future::pending().await,
            }
        };
        // The socket decides about the end; the page never ends by itself.
        select(pin!(server.serve(node.clone(), admin.clone())), pin!(page)).await;
    };
    let result = serve(serving, node.failed(), &admin, signals, stopped).await;

    notify(&[sd_notify::NotifyState::Stopping]);
    server.drain().await;
    let lost = node.stop().await;
    if lost != rouse_core::Unfinished::default() {
        tracing::warn!(
            unread = lost.unread,
            waiting = lost.waiting,
            "messages are lost with this daemon: {lost}"
        );
    }
    server.remove_socket();
    // A client that waits for the end sees its connection close and may start the next daemon at once, so the state
    // directory is released before the connections are closed.
    admin.release();
    server.close().await;
    tracing::info!("stopped");
    Ok(result?)
}

/// Opens the socket, and the status page if there is one.
fn listen(config: &Config) -> Result<(Server, Option<HttpServer>), DaemonFailure> {
    let access = match config.api {
        ApiSocket::StateDir => Access::Owner,
        ApiSocket::At(_) => Access::Group,
    };
    let server = Server::bind(&config.socket(), access)?.text_protocol(JsonRpc::default());
    Ok((server, config.http.map(listen_http).transpose()?))
}

/// Opens the metrics and the status page.
fn listen_http(address: SocketAddr) -> Result<HttpServer, DaemonFailure> {
    let server = HttpServer::bind(address).map_err(|error| DaemonFailure::Http(address, error))?;
    let address = server.address().unwrap_or(address);
    tracing::info!("metrics and status page: http://{address}/");
    Ok(server)
}

/// Logs the version, the configuration in effect and its risks.
fn announce(config: &Config) {
    let version = env!("CARGO_PKG_VERSION");
    match &config.file {
        Some(file) => tracing::info!("roused {version}, configured by {}", file.display()),
        None => tracing::info!("roused {version}, without a configuration file"),
    }
    match &config.mesh_key {
        Some(key) => tracing::info!("the mesh is closed: its key is {}", key.display()),
        None => tracing::info!(
            "the mesh is open: every node that reaches this one may become a neighbour; `rouse mesh new` makes a key"
        ),
    }
    if let Some(allow) = &config.neighbour_filter.allow {
        let count = counted(allow.len() as u64, "node");
        tracing::info!("only the nodes of the list `allow` may become neighbours: {count}");
    }
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
}

async fn start_node(config: &Config, state: &StateDir) -> Result<Node, DaemonFailure> {
    let mesh_key = config.read_mesh_key()?;
    let mut builder = Node::builder()
        .identity(state.identity()?)
        .epoch_file(state.epoch_file())
        .limits(config.limits.clone())
        .mesh_key(mesh_key.as_deref().copied())
        .neighbour_filter(config.neighbour_filter.clone());
    if let Some(name) = &config.name {
        builder = builder.name(name);
    }
    if let Some(bytes) = config.journal {
        builder = builder.journal(Arc::new(open_journal(state, bytes).await?));
    }
    for netmod in config.make_netmods(mesh_key.as_ref())? {
        builder = builder.netmod(netmod);
    }
    for uri in &config.peers {
        builder = builder.peer(uri);
    }
    Ok(builder.start().await?)
}

/// Opens the journal of the state directory, for messages of this many bytes.
async fn open_journal(state: &StateDir, bytes: u64) -> Result<StoredJournal, DaemonFailure> {
    let path = state.journal()?;
    let failure = |text: String| DaemonFailure::Journal { path: path.clone(), text };
    let disk = FolderDisk::open(&path).map_err(|error| failure(error.to_string()))?;
    let limits = JournalLimits { bytes, ..JournalLimits::default() };
    StoredJournal::open(disk, limits).await.map_err(|error| failure(error.to_string()))
}

/// Serves clients until a signal or a client stops the daemon, or the node fails.
pub(crate) async fn serve(
    serving: impl Future<Output = ()>,
    failed: impl Future<Output = NodeFailure>,
    admin: &DaemonAdmin,
    mut signals: Signals,
    mut stopped: mpsc::UnboundedReceiver<()>,
) -> Result<(), NodeFailure> {
    let mut serving = std::pin::pin!(serving.fuse());
    let mut failed = std::pin::pin!(failed.fuse());
    loop {
        futures::select! {
            () = serving => return Ok(()),
            failure = failed => return Err(failure),
            _ = stopped.next() => {
                tracing::info!("stopping: a client requested it");
                return Ok(());
            }
            signal = signals.next().fuse() => match signal {
                Some(Ok(Signal::Hup)) => match admin.reload().await {
                    Ok(notes) => tracing::info!("configuration reloaded: {notes}"),
                    Err(error) => tracing::error!(hint = %error.hint, "configuration not reloaded: {error}"),
                },
                Some(Ok(signal)) => {
                    tracing::info!(?signal, "stopping: signal received");
                    return Ok(());
                }
                Some(Err(error)) => tracing::warn!(%error, "cannot receive a signal"),
                None => return Ok(()),
            },
        }
    }
}

/// Notifies systemd, if it started this process with a notification socket.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
