//! What becomes of the messages that a conversation sends, for those that ask. There is nothing of it while nothing was sent and
//! none has expired.

use super::*;

/// Runs of expired messages that a conversation remembers.
const EXPIRED: usize = 1024;

pub(super) type OutcomeSender = crate::node::reply::Reply<Result<Receipt, SendError>>;

/// See the module.
#[derive(Default)]
pub(super) struct DeliveryOutcomes {
    /// Who waits to hear of which message.
    waiters: HashMap<MessageId, Vec<OutcomeSender>>,
    /// The last messages that expired, so that who asks late learns it: first and last of those that follow on
    /// one another.
    expired: VecDeque<(u128, u128)>,
}

impl DeliveryOutcomes {
    /// Whether something waits for its word.
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
    /// Waits for the fate of a message.
    pub(super) fn await_outcome(&mut self, id: MessageId, waiter: OutcomeSender) {
        let waiters = self.outcomes.get_or_insert_default().waiters.entry(id).or_default();
        // Who has lost patience and asks again must not pile up.
        waiters.retain(|waiter| !waiter.is_canceled());
        waiters.push(waiter);
    }

    /// Those that wait for the fate of a message, which is known now.
    pub(super) fn take_waiters(&mut self, id: &MessageId) -> Option<Vec<OutcomeSender>> {
        self.outcomes.as_mut()?.waiters.remove(id)
    }

    /// Those that wait for the fate of any message.
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
