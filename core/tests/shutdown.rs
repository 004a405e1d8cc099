//! Nodes that leave: after the goodbye they are gone, and a node that starts again is there at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_std::task::block_on;
use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use rouse_core::netmod::mem::{MemNet, MemNetmod};
use rouse_core::netmod::{Endpoint, Netmod, NetmodError, Properties, Received, Train};
use rouse_core::{Event, Events, Identity, Node, NodeBuilder, PeerState};

/// Longer than anything here takes; a test that fails does not hang.
const PATIENCE: Duration = Duration::from_secs(30);

fn node(n: u8) -> NodeBuilder {
    Node::builder().identity(Identity::from_seed(&[n; 32]))
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    async_std::future::timeout(PATIENCE, future).await.expect("in time")
}

/// Waits until a neighbour is up, or down.
async fn until(events: &mut Events, wanted: impl Fn(&Event) -> bool) {
    while !wanted(&within(events.next()).await.expect("the node runs").1) {}
}

fn is_up(event: &Event) -> bool {
    matches!(event, Event::NeighbourUp { .. })
}

fn is_down(event: &Event) -> bool {
    matches!(event, Event::NeighbourDown { .. })
}

/// The events that wait, without the others.
fn waiting(events: &mut Events, wanted: fn(&Event) -> bool) -> usize {
    std::iter::from_fn(|| events.next().now_or_never().flatten()).filter(|(_, event)| wanted(event)).count()
}

/// A netmod whose goodbye takes its time: sending takes a while once the node is about to leave.
struct Slow(MemNetmod, Arc<AtomicBool>);

#[async_trait]
impl Netmod for Slow {
    fn scheme(&self) -> &str {
        self.0.scheme()
    }
    fn uri(&self) -> String {
        self.0.uri()
    }
    fn properties(&self) -> Properties {
        self.0.properties()
    }
    async fn open(&self) -> Result<(), NetmodError> {
        self.0.open().await
    }
    async fn recv(&self, received: &mut Received) -> Result<(), NetmodError> {
        self.0.recv(received).await
    }
    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        if self.1.load(Ordering::SeqCst) {
            async_std::task::sleep(Duration::from_secs(1)).await;
        }
        self.0.send(endpoint, train).await
    }
    async fn resolve(&self, peer: &str) -> Result<Vec<Endpoint>, NetmodError> {
        self.0.resolve(peer).await
    }
    fn describe(&self, endpoint: &Endpoint) -> String {
        self.0.describe(endpoint)
    }
    fn quota_key(&self, endpoint: &Endpoint) -> u64 {
        self.0.quota_key(endpoint)
    }
    fn stop_announcing(&self) {
        self.0.stop_announcing();
    }
    async fn close(&self) {
        self.0.close().await;
    }
}

/// A node with a neighbour on a medium of its own, to which the goodbye takes long: until it is said, the node lives.
async fn one_that_takes_long_to_leave(n: u8, plug: MemNetmod) -> (NodeBuilder, Node, Arc<AtomicBool>) {
    let aside = MemNet::new(u64::from(n));
    let slow = Arc::new(AtomicBool::new(false));
    let other = node(n + 100).netmod(aside.netmod("other")).start().await.unwrap();
    let builder = node(n).netmod(plug).netmod(Slow(aside.netmod("self"), slow.clone()));
    (builder, other, slow)
}

async fn is_linked_to(node: &Node, other: &Node) -> bool {
    node.peers().await.iter().any(|peer| peer.address == Some(other.address()) && peer.state == PeerState::Up)
}

#[test]
fn a_node_that_has_said_goodbye_answers_nobody_who_dials_it_again() {
    block_on(async {
        for seed in 0..5 {
            let net = MemNet::new(seed);
            let plug = net.netmod("a").discover(false);
            let (a, aside, slow) = one_that_takes_long_to_leave(1, plug).await;
            let a = a.start().await.unwrap();
            let b = node(2).netmod(net.netmod("b").discover(false)).peer("mem:a").start().await.unwrap();
            let mut events = b.events();
            while !is_linked_to(&b, &a).await || !is_linked_to(&aside, &a).await {
                async_std::task::sleep(Duration::from_millis(1)).await;
            }
            waiting(&mut events, is_up);
            slow.store(true, Ordering::SeqCst);
            let (stopping, hears) = (a.stop(), until(&mut events, is_down));
            futures::future::join(stopping, hears).await;
            assert_eq!(waiting(&mut events, is_up), 0, "seed {seed}");
            assert!(b.routes().await.is_empty(), "its route has gone with it");
            let peers = b.peers().await;
            assert_eq!(peers.len(), 1, "only the peer that is to be dialled: {peers:?}");
            assert_eq!((peers[0].address, peers[0].state), (None, PeerState::Down));
            assert_eq!(peers[0].last_error.as_deref(), Some("the neighbour closed the link"));
        }
    });
}

#[test]
fn on_a_medium_of_four_nobody_links_up_again_with_one_that_leaves() {
    block_on(async {
        let net = MemNet::new(7);
        let (a, aside, slow) = one_that_takes_long_to_leave(1, net.netmod("a")).await;
        let a = a.start().await.unwrap();
        let mut others = Vec::new();
        for n in 2..5u8 {
            others.push(node(n).netmod(net.netmod(&format!("{n}"))).start().await.unwrap());
        }
        let all = || async {
            let mut linked = is_linked_to(&aside, &a).await;
            for other in &others {
                linked &= is_linked_to(other, &a).await && other.peers().await.len() == 3;
            }
            linked
        };
        while !all().await {
            async_std::task::sleep(Duration::from_millis(1)).await;
        }
        let mut events: Vec<_> = others.iter().map(Node::events).collect();
        slow.store(true, Ordering::SeqCst);
        a.stop().await;
        for (other, events) in others.iter().zip(&mut events) {
            until(events, is_down).await;
            assert_eq!(waiting(events, is_up), 0);
            assert!(!is_linked_to(other, &a).await);
        }
    });
}

#[test]
fn a_node_that_starts_again_is_linked_within_half_a_second_though_only_the_peer_dials() {
    block_on(async {
        let net = MemNet::new(8);
        let start = || node(1).netmod(net.netmod("a").discover(false)).start();
        let a = start().await.unwrap();
        let b = node(2).netmod(net.netmod("b").discover(false)).peer("mem:a").start().await.unwrap();
        let mut events = b.events();
        until(&mut events, is_up).await;
        a.stop().await;
        drop(a);
        let _again = start().await.unwrap();
        let began = Instant::now();
        until(&mut events, is_up).await;
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    });
}

#[test]
fn a_node_that_has_stopped_takes_no_more_peers() {
    block_on(within(async {
        let net = MemNet::new(5);
        let node = node(1).netmod(net.netmod("a")).start().await.unwrap();
        node.stop().await;
        let refused = node.add_peer("mem:b").await;
        assert!(matches!(refused, Err(rouse_core::PeerError::Stopped)), "{refused:?}");
    }));
}
