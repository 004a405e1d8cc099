//! Handshakes, and how two of them meet.

use std::time::Duration;

use super::world::{World, standing};
use crate::address::Address;
use crate::session::{EndReason, SessionInput, SessionOutput, Standing};
use crate::types::Ends;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn one_round_trip_makes_a_session_and_no_item_leaves_before() {
    let mut world = World::new(2, 1);
    world.queue(0, 1, 0..3);
    assert!(world.run(Duration::from_millis(200), World::is_done));
    assert_eq!(world.nodes[1].arrived[&0], [0, 1, 2]);
    assert_eq!(world.nodes[0].ready, [(1, standing(1))]);
    assert_eq!(world.nodes[1].ready, [(0, standing(0))]);
    let kinds: Vec<_> = world.sent.iter().map(|flight| (flight.from, flight.is_part())).collect();
    assert_eq!(kinds[..4], [(0, true); 4], "the request");
    assert_eq!(kinds[4..7], [(1, true); 3], "the response");
    assert!(kinds[7..].iter().all(|(_, is_part)| !is_part));
    assert!(world.sent.iter().all(|flight| flight.payload.len() <= 446));
}

#[test]
fn no_address_of_the_sender_is_on_the_wire_and_nothing_links_the_two_directions() {
    let mut world = World::new(2, 1);
    world.queue(0, 1, 0..3);
    assert!(world.run(SECOND, World::is_done));
    for node in &world.nodes {
        let needle = node.address.as_bytes();
        assert!(!world.sent.iter().any(|flight| flight.payload.windows(32).any(|part| part == needle)));
    }
    let names =
        |from| {
            let all = world.sent.iter().filter(move |flight| flight.from == from);
            all.map(|flight| {
                if flight.is_part() { flight.payload[2..6].to_vec() } else { flight.payload[1..5].to_vec() }
            })
            .collect::<std::collections::BTreeSet<_>>()
        };
    assert!(names(0).is_disjoint(&names(1)), "{:?} {:?}", names(0), names(1));
}

#[test]
fn when_both_begin_at_once_the_session_of_the_lower_address_comes_and_all_items_arrive() {
    for apart in [0, 5, 19, 21, 39, 41, 59, 61] {
        for first in [0, 1] {
            let mut world = World::new(2, 3);
            world.queue(first, 1 - first, 0..5);
            world.pass(Duration::from_millis(apart));
            world.queue(1 - first, first, 0..5);
            assert!(world.run(SECOND, World::is_done), "{apart} ms apart, {first} first");
            world.pass(Duration::from_secs(20));
            let ready: Vec<_> = world.nodes.iter().map(|node| node.ready.len()).collect();
            assert_eq!(ready, [1, 1], "{apart} ms apart, {first} first");
            assert!(world.nodes.iter().all(|node| node.ended.is_empty()));
            let begins = |node: usize| {
                let pair = world.pair(node, 1 - node);
                world.nodes[node].sessions.is_initiator(&pair).unwrap()
            };
            assert_ne!(begins(0), begins(1));
            if apart < 20 {
                assert!(begins(0), "{apart} ms apart, {first} first");
            }
        }
    }
}

#[test]
fn two_ends_that_have_repeated_without_a_path_agree_on_one_session_as_soon_as_there_is_one() {
    for apart in [0, 5, 19, 21, 300] {
        for seconds in [3, 47, 120, 310] {
            let mut world = World::new(2, 11);
            world.filter = Box::new(|_, _| true);
            world.queue(0, 1, 0..5);
            world.pass(Duration::from_millis(apart));
            world.queue(1, 0, 0..5);
            world.pass(Duration::from_secs(seconds));
            world.filter = Box::new(|_, _| false);
            // Both repeat their requests at the same time, at most ten seconds from now.
            assert!(world.run(11 * SECOND, World::is_done), "{apart} ms apart, {seconds} s without a path");
            world.pass(Duration::from_secs(20));
            let ended: Vec<_> = world.nodes.iter().flat_map(|node| &node.ended).collect();
            assert!(ended.is_empty(), "{apart} ms apart, {seconds} s without a path: {ended:?}");
        }
    }
}

#[test]
fn every_single_loss_of_a_handshake_is_repaired() {
    for both in [false, true] {
        for lost in 0..18 {
            let mut world = World::new(2, 4);
            world.filter = Box::new(move |number, _| number == lost);
            world.queue(0, 1, 0..1);
            if both {
                world.queue(1, 0, 0..1);
            }
            assert!(world.run(Duration::from_secs(4), World::is_done), "packet {lost}, both: {both}");
        }
    }
}

#[test]
fn the_first_packet_of_an_initiator_without_items_is_repeated_until_it_arrives() {
    // The request has four parts and the response three, and then comes the confirm.
    for lost in [7, 8] {
        let mut world = World::new(2, 10);
        world.filter = Box::new(move |number, _| number == lost);
        let pair = world.pair(0, 1);
        world.input(0, SessionInput::Connect { pair, standing: standing(0) }).unwrap();
        world.pass(Duration::from_millis(30));
        // The responder has a request, and waits for the session of that.
        world.queue(1, 0, 0..1);
        assert!(world.run(SECOND, World::is_done), "packet {lost}");
        assert!(world.nodes.iter().all(|node| node.ready.len() == 1));
    }
}

#[test]
fn the_loss_of_everything_in_one_direction_for_a_while_is_repaired() {
    for direction in [0, 1] {
        for both in [false, true] {
            let mut world = World::new(2, 5);
            world.filter = Box::new(move |_, flight| flight.from == direction);
            world.queue(0, 1, 0..4);
            if both {
                world.queue(1, 0, 0..4);
            }
            world.pass(Duration::from_secs(13));
            assert!(!world.is_done());
            world.filter = Box::new(|_, _| false);
            assert!(world.run(Duration::from_secs(40), World::is_done), "{direction}, both: {both}");
        }
    }
}

#[test]
fn a_peer_that_is_away_for_long_is_asked_with_back_off() {
    let mut world = World::new(2, 6);
    world.filter = Box::new(|_, _| true);
    world.queue(0, 1, 0..1);
    world.pass(Duration::from_secs(3600));
    let requests = world.sent.len() / 4;
    assert!((350..380).contains(&requests), "{requests}");
    world.filter = Box::new(|_, _| false);
    assert!(world.run(Duration::from_secs(11), World::is_done));
}

#[test]
fn a_restarted_peer_has_a_session_again_soon_whichever_end_sends() {
    for sender in [0, 1] {
        for restarted in [0, 1] {
            let mut world = World::new(2, 7);
            world.queue(sender, 1 - sender, 0..1);
            assert!(world.run(SECOND, World::is_done));
            world.pass(Duration::from_secs(5));
            world.restart(restarted);
            world.queue(sender, 1 - sender, 1..3);
            assert!(
                world.run(Duration::from_secs(4), World::is_done),
                "{sender} sends, {restarted} restarted"
            );
        }
    }
}

#[test]
fn an_unusable_address_ends_an_attempt_at_once() {
    let mut world = World::new(2, 8);
    let pair = world.pair(0, 0);
    world.input(0, SessionInput::Connect { pair, standing: standing(0) }).unwrap();
    assert_eq!(world.nodes[0].ended, [(0, EndReason::Unusable)]);
    let local = world.nodes[0].address;
    for peer in [Address::from_bytes([0; 32]), Address::from_bytes([0xff; 32])] {
        let pair = Ends { local, peer };
        let sessions = &mut world.nodes[0].sessions;
        sessions.handle(world.now, SessionInput::Connect { pair, standing: standing(0) }).unwrap();
        let reason = EndReason::Unusable;
        assert_eq!(sessions.poll_output(), Some(SessionOutput::Ended { pair, reason }));
    }
    assert_eq!(world.nodes[0].sessions.load(), (0, 0, 0));
}

#[test]
fn a_refused_request_leaves_nothing_and_a_closed_conversation_neither() {
    let mut world = World::new(2, 9);
    world.queue(0, 1, 0..1);
    assert!(world.run(SECOND, World::is_done));
    let request: Vec<_> = world.sent.iter().filter(|one| one.is_part() && one.from == 0).cloned().collect();
    for (local, peer) in [(0, 1), (1, 0)] {
        let pair = world.pair(local, peer);
        world.input(local, SessionInput::Close { pair }).unwrap();
        assert_eq!(world.nodes[local].sessions.load(), (0, 0, 0));
        assert_eq!(world.nodes[local].sessions.next_deadline(), None);
    }
    // The closed end has forgotten the request, so it is asked once more.
    let (now, hop, pair) = (world.now, world.hop(0), world.pair(1, 0));
    let sessions = &mut world.nodes[1].sessions;
    for part in &request {
        let input = SessionInput::Part { local: pair.local, hop, payload: &part.payload };
        sessions.handle(now, input).unwrap();
    }
    let requested = SessionOutput::Requested { pair, standing: standing(0), hop };
    assert_eq!(sessions.poll_output(), Some(requested));
    sessions.handle(now, SessionInput::Refuse { pair }).unwrap();
    assert_eq!((sessions.poll_output(), sessions.load()), (None, (0, 0, 0)));
}

#[test]
fn a_seal_that_is_aborted_uses_no_counter_and_leaves_nothing() {
    let mut world = World::new(2, 1);
    world.queue(0, 1, 0..1);
    assert!(world.run(Duration::from_secs(5), World::is_done));
    let (pair, now) = (world.pair(0, 1), world.now);
    let mut seal = |is_written: bool| {
        let mut out = b"before".to_vec();
        let content = |out: &mut Vec<u8>| {
            out.extend_from_slice(b"\x01content");
            is_written
        };
        let sealed = world.nodes[0].sessions.seal(now, &pair, content, &mut out);
        assert_eq!(sealed, Ok(is_written));
        out
    };
    let counter = |out: &[u8]| crate::wire::session::read_session_header(&out[6..]).unwrap().1;
    let first = counter(&seal(true));
    assert_eq!(seal(false), b"before");
    assert_eq!(counter(&seal(true)), first + 1);
}

#[test]
fn a_request_that_waits_is_repeated_as_soon_as_there_is_a_route() {
    let mut world = World::new(2, 1);
    world.filter = Box::new(|_, _| true);
    world.queue(0, 1, 0..1);
    world.pass(Duration::from_secs(60));
    let pair = world.pair(0, 1);
    let found = |world: &mut World| {
        let sent = world.sent.len();
        world.input(0, SessionInput::RouteFound { pair }).unwrap();
        world.sent.len() - sent
    };
    world.filter = Box::new(|_, _| false);
    assert_eq!(found(&mut world), 4, "the parts are sent again");
    assert_eq!(found(&mut world), 0, "but not a moment after a transmission");
    assert!(world.run(Duration::from_millis(200), World::is_done));
}

#[test]
fn a_packet_names_the_session_and_the_incarnation_that_it_was_sealed_for() {
    let mut world = World::new(2, 1);
    world.queue(0, 1, 0..1);
    assert!(world.run(Duration::from_secs(5), World::is_done));
    let (pair, now) = (world.pair(0, 1), world.now);
    let mut late = Vec::new();
    let content = |out: &mut Vec<u8>| {
        out.push(1);
        true
    };
    assert_eq!(world.nodes[0].sessions.seal(now, &pair, content, &mut late), Ok(true));
    let before = world.nodes[1].sessions.current(&world.pair(1, 0)).unwrap();
    // The sender restarts with another incarnation.
    world.restart(0);
    let other = Standing { incarnation: 555, ..Standing::default() };
    world.input(0, SessionInput::Connect { pair, standing: other }).unwrap();
    world.pass(Duration::from_secs(1));
    let after = world.nodes[1].sessions.current(&world.pair(1, 0)).unwrap();
    assert_eq!((before.peer.incarnation, after.peer.incarnation), (standing(0).incarnation, 555));
    assert!(after.session > before.session);
    let (now, local) = (world.now, world.nodes[1].address);
    let opened = world.nodes[1].sessions.open(now, &local, &mut late).expect("the keys before still open");
    assert_eq!(opened.proved, before);
}

#[test]
fn a_responder_that_forgets_each_request_and_a_lost_part_keep_no_session_from_beginning() {
    let mut world = World::new(2, 12);
    let mut parts = 0;
    world.filter = Box::new(move |_, flight| {
        let is_first = flight.from == 1 && flight.is_part() && parts == 0;
        parts += usize::from(flight.from == 1 && flight.is_part());
        is_first
    });
    world.queue(0, 1, 0..1);
    let pair = world.pair(1, 0);
    for _ in 0..20 {
        world.pass(Duration::from_millis(200));
        if world.nodes[1].ready.is_empty() {
            world.input(1, SessionInput::Close { pair }).unwrap();
        }
    }
    assert!(world.is_done(), "{:?}", world.nodes[0].drops);
}
