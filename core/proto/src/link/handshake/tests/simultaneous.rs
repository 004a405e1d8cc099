//! Simultaneous dials of two nodes.

use super::*;

/// Tries every order of events: each frame in flight may arrive next; up to `faults` times one is lost or duplicated,
/// or a timer expires before any frame arrives.
fn every_order(
    faults: usize,
    channels: [u8; 2],
    confirm: bool,
    check: impl Fn(&mut Pair, &[usize]),
) -> usize {
    let mut script: Vec<usize> = Vec::new();
    let mut runs = 0;
    loop {
        runs += 1;
        let mut widths = Vec::new();
        let mut pair = Pair::new(5);
        pair.confirm = confirm;
        pair.dial(0, channels[0]);
        pair.dial(1, channels[1]);
        let mut faults = faults;
        let end = pair.now + Duration::from_secs(30);
        loop {
            let flying = pair.flying.len();
            if flying == 0 {
                if !pair.advance(end) {
                    break;
                }
                continue;
            }
            let width = if faults > 0 { 3 * flying + 1 } else { flying };
            let step = widths.len();
            if step == script.len() {
                script.push(0);
            }
            let choice = script[step];
            widths.push(width);
            script_step(&mut pair, choice, flying, &mut faults, end);
        }
        check(&mut pair, &script);
        // The next script follows as the digits of a counter do, so that each order is tried once.
        loop {
            let Some(last) = script.pop() else { return runs };
            if last + 1 < widths[script.len()] {
                script.push(last + 1);
                break;
            }
        }
    }
}

fn script_step(pair: &mut Pair, choice: usize, flying: usize, faults: &mut usize, end: Time) {
    if choice < flying {
        let frame = pair.flying.remove(choice);
        let _ = pair.deliver(frame);
        return;
    }
    *faults -= 1;
    match (choice - flying) / flying {
        0 => drop(pair.flying.remove(choice - flying)),
        1 => {
            let frame = pair.flying[choice - 2 * flying].clone();
            let _ = pair.deliver(frame);
        }
        _ => drop(pair.advance(end)),
    }
}

#[test]
fn in_every_order_both_sides_have_the_same_one_session() {
    for confirm in [false, true] {
        let runs = every_order(0, [0, 0], confirm, |pair, script| {
            assert_eq!(pair.counts(), (1, 1), "{script:?}");
            assert!(pair.agree(), "{script:?}");
            assert_eq!(pair.failed, [[], []], "{script:?}");
        });
        assert!(runs > 10, "{runs}");
    }
}

#[test]
fn in_every_order_over_two_paths_both_sides_have_the_same_one_session() {
    every_order(0, [0, 1], false, |pair, script| {
        assert!(pair.agree(), "{script:?}");
        assert_eq!(pair.counts().0, pair.counts().1, "{script:?}");
        assert!(pair.counts().0 <= 2, "{script:?}");
    });
}

#[test]
fn with_any_one_fault_both_sides_have_the_same_one_session() {
    let runs = every_order(1, [0, 0], true, |pair, script| {
        assert_eq!(pair.counts(), (1, 1), "{script:?}");
        assert!(pair.agree(), "{script:?}");
    });
    assert!(runs > 100, "{runs}");
}

#[test]
fn when_both_dial_at_the_same_moment_the_lower_address_wins() {
    for order in [[0, 1], [1, 0]] {
        let mut pair = Pair::new(5);
        for node in order {
            pair.dial(node, 0);
        }
        pair.run(30, |_| true);
        assert_eq!(pair.counts(), (1, 1));
        assert!(pair.sessions[0][0].initiator, "node 0 has the lower address");
        assert!(pair.agree());
    }
}

#[test]
fn a_finish_is_accepted_by_the_lower_address_unless_it_has_sent_one_of_its_own() {
    let mut pair = Pair::new(5);
    pair.dial(0, 0);
    pair.dial(1, 0);
    // The initiations of node 0 are lost.
    pair.run(20, |flying| !(flying.to == 1 && flying.frame[0] == INITIATION));
    assert_eq!(pair.counts(), (1, 1));
    assert!(pair.sessions[1][0].initiator && pair.agree());
    assert_eq!(pair.failed[0], [], "the dial ends in the session");

    // Now node 0 has sent its finish, and node 1 sends its own before that arrives.
    let mut pair = Pair::new(5);
    pair.dial(1, 0);
    let initiation = pair.flying.remove(0);
    pair.dial(0, 0);
    let [of_lower] = &pair.flying.clone()[..] else { panic!("one initiation") };
    pair.flying.clear();
    pair.deliver(of_lower.clone()).unwrap();
    let response = pair.flying.remove(0);
    pair.deliver(initiation).unwrap();
    pair.deliver(response).unwrap();
    pair.run(20, |_| true);
    assert_eq!(pair.counts(), (1, 1));
    assert!(pair.sessions[0][0].initiator && pair.agree());
}

#[test]
fn under_heavy_loss_and_reordering_both_sides_end_with_the_same_session() {
    let mut more = 0;
    for seed in 0..150u8 {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        let mut pair = Pair::new(seed);
        pair.confirm = seed % 2 == 0;
        pair.dial(0, 0);
        if seed % 3 != 0 {
            pair.dial(1, 0);
        }
        let end = pair.now + Duration::from_secs(30);
        loop {
            while !pair.flying.is_empty() {
                let at = rng.next_u32() as usize % pair.flying.len();
                match rng.next_u32() % 10 {
                    0..3 => drop(pair.flying.remove(at)),
                    3 => {
                        let frame = pair.flying[at].clone();
                        let _ = pair.deliver(frame);
                    }
                    4 => drop(pair.advance(end)),
                    _ => {
                        let frame = pair.flying.remove(at);
                        let _ = pair.deliver(frame);
                    }
                }
            }
            if !pair.advance(end) {
                break;
            }
        }
        let (first, second) = pair.counts();
        if first > 0 && second > 0 {
            assert!(pair.agree(), "seed {seed}: {first} and {second} sessions");
        } else {
            // All finishes were lost. The link of the one session ends by its liveness.
            assert!(first + second <= 1, "seed {seed}");
        }
        more += usize::from(first > 1 || second > 1);
    }
    assert!(more <= 3, "{more} of 150 needed a second session");
}

#[test]
fn a_dial_that_the_other_side_has_given_up_for_a_session_holds_no_later_finish_back() {
    let mut pair = Pair::new(5);
    pair.confirm = true;
    // The lower address dials over two paths and has its session over the second one.
    pair.dial(0, 0);
    pair.dial(0, 1);
    pair.flying.reverse();
    pair.settle(|_| true);
    assert_eq!(pair.counts(), (1, 1));
    // A moment later the second path is cut, and the other side dials over the first one.
    pair.now = pair.now + Duration::from_millis(200);
    let begun = pair.now;
    pair.dial(1, 0);
    pair.settle(|_| true);
    assert_eq!((pair.counts(), pair.now), ((2, 2), begun), "no time passes");
    assert!(pair.agree());
}

#[test]
fn a_dial_that_arrives_after_the_session_of_its_node_holds_no_later_finish_back() {
    let mut pair = Pair::new(5);
    pair.confirm = true;
    // The lower address dials over two paths and has its session over the second one. Its other initiation arrives only then,
    // and no finish follows its answer.
    pair.dial(0, 0);
    let late = pair.flying.remove(0);
    pair.dial(0, 1);
    pair.settle(|_| true);
    assert_eq!(pair.counts(), (1, 1));
    let in_use = |pair: &mut Pair, is_in_use: bool| {
        let session = &pair.sessions[1][0];
        let until = pair.now + Duration::from_millis(500);
        let run = is_in_use.then_some((session.peer_instance, until));
        pair.nodes[1].set_in_use(session.path.netmod, session.peer, run);
    };
    in_use(&mut pair, true);
    pair.deliver(late).unwrap();
    pair.settle(|_| true);
    assert_eq!(pair.counts(), (1, 1));
    // A moment later the second path is cut, and the other side dials over the first one.
    pair.now = pair.now + Duration::from_millis(200);
    in_use(&mut pair, false);
    let begun = pair.now;
    pair.dial(1, 0);
    pair.settle(|_| true);
    assert_eq!((pair.counts(), pair.now), ((2, 2), begun), "no time passes");
    assert!(pair.agree());
}
