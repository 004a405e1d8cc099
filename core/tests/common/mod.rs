//! The set-up that the tests of nodes share: nodes with fixed identities, deadlines, and conditions to wait for.
#![allow(dead_code, reason = "each test program uses a part of this module")]

pub(crate) mod faulty_netmod;

use std::time::{Duration, Instant};

use async_std::task::sleep;
use futures::{FutureExt, StreamExt};
use rouse_core::netmod::mem::MemNet;
use rouse_core::{Event, Events, Identity, Node, NodeBuilder};

/// Longer than any single step takes, so that a test that fails does not hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two looks at a condition that no event announces.
const PAUSE: Duration = Duration::from_millis(10);

/// A node with the identity number `n`.
pub(crate) fn node(n: u8) -> NodeBuilder {
    Node::builder().identity(Identity::from_seed(&[n; 32]))
}

/// Two nodes with the identities 1 and 2, on the ports "a" and "b" of a network.
pub(crate) async fn pair(net: &MemNet) -> (Node, Node) {
    let a = node(1).netmod(net.netmod("a")).start().await.unwrap();
    let b = node(2).netmod(net.netmod("b")).start().await.unwrap();
    (a, b)
}

/// The result of a future that is ready within [`PATIENCE`].
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    async_std::future::timeout(PATIENCE, future).await.expect("in time")
}

/// Waits until a condition holds. It is for state that changes without an event; for links and routes there is
/// [`until_event`], which does not poll.
pub(crate) async fn until(missing: &str, mut holds: impl AsyncFnMut() -> bool) {
    find_within(PATIENCE, missing, async || holds().await.then_some(())).await;
}

/// Waits until `look` finds something, and returns that.
pub(crate) async fn find<T>(missing: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    find_within(PATIENCE, missing, look).await
}

/// As [`find`], with another deadline.
pub(crate) async fn find_within<T>(
    patience: Duration,
    missing: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {missing}");
        sleep(PAUSE).await;
    }
}

/// Waits for an event of a kind, and passes over the others.
pub(crate) async fn until_event(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        let (_, event) = within(events.next()).await.expect("the node runs");
        if wanted(&event) {
            return event;
        }
    }
}

/// Takes the events that are ready, and returns those of a kind.
pub(crate) fn ready_events(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    let ready = std::iter::from_fn(|| events.next().now_or_never().flatten());
    ready.map(|(_, event)| event).filter(|event| wanted(event)).collect()
}

pub(crate) fn is_up(event: &Event) -> bool {
    matches!(event, Event::NeighbourUp { .. })
}

pub(crate) fn is_down(event: &Event) -> bool {
    matches!(event, Event::NeighbourDown { .. })
}

/// Sends a message, receives it, and waits for its receipt.
pub(crate) async fn talk(from: &Node, to: &Node, text: &str) {
    let sent = within(from.send(&to.address(), text)).await.unwrap();
    assert_eq!(&within(to.recv_from(&from.address())).await.unwrap().body[..], text.as_bytes());
    within(sent.delivered()).await.unwrap();
}

/// Waits until the mailboxes of a node hold so many messages.
pub(crate) async fn until_unread(node: &Node, count: u64) {
    until("the messages in the mailboxes", async || node.unfinished().unread == count).await;
}
