//! Rekeying, the handshake of every hour, worn keys, and idle sessions.

use std::time::Duration;

use super::world::World;
use crate::link::{REJECT_AFTER_FRAMES, REKEY_AFTER_FRAMES};
use crate::session::EndReason;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Two nodes with a session, and an item a second in each direction.
fn talking(world: &mut World, seconds: u64, from: u64) {
    for second in from..from + seconds {
        world.queue(0, 1, second..second + 1);
        world.queue(1, 0, second..second + 1);
        world.pass(SECOND);
    }
}

fn generation(world: &World, node: usize) -> u32 {
    world.nodes[node].sessions.generation(&world.pair(node, 1 - node)).unwrap()
}

#[test]
fn keys_in_use_are_replaced_every_two_minutes_and_nothing_is_lost() {
    let mut world = World::new(2, 1);
    talking(&mut world, 119, 0);
    assert_eq!(generation(&world, 0), 0);
    talking(&mut world, 3, 119);
    assert_eq!((generation(&world, 0), generation(&world, 1)), (1, 1));
    let sent = world.sent.len();
    talking(&mut world, 370, 122);
    assert_eq!((generation(&world, 0), generation(&world, 1)), (4, 4));
    assert!(world.is_done());
    assert!(world.nodes.iter().all(|node| node.drops.is_empty() && node.ready.len() == 1));
    assert!(world.sent[sent..].iter().all(|flight| !flight.is_part()));
}

#[test]
fn every_single_loss_of_a_rekeying_in_either_direction_is_repaired() {
    // The rekeying begins with the first packet after 120 s.
    for lost in 0..16 {
        let mut world = World::new(2, 2);
        talking(&mut world, 119, 0);
        let first = world.sent.len() + lost;
        world.filter = Box::new(move |number, _| number == first);
        talking(&mut world, 6, 119);
        assert_eq!((generation(&world, 0), generation(&world, 1)), (1, 1), "packet {lost}");
        assert!(world.run(SECOND, World::is_done), "packet {lost}");
        assert!(
            world.nodes.iter().all(|node| node.ended.is_empty() && node.ready.len() == 1),
            "packet {lost}"
        );
    }
}

#[test]
fn a_rekeying_of_which_one_direction_is_lost_for_seconds_is_repaired() {
    for direction in [0, 1] {
        let mut world = World::new(2, 3);
        talking(&mut world, 119, 0);
        world.filter = Box::new(move |_, flight| flight.from == direction);
        talking(&mut world, 5, 119);
        world.filter = Box::new(|_, _| false);
        talking(&mut world, 20, 124);
        assert!(world.run(SECOND, World::is_done), "{direction}");
        assert_eq!(generation(&world, 0), generation(&world, 1));
    }
}

#[test]
fn keys_that_are_not_used_are_not_replaced_and_an_idle_session_is_evicted() {
    let mut world = World::new(2, 4);
    world.queue(0, 1, 0..1);
    assert!(world.run(SECOND, World::is_done));
    let sent = world.sent.len();
    world.pass(4 * MINUTE);
    assert!(world.sent.len() - sent <= 4, "one rekeying, of the keys that carried the item");
    world.pass(5 * MINUTE);
    for node in &world.nodes {
        assert_eq!(node.sessions.load(), (0, 0, 0));
        assert_eq!(node.sessions.next_deadline(), None);
        assert_eq!(node.ended.len(), 1);
        assert_eq!(node.ended[0].1, EndReason::Idle);
    }
    world.queue(1, 0, 0..1);
    assert!(world.run(SECOND, World::is_done), "the next item begins another session");
}

#[test]
fn a_session_is_hybrid_again_every_hour_beside_its_traffic() {
    let mut world = World::new(2, 5);
    talking(&mut world, 3590, 0);
    assert!(world.nodes.iter().all(|node| node.ready.len() == 1));
    talking(&mut world, 15, 3590);
    assert!(world.nodes.iter().all(|node| node.ready.len() == 2), "there was another handshake");
    assert!(generation(&world, 0) == 0 && generation(&world, 1) == 0);
    assert!(world.run(SECOND, World::is_done));
    assert!(world.nodes.iter().all(|node| node.drops.is_empty() && node.ended.is_empty()));
}

#[test]
fn keys_that_have_sealed_2_28_packets_are_replaced_at_once() {
    for node in [0, 1] {
        let mut world = World::new(2, 6);
        talking(&mut world, 2, 0);
        let pair = world.pair(node, 1 - node);
        world.nodes[node].sessions.skip_counters(&pair, REKEY_AFTER_FRAMES);
        talking(&mut world, 2, 2);
        assert_eq!((generation(&world, 0), generation(&world, 1)), (1, 1), "sealed by {node}");
        assert!(world.run(SECOND, World::is_done));
    }
}

#[test]
fn a_used_up_key_ends_the_session_and_what_waits_begins_another() {
    let mut world = World::new(2, 7);
    talking(&mut world, 2, 0);
    let pair = world.pair(0, 1);
    world.nodes[0].sessions.skip_counters(&pair, REJECT_AFTER_FRAMES);
    world.queue(0, 1, 2..4);
    assert!(world.run(Duration::from_secs(2), World::is_done));
    assert_eq!(world.nodes[0].ended, [(1, EndReason::Exhausted)]);
    assert_eq!(world.nodes[0].ready.len(), 2);
}
