//! The state of the sending direction, allocated when it is first needed.
//!
//! A host that invents identities causes a conversation for each of them. Such a conversation never sends more
//! than acks, which need only a packet number, so that it should not pay for queues and timers.

use std::collections::VecDeque;
use std::sync::LazyLock;

use super::config::ConversationConfig;
use super::event::ConversationEvent;
use super::packet_size::PacketSize;
use super::queue::SendQueue;
use super::recovery::{Piece, Recovery};
use crate::time::Time;

/// The outgoing messages, the packets in flight, and their timers.
#[derive(Debug)]
pub(super) struct Sending {
    pub queue: SendQueue,
    pub recovery: Recovery,
    pub events: VecDeque<ConversationEvent>,
    pub packet_size: PacketSize,
    /// The time at which the pacer permits the next packet, if it delays one.
    pub paced_until: Option<Time>,
    /// The time of the next ping to a recipient that takes no messages, and the pings sent since it last took one.
    pub stall_at: Option<Time>,
    pub stalls: u32,
    /// Packets with something that had been sent before.
    pub retransmits: u64,
    /// The list of the pieces of a packet, kept empty for the next packet so that it is allocated once.
    pieces: Vec<Piece>,
}

impl Sending {
    fn new(queue: SendQueue, next: u64) -> Self {
        Sending {
            queue,
            recovery: Recovery::new(next),
            events: VecDeque::new(),
            packet_size: PacketSize::default(),
            paced_until: None,
            stall_at: None,
            stalls: 0,
            retransmits: 0,
            pieces: Vec::new(),
        }
    }
}

/// The state as seen in a conversation that sends nothing.
static EMPTY: LazyLock<Sending> = LazyLock::new(|| Sending::new(SendQueue::new(0, (0, 0), false), 0));

/// A [`Sending`] that may not be allocated yet. Reading it does not allocate.
#[derive(Debug)]
pub(super) struct LazySending {
    sending: Option<Box<Sending>>,
    /// The number of the next packet while `sending` is `None`.
    next: u64,
    incarnation: u64,
    /// The parts of [`ConversationConfig`] that the queue needs. They are kept apart, because the whole would enlarge each
    /// conversation.
    max_bytes: u32,
    max_messages: u16,
    has_journal: bool,
}

impl LazySending {
    pub(super) fn new(incarnation: u64, config: ConversationConfig) -> Self {
        LazySending {
            sending: None,
            next: 0,
            incarnation,
            max_bytes: u32::try_from(config.max_queue_bytes).unwrap_or(u32::MAX),
            max_messages: u16::try_from(config.max_queue_messages).unwrap_or(u16::MAX),
            has_journal: config.has_journal,
        }
    }

    /// Takes another incarnation, by which handshakes name this end from now on.
    pub(super) fn set_incarnation(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
    }

    /// The number by which handshakes name this end.
    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The state, if it is allocated.
    pub(super) fn get_mut(&mut self) -> Option<&mut Sending> {
        self.sending.as_deref_mut()
    }

    /// The state, which is allocated if necessary.
    pub(super) fn get_or_create(&mut self) -> &mut Sending {
        let LazySending { sending, next, incarnation, max_messages, max_bytes, has_journal } = self;
        sending.get_or_insert_with(|| {
            let queue = SendQueue::new(*incarnation, (*max_messages, *max_bytes), *has_journal);
            Box::new(Sending::new(queue, *next))
        })
    }

    /// The number of the next packet.
    pub(super) fn next_number(&self) -> u64 {
        self.sending.as_ref().map_or(self.next, |sending| sending.recovery.next_number())
    }

    /// Records the next packet as sent. It requests an ack if it carries pieces.
    pub(super) fn on_sent(&mut self, now: Time, bytes: usize, pieces: &[Piece]) {
        // A packet without pieces only advances the number, so that acks allocate no state.
        if self.sending.is_none() && pieces.is_empty() {
            self.next = self.next.saturating_add(1);
        } else {
            let sending = self.get_or_create();
            sending.recovery.on_sent(now, bytes, pieces);
            sending.packet_size.on_sent(now, bytes);
        }
    }

    /// The list for the pieces of the next packet, to be returned with [`Self::give_back_pieces`].
    pub(super) fn borrow_pieces(&mut self) -> Vec<Piece> {
        self.get_mut().map(|sending| std::mem::take(&mut sending.pieces)).unwrap_or_default()
    }

    pub(super) fn give_back_pieces(&mut self, pieces: Vec<Piece>) {
        if let Some(sending) = self.get_mut() {
            sending.pieces = pieces;
        }
    }

    /// Stops the stall timer: the recipient takes its messages, or has restarted.
    pub(super) fn end_stall(&mut self) {
        if let Some(sending) = self.get_mut() {
            (sending.stall_at, sending.stalls) = (None, 0);
        }
    }

    /// Releases the memory that is kept only for reuse.
    pub(super) fn release_memory(&mut self) {
        if let Some(sending) = self.get_mut() {
            sending.events.shrink_to_fit();
            sending.pieces = Vec::new();
        }
    }
}

impl std::ops::Deref for LazySending {
    type Target = Sending;

    // All conversations that send nothing share one empty state, so that readers need no special case.
    fn deref(&self) -> &Sending {
        self.sending.as_deref().unwrap_or(&EMPTY)
    }
}
