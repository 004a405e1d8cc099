//! Messages, end to end: the protocol between one local address and one remote address.
//!
//! A [`Conversation`] accepts messages from the application and turns them into packets; it accepts the packets of its
//! peer and turns them into messages. The mesh between the two loses, repeats, reorders and delays packets. The
//! recipient nevertheless receives each message once, whole and in order, until its time to live runs out. The code is
//! pure: it reads no clock and does no I/O, and it returns the time at which it has to be called again.
//!
//! The contract with the caller:
//! 1. A conversation starts unreachable and without a session; [`Conversation::set_reachable`] follows the routing
//!    table, [`Conversation::on_session`] and [`Conversation::on_session_end`] follow the sessions, and
//!    [`Conversation::session_need`] requests one. Every packet is the content of a sealed one.
//! 2. After each event ([`Conversation::handle`], [`Conversation::send`], a deadline), first take messages with
//!    [`Conversation::next_message`] while the application has room, then call [`Conversation::poll_transmit`] until it
//!    returns false, then read [`Conversation::next_deadline`]. This order matters because the messages taken first are
//!    acknowledged in the same packet as the packets that brought them.
//! 3. [`Conversation::on_taken`] is the promise that the application has a message. Only then is its receipt sent,
//!    since a sender forgets a message on its receipt.
//! 4. Each conversation has its own incarnation, 8 random bytes. When a conversation is dropped and made again, the
//!    next session shows the peer the new incarnation, and it retransmits the messages without a receipt.
//!
//! The parts: `meeting` and `standing` are the session, which shows restarts of either side; `queue` and `packet_builder` hold the outgoing messages
//! and put them into packets; `incoming`, `message_run`, `reassembly` and `untaken` hold the incoming ones until the
//! application has taken them; `ranges`, `recovery`, `rtt` and `congestion` are acknowledgements, loss detection and
//! congestion control after RFC 9002. `transmit` builds each packet in one place, where it is sealed in place, and
//! `receive` parses it in one place.
mod arithmetic;
mod config;
mod congestion;
mod event;
mod incoming;
mod journaled;
mod lifetime;
mod meeting;
mod message_run;
mod outcome;
mod packet_builder;
mod packet_size;
mod path_change;
mod queue;
mod ranges;
mod reassembly;
mod receive;
mod recovery;
mod rtt;
mod sending;
#[cfg(test)]
mod specification;
mod standing;
#[cfg(test)]
mod tests;
mod transmit;
mod untaken;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::address::Address;
use crate::time::Time;
use crate::types::{Attributes, Ends, Message, MessageId, MessageKind, Protection, Timestamp, Waiting};
use arithmetic::after;
pub use config::ConversationConfig;
use config::{INITIAL_MESSAGES, WINDOW};
pub use event::{ConversationCounters, ConversationEvent};
use incoming::Incoming;
use meeting::Meeting;
pub use meeting::SessionNeed;
use outcome::PathOutcome;
pub use queue::{LoadRequest, StoredMessage};
use queue::{message_id, split_id};
use ranges::ReceivedNumbers;
#[cfg(test)]
use recovery::Piece;
use rtt::MAX_ACK_DELAY;
use sending::{LazySending, Sending};

/// The delay of a receipt after the sender has announced that it has no more to send, in order that a packet in
/// the same direction can carry it. If the sender has more, the receipt is sent with the next ack instead.
const RECEIPT_DELAY: Duration = Duration::from_millis(1);
/// The silence of the peer after which an unconfirmed receipt is sent again, since its loss would not be detected
/// otherwise: a receipt sent beside an ack is not acknowledged by itself.
const CONFIRM_DELAY: Duration = Duration::from_secs(1);
/// The age beyond which a packet is assumed not to arrive any more, so that the state that recognises it may be
/// dropped.
const MAX_PACKET_AGE: Duration = Duration::from_secs(60);
/// The silence after which a peer is forgotten even if it may lack receipts, since its conversation would otherwise be
/// kept for ever.
const MAX_SILENCE: Duration = Duration::from_secs(3600);

/// The state of the messages between two addresses, in both directions. See the module for its contract.
///
/// A host that invents identities causes one conversation for each, so the type is kept small: the state of the
/// sending direction is allocated in `sending` when it is first needed, and the state for restarts in `meeting`.
#[derive(Debug)]
pub struct Conversation {
    ends: Arc<Ends>,
    /// The latest time passed in. It never decreases.
    clock: Time,
    /// The time of the last use of the conversation by either side.
    last_used: Time,
    /// The time of the last packet of the peer.
    last_received: Time,
    /// Whether there is a route to the peer.
    reachable: bool,
    /// Whether the packets that the route carries are too small to be worth building.
    is_route_too_small: bool,
    meeting: Meeting,
    /// Whether an application here has sent the peer a message or taken one of it.
    answered: bool,
    sending: LazySending,
    /// Whether the peer has taken messages that the journal does not have, so that another incarnation is needed.
    is_rolled_back: bool,
    /// Whether this end of the conversation began without a memory of what it had received and not stored, and the peer does
    /// not know that yet. Only a node with a journal announces it, since the incarnation shows it otherwise.
    has_forgotten: bool,
    /// Whether a packet of the peer has arrived since it reported that it has forgotten.
    is_heard: bool,
    outcome: PathOutcome,
    /// The packet numbers received in the present session.
    received: ReceivedNumbers,
    incoming: Incoming,
    /// Packets that request an ack and have none yet.
    unacknowledged: u32,
    /// The time at which they are acknowledged, unless a packet is sent before.
    ack_at: Option<Time>,
    /// Whether the sender has announced that it has no more to send, and therefore waits for its receipts.
    sender_finished: bool,
    /// All messages below this were reported to the peer as taken. `unreported_bytes` were taken since.
    reported: u64,
    unreported_bytes: usize,
    /// All messages below this are known to be settled at the peer, so their receipt need not be repeated.
    confirmed: u64,
    /// All messages below this are covered by a receipt in flight that requests an ack; 0 if there is none.
    confirming: u64,
    /// The time at which a receipt is due.
    receipt_at: Option<Time>,
    /// Whether the next packet has to request an ack, in order to test whether the peer is there.
    ping_due: bool,
}

impl Conversation {
    /// A conversation between `local` and `peer`. `incarnation` is random, not 0, and used for no other.
    pub fn new(config: ConversationConfig, local: Address, peer: Address, incarnation: u64) -> Self {
        Self::between(config, Arc::new(Ends { peer, local }), incarnation, Time::ZERO)
    }

    /// As `new`, with ends that are shared with other owners in order to save memory. Its silence counts from `now`.
    pub fn between(config: ConversationConfig, ends: Arc<Ends>, incarnation: u64, now: Time) -> Self {
        let incarnation = incarnation.max(1);
        let credit_bytes = u32::try_from(config.credit_bytes).unwrap_or(u32::MAX).max(256 << 10);
        let messages = u64::try_from(config.credit_messages).unwrap_or(u64::MAX);
        let credit_messages = u16::try_from(messages.clamp(INITIAL_MESSAGES, WINDOW)).unwrap_or(u16::MAX);
        Conversation {
            ends,
            clock: Time::ZERO,
            last_used: now,
            last_received: Time::ZERO,
            reachable: false,
            is_route_too_small: false,
            meeting: Meeting::default(),
            answered: false,
            sending: LazySending::new(incarnation, config),
            is_rolled_back: false,
            has_forgotten: config.has_journal,
            is_heard: false,
            outcome: PathOutcome::default(),
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

    /// The number by which handshakes name this end.
    pub fn incarnation(&self) -> u64 {
        self.sending.incarnation()
    }

    /// Queues a message. The body is returned when the queue is full, in which case [`ConversationEvent::Room`] follows
    /// once there is room, or when it is longer than [`MAX_MESSAGE`](crate::types::MAX_MESSAGE).
    pub fn send(
        &mut self,
        now: Time,
        sent_at: Timestamp,
        ttl: Duration,
        body: Bytes,
    ) -> Result<MessageId, Bytes> {
        self.send_with(now, sent_at, ttl, Attributes::default(), body)
    }

    /// As [`Self::send`], with attributes.
    pub fn send_with(
        &mut self,
        now: Time,
        sent_at: Timestamp,
        ttl: Duration,
        attributes: Attributes,
        body: Bytes,
    ) -> Result<MessageId, Bytes> {
        self.tick(now);
        let is_refusal = attributes.kind == MessageKind::Refused;
        let id = self.sending.get_or_create().queue.push(now, sent_at, ttl, attributes, body)?;
        self.last_used = now;
        // The node refuses requests by itself. A peer that makes them must not keep its conversation for that.
        self.answered |= !is_refusal;
        Ok(id)
    }

    /// Withdraws a message; returns false if it is not queued any more. If parts of it had been sent, the recipient may
    /// have it nevertheless.
    pub fn cancel(&mut self, id: &MessageId) -> bool {
        let Some(Sending { queue, events, .. }) = self.sending.get_mut() else { return false };
        queue.cancel(id, events) || queue.cancel_in_backlog(id)
    }

    /// Whether a message is neither delivered nor withdrawn.
    pub fn is_pending(&self, id: &MessageId) -> bool {
        self.sending.queue.is_pending(id)
    }

    /// Sets whether there is a route. Without one nothing is transmitted. A new route starts with the window of the old
    /// one, and the packets in flight are retransmitted at once, since those lost with the old route would otherwise
    /// only be detected by a timeout.
    /// Returns whether there was none before and is one now.
    pub fn set_reachable(&mut self, now: Time, reachable: bool) -> bool {
        self.tick(now);
        let is_found = reachable && !self.reachable;
        if is_found {
            self.requeue_in_flight();
            self.sending.end_stall();
            self.ping_due |= !self.sending.queue.is_empty() && !self.sending.queue.has_work();
        }
        self.reachable = reachable;
        is_found
    }

    /// The next message, complete and in order. Its receipt is sent after [`Conversation::on_taken`].
    pub fn next_message(&mut self, now_wall: Timestamp) -> Option<Message> {
        let (incarnation, complete) = match self.meeting.take_undelivered() {
            Some(undelivered) => undelivered,
            None => {
                let complete = self.incoming.take()?;
                (self.meeting.peer().unwrap_or_default(), complete)
            }
        };
        let Attributes { service, in_reply_to, kind, .. } = complete.attributes;
        Some(Message {
            id: message_id(incarnation, complete.seq),
            from: self.ends.peer,
            to: self.ends.local,
            sent_at: complete.sent_at,
            received_at: now_wall,
            protection: Protection::EndToEnd,
            service,
            in_reply_to,
            kind,
            deliveries: 1,
            body: complete.body.into(),
        })
    }

    /// The application has taken the messages from `first` to `last`, in order of their identifiers.
    pub fn on_taken(&mut self, now: Time, first: &MessageId, last: &MessageId) {
        self.tick(now);
        let (Some((incarnation, first)), Some((_, last))) = (split_id(first), split_id(last)) else { return };
        // Messages of a former incarnation have no receipt, because their sender is gone.
        if self.meeting.peer() != Some(incarnation) {
            return;
        }
        self.answered = true;
        self.settle_taken(first, last);
    }

    /// The message is needed by no application, so that its sender gets a receipt. Unlike [`Self::on_taken`] this does not
    /// show that an application here deals with the peer.
    pub fn on_discarded(&mut self, now: Time, id: &MessageId) {
        self.tick(now);
        if let Some((incarnation, seq)) = split_id(id)
            && self.meeting.peer() == Some(incarnation)
        {
            self.settle_taken(seq, seq);
        }
    }

    fn settle_taken(&mut self, first: u64, last: u64) {
        for seq in first..=last {
            self.unreported_bytes = self.unreported_bytes.saturating_add(self.incoming.on_taken(seq));
        }
        self.note_receipt();
    }

    /// Whether [`Self::next_message`] would return a message.
    pub fn has_message(&self) -> bool {
        self.meeting.undelivered().len() > 0 || self.incoming.has_message()
    }

    /// The length of the message that [`Self::next_message`] would return.
    pub fn next_bytes(&self) -> Option<usize> {
        let undelivered = self.meeting.undelivered().next().map(|(_, complete)| complete.body.len());
        undelivered.or_else(|| self.incoming.next_bytes())
    }

    /// The memory in bytes of the peer's messages that wait here, whole or in part.
    pub fn held_bytes(&self) -> usize {
        let undelivered = self.meeting.undelivered().map(|(_, complete)| complete.held());
        undelivered.fold(self.incoming.held(), usize::saturating_add)
    }

    /// Limits the new bytes that the next packet may add. Anything beyond is not acknowledged, so that the peer
    /// retransmits it.
    pub fn set_room(&mut self, room: usize) {
        self.incoming.set_room(room);
    }

    /// The next change of a message or of the queue, in the order in which they happened.
    pub fn poll_event(&mut self) -> Option<ConversationEvent> {
        self.sending.get_mut()?.events.pop_front()
    }

    /// The number and the bytes of the messages that are neither delivered nor withdrawn.
    pub fn waiting(&self) -> Waiting {
        self.sending.queue.waiting()
    }

    /// The time at which the oldest message was accepted that is neither delivered nor withdrawn.
    pub fn oldest_waiting(&self) -> Option<Timestamp> {
        self.sending.queue.oldest()
    }

    /// Returns the counters, and resets them.
    pub fn counters(&mut self) -> ConversationCounters {
        ConversationCounters {
            retransmits: self.sending.get_mut().map_or(0, |sending| std::mem::take(&mut sending.retransmits)),
            duplicates: std::mem::take(&mut self.incoming.duplicates),
            expired: std::mem::take(&mut self.incoming.given_up),
        }
    }

    fn tick(&mut self, now: Time) {
        self.clock = self.clock.max(now);
    }

    /// Schedules a receipt if messages were taken that are not reported yet. A quarter of the credit is reported at
    /// once, so that the sender does not stop for want of credit.
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
