//! A black hole: a neighbour that advertises a true route and drops the packets. The sender detects it and takes another path.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rouse_tests::hostile::{BlackHole, Target};
use rouse_tests::{Daemon, programs, until};

fn port(daemon: &Daemon) -> SocketAddr {
    daemon.uri().trim_start_matches("udp:").parse().unwrap()
}

/// The time until a message has taken another path. It is longer for a build without optimisation.
const RECOVERY: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 3 });

#[test]
fn a_message_that_a_black_hole_drops_is_sent_over_another_path() {
    let programs = programs!();
    // The honest path has two relays, while the black hole is next to both ends and so has the better route.
    let right = programs.daemon().start();
    let second = programs.daemon().peer(&right.uri()).start();
    let first = programs.daemon().peer(&second.uri()).start();
    let left = programs.daemon().peer(&first.uri()).start();
    assert_eq!(left.route_to(right.address())["hops"], 3);
    let hole = BlackHole::open(&Target::at(port(&left)), port(&right)).unwrap();
    until("the route over the black hole", || (left.route_to(right.address())["hops"] == 2).then_some(()));

    let began = Instant::now();
    left.talk(&right, "through");
    let took = began.elapsed();
    println!("around the hole after {took:?}; it dropped {} packets", hole.dropped());
    assert!(hole.dropped() > 0, "the black hole dropped packets");
    assert!(took <= RECOVERY, "{took:?}");
    assert_eq!(left.route_to(right.address())["next_hop"], first.address());
    // The next message takes the good path at once.
    let dropped = hole.dropped();
    left.talk(&right, "again");
    assert_eq!(hole.dropped(), dropped);
}
