//! A cable of a ring fails under pings alone: what flows must not decide how soon a way around it is found.

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use async_std::task;
use rouse_core::{Address, Client};
use rouse_tests::{Cables, Cut, Daemon, Topology, programs, run_timed_in_namespaces};

/// Hosts of the ring.
const HOSTS: usize = 6;
/// The pause between two pings.
const EVERY: Duration = Duration::from_millis(30);
/// In so long a ping gets through again.
const BAR: Duration = Duration::from_secs(1);

fn main() {
    run_timed_in_namespaces(&[
        ("pings_heal_at_once_when_a_relay_sees_its_far_cable_cut", || heals(found, Cut::OneEnd)),
        ("pings_heal_at_once_when_both_ends_see_their_cable_cut", || heals(found, Cut::BothEnds)),
        ("pings_heal_at_once_when_a_relay_that_does_not_discover_cannot_send", || heals(named, Cut::OneEnd)),
        ("pings_heal_at_once_when_only_timers_detect_the_cut", || heals(named, Cut::Silent)),
    ]);
}

/// Pings from one daemon to another, one each [`EVERY`], until the end; when each that was answered was sent.
fn ping(client: &Client, target: Address, until: Instant) -> Vec<Instant> {
    let answered = Arc::new(Mutex::new(Vec::new()));
    let mut pings = Vec::new();
    while Instant::now() < until {
        let (client, answered) = (client.clone(), answered.clone());
        pings.push(task::spawn(async move {
            let sent = Instant::now();
            if client.ping(&target, Duration::from_millis(150)).await.is_ok() {
                answered.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
            }
        }));
        sleep(EVERY);
    }
    task::block_on(futures::future::join_all(pings));
    std::mem::take(&mut *answered.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Daemons that find each other.
fn found(cables: &Cables) -> Vec<Daemon> {
    (0..HOSTS).map(|n| programs!().daemon().with_defaults().namespace(cables.host(n)).start()).collect()
}

/// Daemons that are named to each other, over IPv4, and do not discover: nothing watches their interfaces.
fn named(cables: &Cables) -> Vec<Daemon> {
    let start = |n: usize| {
        for (cable, end) in [(n, 1), ((n + HOSTS - 1) % HOSTS, 2)] {
            let (address, interface) = (format!("10.77.{cable}.{end}/24"), format!("cable{cable}"));
            let ip = ["-n", cables.host(n), "addr", "add", &address, "dev", &interface];
            assert!(Command::new("ip").args(ip).status().unwrap().success());
        }
        let peer = format!("udp:10.77.{n}.2:7700");
        programs!().daemon().listen("udp:0.0.0.0:7700").peer(&peer).namespace(cables.host(n)).start()
    };
    (0..HOSTS).map(start).collect()
}

/// The second host is the relay between the first and the third; the cable to the third fails at its end.
fn heals(start: fn(&Cables) -> Vec<Daemon>, cut: Cut) {
    let cables = Cables::new(Topology::Ring(HOSTS));
    let daemons = start(&cables);
    for (from, to) in [(0, 2), (2, 0), (1, 2), (2, 1), (5, 2)] {
        daemons[from].route_to(daemons[to].address());
    }
    let cable = cables.between(1, 2).unwrap();
    let client = task::block_on(Client::connect(daemons[0].socket())).unwrap();
    let target: Address = daemons[2].address().parse().unwrap();
    let mut took = Vec::new();
    for _ in 0..2 {
        let way = daemons[0].route_to(daemons[2].address());
        assert_eq!(way["next_hop"], daemons[1].address(), "{way}");
        let begun = Instant::now();
        let (fault, answered) = std::thread::scope(|scope| {
            let pings = scope.spawn(|| ping(&client, target, begun + Duration::from_secs(4)));
            sleep(Duration::from_millis(500));
            cables.cut(cable, cut);
            (Instant::now(), pings.join().unwrap())
        });
        let healed = answered.iter().filter(|sent| **sent > fault).min().expect("a ping gets through again");
        took.push(healed.duration_since(fault));
        cables.mend(cable, cut);
        rouse_tests::until("the way is short again", || {
            let routes = daemons[0].json(&["routes"]);
            let direct = |route: &&serde_json::Value| {
                route["destination"] == daemons[2].address()
                    && route["next_hop"] == daemons[1].address()
                    && route["state"] == "active"
            };
            routes.as_array().unwrap().iter().find(direct).map(|_| ())
        });
    }
    println!("{cut:?} {took:?}");
    assert!(took.iter().all(|took| *took < BAR), "{took:?}");
}
