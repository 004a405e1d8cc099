//! What only those conversations have that send: made when it is first needed.
//!
//! Whoever invents sources has a conversation begun here for each of them. Such a one never sends more than acks, and those
//! need no more than their number.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use super::queue::SendQueue;
use super::recovery::{Piece, Recovery};
use super::transmit::LAST_RAISE;
use super::{Config, ConversationEvent};
use crate::time::Time;

/// What waits to be sent, and what is on its way.
#[derive(Debug)]
pub(super) struct Sending {
    pub queue: SendQueue,
    pub recovery: Recovery,
    pub events: VecDeque<ConversationEvent>,
    /// What the route was last said to bear, and since when it is suspected to bear less.
    pub offered: usize,
    pub reduced: Option<ReducedPacketSize>,
    pub paced_until: Option<Time>,
    pub stall_at: Option<Time>,
    pub stalls: u32,
    /// Packets with something that had been sent before.
    pub retransmits: u64,
    /// The memory of the list of what a packet carries, for the next one.
    pieces: Vec<Piece>,
}

impl Sending {
    fn new(queue: SendQueue, next: u64) -> Self {
        Sending {
            queue,
            recovery: Recovery::new(next),
            events: VecDeque::new(),
            offered: 0,
            reduced: None,
            paced_until: None,
            stall_at: None,
            stalls: 0,
            retransmits: 0,
            pieces: Vec::new(),
        }
    }
}

/// Packets longer than `most` bytes seem to vanish.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReducedPacketSize {
    pub most: usize,
    /// When a longer one is tried again, and the pause before the one after that.
    pub raise_at: Time,
    pub pause: Duration,
}

impl ReducedPacketSize {
    /// A longer one has gone out.
    fn note_attempt(&mut self, now: Time) {
        self.raise_at = now + self.pause;
        self.pause = self.pause.saturating_mul(2).min(LAST_RAISE);
    }
}

/// The look of a conversation that sends nothing.
static EMPTY: LazyLock<Sending> = LazyLock::new(|| Sending::new(SendQueue::new(0, 0, 0), 0));

/// A [`Sending`] that may not be there yet. To look at it makes none.
#[derive(Debug)]
pub(super) struct LazySending {
    sending: Option<Box<Sending>>,
    /// The number of the next packet while there is none.
    next: u64,
    incarnation: u64,
    max_messages: usize,
    max_bytes: usize,
}

impl LazySending {
    pub fn new(incarnation: u64, config: Config) -> Self {
        let Config { max_queue_messages: max_messages, max_queue_bytes: max_bytes, .. } = config;
        LazySending { sending: None, next: 0, incarnation, max_messages, max_bytes }
    }

    /// The number that packets to this conversation name it by.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// To change it, if it is there.
    pub fn get_mut(&mut self) -> Option<&mut Sending> {
        self.sending.as_deref_mut()
    }

    /// To change it.
    pub fn get_or_create(&mut self) -> &mut Sending {
        let LazySending { sending, next, incarnation, max_messages, max_bytes } = self;
        sending.get_or_insert_with(|| {
            let queue = SendQueue::new(*incarnation, *max_messages, *max_bytes);
            Box::new(Sending::new(queue, *next))
        })
    }

    /// The number of the next packet.
    pub fn next_number(&self) -> u64 {
        self.sending.as_ref().map_or(self.next, |sending| sending.recovery.next_number())
    }

    /// The next packet has left. It asks for an ack when it carried pieces.
    pub fn on_sent(&mut self, now: Time, bytes: usize, pieces: &[Piece]) {
        if self.sending.is_none() && pieces.is_empty() {
            self.next = self.next.saturating_add(1);
        } else {
            let sending = self.get_or_create();
            sending.recovery.on_sent(now, bytes, pieces);
            if let Some(reduced) = sending.reduced.as_mut().filter(|reduced| bytes > reduced.most) {
                reduced.note_attempt(now);
            }
        }
    }

    /// The list of what the next packet carries, to be given back with [`Self::return_pieces`].
    pub fn borrow_pieces(&mut self) -> Vec<Piece> {
        self.get_mut().map(|sending| std::mem::take(&mut sending.pieces)).unwrap_or_default()
    }

    pub fn give_back_pieces(&mut self, pieces: Vec<Piece>) {
        if let Some(sending) = self.get_mut() {
            sending.pieces = pieces;
        }
    }

    /// The recipient takes its messages, or is another one.
    pub fn end_stall(&mut self) {
        if let Some(sending) = self.get_mut() {
            (sending.stall_at, sending.stalls) = (None, 0);
        }
    }

    /// Gives back what is held only to be ready.
    pub fn release_memory(&mut self) {
        if let Some(sending) = self.get_mut() {
            sending.events.shrink_to_fit();
            sending.pieces = Vec::new();
        }
    }
}

impl std::ops::Deref for LazySending {
    type Target = Sending;

    fn deref(&self) -> &Sending {
        self.sending.as_deref().unwrap_or(&EMPTY)
    }
}
