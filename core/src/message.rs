//! Messages, end to end: between one address here and one address elsewhere.
//!
//! A [`Conversation`] takes messages from the application and makes packets of them; it takes the packets of its
//! peer and makes messages of them. In between lies a mesh that loses, repeats, reorders and delays. What comes
//! out is each message once, whole and in order, until its time to live runs out. It is pure: it reads no clock,
//! does no I/O, and says when it wants to be woken.
//!
//! The contract with the caller:
//! 1. It starts unreachable: [`Conversation::set_reachable`] follows the routing table.
//! 2. Whenever something happened ([`Conversation::handle`], [`Conversation::send`], a deadline), first take what
//!    there is with [`Conversation::next_message`] while the application has room, then call
//!    [`Conversation::poll_transmit`] until it says no, then look at [`Conversation::next_deadline`]. In this
//!    order one packet carries ack and receipt.
//! 3. [`Conversation::took`] is the promise that the application has a message: only then the sender gets its receipt.
//! 4. Each conversation has an incarnation of its own, 8 random bytes. When one was dropped and is made anew, the
//!    peer notices, and sends again what had no receipt.
//!
//! How it is built, from top to bottom: `meeting` knows who is there, `queue` and `fill` send, `incoming` and
//! `reassembly` receive, `ranges`, `recovery`, `rtt` and `congestion` know what arrived and what the path bears,
//! `transmit` builds a packet, whole and in one place, and `receive` takes it: there a seal fits.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod congestion;
mod incarnation;
mod incoming;
mod lifetime;
mod message_run;
mod outcome;
mod packet_builder;
mod queue;
mod ranges;
mod reassembly;
mod receive;
mod recovery;
mod rtt;
mod sending;
#[cfg(test)]
mod specification;
#[cfg(test)]
mod tests;
mod transmit;
mod untaken;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::address::Address;
use crate::time::Time;
use crate::types::{Message, MessageId, Protection, Timestamp, Waiting};
pub(crate) use crate::wire::message::source;
use incarnation::IncarnationTracker;
use incoming::Incoming;
use outcome::Outcome;
use queue::{message_id, split_id};
use ranges::ReceivedNumbers;
use recovery::after;
use rtt::MAX_ACK_DELAY;
use sending::LazySending;
#[cfg(test)]
use {recovery::Piece, sending::Sending};

/// Bytes that may be sent before the recipient has said how many it wants.
const INITIAL_CREDIT: u64 = 256 << 10;
/// Messages that may be sent before the recipient has said how many it wants.
const INITIAL_MESSAGES: u64 = 1024;
/// At most so many messages are in transmission: floor to floor + 4095.
const WINDOW: u64 = 4096;
/// A receipt waits so long for a packet that goes its way, when its sender has no more to send; else it goes with
/// the next ack.
const RECEIPT_DELAY: Duration = Duration::from_millis(1);
/// After so long without a packet from the peer, it is asked whether it knows the last receipt.
const CONFIRM_DELAY: Duration = Duration::from_secs(1);
/// A packet older than this does not arrive any more: state that would recognise it may go.
const MAX_PACKET_AGE: Duration = Duration::from_secs(60);
/// A peer that was away for so long is forgotten even if it may not have heard of its receipts.
const MAX_SILENCE: Duration = Duration::from_secs(3600);

/// The bounds of a conversation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// Messages that wait to be delivered.
    pub max_queue_messages: usize,
    /// Their bytes. A single message is accepted whatever its length.
    pub max_queue_bytes: usize,
    /// Bytes of incoming messages that may wait here, besides the one that is next; at least 256 KiB.
    pub credit_bytes: usize,
    /// Incoming messages that may wait here; 1024 to 4096.
    pub credit_messages: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_queue_messages: 4096,
            max_queue_bytes: 32 << 20,
            credit_bytes: 1 << 20,
            credit_messages: 4096,
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConversationEvent {
    /// The recipient has it, `elapsed` after it was accepted here.
    Delivered { id: MessageId, elapsed: Duration },
    /// Its time to live ran out. The recipient may have it nevertheless, if parts of it had left.
    Expired { id: MessageId },
    /// The queue was full and has room again.
    Room,
}

/// What a conversation counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Packets with something that had been sent before.
    pub retransmits: u64,
    /// Packets and parts of messages that had arrived before, beyond those for which `handle` gave an error.
    pub duplicates: u64,
    /// Complete messages that their sender gave up before the application took them.
    pub expired: u64,
}

/// The two ends of a conversation: the peer, and the address of this node.
pub(crate) type Ends = (Address, Address);

/// See the module.
///
/// Whoever invents sources has one made for each of them, so it is small: what a conversation has only once it sends is in
/// `sending`, and what it has only once a side has lost its memory in `meeting`.
#[derive(Debug)]
pub(crate) struct Conversation {
    ends: Arc<Ends>,
    /// The latest time that was told.
    clock: Time,
    /// When the conversation was last used from either side.
    last_used: Time,
    last_received: Time,
    reachable: bool,
    /// The peer has sent a packet that names our incarnation: it hears what is sent to its address.
    proven: bool,
    /// The route bears no packet that is worth building.
    is_route_too_small: bool,
    incarnations: IncarnationTracker,
    sending: LazySending,
    outcome: Outcome,
    received: ReceivedNumbers,
    incoming: Incoming,
    /// Packets that ask for an ack and have none.
    unacknowledged: u32,
    ack_at: Option<Time>,
    /// The sender has no more and waits for its receipts.
    sender_finished: bool,
    /// All below was told to be taken; all below is known to be known.
    reported: u64,
    unreported_bytes: usize,
    confirmed: u64,
    /// A receipt on its way that will be acknowledged.
    confirming: u64,
    receipt_at: Option<Time>,
    ping_due: bool,
}

impl Conversation {
    /// A conversation between `local` and `peer`. `incarnation` is random, not 0, and used for no other.
    #[cfg(any(test, feature = "internals"))]
    pub fn new(config: Config, local: Address, peer: Address, incarnation: u64) -> Self {
        Self::between(config, Arc::new((peer, local)), incarnation)
    }

    /// As `new`, with ends that others share.
    pub fn between(config: Config, ends: Arc<Ends>, incarnation: u64) -> Self {
        let incarnation = incarnation.max(1);
        let credit_bytes = u32::try_from(config.credit_bytes).unwrap_or(u32::MAX).max(256 << 10);
        let messages = u64::try_from(config.credit_messages).unwrap_or(u64::MAX);
        let credit_messages = u16::try_from(messages.clamp(INITIAL_MESSAGES, WINDOW)).unwrap_or(u16::MAX);
        Conversation {
            ends,
            clock: Time::ZERO,
            last_used: Time::ZERO,
            last_received: Time::ZERO,
            reachable: false,
            proven: false,
            is_route_too_small: false,
            incarnations: IncarnationTracker::default(),
            sending: LazySending::new(incarnation, config),
            outcome: Outcome::default(),
            received: ReceivedNumbers::default(),
            incoming: Incoming::new(credit_bytes, credit_messages),
            unacknowledged: 0,
            ack_at: None,
            sender_finished: false,
            reported: 0,
            unreported_bytes: 0,
            confirmed: 0,
            confirming: 0,
            receipt_at: None,
            ping_due: false,
        }
    }

    /// The number that packets to it name it by.
    #[cfg(feature = "internals")]
    pub fn incarnation(&self) -> u64 {
        self.sending.incarnation()
    }

    /// Queues a message. The body comes back when the queue is full ([`ConversationEvent::Room`] tells when it no
    /// longer is), or when it is longer than [`crate::MAX_MESSAGE`].
    pub fn send(
        &mut self,
        now: Time,
        sent_at: Timestamp,
        ttl: Duration,
        body: Bytes,
    ) -> Result<MessageId, Bytes> {
        self.tick(now);
        let id = self.sending.get_or_create().queue.push(now, sent_at, ttl, body)?;
        self.last_used = now;
        Ok(id)
    }

    /// Gives a message up; false when it is not here any more. If parts of it had left, the recipient may have it
    /// nevertheless.
    #[cfg(test)]
    pub fn cancel(&mut self, id: &MessageId) -> bool {
        let Sending { queue, events, .. } = self.sending.get_or_create();
        queue.cancel(id, events)
    }

    /// Whether a message is neither delivered nor given up.
    pub fn is_pending(&self, id: &MessageId) -> bool {
        self.sending.queue.is_pending(id)
    }

    /// Whether there is a route. Without one nothing is transmitted. A new route goes on with the window of the
    /// old one, and what was on its way when the last route went away is sent again.
    pub fn set_reachable(&mut self, now: Time, reachable: bool) {
        self.tick(now);
        if reachable && !self.reachable {
            self.requeue_in_flight();
            self.sending.end_stall();
            self.ping_due |= !self.sending.queue.is_empty() && !self.sending.queue.has_work();
        }
        self.reachable = reachable;
    }

    /// The next message, complete and in order. The sender gets its receipt after [`Conversation::took`].
    pub fn next_message(&mut self, now_wall: Timestamp) -> Option<Message> {
        let (incarnation, complete) = match self.incarnations.take_undelivered() {
            Some(undelivered) => undelivered,
            None => {
                let complete = self.incoming.take()?;
                (self.incarnations.peer().unwrap_or_default(), complete)
            }
        };
        Some(Message {
            id: message_id(incarnation, complete.seq),
            from: self.ends.0,
            to: self.ends.1,
            sent_at: complete.sent_at,
            received_at: now_wall,
            protection: Protection::Link,
            body: complete.body.into(),
        })
    }

    /// The application has taken these messages, `first` to `last` in the order of their names.
    pub fn on_taken(&mut self, now: Time, first: &MessageId, last: &MessageId) {
        self.tick(now);
        let (Some((incarnation, first)), Some((_, last))) = (split_id(first), split_id(last)) else { return };
        // Those of a former incarnation have no receipt any more.
        if self.incarnations.peer() != Some(incarnation) {
            return;
        }
        for seq in first..=last {
            self.unreported_bytes = self.unreported_bytes.saturating_add(self.incoming.on_taken(seq));
        }
        self.note_receipt();
    }

    /// Whether [`Self::next_message`] has one.
    pub fn has_message(&self) -> bool {
        self.incarnations.undelivered().len() > 0 || self.incoming.has_message()
    }

    /// The length of the message that [`Self::next_message`] has.
    pub fn next_bytes(&self) -> Option<usize> {
        let undelivered = self.incarnations.undelivered().next().map(|(_, complete)| complete.body.len());
        undelivered.or_else(|| self.incoming.next_bytes())
    }

    /// Bytes of memory that the peer's messages take which wait here, whole or in part.
    pub fn held_bytes(&self) -> usize {
        let undelivered = self.incarnations.undelivered().map(|(_, complete)| complete.body.len());
        undelivered.fold(self.incoming.held(), usize::saturating_add)
    }

    /// The next packet may bring no more than this many new bytes: what is beyond is not acknowledged, and comes again.
    pub fn set_room(&mut self, room: usize) {
        self.incoming.set_room(room);
    }

    /// What became of messages, in the order in which it happened.
    pub fn poll_event(&mut self) -> Option<ConversationEvent> {
        self.sending.get_mut()?.events.pop_front()
    }

    /// Messages that are neither delivered nor given up.
    pub fn waiting(&self) -> Waiting {
        self.sending.queue.waiting()
    }

    /// What was counted since the last call.
    pub fn counters(&mut self) -> Counters {
        Counters {
            retransmits: self.sending.get_mut().map_or(0, |sending| std::mem::take(&mut sending.retransmits)),
            duplicates: std::mem::take(&mut self.incoming.duplicates),
            expired: std::mem::take(&mut self.incoming.given_up),
        }
    }

    fn tick(&mut self, now: Time) {
        self.clock = self.clock.max(now);
    }

    /// If something was taken that the peer has not been told, it is told soon; at once when it is much.
    fn note_receipt(&mut self) {
        let unreported = self.incoming.taken().saturating_sub(self.reported);
        if unreported == 0 {
            return;
        }
        let (credit_bytes, credit_messages) = self.incoming.credit();
        let much = self.unreported_bytes >= credit_bytes as usize / 4
            || unreported >= u64::from(credit_messages) / 4;
        let delay = match (much, self.sender_finished) {
            (true, _) => Duration::ZERO,
            (false, true) => RECEIPT_DELAY,
            (false, false) => MAX_ACK_DELAY,
        };
        let at = after(self.clock, delay);
        self.receipt_at = Some(self.receipt_at.map_or(at, |earlier| earlier.min(at)));
    }
}
