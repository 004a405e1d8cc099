use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use async_io::block_on;
use futures::future::{Either, select};
use futures::pin_mut;

use super::*;
use crate::netmod::{Endpoint, Netmod, NetmodError, Received, Train};

fn quiet(net: &MemNet, name: &str) -> MemNetmod {
    let plug = net.netmod(name).discover(false);
    block_on(plug.open()).unwrap();
    plug
}

fn send(from: &MemNetmod, to: &str, bytes: &[u8], size: usize) {
    block_on(async {
        let to = from.resolve(to).await.unwrap()[0];
        from.send(&to, Train { bytes, size }).await.unwrap();
    });
}

/// Receives until `count` frames have arrived.
fn frames(plug: &MemNetmod, count: usize) -> Vec<(Endpoint, Vec<u8>)> {
    let mut all = Vec::new();
    let mut received = Received::default();
    while all.len() < count {
        received.clear();
        block_on(plug.recv(&mut received)).unwrap();
        for arrival in &received.arrivals {
            let train = Train { bytes: &arrival.bytes, size: arrival.size };
            all.extend(train.frames().map(|frame| (arrival.endpoint, frame.to_vec())));
        }
    }
    all
}

/// Whether `recv` has nothing to return right now.
fn waits(plug: &MemNetmod) -> bool {
    let mut received = Received::default();
    let recv = plug.recv(&mut received);
    pin_mut!(recv);
    match block_on(select(recv, futures::future::ready(()))) {
        Either::Left((result, _)) => {
            result.unwrap();
            false
        }
        Either::Right(_) => true,
    }
}

/// Lets `recv` wait and calls `action`. Returns whether that woke it; `received` then holds the result.
fn wakes(plug: &MemNetmod, received: &mut Received, change: impl FnOnce()) -> bool {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let mut recv = plug.recv(received);
    let pending = recv.as_mut().poll(&mut Context::from_waker(&Waker::from(woken.clone()))).is_pending();
    assert!(pending, "there was nothing to wait for");
    change();
    let woken = woken.0.load(Relaxed);
    block_on(recv).unwrap();
    woken
}

#[test]
fn a_train_arrives_whole_with_the_endpoint_of_its_sender() {
    let net = MemNet::new(1);
    let (a, b) = (quiet(&net, "a"), quiet(&net, "b"));
    send(&a, "b", b"onetwothree", 3);
    let all = frames(&b, 4);
    let texts: Vec<&[u8]> = all.iter().map(|(_, frame)| frame.as_slice()).collect();
    assert_eq!(texts, [b"one".as_slice(), b"two", b"thr", b"ee"]);
    assert!(all.iter().all(|(from, _)| b.describe(from) == "mem:a"));
    assert_eq!((net.counts("a", "b").sent, net.counts("a", "b").passed), (4, 4));
}

#[test]
fn a_waiting_receiver_is_woken_by_an_arrival() {
    let net = MemNet::new(1);
    let (a, b) = (quiet(&net, "a"), quiet(&net, "b"));
    let mut received = Received::default();
    assert!(wakes(&b, &mut received, || send(&a, "b", b"hello", 5)));
    assert_eq!(&received.arrivals[0].bytes[..], b"hello");
}

#[test]
fn a_delayed_frame_is_there_when_the_delay_is_over_and_not_before() {
    let net = MemNet::new(1);
    let (a, b) = (quiet(&net, "a"), quiet(&net, "b"));
    let delay = Duration::from_millis(30);
    net.impair("a", "b", Impairments { delay, ..Impairments::default() });
    net.impair("b", "a", Impairments { delay: Duration::from_secs(3600), ..Impairments::default() });
    let sent = Instant::now();
    send(&a, "b", b"late", 4);
    assert_eq!(frames(&b, 1)[0].1, b"late");
    assert!(sent.elapsed() >= delay);
    send(&b, "a", b"much later", 10);
    assert!(waits(&a), "it is on its direction");
}

#[test]
fn only_the_impaired_direction_loses() {
    let net = MemNet::new(1);
    let (a, b) = (quiet(&net, "a"), quiet(&net, "b"));
    net.impair("a", "b", Impairments { loss: 1.0, ..Impairments::default() });
    send(&a, "b", b"gone", 4);
    send(&b, "a", b"here", 4);
    assert_eq!(frames(&a, 1)[0].1, b"here");
    assert_eq!((net.counts("a", "b").lost, net.counts("b", "a").passed), (1, 1));
    assert!(waits(&b));
}

#[test]
fn a_cut_is_silent_both_ways_until_it_is_healed() {
    let net = MemNet::new(1);
    let (a, b) = (quiet(&net, "a"), quiet(&net, "b"));
    net.cut("a", "b");
    send(&a, "b", b"1", 1);
    send(&b, "a", b"2", 1);
    assert!(waits(&a) && waits(&b));
    net.heal("b", "a");
    send(&a, "b", b"3", 1);
    assert_eq!(frames(&b, 1)[0].1, b"3");
    assert_eq!((net.counts("a", "b").cut, net.counts("b", "a").cut), (1, 1));
}

#[test]
fn impairments_depend_on_names_and_not_on_the_order_of_plugs() {
    let run = |names: [&str; 2]| {
        let net = MemNet::new(9);
        net.impair_all(Impairments { loss: 0.5, ..Impairments::default() });
        let plugs = names.map(|name| quiet(&net, name));
        let a = plugs.iter().find(|plug| plug.uri() == "mem:a").unwrap();
        let before = |_| net.counts("a", "b").lost;
        let mut losses = Vec::new();
        for n in 0..64 {
            let lost = before(n);
            send(a, "b", b"x", 1);
            losses.push(before(n) > lost);
        }
        losses
    };
    let losses = run(["a", "b"]);
    assert_eq!(losses, run(["b", "a"]));
    assert!(losses.contains(&true) && losses.contains(&false));
}

#[test]
fn nodes_discover_each_other_and_not_themselves() {
    let net = MemNet::new(1);
    let (a, b) = (net.netmod("a"), net.netmod("b"));
    let mut received = Received::default();
    block_on(async {
        a.open().await.unwrap();
        b.open().await.unwrap();
        a.recv(&mut received).await.unwrap();
    });
    let [heard] = received.heard[..] else { panic!("{received:?}") };
    assert_eq!(a.describe(&heard.endpoint), "mem:b");
}

#[test]
fn a_waiting_node_discovers_a_new_one_at_once_and_a_restart_has_another_instance() {
    let net = MemNet::new(1);
    let a = net.netmod("a");
    block_on(a.open()).unwrap();
    let instances = [(); 2].map(|()| {
        let mut received = Received::default();
        let b = net.netmod("b");
        assert!(
            wakes(&a, &mut received, || block_on(b.open()).unwrap()),
            "the next beacon is not waited for"
        );
        received.heard[0].instance
    });
    assert_ne!(instances[0], instances[1]);
}

#[test]
fn a_node_that_is_cut_off_or_without_discovery_is_not_announced() {
    let net = MemNet::new(1);
    net.cut("a", "b");
    let (a, b) = (net.netmod("a"), net.netmod("b"));
    block_on(a.open()).unwrap();
    block_on(b.open()).unwrap();
    let _c = quiet(&net, "c");
    assert!(waits(&a));
    net.heal("a", "b");
    assert!(!waits(&a), "the heal is announced at once");
}

#[test]
fn a_failed_interface_is_gone_until_it_recovers() {
    let net = MemNet::new(1);
    let (a, b) = (quiet(&net, "a"), quiet(&net, "b"));
    send(&a, "b", b"lost", 4);
    net.fail("b");
    let gone = |result: Result<(), NetmodError>| matches!(result, Err(NetmodError::Gone(_)));
    assert!(gone(block_on(b.recv(&mut Received::default()))));
    assert!(gone(block_on(b.open())));
    send(&a, "b", b"lost too", 8);
    assert_eq!(net.counts("a", "b").absent, 1);
    net.recover("b");
    assert!(gone(block_on(b.recv(&mut Received::default()))), "it has to be opened first");
    block_on(b.open()).unwrap();
    send(&a, "b", b"back", 4);
    assert_eq!(frames(&b, 1)[0].1, b"back");
}

#[test]
fn closing_ends_a_receive_that_waits() {
    let net = MemNet::new(1);
    let b = quiet(&net, "b");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| block_on(b.recv(&mut Received::default())));
        block_on(b.close());
        assert!(matches!(waiting.join().unwrap(), Err(NetmodError::Gone(_))));
    });
}

#[test]
fn a_name_is_open_once_at_a_time() {
    let net = MemNet::new(1);
    let first = quiet(&net, "a");
    let second = net.netmod("a");
    assert!(matches!(block_on(second.open()), Err(NetmodError::Gone(_))));
    block_on(first.open()).unwrap();
    drop(first);
    block_on(second.open()).unwrap();
}

#[test]
fn a_receiver_that_does_not_read_overflows_and_each_frame_is_counted() {
    let net = MemNet::new(1);
    let (a, b) = (quiet(&net, "a"), quiet(&net, "b"));
    let train = vec![0; 1200 * 64];
    for _ in 0..200 {
        send(&a, "b", &train, 1200);
    }
    let counts = net.counts("a", "b");
    assert_eq!(counts.sent, 200 * 64);
    assert!(counts.overflowed > 0);
    assert_eq!(counts.passed + counts.overflowed, counts.sent);
    assert_eq!(frames(&b, counts.passed as usize).len() as u64, counts.passed);
}

#[test]
fn a_dropped_receive_loses_no_frame() {
    let net = MemNet::new(1);
    let (a, b) = (quiet(&net, "a"), quiet(&net, "b"));
    assert!(waits(&b));
    send(&a, "b", b"kept", 4);
    assert_eq!(frames(&b, 1)[0].1, b"kept");
}

#[test]
fn a_frame_that_cannot_be_sent_is_refused_by_its_cause() {
    let net = MemNet::new(1);
    let a = quiet(&net, "a");
    let absent = Endpoint::new(&99u32.to_be_bytes()).unwrap();
    let result = block_on(a.send(&absent, Train::single(b"x")));
    assert!(matches!(result, Err(NetmodError::Endpoint(_))));
    let own = block_on(a.resolve("a")).unwrap()[0];
    let result = block_on(a.send(&own, Train::single(&[0; 1201])));
    assert!(matches!(result, Err(NetmodError::TooLong)));
    assert!(matches!(block_on(a.resolve("absent")), Err(NetmodError::Endpoint(_))));
}
