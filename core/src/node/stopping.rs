//! The end of a node, by itself or on request.

use std::sync::Arc;
use std::time::Duration;

use super::mailbox::Mailbox;
use super::{Node, leaving};
use crate::node::state::locks::read;
use crate::node::state::medium::Medium;
use crate::node::state::running_tasks::NodeFailure;
use crate::types::Unfinished;

/// The time that [`Node::stop`] grants to messages under way, so that a program that sends and stops loses nothing on a
/// network that works.
const FLUSH: Duration = Duration::from_secs(2);
/// The time that it grants to acknowledgements that are due: a little more than one may be delayed.
const OWED: Duration = Duration::from_millis(30);
/// The time that it grants to the journal, to write what waits and to close its file.
const CLOSE: Duration = Duration::from_secs(1);
/// The time that it grants to its tasks, and again to its netmods, until they are closed.
const END: Duration = Duration::from_millis(500);

impl Node {
    /// Stops the node: refuses new messages, grants those under way up to 2 s, sends a goodbye to the neighbours, and
    /// ends after 5 s at most. Messages in mailboxes can still be received. When the future is dropped, stopping
    /// continues with the next call, or when the last handle of the node is dropped.
    ///
    /// Returns the counts of unfinished work.
    pub async fn stop(&self) -> Unfinished {
        let shared = &self.shared;
        shared.begin_stop();
        // A node that has failed has sent its goodbyes already, and none of its tasks would finish the rest.
        if self.failure().is_none() {
            self.finish_work().await;
            leaving::leave(shared).await;
        }
        let unfinished = self.unfinished();
        if let Some(state) = &shared.journal {
            // Without an end a disk that hangs would keep the node from stopping. Nothing is lost, since all that was
            // accepted is on the disk already.
            let closed = crate::rt::timeout(CLOSE, state.journal.close()).await;
            if let Some(Err(error)) = closed {
                tracing::warn!(%error, "the journal was not closed in good order");
            }
        }
        shared.end();
        crate::rt::timeout(END, shared.join()).await;
        let media: Vec<Arc<Medium>> = read(&shared.media).values().cloned().collect();
        let close = media.iter().map(|medium| medium.netmod.close());
        crate::rt::timeout(END, futures::future::join_all(close)).await;
        unfinished
    }

    /// Waits, for a bounded time, until messages under way are delivered and received ones acknowledged.
    async fn finish_work(&self) {
        let shared = &self.shared;
        self.flush().await;
        if !read(&shared.neighbours).is_empty() {
            // The packets that have just arrived are acknowledged within this time, so that their senders do not repeat
            // them.
            crate::rt::sleep(OWED).await;
        }
    }

    /// The error with which the node has ended by itself; `None` while it runs, and when it was stopped.
    pub fn failure(&self) -> Option<NodeFailure> {
        self.shared.failure.read().clone()
    }

    /// Waits until the node fails, for ever if it does not; a node that is stopped does not fail. A program that runs a
    /// node should wait for this beside its own work, since a node that has failed sends and receives nothing.
    pub async fn failed(&self) -> NodeFailure {
        self.shared.failure.when(Clone::clone).await
    }

    /// Waits up to 2 s until nothing is under way. Messages that only wait for the recipient's application are not
    /// waited for, because that may take any time.
    pub(crate) async fn flush(&self) {
        let conversations = &self.shared.conversations;
        let progress = conversations.observe();
        let flushed = async {
            loop {
                // Read before the check, so that a change between the two is not missed.
                let seen = progress.seen();
                if !conversations.is_under_way(&self.shared) {
                    break;
                }
                progress.beyond(seen).await;
            }
        };
        crate::rt::timeout(FLUSH, flushed).await;
    }

    /// The counts of messages that would be lost if the node stopped now. Those in the journal are not.
    pub fn unfinished(&self) -> Unfinished {
        let mailboxes: Vec<Mailbox> = read(&self.shared.mailboxes).values().cloned().collect();
        Unfinished {
            unread: mailboxes.iter().map(|mailbox| mailbox.unread().messages).sum(),
            waiting: self.shared.conversations.waiting().messages,
        }
    }
}
