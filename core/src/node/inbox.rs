//! The methods of a node that show and change the received messages in its journal.

use rouse_journal::{InboxEntry, InboxKey, InboxPart, JournalError};

use super::Node;
use crate::node::mailbox::lending::LendRequest;
use crate::node::reply::reply;
use crate::node::tasks::inbox::note_stored;
use crate::types::{Body, MessageId, UnreadMessage};

/// The entries of one look at the journal. It is bounded, since all of them are in memory at once.
const PAGE: usize = 1024;

impl From<&InboxEntry> for UnreadMessage {
    fn from(entry: &InboxEntry) -> Self {
        UnreadMessage {
            id: entry.id,
            from: entry.pair.peer,
            to: entry.pair.local,
            service: entry.message.service.clone(),
            bytes: entry.bytes,
            sent_at: entry.message.sent_at,
            received_at: entry.message.received_at,
            deliveries: entry.deliveries,
            is_leased: entry.leased,
        }
    }
}

impl Node {
    /// The received messages in the journal that no application has acknowledged, or the dead letters among them: at most
    /// `limit`, by mailbox and sender and in their order. A node without a journal has none there.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn inbox(&self, part: InboxPart, limit: usize) -> Result<Vec<UnreadMessage>, JournalError> {
        let Some(state) = &self.shared.journal else { return Ok(Vec::new()) };
        let (mut all, mut after) = (Vec::new(), None);
        while all.len() < limit {
            let page = state.journal.inbox(part, after, PAGE.min(limit - all.len())).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key);
            all.extend(page.iter().map(UnreadMessage::from));
        }
        Ok(all)
    }

    /// A received message in the journal with its body, waiting or dead; `None` when there is none with this id. No
    /// application gets it, and no attempt is counted.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn inbox_message(&self, id: &MessageId) -> Result<Option<(UnreadMessage, Body)>, JournalError> {
        let Some(state) = &self.shared.journal else { return Ok(None) };
        let Some(entry) = self.find_in_inbox(id, &[InboxPart::Waiting, InboxPart::DeadLetters]).await? else {
            return Ok(None);
        };
        let found = state.journal.peek(entry.key).await?;
        Ok(found.map(|(_, message)| (UnreadMessage::from(&entry), message.body.into())))
    }

    /// Waits until all messages that applications have taken or acknowledged before are off the disk. A message whose
    /// acknowledgement is not there yet comes again if the node is killed now. A node without a journal has nothing to wait for.
    ///
    /// # Errors
    /// When the journal cannot be written. The acknowledgements are tried again by themselves.
    ///
    /// ```
    /// # use rouse_core::Node;
    /// # use rouse_core::netmod::mem::MemNet;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # futures::executor::block_on(async {
    /// # let folder = tempfile::tempdir()?;
    /// let node = Node::open(folder.path()).await?.netmod(MemNet::new(7).netmod("here")).start().await?;
    /// node.send(&node.address(), "a note").await?;
    /// let message = node.recv().await?;
    /// node.acknowledged().await?;
    /// // From here on the message comes no more, whatever happens to this process.
    /// # assert_eq!(&message.body[..], b"a note");
    /// # node.stop().await;
    /// # Ok(()) })
    /// # }
    /// ```
    pub async fn acknowledged(&self) -> Result<(), JournalError> {
        let Some(state) = &self.shared.journal else { return Ok(()) };
        let (sender, flushed) = reply();
        state.lending.request(LendRequest::Flush(sender));
        // Without a reply the node has ended, and the journal with it.
        flushed.await.unwrap_or(Err(JournalError::Closed))
    }

    /// Lets a dead letter wait for an application again, with no attempt counted. Returns false when there is none with
    /// this id.
    ///
    /// # Errors
    /// When the journal cannot be read or written.
    pub async fn revive(&self, id: &MessageId) -> Result<bool, JournalError> {
        let Some(state) = &self.shared.journal else { return Ok(false) };
        let Some(entry) = self.find_in_inbox(id, &[InboxPart::DeadLetters]).await? else { return Ok(false) };
        let is_revived = state.journal.revive(entry.key).await?;
        // A reader may wait already, and would otherwise learn of it with the next message only.
        note_stored(&self.shared, &entry.pair.local, &entry.message.service);
        Ok(is_revived)
    }

    /// Removes a received message from the journal, waiting or dead, although no application has acknowledged it. Returns
    /// false when there is none with this id.
    ///
    /// # Errors
    /// When the journal cannot be read or written.
    pub async fn discard(&self, id: &MessageId) -> Result<bool, JournalError> {
        let Some(state) = &self.shared.journal else { return Ok(false) };
        let parts = [InboxPart::Waiting, InboxPart::DeadLetters];
        let Some(InboxEntry { key, .. }) = self.find_in_inbox(id, &parts).await? else { return Ok(false) };
        let keys: Vec<InboxKey> = vec![key];
        Ok(state.journal.acknowledge(keys).await?.messages > 0)
    }

    async fn find_in_inbox(
        &self,
        id: &MessageId,
        parts: &[InboxPart],
    ) -> Result<Option<InboxEntry>, JournalError> {
        let Some(state) = &self.shared.journal else { return Ok(None) };
        for part in parts {
            let mut after = None;
            loop {
                let page = state.journal.inbox(*part, after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.key);
                if let Some(found) = page.into_iter().find(|entry| entry.id == *id) {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }
}
