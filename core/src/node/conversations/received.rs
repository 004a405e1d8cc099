//! The stored messages of a peer on their way into the inbox of the journal.
//!
//! They stay in the conversation until the task of the inbox takes them for the next commit, so that they count towards the
//! credit and the memory of their sender. When they are on the disk, their sender gets its receipt. Those that the journal
//! refuses are kept here, with no receipt, and are tried again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use rouse_journal::{Arrival, InboxMessage, Reception, Refusal};

use super::journaled::sequence;
use crate::address::Address;
use crate::node::mailbox::Mailbox;
use crate::node::mailbox::answers::Dispatch;
use crate::node::state::NodeState;
use crate::node::state::conversation::{ConversationEntry, EntryState};
use crate::node::state::journal::NewArrival;
use crate::node::state::locks::{lock, read};
use crate::rt;
use crate::stats::DropCause;
use crate::types::{Event, Message, MessageId, Service};

/// The messages of one commit, and the bytes of their bodies, since all of them are in memory twice meanwhile.
const MOST_MESSAGES: usize = 1024;
const MOST_BYTES: usize = 4 << 20;
/// Those of one conversation, so that others have their part of each commit. One message is taken whatever its length.
const MOST_OF_ONE: usize = 256;
const MOST_BYTES_OF_ONE: usize = 1 << 20;

/// The room that is left in a commit.
pub(crate) struct BatchRoom {
    messages: usize,
    bytes: usize,
}

impl Default for BatchRoom {
    fn default() -> Self {
        BatchRoom { messages: MOST_MESSAGES, bytes: MOST_BYTES }
    }
}

impl BatchRoom {
    pub(crate) fn is_left(&self) -> bool {
        self.messages > 0 && self.bytes > 0
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// The next step of a conversation whose messages were to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoredNext {
    Nothing,
    /// More of its messages wait.
    More,
    /// The journal has refused some, which are to be tried again later.
    Refused,
}

/// The messages that were stored by one commit.
#[derive(Default)]
pub(crate) struct StoredSummary {
    pub(crate) count: u64,
    pub(crate) services: BTreeSet<(Address, Service)>,
    pub(crate) events: Vec<Event>,
}

impl StoredSummary {
    pub(crate) fn add(&mut self, shared: &NodeState, message: &Message) {
        self.count = self.count.saturating_add(1);
        self.note_service(message);
        if shared.event_bus.has_subscriber() {
            self.events.push(super::entry::received(message));
        }
    }

    /// Notes that there may be a message for this service.
    fn note_service(&mut self, message: &Message) {
        let service = (message.to, message.service.clone());
        // Looked up first, because most messages of a commit are for one service.
        if !self.services.contains(&service) {
            self.services.insert(service);
        }
    }
}

impl EntryState {
    /// Whether the next message is to be stored.
    pub(crate) fn is_next_stored(&self) -> bool {
        self.journaled.is_some() && self.conversation.is_next_durable()
    }

    /// The messages that the journal has refused.
    pub(crate) fn refused(&self) -> usize {
        self.journaled.as_ref().map_or(0, |journaled| journaled.unstored.len())
    }

    /// The bytes of the messages that are being stored, or were refused.
    pub(crate) fn unstored_bytes(&self) -> usize {
        let unstored = self.journaled.as_ref().map(|journaled| &journaled.unstored);
        unstored.map_or(0, |unstored| {
            unstored.iter().map(|message| message.body.len().saturating_add(size_of::<Message>())).sum()
        })
    }
}

impl ConversationEntry {
    /// Lists the conversation with the task of the inbox if its next message is to be stored.
    pub(super) fn list(self: &Arc<Self>, shared: &NodeState) {
        let Some(journal) = &shared.journal else { return };
        let mut state = lock(&self.state);
        if state.gone || !state.is_next_stored() {
            return;
        }
        let Some(journaled) = &mut state.journaled else { return };
        // Listed once, so that a flood of packets makes no longer list.
        if std::mem::replace(&mut journaled.is_listed, true) {
            return;
        }
        drop(state);
        journal.receive(NewArrival::Conversation(self.clone()));
    }

    /// Whether the conversation stays listed although it had nothing to store at the moment.
    pub(crate) fn keep_listed(&self) -> bool {
        let mut state = lock(&self.state);
        let keep = !state.gone && state.is_next_stored();
        if let Some(journaled) = &mut state.journaled {
            journaled.is_listed = keep;
        }
        keep
    }

    /// Takes messages for the next commit: those that were refused before, or the next ones. [`Self::stored`] has to follow
    /// unless there are none.
    pub(crate) fn gather(&self, shared: &NodeState, room: &mut BatchRoom) -> Vec<Arrival> {
        let mut fresh = Vec::new();
        {
            let mut state = lock(&self.state);
            let is_gone = state.gone;
            let EntryState { conversation, journaled: Some(journaled), .. } = &mut *state else {
                return Vec::new();
            };
            if is_gone || journaled.is_opening {
                return Vec::new();
            }
            // So that the conversation is not removed while a part of its messages is outside of it.
            journaled.is_storing = true;
            let (now, mut bytes) = (rt::wall_clock(), 0usize);
            // Refused messages go first, since later ones must not overtake them.
            while journaled.unstored.is_empty()
                && fresh.len() < MOST_OF_ONE
                && bytes < MOST_BYTES_OF_ONE
                && conversation.is_next_durable()
                && let Some(message) = conversation.next_message(now)
            {
                bytes = bytes.saturating_add(message.body.len());
                fresh.push(message);
            }
        }
        // The lock is released, since an answer wakes the application that waits for it.
        let fresh = self.without_answers(shared, fresh);
        let mut state = lock(&self.state);
        let received = state.conversation.received();
        let is_answered = state.conversation.is_answered();
        let Some(journaled) = &mut state.journaled else { return Vec::new() };
        journaled.unstored.extend(fresh);
        journaled.is_storing = !journaled.unstored.is_empty();
        let mut arrivals: Vec<Arrival> = Vec::new();
        for message in &journaled.unstored {
            room.take(message.body.len());
            let incarnation = incarnation(&message.id);
            if arrivals.last().is_none_or(|last| last.incarnation != incarnation) {
                let present = received.filter(|(present, _)| *present == incarnation);
                arrivals.push(Arrival {
                    pair: self.journal_pair(),
                    is_answered,
                    incarnation,
                    floor: present.map_or(0, |(_, taken)| taken),
                    withdrawn: Vec::new(),
                    messages: Vec::new(),
                });
            }
            if let Some(last) = arrivals.last_mut() {
                last.messages.push(inbox_message(message));
            }
        }
        // Charged here too, since what is refused would otherwise be memory that no sender pays for.
        shared.conversations.budget.charge(&mut state);
        arrivals
    }

    /// The messages that do not answer a request which waits.
    fn without_answers(&self, shared: &NodeState, messages: Vec<Message>) -> Vec<Message> {
        if !messages.iter().any(Mailbox::needs_dispatch) {
            return messages;
        }
        let Some(mailbox) = read(&shared.mailboxes).get(self.local()).cloned() else { return Vec::new() };
        let messages = messages.into_iter();
        let rest = messages.filter_map(|message| match Mailbox::needs_dispatch(&message) {
            false => Some(message),
            true => match mailbox.dispatch(message) {
                Dispatch::Deliver(message) => Some(message),
                Dispatch::Answered => None,
                Dispatch::Unrequested(message) | Dispatch::NoSuchService(message) => {
                    shared.stats.drop(DropCause::Unrequested);
                    self.discard(shared, &message.id);
                    None
                }
            },
        });
        rest.collect()
    }

    /// The commit has ended: with these outcomes of the messages that were taken for it, or with an error.
    pub(crate) fn stored(
        &self,
        shared: &NodeState,
        receptions: Option<Vec<Reception>>,
        summary: &mut StoredSummary,
    ) -> StoredNext {
        let now = shared.now();
        let mut state = lock(&self.state);
        let is_gone = state.gone;
        let EntryState { conversation, journaled: Some(journaled), .. } = &mut *state else {
            return StoredNext::Nothing;
        };
        journaled.is_storing = false;
        if let Some(receptions) = receptions {
            let mut kept = VecDeque::new();
            for (message, reception) in std::mem::take(&mut journaled.unstored).into_iter().zip(receptions) {
                match reception {
                    Reception::Stored(_) => {
                        summary.add(shared, &message);
                        conversation.on_discarded(now, &message.id);
                    }
                    Reception::Duplicate => {
                        shared.stats.drop(DropCause::Duplicate);
                        // The commit that stored it may have been reported as failed, so that no reader knows of it.
                        summary.note_service(&message);
                        conversation.on_discarded(now, &message.id);
                    }
                    Reception::Refused(refusal) => {
                        journaled.is_recorded &= refusal != Refusal::UnknownPair;
                        kept.push_back(message);
                    }
                }
            }
            journaled.unstored = kept;
        } else {
            // The commit may have been made nevertheless. A message that is there is a duplicate next time.
            journaled.is_recorded = false;
        }
        let is_refused = !journaled.unstored.is_empty();
        if is_refused && !journaled.is_refused {
            shared.stats.drop_n(DropCause::NotStored, journaled.unstored.len() as u64);
        }
        journaled.is_refused = is_refused;
        if is_gone {
            // Its memory is no longer counted. The sender repeats what has no receipt, so that nothing is lost.
            journaled.unstored.clear();
            return StoredNext::Nothing;
        }
        let next = match (is_refused, conversation.is_next_durable()) {
            (true, _) => StoredNext::Refused,
            (false, true) => StoredNext::More,
            (false, false) => StoredNext::Nothing,
        };
        journaled.is_listed = next != StoredNext::Nothing;
        shared.conversations.budget.charge(&mut state);
        next
    }
}

fn incarnation(id: &MessageId) -> u64 {
    id.0.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The message as the journal stores it.
pub(crate) fn inbox_message(message: &Message) -> InboxMessage {
    InboxMessage {
        seq: sequence(&message.id),
        sent_at: message.sent_at,
        received_at: message.received_at,
        service: message.service.clone(),
        in_reply_to: message.in_reply_to,
        body: message.body.0.clone(),
    }
}
