//! Meshes of daemons in network namespaces, with nothing configured: they come up, and what fails is got round, with no message
//! lost and none twice. How fast is a matter for `mesh-live`, on a machine that has nothing else to do.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use rouse_core::Client;
use rouse_tests::{Cables, Cut, Daemon, PATIENCE, Stream, Topology, programs, run_in_namespaces, until};

fn main() {
    run_in_namespaces(&[
        ("a_line_of_eight_comes_up_by_itself_and_carries_a_long_message", line),
        ("a_ring_gets_round_a_cable_that_lost_its_carrier", || ring(Fault::Cut(Cut::BothEnds))),
        ("a_ring_gets_round_a_cable_that_only_one_end_sees_fail", || ring(Fault::Cut(Cut::OneEnd))),
        ("a_ring_gets_round_a_cable_that_fell_silent", || ring(Fault::Cut(Cut::Silent))),
        ("a_ring_gets_round_a_relay_that_was_killed", || ring(Fault::Kill)),
        ("an_interface_that_loses_its_carrier_ends_its_link_and_says_so", carrier),
    ]);
}

fn start(cables: &Cables) -> Vec<Daemon> {
    std::thread::scope(|scope| {
        let start = |host: usize| {
            let builder = programs!().daemon().as_it_comes().namespace(cables.host(host));
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

/// From the first to the third goes over the second; when that way fails there is the other, over all the rest.
fn ring(fault: Fault) {
    let cables = Cables::new(Topology::Ring(6));
    let mut daemons = start(&cables);
    let way = |daemons: &[Daemon], hops: u64| {
        until(&format!("a way of {hops} links"), || {
            let route = daemons[0].route_to(daemons[2].address());
            (route["hops"] == hops).then_some(())
        });
    };
    way(&daemons, 2);
    let client = |daemon: &Daemon| block_on(Client::connect(daemon.socket())).unwrap();
    let address = daemons[2].address().parse().unwrap();
    let stream = Stream::start(client(&daemons[0]), client(&daemons[2]), address, 500);
    stream.wait_for(Instant::now(), 100, PATIENCE).unwrap();
    let then = Instant::now();
    match fault {
        Fault::Cut(cut) => cables.cut(cables.between(0, 1).unwrap(), cut),
        Fault::Kill => daemons[1].process().kill(),
    }
    way(&daemons, 4);
    stream.wait_for(Instant::now(), 100, PATIENCE).unwrap();
    let outcome = stream.end(then, PATIENCE).unwrap();
    assert_eq!((outcome.lost, outcome.doubled), (0, 0), "{outcome:?}");
    // A busy machine may be slow to notice; an hour of silence is no way round.
    assert!(outcome.gap < Duration::from_secs(20), "{outcome:?}");
}

/// An idle neighbour that goes away in silence is missed after seconds. That the link ends sooner, by the interface's word, is
/// what its reason says.
fn carrier() {
    let cables = Cables::new(Topology::Line(2));
    let daemons = start(&cables);
    for (one, other) in [(0, 1), (1, 0)] {
        daemons[one].neighbour(daemons[other].address());
    }
    let mut events = daemons.iter().map(|one| one.start(&["--json", "watch"])).collect::<Vec<_>>();
    // A watch that has told of something is under way.
    for (daemon, watch) in daemons.iter().zip(&mut events) {
        until("the watch tells", || {
            daemon.json(&["send", daemon.address(), "are you there"]);
            watch.line_within(Duration::from_millis(100))
        });
    }
    cables.cut(0, Cut::BothEnds);
    for watch in &mut events {
        let down = watch.json_where(|event| event["event"] == "neighbour_down");
        let reason = down["reason"].as_str().unwrap();
        assert!(reason.contains("no carrier"), "{reason}");
    }
}
