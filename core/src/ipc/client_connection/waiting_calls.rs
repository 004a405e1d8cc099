//! The calls that wait for room among the calls under way, in the order of their arrival.
//!
//! A call needs a place, and one that carries messages also needs bytes. A call that needs bytes is not overtaken by
//! a later one that needs bytes too: otherwise small calls could delay a large one for ever. It does not delay calls
//! that need only a place, since its own progress may depend on them: a message that waits for room in the inbox of
//! its recipient is waited for by the task that receives from this inbox over the same connection.

use std::collections::BTreeMap;
use std::task::Waker;

/// The waiting calls by their arrival, in two lines.
#[derive(Debug, Default)]
pub(super) struct WaitingCalls {
    next: u64,
    /// The calls that need bytes.
    with_bytes: BTreeMap<u64, WaitingCall>,
    /// The calls that need only a place.
    place_only: BTreeMap<u64, WaitingCall>,
}

#[derive(Debug)]
struct WaitingCall {
    bytes: usize,
    /// `None` once the task has been woken. It keeps its turn until it looks or gives up.
    waker: Option<Waker>,
}

impl WaitingCalls {
    fn line(&mut self, bytes: usize) -> &mut BTreeMap<u64, WaitingCall> {
        if bytes == 0 { &mut self.place_only } else { &mut self.with_bytes }
    }

    /// Appends a call to its line, or replaces the waker of one that has an `arrival`. Returns a waker that is no longer
    /// needed, to be dropped while no lock is held.
    pub(super) fn wait(&mut self, arrival: &mut Option<u64>, bytes: usize, waker: &Waker) -> Option<Waker> {
        let arrival = *arrival.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        let call = WaitingCall { bytes, waker: Some(waker.clone()) };
        self.line(bytes).insert(arrival, call)?.waker
    }

    /// Takes a call out of its line. Returns a waker to be dropped while no lock is held.
    pub(super) fn leave(&mut self, arrival: &mut Option<u64>, bytes: usize) -> Option<Waker> {
        self.line(bytes).remove(&arrival.take()?)?.waker
    }

    /// The arrival and the bytes of the call that is the next to begin, if there is room for one.
    pub(super) fn next(&self, has_room: impl Fn(usize) -> bool) -> Option<(u64, usize)> {
        let firsts = [self.with_bytes.first_key_value(), self.place_only.first_key_value()];
        let firsts = firsts.into_iter().flatten().map(|(arrival, call)| (*arrival, call.bytes));
        firsts.filter(|(_, bytes)| has_room(*bytes)).min()
    }

    /// The waker of a waiting call, unless it has been woken. The waker is to be called while no lock is held.
    pub(super) fn waker(&mut self, (arrival, bytes): (u64, usize)) -> Option<Waker> {
        self.line(bytes).get_mut(&arrival)?.waker.take()
    }

    /// The wakers of all waiting calls.
    pub(super) fn all_wakers(&mut self) -> Vec<Waker> {
        let calls = self.with_bytes.values_mut().chain(self.place_only.values_mut());
        calls.filter_map(|call| call.waker.take()).collect()
    }
}
