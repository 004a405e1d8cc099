//! What a neighbour has for the router: messages in their order, and what its link is like now.
//!
//! A neighbour that says more than the router has time for waits, and nobody else does: its messages stay in the link, which
//! leaves them to the sender to repeat, while packets and signs of life pass.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use bytes::Bytes;

use crate::inbox::{Full, Inbox};
use crate::node::state::lock;
use crate::node::tasks::router::RouterInputs;
use crate::route::NeighbourId;
use crate::wire::route::MAX_MESSAGE;

/// Messages of one neighbour that may wait for the router, and their bytes. The link keeps back what comes after.
const MESSAGES: usize = 1024;
const BYTES: usize = 64 << 10;

/// What has changed of a link since the router last looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkChanges {
    pub(crate) cost: Option<u16>,
    pub(crate) mtu: Option<u16>,
}

/// See the [module's page](self).
pub(crate) struct RouterFeed {
    messages: Inbox<Bytes>,
    changes: Mutex<LinkChanges>,
    /// Whether it stands in the router's line.
    is_queued: AtomicBool,
    /// Whether the link keeps messages back.
    held: AtomicBool,
    /// Whether the router knows that it has to look whether the link is in doubt.
    announced: AtomicBool,
}

impl Default for RouterFeed {
    fn default() -> Self {
        RouterFeed {
            // One more finds room: the link is not asked for it while this is full.
            messages: Inbox::with_bytes(MESSAGES + 1, BYTES + MAX_MESSAGE, Bytes::len, Full::RefuseNewest),
            changes: Mutex::default(),
            is_queued: AtomicBool::new(false),
            held: AtomicBool::new(false),
            announced: AtomicBool::new(false),
        }
    }
}

impl RouterFeed {
    /// A message for the router. Returns whether the link is to keep back what comes after.
    pub(crate) fn message(&self, inputs: &RouterInputs, id: NeighbourId, message: Bytes) -> bool {
        let _ = self.messages.try_push(message);
        self.enqueue(inputs, id);
        self.is_full()
    }

    /// Whether the link is to keep messages back. If so the neighbour's task is woken when there is room.
    pub(crate) fn is_full(&self) -> bool {
        if self.has_room(1) {
            return false;
        }
        self.held.store(true, SeqCst);
        // If the router has made room between the first look and here, it has seen nobody to wake.
        let full = !self.has_room(1);
        if !full {
            self.held.store(false, SeqCst);
        }
        full
    }

    /// Whether no more than one part in so many of what may wait is there.
    fn has_room(&self, share: usize) -> bool {
        self.messages.len() < MESSAGES / share && self.messages.bytes() < BYTES / share
    }

    /// The link's cost or MTU has changed.
    pub(crate) fn changed(
        &self,
        inputs: &RouterInputs,
        id: NeighbourId,
        change: impl FnOnce(&mut LinkChanges),
    ) {
        change(&mut lock(&self.changes));
        self.enqueue(inputs, id);
    }

    fn enqueue(&self, inputs: &RouterInputs, id: NeighbourId) {
        if !self.is_queued.swap(true, SeqCst) {
            inputs.enqueue(id);
        }
    }

    /// Whether the router is to be told to look whether the link is in doubt: it does not know yet.
    pub(crate) fn announce(&self) -> bool {
        !self.announced.swap(true, SeqCst)
    }

    /// The router looks whether the link is in doubt.
    pub(crate) fn look(&self) {
        self.announced.store(false, SeqCst);
    }

    /// For the router, in the neighbour's turn: what has changed.
    pub(crate) fn take_changes(&self) -> LinkChanges {
        std::mem::take(&mut *lock(&self.changes))
    }

    /// For the router, in the neighbour's turn: the next message.
    pub(crate) fn next(&self) -> Option<Bytes> {
        self.messages.try_recv().ok()
    }

    /// The turn is over: whoever has more to say lines up again. Returns whether the neighbour's task is to be woken, because
    /// there is room again.
    pub(crate) fn turn_over(&self, inputs: &RouterInputs, id: NeighbourId) -> bool {
        self.is_queued.store(false, SeqCst);
        if !self.messages.is_empty() || *lock(&self.changes) != LinkChanges::default() {
            self.enqueue(inputs, id);
        }
        self.has_room(2) && self.held.swap(false, SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_who_was_kept_back_is_woken_when_there_is_room() {
        for message in [&[3; 4096][..], &[3; 1]] {
            let (router_feed, inputs) = (RouterFeed::default(), RouterInputs::default());
            let mut waiting = 0;
            while !router_feed.message(&inputs, 1, Bytes::from_static(message)) {
                waiting += 1;
            }
            assert!(waiting * message.len() <= BYTES && waiting < MESSAGES, "{waiting} messages");
            assert!(waiting >= 15, "{waiting} messages");
            assert!(router_feed.is_full());
            // In three turns all is taken, and it is woken once.
            let mut woken = 0;
            while router_feed.next().is_some() {
                woken += u32::from(router_feed.turn_over(&inputs, 1));
            }
            assert_eq!((woken, router_feed.is_full()), (1, false));
        }
    }

    #[test]
    fn a_neighbour_stands_in_the_line_once_and_for_as_long_as_it_has_something_to_say() {
        let (router_feed, inputs) = (RouterFeed::default(), RouterInputs::default());
        for n in 0..100 {
            router_feed.message(&inputs, 7, Bytes::from_static(&[3]));
            router_feed.changed(&inputs, 7, |changes| changes.cost = Some(n));
        }
        let in_line = || inputs.ready_neighbours();
        assert_eq!(in_line(), [7]);
        assert_eq!(router_feed.take_changes(), LinkChanges { cost: Some(99), mtu: None });
        assert!(router_feed.next().is_some());
        assert!(!router_feed.turn_over(&inputs, 7));
        assert_eq!(in_line(), [7]);
        while router_feed.next().is_some() {}
        router_feed.turn_over(&inputs, 7);
        assert!(in_line().is_empty());
    }
}
