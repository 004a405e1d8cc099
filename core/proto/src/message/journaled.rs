//! The conversation of a node that has a journal. See [`queue`](super::queue) for the rules of its sequences.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::Conversation;
use super::queue::{LoadRequest, StoredMessage, message_id, split_id};
use super::sending::Sending;
use crate::time::Time;
use crate::types::{Attributes, MessageId, Timestamp, Waiting};
use crate::wire::session::ProvedStanding;

impl Conversation {
    /// Goes on where the journal ended. All sequences below `floor` are settled, and those from `next` on were never used.
    /// It is called before the first session.
    pub fn restore(&mut self, incarnation: u64, floor: u64, next: u64) {
        self.sending.set_incarnation(incarnation);
        self.sending.get_or_create().queue.restore(incarnation, floor, next);
        self.answered |= floor < next;
    }

    /// Goes on with what the journal has of the peer: all sequences of this incarnation below `floor` are settled, and so are
    /// those in `above`. It is called before the first session.
    pub fn restore_received(&mut self, incarnation: u64, floor: u64, above: &[Range<u64>]) {
        let _ = self.meeting.replace_peer(incarnation);
        self.incoming.restore(floor, above);
        // A peer that lacks the receipts asks for a session by itself.
        (self.confirmed, self.reported) = (floor, floor);
    }

    /// Whether the next message is complete, and one that its sender has stored.
    pub fn is_next_durable(&self) -> bool {
        let undelivered = self.meeting.undelivered().next().map(|(_, complete)| complete.attributes.durable);
        undelivered.unwrap_or_else(|| self.incoming.is_next_durable())
    }

    /// The sequences of the peer's present incarnation that need not be received any more: all below the floor that is
    /// returned with it. `None` before the first session.
    pub fn received(&self) -> Option<(u64, u64)> {
        Some((self.meeting.peer()?, self.incoming.taken()))
    }

    /// An application here has dealt with a message of the peer.
    pub fn note_answered(&mut self) {
        self.answered = true;
    }

    /// Gives a message the identifier under which it has to be stored. It leaves after [`Self::on_stored`].
    pub fn begin_storing(
        &mut self,
        now: Time,
        sent_at: Timestamp,
        ttl: Duration,
        attributes: Attributes,
        body: &Bytes,
    ) -> MessageId {
        self.tick(now);
        let incarnation = self.sending.incarnation();
        let seq = self.sending.get_or_create().queue.begin_storing(now, sent_at, ttl, attributes, body);
        (self.last_used, self.answered) = (now, true);
        message_id(incarnation, seq)
    }

    /// The message is on the disk.
    pub fn on_stored(&mut self, id: &MessageId) {
        if let (Some(sending), Some((_, seq))) = (self.sending.get_mut(), split_id(id)) {
            sending.queue.on_stored(seq);
        }
    }

    /// The message could not be stored, and does not leave.
    pub fn on_refused(&mut self, id: &MessageId) {
        if let (Some(sending), Some((_, seq))) = (self.sending.get_mut(), split_id(id)) {
            sending.queue.on_refused(seq);
        }
    }

    /// The sequence that a restarted node has to begin with, if that is not certain yet. [`Self::on_reserved`] answers.
    pub fn reserve_need(&self) -> Option<u64> {
        self.sending.queue.reserve_need()
    }

    /// The sequence that a restarted node begins with at least.
    pub fn reserved(&self) -> u64 {
        self.sending.queue.reserved()
    }

    /// A restarted node will begin with the sequence `next` or a later one.
    pub fn on_reserved(&mut self, next: u64) {
        self.sending.get_or_create().queue.on_reserved(next);
    }

    /// The messages to be loaded from the disk now, if there are any. [`Self::on_loaded`] answers.
    pub fn begin_load(&mut self) -> Option<LoadRequest> {
        let is_connected = self.meeting.is_connected;
        let queue = &mut self.sending.get_mut()?.queue;
        (is_connected || queue.is_awaited()).then(|| queue.begin_load()).flatten()
    }

    /// Takes messages that were loaded from the disk: the first ones that there are from [`LoadRequest::from`] on.
    pub fn on_loaded(&mut self, now: Time, request: LoadRequest, messages: Vec<StoredMessage>) {
        self.tick(now);
        if let Some(Sending { queue, events, .. }) = self.sending.get_mut() {
            queue.on_loaded(now, request, messages, events);
        }
    }

    /// Takes the sequences of stored messages that are delivered, expired or cancelled.
    pub fn take_settled(&mut self) -> Vec<Range<u64>> {
        self.sending.get_mut().map(|sending| sending.queue.take_settled()).unwrap_or_default()
    }

    /// The journal has removed a message because its time to live has run out.
    pub fn on_stored_expired(&mut self, seq: u64) {
        if let Some(Sending { queue, events, .. }) = self.sending.get_mut() {
            queue.on_stored_expired(seq, events);
        }
    }

    /// The messages that are lost when the node ends, because they are in memory alone.
    pub fn volatile(&self) -> Waiting {
        self.sending.queue.volatile()
    }

    /// Whether a message waits, here or on the disk.
    pub fn has_waiting(&self) -> bool {
        self.waiting().messages > 0 || self.sending.queue.has_backlog()
    }

    /// Whether the peer has taken messages that the journal does not have, because it is an older copy of itself. Nothing
    /// is sent before [`Self::renew`].
    pub fn is_rolled_back(&self) -> bool {
        self.is_rolled_back
    }

    /// Takes another incarnation. Messages that wait keep their sequences. The session has to be replaced.
    pub fn renew(&mut self, incarnation: u64) {
        self.on_session_end();
        self.sending.set_incarnation(incarnation);
        self.send_again();
        self.sending.get_or_create().queue.renew(incarnation);
        self.is_rolled_back = false;
    }

    /// The present identifier of a message, which may be from before [`Self::renew`].
    pub fn present_id(&self, id: &MessageId) -> MessageId {
        match split_id(id) {
            Some((_, seq)) if self.sending.queue.is_pending(id) => {
                message_id(self.sending.incarnation(), seq)
            }
            _ => *id,
        }
    }

    /// Whether this session shows that the journal is an older copy of itself. The question arises once, because later the
    /// peer has taken messages that were sent since.
    pub(super) fn is_rolled_back_by(&mut self, proved: &ProvedStanding) -> bool {
        let is_same = proved.peer.peer_incarnation == self.sending.incarnation();
        if let Some(next) = self.sending.get_mut().and_then(|sending| sending.queue.take_restored()) {
            self.is_rolled_back = is_same && proved.peer.taken_below() > next;
        }
        self.is_rolled_back
    }
}
