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
    /// The last messages that expired, as ranges of identifiers with first and last, so that an application that waits
    /// later still learns of it.
    pub(crate) expired: VecDeque<(u128, u128)>,
}

impl DeliveryOutcomes {
    /// Whether an application waits for an outcome.
    pub(crate) fn are_awaited(&self) -> bool {
        !self.waiters.is_empty()
    }

    pub(crate) fn remember_expired(&mut self, id: MessageId) {
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
