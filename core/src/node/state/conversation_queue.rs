//! Conversations in the order of their arrival, each at most once.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::node::state::conversation::ConversationEntry;

/// So many conversations are compared one by one, which is faster than a set of so few.
const FEW: usize = 16;

/// The place of a conversation in memory, which identifies it while the queue holds it.
fn place(entry: &Arc<ConversationEntry>) -> usize {
    Arc::as_ptr(entry).addr()
}

/// Conversations that wait to be served.
#[derive(Default)]
pub(crate) struct ConversationQueue {
    order: Vec<Arc<ConversationEntry>>,
    /// The places in memory of those in `order`, once there are more than a few: thousands of conversations may wait for one link.
    known: BTreeSet<usize>,
}

impl ConversationQueue {
    /// Appends a conversation, unless it waits already.
    pub(crate) fn push(&mut self, entry: &Arc<ConversationEntry>) {
        if self.order.len() < FEW {
            if self.order.iter().any(|known| Arc::ptr_eq(known, entry)) {
                return;
            }
        } else {
            if self.known.is_empty() {
                self.known.extend(self.order.iter().map(place));
            }
            if !self.known.insert(place(entry)) {
                return;
            }
        }
        self.order.push(entry.clone());
    }

    /// Takes all conversations.
    pub(crate) fn take(&mut self) -> Vec<Arc<ConversationEntry>> {
        self.known.clear();
        std::mem::take(&mut self.order)
    }

    /// Takes back the memory of conversations that were taken, so that it serves for the next ones.
    pub(crate) fn give_back(&mut self, mut taken: Vec<Arc<ConversationEntry>>) {
        taken.clear();
        if self.order.capacity() == 0 && taken.capacity() <= FEW {
            self.order = taken;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
