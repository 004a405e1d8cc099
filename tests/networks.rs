//! Hosts as they are in the field, in network namespaces: interfaces that come later, many of them, networks of which only one
//! is common, and a host that lets nothing out.

use rouse_tests::{Daemon, Namespace, programs, run_in_namespaces_and_with_nft, until};

fn main() {
    let tests: &[(&str, fn())] = &[
        ("a_daemon_takes_an_interface_and_an_address_when_they_come", late),
        ("a_listener_whose_address_has_left_the_host_is_not_up", leaves),
        ("a_daemon_with_nowhere_at_all_to_listen_does_not_start", nowhere),
        ("of_two_networks_on_a_card_the_common_one_is_found", two_networks),
        ("of_too_many_interfaces_the_one_with_an_address_stays", crowded),
        ("what_this_host_does_not_let_out_is_named", forbidden),
    ];
    run_in_namespaces_and_with_nft(
        tests,
        &[("what_a_firewall_of_this_host_does_not_let_out_is_named", firewall)],
    );
}

/// A cable between two hosts, up at both ends.
fn cable(name: &str, one: &Namespace, other: &Namespace) {
    one.ip(&["link", "add", name, "type", "veth", "peer", "name", name, "netns", other.name()]);
    for host in [one, other] {
        host.ip(&["link", "set", name, "up"]);
    }
}

fn without_ipv6(host: &Namespace) {
    for which in ["all", "default"] {
        host.set(&format!("net/ipv6/conf/{which}/disable_ipv6"), "1");
    }
}

fn address(host: &Namespace, address: &str, card: &str) {
    host.ip(&["address", "add", address, "dev", card]);
}

fn start(host: &Namespace) -> Daemon {
    programs!().daemon().with_defaults().namespace(host.name()).start()
}

/// The netmod whose URI holds `part`.
fn netmod(daemon: &Daemon, part: &str) -> serde_json::Value {
    // A netmod that is not up makes the command fail, beside what it prints.
    let status = daemon.rouse(&["--json", "status"]).json();
    let netmods = status["netmods"].as_array().unwrap().clone();
    let named = |netmod: &serde_json::Value| netmod["uri"].as_str().unwrap().contains(part);
    netmods.into_iter().find(named).unwrap_or_else(|| panic!("no netmod with {part}: {status}"))
}

fn late() {
    let host = Namespace::new("late");
    host.ip(&["link", "set", "lo", "up"]);
    let daemon = programs!()
        .daemon()
        .listen("udp:127.0.0.1:7700")
        .argument("--listen")
        .argument("udp:[fe80::77%late]:7700")
        .argument("--listen")
        .argument("udp:192.0.2.77:7700")
        .namespace(host.name())
        .start();
    assert_eq!(netmod(&daemon, "127.0.0.1")["state"], "up");
    for (part, missing) in [("fe80::77", "\"late\""), ("192.0.2.77", "192.0.2.77")] {
        let netmod = netmod(&daemon, part);
        assert_eq!(netmod["state"], "retrying");
        assert!(netmod["last_error"].as_str().unwrap().contains(missing), "{netmod}");
    }
    host.ip(&["link", "add", "late", "type", "veth", "peer", "name", "plug"]);
    host.ip(&["link", "set", "plug", "up"]);
    host.ip(&["link", "set", "late", "up"]);
    host.ip(&["address", "add", "fe80::77/64", "dev", "late", "nodad"]);
    address(&host, "192.0.2.77/24", "late");
    for part in ["fe80::77", "192.0.2.77"] {
        until("the netmod is up", || (netmod(&daemon, part)["state"] == "up").then_some(()));
    }
}

fn leaves() {
    let host = Namespace::new("leaves");
    without_ipv6(&host);
    host.ip(&["link", "set", "lo", "up"]);
    host.ip(&["link", "add", "card", "type", "veth", "peer", "name", "plug"]);
    host.ip(&["link", "set", "plug", "up"]);
    host.ip(&["link", "set", "card", "up"]);
    for discovers in [true, false] {
        address(&host, "192.0.2.78/24", "card");
        let daemon = programs!().daemon();
        let daemon = if discovers { daemon.with_defaults() } else { daemon }.listen("udp:192.0.2.78:7700");
        let daemon = daemon.namespace(host.name()).start();
        until("the netmod is up", || (netmod(&daemon, "192.0.2.78")["state"] == "up").then_some(()));
        host.ip(&["address", "flush", "dev", "card"]);
        until("the state and the error show that the address is missing", || {
            let netmod = netmod(&daemon, "192.0.2.78");
            let error = netmod["last_error"].as_str()?;
            (netmod["state"] == "retrying" && error.contains("192.0.2.78")).then_some(())
        });
        address(&host, "192.0.2.78/24", "card");
        until("the netmod is up again", || (netmod(&daemon, "192.0.2.78")["state"] == "up").then_some(()));
        host.ip(&["address", "flush", "dev", "card"]);
    }
}

fn nowhere() {
    let host = Namespace::new("nowhere");
    host.ip(&["link", "set", "lo", "up"]);
    for listen in ["udp:[fe80::77%late]:7700", "udp:192.0.2.77:7700"] {
        let output = programs!().daemon().listen(listen).namespace(host.name()).output().exits(2);
        assert!(output.stderr.contains("cannot listen on udp:"), "{}", output.stderr);
    }
}

fn two_networks() {
    let (a, b) = (Namespace::new("nets"), Namespace::new("nets"));
    for host in [&a, &b] {
        without_ipv6(host);
    }
    cable("cable", &a, &b);
    for (host, addresses) in [(&a, ["10.80.1.1/24", "10.80.2.1/24"]), (&b, ["10.80.3.2/24", "10.80.2.2/24"])]
    {
        addresses.into_iter().for_each(|ip| address(host, ip, "cable"));
        // As hosts do that drop what comes from a network they do not know.
        host.set("net/ipv4/conf/all/rp_filter", "1");
        host.set("net/ipv4/conf/cable/rp_filter", "1");
    }
    let (one, other) = (start(&a), start(&b));
    assert_eq!(one.neighbour(other.address())["endpoint"], "udp:10.80.2.2:7700");
}

fn crowded() {
    let (a, b) = (Namespace::new("crowd"), Namespace::new("crowd"));
    for n in 0..40 {
        // Each has a link-local address at both ends.
        let (here, there) = (format!("one{n}"), format!("two{n}"));
        a.ip(&["link", "add", &here, "type", "veth", "peer", "name", &there]);
        a.ip(&["link", "set", &here, "up"]);
        a.ip(&["link", "set", &there, "up"]);
    }
    cable("cable", &a, &b);
    without_ipv6(&b);
    a.set("net/ipv6/conf/cable/disable_ipv6", "1");
    address(&a, "10.80.4.1/24", "cable");
    address(&b, "10.80.4.2/24", "cable");
    let (one, other) = (start(&a), start(&b));
    one.neighbour(other.address());
    until("the health to name those left out", || {
        let status = one.json(&["status"]);
        let lines = status["health"].as_array()?.clone();
        lines.into_iter().find(|line| line["hint"].as_str().is_some_and(|hint| hint.contains("!veth*")))
    });
}

/// Waits until the netmod that listens on all IPv4 addresses and the only peer show that this host lets nothing out.
fn shows_that_nothing_is_let_out(daemon: &Daemon) {
    until("the netmod to name it", || {
        let error = netmod(daemon, "0.0.0.0")["last_error"].as_str()?.to_owned();
        error.contains("lets nothing out").then_some(())
    });
    until("the peer to name it", || {
        let peers = daemon.json(&["peers"]);
        let error = peers[0]["last_error"].as_str()?.to_owned();
        error.contains("lets nothing out").then_some(())
    });
}

fn forbidden() {
    let (a, b) = (Namespace::new("forbid"), Namespace::new("forbid"));
    cable("cable", &a, &b);
    address(&a, "10.80.5.1/24", "cable");
    address(&b, "10.80.5.2/24", "cable");
    a.ip(&["route", "add", "prohibit", "10.80.5.2/32"]);
    let peer = "udp:10.80.5.2:7700";
    let one = programs!().daemon().listen("udp:0.0.0.0:7700").peer(peer).namespace(a.name()).start();
    shows_that_nothing_is_let_out(&one);
}

/// A packet that a firewall drops in the output hook is refused to the program that sends it, with EPERM.
fn firewall() {
    let (a, b) = (Namespace::new("wall"), Namespace::new("wall"));
    cable("cable", &a, &b);
    address(&a, "10.80.6.1/24", "cable");
    address(&b, "10.80.6.2/24", "cable");
    a.nft(&["add", "table", "inet", "wall"]);
    a.nft(&["add", "chain", "inet", "wall", "out", "{ type filter hook output priority 0; }"]);
    a.nft(&["add", "rule", "inet", "wall", "out", "udp", "dport", "7700", "drop"]);
    let peer = "udp:10.80.6.2:7700";
    let one = programs!().daemon().listen("udp:0.0.0.0:7700").peer(peer).namespace(a.name()).start();
    shows_that_nothing_is_let_out(&one);
    // The firewall is opened: the peer is dialled again and reached.
    let other = programs!().daemon().listen("udp:10.80.6.2:7700").namespace(b.name()).start();
    a.nft(&["delete", "table", "inet", "wall"]);
    one.neighbour(other.address());
}
