//! The senders that wait for one conversation.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Wake, Waker};

use futures::FutureExt;

use super::memory_budget::tests::{address, shared};
use crate::identity::Identity;
use crate::node::state::conversation::ConversationEntry;
use crate::node::state::send_line::Room;
use crate::node::state::send_turn::SendTurn;

fn entry() -> Arc<ConversationEntry> {
    let shared = shared();
    let local = Identity::from_seed(&[1; 32]).address();
    shared.conversations.open(&shared, &local, &address(1)).unwrap()
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_sender_goes_on_when_all_that_came_before_have_gone_on_or_given_up() {
    let entry = entry();
    assert!(entry.may_send(Room::Memory, None));
    let [first, second, third] = [(); 3].map(|()| entry.join(Room::Memory));
    assert!(!entry.may_send(Room::Memory, None), "a new sender overtakes none that waits");
    assert!(entry.may_send(Room::Journal, None), "another kind of room has another line");
    let is_first = |turn: &SendTurn| turn.first().now_or_never().is_some();
    assert!(is_first(&first) && !is_first(&second) && !is_first(&third));
    drop(second);
    assert!(!is_first(&third), "one that gives up lets no later one overtake those before it");
    drop(first);
    assert!(is_first(&third) && entry.may_send(Room::Memory, Some(&third)));
    drop(third);
    assert!(entry.may_send(Room::Memory, None));
}

#[test]
fn a_turn_that_ends_wakes_the_next_one_alone() {
    let entry = entry();
    let turns = [(); 3].map(|()| entry.join(Room::Memory));
    let wakes = [(); 2].map(|()| Arc::<Wakes>::default());
    for (turn, wakes) in turns.iter().skip(1).zip(&wakes) {
        let waker = Waker::from(wakes.clone());
        assert!(Box::pin(turn.first()).as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let [first, rest @ ..] = turns;
    drop(first);
    assert_eq!(wakes.map(|wakes| wakes.0.load(SeqCst)), [1, 0]);
    drop(rest);
}
