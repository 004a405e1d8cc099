//! Paths whose MTU is less than 1200 bytes and their headers, in network namespaces: at the first hop, in the middle, behind a
//! router that is no part of the mesh. Long messages cross them, and so do the short messages after those.

use std::time::{Duration, Instant};

use rouse_tests::{Daemon, Namespace, programs, run_timed_in_namespaces, until};

fn main() {
    run_timed_in_namespaces(&[
        ("a_cable_that_takes_1000_bytes_is_crossed", || first_hop(1000, 1000)),
        ("a_cable_that_takes_600_bytes_is_crossed", || first_hop(600, 600)),
        ("a_cable_of_which_one_end_takes_1000_bytes_is_crossed", || first_hop(1500, 1000)),
        ("a_link_learns_the_mtu_though_its_first_message_is_a_long_one", long_first),
        ("a_narrow_cable_between_two_relays_is_crossed", in_the_middle),
        ("a_narrow_cable_behind_a_router_is_crossed", behind_a_router),
        ("a_cable_that_becomes_narrow_under_a_link_is_crossed", becomes_narrow),
    ]);
}

/// The bound on the time that the first long message takes.
const FIRST_LONG: Duration = Duration::from_secs(2);

/// A cable between two hosts: network `10.79.N.0/24`, the first host has address 1, the other 2.
fn cable(n: u8, one: (&Namespace, u16), other: (&Namespace, u16)) {
    let name = format!("cable{n}");
    let peer = other.0.name();
    one.0.ip(&["link", "add", &name, "type", "veth", "peer", "name", &name, "netns", peer]);
    for (last, (host, mtu)) in [(1, one), (2, other)] {
        host.ip(&["address", "add", &format!("10.79.{n}.{last}/24"), "dev", &name]);
        host.ip(&["link", "set", &name, "mtu", &mtu.to_string(), "up"]);
    }
}

fn hosts<const N: usize>() -> [Namespace; N] {
    std::array::from_fn(|_| Namespace::new("narrow"))
}

fn start(host: &Namespace, peer: Option<&str>) -> Daemon {
    let builder = programs!().daemon().listen("udp:0.0.0.0:7700").namespace(host.name());
    match peer {
        Some(peer) => builder.peer(&format!("udp:{peer}:7700")).start(),
        None => builder.start(),
    }
}

/// Sends messages of all lengths one after the other, in each direction. The first long one arrives within [`FIRST_LONG`].
fn talk(one: &Daemon, other: &Daemon) {
    for (from, to) in [(one, other), (other, one)] {
        from.route_to(to.address());
        let send = |text: &str| {
            let began = Instant::now();
            from.talk(to, text);
            began.elapsed()
        };
        send("short");
        let took = send(&"x".repeat(1400));
        assert!(took < FIRST_LONG, "the first long message took {took:?}");
        for text in ["short again".to_owned(), "mesh ".repeat(12_000), "short at last".to_owned()] {
            send(&text);
        }
    }
}

fn until_reported(daemon: &Daemon) {
    until("the narrow path in the health", || {
        let status = daemon.json(&["status"]);
        let lines = status["health"].as_array()?.clone();
        lines
            .into_iter()
            .find(|line| line["text"].as_str().is_some_and(|text| text.contains("takes frames of")))
    });
}

/// The first message of a new link is a long one: the link learns the MTU of the path nevertheless, and uses all of it.
fn long_first() {
    let [a, b] = hosts();
    cable(1, (&a, 1000), (&b, 1000));
    let one = start(&a, None);
    let other = start(&b, Some("10.79.1.1"));
    other.route_to(one.address());
    other.talk(&one, &"x".repeat(1400));
    for _ in 0..4 {
        other.talk(&one, &"mesh ".repeat(12_000));
    }
    until_reported(&other);
}

fn first_hop(here: u16, there: u16) {
    let [a, b] = hosts();
    cable(1, (&a, here), (&b, there));
    let one = start(&a, None);
    let other = start(&b, Some("10.79.1.1"));
    talk(&one, &other);
    until_reported(&other);
}

fn in_the_middle() {
    let [a, b, c, d] = hosts();
    cable(1, (&a, 1500), (&b, 1500));
    cable(2, (&b, 1000), (&c, 1000));
    cable(3, (&c, 1500), (&d, 1500));
    let daemons = [
        start(&a, None),
        start(&b, Some("10.79.1.1")),
        start(&c, Some("10.79.2.1")),
        start(&d, Some("10.79.3.1")),
    ];
    talk(&daemons[0], &daemons[3]);
    until_reported(&daemons[1]);
}

fn behind_a_router() {
    let [a, router, b] = hosts();
    cable(1, (&a, 1500), (&router, 1500));
    cable(2, (&router, 1000), (&b, 1000));
    router.set("net/ipv4/ip_forward", "1");
    a.ip(&["route", "add", "10.79.2.0/24", "via", "10.79.1.2"]);
    b.ip(&["route", "add", "10.79.1.0/24", "via", "10.79.2.1"]);
    let one = start(&a, None);
    let other = start(&b, Some("10.79.1.1"));
    talk(&one, &other);
    until_reported(&one);
}

fn becomes_narrow() {
    let [a, b] = hosts();
    cable(1, (&a, 1500), (&b, 1500));
    let one = start(&a, None);
    let other = start(&b, Some("10.79.1.1"));
    talk(&one, &other);
    for host in [&a, &b] {
        host.ip(&["link", "set", "cable1", "mtu", "800"]);
    }
    talk(&one, &other);
    until_reported(&one);
}
