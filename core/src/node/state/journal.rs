//! The journal of a node, and the queue of its task.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rouse_journal::{Completion, Journal, Pair, Refusal};

use crate::message::LoadRequest;
use crate::node::mailbox::lending::LendQueue;
use crate::node::reply::ReplySender;
use crate::node::state::conversation::ConversationEntry;
use crate::notify::Notify;
use crate::types::{Message, MessageId, SendError};

/// The journal of a node. Its completions are awaited by a task of their own, so that nothing on the data path waits for the
/// disk.
pub(crate) struct JournalState {
    pub(crate) journal: Arc<dyn Journal>,
    /// The operations that the task has to begin. Each conversation has one of each kind at most, and each sender that
    /// waits has one.
    pub(crate) requests: Notify<Vec<JournalRequest>>,
    /// The messages that are to be put into the inbox. Each conversation is listed once.
    pub(crate) arrivals: Notify<VecDeque<NewArrival>>,
    /// The requests of mailboxes.
    pub(crate) lending: Arc<LendQueue>,
    is_closed: AtomicBool,
}

/// A source of messages that are to be put into the inbox.
pub(crate) enum NewArrival {
    /// A conversation whose next message is a stored one of its sender.
    Conversation(Arc<ConversationEntry>),
    /// A message of this node to itself.
    Local(LocalArrival),
}

/// A message of this node to itself that is to be stored. It is given its id when it is.
pub(crate) struct LocalArrival {
    pub(crate) message: Message,
    pub(crate) reply: ReplySender<Result<MessageId, StoreRefusal>>,
}

/// The outcomes of messages that were to be stored, in their order.
pub(crate) type StoreOutcomes = Vec<Result<(), StoreRefusal>>;

/// The reason for which a message was not stored.
#[derive(Clone, Debug)]
pub(crate) enum StoreRefusal {
    /// It may fit later.
    Full(SendError),
    /// The journal has forgotten the conversation, which has to be opened again because it was not used for long.
    Forgotten,
    Failed(SendError),
}

/// An operation of the journal, with the conversation that waits for it.
pub(crate) enum JournalRequest {
    /// Read the state of a conversation, before anything else is done with it, because a session names its incarnation.
    Open(Arc<ConversationEntry>),
    /// Await the storing of messages that have their sequences.
    Put {
        messages: Vec<(Arc<ConversationEntry>, MessageId)>,
        completion: Completion<Vec<Result<MessageId, Refusal>>>,
        reply: ReplySender<StoreOutcomes>,
    },
    /// Remove messages that are settled.
    Settle(Pair, Vec<Range<u64>>),
    /// Let a restarted node begin with a later sequence.
    Reserve(Arc<ConversationEntry>, u64),
    Load(Arc<ConversationEntry>, LoadRequest),
    /// Give the conversation another incarnation.
    Renew(Arc<ConversationEntry>),
    /// Open the conversations in which messages wait.
    Scan,
}

impl JournalState {
    pub(crate) fn new(journal: Arc<dyn Journal>) -> Self {
        JournalState {
            journal,
            requests: Notify::new(vec![JournalRequest::Scan]),
            arrivals: Notify::default(),
            lending: Arc::default(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Lets the task begin these operations. No lock is held, since this wakes the task.
    pub(crate) fn request(&self, requests: impl IntoIterator<Item = JournalRequest>) {
        let mut requests = requests.into_iter().peekable();
        if requests.peek().is_some() && !self.is_closed.load(SeqCst) {
            self.requests.write().extend(requests);
            self.drop_if_closed();
        }
    }

    /// Lets the task store messages. No lock is held.
    pub(crate) fn receive(&self, arrival: NewArrival) {
        if !self.is_closed.load(SeqCst) {
            self.arrivals.write().push_back(arrival);
            self.drop_if_closed();
        }
    }

    /// Drops all that waits, since no task carries it out any more.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, SeqCst);
        self.drop_if_closed();
        self.lending.close();
    }

    fn drop_if_closed(&self) {
        if self.is_closed.load(SeqCst) {
            // Dropped after the locks are released, because that wakes the applications that wait.
            let requests = std::mem::take(&mut *self.requests.write());
            let arrivals = std::mem::take(&mut *self.arrivals.write());
            drop((requests, arrivals));
        }
    }
}
