//! `recv --exec`: a command for each message, which leaves its inbox only when the command has succeeded.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use rouse_tests::{Daemon, Programs, Running, programs, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().expect("a process id is small")).expect("it is not zero");
    kill_process(pid, signal).expect("it runs");
}

/// The text in a file, which need not be there yet.
fn read(daemon: &Daemon, name: &str) -> String {
    std::fs::read_to_string(daemon.state().join(name)).unwrap_or_default()
}

/// The path of a file in the state directory, for a script.
fn path(daemon: &Daemon, name: &str) -> String {
    daemon.state().join(name).to_str().expect("the path is text").to_owned()
}

#[test]
fn a_command_gets_the_message_and_its_properties() {
    let daemon = programs!().daemon().start();
    let own = daemon.address();
    daemon.text(&["name", "add", "me", own]);
    let sent = daemon.json(&["send", own, "one\ntwo", "--service", "chat"]);
    let script = "cat; echo; echo $ROUSE_ID $ROUSE_FROM $ROUSE_FROM_NAME $ROUSE_TO $ROUSE_SERVICE";
    let output = daemon.text(&["recv", "--service", "chat", "--exec", script]);
    let id = sent["id"].as_str().unwrap();
    assert_eq!(output, format!("one\ntwo\n{id} {own} me {own} chat"));
    daemon.text(&["send", own, "x"]);
    let output = daemon.rouse(&["--json", "recv", "--exec", "echo noise"]).exits(0);
    let line = output.json();
    assert_eq!(
        (&line["state"], &line["from_name"], &line["bytes"]),
        (&"handled".into(), &"me".into(), &1.into())
    );
    assert_eq!(output.stderr, "noise\n", "standard output has JSON alone");
}

#[test]
fn a_message_whose_command_fails_is_given_back_and_handled_again_before_those_behind_it() {
    let daemon = programs!().daemon().start();
    for n in 0..3 {
        daemon.text(&["send", daemon.address(), &n.to_string()]);
    }
    let failed = daemon.rouse(&["--json", "recv", "--exec", "exit 7"]).exits(1);
    assert_eq!(failed.error()["code"], "command_failed");
    // The first message fails twice, so that a pause and a longer one follow.
    let log = path(&daemon, "log");
    let script = format!("read n; echo $n >>{log}; [ $n != 0 ] || [ $(grep -c 0 {log}) = 3 ]");
    let begun = Instant::now();
    let mut receiver = daemon.start(&["--json", "recv", "--follow", "--exec", &script]);
    let states: Vec<_> = (0..5).map(|_| receiver.json_where(|_| true)["state"].clone()).collect();
    assert_eq!(states, ["given_back", "given_back", "handled", "handled", "handled"]);
    assert!(begun.elapsed() >= Duration::from_secs(3), "a pause of 1 s, and one of 2 s");
    assert_eq!(read(&daemon, "log"), "0\n0\n0\n1\n2\n");
    assert_eq!(daemon.json(&["status"])["inbox"]["messages"], 0);
}

#[test]
fn a_command_ends_with_its_time_and_with_recv() {
    let daemon = programs!().daemon().start();
    daemon.text(&["send", daemon.address(), "x"]);
    let pids = path(&daemon, "pids");
    let script = format!("sleep 98 & echo $! >>{pids}; wait");
    let late = daemon.rouse(&["recv", "--exec", &script, "--exec-timeout", "300ms"]).exits(1);
    assert!(late.stderr.contains("after 300 ms"), "{}", late.stderr);
    for (number, end) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let mut receiver = daemon.start(&["recv", "--follow", "--exec", &script]);
        until("the command runs", || (read(&daemon, "pids").lines().count() == number + 2).then_some(()));
        signal(receiver.pid(), end);
        assert_eq!(receiver.end().code(), Some(if end == Signal::TERM { 143 } else { 130 }));
        until("the message is back", || (daemon.json(&["status"])["inbox"]["messages"] == 1).then_some(()));
    }
    for pid in read(&daemon, "pids").lines() {
        // A process that has ended and was not waited for has no arguments.
        let line = format!("/proc/{pid}/cmdline");
        until("it has ended", || std::fs::read(&line).unwrap_or_default().is_empty().then_some(()));
    }
    assert_eq!(daemon.text(&["recv", "--exec", "cat"]), "x");
}

/// A bot in three lines of shell, which answers each message.
fn bot(programs: &Programs, home: &Daemon) -> Command {
    const BOT: &str = r#"
        export ROUSE_SOCKET
        exec "$ROUSE" recv --follow --exec '"$ROUSE" send "$ROUSE_FROM" "$(cat)" --reply-to "$ROUSE_ID"' >&2
    "#;
    let mut shell = Command::new("sh");
    let rouse = programs.folder().join("rouse");
    shell.args(["-c", BOT]).env("ROUSE", rouse).env("ROUSE_SOCKET", home.socket());
    shell
}

#[test]
fn a_bot_in_three_lines_of_shell_that_is_killed_at_any_moment_loses_no_message() {
    const COUNT: usize = 40;
    let programs = programs!();
    let home = programs.daemon().start();
    let sender = programs.daemon().peer(&home.uri()).start();
    let mut answers = sender.start(&["--json", "recv", "--follow"]);
    for n in 0..COUNT {
        sender.text(&["send", home.address(), &n.to_string()]);
    }
    let mut seen = BTreeSet::new();
    let deadline = Instant::now() + Duration::from_secs(120);
    for kills in 0.. {
        let mut running = Running::start(&mut bot(&programs, &home));
        // Lives of different lengths end it while it starts, receives, runs its command, and acknowledges.
        let end = Instant::now() + Duration::from_millis(40 + 37 * (kills % 11));
        while let Some(line) = answers.line_within(end.saturating_duration_since(Instant::now())) {
            let answer: Value = serde_json::from_str(&line).unwrap();
            let number: usize = answer["text"].as_str().unwrap().parse().unwrap();
            seen.insert(number);
        }
        if seen.len() == COUNT {
            break;
        }
        running.kill();
        assert!(Instant::now() < deadline, "{} of {COUNT} answers after {kills} kills", seen.len());
    }
    // At least once each. The order may differ by one, because a new bot can take the next message before the daemon has
    // noticed the end of the one before.
    assert_eq!(seen, (0..COUNT).collect());
}
