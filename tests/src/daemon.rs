//! Daemons: started by path, with a state directory of their own, and killed when dropped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Output, Programs, Running, clean};
use crate::wait::until;

/// A daemon to be started.
pub struct DaemonBuilder {
    programs: Programs,
    state: Option<Arc<TempDir>>,
    state_at: Option<PathBuf>,
    namespace: Option<String>,
    listen: Option<String>,
    discover: bool,
    arguments: Vec<String>,
}

impl Programs {
    /// A daemon to be started.
    pub fn daemon(&self) -> DaemonBuilder {
        DaemonBuilder::new(self.clone())
    }
}

impl DaemonBuilder {
    fn new(programs: Programs) -> Self {
        let listen = Some("udp:127.0.0.1:0".to_owned());
        DaemonBuilder {
            programs,
            state: None,
            state_at: None,
            namespace: None,
            listen,
            discover: false,
            arguments: Vec::new(),
        }
    }

    /// Listens there, instead of at a free port of 127.0.0.1.
    pub fn listen(mut self, uri: &str) -> Self {
        self.listen = Some(uri.to_owned());
        self
    }

    /// Listens at the default port and discovers, as without options. For namespaces only.
    pub fn with_defaults(mut self) -> Self {
        self.listen = None;
        self.discover = true;
        self
    }

    /// Dials a peer.
    pub fn peer(self, uri: &str) -> Self {
        self.argument("--peer").argument(uri)
    }

    /// One more argument.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Runs in this network namespace.
    pub fn namespace(mut self, name: &str) -> Self {
        self.namespace = Some(name.to_owned());
        self
    }

    /// With the state that another daemon left behind.
    pub fn state_of(mut self, daemon: &Daemon) -> Self {
        self.state = Some(daemon.state.clone());
        self
    }

    /// With this state directory, for a start that fails.
    pub fn state_at(mut self, path: &Path) -> Self {
        self.state_at = Some(path.to_owned());
        self
    }

    fn command(&self, state: &Path) -> Command {
        let state = self.state_at.as_deref().unwrap_or(state);
        let mut command = match &self.namespace {
            None => clean(&self.programs.roused),
            Some(name) => {
                let mut command = clean(Path::new("ip"));
                command.args(["netns", "exec", name]).arg(&self.programs.roused);
                command
            }
        };
        command.arg("--state-dir").arg(state).env("HOME", state);
        if let Some(listen) = &self.listen {
            command.args(["--listen", listen]);
        }
        if !self.discover {
            command.arg("--no-discover");
        }
        command.args(&self.arguments);
        command
    }

    fn state(&self) -> Arc<TempDir> {
        self.state.clone().unwrap_or_else(|| Arc::new(TempDir::new().expect("there is room for a folder")))
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready; with its output.
    #[track_caller]
    pub fn start(self) -> Daemon {
        let state = self.state();
        let mut process = Running::start(&mut self.command(state.path()));
        let ready = process.line_where(|line| line.starts_with("ready "));
        let [_, address, socket] = ready.split(' ').collect::<Vec<_>>()[..] else {
            panic!("not `ready ADDRESS SOCKET`: {ready}")
        };
        let (address, socket) = (address.to_owned(), PathBuf::from(socket));
        Daemon { programs: self.programs, state, process, address, socket }
    }

    /// Starts it with its output going elsewhere, and waits until it serves.
    ///
    /// # Panics
    /// When it does not serve.
    #[track_caller]
    pub fn start_with_output(self, stdout: Stdio, stderr: Stdio) -> Daemon {
        let state = self.state();
        let process = Running::start_with(&mut self.command(state.path()), stdout, stderr);
        let socket = state.path().join("rouse.sock");
        let mut daemon = Daemon { programs: self.programs, state, process, address: String::new(), socket };
        daemon.address = until("it serves", || {
            let output = daemon.rouse(&["id"]);
            (output.code == Some(0)).then(|| output.text())
        });
        daemon
    }

    /// Starts a daemon that is expected to end by itself, with its output going elsewhere.
    pub fn start_to_its_end(self, stdout: Stdio, stderr: Stdio) -> Running {
        Running::start_with(&mut self.command(self.state().path()), stdout, stderr)
    }

    /// Starts a daemon that is expected to end by itself.
    pub fn output(self) -> Output {
        Output::of(&mut self.command(self.state().path()))
    }
}

/// A message in transit.
pub struct Sending(Running);

impl Sending {
    /// Waits until it is delivered, and gives what `send` prints.
    ///
    /// # Panics
    /// When it is not; with the output of `send`.
    #[track_caller]
    pub fn delivered(mut self) -> Value {
        let sent = self.0.json_where(|_| true);
        assert_eq!(sent["state"], "delivered");
        assert!(self.0.end().success(), "{}", self.0.complaints());
        sent
    }
}

/// A daemon that runs. It is killed when this is dropped.
pub struct Daemon {
    programs: Programs,
    state: Arc<TempDir>,
    process: Running,
    address: String,
    socket: PathBuf,
}

impl Daemon {
    /// Its address, as its `ready` line gave it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its socket, as its `ready` line gave it.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its state directory.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Running {
        &mut self.process
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where its first netmod listens.
    pub fn uri(&self) -> String {
        let status = self.json(&["status"]);
        status["netmods"][0]["uri"].as_str().expect("a netmod has a URI").to_owned()
    }

    /// A command to this daemon, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.programs.rouse(&["--state-dir"]);
        command.arg(self.state()).args(arguments);
        command
    }

    /// Runs a command.
    pub fn rouse(&self, arguments: &[&str]) -> Output {
        Output::of(&mut self.command(arguments))
    }

    /// The output of a command that succeeds.
    #[track_caller]
    pub fn text(&self, arguments: &[&str]) -> String {
        self.rouse(arguments).exits(0).text()
    }

    /// The one document that a command that succeeds prints with `--json`.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(arguments);
        self.rouse(&all).exits(0).json()
    }

    /// Begins to send a message, and to wait until it is delivered: until something receives it.
    pub fn send(&self, to: &Daemon, what: &[&str]) -> Sending {
        let mut arguments = vec!["--json", "send", to.address()];
        arguments.extend(what);
        arguments.extend(["--wait", "delivered", "--timeout", "60s"]);
        Sending(self.start(&arguments))
    }

    /// Sends a text, receives it there, and waits until it is delivered. Gives what `send` and `recv` print.
    #[track_caller]
    pub fn talk(&self, to: &Daemon, text: &str) -> (Value, Value) {
        let sending = self.send(to, &[text]);
        let message = to.json(&["recv", "--from", self.address(), "--timeout", "60s"]);
        assert!(message["text"] == text, "{} bytes as they were, not {}", text.len(), message["text"]);
        let sent = sending.delivered();
        assert_eq!(sent["id"], message["id"]);
        (sent, message)
    }

    /// Starts a command that goes on.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(&mut self.command(arguments))
    }

    /// Waits for a route in use to `address`, and gives it.
    #[track_caller]
    pub fn route_to(&self, address: &str) -> Value {
        until(&format!("a route to {address}"), || {
            let routes = self.json(&["routes", address]);
            routes.as_array()?.iter().find(|route| route["state"] == "active").cloned()
        })
    }

    /// Waits until the link to `address` is up, and gives the peer.
    #[track_caller]
    pub fn neighbour(&self, address: &str) -> Value {
        until(&format!("a link to {address}"), || {
            let peers = self.json(&["peers"]);
            peers.as_array()?.iter().find(|peer| peer["address"] == address && peer["state"] == "up").cloned()
        })
    }
}
