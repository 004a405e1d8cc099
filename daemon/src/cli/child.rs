//! The commands of the user that handle messages and requests.
//!
//! Each runs in a process group of its own, so that the commands which it starts end with it. It ends by itself, after
//! its time, or with this program: a signal drops the future that runs it, which asks the group to end, and [`end_all`]
//! kills what is left of it.

use std::ffi::OsString;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rouse_core::notify::Notify;
use rouse_core::{MAX_MESSAGE, Message};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::message::until;
use crate::units;

/// The time in which a command that was asked to end may do so by itself.
const GRACE: Duration = Duration::from_secs(2);

/// The groups that were asked to end and that no future waits for.
static ENDING: Mutex<Vec<Arc<ProcessGroup>>> = Mutex::new(Vec::new());

/// A command of the user.
#[derive(Clone, Debug)]
pub(super) struct UserCommand {
    program: OsString,
    arguments: Vec<OsString>,
    /// The longest time that it may run.
    timeout: Duration,
}

/// The destination of what a command writes to its standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandOutput {
    /// It is returned.
    Returned,
    /// Standard output of this program.
    Stdout,
    /// Standard error of this program, because standard output has JSON.
    Stderr,
}

impl UserCommand {
    /// A command with its arguments.
    pub(super) fn new(mut arguments: Vec<OsString>, timeout: Duration) -> Option<Self> {
        (!arguments.is_empty()).then(|| UserCommand { program: arguments.remove(0), arguments, timeout })
    }

    /// A command that the shell interprets.
    pub(super) fn shell(text: &str, timeout: Duration) -> Self {
        UserCommand { program: "sh".into(), arguments: vec!["-c".into(), text.into()], timeout }
    }

    /// Runs it with a message on its standard input and in its environment, and returns its output. The error is a text
    /// that does not show the command, because it may go to the sender of the message.
    pub(super) async fn run(
        &self,
        message: &Message,
        from_name: Option<&str>,
        output: CommandOutput,
    ) -> Result<Vec<u8>, String> {
        let child = self.start(message, from_name, output);
        let child = child.map_err(|error| format!("the command does not start: {error}"))?;
        let group = Arc::new(ProcessGroup::of(&child).ok_or("the command has no process id")?);
        let _ends_when_dropped = EndOnDrop(group.clone());
        let its_group = group.clone();
        let mut work = blocking::unblock(move || outcome(child, &its_group));
        if let Some(result) = until(Some(Instant::now() + self.timeout), &mut work).await {
            return result;
        }
        group.ask_to_end();
        if until(Some(Instant::now() + GRACE), &mut work).await.is_none() {
            group.signal(Signal::KILL);
            // A process that has left the group may hold the output for ever.
            let _ = until(Some(Instant::now() + GRACE), &mut work).await;
        }
        Err(format!("the command was ended after {}", units::time(self.timeout)))
    }

    fn start(&self, message: &Message, from_name: Option<&str>, output: CommandOutput) -> io::Result<Child> {
        // A file and not a pipe: if this program is killed while it writes, the command would take the part for the whole.
        let mut input = tempfile::tempfile()?;
        input.write_all(&message.body)?;
        input.rewind()?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).process_group(0).stdin(input);
        match output {
            CommandOutput::Returned => command.stdout(Stdio::piped()),
            CommandOutput::Stdout => command.stdout(Stdio::inherit()),
            CommandOutput::Stderr => command.stdout(io::stderr()),
        };
        command
            .env("ROUSE_ID", message.id.to_string())
            .env("ROUSE_FROM", message.from.to_string())
            .env("ROUSE_FROM_NAME", from_name.unwrap_or_default())
            .env("ROUSE_TO", message.to.to_string())
            .env("ROUSE_SERVICE", message.service.as_str().replace('\0', ""))
            .env("ROUSE_IN_REPLY_TO", message.in_reply_to.map(|id| id.to_string()).unwrap_or_default())
            .env("ROUSE_SENT_AT", message.sent_at.to_string())
            .env("ROUSE_RECEIVED_AT", message.received_at.to_string());
        command.spawn()
    }
}

/// Reads the output of the command, and waits for its end.
fn outcome(mut child: Child, group: &ProcessGroup) -> Result<Vec<u8>, String> {
    let output = read_output(child.stdout.take());
    if output.as_ref().is_ok_and(|output| output.len() > MAX_MESSAGE) {
        // The rest would block the command for ever.
        group.signal(Signal::KILL);
    }
    let status =
        group.wait(&mut child).map_err(|error| format!("the command cannot be waited for: {error}"))?;
    let output = output.map_err(|error| format!("the output of the command cannot be read: {error}"))?;
    match (status.success(), output.len() > MAX_MESSAGE) {
        (_, true) => Err(format!("the output has more than {MAX_MESSAGE} bytes, which is the limit")),
        (true, false) => Ok(output),
        (false, false) => Err(format!("the command ended with {status}")),
    }
}

fn read_output(stdout: Option<ChildStdout>) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    // One byte more than the limit shows that the output is too long.
    stdout.map(|stdout| stdout.take(MAX_MESSAGE as u64 + 1).read_to_end(&mut output)).transpose()?;
    Ok(output)
}

#[derive(Debug, Default)]
struct GroupState {
    is_ending: bool,
    /// Whether its leader has been waited for. From then on, its number may be that of another group.
    is_reaped: bool,
}

/// The process group of a command.
#[derive(Debug)]
struct ProcessGroup {
    leader: Pid,
    state: Notify<GroupState>,
}

impl ProcessGroup {
    fn of(child: &Child) -> Option<Self> {
        let leader = Pid::from_raw(i32::try_from(child.id()).ok()?)?;
        Some(ProcessGroup { leader, state: Notify::new(GroupState::default()) })
    }

    fn signal(&self, signal: Signal) {
        let state = self.state.read();
        if !state.is_reaped {
            // It fails when all processes of the group have ended by themselves.
            let _ = kill_process_group(self.leader, signal);
        }
    }

    fn ask_to_end(&self) {
        self.state.write().is_ending = true;
        self.signal(Signal::TERM);
    }

    /// Waits until the leader has ended. The rest of a group that has to end is killed, as long as the leader still holds
    /// the number of the group.
    fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.leader), options))?;
        let mut state = self.state.write();
        if state.is_ending {
            let _ = kill_process_group(self.leader, Signal::KILL);
        }
        state.is_reaped = true;
        child.wait()
    }
}

/// Asks a group to end when the future that runs it is dropped.
struct EndOnDrop(Arc<ProcessGroup>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if !self.0.state.read().is_reaped {
            self.0.ask_to_end();
            let mut ending = ENDING.lock().unwrap_or_else(PoisonError::into_inner);
            ending.retain(|group| !group.state.read().is_reaped);
            ending.push(self.0.clone());
        }
    }
}

/// Waits a moment for the commands that were asked to end, and kills the others.
pub(super) async fn end_all() {
    let groups = std::mem::take(&mut *ENDING.lock().unwrap_or_else(PoisonError::into_inner));
    let deadline = Instant::now() + GRACE;
    for group in &groups {
        let _ = until(Some(deadline), group.state.when(|state| state.is_reaped.then_some(()))).await;
        group.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use rouse_core::{Identity, MessageKind, Protection, Service, Timestamp};

    use super::*;

    fn message(body: &str) -> Message {
        let address = Identity::from_seed(&[1; 32]).address();
        Message {
            id: "00000000000000000000000000000007".parse().unwrap(),
            from: address,
            to: address,
            sent_at: Timestamp(0),
            received_at: Timestamp(1),
            protection: Protection::Local,
            service: Service::new("chat").unwrap(),
            in_reply_to: None,
            kind: MessageKind::Plain,
            deliveries: 1,
            body: body.as_bytes().to_vec().into(),
        }
    }

    fn run(text: &str, timeout: Duration) -> Result<Vec<u8>, String> {
        block_on(UserCommand::shell(text, timeout).run(
            &message("dinner"),
            Some("bob"),
            CommandOutput::Returned,
        ))
    }

    #[test]
    fn a_command_has_the_message_in_its_input_and_its_environment() {
        let text = "tr a-z A-Z; echo \" $ROUSE_FROM_NAME $ROUSE_SERVICE $ROUSE_ID $ROUSE_SENT_AT\"";
        let output = run(text, Duration::from_secs(60)).unwrap();
        let expected = "DINNER bob chat 00000000000000000000000000000007 1970-01-01T00:00:00.000Z\n";
        assert_eq!(String::from_utf8(output).unwrap(), expected);
    }

    #[test]
    fn a_command_that_fails_or_does_not_read_is_no_success_and_no_fault() {
        assert_eq!(
            run("exit 3", Duration::from_secs(60)),
            Err("the command ended with exit status: 3".into())
        );
        assert_eq!(run("exec true", Duration::from_secs(60)), Ok(Vec::new()));
        let missing = UserCommand::new(vec!["/nonexistent".into()], Duration::from_secs(60)).unwrap();
        let error = block_on(missing.run(&message(""), None, CommandOutput::Returned)).unwrap_err();
        assert!(error.starts_with("the command does not start"), "{error}");
    }

    #[test]
    fn a_command_that_takes_too_long_ends_with_the_commands_that_it_has_started() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("pid");
        // The shell and its child ignore the first signal.
        let text = format!("trap '' TERM; sleep 97 & echo $! >{}; wait", path.display());
        let error = run(&text, Duration::from_millis(500)).unwrap_err();
        assert!(error.contains("500 ms"), "{error}");
        let pid = std::fs::read_to_string(path).unwrap();
        // A process that has ended and that its new parent has not yet waited for has no arguments.
        let line = format!("/proc/{}/cmdline", pid.trim());
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::fs::read(&line).is_ok_and(|line| !line.is_empty()) {
            assert!(Instant::now() < deadline, "{pid} goes on");
            std::thread::yield_now();
        }
    }
}
