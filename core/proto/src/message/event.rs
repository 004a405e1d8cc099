//! The events of a conversation that its owner learns, and its counters.

use std::time::Duration;

use crate::types::MessageId;

/// A change in the state of an outgoing message, or of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConversationEvent {
    /// The recipient has the message, `elapsed` after it was accepted here.
    Delivered {
        /// The message.
        id: MessageId,
        /// The time since it was accepted.
        elapsed: Duration,
    },
    /// Its time to live ran out.
    Expired {
        /// The message.
        id: MessageId,
        /// Whether a part of it had been sent, so that the recipient may have it nevertheless.
        had_left: bool,
    },
    /// The recipient has all messages below this one, some of which were sent before this node was started.
    Passed {
        /// The first message that the recipient does not have.
        below: MessageId,
    },
    /// The queue was full and has room again.
    Room,
}

/// The counters of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConversationCounters {
    /// Packets with something that had been sent before.
    pub retransmits: u64,
    /// Packets and parts of messages that had arrived before, except those for which `handle` returned an error.
    pub duplicates: u64,
    /// Complete messages that their sender withdrew before the application took them.
    pub expired: u64,
}
