//! The task of the lending: it carries out the requests of mailboxes to the journal, so that no application waits for another.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use rouse_journal::{InboxKey, JournalError, MAX_LEASES};

use crate::node::mailbox::lending::{LeaseRequest, LendRequest, LentBatch, StoredService};
use crate::node::reply::ReplySender;
use crate::node::state::NodeState;
use crate::node::state::journal::JournalState;
use crate::node::state::locks::lock;
use crate::rt;
use crate::types::{Ends, Protection};

/// The pause before an operation that has failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// An operation that has failed, and is to be tried again.
type Failed = Option<LendRequest>;

/// Carries out requests until the node ends.
pub(crate) async fn run(shared: Arc<NodeState>, state: Arc<JournalState>) {
    let mut running: FuturesUnordered<BoxFuture<'static, Failed>> = FuturesUnordered::new();
    loop {
        let waiting =
            |requests: &mut Vec<LendRequest>| (!requests.is_empty()).then(|| std::mem::take(requests));
        futures::select_biased! {
            failed = running.select_next_some() => {
                let (shared, state) = (shared.clone(), state.clone());
                // After a pause, since a disk that fails would otherwise be asked all the time.
                running.extend(failed.map(|request| async move {
                    rt::sleep(RETRY).await;
                    begin(shared, state, request).await
                }.boxed()));
            }
            requests = std::pin::pin!(state.lending.requests.take_when(waiting).fuse()) => {
                for request in merged(requests) {
                    running.push(begin(shared.clone(), state.clone(), request));
                }
            }
        }
    }
}

/// The requests with all acknowledgements in one, which precedes those that wait for it.
fn merged(requests: Vec<LendRequest>) -> Vec<LendRequest> {
    let (mut rest, mut acknowledged, mut all_ends) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut flushes = Vec::new();
    for request in requests {
        match request {
            LendRequest::Acknowledge { mut keys, conversations } => {
                acknowledged.append(&mut keys);
                all_ends.extend(conversations);
            }
            flush @ LendRequest::Flush(_) => flushes.push(flush),
            request => rest.push(request),
        }
    }
    if !acknowledged.is_empty() {
        let conversations = all_ends.into_iter().collect();
        rest.push(LendRequest::Acknowledge { keys: acknowledged, conversations });
    }
    rest.append(&mut flushes);
    rest
}

fn begin(
    shared: Arc<NodeState>,
    state: Arc<JournalState>,
    request: LendRequest,
) -> BoxFuture<'static, Failed> {
    match request {
        LendRequest::Lease(request) => lease(shared, state, request).boxed(),
        LendRequest::Acknowledge { keys, conversations } => {
            acknowledge(shared, state, keys, conversations).boxed()
        }
        LendRequest::Flush(reply) => flush(state, reply).boxed(),
        LendRequest::GiveBack { keys, service, is_seen } => give_back(state, keys, service, is_seen).boxed(),
    }
}

async fn lease(shared: Arc<NodeState>, state: Arc<JournalState>, request: LeaseRequest) -> Failed {
    if request.reply.is_canceled() {
        return None;
    }
    let lent = state.journal.lease(request.mailbox.clone(), request.from, request.limit).await;
    let leases = match lent {
        // There may be messages, because applications have as many as they may have.
        Ok(leases) if leases.is_empty() && state.lending.lent() >= MAX_LEASES => {
            return Some(LendRequest::Lease(request));
        }
        Ok(leases) => leases,
        // The application learns by the end of its reply that there is none.
        Err(JournalError::Closed) => return None,
        Err(_) => return Some(LendRequest::Lease(request)),
    };
    let leases = leases.into_iter().map(|lease| match shared.is_ours(&lease.pair.peer) {
        true => (lease, Protection::Local),
        false => (lease, Protection::EndToEnd),
    });
    // The application may have gone. Then the batch gives its messages back.
    let lending = state.lending.clone();
    request.reply.send(LentBatch { lending, turn: request.turn, leases: leases.collect() });
    None
}

async fn acknowledge(
    shared: Arc<NodeState>,
    state: Arc<JournalState>,
    keys: Vec<InboxKey>,
    conversations: Vec<Ends>,
) -> Failed {
    for Ends { peer, local } in conversations {
        if let Some(entry) = shared.conversations.find(&local, &peer) {
            // The peer is one that an application here deals with, so its conversation does not give way to those of others.
            lock(&entry.state).conversation.note_answered();
        }
    }
    match state.journal.acknowledge(keys.clone()).await {
        Ok(_) | Err(JournalError::Closed) => None,
        Err(_) => Some(LendRequest::Acknowledge { keys, conversations: Vec::new() }),
    }
}

/// The futures of the acknowledgements before it were polled before, so that the journal has their operations.
async fn flush(state: Arc<JournalState>, reply: ReplySender<Result<(), JournalError>>) -> Failed {
    reply.send(state.journal.acknowledge(Vec::new()).await.map(drop));
    None
}

async fn give_back(
    state: Arc<JournalState>,
    keys: Vec<InboxKey>,
    service: Arc<StoredService>,
    is_seen: bool,
) -> Failed {
    let returned = match is_seen {
        true => state.journal.give_back(keys.clone()).await,
        false => state.journal.release(keys.clone()).await,
    };
    match returned {
        Ok(_) | Err(JournalError::Closed) => {
            service.returned();
            None
        }
        Err(_) => Some(LendRequest::GiveBack { keys, service, is_seen }),
    }
}
