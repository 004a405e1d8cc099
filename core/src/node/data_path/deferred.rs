//! Work that the packets of a batch defer, so that it is done once for all of them.

use std::sync::Arc;

use crate::address::Address;
use crate::node::state::NodeState;
use crate::node::state::conversation::ConversationEntry;
use crate::node::state::conversation_queue::ConversationQueue;
use crate::node::state::neighbour::Neighbour;
use crate::route::Location;
use crate::session::PreviousHop;
use crate::time::Time;
use crate::types::Ends;

/// The work that a batch of packets defers: links to flush, conversations to serve, and what the end-to-end sessions
/// request. Each costs the same for one packet and for many, so it is done once at the end of the batch.
#[derive(Default)]
pub(crate) struct DeferredWork {
    /// The account of the neighbour that the packets arrived from.
    pub(crate) from: Location,
    /// Its address; `None` for work of this node itself.
    neighbour: Option<Address>,
    /// Whether the end-to-end sessions have outputs.
    has_session_outputs: bool,
    neighbours: Vec<Arc<Neighbour>>,
    conversations: ConversationQueue,
    /// The batch of received packets. Work for messages of this node has none, so that a call that waits is small.
    batch: Option<Box<ReceivedBatch>>,
}

/// The packets of a batch that are for this node.
#[derive(Default)]
struct ReceivedBatch {
    /// The conversations that have received packets, once for each run of their packets.
    conversations: Vec<Arc<ConversationEntry>>,
    /// The time at which the batch is handled, once it was read.
    now: Option<Time>,
}

impl DeferredWork {
    /// Deferred work for packets of the neighbour with this address and account.
    pub(crate) fn of(neighbour: Address, from: Location) -> Self {
        DeferredWork { from, neighbour: Some(neighbour), ..DeferredWork::default() }
    }

    /// The neighbour that the packets arrived from, as the sessions count it.
    pub(crate) fn hop(&self) -> PreviousHop {
        let neighbour = self.neighbour.unwrap_or(Address::from_bytes([0; 32]));
        PreviousHop { neighbour, host: self.from.host, group: self.from.network }
    }

    pub(crate) fn carry_out_later(&mut self) {
        self.has_session_outputs = true;
    }

    pub(crate) fn flush_later(&mut self, neighbour: &Arc<Neighbour>) {
        if !self.neighbours.iter().any(|known| known.id == neighbour.id) {
            self.neighbours.push(neighbour.clone());
        }
    }

    pub(crate) fn pump_later(&mut self, conversation: &Arc<ConversationEntry>) {
        self.conversations.push(conversation);
    }

    /// The time at which the batch is handled. The clock is read once for all of its packets.
    pub(crate) fn now(&mut self, shared: &NodeState) -> Time {
        *self.batch.get_or_insert_default().now.get_or_insert_with(|| shared.now())
    }

    /// The conversation of the packet before, if it has these ends, since most packets of a batch belong to one.
    pub(crate) fn last_received(&self, ends: &Ends) -> Option<Arc<ConversationEntry>> {
        self.batch.as_ref()?.conversations.last().filter(|last| *last.ends == *ends).cloned()
    }

    /// Notes that a conversation has received a packet, so that its messages are delivered once for the whole batch.
    pub(crate) fn deliver_later(&mut self, conversation: &Arc<ConversationEntry>) {
        let received = &mut self.batch.get_or_insert_default().conversations;
        if !received.last().is_some_and(|last| Arc::ptr_eq(last, conversation)) {
            received.push(conversation.clone());
            self.conversations.push(conversation);
        }
    }

    /// Delivers the messages of the batch.
    pub(crate) fn deliver(&mut self, shared: &NodeState) {
        let Some(batch) = &mut self.batch else { return };
        batch.now = None;
        for conversation in batch.conversations.drain(..) {
            conversation.deliver(shared);
        }
    }

    /// Does the deferred work. It never waits, so that no future that is dropped leaves it half done.
    pub(crate) fn finish(&mut self, shared: &NodeState) {
        self.deliver(shared);
        loop {
            if std::mem::take(&mut self.has_session_outputs) {
                shared.conversations.carry_out(shared, self);
            }
            let conversations = self.conversations.take();
            for conversation in &conversations {
                // A long message is sent in portions, so that other conversations have their turn between them.
                if conversation.pump(shared, self) {
                    self.conversations.push(conversation);
                }
            }
            self.conversations.give_back(conversations);
            while let Some(neighbour) = self.neighbours.pop() {
                neighbour.flush(shared);
            }
            if self.conversations.is_empty() && !self.has_session_outputs {
                return;
            }
        }
    }
}
