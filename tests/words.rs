//! The words of the commands: each is true when it is printed, and names the next step.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rouse_tests::{Daemon, Output, Running, programs, until};
use rustix::process::{Pid, Signal, kill_process};

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().expect("a process id is small")).expect("it is not zero");
    kill_process(pid, signal).expect("it runs");
}

/// The address of a node that is not there.
fn absent() -> String {
    programs!().daemon().start().address().to_owned()
}

#[test]
fn a_command_ends_at_once_where_no_daemon_can_be_starting() {
    let programs = programs!();
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    // Daemons that other tests start count as daemons that are starting, so one quick answer is enough.
    until("an answer within half a second", || {
        let begun = Instant::now();
        Output::of(&mut programs.rouse(&["--state-dir", path, "id"])).exits(3);
        (begun.elapsed() < Duration::from_millis(500)).then_some(())
    });
}

#[test]
fn a_command_waits_for_the_daemon_that_its_shell_has_just_started() {
    let programs = programs!();
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().display();
    let (roused, rouse) = (programs.folder().join("roused"), programs.folder().join("rouse"));
    let (roused, rouse) = (roused.display(), rouse.display());
    let script = format!(
        "{roused} --state-dir {path} --listen udp:127.0.0.1:0 --no-discover >&2 &\n{rouse} --state-dir {path} id\ncode=$?\n{rouse} --state-dir {path} stop\nwait\nexit $code"
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).env("HOME", folder.path());
    assert!(Output::of(&mut shell).exits(0).text().starts_with("rouse1"));
}

#[test]
fn a_daemon_that_answers_late_is_waited_for() {
    let daemon = programs!().daemon().start();
    signal(daemon.pid(), Signal::STOP);
    let mut id = daemon.start(&["id"]);
    assert_eq!(id.line_within(Duration::from_millis(500)), None, "the daemon stands still");
    signal(daemon.pid(), Signal::CONT);
    assert_eq!(id.line().as_deref(), Some(daemon.address()));
    assert!(id.end().success());
}

#[test]
fn a_message_without_a_route_is_queued_and_the_command_states_that_there_is_none() {
    let daemon = programs!().daemon().start();
    let output = daemon.rouse(&["send", &absent(), "x"]).exits(0);
    assert!(output.text().starts_with("queued "), "{output:?}");
    assert!(output.stderr.contains("queued, no route now"), "{}", output.stderr);
    let output = daemon.rouse(&["send", daemon.address(), "x"]).exits(0);
    assert_eq!(output.stderr, "", "an own address needs no route");
}

#[test]
fn a_send_without_room_times_out_and_names_the_peer_whose_messages_wait() {
    let daemon = programs!().daemon().start();
    let absent = absent();
    daemon.text(&["name", "add", "bob", &absent]);
    let file = daemon.state().join("big");
    std::fs::write(&file, vec![b'x'; 16 << 20]).unwrap();
    let file = file.to_str().unwrap();
    let refused = until("the queue is full", || {
        let output = daemon.rouse(&["--json", "send", "--volatile", "bob", "--file", file, "--timeout", "1"]);
        (output.code != Some(0)).then_some(output)
    });
    let error = refused.exits(4).error();
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("bob") && message.contains("no route"), "{message}");
}

#[test]
fn the_id_of_a_message_is_printed_when_the_wait_is_interrupted() {
    let daemon = programs!().daemon().start();
    let absent = absent();
    let queued = || daemon.json(&["status"])["journal"]["messages"].as_u64().expect("a number");
    for (json, expected) in [(None, "queued "), (Some("--json"), "\"state\":\"queued\"")] {
        let mut arguments = vec!["send", &absent, "x", "--wait", "delivered", "--timeout", "60"];
        arguments.extend(json);
        // An interruption between the daemon's answer and its arrival finds no id, so several are made.
        until("an interrupted command prints the id", || {
            let before = queued();
            let mut send = daemon.start(&arguments);
            until("it is queued", || (queued() > before).then_some(()));
            signal(send.pid(), Signal::INT);
            assert_eq!(send.end().code(), Some(130));
            send.rest().iter().any(|line| line.contains(expected)).then_some(())
        });
    }
}

#[test]
fn a_series_of_pings_ends_with_a_summary_even_when_it_is_interrupted() {
    let programs = programs!();
    let first = programs.daemon().start();
    let second = programs.daemon().peer(&first.uri()).start();
    first.route_to(second.address());
    let text = first.text(&["ping", second.address(), "-c", "3", "-i", "0.01", "-W", "60"]);
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("1 hop\n"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("3 sent, 3 received, 0 % lost; round trip min/avg/max"));

    let mut ping = first.start(&["ping", second.address(), "-c", "1000000", "-i", "0.01"]);
    ping.line_where(|line| line.starts_with("seq 2:"));
    signal(ping.pid(), Signal::INT);
    assert_eq!(ping.end().code(), Some(130));
    assert!(ping.rest().last().is_some_and(|line| line.contains("received, 0 % lost")));
}

/// A receiver of two messages, which has printed the first.
fn receiver_at(daemon: &Daemon) -> Running {
    let mut receiver = daemon.start(&["recv", "--count", "2"]);
    daemon.text(&["send", daemon.address(), "x"]);
    receiver.line();
    receiver
}

#[test]
fn a_daemon_that_was_killed_has_not_stopped() {
    let mut killed = programs!().daemon().start();
    let mut receiver = receiver_at(&killed);
    killed.process().kill();
    assert_eq!(receiver.end().code(), Some(3));
    let text = receiver.complaints();
    assert!(text.contains("killed") && !text.contains("stopped"), "{text}");

    let stopped = programs!().daemon().start();
    let mut receiver = receiver_at(&stopped);
    stopped.text(&["stop"]);
    assert_eq!(receiver.end().code(), Some(3));
    let text = receiver.complaints();
    assert!(text.contains("stopped") && !text.contains("killed"), "{text}");
}

#[test]
fn a_message_whose_daemon_was_killed_is_in_an_unknown_state() {
    let absent = absent();
    // A daemon that is killed between its answer and the arrival of that leaves no id to print, so several are.
    until("a command prints the state", || {
        let mut daemon = programs!().daemon().start();
        let mut send =
            daemon.start(&["--json", "send", &absent, "x", "--wait", "delivered", "--timeout", "60"]);
        until("it is queued", || {
            (daemon.json(&["status"])["journal"]["messages"].as_u64()? > 0).then_some(())
        });
        daemon.process().kill();
        assert_eq!(send.end().code(), Some(3));
        send.rest().iter().any(|line| line.contains("\"state\":\"unknown\"")).then_some(())
    });
}

#[test]
fn a_message_that_expires_on_its_way_is_in_an_unknown_state() {
    let programs = programs!();
    let first = programs.daemon().start();
    let second = programs.daemon().peer(&first.uri()).start();
    first.route_to(second.address());
    // A durable one would be on the disk of the recipient at once.
    let send = |to: &str| {
        first.rouse(&["--json", "send", to, "x", "--ttl", "1", "--wait", "delivered", "--volatile"]).exits(1)
    };
    let left = send(second.address());
    assert_eq!((&left.json()["state"], &left.error()["code"]), (&"unknown".into(), &"unknown".into()));
    let stayed = send(&absent());
    assert_eq!((&stayed.json()["state"], &stayed.error()["code"]), (&"expired".into(), &"expired".into()));
}

#[test]
fn the_usage_of_a_command_has_the_order_in_which_people_type() {
    let help = Output::of(&mut programs!().rouse(&["send", "--help"])).exits(0).text();
    assert!(help.contains("rouse send [OPTIONS] PEER TEXT"), "{help}");
    let error = Output::of(&mut programs!().rouse(&["send", "bob"])).exits(2).stderr;
    assert!(error.contains("rouse send [OPTIONS] PEER TEXT"), "{error}");
}

#[test]
fn every_command_and_every_error_takes_json() {
    let programs = programs!();
    let json = |arguments: &[&str]| {
        let mut command = programs.rouse(&["--json"]);
        command.args(arguments).stdin(Stdio::null());
        Output::of(&mut command)
    };
    for (arguments, field) in [
        (&["completions", "bash"][..], "script"),
        (&["man"], "manual"),
        (&["--help"], "help"),
        (&["help", "send"], "help"),
        (&["--version"], "version"),
    ] {
        let document = json(arguments).exits(0).json();
        assert!(document[field].as_str().is_some_and(|text| !text.is_empty()), "{arguments:?}: {document}");
    }
    for arguments in
        [&[][..], &["sned"], &["send", "bob"], &["recv", "--raw"], &["peer"], &["ping", "b", "-c", "0"]]
    {
        let error = json(arguments).exits(2).error();
        assert_eq!(error["code"], "usage", "{arguments:?}: {error}");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{arguments:?}: {error}");
    }
}
