//! Meshes of daemons in network namespaces, with nothing configured: they come up, and messages are routed around a failure, none
//! lost and none delivered twice. `mesh-live` measures the time on a machine that has nothing else to do.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use rouse_core::Client;
use rouse_tests::{Cables, Cut, Daemon, PATIENCE, Stream, Topology, programs, run_in_namespaces, until};

fn main() {
    run_in_namespaces(&[
        ("a_line_of_eight_comes_up_by_itself_and_carries_a_long_message", line),
        ("a_ring_routes_around_a_cable_that_lost_its_carrier", || ring(Fault::Cut(Cut::BothEnds))),
        ("a_ring_routes_around_a_cable_that_only_one_end_sees_fail", || ring(Fault::Cut(Cut::OneEnd))),
        ("a_ring_routes_around_a_cable_that_fell_silent", || ring(Fault::Cut(Cut::Silent))),
        ("a_ring_routes_around_a_relay_that_was_killed", || ring(Fault::Kill)),
        ("an_interface_that_loses_its_carrier_ends_its_link_with_that_reason", carrier),
    ]);
}

fn start(cables: &Cables) -> Vec<Daemon> {
    std::thread::scope(|scope| {
        let start = |host: usize| {
            let builder = programs!().daemon().with_defaults().namespace(cables.host(host));
            scope.spawn(move || builder.start())
        };
        let starting: Vec<_> = (0..cables.hosts()).map(start).collect();
        starting.into_iter().map(|one| one.join().expect("a daemon starts")).collect()
    })
}

fn line() {
    let cables = Cables::new(Topology::Line(8));
    let daemons = start(&cables);
    let (first, last) = (&daemons[0], &daemons[7]);
    for (one, other) in [(first, last), (last, first)] {
        assert_eq!(one.route_to(other.address())["hops"], 7);
    }
    let text = "mesh ".repeat(12_000);
    let (_, message) = first.talk(last, &text);
    assert_eq!(message["from"], first.address());
}

#[derive(Clone, Copy)]
enum Fault {
    Cut(Cut),
    Kill,
}

/// The first host sends to the third over the second. When that path fails there is the other one, over the other three.
fn ring(fault: Fault) {
    let cables = Cables::new(Topology::Ring(6));
    let mut daemons = start(&cables);
    let until_hops = |daemons: &[Daemon], hops: u64| {
        until(&format!("a route of {hops} hops"), || {
            let route = daemons[0].route_to(daemons[2].address());
            (route["hops"] == hops).then_some(())
        });
    };
    until_hops(&daemons, 2);
    let client = |daemon: &Daemon| block_on(Client::connect(daemon.socket())).unwrap();
    let address = daemons[2].address().parse().unwrap();
    let stream = Stream::start(client(&daemons[0]), client(&daemons[2]), address, 500);
    stream.wait_for(Instant::now(), 100, PATIENCE).unwrap();
    let then = Instant::now();
    match fault {
        Fault::Cut(cut) => cables.cut(cables.between(0, 1).unwrap(), cut),
        Fault::Kill => daemons[1].process().kill(),
    }
    until_hops(&daemons, 4);
    stream.wait_for(Instant::now(), 100, PATIENCE).unwrap();
    let outcome = stream.end(then, PATIENCE).unwrap();
    assert_eq!((outcome.lost, outcome.doubled), (0, 0), "{outcome:?}");
    // The bound is wide, because a busy machine notices a failure late.
    assert!(outcome.gap < Duration::from_secs(20), "{outcome:?}");
}

/// The link ends because of the interface, as its reason shows. A timer would end the link to a silent idle neighbour only after
/// seconds.
fn carrier() {
    let cables = Cables::new(Topology::Line(2));
    let daemons = start(&cables);
    for (one, other) in [(0, 1), (1, 0)] {
        daemons[one].neighbour(daemons[other].address());
    }
    let mut events = daemons.iter().map(|one| one.start(&["--json", "watch"])).collect::<Vec<_>>();
    // A watch that has printed an event is subscribed.
    for (daemon, watch) in daemons.iter().zip(&mut events) {
        until("an event of the watch", || {
            daemon.json(&["send", daemon.address(), "are you there"]);
            watch.line_within(Duration::from_millis(100))
        });
    }
    cables.cut(0, Cut::BothEnds);
    for watch in &mut events {
        let down = watch.json_where(|event| event["event"] == "neighbour_down");
        let reason = down["reason"].as_str().unwrap();
        assert_eq!(
            reason,
            "the path to the neighbour is cut: check that the interface is up and has a carrier"
        );
    }
}
