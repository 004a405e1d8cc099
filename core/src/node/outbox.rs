//! The methods of a node that show and cancel the messages in its journal.

use rouse_journal::{JournalError, OutboxEntry, OutboxKey};

use super::Node;
use crate::node::conversations::journaled::sequence;
use crate::node::data_path::DeferredWork;
use crate::types::{Body, MessageId, WaitingMessage};

/// The entries of one look at the journal. It is bounded, since all of them are in memory at once.
const PAGE: usize = 1024;

impl From<&OutboxEntry> for WaitingMessage {
    fn from(entry: &OutboxEntry) -> Self {
        WaitingMessage {
            id: entry.id,
            from: entry.pair.local,
            to: entry.pair.peer,
            bytes: entry.bytes,
            service: Some(entry.message.service.clone()).filter(|service| !service.is_default()),
            sent_at: entry.message.sent_at,
            expires_in_ms: u64::try_from(entry.message.life.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Node {
    /// The messages in the journal that are not delivered yet, by recipient and in their order: at most `limit`. A node
    /// without a journal has none there.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn outbox(&self, limit: usize) -> Result<Vec<WaitingMessage>, JournalError> {
        let Some(state) = &self.shared.journal else { return Ok(Vec::new()) };
        let (mut all, mut after) = (Vec::new(), None);
        while all.len() < limit {
            let page = state.journal.outbox(after, PAGE.min(limit - all.len())).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            all.extend(page.iter().map(|(_, entry)| WaitingMessage::from(entry)));
        }
        Ok(all)
    }

    /// A message in the journal with its body; `None` when it does not wait there.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn outbox_message(
        &self,
        id: &MessageId,
    ) -> Result<Option<(WaitingMessage, Body)>, JournalError> {
        let Some((_, entry)) = self.find_in_outbox(id).await? else { return Ok(None) };
        let Some(state) = &self.shared.journal else { return Ok(None) };
        let seq = entry.message.seq;
        let loaded = state.journal.load(entry.pair, seq, 0).await?;
        let found = loaded.into_iter().next().filter(|message| message.seq == seq);
        Ok(found.map(|message| (WaitingMessage::from(&entry), message.body.into())))
    }

    /// Cancels a message that waits in the journal. One of which a part was sent may be received nevertheless. Returns false
    /// when it does not wait there.
    ///
    /// # Errors
    /// When the journal cannot be read or written.
    pub async fn cancel(&self, id: &MessageId) -> Result<bool, JournalError> {
        let Some((_, entry)) = self.find_in_outbox(id).await? else { return Ok(false) };
        let shared = &self.shared;
        let pair = entry.pair;
        let mut work = DeferredWork::default();
        let conversation = shared.conversations.find(&pair.local, &pair.peer);
        if let Some(conversation) = conversation {
            conversation.cancel(id, &mut work);
        }
        work.finish(shared);
        let Some(state) = &shared.journal else { return Ok(false) };
        let seq = entry.message.seq;
        // The conversation may have requested it as well. What is not there is no error.
        let range = seq..seq.saturating_add(1);
        state.journal.settle(pair, vec![range]).await?;
        Ok(true)
    }

    async fn find_in_outbox(&self, id: &MessageId) -> Result<Option<(OutboxKey, OutboxEntry)>, JournalError> {
        let Some(state) = &self.shared.journal else { return Ok(None) };
        let mut after = None;
        loop {
            let page = state.journal.outbox(after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(None) };
            after = Some(*last);
            let mut entries = page.into_iter();
            if let Some(found) = entries.find(|(_, entry)| entry.id == *id) {
                debug_assert_eq!(found.1.message.seq, sequence(id));
                return Ok(Some(found));
            }
        }
    }
}
