//! Nodes of one host find each other by IPv4 multicast on the loopback interface.
#![allow(missing_docs)]

mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};

use async_std::task::block_on;
use common::{endpoint, frames, hear, run_until, soon};
use futures::FutureExt;
use futures::future::{join, select};
use rouse_core::netmod::{Endpoint, Netmod, NetmodError, Received, Train};
use rouse_netmod_udp::{Udp, UdpConfig};

/// A multicast group that no other test of this host uses: the port is a free one, and the address depends on the
/// process and the test.
struct TestGroup {
    address: Ipv4Addr,
    port: u16,
}

impl TestGroup {
    fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(239, high, low, NEXT.fetch_add(1, Ordering::Relaxed));
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        TestGroup { address, port }
    }

    fn config(&self, listen: &str) -> UdpConfig {
        UdpConfig {
            group_v4: self.address,
            group_port: self.port,
            interfaces: vec!["lo*".to_owned()],
            ..UdpConfig::listen_on(listen).unwrap()
        }
    }

    fn open(&self, listen: &str) -> Udp {
        open(self.config(listen))
    }
}

fn open(config: UdpConfig) -> Udp {
    let udp = Udp::with(config);
    block_on(udp.open()).unwrap();
    udp
}

/// Runs both until each has received a beacon of the other.
fn find_each_other(a: &Udp, b: &Udp) {
    let all = block_on(hear(&[a, b], vec![(0, endpoint(b)), (1, endpoint(a))]));
    let instances =
        |node| all.iter().filter(move |(receiver, _)| *receiver == node).map(|(_, heard)| heard.instance);
    assert!(
        instances(0).all(|instance| instances(1).all(|other| instance != other)),
        "a node reported its own beacon"
    );
}

#[test]
fn two_nodes_of_one_host_find_each_other_where_they_can_be_dialled() {
    let group = TestGroup::new();
    let (a, b) = (group.open("[::]:0"), group.open("[::]:0"));
    let loopback = |udp: &Udp| SocketAddr::from((Ipv4Addr::LOCALHOST, udp.local_addr().unwrap().port()));
    let (to_a, to_b) = (Endpoint::from(loopback(&a)), Endpoint::from(loopback(&b)));
    block_on(hear(&[&a, &b], vec![(0, to_b), (1, to_a)]));
    block_on(soon(a.send(&to_b, Train::single(b"hello")))).unwrap();
    assert_eq!(block_on(frames(&b, 1))[0], (to_a, b"hello".to_vec()));
}

#[test]
fn a_node_that_stops_still_receives_beacons_but_sends_none() {
    let group = TestGroup::new();
    let (leaving, other) = (group.open("127.0.0.1:0"), group.open("127.0.0.1:0"));
    leaving.stop_announcing();
    // A node answers a new sender with a beacon of its own, and some beacons are due from the start.
    block_on(hear(&[&leaving, &other], vec![(0, endpoint(&other))]));
    assert_eq!(leaving.counters().beacons_sent, 0);
    assert!(other.counters().beacons_sent > 0);
}

#[test]
fn every_node_of_a_host_receives_every_beacon() {
    let group = TestGroup::new();
    let nodes = [group.open("127.0.0.1:0"), group.open("127.0.0.1:0"), group.open("0.0.0.0:0")];
    let [a, b, c] = nodes.each_ref();
    let [to_a, to_b, to_c] = [endpoint(a), endpoint(b), endpoint(c)];
    let pairs = vec![(0, to_b), (0, to_c), (1, to_a), (1, to_c), (2, to_a), (2, to_b)];
    block_on(hear(&[a, b, c], pairs));
}

#[test]
fn a_node_that_starts_later_is_answered_at_once() {
    let group = TestGroup::new();
    let early = group.open("127.0.0.1:0");
    // The early node has sent its first beacons, so that without an answer it would be silent for about 5 s.
    block_on(run_until(&[&early], || early.counters().beacons_sent >= 5));
    let late = group.open("127.0.0.1:0");
    let started = std::time::Instant::now();
    find_each_other(&early, &late);
    assert!(started.elapsed() < std::time::Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn beacons_of_a_mesh_with_another_key_are_ignored() {
    let group = TestGroup::new();
    let with_key = |key| open(UdpConfig { mesh_key: key, ..group.config("127.0.0.1:0") });
    let (open_mesh, closed, other) =
        (with_key(None), with_key(Some([1; 32].into())), with_key(Some([2; 32].into())));
    let friend = with_key(Some([1; 32].into()));
    let nodes = [&open_mesh, &closed, &other, &friend];
    let all = block_on(hear(&nodes, vec![(1, endpoint(&friend)), (3, endpoint(&closed))]));
    assert!(all.iter().all(|(receiver, heard)| {
        let mesh = [1, 3].map(|friend| (friend, endpoint(nodes[4 - friend])));
        mesh.contains(&(*receiver, heard.endpoint))
    }));
    let foreign = |udp: &Udp| udp.counters().beacons_foreign > 0;
    block_on(run_until(&nodes, || nodes.iter().all(|node| foreign(node))));
}

#[test]
fn garbage_sent_to_the_group_is_counted_and_ignored() {
    let group = TestGroup::new();
    let udp = group.open("127.0.0.1:0");
    let mut received = Received::default();
    // The first call opens the listeners.
    assert!(udp.recv(&mut received).now_or_never().is_none());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&socket).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    let garbage = |length: usize| (0..length).map(|at| (at * 31) as u8).collect::<Vec<_>>();
    for length in 0..100 {
        socket.send_to(&garbage(length), (group.address, group.port)).unwrap();
    }
    block_on(run_until(&[&udp], || udp.counters().beacons_malformed == 100));
    assert_eq!(udp.counters().beacons_heard, 0);
    find_each_other(&udp, &group.open("127.0.0.1:0"));
}

#[test]
fn a_flood_of_beacons_is_bounded() {
    let group = TestGroup::new();
    let (udp, other) = (group.open("127.0.0.1:0"), group.open("127.0.0.1:0"));
    let mut received = Received::default();
    assert!(udp.recv(&mut received).now_or_never().is_none());
    // A thousand copies of a beacon from one source.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&socket).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    let mut beacon = b"rous\x01".to_vec();
    beacon.resize(45, 0);
    let source = Endpoint::from(socket.local_addr().unwrap());
    let mut times = 0;
    block_on(soon(async {
        for _ in 0..1000 {
            socket.send_to(&beacon, (group.address, group.port)).unwrap();
            received.clear();
            let wait = async_io::Timer::after(std::time::Duration::from_micros(100));
            select(udp.recv(&mut received), wait).await;
            times += received.heard.iter().filter(|heard| heard.endpoint == source).count();
        }
    }));
    assert!((1..=10).contains(&times), "{times}");
    assert!(udp.counters().beacons_limited > 0);
    find_each_other(&udp, &other);
}

#[test]
fn a_node_that_was_closed_is_found_again() {
    let group = TestGroup::new();
    let (a, b) = (group.open("127.0.0.1:0"), group.open("127.0.0.1:0"));
    find_each_other(&a, &b);
    let mut received = Received::default();
    let (result, ()) = block_on(soon(join(a.recv(&mut received), a.close())));
    assert!(matches!(result, Err(NetmodError::Gone(_))), "{result:?}");
    block_on(a.open()).unwrap();
    find_each_other(&a, &b);
}

#[test]
fn a_group_port_that_is_taken_causes_a_note_and_no_error() {
    let group = TestGroup::new();
    let _taken = UdpSocket::bind(("0.0.0.0", group.port)).unwrap();
    let (limited, other) = (group.open("127.0.0.1:0"), common::quiet("127.0.0.1:0"));
    let mut received = Received::default();
    assert!(limited.recv(&mut received).now_or_never().is_none());
    assert!(
        limited.notes().iter().any(|note| note.text.contains("not received on lo")),
        "{:?}",
        limited.notes()
    );
    block_on(soon(other.send(&endpoint(&limited), Train::single(b"still here")))).unwrap();
    assert_eq!(block_on(frames(&limited, 1))[0].1, b"still here");
}

#[test]
fn interfaces_that_do_not_exist_cause_a_note_and_no_error() {
    let group = TestGroup::new();
    let nowhere = open(UdpConfig { interfaces: vec!["no-such*".to_owned()], ..group.config("127.0.0.1:0") });
    let mut received = Received::default();
    assert!(nowhere.recv(&mut received).now_or_never().is_none());
    assert!(nowhere.notes().iter().any(|note| note.text.contains("no interface")), "{:?}", nowhere.notes());
    assert_eq!(nowhere.counters().beacons_sent, 0);
}
