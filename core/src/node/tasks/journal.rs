//! The task of the journal: it awaits the operations of the journal for all conversations, so that no other task waits for
//! the disk.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use rouse_journal::{Completion, JournalError, Pair, Refusal};

use crate::message::{LoadRequest, StoredMessage};
use crate::node::data_path::DeferredWork;
use crate::node::reply::ReplySender;
use crate::node::state::NodeState;
use crate::node::state::conversation::ConversationEntry;
use crate::node::state::journal::{JournalRequest, JournalState, StoreOutcomes, StoreRefusal};
use crate::node::state::locks::lock;
use crate::rt::{self, Alarm};
use crate::stats::DropCause;
use crate::types::{Attributes, Event, MessageId, MessageKind, SendError};

/// The pause before an operation that has failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The period of the search for messages that have expired on the disk alone.
const EXPIRE: Duration = Duration::from_secs(5);
/// The searches for expired messages between two searches for conversations that are not open: their address was added
/// since, or there were too many conversations.
const SCAN_EVERY: u32 = 12;
/// The messages or conversations of one look at the journal, so that its thread is not occupied for long.
const PAGE: usize = 256;
/// The messages that one operation settles at most.
const MOST_SETTLED: u64 = 16_384;

/// The end of an operation.
#[derive(Default)]
struct Served {
    /// The conversations to serve.
    entries: Vec<Arc<ConversationEntry>>,
    work: DeferredWork,
    /// The operation that has failed, to be tried again after a pause.
    retry: Option<JournalRequest>,
}

impl Served {
    fn one(entry: Arc<ConversationEntry>) -> Self {
        Served { entries: vec![entry], ..Served::default() }
    }

    fn retry(request: JournalRequest) -> Self {
        Served { retry: Some(request), ..Served::default() }
    }
}

/// Runs the operations of the journal until the node ends.
pub(crate) async fn run(shared: Arc<NodeState>, state: Arc<JournalState>) {
    let mut running: FuturesUnordered<BoxFuture<'static, Served>> = FuturesUnordered::new();
    let (mut alarm, mut turns) = (Alarm::default(), 0u32);
    alarm.set_after(EXPIRE);
    loop {
        let waiting =
            |requests: &mut Vec<JournalRequest>| (!requests.is_empty()).then(|| std::mem::take(requests));
        let mut ended = None;
        futures::select_biased! {
            served = running.select_next_some() => ended = Some(served),
            requests = std::pin::pin!(state.requests.take_when(waiting).fuse()) => {
                for request in merged(requests) {
                    running.push(begin(shared.clone(), state.clone(), request));
                }
            }
            () = alarm.wait().fuse() => {
                alarm.set_after(EXPIRE);
                turns = turns.wrapping_add(1);
                running.push(expire(shared.clone(), state.clone()).boxed());
                if turns.is_multiple_of(SCAN_EVERY) {
                    running.push(scan(shared.clone(), state.clone()).boxed());
                }
            }
        }
        // All operations of a commit end at once, and each conversation is served once for all of them.
        let mut work = DeferredWork::default();
        while let Some(Served { entries, work: mut other, retry }) = ended.take() {
            entries.iter().for_each(|entry| work.pump_later(entry));
            other.finish(&shared);
            if let Some(request) = retry {
                running.push(after_pause(shared.clone(), state.clone(), request).boxed());
            }
            ended = running.next().now_or_never().flatten();
        }
        work.finish(&shared);
    }
}

/// The requests with those to settle messages of the same conversation in one.
fn merged(requests: Vec<JournalRequest>) -> Vec<JournalRequest> {
    let mut settled: BTreeMap<Pair, Vec<Range<u64>>> = BTreeMap::new();
    let mut rest = Vec::with_capacity(requests.len());
    for request in requests {
        match request {
            JournalRequest::Settle(pair, ranges) => settled.entry(pair).or_default().extend(ranges),
            request => rest.push(request),
        }
    }
    rest.extend(settled.into_iter().map(|(pair, ranges)| JournalRequest::Settle(pair, ranges)));
    rest
}

fn begin(
    shared: Arc<NodeState>,
    state: Arc<JournalState>,
    request: JournalRequest,
) -> BoxFuture<'static, Served> {
    match request {
        JournalRequest::Open(entry) => open(shared, state, entry).boxed(),
        JournalRequest::Put { messages, completion, reply } => put(messages, completion, reply).boxed(),
        JournalRequest::Settle(pair, ranges) => settle(state, pair, ranges).boxed(),
        JournalRequest::Reserve(entry, next) => reserve(state, entry, next).boxed(),
        JournalRequest::Load(entry, request) => load(shared, state, entry, request).boxed(),
        JournalRequest::Renew(entry) => renew(shared, state, entry).boxed(),
        JournalRequest::Scan => scan(shared, state).boxed(),
    }
}

/// Tries an operation again that has failed, so that a disk that fails is not asked all the time.
async fn after_pause(shared: Arc<NodeState>, state: Arc<JournalState>, request: JournalRequest) -> Served {
    rt::sleep(RETRY).await;
    begin(shared, state, request).await
}

async fn open(shared: Arc<NodeState>, state: Arc<JournalState>, entry: Arc<ConversationEntry>) -> Served {
    if entry.is_gone() {
        return Served::default();
    }
    match state.journal.find_pair(entry.journal_pair()).await {
        Ok(found) => {
            let mut work = DeferredWork::default();
            entry.opened(&shared, found, &mut work);
            Served { entries: vec![entry], work, retry: None }
        }
        Err(error) => {
            entry.open_failed(error.to_string());
            Served::retry(JournalRequest::Open(entry))
        }
    }
}

async fn put(
    messages: Vec<(Arc<ConversationEntry>, MessageId)>,
    completion: Completion<Vec<Result<MessageId, Refusal>>>,
    reply: ReplySender<StoreOutcomes>,
) -> Served {
    let outcomes: StoreOutcomes = match completion.await {
        Ok(outcomes) => outcomes.into_iter().map(|outcome| outcome.map(drop).map_err(refusal)).collect(),
        Err(error) => messages.iter().map(|_| Err(failure(&error))).collect(),
    };
    let mut entries: Vec<Arc<ConversationEntry>> = Vec::new();
    for ((entry, id), outcome) in messages.into_iter().zip(&outcomes) {
        entry.end_storing(&id, outcome.is_ok());
        if entries.last().is_none_or(|last| !Arc::ptr_eq(last, &entry)) {
            entries.push(entry);
        }
    }
    reply.send(outcomes);
    Served { entries, ..Served::default() }
}

pub(super) fn refusal(refusal: Refusal) -> StoreRefusal {
    match refusal {
        Refusal::Full { holder, held, limit } => {
            StoreRefusal::Full(SendError::JournalFull { holder, held, limit })
        }
        Refusal::UnknownPair => StoreRefusal::Forgotten,
        refusal => StoreRefusal::Failed(SendError::NotStored(refusal.to_string())),
    }
}

pub(super) fn failure(error: &JournalError) -> StoreRefusal {
    StoreRefusal::Failed(SendError::NotStored(error.to_string()))
}

async fn settle(state: Arc<JournalState>, pair: Pair, ranges: Vec<Range<u64>>) -> Served {
    loop {
        match state.journal.settle(pair, ranges.clone()).await {
            // One operation removes a bounded number, so that it does not hold up the others.
            Ok(removed) if removed.messages >= MOST_SETTLED => {}
            Ok(_) | Err(JournalError::Closed) => return Served::default(),
            Err(_) => return Served::retry(JournalRequest::Settle(pair, ranges)),
        }
    }
}

async fn reserve(state: Arc<JournalState>, entry: Arc<ConversationEntry>, next: u64) -> Served {
    if entry.is_gone() {
        return Served::default();
    }
    let pair = entry.journal_pair();
    // Both are queued at once, so that they are in one commit.
    let record = entry.begin_record().map(|new| state.journal.open_pair(pair, new.incarnation));
    let reserved = state.journal.reserve(pair, next);
    if let Some(record) = record {
        // Its failure shows in that of the reservation.
        let _ = record.await;
    }
    if !matches!(reserved.await, Ok(Ok(()))) {
        entry.forget_record();
        return Served::retry(JournalRequest::Reserve(entry, next));
    }
    let mut state = lock(&entry.state);
    state.conversation.on_reserved(next);
    state.journaled.iter_mut().for_each(|journaled| journaled.is_reserving = false);
    drop(state);
    Served::one(entry)
}

async fn load(
    shared: Arc<NodeState>,
    state: Arc<JournalState>,
    entry: Arc<ConversationEntry>,
    request: LoadRequest,
) -> Served {
    let loaded = state.journal.load(entry.journal_pair(), request.from, request.bytes).await;
    let Ok(messages) = loaded else { return Served::retry(JournalRequest::Load(entry, request)) };
    let messages = messages.into_iter().map(|message| StoredMessage {
        seq: message.seq,
        sent_at: message.sent_at,
        life: message.life,
        attributes: Attributes {
            service: message.service,
            in_reply_to: message.in_reply_to,
            kind: MessageKind::Plain,
            durable: true,
        },
        body: message.body,
    });
    lock(&entry.state).conversation.on_loaded(shared.now(), request, messages.collect());
    Served::one(entry)
}

async fn renew(shared: Arc<NodeState>, state: Arc<JournalState>, entry: Arc<ConversationEntry>) -> Served {
    let pair = entry.journal_pair();
    tracing::warn!(
        peer = %pair.peer,
        "the journal is an older copy of itself: this conversation takes a new incarnation, so that no message is dropped as a repetition"
    );
    let incarnation = rt::random_u64().unwrap_or_else(|_| shared.now().as_nanos()).max(1);
    match state.journal.renew(pair, incarnation).await {
        Ok(Ok(_)) => {
            entry.renewed(&shared, incarnation);
            Served::one(entry)
        }
        _ if entry.is_gone() => Served::default(),
        _ => Served::retry(JournalRequest::Renew(entry)),
    }
}

/// Opens the conversations in which messages wait, because nothing else would send them after a start.
async fn scan(shared: Arc<NodeState>, state: Arc<JournalState>) -> Served {
    let mut after = None;
    loop {
        let Ok(page) = state.journal.destinations(after, PAGE).await else { return Served::default() };
        for (key, pair, _) in &page {
            after = Some(*key);
            let is_open = shared.conversations.find(&pair.local, &pair.peer).is_some();
            if !is_open && shared.is_ours(&pair.local) {
                // When there are too many conversations, it is tried again later.
                let _ = shared.conversations.open(&shared, &pair.local, &pair.peer);
            }
        }
        if page.len() < PAGE {
            return Served::default();
        }
    }
}

/// Removes messages that have expired on the disk, since no conversation may have them in memory.
async fn expire(shared: Arc<NodeState>, state: Arc<JournalState>) -> Served {
    let mut work = DeferredWork::default();
    while state.journal.status().outbox.messages > 0 {
        let Ok(expired) = state.journal.expire(PAGE).await else { break };
        for entry in &expired {
            if !shared.conversations.on_stored_expired(&entry.pair, entry.message.seq, &mut work) {
                shared.stats.drop(DropCause::Expired);
                shared.publish(Event::MessageExpired { id: entry.id, to: entry.pair.peer });
            }
        }
        if expired.len() < PAGE {
            break;
        }
    }
    Served { work, ..Served::default() }
}
