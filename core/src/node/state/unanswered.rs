//! The conversations that no application of this node has answered.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use crate::node::state::conversation::ConversationEntry;
use crate::route::Location;
use crate::time::Time;

/// The unanswered conversations that neighbours have brought, by host, oldest first, and the time of the last search that found no
/// idle one. The references are weak, so that a removed conversation keeps no memory.
#[derive(Default)]
pub(crate) struct UnansweredConversations {
    pub(crate) brought: HashMap<u64, VecDeque<Weak<ConversationEntry>>>,
    pub(crate) barren: Option<Time>,
}

impl UnansweredConversations {
    pub(crate) fn note(&mut self, from: Location, entry: &Arc<ConversationEntry>) {
        let all = self.brought.entry(from.host).or_default();
        if all.len() == all.capacity() {
            // So the list is at most twice as long as there are conversations, and each is examined a few times only.
            all.retain(|entry| entry.strong_count() > 0);
            all.reserve(all.len().max(4));
        }
        all.push_back(Arc::downgrade(entry));
    }

    /// Takes the oldest conversation of the host whose links brought most.
    pub(crate) fn oldest(&mut self) -> Option<Arc<ConversationEntry>> {
        loop {
            let (from, all) = self.brought.iter_mut().max_by_key(|(_, all)| all.len())?;
            let from = *from;
            let oldest = std::iter::from_fn(|| all.pop_front()).find_map(|entry| entry.upgrade());
            if all.is_empty() {
                self.brought.remove(&from);
            }
            if oldest.is_some() {
                return oldest;
            }
        }
    }
}
