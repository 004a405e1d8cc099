//! Messages that do not just wait in a mailbox: answers to requests, and requests.

use std::time::Duration;

use crate::node::mailbox::Mailbox;
use crate::node::mailbox::answers::Dispatch;
use crate::node::state::NodeState;
use crate::node::state::conversation::ConversationEntry;
use crate::node::state::locks::lock;
use crate::stats::DropCause;
use crate::types::{Message, MessageId, Outgoing};

/// The time that the answer to a request to a missing service waits for its recipient. It is shorter than that of other
/// answers, because a peer that does not take them keeps them here.
const REFUSAL_TTL: Duration = Duration::from_secs(60);

impl ConversationEntry {
    /// Gives answers to their requests, refuses requests to services that are not open, and leaves the messages that
    /// wait in mailboxes.
    pub(super) fn dispatch(&self, shared: &NodeState, mailbox: &Mailbox, batch: &mut Vec<Message>) {
        for message in std::mem::take(batch) {
            if !Mailbox::needs_dispatch(&message) {
                batch.push(message);
                continue;
            }
            match mailbox.dispatch(message) {
                Dispatch::Deliver(message) => batch.push(message),
                Dispatch::Answered => {}
                Dispatch::Unrequested(message) => {
                    shared.stats.drop(DropCause::Unrequested);
                    self.discard(shared, &message.id);
                }
                Dispatch::NoSuchService(request) => {
                    let refusal = Outgoing::refusal(&request).ttl(REFUSAL_TTL);
                    match self.try_queue(shared, &refusal) {
                        Some(id) => lock(&self.state).refusals.get_or_insert_default().ids.push_back(id),
                        None => shared.stats.drop(DropCause::ReplyLimit),
                    }
                    self.discard(shared, &request.id);
                }
            }
        }
    }

    /// Lets the sender of a message that no application needs have its receipt.
    pub(super) fn discard(&self, shared: &NodeState, id: &MessageId) {
        lock(&self.state).conversation.on_discarded(shared.now(), id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::node::conversations::memory_budget::tests::{address, shared};
    use crate::types::{MessageKind, Protection, Service, Timestamp};

    #[test]
    fn a_peer_that_takes_no_answers_lets_this_node_queue_few_and_counts_as_unanswered() {
        let (shared, peer, local) = (shared(), address(1), Identity::from_seed(&[1; 32]).address());
        let entry = shared.conversations.open(&shared, &local, &peer).unwrap();
        let service = Service::new("missing").unwrap();
        let request = |number: u128| Message {
            id: MessageId(number.to_be_bytes()),
            from: peer,
            to: local,
            sent_at: Timestamp(0),
            received_at: Timestamp(0),
            protection: Protection::EndToEnd,
            service: service.clone(),
            in_reply_to: None,
            kind: MessageKind::Request,
            deliveries: 1,
            body: "?".into(),
        };
        lock(&entry.state).held.extend((0..5000).map(request));
        for _ in 0..100 {
            entry.deliver(&shared);
        }
        let state = lock(&entry.state);
        let queued = state.conversation.waiting().messages;
        assert!((64..128).contains(&queued), "{queued} answers wait");
        assert_eq!(state.held.len() as u64 + queued, 5000, "no request is lost");
        assert!(!state.conversation.is_answered(), "it gives way to others");
    }
}
