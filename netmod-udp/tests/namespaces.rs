//! Two hosts, each a network namespace, with a cable between: nodes find each other with nothing configured. Needs the
//! right to make namespaces; without it the tests report that and pass.
//!
//! A node inside a namespace is this very program, started there again to run the test `node_inside_a_namespace`.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rouse_core::netmod::{Endpoint, Netmod, NetmodError, Received, Train};
use rouse_netmod_udp::Udp;

const LISTEN: &str = "ROUSE_TEST_LISTEN";

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{command}: {error}"));
    if !output.status.success() {
        eprintln!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    output.status.success()
}

fn may_make_namespaces() -> bool {
    let name = unique("rouse-probe");
    let made =
        Command::new("ip").args(["netns", "add", &name]).output().is_ok_and(|output| output.status.success());
    if made {
        run(&format!("ip netns del {name}"));
    } else {
        // Past the test harness, which shows only what failing tests print.
        writeln!(std::io::stderr(), "skipped: no right to make network namespaces").ok();
    }
    made
}

fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A namespace; gone when dropped.
struct Host(String);

impl Host {
    fn new() -> Self {
        let host = Host(unique("rouse-udp"));
        assert!(run(&format!("ip netns add {}", host.0)));
        host
    }

    fn ip(&self, command: &str) {
        assert!(run(&format!("ip -n {} {command}", self.0)));
    }

    fn without_ipv6(&self) {
        for which in ["all", "default"] {
            let path = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
            let mut tee = Command::new("ip")
                .args(["netns", "exec", &self.0, "tee", &path])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            tee.stdin.take().unwrap().write_all(b"1").unwrap();
            assert!(tee.wait().unwrap().success());
        }
    }

    /// Lays a cable to `other`; both ends are called `name`.
    fn connect(&self, other: &Host, name: &str) {
        let (here, there) = (&self.0, &other.0);
        assert!(run(&format!("ip link add {name} netns {here} type veth peer name {name} netns {there}")));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        run(&format!("ip netns del {}", self.0));
    }
}

/// A node in a namespace; stopped when dropped.
struct Node {
    child: Child,
    lines: Receiver<String>,
}

impl Node {
    /// Sends an order to the node: see `obey`.
    fn order(&mut self, order: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{order}").unwrap();
    }

    fn start(host: &Host, listen: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new("ip")
            .args(["netns", "exec", &host.0])
            .arg(program)
            .args(["--exact", "node_inside_a_namespace", "--nocapture"])
            .env(LISTEN, listen)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Node { child, lines }
    }

    /// Waits for a line that begins with `start` and ends with `end`, and returns it.
    fn expect_line(&self, start: &str, end: &str) -> String {
        let mut others = BTreeSet::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.starts_with(start) && line.ends_with(end) => return line,
                Ok(line) => drop(others.insert(line)),
                Err(error) => panic!("no line \"{start}…{end}\" among {others:#?}: {error}"),
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn node_inside_a_namespace() {
    let Ok(listen) = std::env::var(LISTEN) else { return };
    let udp = &*Box::leak(Box::new(Udp::bind(&listen).unwrap()));
    let asker = &*Box::leak(Box::new(Mutex::new(None)));
    // The test that started this holds the other end.
    std::thread::spawn(|| {
        std::io::stdin().lines().map_while(Result::ok).for_each(|order| obey(udp, asker, &order));
        std::process::exit(0);
    });
    println!("listens {}", udp.uri());
    async_std::task::block_on(async {
        let mut received = Received::default();
        loop {
            received.clear();
            if let Err(NetmodError::Gone(_)) = udp.recv(&mut received).await {
                while udp.open().await.is_err() {
                    async_std::task::sleep(Duration::from_millis(100)).await;
                }
            }
            for heard in &received.heard {
                println!("heard {}", udp.describe(&heard.endpoint));
                if let Err(error) = udp.send(&heard.endpoint, Train { bytes: b"hello", size: 2 }).await {
                    println!("failed {error}");
                }
            }
            for arrival in &received.arrivals {
                if arrival.bytes.starts_with(b"ask") {
                    let answer = udp.send(&arrival.endpoint, Train::single(b"answer")).await;
                    asker.lock().unwrap().get_or_insert(arrival.endpoint);
                    println!("answered {answer:?}");
                }
                for frame in arrival.bytes.chunks(arrival.size) {
                    println!("got {} {}", udp.describe(&arrival.endpoint), String::from_utf8_lossy(frame));
                }
            }
        }
    });
}

/// `ask PEER` sends a question there; `again` another answer to the first endpoint that asked.
fn obey(udp: &Udp, asker: &Mutex<Option<Endpoint>>, order: &str) {
    let result = async_std::task::block_on(async {
        match order.split_once(' ') {
            Some(("ask", peer)) => {
                let endpoint = udp.resolve(peer).await?[0];
                udp.send(&endpoint, Train::single(b"ask")).await
            }
            _ => {
                let endpoint = asker.lock().unwrap().expect("something has asked");
                udp.send(&endpoint, Train::single(b"again")).await
            }
        }
    });
    println!("obeyed {order} {result:?}");
}

#[test]
fn an_answer_leaves_from_the_address_that_was_dialled_as_long_as_it_is_there() {
    if !may_make_namespaces() {
        return;
    }
    // The dialler's address; the answerer's on the cable, a second one there, and one on another card.
    for [dialler, first, second, other, length, family] in [
        ["192.0.2.9", "192.0.2.1", "192.0.2.2", "198.51.100.1", "24", "-4"],
        ["2001:db8::9", "2001:db8::1", "2001:db8::2", "2001:db8:1::1", "64", "-6"],
    ] {
        let (a, b) = (Host::new(), Host::new());
        a.connect(&b, "cable");
        let add = |host: &Host, address: &str, card: &str| {
            let no_dad = if family == "-6" { "nodad" } else { "" };
            host.ip(&format!("{family} addr add {address}/{length} dev {card} {no_dad}"));
        };
        for address in [first, second] {
            add(&a, address, "cable");
        }
        a.ip("link add card type veth peer name plug");
        a.ip("link set plug up");
        add(&a, other, "card");
        add(&b, dialler, "cable");
        for host in [&a, &b] {
            host.ip("link set cable up");
        }
        a.ip("link set card up");
        b.ip(&format!("{family} route add {other} via {first}"));
        let uri = |ip: &str| if family == "-6" { format!("[{ip}]:7700") } else { format!("{ip}:7700") };
        let (answerer, mut asks) = (Node::start(&a, "[::]"), Node::start(&b, "[::]"));
        answerer.expect_line("listens", "");
        asks.expect_line("listens", "");
        for dialled in [second, first, other] {
            asks.order(&format!("ask {}", uri(dialled)));
            answerer.expect_line("answered Ok", "");
            asks.expect_line("got ", &format!("udp:{} answer", uri(dialled)));
        }
        // Without the address, or its card, the kernel chooses another: the neighbour is not lost.
        let mut answerer = answerer;
        a.ip(&format!("{family} addr del {second}/{length} dev cable"));
        for _ in 0..2 {
            answerer.order("again");
            asks.expect_line("got ", &format!("udp:{} again", uri(first)));
        }
    }
}

#[test]
fn hosts_with_ipv6_alone_find_each_other() {
    if !may_make_namespaces() {
        return;
    }
    let (a, b) = (Host::new(), Host::new());
    a.connect(&b, "cable");
    // The nodes start before their interfaces are up and have to notice the change.
    let nodes = [Node::start(&a, "[::]"), Node::start(&b, "[::]")];
    for node in &nodes {
        node.expect_line("listens udp:[::]:", "7700");
    }
    a.ip("link set cable up");
    b.ip("link set cable up");
    for node in &nodes {
        node.expect_line("heard udp:[fe80::", "%cable]:7700");
        node.expect_line("got udp:[fe80::", "%cable]:7700 o");
    }
}

#[test]
fn hosts_with_ipv4_alone_find_each_other() {
    if !may_make_namespaces() {
        return;
    }
    let (a, b) = (Host::new(), Host::new());
    a.without_ipv6();
    b.without_ipv6();
    a.connect(&b, "cable");
    a.ip("addr add 192.0.2.1/24 dev cable");
    b.ip("addr add 192.0.2.2/24 dev cable");
    a.ip("link set cable up");
    b.ip("link set cable up");
    let nodes = [Node::start(&a, "[::]"), Node::start(&b, "[::]")];
    nodes[0].expect_line("heard udp:192.0.2.2:", "7700");
    nodes[1].expect_line("heard udp:192.0.2.1:", "7700");
    nodes[0].expect_line("got udp:192.0.2.2:7700 ", "o");
    nodes[1].expect_line("got udp:192.0.2.1:7700 ", "o");
}

#[test]
fn an_interface_that_was_down_carries_beacons_again() {
    if !may_make_namespaces() {
        return;
    }
    let (a, b) = (Host::new(), Host::new());
    a.connect(&b, "cable");
    a.ip("link set cable up");
    b.ip("link set cable up");
    let nodes = [Node::start(&a, "[::]"), Node::start(&b, "[::]")];
    nodes[0].expect_line("heard udp:[fe80::", "%cable]:7700");
    nodes[1].expect_line("heard udp:[fe80::", "%cable]:7700");
    // Another hardware address gives another link-local one, so that a beacon from there was sent after this.
    b.ip("link set cable down");
    b.ip("link set cable address 02:00:00:00:00:0b");
    b.ip("link set cable up");
    nodes[0].expect_line("heard udp:[fe80::ff:fe00:b%cable]:", "7700");
    a.ip("link set cable down");
    a.ip("link set cable address 02:00:00:00:00:0a");
    a.ip("link set cable up");
    nodes[1].expect_line("heard udp:[fe80::ff:fe00:a%cable]:", "7700");
    nodes[1].expect_line("got udp:[fe80::ff:fe00:a%cable]:7700 ", "o");
}

#[test]
fn an_interface_that_is_removed_is_left_and_a_new_one_is_joined() {
    if !may_make_namespaces() {
        return;
    }
    let (a, b) = (Host::new(), Host::new());
    let nodes = [Node::start(&a, "0.0.0.0"), Node::start(&b, "0.0.0.0")];
    for name in ["first", "second"] {
        a.connect(&b, name);
        for (host, last) in [(&a, 1), (&b, 2)] {
            let network = if name == "first" { "192.0.2" } else { "198.51.100" };
            host.ip(&format!("addr add {network}.{last}/24 dev {name}"));
            host.ip(&format!("link set {name} up"));
        }
        if name == "first" {
            nodes[0].expect_line("heard udp:192.0.2.2:", "7700");
            nodes[1].expect_line("heard udp:192.0.2.1:", "7700");
            a.ip("link del first");
        }
    }
    nodes[0].expect_line("heard udp:198.51.100.2:", "7700");
    nodes[1].expect_line("heard udp:198.51.100.1:", "7700");
    nodes[1].expect_line("got udp:198.51.100.1:7700 ", "o");
}

#[test]
fn an_address_that_was_removed_is_listened_on_when_it_is_back() {
    if !may_make_namespaces() {
        return;
    }
    let (a, b) = (Host::new(), Host::new());
    a.connect(&b, "cable");
    a.ip("addr add 192.0.2.1/24 dev cable");
    b.ip("addr add 192.0.2.2/24 dev cable");
    a.ip("link set cable up");
    b.ip("link set cable up");
    let steady = Node::start(&a, "192.0.2.1");
    let before = Node::start(&b, "192.0.2.2:7001");
    steady.expect_line("heard udp:192.0.2.2:7001", "");
    before.expect_line("got udp:192.0.2.1:7700 ", "o");
    drop(before);
    a.ip("addr del 192.0.2.1/24 dev cable");
    let after = Node::start(&b, "192.0.2.2:7002");
    after.expect_line("listens", "");
    a.ip("addr add 192.0.2.1/24 dev cable");
    after.expect_line("heard udp:192.0.2.1:7700", "");
    after.expect_line("got udp:192.0.2.1:7700 ", "o");
    steady.expect_line("got udp:192.0.2.2:7002 ", "o");
}
