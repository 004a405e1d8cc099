//! The outcomes of sent messages, for the applications that wait for them. Most conversations have no such state, since
//! it is created by the first wait or the first expiry.

use std::collections::{HashMap, VecDeque};

use crate::types::{MessageId, Receipt, SendError};

/// Ranges of expired messages that a conversation remembers.
const EXPIRED: usize = 1024;

pub(crate) type OutcomeSender = crate::node::reply::ReplySender<Result<Receipt, SendError>>;

/// See the module.
#[derive(Default)]
pub(crate) struct DeliveryOutcomes {
    /// The channels on which applications wait, by message.
    pub(crate) waiters: HashMap<MessageId, Vec<OutcomeSender>>,
    /// The last messages that expired, so that an application that waits later still learns of it.
    expired: VecDeque<ExpiredRange>,
}

/// Messages with consecutive identifiers that expired.
struct ExpiredRange {
    first: u128,
    last: u128,
    /// Whether a part of each had been sent.
    had_left: bool,
}

impl DeliveryOutcomes {
    /// Whether an application waits for an outcome.
    pub(crate) fn are_awaited(&self) -> bool {
        !self.waiters.is_empty()
    }

    pub(crate) fn remember_expired(&mut self, id: MessageId, had_left: bool) {
        let number = u128::from_be_bytes(id.0);
        match self.expired.back_mut() {
            Some(range) if range.last.checked_add(1) == Some(number) && range.had_left == had_left => {
                range.last = number;
            }
            _ => {
                if self.expired.len() >= EXPIRED {
                    self.expired.pop_front();
                }
                self.expired.push_back(ExpiredRange { first: number, last: number, had_left });
            }
        }
    }

    /// Whether a part of this message had been sent before it expired; `None` when it has not expired.
    pub(crate) fn expired(&self, id: MessageId) -> Option<bool> {
        let number = u128::from_be_bytes(id.0);
        let range = self.expired.iter().find(|range| (range.first..=range.last).contains(&number));
        range.map(|range| range.had_left)
    }
}
