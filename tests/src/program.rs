//! Programs: started, fed, read, ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::wait::PATIENCE;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    pub(crate) roused: PathBuf,
    pub(crate) rouse: PathBuf,
}

impl Programs {
    /// See [`programs!`](crate::programs).
    pub fn new(roused: impl Into<PathBuf>, rouse: impl Into<PathBuf>) -> Self {
        Programs { roused: roused.into(), rouse: rouse.into() }
    }

    /// The folder that they are in.
    pub fn folder(&self) -> &Path {
        self.roused.parent().unwrap_or(Path::new("."))
    }

    /// The command line without a daemon in mind, and with nothing of the user's environment.
    pub fn rouse(&self, arguments: &[&str]) -> Command {
        let mut command = clean(&self.rouse);
        command.args(arguments).env("HOME", "/nonexistent");
        command
    }
}

/// A command that sees nothing of the environment but the path.
pub(crate) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    for name in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// A program of the workspace that another package owns, beside the running test; built when it is not there.
///
/// # Panics
/// When cargo does not build it.
pub fn built_program(package: &str, name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a process knows its program");
    let folder = this.ancestors().nth(2).expect("tests are in target/PROFILE/deps").to_owned();
    let program = folder.join(name);
    if !program.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", package, "--bin", name]);
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs").success());
    }
    program
}

/// The output of a program and its exit code.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it cannot be started, or goes on for too long.
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (stdout, stderr) = (child.stdout.take().map(read_all), child.stderr.take().map(read_all));
        let status = end(&mut child);
        if status.is_none() {
            // The readers end only when the process does. The panic below reports that it went on.
            let _ = child.kill();
            let _ = child.wait();
        }
        let bytes = |reader: Option<JoinHandle<Vec<u8>>>| {
            reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
        };
        let (stdout, stderr) = (bytes(stdout), String::from_utf8_lossy(&bytes(stderr)).into_owned());
        let Some(status) = status else {
            panic!("{command:?} goes on; so far: {}{stderr}", String::from_utf8_lossy(&stdout))
        };
        Output { code: status.code(), stdout, stderr }
    }

    /// Itself, when the exit code is `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }

    /// Standard output as text, without the last line end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end_matches('\n').to_owned()
    }

    /// Standard output as the one JSON document that it is.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error on standard error, as `--json` gives it.
    #[track_caller]
    pub fn error(&self) -> Value {
        let json: Value =
            serde_json::from_str(&self.stderr).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        json["error"].clone()
    }
}

/// Reads to the end, in a thread of its own.
fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        // On an error the bytes that could be read are returned, because a failing test shows them.
        let _ = from.read_to_end(&mut all);
        all
    })
}

/// The exit status of a program; `None` when it goes on for longer than any program should.
fn end(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let status = child.try_wait().expect("it is our child");
        if status.is_some() || Instant::now() > deadline {
            return status;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A program that runs. It is killed when this is dropped.
pub struct Running {
    child: Child,
    /// Its standard output, line by line.
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    errors: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Starts a command; its input is open.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::piped(), Stdio::piped())
    }

    /// Starts a command whose output goes elsewhere.
    pub(crate) fn start_with(command: &mut Command, stdout: Stdio, stderr: Stdio) -> Self {
        command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        let out = child.stdout.take().map(BufReader::new);
        let reader = out.map(|out| {
            thread::spawn(move || {
                // The thread ends with the program, or when the receiver is dropped.
                for line in out.lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            })
        });
        let errors = child.stderr.take().map(read_all);
        Running { child, lines, reader, errors }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output; `None` after the last one.
    #[track_caller]
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("it prints nothing"),
        }
    }

    /// The next line of its output, if it prints one within this time.
    pub fn line_within(&mut self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    /// The next line that `wanted` wants; others are skipped.
    #[track_caller]
    pub fn line_where(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let mut skipped = Vec::new();
        while let Some(line) = self.line() {
            if wanted(&line) {
                return line;
            }
            skipped.push(line);
        }
        panic!("it has ended; it printed {skipped:?} and on standard error {}", self.complaints());
    }

    /// The next line as JSON for which `wanted` is true; others are skipped.
    #[track_caller]
    pub fn json_where(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let parse = |line: &str| serde_json::from_str::<Value>(line).ok();
        let line = self.line_where(|line| parse(line).is_some_and(|value| wanted(&value)));
        parse(&line).expect("it was parsed before")
    }

    /// Writes a line to its standard input.
    pub fn write_line(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("its input is open");
        writeln!(input, "{line}").expect("it reads");
    }

    /// Its input, to be written or closed.
    pub fn take_input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("its input is open")
    }

    /// Kills it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        // It may have ended by itself: then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        end(&mut self.child).expect("it ends")
    }

    /// The lines of its output that were not read yet; for use after its end.
    pub fn rest(&mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        self.lines.try_iter().collect()
    }

    /// Ends it, and returns its standard error.
    pub fn complaints(&mut self) -> String {
        self.kill();
        let bytes = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
