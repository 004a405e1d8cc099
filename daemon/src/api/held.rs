//! The messages that were delivered to receivers and wait for their acknowledgement.

use std::collections::BTreeMap;

use rouse_core::MessageId;
use rouse_core::ipc::Delivery;
use rouse_core::notify::Notify;

use super::error::ApiError;
use super::params::DeliveredParams;

/// A message that waits for its acknowledgement.
struct Held {
    /// The number of the receiver to which it was delivered.
    receiver: u64,
    delivery: Delivery,
}

#[derive(Default)]
struct State {
    /// By their ids. Senders choose the ids, so that two of them may use the same one.
    by_id: BTreeMap<MessageId, Vec<Held>>,
    by_receiver: BTreeMap<u64, usize>,
}

impl State {
    /// Counts a message of this receiver less.
    fn release(&mut self, receiver: u64) {
        if let Some(count) = self.by_receiver.get_mut(&receiver) {
            *count = count.saturating_sub(1);
        }
    }
}

/// The messages of a connection that wait for their acknowledgement. A message that is dropped goes back to its inbox.
pub(super) struct HeldMessages(Notify<State>);

impl HeldMessages {
    pub(super) fn new() -> Self {
        HeldMessages(Notify::new(State::default()))
    }

    /// Waits until the receiver may hold another message. Returns how many it may hold beside those that it has.
    pub(super) async fn room(&self, receiver: u64, limit: usize) -> usize {
        let room = |state: &State| limit.checked_sub(state.by_receiver.get(&receiver).copied().unwrap_or(0));
        self.0.when(|state| room(state).filter(|room| *room > 0)).await
    }

    pub(super) fn hold(&self, receiver: u64, delivery: Delivery) {
        let mut state = self.0.write();
        *state.by_receiver.entry(receiver).or_default() += 1;
        let id = delivery.message().id;
        state.by_id.entry(id).or_default().push(Held { receiver, delivery });
    }

    /// Removes a message, because the program has dealt with it or gives it back.
    pub(super) fn take(&self, which: &DeliveredParams) -> Result<Delivery, ApiError> {
        let mut state = self.0.write();
        let DeliveredParams { id, from } = which;
        let held = state.by_id.get_mut(id);
        let fits = |held: &Held| from.is_none_or(|from| held.delivery.message().from == from);
        let mut places = held.iter().flat_map(|held| held.iter()).enumerate().filter(|(_, held)| fits(held));
        let place = match (places.next(), places.next()) {
            (Some((place, _)), None) => place,
            (None, _) => {
                return Err(ApiError::not_found(format!(
                    "no message {id} waits for its acknowledgement on this connection"
                )));
            }
            _ => {
                return Err(ApiError::params(format!(
                    "two senders use the id {id}; name the sender with `from`"
                )));
            }
        };
        let Some(all) = held else { return Err(ApiError::not_found("it is gone")) };
        let taken = all.swap_remove(place);
        if all.is_empty() {
            state.by_id.remove(id);
        }
        state.release(taken.receiver);
        Ok(taken.delivery)
    }

    /// Gives the messages of a receiver back.
    pub(super) fn give_back(&self, receiver: u64) {
        let mut state = self.0.write();
        let mut given = Vec::new();
        for held in state.by_id.values_mut() {
            given.extend(held.extract_if(.., |held| held.receiver == receiver));
        }
        state.by_id.retain(|_, held| !held.is_empty());
        state.by_receiver.remove(&receiver);
        drop(state);
        // Each goes to the head of its inbox, so that the first one must be the last. One that was given back before may have
        // been delivered after those that follow it.
        given.sort_by_key(|held| {
            let message = held.delivery.message();
            std::cmp::Reverse((message.received_at, message.id))
        });
        given.into_iter().for_each(drop);
    }
}
