//! Two hosts that find each other over one cable or two, in network namespaces: a cable is pulled, or the hosts get new addresses,
//! while messages flow from one to the other.

use std::time::{Duration, Instant};

use async_std::task;
use rouse_core::Client;
use rouse_tests::{Daemon, Family, Namespace, Stream, programs, run_timed_in_namespaces};

/// Messages a second.
const RATE: u32 = 500;
/// The other cable carries the messages after this time at most.
const OTHER_CABLE: Duration = Duration::from_millis(500);
/// Hosts with new addresses exchange messages again after this time at most.
const NEW_ADDRESSES: Duration = Duration::from_millis(1500);

/// A cable that was away is in use again after this time at most.
const SAME_CABLE: Duration = Duration::from_millis(300);

fn main() {
    run_timed_in_namespaces(&[
        ("a_cable_that_is_back_is_in_use_at_once_over_ipv6", || plugged_in_again(Family::Ipv6)),
        ("a_cable_that_is_back_is_in_use_at_once_over_ipv4", || plugged_in_again(Family::Ipv4)),
        ("the_other_cable_carries_at_once_over_ipv6", || pulled(Family::Ipv6)),
        ("the_other_cable_carries_at_once_over_ipv4", || pulled(Family::Ipv4)),
        ("hosts_with_new_addresses_are_linked_at_once_over_ipv6", || renumbered(Family::Ipv6)),
        ("hosts_with_new_addresses_are_linked_at_once_over_ipv4", || renumbered(Family::Ipv4)),
    ]);
}

/// Two hosts with cables between them.
struct Two {
    hosts: [Namespace; 2],
    family: Family,
}

impl Two {
    fn new(cables: u8, family: Family) -> Self {
        let hosts = [Namespace::new("cables"), Namespace::new("cables")];
        for host in &hosts {
            for which in ["all", "default"] {
                host.set(&format!("net/ipv6/conf/{which}/accept_dad"), "0");
                let disabled = if family == Family::Ipv4 { "1" } else { "0" };
                host.set(&format!("net/ipv6/conf/{which}/disable_ipv6"), disabled);
            }
            host.ip(&["link", "set", "lo", "up"]);
        }
        let two = Two { hosts, family };
        for n in 0..cables {
            let (card, [one, other]) = (card(n), &two.hosts);
            one.ip(&["link", "add", &card, "type", "veth", "peer", "name", &card, "netns", other.name()]);
            for host in 0..2 {
                // Only the addresses that the test gives.
                two.hosts[host].ip(&["link", "set", &card, "addrgenmode", "none"]);
                two.hosts[host].ip(&["link", "set", &card, "up"]);
                // The system repeats a lost neighbour solicitation only after a second, which is not the time that is
                // measured here.
                let protocol = if family == Family::Ipv4 { "ipv4" } else { "ipv6" };
                two.hosts[host].set(&format!("net/{protocol}/neigh/{card}/retrans_time_ms"), "100");
                two.address(host, n, n);
            }
        }
        two
    }

    /// Gives a host an address in one of many networks.
    fn address(&self, host: usize, cable: u8, network: u8) {
        let last = host + 1;
        let (address, nodad): (String, &[&str]) = match self.family {
            Family::Ipv4 => (format!("10.81.{network}.{last}/24"), &[]),
            Family::Ipv6 => (format!("fe80::{network:x}:{last}/64"), &["nodad"]),
        };
        let card = card(cable);
        self.hosts[host].ip(&[&["address", "add", &address, "dev", &card], nodad].concat());
    }

    /// A card that was down has lost its IPv6 addresses.
    fn plug_in(&self, host: usize, cable: u8) {
        self.hosts[host].ip(&["link", "set", &card(cable), "up"]);
        if self.family == Family::Ipv6 {
            self.address(host, cable, cable);
        }
    }

    fn start(&self) -> [Daemon; 2] {
        [0, 1].map(|n| programs!().daemon().with_defaults().namespace(self.hosts[n].name()).start())
    }

    /// The cable that a link between the two uses.
    fn in_use(&self, endpoint: &str) -> u8 {
        let is_there = |n: &u8| match self.family {
            Family::Ipv4 => endpoint.contains(&format!("10.81.{n}.")),
            Family::Ipv6 => {
                endpoint.contains(&format!("%{}", card(*n))) || endpoint.contains(&format!("fe80::{n:x}:"))
            }
        };
        (0..2).find(is_there).unwrap_or_else(|| panic!("{endpoint} is at no cable"))
    }
}

fn card(cable: u8) -> String {
    format!("cable{cable}")
}

/// The longest silence of a stream of messages that `change` causes.
fn silence(daemons: &[Daemon; 2], change: impl FnOnce()) -> Duration {
    let client = |n: usize| task::block_on(Client::connect(daemons[n].socket())).unwrap();
    for (from, to) in [(0, 1), (1, 0)] {
        daemons[from].route_to(daemons[to].address());
    }
    let address = daemons[1].address().parse().unwrap();
    let stream = Stream::start(client(0), client(1), address, RATE);
    stream.wait_for(Instant::now(), RATE as usize / 2, Duration::from_secs(10)).unwrap();
    let fault = Instant::now();
    change();
    // Many more than are on their way when the fault comes.
    stream.wait_for(fault, RATE as usize, Duration::from_secs(30)).unwrap();
    let outcome = stream.end(fault, Duration::from_secs(10)).unwrap();
    assert_eq!((outcome.lost, outcome.doubled), (0, 0), "{outcome:?}");
    println!("silence {:?}", outcome.gap);
    outcome.gap
}

fn pulled(family: Family) {
    let two = Two::new(2, family);
    let daemons = two.start();
    for at in [0, 1, 0, 1] {
        let endpoint = daemons[0].neighbour(daemons[1].address())["endpoint"].as_str().unwrap().to_owned();
        let cable = two.in_use(&endpoint);
        let took = silence(&daemons, || two.hosts[at].ip(&["link", "set", &card(cable), "down"]));
        assert!(took < OTHER_CABLE, "cable {cable} of {endpoint} pulled at host {at}: {took:?}");
        // It is the way when the other one is pulled.
        two.plug_in(at, cable);
    }
}

fn renumbered(family: Family) {
    let two = Two::new(1, family);
    let daemons = two.start();
    for network in 1..4 {
        let took = silence(&daemons, || {
            for host in 0..2 {
                two.hosts[host].ip(&["address", "flush", "dev", &card(0)]);
                two.address(host, 0, network);
            }
        });
        assert!(took < NEW_ADDRESSES, "network {network}: {took:?}");
    }
}

/// Sets the only cable down for a time, and measures from its return to the first answer.
fn plugged_in_again(family: Family) {
    let two = Two::new(1, family);
    let daemons = two.start();
    let peer = daemons[1].address().parse().unwrap();
    let client = task::block_on(Client::connect(daemons[0].socket())).unwrap();
    // Each is a little longer than one of the intervals from the cut to a probe of the neighbour.
    for (at, away) in [(0, 1100), (1, 2100), (0, 3100)] {
        daemons[0].route_to(daemons[1].address());
        two.hosts[at].ip(&["link", "set", &card(0), "down"]);
        std::thread::sleep(Duration::from_millis(away));
        two.plug_in(at, 0);
        let back = Instant::now();
        let answered = async {
            while client.ping(&peer, Duration::from_millis(100)).await.is_err() {
                task::sleep(Duration::from_millis(2)).await;
            }
        };
        task::block_on(async_std::future::timeout(Duration::from_secs(10), answered))
            .expect("the cable is back");
        let took = back.elapsed();
        println!("answered after {took:?}");
        assert!(took < SAME_CABLE, "away for {away} ms, set down at host {at}: {took:?}");
    }
}
