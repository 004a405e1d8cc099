//! How a node ends, by itself or because it is stopped.

use std::sync::Arc;
use std::time::Duration;

use super::*;

/// How long [`Node::stop`] waits for what is under way to be delivered.
const FLUSH: Duration = Duration::from_secs(2);
/// How long it waits for the acknowledgements that it owes: a little more than one may be delayed.
const OWED: Duration = Duration::from_millis(30);
/// How long it waits for its tasks to end, and how long for its netmods to close.
const END: Duration = Duration::from_millis(500);

impl Node {
    /// Stops the node: takes no new work, gives what is under way up to 2 s to be delivered, says goodbye to the
    /// neighbours, and ends, after 5 s at most. What waits in mailboxes can still be received. When the future is
    /// dropped, stopping goes on with the next call, or when the last handle of the node is dropped.
    ///
    /// Returns what is left unfinished.
    pub async fn stop(&self) -> Unfinished {
        let shared = &self.shared;
        shared.begin_stop();
        // A node that has failed has taken its leave, and nothing of it goes on.
        if self.failure().is_none() {
            self.finish_work().await;
            leaving::leave(shared).await;
        }
        let unfinished = self.unfinished();
        shared.end();
        crate::rt::timeout(END, shared.join()).await;
        let media: Vec<Arc<Medium>> = read(&shared.media).values().cloned().collect();
        let close = media.iter().map(|medium| medium.netmod.close());
        crate::rt::timeout(END, futures::future::join_all(close)).await;
        unfinished
    }

    /// Lets what is under way be delivered, and what has come be acknowledged, as far as that takes no more than a while.
    async fn finish_work(&self) {
        let shared = &self.shared;
        self.flush().await;
        if !read(&shared.neighbours).is_empty() {
            // What has just come is acknowledged within this time.
            crate::rt::sleep(OWED).await;
        }
    }

    /// Why the node has ended by itself; `None` while it runs, and when it was stopped.
    pub fn failure(&self) -> Option<NodeFailure> {
        self.shared.failure.read().clone()
    }

    /// Waits until the node has ended by itself, for as long as it does not. A node that is stopped does not fail. Whoever runs a
    /// node waits for this beside its own work: a node that has failed sends and receives nothing any more.
    pub async fn failed(&self) -> NodeFailure {
        self.shared.failure.when(Clone::clone).await
    }

    /// Waits until nothing is under way any more, 2 s at most. What the recipient has and its application has not taken is not
    /// waited for.
    pub(crate) async fn flush(&self) {
        let flushed = async {
            while self.shared.conversations.is_under_way(&self.shared) {
                crate::rt::sleep(Duration::from_millis(10)).await;
            }
        };
        crate::rt::timeout(FLUSH, flushed).await;
    }

    /// What would be lost if the node stopped now.
    pub fn unfinished(&self) -> Unfinished {
        let mailboxes: Vec<Mailbox> = read(&self.shared.mailboxes).values().cloned().collect();
        Unfinished {
            unread: mailboxes.iter().map(Mailbox::unread).sum(),
            waiting: self.shared.conversations.waiting().messages,
        }
    }
}
