//! The daemon's socket: it comes back when it is removed, and its connections are bounded so that its owner gets in.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use rouse_tests::{Daemon, programs, until};

/// Waits until a daemon with this address answers where `daemon` is looked for.
#[track_caller]
fn until_it_is(daemon: &Daemon, address: &str) {
    until(&format!("{address} answers"), || (daemon.rouse(&["id"]).text() == address).then_some(()));
}

#[test]
fn a_socket_that_was_removed_comes_back() {
    let mut daemon = programs!().daemon().start();
    fs::remove_file(daemon.socket()).unwrap();
    until_it_is(&daemon, daemon.address());
    daemon.text(&["stop"]);
    assert!(daemon.process().end().success());
    assert!(!daemon.socket().exists());
}

#[test]
fn a_state_directory_that_was_replaced_is_taken_again() {
    let daemon = programs!().daemon().start();
    fs::remove_dir_all(daemon.state()).unwrap();
    fs::create_dir(daemon.state()).unwrap();
    until_it_is(&daemon, daemon.address());
    let second = programs!().daemon().state_of(&daemon).output().exits(1);
    assert!(second.stderr.contains(&format!("pid {}", daemon.pid())), "{}", second.stderr);
    daemon.text(&["name", "add", "myself", daemon.address()]);
}

#[test]
fn a_daemon_that_took_the_place_keeps_it_for_as_long_as_it_lives() {
    let mut first = programs!().daemon().start();
    fs::remove_dir_all(first.state()).unwrap();
    let mut second = programs!().daemon().state_of(&first).start();
    assert_ne!(first.address(), second.address());
    until_it_is(&first, second.address());
    second.process().kill();
    until_it_is(&first, first.address());
    first.text(&["stop"]);
    assert!(first.process().end().success());
}

/// A connection that has sent this greeting and received that of the daemon.
fn greeted(daemon: &Daemon, greeting: &[u8; 12]) -> (UnixStream, [u8; 12]) {
    let mut stream = UnixStream::connect(daemon.socket()).expect("it serves");
    stream.write_all(greeting).expect("it listens");
    let mut theirs = [0; 12];
    stream.read_exact(&mut theirs).expect("it greets");
    (stream, theirs)
}

/// The greeting of a client that has the version of the daemon, which answers a wrong version with its own.
fn greeting(daemon: &Daemon) -> [u8; 12] {
    let (_, mut theirs) = greeted(daemon, b"rouseipc\x00\x00\x00\x00");
    theirs[10..].fill(0);
    theirs
}

#[test]
fn the_owner_stops_a_daemon_whose_connections_are_all_taken() {
    let mut daemon = programs!().daemon().start();
    let greeting = greeting(&daemon);
    let taken: Vec<UnixStream> = (0..256).map(|_| greeted(&daemon, &greeting).0).collect();
    let silent: Vec<UnixStream> =
        (0..64).map(|_| UnixStream::connect(daemon.socket()).expect("it serves")).collect();
    let refused = daemon.rouse(&["send", daemon.address(), "x"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("as many connections as it takes"), "{}", refused.stderr);
    daemon.text(&["peers"]);
    daemon.text(&["reload"]);
    daemon.text(&["stop"]);
    assert!(daemon.process().end().success());
    drop((taken, silent));
}
