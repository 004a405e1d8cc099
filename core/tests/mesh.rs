//! Nodes on media in memory: the whole router, without sockets.

mod common;

use std::time::Duration;

use async_std::task::block_on;
use futures::StreamExt;
use rouse_core::netmod::mem::{Impairments, MemNet, MemNetmod};
use rouse_core::{Address, Event, Identity, Limits, Node, Outgoing, Pong, Protection, RouteState, SendError};

use common::{PATIENCE, node, pair, talk, until_event, until_unread, within};

fn cable(seed: u64) -> (MemNetmod, MemNetmod) {
    let net = MemNet::new(seed);
    (net.netmod("left"), net.netmod("right"))
}

/// A line of nodes, each joined to the next by a cable.
async fn line(length: u8) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut left: Option<MemNetmod> = None;
    for n in 0..length {
        let mut builder = node(n + 1);
        if let Some(netmod) = left.take() {
            builder = builder.netmod(netmod);
        }
        if n + 1 < length {
            let (here, there) = cable(u64::from(n));
            builder = builder.netmod(here);
            left = Some(there);
        }
        nodes.push(builder.start().await.unwrap());
    }
    nodes
}

/// Pings until an answer arrives, because the route there may be known before the route back.
async fn ping(from: &Node, to: &Address) -> Pong {
    within(async {
        loop {
            if let Ok(pong) = from.ping(to, Duration::from_secs(1)).await {
                return pong;
            }
        }
    })
    .await
}

#[test]
fn two_nodes_find_each_other_and_talk() {
    block_on(async {
        let (a, b) = pair(&MemNet::new(1)).await;
        let sent = a.send(&b.address(), "hello").await.unwrap();
        let message = within(b.recv_from(&a.address())).await.unwrap();
        assert_eq!((&message.body[..], message.from, message.to), (&b"hello"[..], a.address(), b.address()));
        assert_eq!((message.id, message.protection), (sent.id, Protection::EndToEnd));
        assert_eq!(within(sent.delivered()).await.unwrap().id, sent.id);
        assert_eq!(
            within(sent.delivered()).await.unwrap().id,
            sent.id,
            "a second call returns the same receipt"
        );
    });
}

#[test]
fn over_a_line_of_five_a_ping_takes_four_hops_and_a_trace_names_each() {
    block_on(async {
        let nodes = line(5).await;
        let last = nodes[4].address();
        assert_eq!(ping(&nodes[0], &last).await.hops, 4);
        let trace: Vec<_> = within(nodes[0].trace(&last, 16, PATIENCE).await.collect::<Vec<_>>()).await;
        let seen: Vec<_> =
            trace.into_iter().map(|hop| hop.unwrap()).map(|hop| (hop.hop, hop.address)).collect();
        let expected: Vec<_> = (1..5u8).map(|n| (n, nodes[usize::from(n)].address())).collect();
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_long_message_crosses_a_line_of_five_whole() {
    block_on(async {
        let nodes = line(5).await;
        let body: Vec<u8> = (0..60_000u32).map(|n| (n * 7 % 251) as u8).collect();
        let sent = nodes[0].send(&nodes[4].address(), body.clone()).await.unwrap();
        let message = within(nodes[4].recv()).await.unwrap();
        assert_eq!(&message.body[..], &body[..]);
        within(sent.delivered()).await.unwrap();
    });
}

#[test]
fn over_a_bad_medium_everything_arrives_once_in_order_and_intact() {
    block_on(async {
        let net = MemNet::new(3);
        net.impair_all(Impairments {
            loss: 0.1,
            duplicate: 0.1,
            reorder: 0.1,
            corrupt: 0.01,
            delay: Duration::from_millis(1),
            ..Impairments::default()
        });
        let (a, b) = pair(&net).await;
        const COUNT: usize = 300;
        let body = |n: usize| vec![n as u8; 1 + (n * 37) % 5000];
        let batch = (0..COUNT).map(|n| Outgoing::new(b.address(), body(n)));
        a.send_batch(batch.collect()).await.unwrap();
        for n in 0..COUNT {
            assert_eq!(within(b.recv()).await.unwrap().body[..], body(n)[..]);
        }
        assert!(async_std::future::timeout(Duration::from_millis(300), b.recv()).await.is_err());
    });
}

#[test]
fn each_message_of_a_batch_keeps_its_own_fields_and_the_order_of_its_conversation() {
    block_on(async {
        let nodes = line(3).await;
        let second = Identity::from_seed(&[9; 32]);
        nodes[0].add_identity(second.clone());
        let sources = [nodes[0].address(), second.address()];
        const SERVICES: [&str; 3] = ["", "chat", "news"];
        // Runs of one conversation are of different lengths, and the queue of a conversation takes 4096 messages.
        let fields = |n: usize| {
            (1 + usize::from(n.is_multiple_of(5)), sources[usize::from(n.is_multiple_of(7))], n % 3)
        };
        let batch = (0..10_000).map(|n| {
            let (to, from, service) = fields(n);
            let message = Outgoing::new(nodes[to].address(), n.to_string()).from(from);
            message.service(SERVICES[service])
        });
        let (batch, expected) = (batch.collect(), (0..10_000).collect::<Vec<_>>());
        let sending = async { nodes[0].send_batch(batch).await.unwrap() };
        let receiving = async |to: usize| {
            let mailboxes = SERVICES.map(|service| nodes[to].service(service).unwrap());
            for n in expected.iter().filter(|n| fields(**n).0 == to) {
                let (_, from, service) = fields(*n);
                let message = within(mailboxes[service].recv_from(&from)).await.unwrap();
                assert_eq!(&message.body[..], n.to_string().as_bytes());
                assert_eq!(message.service.as_str(), SERVICES[service], "{n}");
            }
        };
        let (sent, (), ()) = futures::join!(sending, receiving(1), receiving(2));
        assert!(expected.iter().zip(&sent).all(|(n, sent)| sent.bytes == n.to_string().len() as u64));
    });
}

#[test]
fn messages_to_oneself_and_between_two_addresses_of_a_node_arrive() {
    block_on(async {
        let a = node(1).start().await.unwrap();
        let sent = a.send(&a.address(), "note").await.unwrap();
        let message = within(a.recv()).await.unwrap();
        assert_eq!((&message.body[..], message.protection), (&b"note"[..], Protection::Local));
        within(sent.delivered()).await.unwrap();

        let second = Identity::from_seed(&[9; 32]);
        a.add_identity(second.clone());
        a.send(&second.address(), "to the second").await.unwrap();
        let mailbox = a.mailbox(&second.address()).unwrap();
        assert_eq!(&within(mailbox.recv_from(&a.address())).await.unwrap().body[..], b"to the second");
        a.submit(Outgoing::new(a.address(), "from the second").from(second.address())).await.unwrap();
        assert_eq!(within(a.recv()).await.unwrap().from, second.address());
    });
}

#[test]
fn further_addresses_of_a_node_are_reached_over_the_mesh() {
    block_on(async {
        let nodes = line(3).await;
        let second = Identity::from_seed(&[77; 32]);
        nodes[2].add_identity(second.clone());
        let sent = nodes[0].send(&second.address(), "hello").await.unwrap();
        let mailbox = nodes[2].mailbox(&second.address()).unwrap();
        assert_eq!(&within(mailbox.recv()).await.unwrap().body[..], b"hello");
        within(sent.delivered()).await.unwrap();
    });
}

#[test]
fn a_message_waits_for_a_recipient_that_is_away() {
    block_on(async {
        let net = MemNet::new(5);
        let a = node(1).netmod(net.netmod("a")).start().await.unwrap();
        let bob = Identity::from_seed(&[2; 32]);
        let sent = a.send(&bob.address(), "later").await.unwrap();
        assert_eq!(a.status().await.journal.messages, 1);
        let b = Node::builder().identity(bob).netmod(net.netmod("b")).start().await.unwrap();
        assert_eq!(&within(b.recv()).await.unwrap().body[..], b"later");
        within(sent.delivered()).await.unwrap();
        assert_eq!(a.status().await.journal.messages, 0);
    });
}

#[test]
fn a_message_whose_time_is_up_expires_with_an_event() {
    block_on(async {
        let a = node(1).start().await.unwrap();
        let mut events = a.events();
        let absent = Identity::from_seed(&[8; 32]).address();
        let sent = a.submit(Outgoing::new(absent, "too late").ttl(Duration::from_millis(50))).await.unwrap();
        assert_eq!(within(sent.delivered()).await, Err(SendError::Expired(absent)));
        assert_eq!(within(sent.delivered()).await, Err(SendError::Expired(absent)));
        let (_, event) = within(events.next()).await.unwrap();
        assert_eq!(event, Event::MessageExpired { id: sent.id, to: absent });
        assert_eq!(a.status().await.drops["expired"], 1);
    });
}

#[test]
fn a_message_that_is_too_long_or_from_a_foreign_address_is_refused() {
    block_on(async {
        let a = node(1).start().await.unwrap();
        let other = Identity::from_seed(&[8; 32]).address();
        let long = a.send(&other, vec![0; (16 << 20) + 1]).await.unwrap_err();
        assert_eq!(long, SendError::TooLong { length: (16 << 20) + 1 });
        let forged = a.submit(Outgoing::new(other, "x").from(other)).await.unwrap_err();
        assert_eq!(forged, SendError::NotOurs(other));
    });
}

#[test]
fn a_sender_whose_messages_are_not_read_waits_and_others_do_not() {
    block_on(async {
        let net = MemNet::new(6);
        let limits = Limits { inbox_messages: 16, ..Limits::default() };
        let b = node(2).netmod(net.netmod("b")).limits(limits).start().await.unwrap();
        let a = node(1).netmod(net.netmod("a")).start().await.unwrap();
        let c = node(3).netmod(net.netmod("c")).start().await.unwrap();
        let mut sent = Vec::new();
        for n in 0..40u32 {
            sent.push(a.send(&b.address(), n.to_string()).await.unwrap());
        }
        until_unread(&b, 16).await;
        let stuck = async_std::future::timeout(Duration::from_millis(300), sent[0].delivered()).await;
        assert!(stuck.is_err(), "a message that nothing has received has no receipt");
        assert_eq!(b.unfinished().unread, 16, "the inbox has room for 16, not for 40");
        talk(&c, &b, "me too").await;
        for n in 0..40u32 {
            assert_eq!(within(b.recv_from(&a.address())).await.unwrap().body[..], *n.to_string().as_bytes());
        }
        within(sent[39].delivered()).await.unwrap();
    });
}

#[test]
fn a_message_given_back_is_received_again_first() {
    block_on(async {
        let a = node(1).start().await.unwrap();
        for text in ["one", "two"] {
            a.send(&a.address(), text).await.unwrap();
        }
        let one = a.recv().await.unwrap();
        a.unrecv(one.clone());
        assert_eq!(a.recv().await.unwrap(), one);
        assert_eq!(&a.recv().await.unwrap().body[..], b"two");
    });
}

#[test]
fn a_receive_that_is_dropped_loses_nothing() {
    block_on(async {
        let a = node(1).start().await.unwrap();
        for _ in 0..20 {
            let dropped = async_std::future::timeout(Duration::from_millis(1), a.recv()).await;
            assert!(dropped.is_err());
        }
        a.send(&a.address(), "still here").await.unwrap();
        assert_eq!(&within(a.recv()).await.unwrap().body[..], b"still here");
    });
}

#[test]
fn when_the_relay_in_use_stops_the_other_takes_over() {
    block_on(async {
        // A diamond: two paths from a to b.
        let ((a1, x1), (x2, b1)) = (cable(1), cable(2));
        let ((a2, y1), (y2, b2)) = (cable(3), cable(4));
        let a = node(1).netmod(a1).netmod(a2).start().await.unwrap();
        let b = node(2).netmod(b1).netmod(b2).start().await.unwrap();
        let x = node(3).netmod(x1).netmod(x2).start().await.unwrap();
        let y = node(4).netmod(y1).netmod(y2).start().await.unwrap();
        assert_eq!(ping(&a, &b.address()).await.hops, 2);
        let active =
            |route: &rouse_core::Route| route.destination == b.address() && route.state == RouteState::Active;
        let used = a.routes().await.into_iter().find(active).unwrap();
        let (used, _spare) = if used.next_hop == x.address() { (x, y) } else { (y, x) };
        drop(used);
        let sent = a.send(&b.address(), "still there?").await.unwrap();
        assert_eq!(&within(b.recv()).await.unwrap().body[..], b"still there?");
        within(sent.delivered()).await.unwrap();
    });
}

#[test]
fn a_netmod_that_fails_is_opened_again_and_the_message_gets_through() {
    block_on(async {
        let net = MemNet::new(8);
        let (a, b) = pair(&net).await;
        talk(&a, &b, "before").await;
        let mut events = a.events();
        net.fail("a");
        let sent = a.send(&b.address(), "after").await.unwrap();
        until_event(&mut events, |event| matches!(event, Event::NetmodState { .. })).await;
        net.recover("a");
        assert_eq!(&within(b.recv()).await.unwrap().body[..], b"after");
        within(sent.delivered()).await.unwrap();
        assert!(a.status().await.netmods[0].last_error.is_some(), "the error stays in the status");
    });
}

#[test]
fn netmods_are_added_and_removed_while_the_node_runs() {
    block_on(async {
        let net = MemNet::new(9);
        let a = node(1).start().await.unwrap();
        let b = node(2).netmod(net.netmod("b")).start().await.unwrap();
        let sent = a.send(&b.address(), "hello").await.unwrap();
        a.add_netmod(std::sync::Arc::new(net.netmod("a"))).await;
        assert_eq!(&within(b.recv()).await.unwrap().body[..], b"hello");
        within(sent.delivered()).await.unwrap();
        let uri = a.status().await.netmods[0].uri.clone();
        assert!(a.remove_netmod(&uri).await);
        assert!(!a.remove_netmod(&uri).await);
        assert_eq!((a.peers().await, a.status().await.netmods.len()), (vec![], 0));
    });
}

#[test]
fn a_node_that_stops_sends_a_goodbye_and_its_neighbour_ends_the_link_at_once() {
    block_on(async {
        let (a, b) = pair(&MemNet::new(10)).await;
        a.send(&b.address(), "x").await.unwrap();
        until_unread(&b, 1).await;
        let mut events = a.events();
        let began = std::time::Instant::now();
        b.stop().await;
        let is_end =
            |event: &Event| matches!(event, Event::NeighbourDown { address, .. } if *address == b.address());
        until_event(&mut events, is_end).await;
        assert!(began.elapsed() < Duration::from_secs(2), "the link ends by the goodbye, not by a timer");
        assert!(b.send(&a.address(), "x").await.is_err());
        assert!(b.recv().await.is_ok(), "a message that was received before can still be read");
        assert!(b.recv().await.is_err());
    });
}

#[test]
fn a_mesh_with_a_key_admits_no_strangers() {
    block_on(async {
        let net = MemNet::new(11);
        let a = node(1).netmod(net.netmod("a")).mesh_key([7; 32]).start().await.unwrap();
        let b = node(2).netmod(net.netmod("b")).mesh_key([7; 32]).start().await.unwrap();
        let stranger = node(3).netmod(net.netmod("c")).start().await.unwrap();
        talk(&a, &b, "hello").await;
        assert!(stranger.ping(&a.address(), Duration::from_secs(3)).await.is_err());
        assert_eq!(stranger.status().await.neighbours, 0);
    });
}
