//! Nodes that stop: after the goodbye a node makes no link, and a node that starts again is linked at once.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_std::task::block_on;
use async_trait::async_trait;
use rouse_core::netmod::mem::{MemNet, MemNetmod};
use rouse_core::netmod::{Endpoint, Netmod, NetmodError, Train};
use rouse_core::{Node, NodeBuilder, PeerState};

use common::faulty_netmod::{Fault, FaultyNetmod};
use common::{is_down, is_up, node, ready_events, until, until_event, within};

/// Delays each frame by a second once the flag is set, so that the goodbye takes its time.
struct Delay(Arc<AtomicBool>);

#[async_trait]
impl Fault for Delay {
    async fn send(
        &self,
        netmod: &MemNetmod,
        endpoint: &Endpoint,
        train: Train<'_>,
    ) -> Result<(), NetmodError> {
        if self.0.load(Ordering::SeqCst) {
            async_std::task::sleep(Duration::from_secs(1)).await;
        }
        netmod.send(endpoint, train).await
    }
}

/// A node with a neighbour on a medium of its own, to which the goodbye takes long: the node runs until it is sent.
async fn node_that_stops_slowly(n: u8, plug: MemNetmod) -> (NodeBuilder, Node, Arc<AtomicBool>) {
    let aside = MemNet::new(u64::from(n));
    let slow = Arc::new(AtomicBool::new(false));
    let other = node(n + 100).netmod(aside.netmod("other")).start().await.unwrap();
    let builder = node(n)
        .netmod(plug)
        .netmod(FaultyNetmod { netmod: aside.netmod("self"), fault: Delay(slow.clone()) });
    (builder, other, slow)
}

async fn is_linked_to(node: &Node, other: &Node) -> bool {
    node.peers().await.iter().any(|peer| peer.address == Some(other.address()) && peer.state == PeerState::Up)
}

#[test]
fn a_node_that_has_sent_its_goodbye_answers_no_dial() {
    block_on(async {
        for seed in 0..5 {
            let net = MemNet::new(seed);
            let plug = net.netmod("a").discover(false);
            let (a, aside, slow) = node_that_stops_slowly(1, plug).await;
            let a = a.start().await.unwrap();
            let b = node(2).netmod(net.netmod("b").discover(false)).peer("mem:a").start().await.unwrap();
            let mut events = b.events();
            until("the links", async || is_linked_to(&b, &a).await && is_linked_to(&aside, &a).await).await;
            ready_events(&mut events, is_up);
            slow.store(true, Ordering::SeqCst);
            futures::future::join(a.stop(), until_event(&mut events, is_down)).await;
            assert_eq!(ready_events(&mut events, is_up), [], "seed {seed}");
            assert!(b.routes().await.is_empty(), "the route ends with the link");
            let peers = b.peers().await;
            assert_eq!(peers.len(), 1, "only the configured peer: {peers:?}");
            assert_eq!((peers[0].address, peers[0].state), (None, PeerState::Down));
            assert_eq!(peers[0].last_error.as_deref(), Some("the neighbour closed the link"));
        }
    });
}

#[test]
fn on_a_medium_of_four_no_node_links_again_with_one_that_stops() {
    block_on(async {
        let net = MemNet::new(7);
        let (a, aside, slow) = node_that_stops_slowly(1, net.netmod("a")).await;
        let a = a.start().await.unwrap();
        let mut others = Vec::new();
        for n in 2..5u8 {
            others.push(node(n).netmod(net.netmod(&format!("{n}"))).start().await.unwrap());
        }
        let all_linked = async || {
            let mut linked = is_linked_to(&aside, &a).await;
            for other in &others {
                linked &= is_linked_to(other, &a).await && other.peers().await.len() == 3;
            }
            linked
        };
        until("the links", all_linked).await;
        let mut events: Vec<_> = others.iter().map(Node::events).collect();
        slow.store(true, Ordering::SeqCst);
        a.stop().await;
        for (other, events) in others.iter().zip(&mut events) {
            until_event(events, is_down).await;
            assert_eq!(ready_events(events, is_up), []);
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
        until_event(&mut events, is_up).await;
        a.stop().await;
        drop(a);
        let _again = start().await.unwrap();
        let began = Instant::now();
        until_event(&mut events, is_up).await;
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    });
}

#[test]
fn a_node_that_has_stopped_refuses_new_peers() {
    block_on(within(async {
        let net = MemNet::new(5);
        let node = node(1).netmod(net.netmod("a")).start().await.unwrap();
        node.stop().await;
        let refused = node.add_peer("mem:b").await;
        assert!(matches!(refused, Err(rouse_core::PeerError::Stopped)), "{refused:?}");
    }));
}
