//! Dialling again, and more than once.

use super::*;

#[test]
fn a_link_that_was_lost_is_dialled_again_at_once_when_it_had_been_heard_of() {
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
    assert_eq!(pair.failed[0], [(path(1, 1), DialError::Duplicate)]);
}

#[test]
fn indices_do_not_repeat() {
    let mut indices = Indices::new(&mut ChaCha20Rng::from_seed([1; 32]));
    let drawn: std::collections::BTreeSet<u32> = (0..10_000).map(|_| indices.draw()).collect();
    assert_eq!(drawn.len(), 10_000);
    assert!(drawn.iter().filter(|index| **index < 1 << 31).count().abs_diff(5_000) < 300, "spread out");
}

#[test]
fn it_can_be_moved_to_another_thread() {
    fn check<T: Send + 'static>() {}
    check::<Handshakes>();
    check::<Session>();
}
