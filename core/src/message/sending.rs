//! What only those conversations have that send: made when it is first needed.
//!
//! Whoever invents sources has a conversation begun here for each of them. Such a one never sends more than acks, and those
//! need no more than their number.

use std::sync::LazyLock;

use super::Config;
use super::queue::SendQueue;
use super::recovery::{Piece, Recovery};
use crate::time::Time;

/// What waits to be sent, and what is on its way.
#[derive(Debug)]
pub(super) struct Sending {
    pub queue: SendQueue,
    pub recovery: Recovery,
}

/// The look of a conversation that sends nothing.
static NOTHING: LazyLock<Sending> =
    LazyLock::new(|| Sending { queue: SendQueue::new(0, 0, 0), recovery: Recovery::new(0) });

/// A [`Sending`] that may not be there yet. To look at it makes none.
#[derive(Debug)]
pub(super) struct Lazy {
    made: Option<Box<Sending>>,
    /// The number of the next packet while there is none.
    next: u64,
    incarnation: u64,
    max_messages: usize,
    max_bytes: usize,
}

impl Lazy {
    pub fn new(incarnation: u64, config: Config) -> Self {
        let Config { max_queue_messages: max_messages, max_queue_bytes: max_bytes, .. } = config;
        Lazy { made: None, next: 0, incarnation, max_messages, max_bytes }
    }

    /// To change it, if it is there.
    pub fn get_mut(&mut self) -> Option<&mut Sending> {
        self.made.as_deref_mut()
    }

    /// To change it.
    pub fn make(&mut self) -> &mut Sending {
        let Lazy { made, next, incarnation, max_messages, max_bytes } = self;
        made.get_or_insert_with(|| {
            let queue = SendQueue::new(*incarnation, *max_messages, *max_bytes);
            Box::new(Sending { queue, recovery: Recovery::new(*next) })
        })
    }

    /// The number of the next packet.
    pub fn next_number(&self) -> u64 {
        self.made.as_ref().map_or(self.next, |made| made.recovery.next_number())
    }

    /// The next packet has left. It asks for an ack when it carried pieces.
    pub fn on_sent(&mut self, now: Time, bytes: usize, pieces: &[Piece]) {
        if self.made.is_none() && pieces.is_empty() {
            self.next = self.next.saturating_add(1);
        } else {
            self.make().recovery.on_sent(now, bytes, pieces);
        }
    }
}

impl std::ops::Deref for Lazy {
    type Target = Sending;

    fn deref(&self) -> &Sending {
        self.made.as_deref().unwrap_or(&NOTHING)
    }
}
