//! Commands that go on when their daemon is killed and started again.

use std::time::Duration;

use rouse_tests::{Daemon, Programs, Running, programs, until};
use serde_json::Value;

/// Kills a daemon as `kill -9` does, and starts it again with what it left behind.
fn restarted(programs: &Programs, mut daemon: Daemon, uri: &str) -> Daemon {
    daemon.process().kill();
    programs.daemon().listen(uri).state_of(&daemon).start()
}

/// Ends a command by Ctrl-C, and returns its standard error.
fn complaints_of(mut command: Running) -> String {
    let pid = rustix::process::Pid::from_raw(command.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(command.end().code(), Some(130));
    command.complaints()
}

#[test]
fn recv_watch_and_serve_go_on_when_the_daemon_is_killed_and_started_again() {
    let programs = programs!();
    let daemon = programs.daemon().start();
    let uri = daemon.uri();
    let own = daemon.address().to_owned();
    let mut plain = daemon.start(&["recv", "--follow"]);
    let mut json = daemon.start(&["--json", "recv", "--follow", "--service", "chat"]);
    let mut watch = daemon.start(&["--json", "watch"]);
    let mut serve = daemon.start(&["--json", "serve", "upper", "--", "tr", "a-z", "A-Z"]);
    let mut daemon = daemon;
    for round in 0..3 {
        let text = format!("round {round}");
        daemon.text(&["send", &own, &text]);
        assert_eq!(plain.line(), Some(format!("{own}\t{text}")));
        daemon.text(&["send", &own, &text, "--service", "chat"]);
        assert_eq!(json.json_where(|_| true)["text"], text.as_str());
        let answer = || daemon.rouse(&["request", &own, "upper", &text]);
        until("the service is open", || (answer().text() == text.to_uppercase()).then_some(()));
        assert_eq!(serve.json_where(|line| line["state"] == "answered")["bytes"], text.len());
        until("events are seen", || {
            daemon.text(&["send", &own, "for watch", "--service", "unread"]);
            let line = watch.line_within(Duration::from_millis(500))?;
            let event: Value = serde_json::from_str(&line).expect("only events on standard output");
            (event["event"] == "message_received").then_some(())
        });
        daemon = restarted(&programs, daemon, &uri);
    }
    daemon.text(&["send", &own, "the last one"]);
    assert_eq!(plain.line(), Some(format!("{own}\tthe last one")));
    let complaints = complaints_of(plain);
    assert_eq!(complaints.matches("waiting for the daemon").count(), 3, "{complaints}");
    assert_eq!(complaints.matches("connected to the daemon again").count(), 3, "{complaints}");
    for line in complaints_of(watch).lines() {
        let line: Value = serde_json::from_str(line).expect("notices are JSON with --json");
        assert!(line["notice"]["message"].is_string(), "{line}");
    }
    complaints_of(json);
    complaints_of(serve);
}

#[test]
fn a_command_that_goes_on_waits_for_a_daemon_that_was_stopped_and_ends_by_its_time() {
    let programs = programs!();
    let mut daemon = programs.daemon().start();
    let mut timed = daemon.start(&["recv", "--follow", "--timeout", "4s", "--service", "timed"]);
    let mut follow = daemon.start(&["recv", "--follow"]);
    daemon.text(&["send", daemon.address(), "x", "--service", "timed"]);
    daemon.text(&["send", daemon.address(), "x"]);
    assert!(timed.line().is_some() && follow.line().is_some(), "both are connected");
    daemon.text(&["stop"]);
    daemon.process().end();
    assert_eq!(timed.end().code(), Some(0), "a message had arrived");
    assert!(timed.complaints().contains("waiting for the daemon"));
    let again = programs.daemon().state_of(&daemon).start();
    until("it is connected again", || {
        again.text(&["send", again.address(), "again"]);
        follow.line_within(Duration::from_millis(100)).filter(|line| line.ends_with("again"))
    });
    // The first command has to find its daemon.
    let mut nowhere = programs.rouse(&["recv", "--follow", "--state-dir"]);
    nowhere.arg(again.state().join("nowhere"));
    rouse_tests::Output::of(&mut nowhere).exits(3);
}
