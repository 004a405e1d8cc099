//! A conversation beside the journal: its state is read before it is used, and its messages are stored before they leave.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rouse_journal::{OutboxMessage, Pair, PairState};

use crate::node::data_path::DeferredWork;
use crate::node::state::NodeState;
use crate::node::state::conversation::{ConversationEntry, EntryState};
use crate::node::state::conversations::Conversations;
use crate::node::state::journal::JournalRequest;
use crate::node::state::locks::lock;
use crate::rt;
use crate::session::SessionInput;
use crate::types::{MessageId, Outgoing, SendError};

/// The result of an attempt to give a message its place in the journal.
pub(crate) enum Storing {
    /// It has this identifier, and is to be put under it.
    Begun(MessageId, (Pair, OutboxMessage)),
    /// The conversation is not read yet. [`ConversationEntry::room_after`] waits for that.
    Opening,
    /// The conversation was removed to make room, and has to be opened again.
    Gone,
    Failed(SendError),
}

/// The first values of a conversation in the journal.
pub(crate) struct NewRecord {
    pub(crate) incarnation: u64,
    /// The sequence that a restarted node has to begin with at least: the journal may have forgotten the conversation.
    pub(crate) next: u64,
}

/// The sequence of a message in its incarnation.
pub(crate) fn sequence(id: &MessageId) -> u64 {
    id.0.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

impl ConversationEntry {
    pub(crate) fn journal_pair(&self) -> Pair {
        Pair { local: *self.local(), peer: *self.peer() }
    }

    /// Gives a message its sequence, under which it is to be stored.
    pub(crate) fn begin_storing(&self, shared: &NodeState, message: &Outgoing, body: &Bytes) -> Storing {
        let attributes = match message.attributes() {
            Ok(attributes) => attributes,
            Err(error) => return Storing::Failed(error),
        };
        let now = shared.now();
        let mut state = lock(&self.state);
        if state.closed {
            return Storing::Failed(SendError::Stopped);
        }
        if state.gone {
            return Storing::Gone;
        }
        if let Some(journaled) = state.journaled.as_ref().filter(|journaled| journaled.is_opening) {
            return match &journaled.error {
                Some(error) => Storing::Failed(SendError::NotStored(error.clone())),
                None => Storing::Opening,
            };
        }
        state.used = now;
        let (sent_at, life) = (rt::wall_clock(), Duration::from_millis(message.ttl_ms));
        let (service, in_reply_to) = (attributes.service.clone(), attributes.in_reply_to);
        let id = state.conversation.begin_storing(now, sent_at, life, attributes, body);
        let stored =
            OutboxMessage { seq: sequence(&id), sent_at, life, service, in_reply_to, body: body.clone() };
        Storing::Begun(id, (self.journal_pair(), stored))
    }

    /// Ends the storing of a message.
    pub(crate) fn end_storing(&self, id: &MessageId, is_stored: bool) {
        let mut state = lock(&self.state);
        match is_stored {
            true => state.conversation.on_stored(id),
            false => state.conversation.on_refused(id),
        }
    }

    /// Whether the journal lacks a record of the conversation, so that it has to be opened before a message is put. The
    /// caller opens it.
    pub(crate) fn begin_record(&self) -> Option<NewRecord> {
        let mut state = lock(&self.state);
        let EntryState { conversation, journaled, .. } = &mut *state;
        let (incarnation, next) = (conversation.incarnation(), conversation.reserved());
        let is_recorded = std::mem::replace(&mut journaled.as_mut()?.is_recorded, true);
        (!is_recorded).then_some(NewRecord { incarnation, next })
    }

    /// The journal has forgotten the conversation, so that the next message has to open it again.
    pub(crate) fn forget_record(&self) {
        if let Some(journaled) = &mut lock(&self.state).journaled {
            journaled.is_recorded = false;
        }
    }

    /// The operations of the journal that the conversation needs now.
    pub(super) fn journal_needs(self: &Arc<Self>, state: &mut EntryState, needs: &mut Vec<JournalRequest>) {
        let EntryState { conversation, journaled: Some(journaled), .. } = state else { return };
        let settled = conversation.take_settled();
        if !settled.is_empty() {
            needs.push(JournalRequest::Settle(self.journal_pair(), settled));
        }
        if let Some(next) = conversation.reserve_need().filter(|_| !journaled.is_reserving) {
            journaled.is_reserving = true;
            needs.push(JournalRequest::Reserve(self.clone(), next));
        }
        needs.extend(conversation.begin_load().map(|request| JournalRequest::Load(self.clone(), request)));
        if conversation.is_rolled_back() && !std::mem::replace(&mut journaled.is_renewing, true) {
            needs.push(JournalRequest::Renew(self.clone()));
        }
    }

    /// The state of the conversation was read: what the journal has of it, if anything.
    pub(crate) fn opened(&self, shared: &NodeState, found: Option<PairState>, work: &mut DeferredWork) {
        let mut state = lock(&self.state);
        if state.gone {
            return;
        }
        let mut journaled = state.journaled.take().unwrap_or_default();
        (journaled.is_opening, journaled.error) = (false, None);
        journaled.is_recorded = found.is_some();
        let requested_by = journaled.requested_by.take();
        state.journaled = Some(journaled);
        if let Some(PairState { incarnation, floor, next, window }) = found {
            state.conversation.restore(incarnation, floor, next);
            if let Some(window) = window {
                state.conversation.restore_received(window.incarnation, window.floor(), window.above());
            }
        }
        drop(state);
        self.announce_room();
        if let Some(hop) = requested_by {
            shared.conversations.decide(shared, self.pair(), hop, work);
        }
    }

    /// The state of the conversation could not be read.
    pub(crate) fn open_failed(&self, error: String) {
        if let Some(journaled) = &mut lock(&self.state).journaled {
            journaled.error = Some(error);
        }
        self.announce_room();
    }

    pub(crate) fn is_gone(&self) -> bool {
        lock(&self.state).gone
    }

    /// The conversation has another incarnation. Its session named the one before, and ends.
    pub(crate) fn renewed(&self, shared: &NodeState, incarnation: u64) {
        let mut state = lock(&self.state);
        state.conversation.renew(incarnation);
        state.rename_waiters();
        if let Some(journaled) = &mut state.journaled {
            journaled.is_renewing = false;
        }
        // The conversation stays locked, so that no packet is sealed in the session that ends.
        let close = SessionInput::Close { pair: self.pair() };
        let (_, _) = shared.conversations.sessions.handle(shared.now(), close);
    }

    /// Withdraws a message that waits. Returns false if there is none.
    pub(crate) fn cancel(self: &Arc<Self>, id: &MessageId, work: &mut DeferredWork) -> bool {
        let mut state = lock(&self.state);
        let id = state.conversation.present_id(id);
        if !state.conversation.cancel(&id) {
            return false;
        }
        let waiters = state.take_waiters(&id);
        state.remember_expired(id, false);
        drop(state);
        for waiter in waiters.into_iter().flatten() {
            waiter.send(Err(SendError::Cancelled(*self.peer())));
        }
        work.pump_later(self);
        true
    }
}

impl EntryState {
    /// Whether its state in the journal is being read, so that it must not be used.
    pub(crate) fn is_opening(&self) -> bool {
        self.journaled.as_ref().is_some_and(|journaled| journaled.is_opening)
    }
}

impl Conversations {
    /// The journal has removed a message because its time to live has run out. Returns false if the conversation is not here.
    pub(crate) fn on_stored_expired(&self, pair: &Pair, seq: u64, work: &mut DeferredWork) -> bool {
        let Some(entry) = self.find(&pair.local, &pair.peer) else { return false };
        lock(&entry.state).conversation.on_stored_expired(seq);
        work.pump_later(&entry);
        true
    }
}
