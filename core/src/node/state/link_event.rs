//! Events for the peering task.

use crate::node::reply::ReplySender;
use crate::peering::Input;

/// An event for the peering task. Events of media may be lost there, those of the node may not, so that media stop adding
/// to the queue while the node still may.
pub(crate) enum LinkEvent {
    /// An event for the peering, which may wait until the task has time for it.
    Input(Input),
    /// The peering has outputs, or an earlier deadline, because another task has reported an event to it.
    Wake,
    /// The node is about to leave, and all that came before this is to be done with.
    Leave { done: ReplySender<()> },
    /// A fault of the program.
    #[cfg(test)]
    Panic,
}
