//! Work that a batch of packets defers, so that it is done once for all of them.
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

use crate::node::conversations::ConversationEntry;
use crate::node::neighbour::Neighbour;
use crate::node::state::NodeState;
use crate::route::Location;

/// What a batch of packets leaves to be done, once for all of them: links to be flushed, conversations that
/// have something to say.
#[derive(Default)]
pub(crate) struct DeferredWork {
    /// The account of the neighbour whose packets these are.
    pub(crate) from: Location,
    neighbours: Vec<Arc<Neighbour>>,
    conversations: Vec<Arc<ConversationEntry>>,
}

impl DeferredWork {
    /// The work that packets of a neighbour with this account leave to be done.
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

    /// Does what is left to do. Nothing is waited for, so nothing is left half done.
    pub(crate) fn finish(&mut self, shared: &NodeState) {
        loop {
            let conversations = std::mem::take(&mut self.conversations);
            for conversation in conversations {
                // A long message goes out in portions, between which others have their turn.
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
