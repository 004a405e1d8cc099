//! The task of the inbox: it stores the messages that have arrived. All that arrive during a commit are in the next one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::FutureExt;
use rouse_journal::{Arrival, JournalError, Pair, Reception, Refusal};

use super::journal::{failure, refusal};
use crate::address::Address;
use crate::node::conversations::received::{BatchRoom, StoredNext, StoredSummary, inbox_message};
use crate::node::data_path::DeferredWork;
use crate::node::state::NodeState;
use crate::node::state::conversation::ConversationEntry;
use crate::node::state::journal::{JournalState, LocalArrival, NewArrival, StoreRefusal};
use crate::node::state::locks::read;
use crate::rt;
use crate::stats::Counter;
use crate::types::{Event, MessageId, Service};

/// The time after which messages that were refused are tried again, even if no room was reported.
const RETRY: Duration = Duration::from_secs(1);
/// The least time between two attempts for the sake of room, which each acknowledged message makes.
const PACE: Duration = Duration::from_millis(50);
/// The conversations with refused messages that are tried again at a time, so that many of them keep no others back.
const MOST_RETRIED: usize = 64;

/// The messages of one commit.
#[derive(Default)]
struct Batch {
    arrivals: Vec<Arrival>,
    /// Each conversation with the number of its arrivals.
    conversations: Vec<(Arc<ConversationEntry>, usize)>,
    locals: Vec<(LocalArrival, MessageId)>,
}

/// The task's own state.
struct InboxWriter {
    shared: Arc<NodeState>,
    state: Arc<JournalState>,
    waiting: VecDeque<NewArrival>,
    /// The conversations of which the journal has refused messages.
    refused: VecDeque<Arc<ConversationEntry>>,
    /// The count of [`JournalStatus::room`](rouse_journal::JournalStatus::room) before the last attempt that was refused.
    refused_at: u64,
    retried: Instant,
    /// The incarnation and the next sequence of messages of this node to itself.
    local: (u64, u64),
}

/// Stores messages until the node ends.
pub(crate) async fn run(shared: Arc<NodeState>, state: Arc<JournalState>) {
    let incarnation = rt::random_u64().unwrap_or_else(|_| shared.now().as_nanos()).max(1);
    let (waiting, refused) = Default::default();
    let retried = rt::now();
    let mut writer =
        InboxWriter { shared, state, waiting, refused, refused_at: 0, retried, local: (incarnation, 0) };
    loop {
        writer.wait().await;
        writer.store().await;
    }
}

impl InboxWriter {
    /// Waits until there is something to store, new or refused before. New messages do not wait for a pause of those that were
    /// refused, since they may be of other senders.
    async fn wait(&mut self) {
        let take =
            |arrivals: &mut VecDeque<NewArrival>| (!arrivals.is_empty()).then(|| std::mem::take(arrivals));
        if !self.refused.is_empty() && rt::elapsed(self.retried) >= RETRY {
            self.retry();
        }
        if !self.waiting.is_empty() {
            if let Some(mut more) = self.state.arrivals.take_when(take).now_or_never() {
                self.waiting.append(&mut more);
            }
            return;
        }
        if self.refused.is_empty() {
            self.waiting = self.state.arrivals.take_when(take).await;
            return;
        }
        let (journal, refused_at) = (&self.state.journal, self.refused_at);
        // Not at once, because each message that an application acknowledges makes room.
        let room = async {
            rt::sleep(PACE).await;
            rt::timeout(RETRY, journal.room_after(refused_at)).await
        };
        futures::select_biased! {
            more = std::pin::pin!(self.state.arrivals.take_when(take).fuse()) => {
                self.waiting = more;
                return;
            }
            _ = std::pin::pin!(room.fuse()) => {}
        }
        self.retry();
    }

    fn retry(&mut self) {
        self.retried = rt::now();
        let count = self.refused.len().min(MOST_RETRIED);
        self.waiting.extend(self.refused.drain(..count).map(NewArrival::Conversation));
    }

    /// Stores what waits, in one commit.
    async fn store(&mut self) {
        // Read before the attempt, so that no room is missed that is made meanwhile.
        let room = self.state.journal.status().room;
        let batch = self.gather();
        if batch.arrivals.is_empty() {
            return;
        }
        let outcome = self.state.journal.receive(batch.arrivals).await;
        let mut receptions = match &outcome {
            Ok(receptions) => receptions.clone().into_iter(),
            Err(error) => {
                tracing::warn!(%error, "received messages cannot be stored: their senders keep them");
                Vec::new().into_iter()
            }
        };
        let (mut work, mut summary) = (DeferredWork::default(), StoredSummary::default());
        for (entry, count) in batch.conversations {
            let receptions: Option<Vec<Reception>> =
                outcome.is_ok().then(|| receptions.by_ref().take(count).flatten().collect());
            match entry.stored(&self.shared, receptions, &mut summary) {
                StoredNext::Nothing => {}
                StoredNext::More => self.waiting.push_back(NewArrival::Conversation(entry.clone())),
                StoredNext::Refused => {
                    self.refused_at = room;
                    self.refused.push_back(entry.clone());
                }
            }
            // Messages that are held in memory may follow on those that were stored, and would otherwise wait for a packet.
            entry.deliver(&self.shared);
            work.pump_later(&entry);
        }
        let mut receptions = receptions.flatten();
        for (local, id) in batch.locals {
            let reception = receptions.next();
            let outcome = local_outcome(id, reception, outcome.as_ref().err());
            end_local(&self.shared, local, outcome, &mut summary);
        }
        self.announce(summary);
        work.finish(&self.shared);
    }

    /// The messages of the next commit. What finds no room in it waits for the one after.
    fn gather(&mut self) -> Batch {
        let (mut batch, mut room) = (Batch::default(), BatchRoom::default());
        let mut locals: BTreeMap<Pair, Vec<LocalArrival>> = BTreeMap::new();
        while room.is_left()
            && let Some(arrival) = self.waiting.pop_front()
        {
            match arrival {
                NewArrival::Conversation(entry) => {
                    let mut arrivals = entry.gather(&self.shared, &mut room);
                    match arrivals.is_empty() {
                        true if entry.keep_listed() => {
                            self.waiting.push_back(NewArrival::Conversation(entry));
                        }
                        true => {}
                        false => {
                            self.open(&entry);
                            batch.conversations.push((entry, arrivals.len()));
                            batch.arrivals.append(&mut arrivals);
                        }
                    }
                }
                NewArrival::Local(local) => {
                    room.take(local.message.body.len());
                    let pair = Pair { local: local.message.to, peer: local.message.from };
                    locals.entry(pair).or_default().push(local);
                }
            }
        }
        for (pair, members) in locals {
            // In front of the messages in the queue, so that it is in the same commit. Nothing depends on its result.
            drop(self.state.journal.open_pair(pair, self.local.0));
            batch.arrivals.push(self.local_arrival(pair, members, &mut batch.locals));
        }
        batch
    }

    /// Lets the journal have a record of the conversation, in front of its messages and in the same commit.
    fn open(&self, entry: &ConversationEntry) {
        if let Some(new) = entry.begin_record() {
            let pair = entry.journal_pair();
            drop(self.state.journal.open_pair(pair, new.incarnation));
            if new.next > 0 {
                drop(self.state.journal.reserve(pair, new.next));
            }
        }
    }

    /// Messages of this node to itself. All sequences before theirs are settled, since they are given in the order of the
    /// commits.
    fn local_arrival(
        &mut self,
        pair: Pair,
        members: Vec<LocalArrival>,
        listed: &mut Vec<(LocalArrival, MessageId)>,
    ) -> Arrival {
        let (incarnation, floor) = self.local;
        let mut messages = Vec::with_capacity(members.len());
        for mut member in members {
            let seq = self.local.1;
            self.local.1 = seq.saturating_add(1);
            let id = MessageId(((u128::from(incarnation) << 64) | u128::from(seq)).to_be_bytes());
            member.message.id = id;
            messages.push(inbox_message(&member.message));
            listed.push((member, id));
        }
        Arrival { pair, is_answered: true, incarnation, floor, withdrawn: Vec::new(), messages }
    }

    /// Wakes the applications that wait for what was stored.
    fn announce(&self, summary: StoredSummary) {
        self.shared.stats.count(Counter::MessagesReceived, summary.count);
        for (local, service) in &summary.services {
            note_stored(&self.shared, local, service);
        }
        summary.events.into_iter().for_each(|event| self.shared.publish(event));
    }
}

/// Lets the readers of a service look at the journal.
pub(crate) fn note_stored(shared: &NodeState, local: &Address, service: &Service) {
    let mailbox = read(&shared.mailboxes).get(local).cloned();
    if let Some(stored) = mailbox.as_ref().and_then(|mailbox| mailbox.stored()) {
        stored.note_stored(service);
    }
}

/// The outcome of a message of this node to itself.
fn local_outcome(
    id: MessageId,
    reception: Option<Reception>,
    error: Option<&JournalError>,
) -> Result<MessageId, StoreRefusal> {
    match (reception, error) {
        (Some(Reception::Stored(_) | Reception::Duplicate), _) => Ok(id),
        (Some(Reception::Refused(cause)), _) => Err(refusal(cause)),
        (None, Some(error)) => Err(failure(error)),
        (None, None) => Err(refusal(Refusal::UnknownPair)),
    }
}

fn end_local(
    shared: &NodeState,
    local: LocalArrival,
    outcome: Result<MessageId, StoreRefusal>,
    summary: &mut StoredSummary,
) {
    if let Ok(id) = outcome {
        let message = &local.message;
        summary.add(shared, message);
        shared.stats.count(Counter::MessagesDelivered, 1);
        summary.events.push(Event::MessageDelivered { id, to: message.to, elapsed_us: 0 });
    }
    local.reply.send(outcome);
}
