//! Messages of a node to itself that are to be stored: they go into the inbox of the journal, with no conversation.

use std::time::{Duration, Instant};

use futures::channel::oneshot;

use super::sent::Sent;
use crate::node::data_path::DeferredWork;
use crate::node::reply;
use crate::node::state::NodeState;
use crate::node::state::journal::{LocalArrival, NewArrival, StoreRefusal};
use crate::rt;
use crate::stats::Counter;
use crate::types::{Message, MessageId, SendError};

/// The time that a message waits for room in the journal.
pub(super) const ROOM_WAIT: Duration = Duration::from_secs(10);

/// Messages that are being stored.
#[derive(Default)]
pub(super) struct LocalGroup(Vec<LocalMember>);

struct LocalMember {
    /// Its place in the batch.
    place: usize,
    message: Message,
    at: Instant,
    outcome: oneshot::Receiver<Result<MessageId, StoreRefusal>>,
}

impl LocalGroup {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|member| member.message.body.len()).sum()
    }

    /// Hands a message to the task of the inbox.
    pub(super) fn add(&mut self, shared: &NodeState, place: usize, message: Message) {
        self.add_since(shared, place, message, rt::now());
    }

    fn add_since(&mut self, shared: &NodeState, place: usize, message: Message, at: Instant) {
        let Some(journal) = &shared.journal else { return };
        let (reply, outcome) = reply::reply();
        journal.receive(NewArrival::Local(LocalArrival { message: message.clone(), reply }));
        self.0.push(LocalMember { place, message, at, outcome });
    }

    /// Waits until all are stored. Those without room wait for some time, and are tried again in their order.
    pub(super) async fn commit(
        &mut self,
        shared: &NodeState,
        work: &mut DeferredWork,
    ) -> Result<Vec<(usize, Sent)>, SendError> {
        let Some(journal) = &shared.journal else { return Ok(Vec::new()) };
        let (begun, mut stored) = (rt::now(), Vec::new());
        while !self.0.is_empty() {
            let seen = journal.journal.status().room;
            let (mut refused, mut error) = (Vec::new(), None);
            for member in std::mem::take(&mut self.0) {
                match member.outcome.await {
                    Ok(Ok(id)) => {
                        shared.stats.count(Counter::MessagesQueued, 1);
                        let (to, bytes) = (member.message.to, member.message.body.len() as u64);
                        stored.push((member.place, Sent::in_inbox(id, to, bytes, member.at)));
                    }
                    Ok(Err(StoreRefusal::Failed(error))) => return Err(error),
                    Ok(Err(refusal)) => {
                        if let StoreRefusal::Full(cause) = refusal {
                            error = Some(cause);
                        }
                        refused.push((member.place, member.message, member.at));
                    }
                    Err(oneshot::Canceled) => return Err(SendError::Stopped),
                }
            }
            if let Some(error) = error {
                // Messages to other nodes must not wait for this inbox, so they are sent first.
                work.finish(shared);
                let left = ROOM_WAIT.saturating_sub(rt::elapsed(begun));
                if rt::timeout(left, journal.journal.room_after(seen)).await.is_none() {
                    return Err(error);
                }
            }
            for (place, message, at) in refused {
                self.add_since(shared, place, message, at);
            }
        }
        Ok(stored)
    }
}
