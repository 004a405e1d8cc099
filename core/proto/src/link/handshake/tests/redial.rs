//! Repeated dials, concurrent dials, and session indices.

use super::*;

#[test]
fn a_confirmed_session_that_was_lost_is_replaced_by_a_new_dial_at_once() {
    for dialler in [0, 1] {
        let mut pair = Pair::new(1);
        pair.confirm = true;
        pair.dial(0, 0);
        pair.run(0, |_| true);
        pair.now = pair.now + Duration::from_millis(100);
        pair.dial(dialler, 0);
        pair.run(0, |_| true);
        assert_eq!(pair.counts(), (2, 2), "dialled by {dialler}");
        assert!(pair.agree());
    }
}

#[test]
fn two_dials_of_one_neighbour_over_two_paths_give_one_session() {
    let mut pair = Pair::new(1);
    pair.dial(0, 0);
    pair.dial(0, 1);
    pair.run(1, |_| true);
    assert_eq!(pair.counts(), (1, 1));
    assert!(pair.agree());
    assert_eq!(pair.failed[0], [(path(1, 1), DialError::Duplicate(identity(1).address()))]);
}

#[test]
fn indices_do_not_repeat() {
    let mut indices = Indices::new(&mut ChaCha20Rng::from_seed([1; 32]));
    let drawn: std::collections::BTreeSet<u32> = (0..10_000).map(|_| indices.draw()).collect();
    assert_eq!(drawn.len(), 10_000);
    assert!(
        drawn.iter().filter(|index| **index < 1 << 31).count().abs_diff(5_000) < 300,
        "indices are spread evenly"
    );
}

#[test]
fn handshakes_and_sessions_can_be_moved_to_another_thread() {
    fn check<T: Send + 'static>() {}
    check::<Handshakes>();
    check::<Session>();
}

#[test]
fn a_dial_that_is_answered_finds_room_among_dials_without_an_answer() {
    let config = LinkConfig { max_dials: 4, ..open() };
    let mut pair = Pair::with([config, open()], 1);
    let flood = |pair: &mut Pair, channels: std::ops::Range<u8>| {
        channels.for_each(|channel| pair.dial(0, channel));
        pair.flying.clear();
    };
    flood(&mut pair, 10..11);
    pair.now = pair.now + Duration::from_millis(900);
    flood(&mut pair, 11..14);
    pair.dial(0, 0);
    assert_eq!(pair.failed[0], [(path(1, 0), DialError::TooMany)], "each dial has a second for its answer");
    pair.now = pair.now + Duration::from_millis(100);
    pair.failed = Default::default();
    pair.dial(0, 0);
    assert_eq!(pair.failed[0], [(path(1, 10), DialError::Timeout)], "the oldest dial ends");
    assert_eq!(pair.nodes[0].under_way().0, 4);
    pair.run(1, |_| true);
    assert_eq!(pair.counts(), (1, 1));
}
