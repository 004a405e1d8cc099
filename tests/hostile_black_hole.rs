//! A neighbour that attracts by the truth what it then swallows: the sender finds out and goes another way.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rouse_tests::hostile::{BlackHole, Target};
use rouse_tests::{Daemon, programs, until};

fn port(daemon: &Daemon) -> SocketAddr {
    daemon.uri().trim_start_matches("udp:").parse().unwrap()
}

/// A build without optimisation on a busy machine takes its time for everything.
const AROUND: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 3 });

#[test]
fn what_a_black_hole_swallows_goes_another_way() {
    let programs = programs!();
    // The honest way has two relays, the hole is next to both ends: it is by far the nearer.
    let right = programs.daemon().start();
    let second = programs.daemon().peer(&right.uri()).start();
    let first = programs.daemon().peer(&second.uri()).start();
    let left = programs.daemon().peer(&first.uri()).start();
    assert_eq!(left.route_to(right.address())["hops"], 3);
    let hole = BlackHole::open(&Target::at(port(&left)), port(&right)).unwrap();
    until("the hole attracts", || (left.route_to(right.address())["hops"] == 2).then_some(()));

    let began = Instant::now();
    left.talk(&right, "through");
    let took = began.elapsed();
    println!("around the hole after {took:?}; it swallowed {} packets", hole.swallowed());
    assert!(hole.swallowed() > 0, "there was something to find out");
    assert!(took <= AROUND, "{took:?}");
    assert_eq!(left.route_to(right.address())["next_hop"], first.address());
    // And what follows goes the good way at once.
    let swallowed = hole.swallowed();
    left.talk(&right, "again");
    assert_eq!(hole.swallowed(), swallowed);
}
