//! Next hops that swallow packets: avoided, given another chance, and never the cause of a loop.

use std::time::Duration;

use super::desk::{Desk, address};
use super::net::{assert_reachable, ms, pick, seeded, settled};
use crate::sim::topology;
use crate::types::RouteState;

const SEQ: u64 = 5 << 32;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Two ways to 7: at 80 over the first neighbour and at 200 over the second; the third is told.
fn two_ways() -> Desk {
    let mut desk = Desk::new(3);
    // The second is as near to the destination, behind a dear link: so it is feasible.
    desk.router.neighbour_cost(desk.now, 2, 160);
    for number in [7, 8] {
        desk.announce(1, number, SEQ, 40, 1).unwrap();
        desk.announce(2, number, SEQ, 40, 1).unwrap();
    }
    desk.wait(secs(3));
    assert_eq!(desk.fib[&address(7)].alternate, Some(2));
    desk
}

impl Desk {
    fn score(&mut self, number: usize, over: u32, delivered: u32, lost: u32) {
        self.router.score(self.now, &address(number), over, delivered, lost);
        self.take();
    }

    fn state(&self, number: usize, over: u32) -> (RouteState, u16) {
        let routes = self.router.routes(self.now);
        let found = routes
            .iter()
            .find(|route| route.destination == address(number) && route.neighbour == over)
            .unwrap();
        (found.state, found.metric)
    }
}

#[test]
fn a_next_hop_that_loses_more_than_half_gives_way_at_once_and_for_that_destination_only() {
    let mut desk = two_ways();
    desk.score(7, 1, 8, 8);
    assert_eq!(desk.next(7), Some(1), "half is not less than half");
    desk.score(7, 1, 0, 1);
    assert_eq!((desk.next(7), desk.next(8)), (Some(2), Some(1)));
    assert_eq!(desk.state(7, 1), (RouteState::Avoided, 320));
    assert_eq!(desk.state(7, 2), (RouteState::Active, 200));
}

#[test]
fn it_gets_another_chance_and_the_next_time_waits_twice_as_long() {
    let mut desk = two_ways();
    desk.score(7, 1, 0, 16);
    desk.wait(secs(59));
    assert_eq!(desk.next(7), Some(2));
    desk.wait(secs(4));
    assert_eq!(desk.next(7), Some(1), "a minute, and two seconds as for any better route");
    desk.score(7, 1, 0, 16);
    assert_eq!(desk.next(7), Some(2));
    desk.wait(secs(119));
    assert_eq!(desk.next(7), Some(2));
    desk.wait(secs(4));
    assert_eq!(desk.next(7), Some(1));
}

#[test]
fn the_only_way_is_used_however_lossy_and_what_is_told_of_it_is_what_it_costs() {
    let mut desk = Desk::new(2);
    desk.announce(1, 7, SEQ, 40, 1).unwrap();
    desk.wait(secs(1));
    desk.sent.clear();
    desk.events.clear();
    for _ in 0..50 {
        desk.score(7, 1, 1, 3);
        desk.wait(secs(1));
    }
    assert_eq!((desk.next(7), desk.fib[&address(7)].metric), (Some(1), 80));
    assert_eq!(desk.state(7, 1).0, RouteState::Active);
    assert_eq!(desk.sent, [], "an opinion is nobody else's business");
    assert_eq!(desk.events, []);
    desk.score(7, 1, 16, 0);
    assert_eq!(desk.state(7, 1), (RouteState::Active, 80), "when it bears again it is as good as before");
}

#[test]
fn of_two_ways_that_both_lose_neither_is_left_more_than_a_few_times() {
    let mut desk = two_ways();
    desk.events.clear();
    for _ in 0..600 {
        let over = desk.next(7).unwrap();
        desk.score(7, over, 1, 3);
        desk.wait(secs(1));
    }
    let switches = desk
        .events
        .iter()
        .filter(|event| matches!(event, crate::route::RouterOutput::Changed { .. }))
        .count();
    assert!(switches <= 60, "{switches} switches in ten minutes");
}

#[test]
fn a_route_that_might_loop_is_not_used_for_all_that() {
    let mut desk = Desk::new(3);
    desk.announce(1, 7, SEQ, 40, 1).unwrap();
    desk.wait(secs(1));
    desk.announce(2, 7, SEQ, 100, 2).unwrap();
    desk.sent.clear();
    desk.score(7, 1, 0, 16);
    assert_eq!(desk.next(7), Some(1));
    // But a newer seq is asked for at once, with which it would not loop.
    desk.wait(ms(1));
    let asks = |record: &_| matches!(record, crate::wire::route::Record::SeqnoRequest(_));
    assert!(desk.heard(2).iter().any(asks));
    desk.announce(2, 7, SEQ + 1, 100, 2).unwrap();
    assert_eq!(desk.next(7), Some(2));
}

#[test]
fn what_a_failing_link_loses_is_not_its_neighbours_fault_and_scores_are_bounded() {
    let mut desk = two_ways();
    desk.score(7, 1, 0, 16);
    desk.router.neighbour_suspect(desk.now, 1, true);
    desk.router.neighbour_suspect(desk.now, 1, false);
    desk.take();
    assert_eq!(desk.state(7, 1).1, 80);
    // A link that is made anew does not clear what is older than that.
    desk.score(7, 1, 0, 16);
    desk.wait(secs(5));
    desk.router.neighbour_down(desk.now, 1);
    desk.router.neighbour_up(desk.now, 9, address(901), 40, 1400, true);
    desk.take();
    desk.announce(9, 7, SEQ + 2, 40, 1).unwrap();
    desk.announce(2, 7, SEQ + 2, 40, 1).unwrap();
    desk.wait(secs(3));
    assert_eq!(desk.next(7), Some(2));
    // The last hop is the destination itself.
    desk.announce(3, 903, SEQ, 0, 0).unwrap();
    desk.score(903, 3, 0, 16);
    assert_eq!(desk.state(903, 3), (RouteState::Active, 40));
    let memory = desk.router.scores.len();
    for number in 10_000..12_000 {
        desk.router.score(desk.now, &crate::address::Address::from_bytes([number as u8; 32]), 2, 0, 1);
        let mut bytes = [3; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
        desk.router.score(desk.now, &crate::address::Address::from_bytes(bytes), 2, 0, 16);
    }
    assert!(memory < 10 && desk.router.scores.len() <= 1024);
    desk.wait(secs(3600));
    assert!(desk.router.scores.is_empty());
}

#[test]
fn whatever_is_thought_of_next_hops_nothing_loops() {
    for seed in 0..6 {
        let mut random = seeded(seed + 70);
        let links = topology::geometric(25, 4.0, &mut random).links;
        let mut net = settled(25, &links, seed);
        net.reach.thorough = true;
        for _ in 0..200 {
            let node = pick(&mut random, 25);
            let to = net.addresses[pick(&mut random, 25)];
            let over: Vec<_> = net.neighbours_of(node);
            let over = over[pick(&mut random, over.len())];
            net.with(node, |router, now| router.score(now, &to, over, 0, 16));
            if pick(&mut random, 4) == 0 {
                let link = pick(&mut random, links.len());
                net.set_cost(link, 32 + u16::try_from(pick(&mut random, 900)).unwrap());
            }
            net.run(ms(100));
        }
        assert_reachable(&mut net);
        assert_eq!(net.drops(), 0);
    }
}
