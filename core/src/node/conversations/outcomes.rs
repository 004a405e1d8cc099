//! The outcomes of sent messages, for the applications that wait for them. Most conversations have no such state, since
//! it is created by the first wait or the first expiry.

use std::collections::{HashMap, VecDeque};

use super::EntryState;
use crate::types::{MessageId, Receipt, SendError};

/// Ranges of expired messages that a conversation remembers.
const EXPIRED: usize = 1024;

pub(super) type OutcomeSender = crate::node::reply::Reply<Result<Receipt, SendError>>;

/// See the module.
#[derive(Default)]
pub(super) struct DeliveryOutcomes {
    /// The channels on which applications wait, by message.
    waiters: HashMap<MessageId, Vec<OutcomeSender>>,
    /// The last messages that expired, as ranges of identifiers with first and last, so that an application that waits
    /// later still learns of it.
    expired: VecDeque<(u128, u128)>,
}

impl DeliveryOutcomes {
    /// Whether an application waits for an outcome.
    pub(super) fn are_awaited(&self) -> bool {
        !self.waiters.is_empty()
    }

    fn remember_expired(&mut self, id: MessageId) {
        let number = u128::from_be_bytes(id.0);
        match self.expired.back_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => {
                if self.expired.len() >= EXPIRED {
                    self.expired.pop_front();
                }
                self.expired.push_back((number, number));
            }
        }
    }
}

impl EntryState {
    /// Adds a channel for the outcome of a message.
    pub(super) fn await_outcome(&mut self, id: MessageId, waiter: OutcomeSender) {
        let waiters = self.outcomes.get_or_insert_default().waiters.entry(id).or_default();
        // Removed here, so that an application that gives up and waits again and again does not accumulate channels.
        waiters.retain(|waiter| !waiter.is_canceled());
        waiters.push(waiter);
    }

    /// Takes the channels that wait for this message, whose outcome is known now.
    pub(super) fn take_waiters(&mut self, id: &MessageId) -> Option<Vec<OutcomeSender>> {
        self.outcomes.as_mut()?.waiters.remove(id)
    }

    /// Takes the channels that wait for any message.
    pub(super) fn take_all_waiters(&mut self) -> HashMap<MessageId, Vec<OutcomeSender>> {
        self.outcomes.as_mut().map(|outcomes| std::mem::take(&mut outcomes.waiters)).unwrap_or_default()
    }

    pub(super) fn remember_expired(&mut self, id: MessageId) {
        self.outcomes.get_or_insert_default().remember_expired(id);
    }

    pub(super) fn has_expired(&self, id: MessageId) -> bool {
        let number = u128::from_be_bytes(id.0);
        let includes = |(first, last): &(u128, u128)| (*first..=*last).contains(&number);
        self.outcomes.as_ref().is_some_and(|outcomes| outcomes.expired.iter().any(includes))
    }
}
