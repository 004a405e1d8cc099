//! When a message counts as delivered: an application of its recipient has taken it.

use std::time::Duration;

use async_std::task::block_on;
use rouse_core::netmod::mem::MemNet;
use rouse_core::{Identity, Node, NodeBuilder, Outgoing, SendError};

/// Longer than anything here takes; a test that fails does not hang.
const PATIENCE: Duration = Duration::from_secs(30);

fn node(n: u8) -> NodeBuilder {
    Node::builder().identity(Identity::from_seed(&[n; 32]))
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    async_std::future::timeout(PATIENCE, future).await.expect("in time")
}

/// A message that is received, and has its receipt then.
async fn talk(from: &Node, to: &Node, text: &str) {
    let sent = within(from.send(&to.address(), text)).await.unwrap();
    assert_eq!(&within(to.recv_from(&from.address())).await.unwrap().body[..], text.as_bytes());
    within(sent.delivered()).await.unwrap();
}

/// Waits until so many messages are in the mailboxes of a node.
async fn unread(node: &Node, count: u64) {
    within(async {
        while node.unfinished().unread != count {
            async_std::task::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

async fn pair(net: &MemNet) -> (Node, Node) {
    let a = node(1).netmod(net.netmod("a")).start().await.unwrap();
    let b = node(2).netmod(net.netmod("b")).start().await.unwrap();
    (a, b)
}

#[test]
fn a_message_has_its_receipt_when_an_application_has_taken_it_and_not_before() {
    block_on(async {
        let net = MemNet::new(12);
        let (a, b) = pair(&net).await;
        talk(&a, &b, "hello").await;
        // To another node, and to the node itself.
        for to in [&b, &a] {
            let sent = a.send(&to.address(), "for an application").await.unwrap();
            unread(to, 1).await;
            let early = async_std::future::timeout(Duration::from_millis(200), sent.delivered()).await;
            assert!(early.is_err(), "nothing has received it");
            to.recv().await.unwrap();
            let receipt = within(sent.delivered()).await.unwrap();
            assert!(receipt.elapsed_us >= 200_000, "{} µs", receipt.elapsed_us);
            assert_eq!(within(sent.delivered()).await.unwrap().id, sent.id, "asking again is answered again");
        }
    });
}

#[test]
fn what_nothing_takes_in_its_time_expires_for_its_sender_at_this_node_as_at_another() {
    block_on(async {
        let (a, b) = pair(&MemNet::new(13)).await;
        talk(&a, &b, "hello").await;
        for to in [&b, &a] {
            let message = Outgoing::new(to.address(), "too late").ttl(Duration::from_millis(100));
            let sent = a.submit(message).await.unwrap();
            assert_eq!(within(sent.delivered()).await, Err(SendError::Expired(to.address())));
        }
    });
}

#[test]
fn those_that_wait_for_a_receipt_at_a_node_that_stops_are_released() {
    block_on(async {
        let a = node(1).start().await.unwrap();
        let sent = a.send(&a.address(), "unread").await.unwrap();
        let (fate, _) = within(futures::future::join(sent.delivered(), a.stop())).await;
        assert_eq!(fate, Err(SendError::Stopped));
        assert_eq!(within(sent.delivered()).await, Err(SendError::Stopped));
    });
}

#[test]
fn what_was_not_taken_before_its_recipient_stopped_comes_to_its_successor() {
    block_on(async {
        let net = MemNet::new(14);
        let (a, b) = pair(&net).await;
        let sent =
            [a.send(&b.address(), "taken").await.unwrap(), a.send(&b.address(), "left").await.unwrap()];
        unread(&b, 2).await;
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
