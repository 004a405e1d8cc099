//! The removal of senders from a mailbox.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, PoisonError};

use super::{Mailbox, SenderInboxes};
use crate::address::Address;

/// Removed senders after which the queue is searched for their tokens. Each search visits all tokens, so it is not done
/// for each sender.
const DROPPED: usize = 256;

impl Mailbox {
    /// Removes senders with an empty inbox, except those that are `in_use`. One whose inbox a caller holds stays, since
    /// that caller may wait on it.
    pub(crate) fn forget(&self, in_use: impl Fn(&Address) -> bool) {
        let mut senders = self.shared.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let SenderInboxes { by_address, stalled, .. } = &mut *senders;
        by_address.retain(|address, sender| {
            in_use(address) || Arc::strong_count(sender) > 1 || !sender.inbox.is_empty()
        });
        stalled.retain(|address| by_address.contains_key(address));
    }

    /// Removes a sender with its messages if there are exactly `count` of them. Otherwise returns `false` and removes
    /// nothing, since an application is just taking them.
    pub(crate) fn drop_sender(&self, from: &Address, count: usize) -> bool {
        let shared = &self.shared;
        let mut dropped = Vec::new();
        let mut senders = shared.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = senders.by_address.get(from) else { return count == 0 };
        let token = usize::from(sender.has_token.load(SeqCst));
        if sender.inbox.len() != count || Arc::strong_count(sender) > 1 + token {
            return false;
        }
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
                self.queue_token(token);
            }
        }
    }
}
