//! The removal of senders from a mailbox.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, PoisonError};

use super::Mailbox;
use super::state::SenderInboxes;
use crate::address::Address;

/// Removed senders after which the queue is searched for their tokens. Each search visits all tokens, so it is not done
/// for each sender.
const DROPPED: usize = 256;

impl Mailbox {
    /// Removes senders with an empty inbox, except those that are `in_use`. One whose inbox a caller holds stays, since
    /// that caller may wait on it.
    pub(crate) fn forget(&self, in_use: impl Fn(&Address) -> bool) {
        self.shared.forget_in_services();
        let mut senders = self.shared.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let SenderInboxes { by_address, stalled, .. } = &mut *senders;
        by_address
            .retain(|address, sender| in_use(address) || Arc::strong_count(sender) > 1 || !sender.is_empty());
        stalled.retain(|address| by_address.contains_key(address));
    }

    /// Removes a sender with its messages if there are exactly `count` of them. Otherwise returns `false` and removes
    /// nothing, since an application is just taking them.
    pub(crate) fn drop_sender(&self, from: &Address, count: usize) -> bool {
        let shared = &self.shared;
        let in_services = shared.lock_services_of(from);
        let mut senders = shared.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = senders.by_address.get(from) else { return count == 0 };
        let token = usize::from(sender.has_token.load(SeqCst));
        // The inboxes of services hold that of the sender.
        let holders = 1 + token + in_services.inboxes();
        let waiting = sender.inbox.len() + in_services.messages();
        if waiting != count || in_services.is_held() || Arc::strong_count(sender) > holders {
            return false;
        }
        let mut dropped: Vec<_> = in_services.remove().into();
        let _ = sender.inbox.try_recv_batch(&mut dropped, usize::MAX);
        senders.by_address.remove(from);
        senders.stalled.remove(from);
        drop(senders);
        let bytes: usize = dropped.iter().map(|message| message.body.len()).sum();
        shared.bytes.fetch_sub(bytes.cast_signed(), SeqCst);
        if token > 0 && shared.dropped.fetch_add(1, SeqCst) >= DROPPED {
            self.forget_tokens();
        }
        true
    }

    /// Removes the tokens of removed senders from the queue.
    pub(crate) fn forget_tokens(&self) {
        if self.shared.dropped.swap(0, SeqCst) == 0 {
            return;
        }
        let mut tokens = Vec::new();
        let _ = self.shared.tokens.try_recv_batch(&mut tokens, usize::MAX);
        for token in tokens {
            token.has_token.store(false, SeqCst);
            if !token.inbox.is_empty() {
                self.shared.queue_token(token);
            }
        }
    }
}
