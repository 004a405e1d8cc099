//! Nodes that are busy, full, interrupted or stopped: nothing blocks, and nothing is lost.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_std::task::block_on;
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::join;
use rouse_core::netmod::mem::{MemNet, MemNetmod};
use rouse_core::netmod::{Endpoint, Netmod, NetmodError, Train};
use rouse_core::notify::Notify;
use rouse_core::{Identity, Limits, Node, Outgoing, PeerState, SendError};

use common::faulty_netmod::{Fault, FaultyNetmod};
use common::{PATIENCE, node, pair, talk, until, until_unread, within};

#[test]
fn long_messages_that_are_not_read_wait_at_the_sender_and_arrive_once_the_inbox_has_room() {
    block_on(async {
        let net = MemNet::new(1);
        let a = node(1).netmod(net.netmod("a")).start().await.unwrap();
        // A sixteenth of the limit may arrive before a message is received: two messages.
        let limits = Limits { reassembly: 1 << 30, ..Limits::default() };
        let b = node(2).netmod(net.netmod("b")).limits(limits).start().await.unwrap();
        // Two fit into an inbox of 32 MiB, which then has room, but not enough for the third. One sender does not hold that
        // many bytes, so it stops and its successor sends the third.
        const LENGTH: usize = 11 << 20;
        for n in 0..2u8 {
            within(a.send(&b.address(), vec![n; LENGTH])).await.unwrap();
        }
        until_unread(&b, 2).await;
        assert_eq!(within(a.stop()).await.waiting, 2, "a message that nothing has received has no receipt");
        drop(a);
        let a = node(1).netmod(net.netmod("a")).start().await.unwrap();
        let sent = within(a.send(&b.address(), vec![2; LENGTH])).await.unwrap();
        until("the third message on the wire", async || {
            net.counts("a", "b").passed >= 3 * LENGTH as u64 / 1200
        })
        .await;
        let pong = async_std::future::timeout(Duration::from_secs(5), b.ping(&a.address(), PATIENCE)).await;
        pong.expect("the node answers meanwhile").unwrap();
        assert_eq!(b.unfinished().unread, 2);
        for n in 0..3u8 {
            let message = within(b.recv()).await.unwrap();
            assert_eq!((message.body.len(), message.body[0]), (LENGTH, n));
        }
        within(sent.delivered()).await.unwrap();
    });
}

#[test]
fn after_a_stop_every_message_that_had_arrived_is_received_and_then_an_error() {
    block_on(async {
        let a = node(1).start().await.unwrap();
        for n in 0..5u8 {
            a.send(&a.address(), vec![n]).await.unwrap();
        }
        a.stop().await;
        for n in 0..5u8 {
            assert_eq!(within(a.recv()).await.unwrap().body[..], [n]);
        }
        assert!(within(a.recv()).await.is_err());
        let stranger = Identity::from_seed(&[9; 32]).address();
        assert!(
            within(a.recv_from(&stranger)).await.is_err(),
            "also from an address that never sent a message"
        );
        assert!(within(a.events().next()).await.is_none(), "nothing happens at a node that has stopped");
        assert!(within(a.messages().next()).await.is_none());
    });
}

#[test]
fn all_callers_that_wait_for_one_receipt_get_it() {
    block_on(async {
        let net = MemNet::new(2);
        let a = node(1).netmod(net.netmod("a")).start().await.unwrap();
        let b = Identity::from_seed(&[2; 32]);
        let sent = a.send(&b.address(), "hello").await.unwrap();
        let both = join(sent.delivered(), sent.delivered());
        let start = async {
            let b = Node::builder().identity(b).netmod(net.netmod("b")).start().await.unwrap();
            b.recv().await.unwrap();
            b
        };
        let ((one, other), _b) = within(join(both, start)).await;
        assert_eq!((one.unwrap().id, other.unwrap().id), (sent.id, sent.id));
    });
}

#[test]
fn of_many_messages_that_expire_at_once_none_is_taken_for_delivered() {
    block_on(async {
        let a = node(1).start().await.unwrap();
        let absent = Identity::from_seed(&[8; 32]).address();
        let one = || Outgoing::new(absent, "x").ttl(Duration::from_millis(100));
        let sent = a.send_batch((0..3000).map(|_| one()).collect()).await.unwrap();
        for one in sent {
            assert_eq!(within(one.delivered()).await.unwrap_err(), SendError::Expired(absent));
        }
    });
}

#[test]
fn a_full_mailbox_of_the_sender_delays_no_message_to_another_node() {
    block_on(async {
        let net = MemNet::new(3);
        let limits = Limits { inbox_messages: 1, ..Limits::default() };
        let a = node(1).netmod(net.netmod("a")).limits(limits).start().await.unwrap();
        let b = node(2).netmod(net.netmod("b")).start().await.unwrap();
        talk(&a, &b, "first").await;
        a.send(&a.address(), "fills it").await.unwrap();
        let batch = vec![Outgoing::new(b.address(), "elsewhere"), Outgoing::new(a.address(), "waits")];
        let sending = a.send_batch(batch);
        let receiving = async {
            let message = within(b.recv()).await.unwrap();
            a.recv().await.unwrap();
            message
        };
        let (sent, message) = within(join(sending, receiving)).await;
        assert_eq!((sent.unwrap().len(), &message.body[..]), (2, &b"elsewhere"[..]));
    });
}

#[test]
fn a_new_link_over_a_good_medium_has_lost_nothing() {
    block_on(async {
        for seed in 0..20 {
            let (a, b) = pair(&MemNet::new(seed)).await;
            talk(&a, &b, "x").await;
            for node in [&a, &b] {
                assert_eq!(node.status().await.drops["unknown_session"], 0, "seed {seed}");
            }
        }
    });
}

/// Sends only while its gate is open, and never closes.
#[derive(Clone, Default)]
struct Gate(Arc<Notify<bool>>);

#[async_trait]
impl Fault for Gate {
    async fn send(
        &self,
        netmod: &MemNetmod,
        endpoint: &Endpoint,
        train: Train<'_>,
    ) -> Result<(), NetmodError> {
        self.0.when(|open| open.then_some(())).await;
        netmod.send(endpoint, train).await
    }

    async fn close(&self, _: &MemNetmod) {
        futures::future::pending().await
    }
}

#[test]
fn a_netmod_that_hangs_delays_neither_the_others_nor_the_stop() {
    block_on(async {
        let (net, blocked) = (MemNet::new(4), MemNet::new(5));
        let a = node(1)
            .netmod(net.netmod("a"))
            .netmod(FaultyNetmod { netmod: blocked.netmod("a"), fault: Gate::default() })
            .start()
            .await
            .unwrap();
        // The node receives the beacons of this one over the netmod that hangs, and dials it there without success.
        let _unreachable = node(3).netmod(blocked.netmod("c")).start().await.unwrap();
        let b = node(2).netmod(net.netmod("b")).start().await.unwrap();
        talk(&a, &b, "hello").await;
        let began = Instant::now();
        within(a.stop()).await;
        assert!(began.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn a_node_that_is_dropped_releases_its_netmods() {
    block_on(async {
        let net = MemNet::new(6);
        let netmod: Arc<dyn Netmod> = Arc::new(net.netmod("a"));
        let a = node(1).netmod_arc(netmod.clone()).start().await.unwrap();
        let b = node(2).netmod(net.netmod("b")).start().await.unwrap();
        talk(&a, &b, "x").await;
        let (mut events, mut messages) = (a.events(), a.messages());
        drop(a);
        assert!(within(messages.next()).await.is_none());
        while within(events.next()).await.is_some() {}
        until("the netmod without an owner", async || Arc::strong_count(&netmod) == 1).await;
    });
}

#[test]
fn while_a_medium_is_busy_others_are_served_and_then_every_message_arrives() {
    block_on(async {
        let (slow, quick) = (MemNet::new(7), MemNet::new(8));
        let gate = Gate(Arc::new(Notify::new(true)));
        let gated = FaultyNetmod { netmod: slow.netmod("a"), fault: gate.clone() };
        let a = node(1).netmod(gated).netmod(quick.netmod("a")).start().await.unwrap();
        let b = node(2).netmod(slow.netmod("b")).start().await.unwrap();
        let c = node(3).netmod(quick.netmod("c")).start().await.unwrap();
        for to in [&b, &c] {
            talk(&a, to, "first").await;
        }
        *gate.0.write() = false;
        let long = vec![7; 200_000];
        let waits = within(a.send(&b.address(), long.clone())).await.unwrap();
        // The application drops one send before it is complete: the message is sent nevertheless, or not at all.
        drop(async_std::future::timeout(Duration::ZERO, a.send(&b.address(), "perhaps")).await);
        talk(&a, &c, "quick").await;
        within(a.ping(&c.address(), PATIENCE)).await.unwrap();
        *gate.0.write() = true;
        assert_eq!(within(b.recv()).await.unwrap().body[..], long[..]);
        within(waits.delivered()).await.unwrap();
    });
}

#[test]
fn a_send_that_is_dropped_is_complete_or_void_and_delays_nothing() {
    block_on(async {
        let (a, b) = pair(&MemNet::new(9)).await;
        let mut batch: Vec<_> = (0..50u8).map(|n| Outgoing::new(b.address(), vec![n; 20_000])).collect();
        let last = batch.pop().unwrap();
        drop(futures::poll!(std::pin::pin!(a.send_batch(batch))));
        let sent = within(a.submit(last)).await.unwrap();
        let mut expected = 0..50u8;
        loop {
            let body = within(b.recv()).await.unwrap().body;
            assert_eq!(body.len(), 20_000);
            if body[0] == 49 {
                break;
            }
            assert_eq!(Some(body[0]), expected.next(), "a beginning of the batch arrives, in order");
        }
        within(sent.delivered()).await.unwrap();
    });
}

#[test]
fn frames_that_are_longer_than_the_longest_of_their_kind_are_not_kept_for_later() {
    block_on(async {
        let net = MemNet::new(11);
        let a = node(1).netmod(net.netmod("a")).start().await.unwrap();
        let stranger = net.netmod("stranger").mtu(9000);
        stranger.open().await.unwrap();
        let to = stranger.resolve("a").await.unwrap()[0];
        // Frames of handshakes, and then frames that could belong to a handshake that is not complete yet.
        for (kind, length) in [(1, 513), (2, 9000), (3, 9000), (4, 9000), (5, 9000), (5, 100), (0x10, 1201)] {
            stranger.send(&to, Train::single(&vec![kind; length])).await.unwrap();
        }
        until("the drops", async || a.status().await.drops["malformed_frame"] >= 6).await;
    });
}

#[test]
fn each_of_two_links_to_one_neighbour_replaces_the_other() {
    block_on(async {
        let (one, other) = (MemNet::new(10), MemNet::new(11));
        let a = node(1).netmod(one.netmod("a")).netmod(other.netmod("a")).start().await.unwrap();
        let b = node(2).netmod(one.netmod("b")).netmod(other.netmod("b")).start().await.unwrap();
        let up = || async {
            let peers = a.peers().await;
            peers
                .iter()
                .filter(|peer| peer.state == PeerState::Up && peer.address == Some(b.address()))
                .count()
        };
        let links = async |count| until("the links", async || up().await == count).await;
        links(2).await;
        for net in [&one, &other] {
            net.cut("a", "b");
            talk(&a, &b, "still there?").await;
            links(1).await;
            net.heal("a", "b");
            links(2).await;
        }
    });
}
