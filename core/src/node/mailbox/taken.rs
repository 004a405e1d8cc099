//! The messages that applications have taken, by sender.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::address::Address;
use crate::node::reply::ReplySender;
use crate::types::MessageId;

/// Identifiers of messages as ranges, each with its first and last. A sender numbers its messages in order, so that a
/// long run is one range.
pub(crate) type MessageRanges = Vec<(u128, u128)>;

/// The messages that were taken and have no receipt yet, and the senders within this node that wait for a receipt.
#[derive(Default)]
pub(super) struct MailboxReceipts {
    /// The taken messages by sender. A sender without any has no entry, so that its first message is recognized as the
    /// one that has to wake the task.
    pub(super) taken: BTreeMap<Address, MessageRanges>,
    /// By sender and name: when it was sent, and where its sender waits.
    pub(super) here: BTreeMap<(Address, u128), (Instant, ReplySender<u64>)>,
}

/// The receipt of a message that this node has sent to itself and that was taken.
pub(crate) struct LocalReceipt {
    pub(crate) id: MessageId,
    pub(crate) elapsed_us: u64,
    pub(super) waiter: ReplySender<u64>,
}

impl LocalReceipt {
    /// Sends the receipt to the waiting sender. The caller must hold no lock, because that wakes the application.
    pub(crate) fn notify_sender(self) {
        // The sender may have gone.
        self.waiter.send(self.elapsed_us);
    }
}

pub(super) fn number(id: &MessageId) -> u128 {
    u128::from_be_bytes(id.0)
}

pub(super) fn take(taken: &mut MessageRanges, number: u128) {
    match taken.last_mut() {
        Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
        _ => taken.push((number, number)),
    }
}

pub(super) fn untake(taken: &mut MessageRanges, number: u128) {
    let Some(at) = taken.iter().position(|(first, last)| (*first..=*last).contains(&number)) else { return };
    let (first, last) = taken.swap_remove(at);
    if first < number {
        taken.push((first, number - 1));
    }
    if number < last {
        taken.push((number + 1, last));
    }
}
