//! The feed of a neighbour to the router: the routing messages in their order, and the changes of the link.
//!
//! A neighbour that sends more than the router has time for delays only itself: its messages stay in the link without
//! an acknowledgement, so that the sender repeats them, while packets and keep-alives pass.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;

use crate::inbox::{Full, Inbox};
use crate::node::state::locks::lock;
use crate::node::state::ready_queue::ReadyQueue;
use crate::route::NeighbourId;
use crate::wire::route::MAX_MESSAGE;

/// Messages of one neighbour that may wait for the router, and their bytes. The link holds further ones back.
const MESSAGES: usize = 1024;
const BYTES: usize = 64 << 10;

/// The changes of a link since the router last read them. Only the latest value of each counts, so they need no queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkChanges {
    pub(crate) cost: Option<u16>,
    pub(crate) mtu: Option<u16>,
}

/// See the [module's page](self).
pub(crate) struct RouterFeed {
    messages: Inbox<Bytes>,
    changes: Mutex<LinkChanges>,
    /// Whether the neighbour is in the router's ready queue. It is there at most once, so that neighbours take turns
    /// whatever they send.
    is_queued: AtomicBool,
    /// Whether the link holds messages back.
    held: AtomicBool,
    /// Whether the router has an event already that makes it read the state of the link.
    announced: AtomicBool,
}

impl Default for RouterFeed {
    fn default() -> Self {
        RouterFeed {
            // Room for one message more, because the link is stopped only after the message that fills the queue.
            messages: Inbox::with_bytes(MESSAGES + 1, BYTES + MAX_MESSAGE, Bytes::len, Full::RefuseNewest),
            changes: Mutex::default(),
            is_queued: AtomicBool::new(false),
            held: AtomicBool::new(false),
            announced: AtomicBool::new(false),
        }
    }
}

impl RouterFeed {
    /// Adds a message for the router. Returns whether the link has to hold back further ones.
    pub(crate) fn push_message(&self, ready: &ReadyQueue, id: NeighbourId, message: Bytes) -> bool {
        let _ = self.messages.try_push(message);
        self.enqueue(ready, id);
        self.is_full()
    }

    /// Whether the link has to hold messages back. If so, the neighbour's task is woken when there is room.
    pub(crate) fn is_full(&self) -> bool {
        if self.has_room(1) {
            return false;
        }
        self.held.store(true, SeqCst);
        // The router may have made room between the check and the mark, when it saw nothing to wake.
        let full = !self.has_room(1);
        if !full {
            self.held.store(false, SeqCst);
        }
        full
    }

    /// Whether less than a `share`-th of the bounds is in use.
    fn has_room(&self, share: usize) -> bool {
        self.messages.len() < MESSAGES / share && self.messages.bytes() < BYTES / share
    }

    /// Records a change of the link's cost or MTU.
    pub(crate) fn changed(&self, ready: &ReadyQueue, id: NeighbourId, change: impl FnOnce(&mut LinkChanges)) {
        change(&mut lock(&self.changes));
        self.enqueue(ready, id);
    }

    fn enqueue(&self, ready: &ReadyQueue, id: NeighbourId) {
        if !self.is_queued.swap(true, SeqCst) {
            ready.enqueue(id);
        }
    }

    /// Whether the router has to be sent an event that makes it read the state of the link. Only the first caller gets
    /// `true`, so that a link that changes often cannot fill the router's queue.
    pub(crate) fn announce(&self) -> bool {
        !self.announced.swap(true, SeqCst)
    }

    /// Clears the mark of [`RouterFeed::announce`]; the router reads the state of the link after this.
    pub(crate) fn clear_announced(&self) {
        self.announced.store(false, SeqCst);
    }

    /// Takes the changes, in the neighbour's turn.
    pub(crate) fn take_changes(&self) -> LinkChanges {
        std::mem::take(&mut *lock(&self.changes))
    }

    /// Takes the next message, in the neighbour's turn.
    pub(crate) fn next(&self) -> Option<Bytes> {
        self.messages.try_recv().ok()
    }

    /// Ends the turn: the neighbour is queued again if it has more. Returns whether its task has to be woken, because
    /// there is room again.
    pub(crate) fn end_turn(&self, ready: &ReadyQueue, id: NeighbourId) -> bool {
        self.is_queued.store(false, SeqCst);
        if !self.messages.is_empty() || *lock(&self.changes) != LinkChanges::default() {
            self.enqueue(ready, id);
        }
        self.has_room(2) && self.held.swap(false, SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feed_is_bounded_and_a_held_link_is_woken_when_there_is_room() {
        for message in [&[3; 4096][..], &[3; 1]] {
            let (router_feed, ready) = (RouterFeed::default(), ReadyQueue::default());
            let mut waiting = 0;
            while !router_feed.push_message(&ready, 1, Bytes::from_static(message)) {
                waiting += 1;
            }
            assert!(waiting * message.len() <= BYTES && waiting < MESSAGES, "{waiting} messages");
            assert!(waiting >= 15, "{waiting} messages");
            assert!(router_feed.is_full());
            // After three turns all messages are taken, and the task is woken once.
            let mut woken = 0;
            while router_feed.next().is_some() {
                woken += u32::from(router_feed.end_turn(&ready, 1));
            }
            assert_eq!((woken, router_feed.is_full()), (1, false));
        }
    }

    #[test]
    fn a_neighbour_is_in_the_ready_queue_once_and_while_it_has_input() {
        let (router_feed, ready) = (RouterFeed::default(), ReadyQueue::default());
        for n in 0..100 {
            router_feed.push_message(&ready, 7, Bytes::from_static(&[3]));
            router_feed.changed(&ready, 7, |changes| changes.cost = Some(n));
        }
        let in_line = || std::iter::from_fn(|| ready.try_next()).collect::<Vec<_>>();
        assert_eq!(in_line(), [7]);
        assert_eq!(router_feed.take_changes(), LinkChanges { cost: Some(99), mtu: None });
        assert!(router_feed.next().is_some());
        assert!(!router_feed.end_turn(&ready, 7));
        assert_eq!(in_line(), [7]);
        while router_feed.next().is_some() {}
        router_feed.end_turn(&ready, 7);
        assert!(in_line().is_empty());
    }
}
