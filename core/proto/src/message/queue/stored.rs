//! The state of the journal as the queue of a conversation sees it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::types::{Attributes, Timestamp};

/// The unused sequences that are reserved at first ahead of messages that are held in memory alone. Each time it is twice
/// as many, up to the most, so that fast traffic causes a write every few seconds.
pub(crate) const RESERVE_AHEAD: u64 = 4096;
pub(super) const MOST_AHEAD: u64 = 1 << 20;

/// The state of the journal, as far as the queue depends on it.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The first sequence that no message has. Those from the last entry to here are on the disk alone.
    pub(super) end: u64,
    /// The first sequence that the journal had not used when it was read, until the first session.
    pub(super) restored: Option<u64>,
    /// A restarted node begins with this sequence or a later one.
    pub(super) safe: u64,
    /// The end of the sequences that need a reservation, since no stored message protects them.
    pub(super) unprotected: u64,
    /// The sequences of the last reservation.
    pub(super) reserved: u64,
    /// The sequences of messages that are on their way to the disk and not in the queue.
    pub(super) storing: BTreeSet<u64>,
    /// The sequences of stored messages that are settled, until they are taken. They are ranges, because most messages are
    /// settled in their order.
    pub(super) settled: Vec<Range<u64>>,
    /// Whether messages are being loaded. Only one page is, since the next one begins where it ends.
    pub(super) is_loading: bool,
    /// Whether the next message on the disk is behind a long gap.
    pub(super) is_gap_ahead: bool,
}

/// Messages to be loaded from the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadRequest {
    /// The first sequence.
    pub from: u64,
    /// The first sequence that may not be stored yet.
    pub until: u64,
    /// The bytes of all bodies.
    pub bytes: usize,
}

/// A message that was loaded from the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its sequence.
    pub seq: u64,
    /// The moment at which it was sent, by this node's clock.
    pub sent_at: Timestamp,
    /// The time that it may still wait.
    pub life: Duration,
    /// The service to which it is addressed, and the message that it answers.
    pub attributes: Attributes,
    /// The bytes of the application.
    pub body: Bytes,
}
