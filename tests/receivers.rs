//! Several receivers of one inbox: each message goes to one of them, and none is lost with a receiver that dies.

use std::io::Read;
use std::process::Stdio;

use rouse_tests::{Daemon, programs, until};

const COUNT: usize = 40;

/// Numbered messages, long enough that a pipe holds only the first few.
fn fill(daemon: &Daemon) {
    for n in 0..COUNT {
        let path = daemon.state().join("body");
        std::fs::write(&path, format!("{n:04}{}", ".".repeat(9_995))).unwrap();
        daemon.text(&["send", daemon.address(), "--file", path.to_str().unwrap()]);
    }
}

/// The numbers of the messages that are whole in what was printed.
fn numbers(printed: &[u8]) -> Vec<usize> {
    let text = String::from_utf8_lossy(printed);
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| line.split('\t').nth(1).expect("sender, tab, text")[..4].parse().unwrap()).collect()
}

#[test]
fn the_messages_that_a_killed_receiver_had_not_printed_go_to_the_next_one_in_order() {
    let daemon = programs!().daemon().start();
    fill(&daemon);
    let mut receiver = daemon.command(&["recv", "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = receiver.stdout.take().unwrap();
    // Nothing reads the pipe, so the receiver prints until it is full, and then stops in the middle of a message.
    until("it has printed something", || (rustix::io::ioctl_fionread(&pipe).unwrap() > 20_000).then_some(()));
    receiver.kill().unwrap();
    receiver.wait().unwrap();
    let mut printed = Vec::new();
    pipe.read_to_end(&mut printed).unwrap();
    let seen = numbers(&printed);
    assert!(!seen.is_empty() && seen.len() < COUNT, "{} messages were printed", seen.len());

    let rest = daemon.rouse(&["recv", "--follow", "--timeout", "2s"]).exits(0);
    let rest = numbers(&rest.stdout);
    // A message that was printed whole but not yet confirmed is delivered again; no other is, and none is missing.
    let (first, last) = (rest.first().copied().unwrap_or(COUNT), seen.last().copied().unwrap());
    assert_eq!(rest, (first..COUNT).collect::<Vec<_>>());
    assert!(first <= last + 1, "between {last} and {first} some are missing");
}

#[test]
fn a_receiver_that_is_killed_while_it_waits_takes_nothing_with_it() {
    let daemon = programs!().daemon().start();
    let mut first = daemon.start(&["recv"]);
    let mut second = daemon.start(&["recv"]);
    first.kill();
    daemon.text(&["send", daemon.address(), "for the other receiver"]);
    assert_eq!(second.line(), Some(format!("{}\tfor the other receiver", daemon.address())));
}

#[test]
fn receivers_share_the_messages_and_each_goes_to_one() {
    let daemon = programs!().daemon().start();
    let half = (COUNT / 2).to_string();
    let mut receivers = [(); 2].map(|()| daemon.start(&["recv", "--count", &half]));
    for n in 0..COUNT {
        daemon.text(&["send", daemon.address(), &n.to_string()]);
    }
    let mut all = Vec::new();
    for receiver in &mut receivers {
        assert!(receiver.end().success());
        let rest = receiver.rest();
        assert_eq!(rest.len(), COUNT / 2);
        all.extend(rest.iter().map(|line| line.split('\t').nth(1).unwrap().parse::<usize>().unwrap()));
    }
    all.sort_unstable();
    assert_eq!(all, (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn an_application_that_reads_nothing_delays_no_other() {
    let programs = programs!();
    let daemon = programs.daemon().start();
    // It receives, prints into a pipe that nothing reads, and blocks.
    let mut stuck = daemon.command(&["recv", "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    fill(&daemon);
    let other = programs.daemon().peer(&daemon.uri()).start();
    other.route_to(daemon.address());
    let second = daemon.json(&["id", "new"])["address"].as_str().unwrap().to_owned();
    let mut send = other.start(&["send", &second, "hello", "--wait", "delivered", "--timeout", "60s"]);
    let message = daemon.json(&["recv", "--as", &second, "--timeout", "60s"]);
    assert_eq!(message["text"], "hello");
    assert!(send.end().success());
    stuck.kill().unwrap();
    stuck.wait().unwrap();
}
