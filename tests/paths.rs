//! The path between two daemons changes under a link: it loses long frames, or the frames arrive from another port.

use std::time::{Duration, Instant};

use rouse_tests::{Daemon, Relay, programs, until};

/// The length of every message, in bytes: some fifty frames.
const LENGTH: u32 = 60_000;

/// Two daemons and the cable between them: `friend` has dialled `daemon` over it.
struct Two {
    daemon: Daemon,
    friend: Daemon,
    cable: Relay,
}

impl Two {
    fn start(most: usize) -> Self {
        let daemon = programs!().daemon().start();
        let cable = Relay::new(&daemon.uri());
        cable.lose_longer_than(most);
        let friend = programs!().daemon().peer(&cable.uri()).start();
        friend.route_to(daemon.address());
        daemon.route_to(friend.address());
        Two { daemon, friend, cable }
    }

    /// A long message from the friend; returns how long it took.
    fn send_long(&self, n: u32) -> Duration {
        let body: Vec<u8> =
            (0..LENGTH).map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(n) >> 13) as u8).collect();
        let file = self.friend.state().join("body");
        std::fs::write(&file, &body).unwrap();
        let began = Instant::now();
        let sending = self.friend.send(&self.daemon, &["--file", file.to_str().unwrap()]);
        let received = self.daemon.rouse(&["recv", "--raw", "--timeout", "60s"]).exits(0);
        sending.delivered();
        let took = began.elapsed();
        assert_eq!(received.stdout, body);
        took
    }

    /// A short message from the friend.
    fn send(&self, text: &str) {
        self.friend.talk(&self.daemon, text);
    }

    fn status(&self, part: &str, name: &str) -> u64 {
        self.daemon.json(&["status"])[part][name].as_u64().unwrap()
    }

    /// Where the daemon takes its neighbour to be.
    fn endpoint(&self) -> String {
        self.daemon.neighbour(self.friend.address())["endpoint"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_neighbour_answers_from_the_address_that_was_dialled() {
    let daemon = programs!().daemon().listen("udp:0.0.0.0:0").start();
    let uri = daemon.uri().replace("0.0.0.0", "127.0.0.2");
    let friend = programs!().daemon().listen("udp:127.0.0.1:0").peer(&uri).start();
    assert_eq!(friend.neighbour(daemon.address())["endpoint"], uri);
    friend.json(&["ping", daemon.address()]);
}

#[test]
fn long_messages_cross_a_path_that_silently_loses_long_frames() {
    let two = Two::start(1300);
    for n in 0..10 {
        two.send_long(n);
    }
    let (came, went) = two.cable.longest();
    assert!(came >= 1400, "longer frames were tried: {came}");
    assert!(went <= 1300);
}

#[test]
fn a_path_that_begins_to_lose_long_frames_delays_long_messages_for_seconds_only() {
    let two = Two::start(usize::MAX);
    let mut n = 0;
    until("frames of 1452 bytes", || {
        n += 1;
        two.send_long(n);
        (two.cable.longest().1 >= 1452).then_some(())
    });
    two.cable.lose_longer_than(1300);
    let took = two.send_long(99);
    assert!(took < Duration::from_secs(15), "{took:?}");
    two.cable.longest();
    two.send_long(100);
    let (came, _) = two.cable.longest();
    assert!(came <= 1300, "nothing longer is sent any more: {came}");
}

#[test]
fn a_neighbour_whose_port_changes_is_followed_without_a_new_handshake() {
    let two = Two::start(usize::MAX);
    two.send("before");
    let (daemon, friend) = (two.status("counters", "handshakes_done"), &two.friend);
    let there = friend.json(&["status"])["counters"]["handshakes_done"].as_u64();
    for n in 0..3 {
        two.cable.rebind();
        let began = Instant::now();
        two.send(&n.to_string());
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        let port = format!(":{}", two.cable.port());
        until("the daemon to follow", || two.endpoint().ends_with(&port).then_some(()));
    }
    assert_eq!(two.status("counters", "handshakes_done"), daemon);
    assert_eq!(friend.json(&["status"])["counters"]["handshakes_done"].as_u64(), there);
}

#[test]
fn captured_frames_that_are_replayed_from_another_address_move_no_link() {
    let two = Two::start(usize::MAX);
    two.send("before");
    let endpoint = two.endpoint();
    for n in 0..20 {
        two.send(&n.to_string());
        for datagram in two.cable.captured() {
            two.cable.inject_from_elsewhere(&datagram).unwrap();
        }
    }
    until("what came from elsewhere to be dropped", || {
        (two.status("drops", "replay") + two.status("drops", "stranger") > 100).then_some(())
    });
    assert_eq!(two.endpoint(), endpoint);
    two.send("after");
}
