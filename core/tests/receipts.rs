//! The receipt of a message at a recipient without a journal: it is sent when an application there has received the message.

mod common;

use std::time::Duration;

use async_std::task::block_on;
use rouse_core::netmod::mem::MemNet;
use rouse_core::{Outgoing, SendError};

use common::{node, pair, talk, until_unread, within};

#[test]
fn a_receipt_is_sent_when_an_application_has_received_the_message_and_not_before() {
    block_on(async {
        let net = MemNet::new(12);
        let (a, b) = pair(&net).await;
        talk(&a, &b, "hello").await;
        // To another node, and to the node itself.
        for to in [&b, &a] {
            let sent = a.send(&to.address(), "for an application").await.unwrap();
            until_unread(to, 1).await;
            let early = async_std::future::timeout(Duration::from_millis(200), sent.delivered()).await;
            assert!(early.is_err(), "nothing has received it");
            to.recv().await.unwrap();
            let receipt = within(sent.delivered()).await.unwrap();
            assert!(receipt.elapsed_us >= 200_000, "{} µs", receipt.elapsed_us);
            assert_eq!(
                within(sent.delivered()).await.unwrap().id,
                sent.id,
                "a second call returns the same receipt"
            );
        }
    });
}

#[test]
fn a_message_that_nothing_receives_in_time_expires_at_its_sender_on_the_same_node_and_on_another() {
    block_on(async {
        let (a, b) = pair(&MemNet::new(13)).await;
        talk(&a, &b, "hello").await;
        let outcomes = [SendError::Unknown(b.address()), SendError::Expired(a.address())];
        for (to, outcome) in [&b, &a].into_iter().zip(outcomes) {
            let message = Outgoing::new(to.address(), "too late").ttl(Duration::from_millis(100));
            let sent = a.submit(message).await.unwrap();
            assert_eq!(within(sent.delivered()).await, Err(outcome.clone()));
            assert_eq!(within(sent.delivered()).await, Err(outcome), "it is remembered");
        }
    });
}

#[test]
fn a_node_that_stops_releases_the_callers_that_wait_for_a_receipt() {
    block_on(async {
        let a = node(1).start().await.unwrap();
        let sent = a.send(&a.address(), "unread").await.unwrap();
        let (result, _) = within(futures::future::join(sent.delivered(), a.stop())).await;
        assert_eq!(result, Err(SendError::Stopped));
        assert_eq!(within(sent.delivered()).await, Err(SendError::Stopped));
    });
}

#[test]
fn a_message_that_was_not_received_before_its_recipient_stopped_is_delivered_to_the_successor() {
    block_on(async {
        let net = MemNet::new(14);
        let (a, b) = pair(&net).await;
        let sent =
            [a.send(&b.address(), "taken").await.unwrap(), a.send(&b.address(), "left").await.unwrap()];
        until_unread(&b, 2).await;
        within(b.recv()).await.unwrap();
        within(sent[0].delivered()).await.unwrap();
        b.stop().await;
        drop(b);
        let successor = node(2).netmod(net.netmod("b")).start().await.unwrap();
        assert_eq!(&within(successor.recv()).await.unwrap().body[..], b"left");
        within(sent[1].delivered()).await.unwrap();
        assert!(async_std::future::timeout(Duration::from_millis(300), successor.recv()).await.is_err());
    });
}
