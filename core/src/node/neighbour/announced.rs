//! The order in which subscribers learn of one link.
//!
//! A link may end, on one task, at the instant at which another task announces that it is up. So each turn of the link is
//! checked against what was announced before, and written for the subscribers, under one lock: they receive up and down in
//! turn, beginning with up, and nothing after the end.

use super::Neighbour;
use crate::node::state::{NodeState, lock};
use crate::types::Event;

/// The phase of a link that subscribers have been notified of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Announced {
    #[default]
    Nothing,
    Up,
    /// Down, while the session is kept.
    Cut,
    /// Nothing follows.
    Ended,
}

/// A turn of a link that subscribers learn of, if they do not know it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Up,
    Cut,
    Ended,
}

impl Announced {
    /// Takes a turn. Returns whether subscribers have to learn of it.
    fn turn(&mut self, turn: Turn) -> bool {
        let before = *self;
        let (after, news) = match (before, turn) {
            (Announced::Ended, _) => (Announced::Ended, false),
            (_, Turn::Ended) => (Announced::Ended, before == Announced::Up),
            (_, Turn::Up) => (Announced::Up, before != Announced::Up),
            (Announced::Up, Turn::Cut) => (Announced::Cut, true),
            (_, Turn::Cut) => (before, false),
        };
        *self = after;
        news
    }
}

impl Neighbour {
    /// Publishes `event`, which reports `turn`, unless the subscribers know that the link stands so, or has ended.
    pub(super) fn announce(&self, shared: &NodeState, turn: Turn, event: Event) {
        let written = {
            let mut announced = lock(&self.announced);
            if !announced.turn(turn) {
                return;
            }
            shared.event_bus.write(&shared.stats, event)
        };
        written.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNS: [Turn; 3] = [Turn::Up, Turn::Cut, Turn::Ended];

    #[test]
    fn in_whichever_order_the_turns_of_a_link_come_up_and_down_are_announced_in_turn_and_nothing_after_the_end()
     {
        // All sequences of six turns.
        for mut number in 0..3_usize.pow(6) {
            let (mut announced, mut up, mut ended) = (Announced::default(), false, false);
            for _ in 0..6 {
                let turn = TURNS[number % 3];
                number /= 3;
                if announced.turn(turn) {
                    assert_eq!(up, turn != Turn::Up, "subscribers know that");
                    assert!(!ended, "it follows the end");
                    up = !up;
                }
                ended |= turn == Turn::Ended;
                assert!(!(ended && up), "the end was not announced");
            }
        }
    }
}
