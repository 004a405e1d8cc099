//! The sending of a batch: messages that are to be stored share one commit, and the others are queued at once.

use std::sync::Arc;

use bytes::Bytes;
use rouse_journal::{OutboxMessage, Pair};

use super::local::{LocalGroup, ROOM_WAIT};
use super::sent::{Recipient, Sent, answer_here, is_stored, queue, recipient};
use crate::node::conversations::journaled::{NewRecord, Storing};
use crate::node::data_path::DeferredWork;
use crate::node::reply;
use crate::node::state::NodeState;
use crate::node::state::conversation::ConversationEntry;
use crate::node::state::journal::{JournalRequest, JournalState, StoreRefusal};
use crate::node::state::send_line::Room;
use crate::node::state::send_turn::SendTurn;
use crate::rt;
use crate::stats::Counter;
use crate::types::{MessageId, Outgoing, SendError};

/// The messages of one commit, and the bytes of their bodies, since the journal holds them all in memory at once.
const MOST_MESSAGES: usize = 4096;
const MOST_BYTES: usize = 16 << 20;

/// Sends messages in their order.
pub(super) struct BatchSender<'a> {
    shared: &'a NodeState,
    work: DeferredWork,
    /// The results, each at the place of its message.
    sent: Vec<Option<Sent>>,
    group: StoreGroup<'a>,
    /// The messages to this node itself.
    local: LocalGroup,
}

/// Messages that have their sequences and are to be stored in one commit. Its drop withdraws those that were not put, since
/// later messages would wait for them.
struct StoreGroup<'a> {
    shared: &'a NodeState,
    members: Vec<Member>,
    bytes: usize,
}

struct Member {
    /// Its place in the batch.
    place: usize,
    message: Outgoing,
    entry: Arc<ConversationEntry>,
    id: MessageId,
    record: Option<(Pair, OutboxMessage)>,
}

impl Drop for StoreGroup<'_> {
    fn drop(&mut self) {
        self.members.drain(..).for_each(|member| withdraw(self.shared, &member));
    }
}

fn withdraw(shared: &NodeState, member: &Member) {
    member.entry.end_storing(&member.id, false);
    member.entry.wake_pump(shared);
}

impl<'a> BatchSender<'a> {
    pub(super) fn new(shared: &'a NodeState, length: usize) -> Self {
        let group = StoreGroup { shared, members: Vec::new(), bytes: 0 };
        let (work, local) = Default::default();
        BatchSender { shared, work, sent: Vec::with_capacity(length), group, local }
    }

    /// Sends what is queued, and returns the results of all messages.
    pub(super) fn finish(mut self) -> Vec<Sent> {
        self.work.finish(self.shared);
        self.sent.into_iter().flatten().collect()
    }

    /// Accepts one message. Waits while there is no room for it.
    pub(super) async fn send(&mut self, message: Outgoing) -> Result<(), SendError> {
        let place = self.sent.len();
        self.sent.push(None);
        match is_stored(self.shared, &message) {
            true => self.store(place, message).await?,
            false => self.queue(place, message).await?,
        }
        let messages = self.group.members.len().saturating_add(self.local.len());
        if messages >= MOST_MESSAGES || self.group.bytes.saturating_add(self.local.bytes()) >= MOST_BYTES {
            self.commit().await?;
        }
        Ok(())
    }

    fn accept(&mut self, place: usize, sent: Sent) {
        if let Some(slot) = self.sent.get_mut(place) {
            *slot = Some(sent);
        }
    }

    /// Sends a message that is not to be stored.
    async fn queue(&mut self, place: usize, message: Outgoing) -> Result<(), SendError> {
        // Those before it must be on their way, or there might never be room.
        self.commit().await?;
        let sent = queue(self.shared, message, None, &mut self.work).await?;
        self.accept(place, sent);
        Ok(())
    }

    /// Gives a message its sequence, and adds it to the next commit.
    async fn store(&mut self, place: usize, mut message: Outgoing) -> Result<(), SendError> {
        let shared = self.shared;
        let mut turn: Option<SendTurn> = None;
        loop {
            let (entry, outgoing) = match recipient(shared, message)? {
                Recipient::Remote(entry, message) => (entry, message),
                Recipient::Local(mailbox, message, _) => {
                    match answer_here(shared, &mailbox, message) {
                        Ok(sent) => self.accept(place, sent),
                        Err(message) => self.local.add(shared, place, *message),
                    }
                    return Ok(());
                }
            };
            let seen = entry.room_count();
            let body: Bytes = outgoing.body.0.clone();
            let begun = match entry.may_send(Room::Journal, turn.as_ref()) {
                true => entry.begin_storing(shared, &outgoing, &body),
                false => Storing::Opening,
            };
            match begun {
                Storing::Begun(id, record) => {
                    self.group.bytes = self.group.bytes.saturating_add(body.len());
                    let member = Member { place, message: outgoing, entry, id, record: Some(record) };
                    self.group.members.push(member);
                    return Ok(());
                }
                Storing::Failed(error) => return Err(error),
                Storing::Gone => {}
                Storing::Opening if shared.is_stopping() => return Err(SendError::Stopped),
                Storing::Opening => entry.wait_in_line(Room::Journal, &mut turn, seen).await,
            }
            message = outgoing;
        }
    }

    /// Stores the messages that wait for it. Those without room wait, and are tried again in their order.
    pub(super) async fn commit(&mut self) -> Result<(), SendError> {
        if !self.group.members.is_empty() {
            Box::pin(self.commit_group()).await?;
        }
        if !self.local.is_empty() {
            for (place, sent) in Box::pin(self.local.commit(self.shared, &mut self.work)).await? {
                self.accept(place, sent);
            }
        }
        Ok(())
    }

    async fn commit_group(&mut self) -> Result<(), SendError> {
        let Some(journal) = self.shared.journal.clone() else { return Ok(()) };
        let begun = rt::now();
        while !self.group.members.is_empty() {
            // Read before the attempt, so that no room is missed that is made meanwhile.
            let seen = journal.journal.status().room;
            let Some((refusal, rest)) = self.put(&journal).await? else { continue };
            match refusal {
                StoreRefusal::Failed(error) => return Err(error),
                StoreRefusal::Forgotten => {}
                StoreRefusal::Full(error) => {
                    let left = ROOM_WAIT.saturating_sub(rt::elapsed(begun));
                    self.work.finish(self.shared);
                    if rt::timeout(left, journal.journal.room_after(seen)).await.is_none() {
                        return Err(error);
                    }
                }
            }
            for (place, message) in rest {
                self.store(place, message).await?;
            }
        }
        Ok(())
    }

    /// Puts the group in one commit. Returns the first refusal with the messages from that one on: later ones may have been
    /// stored, and are withdrawn, so that all stay in order.
    async fn put(
        &mut self,
        journal: &JournalState,
    ) -> Result<Option<(StoreRefusal, Vec<(usize, Outgoing)>)>, SendError> {
        let mut members = std::mem::take(&mut self.group.members);
        self.group.bytes = 0;
        for member in &members {
            if let Some(NewRecord { incarnation, next }) = member.entry.begin_record() {
                let pair = member.entry.journal_pair();
                // In front of the messages in the queue, and so in the same commit.
                drop(journal.journal.open_pair(pair, incarnation));
                drop(journal.journal.reserve(pair, next));
            }
        }
        let records = members.iter_mut().filter_map(|member| member.record.take()).collect();
        let (reply, outcomes) = reply::reply();
        let messages = members.iter().map(|member| (member.entry.clone(), member.id)).collect();
        let completion = journal.journal.put(records);
        journal.request([JournalRequest::Put { messages, completion, reply }]);
        let Ok(outcomes) = outcomes.await else { return Err(SendError::Stopped) };
        let mut refused = None;
        let mut rest = Vec::new();
        for (member, outcome) in members.into_iter().zip(outcomes) {
            let Member { place, message, entry, id, .. } = member;
            if let Err(refusal) = &outcome {
                if matches!(refusal, StoreRefusal::Forgotten) {
                    entry.forget_record();
                }
                refused.get_or_insert(refusal.clone());
            }
            if refused.is_some() {
                if outcome.is_ok() {
                    entry.cancel(&id, &mut self.work);
                }
                rest.push((place, message));
                continue;
            }
            self.shared.stats.count(Counter::MessagesQueued, 1);
            let (to, bytes) = (message.to, message.body.len() as u64);
            self.accept(place, Sent::stored(id, to, bytes, entry));
        }
        Ok(refused.map(|refusal| (refusal, rest)))
    }
}
