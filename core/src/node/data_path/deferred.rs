//! Work that the packets of a batch defer, so that it is done once for all of them.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::sync::Arc;

use crate::node::state::NodeState;
use crate::node::state::conversation::ConversationEntry;
use crate::node::state::neighbour::Neighbour;
use crate::route::Location;

/// The work that a batch of packets defers: links to flush, and conversations to serve. Both cost the same for one
/// packet and for many, so they are done once at the end of the batch.
#[derive(Default)]
pub(crate) struct DeferredWork {
    /// The account of the neighbour that the packets arrived from.
    pub(crate) from: Location,
    neighbours: Vec<Arc<Neighbour>>,
    conversations: Vec<Arc<ConversationEntry>>,
}

impl DeferredWork {
    /// Deferred work for packets of a neighbour with this account.
    pub(crate) fn of(from: Location) -> Self {
        DeferredWork { from, ..DeferredWork::default() }
    }

    pub(crate) fn flush_later(&mut self, neighbour: &Arc<Neighbour>) {
        if !self.neighbours.iter().any(|known| known.id == neighbour.id) {
            self.neighbours.push(neighbour.clone());
        }
    }

    pub(crate) fn pump_later(&mut self, conversation: &Arc<ConversationEntry>) {
        if !self.conversations.iter().any(|known| Arc::ptr_eq(known, conversation)) {
            self.conversations.push(conversation.clone());
        }
    }

    /// Does the deferred work. It never waits, so that no future that is dropped leaves it half done.
    pub(crate) fn finish(&mut self, shared: &NodeState) {
        loop {
            let conversations = std::mem::take(&mut self.conversations);
            for conversation in conversations {
                // A long message is sent in portions, so that other conversations have their turn between them.
                if conversation.pump(shared, self) {
                    self.conversations.push(conversation);
                }
            }
            while let Some(neighbour) = self.neighbours.pop() {
                neighbour.flush(shared);
            }
            if self.conversations.is_empty() {
                return;
            }
        }
    }
}
