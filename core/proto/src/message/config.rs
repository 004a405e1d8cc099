//! The bounds of a conversation.

/// Bytes that may be sent before the first credit of the recipient arrives.
pub(super) const INITIAL_CREDIT: u64 = 256 << 10;
/// Messages that may be sent before the first credit of the recipient arrives.
pub(super) const INITIAL_MESSAGES: u64 = 1024;
/// The most messages in transmission: sequences floor to floor + 4095.
pub(super) const WINDOW: u64 = 4096;

/// The bounds of a conversation, so that one peer cannot use up the memory of the node.
#[derive(Clone, Copy, Debug)]
pub struct ConversationConfig {
    /// Messages that wait to be delivered.
    pub max_queue_messages: usize,
    /// Bytes of those messages. A single message is accepted whatever its length, since it could never be sent
    /// otherwise.
    pub max_queue_bytes: usize,
    /// Bytes of incoming messages that may wait here, besides the next one to deliver; at least 256 KiB.
    pub credit_bytes: usize,
    /// Incoming messages that may wait here; 1024 to 4096.
    pub credit_messages: usize,
    /// Whether the node has a journal. A sequence then leaves only when a restarted node would not use it again.
    pub has_journal: bool,
}

impl Default for ConversationConfig {
    fn default() -> Self {
        ConversationConfig {
            max_queue_messages: 4096,
            max_queue_bytes: 32 << 20,
            credit_bytes: 1 << 20,
            credit_messages: 4096,
            has_journal: false,
        }
    }
}
