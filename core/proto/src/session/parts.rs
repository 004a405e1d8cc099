//! Handshake messages that have arrived in part.
//!
//! A message whose parts do not all arrive is kept until it expires: when its sender repeats it, the parts that were
//! lost complete it. Memory follows the bytes that arrived, and the number of messages is bounded for each neighbour. A
//! message belongs to the neighbour over which its parts came, so that a guess by another node does not spoil it.
//!
//! A responder that has forgotten a request answers its repetition with another response of the same name. Parts of the
//! two may meet here, so a response that does not verify is kept, and is tried again with each part that replaces one
//! of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::places::{Place, PlaceLimits, Places, PreviousHop};
use crate::address::Address;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::session::{MAX_PARTS, MESSAGE_RESPONSE, PART_LEN, PartHeader};

/// The time for which the parts of a message are kept. It is longer than the time between two repetitions, so that a
/// repetition completes what the one before has left.
pub(super) const PARTS_LIFE: Duration = Duration::from_secs(45);
/// The bounds on messages that have arrived in part.
pub(super) const PARTIAL_MESSAGES: PlaceLimits =
    PlaceLimits { all: 256, each_host: 128, each_neighbour: 64, turn: Duration::ZERO };

/// The name of a partial message. The address is that of the neighbour, and the local one is that which the parts are
/// for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PartialKey {
    neighbour: Address,
    local: Address,
    message: u8,
    id: u32,
    total: u16,
}

struct PartialMessage {
    parts: [Option<Box<[u8]>>; MAX_PARTS],
    until: Time,
}

/// A handshake message that has arrived whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WholeMessage {
    pub(super) message: u8,
    pub(super) id: u32,
    pub(super) bytes: Vec<u8>,
}

/// All handshake messages that have arrived in part.
pub(super) struct PartialMessages {
    messages: BTreeMap<PartialKey, PartialMessage>,
    /// A time at or before which none expires, kept because it is asked for after every packet.
    first_expiry: Option<Time>,
    places: Places<PartialKey>,
}

impl PartialMessages {
    pub(super) fn new() -> Self {
        PartialMessages {
            messages: BTreeMap::new(),
            first_expiry: None,
            places: Places::new(PARTIAL_MESSAGES),
        }
    }

    /// Takes a part. Returns the message when it is whole. A response is kept until [`PartialMessages::forget`].
    ///
    /// # Errors
    /// [`DropCause::BadHandshake`] when the part is malformed, or contradicts one that arrived before and takes its place,
    /// while others are missing; [`DropCause::Duplicate`] for one that arrived before; [`DropCause::HandshakeLimit`] when
    /// there is no place.
    pub(super) fn take(
        &mut self,
        now: Time,
        local: &Address,
        hop: &PreviousHop,
        payload: &[u8],
    ) -> Result<Option<WholeMessage>, DropCause> {
        let (header, bytes) = PartHeader::read(payload).map_err(|_| DropCause::BadHandshake)?;
        let PartHeader { message, id, number, total, .. } = header;
        let key = PartialKey { neighbour: hop.neighbour, local: *local, message, id, total };
        match self.places.take(now, key, *hop) {
            Place::Free => {}
            Place::Evicted(victim) => drop(self.messages.remove(&victim)),
            Place::Refused => return Err(DropCause::HandshakeLimit),
        }
        let until = now + PARTS_LIFE;
        // All live equally long, so an older one expires first.
        self.first_expiry.get_or_insert(until);
        let partial =
            self.messages.entry(key).or_insert_with(|| PartialMessage { parts: Default::default(), until });
        let slot = partial.parts.get_mut(usize::from(number)).ok_or(DropCause::BadHandshake)?;
        if slot.as_ref().is_some_and(|kept| **kept == *bytes) {
            return Err(DropCause::Duplicate);
        }
        // Where two contradict each other, one is bad. The later one stays, since a true one comes again.
        let contradicts = slot.replace(bytes.into()).is_some();
        let count = usize::from(total).div_ceil(PART_LEN);
        if partial.parts.iter().take(count).any(Option::is_none) {
            return if contradicts { Err(DropCause::BadHandshake) } else { Ok(None) };
        }
        let bytes = partial.parts.iter().flatten().flat_map(|part| part.iter().copied()).collect();
        if message != MESSAGE_RESPONSE {
            self.remove(&key);
        }
        Ok(Some(WholeMessage { message, id, bytes }))
    }

    /// Removes a response that needs no other part.
    pub(super) fn forget(&mut self, local: &Address, hop: &PreviousHop, whole: &WholeMessage) {
        let WholeMessage { message, id, bytes } = whole;
        let total = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.remove(&PartialKey {
            neighbour: hop.neighbour,
            local: *local,
            message: *message,
            id: *id,
            total,
        });
    }

    fn remove(&mut self, key: &PartialKey) {
        self.messages.remove(key);
        self.places.release(key);
        if self.messages.is_empty() {
            self.first_expiry = None;
        }
    }

    /// The time at which [`PartialMessages::timeout`] is due, which may be before the first partial message expires.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.first_expiry
    }

    /// Removes the partial messages that have expired.
    pub(super) fn timeout(&mut self, now: Time) {
        if self.first_expiry.is_none_or(|first| first > now) {
            return;
        }
        let expired: Vec<_> =
            self.messages.iter().filter(|(_, partial)| partial.until <= now).map(|(key, _)| *key).collect();
        expired.iter().for_each(|key| self.remove(key));
        self.first_expiry = self.messages.values().map(|partial| partial.until).min();
    }

    /// The number of partial messages.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::session::{MESSAGE_REQUEST, parts};

    const NOW: Time = Time::from_millis(1000);

    fn hop(neighbour: u8) -> PreviousHop {
        PreviousHop { neighbour: Address::from_bytes([neighbour; 32]), host: neighbour.into(), group: 0 }
    }

    fn local() -> Address {
        Address::from_bytes([1; 32])
    }

    fn message() -> Vec<u8> {
        (0..1353).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn parts_in_any_order_make_the_message() {
        let mut pool = PartialMessages::new();
        let mut all = parts(MESSAGE_REQUEST, 9, &message());
        all.reverse();
        let last = all.pop().unwrap();
        for part in &all {
            assert_eq!(pool.take(NOW, &local(), &hop(1), part), Ok(None));
        }
        assert_eq!(pool.take(NOW, &local(), &hop(1), &all[0]), Err(DropCause::Duplicate));
        let whole = WholeMessage { message: MESSAGE_REQUEST, id: 9, bytes: message() };
        assert_eq!(pool.take(NOW, &local(), &hop(1), &last), Ok(Some(whole)));
        assert_eq!((pool.len(), pool.deadline()), (0, None));
    }

    #[test]
    fn another_neighbour_does_not_spoil_a_message_and_a_bad_part_is_replaced_by_the_true_one() {
        let mut pool = PartialMessages::new();
        let all = parts(MESSAGE_RESPONSE, 9, &message());
        let mut forged = all[1].clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(pool.take(NOW, &local(), &hop(2), &all[1]), Ok(None), "it belongs to another neighbour");
        assert_eq!(pool.take(NOW, &local(), &hop(1), &forged), Ok(None));
        assert_eq!(pool.take(NOW, &local(), &hop(1), &all[1]), Err(DropCause::BadHandshake));
        pool.take(NOW, &local(), &hop(1), &all[0]).unwrap();
        pool.take(NOW, &local(), &hop(1), &all[2]).unwrap();
        let whole = pool.take(NOW, &local(), &hop(1), &all[3]).unwrap().unwrap();
        assert_eq!(whole.bytes, message());
    }

    #[test]
    fn a_response_that_meets_parts_of_an_earlier_one_is_whole_after_its_last_part() {
        let mut pool = PartialMessages::new();
        let (mut earlier, later) = (message(), parts(MESSAGE_RESPONSE, 9, &message()));
        earlier.iter_mut().for_each(|byte| *byte ^= 1);
        let earlier = parts(MESSAGE_RESPONSE, 9, &earlier);
        for part in &earlier[1..] {
            assert_eq!(pool.take(NOW, &local(), &hop(1), part), Ok(None));
        }
        let last = later.iter().map(|part| pool.take(NOW, &local(), &hop(1), part)).last().unwrap();
        let whole = WholeMessage { message: MESSAGE_RESPONSE, id: 9, bytes: message() };
        assert_eq!(last, Ok(Some(whole)));
        assert_eq!(pool.take(NOW, &local(), &hop(1), &later[0]), Err(DropCause::Duplicate));
        pool.forget(&local(), &hop(1), &last.unwrap().unwrap());
        assert_eq!((pool.len(), pool.deadline()), (0, None));
    }

    #[test]
    fn messages_that_stay_partial_expire_and_are_bounded_for_each_neighbour() {
        let mut pool = PartialMessages::new();
        for id in 0..1000 {
            let part = &parts(MESSAGE_REQUEST, id, &message())[0];
            pool.take(NOW, &local(), &hop((id % 2) as u8), part).unwrap();
        }
        assert_eq!(pool.len(), 2 * PARTIAL_MESSAGES.each_neighbour);
        for neighbour in 2..30 {
            for id in 0..100 {
                let part = &parts(MESSAGE_REQUEST, id, &message())[0];
                pool.take(NOW, &local(), &hop(neighbour), part).unwrap();
            }
        }
        assert_eq!(pool.len(), PARTIAL_MESSAGES.all);
        assert_eq!(pool.deadline(), Some(NOW + PARTS_LIFE));
        pool.timeout(NOW + PARTS_LIFE);
        assert_eq!((pool.len(), pool.places.len()), (0, 0));
    }
}
