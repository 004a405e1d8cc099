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

use crate::address::Address;
use crate::node::state::NodeState;
use crate::node::state::conversation::ConversationEntry;
use crate::node::state::conversation_queue::ConversationQueue;
use crate::node::state::neighbour::Neighbour;
use crate::route::Location;
use crate::session::PreviousHop;

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

    /// Does the deferred work. It never waits, so that no future that is dropped leaves it half done.
    pub(crate) fn finish(&mut self, shared: &NodeState) {
        loop {
            if std::mem::take(&mut self.has_session_outputs) {
                shared.conversations.carry_out(shared, self);
            }
            let conversations = self.conversations.take();
            for conversation in conversations {
                // A long message is sent in portions, so that other conversations have their turn between them.
                if conversation.pump(shared, self) {
                    self.conversations.push(&conversation);
                }
            }
            while let Some(neighbour) = self.neighbours.pop() {
                neighbour.flush(shared);
            }
            if self.conversations.is_empty() && !self.has_session_outputs {
                return;
            }
        }
    }
}
