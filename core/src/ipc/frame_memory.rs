//! The memory of frames that are not complete yet, which all connections of a server share.
//!
//! A frame may have 17 MiB. If each connection could hold a part of one, a program that opens many and sends parts of frames
//! would fill the memory of the machine. So a connection reads the first bytes of a frame into a small buffer of its own, and
//! then waits its turn for the memory of the whole frame. It gets all of it at once, since connections that each hold a part
//! and wait for the rest would wait for ever.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_io::Timer;

use crate::ipc::protocol::MAX_FRAME;
use crate::notify::Notify;

/// The bytes that all frames beyond the own buffers of their connections may have together: three of the longest.
pub(super) const MAX_FRAMES: usize = 64 << 20;

/// The part of it that is reserved for the daemon's owner: one of the longest frames, with its length before it.
const RESERVED: usize = MAX_FRAME + 4;

/// The time that a frame may take while others wait for its memory. The longest one takes a fraction of a second when its
/// client writes it at once.
const TURN: Duration = Duration::from_secs(10);

/// The memory of the frames of all connections.
#[derive(Debug, Default)]
pub(super) struct FrameMemory(Notify<FrameMemoryState>);

#[derive(Debug, Default)]
struct FrameMemoryState {
    next_ticket: u64,
    owner: UserFrames,
    foreign: UserFrames,
}

/// The frames of the daemon's owner, or those of other users.
#[derive(Debug, Default)]
struct UserFrames {
    granted: usize,
    /// The tickets of the connections that wait, in the order in which they have their turn.
    waiting: VecDeque<u64>,
}

impl FrameMemoryState {
    fn of(&mut self, is_owner: bool) -> &mut UserFrames {
        if is_owner { &mut self.owner } else { &mut self.foreign }
    }

    fn has_turn(&self, is_owner: bool, ticket: u64, bytes: usize) -> bool {
        let all = self.owner.granted.saturating_add(self.foreign.granted);
        let (waiting, left) = match is_owner {
            true => (&self.owner.waiting, MAX_FRAMES.saturating_sub(all)),
            false => (&self.foreign.waiting, (MAX_FRAMES - RESERVED).saturating_sub(self.foreign.granted)),
        };
        waiting.front() == Some(&ticket) && bytes <= left.min(MAX_FRAMES.saturating_sub(all))
    }

    /// Whether others wait for memory that a frame of this user holds.
    fn is_awaited(&self, is_owner: bool) -> bool {
        !self.owner.waiting.is_empty() || (!is_owner && !self.foreign.waiting.is_empty())
    }
}

/// The part of one connection in the memory of frames, given back when it is dropped.
#[derive(Debug)]
pub(super) struct FrameAllowance {
    memory: Arc<FrameMemory>,
    is_owner: bool,
    /// The place in the line, kept here so that a wait that is interrupted does not lose it.
    ticket: Option<u64>,
    granted: usize,
    since: Instant,
}

impl FrameAllowance {
    pub(super) fn new(memory: Arc<FrameMemory>, is_owner: bool) -> Self {
        FrameAllowance { memory, is_owner, ticket: None, granted: 0, since: Instant::now() }
    }

    pub(super) fn granted(&self) -> usize {
        self.granted
    }

    /// Waits for the memory of a frame, when none is granted. A dropped future keeps the place in the line.
    pub(super) async fn reserve(&mut self, bytes: usize) {
        let is_owner = self.is_owner;
        let ticket = *self.ticket.get_or_insert_with(|| {
            let mut state = self.memory.0.write();
            state.next_ticket = state.next_ticket.wrapping_add(1);
            let ticket = state.next_ticket;
            state.of(is_owner).waiting.push_back(ticket);
            ticket
        });
        loop {
            self.memory.0.when(|state| state.has_turn(is_owner, ticket, bytes).then_some(())).await;
            let mut state = self.memory.0.write();
            if state.has_turn(is_owner, ticket, bytes) {
                let frames = state.of(is_owner);
                frames.waiting.pop_front();
                frames.granted = frames.granted.saturating_add(bytes);
                drop(state);
                (self.ticket, self.granted, self.since) = (None, bytes, Instant::now());
                return;
            }
        }
    }

    /// Gives back the memory of a frame, or the place in the line.
    pub(super) fn release(&mut self) {
        let (ticket, granted) = (self.ticket.take(), std::mem::take(&mut self.granted));
        if ticket.is_none() && granted == 0 {
            return;
        }
        let mut state = self.memory.0.write();
        let frames = state.of(self.is_owner);
        frames.granted = frames.granted.saturating_sub(granted);
        frames.waiting.retain(|waiting| Some(*waiting) != ticket);
    }

    /// Lets the turn of the frame pass, for tests that do not wait for it.
    #[cfg(test)]
    pub(super) fn let_turn_pass(&mut self) {
        self.since = Instant::now().checked_sub(TURN).expect("the clock of the system has run for longer");
    }

    /// Waits until the frame has held its memory for longer than its turn and another one waits for it.
    pub(super) async fn overdue(&self) {
        if self.granted == 0 {
            return pending().await;
        }
        Timer::at(self.since + TURN).await;
        self.memory.0.when(|state| state.is_awaited(self.is_owner).then_some(())).await;
    }
}

impl Drop for FrameAllowance {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::executor::block_on;

    use super::*;

    fn allowance(memory: &Arc<FrameMemory>, is_owner: bool) -> FrameAllowance {
        FrameAllowance::new(memory.clone(), is_owner)
    }

    #[test]
    fn frames_have_their_turn_in_order_and_other_users_leave_one_to_the_owner() {
        let memory = Arc::<FrameMemory>::default();
        let mut foreign: Vec<_> = (0..4).map(|_| allowance(&memory, false)).collect();
        let granted: Vec<_> =
            foreign.iter_mut().map(|one| one.reserve(RESERVED).now_or_never().is_some()).collect();
        assert_eq!(granted, [true, true, false, false]);
        let mut small = allowance(&memory, false);
        assert!(small.reserve(1).now_or_never().is_none(), "a short frame does not overtake a long one");
        let mut owner = allowance(&memory, true);
        assert!(owner.reserve(RESERVED).now_or_never().is_some());
        foreign.remove(0);
        assert!(foreign[1].reserve(RESERVED).now_or_never().is_some());
        assert!(foreign[2].reserve(RESERVED).now_or_never().is_none());
        foreign.pop();
        assert!(small.reserve(1).now_or_never().is_some(), "a connection that ends leaves the line");
    }

    #[test]
    fn a_frame_is_overdue_only_while_others_wait() {
        let memory = Arc::<FrameMemory>::default();
        let mut holders: Vec<_> = (0..3).map(|_| allowance(&memory, true)).collect();
        for holder in &mut holders {
            block_on(holder.reserve(RESERVED));
            holder.let_turn_pass();
        }
        assert!(holders[0].overdue().now_or_never().is_none(), "none waits");
        let mut waiting = allowance(&memory, true);
        assert!(waiting.reserve(RESERVED).now_or_never().is_none());
        block_on(holders[0].overdue());
        holders.remove(0);
        block_on(waiting.reserve(RESERVED));
        assert!(holders[0].overdue().now_or_never().is_none());
        assert!(waiting.overdue().now_or_never().is_none());
    }
}
