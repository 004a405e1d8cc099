//! The receipts for messages that applications have taken.

use crate::address::Address;
use crate::node::data_path::DeferredWork;
use crate::node::mailbox::taken::MessageRanges;
use crate::node::state::NodeState;
use crate::node::state::conversation::ConversationEntry;
use crate::node::state::conversations::Conversations;
use crate::node::state::locks::{lock, read};
use crate::stats::Counter;
use crate::types::{Event, MessageId};

impl Conversations {
    /// Sends the receipts for the taken messages of this peer, and moves further messages into the room that they left.
    pub(super) fn handle_mailbox_change(
        &self,
        shared: &NodeState,
        local: &Address,
        peer: &Address,
        work: &mut DeferredWork,
    ) {
        let mailbox = read(&shared.mailboxes).get(local).cloned();
        let (taken, here) = mailbox.map(|mailbox| mailbox.drain_taken(peer)).unwrap_or_default();
        shared.stats.count(Counter::MessagesDelivered, here.len() as u64);
        for message in here {
            let (id, elapsed_us) = (message.id, message.elapsed_us);
            message.notify_sender();
            shared.publish(Event::MessageDelivered { id, to: *local, elapsed_us });
        }
        if let Some(entry) = self.find(local, peer) {
            entry.took(shared, &taken);
            entry.deliver(shared);
            work.pump_later(&entry);
        }
    }
}

impl ConversationEntry {
    /// Records that the application has taken these messages, so that their sender gets a receipt for all of them.
    fn took(&self, shared: &NodeState, taken: &MessageRanges) {
        if taken.is_empty() {
            return;
        }
        let now = shared.now();
        let mut state = lock(&self.state);
        for range in taken {
            let [first, last] = [range.0, range.1].map(|number| MessageId(number.to_be_bytes()));
            state.conversation.on_taken(now, &first, &last);
        }
    }
}
