//! Daemons in network namespaces: they discover each other without configuration. Without the right to make namespaces these
//! tests print a notice and count as ignored.

use rouse_tests::{Daemon, Family, Lan, programs, run_in_namespaces, until};

fn main() {
    run_in_namespaces(&[
        ("two_hosts_find_each_other_over_ipv6_alone", || two_hosts(Family::Ipv6)),
        ("two_hosts_find_each_other_over_ipv4_alone", || two_hosts(Family::Ipv4)),
        ("two_nodes_on_one_host_find_each_other", two_on_one_host),
        ("two_nodes_on_a_host_without_a_network_find_each_other", two_without_a_network),
        ("three_hosts_and_a_fourth_that_comes_later_all_reach_each_other", a_latecomer),
        ("a_host_that_was_unplugged_is_found_again", unplugged),
        ("a_node_that_does_not_discover_is_not_found", silent),
    ]);
}

fn start(namespace: &str) -> Daemon {
    programs!().daemon().with_defaults().namespace(namespace).start()
}

/// A message each way.
fn talk(one: &Daemon, other: &Daemon) {
    for (from, to) in [(one, other), (other, one)] {
        from.talk(to, "hello mesh");
    }
}

fn two_hosts(family: Family) {
    let lan = Lan::new(2, family);
    let (one, other) = (start(lan.host(0)), start(lan.host(1)));
    let peer = one.neighbour(other.address());
    let endpoint = peer["endpoint"].as_str().unwrap();
    match family {
        Family::Ipv6 => assert!(endpoint.starts_with("udp:[fe80:"), "{endpoint}"),
        Family::Ipv4 => assert_eq!(endpoint, "udp:10.77.0.2:7700"),
    }
    talk(&one, &other);
}

fn two_on_one_host() {
    let lan = Lan::new(1, Family::Ipv6);
    let (one, other) = (start(lan.host(0)), start(lan.host(0)));
    one.neighbour(other.address());
    talk(&one, &other);
}

fn two_without_a_network() {
    let lan = Lan::new(1, Family::Ipv4);
    lan.plug(0, false);
    let (one, other) = (start(lan.host(0)), start(lan.host(0)));
    one.neighbour(other.address());
    talk(&one, &other);
}

fn a_latecomer() {
    let lan = Lan::new(4, Family::Ipv6);
    let mut daemons: Vec<Daemon> = (0..3).map(|n| start(lan.host(n))).collect();
    for other in &daemons[1..] {
        daemons[0].route_to(other.address());
    }
    daemons.push(start(lan.host(3)));
    for one in &daemons {
        for other in daemons.iter().filter(|other| other.address() != one.address()) {
            one.route_to(other.address());
        }
    }
    talk(&daemons[3], &daemons[1]);
}

fn unplugged() {
    let lan = Lan::new(2, Family::Ipv6);
    let (one, other) = (start(lan.host(0)), start(lan.host(1)));
    one.neighbour(other.address());
    lan.plug(1, false);
    until("the link is down", || (one.json(&["status"])["neighbours"] == 0).then_some(()));
    one.json(&["send", other.address(), "when you are back"]);
    lan.plug(1, true);
    let message = other.json(&["recv", "--timeout", "60s"]);
    assert_eq!(message["text"], "when you are back");
}

fn silent() {
    let lan = Lan::new(3, Family::Ipv6);
    let hidden =
        programs!().daemon().with_defaults().argument("--no-discover").namespace(lan.host(0)).start();
    let (one, other) = (start(lan.host(1)), start(lan.host(2)));
    // By the time that two have found each other, a third that spoke would have been heard as well.
    one.neighbour(other.address());
    assert_eq!(hidden.json(&["peers"]), serde_json::json!([]));
    assert_eq!(one.json(&["peers"]).as_array().unwrap().len(), 1);
}
