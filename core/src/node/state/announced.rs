//! The order in which subscribers learn of links.
//!
//! A link may end, on one task, at the instant at which another task announces that it is up, and its successor may be up
//! before its end is announced. So each turn of a link is checked against what was announced before, and written for the
//! subscribers, under one lock. They receive up and down of each link in turn, beginning with up, and nothing after the
//! end; and of two links with one neighbour over one medium they learn of the end of the first before they learn that the
//! second is up. The last event therefore shows whether there is a link.

use std::collections::HashMap;

use crate::address::Address;
use crate::link::DownReason;
use crate::types::Event;

/// The phase of a link that subscribers have been notified of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Announced {
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
pub(crate) enum Turn<'a> {
    Up,
    /// The neighbour has another endpoint.
    Moved,
    /// Its path is cut, and its session is kept for a while.
    Cut,
    /// The link has ended for this reason.
    Ended(&'a str),
}

/// The links that are up for the subscribers, by medium and neighbour.
#[derive(Debug, Default)]
pub(crate) struct LinksUp(HashMap<(u32, Address), LinkUp>);

/// A link that is up for the subscribers.
#[derive(Debug)]
pub(crate) struct LinkUp {
    pub(crate) id: u32,
    pub(crate) endpoint: String,
}

impl Announced {
    /// Takes a turn. Returns whether subscribers have to learn of it.
    pub(crate) fn turn(&mut self, turn: Turn<'_>) -> bool {
        let before = *self;
        let (after, news) = match (before, turn) {
            (Announced::Ended, _) => (Announced::Ended, false),
            (_, Turn::Ended(_)) => (Announced::Ended, before == Announced::Up),
            (_, Turn::Up) => (Announced::Up, before != Announced::Up),
            (_, Turn::Moved) => (before, before == Announced::Up),
            (Announced::Up, Turn::Cut) => (Announced::Cut, true),
            (_, Turn::Cut) => (before, false),
        };
        *self = after;
        news
    }
}

impl LinksUp {
    /// Records a turn of the link with this id to a neighbour over a medium. Returns the events for the subscribers.
    pub(crate) fn turn(
        &mut self,
        turn: Turn<'_>,
        (medium, address): (u32, Address),
        link: LinkUp,
    ) -> Vec<Event> {
        let endpoint = link.endpoint.clone();
        let down =
            |endpoint, reason: &str| Event::NeighbourDown { address, endpoint, reason: reason.to_owned() };
        let known = self.0.get(&(medium, address)).map(|known| known.id);
        // Ids ascend, so that a higher one is that of a successor: for the subscribers, its link is the only one.
        if known.is_some_and(|known| known > link.id) || (turn != Turn::Up && known != Some(link.id)) {
            return Vec::new();
        }
        match turn {
            Turn::Up => {
                let former = self.0.insert((medium, address), link);
                let end = former.map(|former| down(former.endpoint, "replaced by a new session"));
                end.into_iter().chain([Event::NeighbourUp { address, endpoint }]).collect()
            }
            Turn::Moved => {
                self.0.insert((medium, address), link);
                vec![Event::NeighbourMoved { address, endpoint }]
            }
            Turn::Cut | Turn::Ended(_) => {
                self.0.remove(&(medium, address));
                let cut = DownReason::Cut.to_string();
                vec![down(endpoint, if let Turn::Ended(reason) = turn { reason } else { &cut })]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    const TURNS: [Turn<'static>; 4] = [Turn::Up, Turn::Moved, Turn::Cut, Turn::Ended("a test")];

    #[test]
    fn in_whichever_order_the_turns_of_a_link_come_up_and_down_are_announced_in_turn_and_nothing_after_the_end()
     {
        // All sequences of six turns.
        for mut number in 0..4_usize.pow(6) {
            let (mut announced, mut up, mut ended) = (Announced::default(), false, false);
            for _ in 0..6 {
                let turn = TURNS[number % 4];
                number /= 4;
                if announced.turn(turn) {
                    assert_eq!(up, turn != Turn::Up, "subscribers know that");
                    assert!(!ended, "it follows the end");
                    up = if turn == Turn::Moved { up } else { !up };
                }
                ended |= matches!(turn, Turn::Ended(_));
                assert!(!(ended && up), "the end was not announced");
            }
        }
    }

    #[test]
    fn in_whichever_order_the_turns_of_successive_links_come_the_last_event_shows_whether_there_is_a_link() {
        let address = Identity::from_seed(&[1; 32]).address();
        // All sequences of five turns of three links, and then the end of each.
        for number in 0..12_usize.pow(5) {
            let turns =
                (0..5).map(|at| number / 12_usize.pow(at) % 12).map(|turn| (turn / 4, TURNS[turn % 4]));
            let (mut announced, mut links) = ([Announced::default(); 3], LinksUp::default());
            let (mut up, mut newest) = (None, None);
            for (id, turn) in turns.chain([0, 1, 2].map(|id| (id, Turn::Ended("a test")))) {
                if !announced[id].turn(turn) {
                    continue;
                }
                newest = newest.max((turn == Turn::Up).then_some(id));
                let link = LinkUp { id: id as u32, endpoint: id.to_string() };
                for event in links.turn(turn, (0, address), link) {
                    up = match event {
                        Event::NeighbourUp { endpoint, .. } => {
                            assert_eq!(up, None, "the end of the former link comes first");
                            Some(endpoint)
                        }
                        Event::NeighbourMoved { endpoint, .. } => Some(endpoint).filter(|_| up.is_some()),
                        Event::NeighbourDown { endpoint, .. } => {
                            assert_eq!(up, Some(endpoint), "that link is not up");
                            None
                        }
                        other => panic!("{other:?}"),
                    };
                }
                let of_newest = newest.filter(|id| announced[*id] == Announced::Up);
                assert!(of_newest.is_none_or(|id| up == Some(id.to_string())), "{up:?}, {announced:?}");
            }
            assert_eq!(up, None, "all links have ended");
        }
    }
}
