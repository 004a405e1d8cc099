//! Renewal of the keys of a link that stays up.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::*;
use crate::identity::{Identity, x25519_public};
use crate::link::keys::{REJECT_AFTER_FRAMES, REKEY_AFTER_FRAMES};
use crate::link::noise::StaticKeys;
use crate::wire::link::{HEADER_LEN, REKEY_LEN, Rekey};

/// More than the life of the keys and its random addition.
const ROUND: Duration = Duration::from_secs(135);

fn renewal(node: u8, chain: u8) -> Renewal {
    let identities = [Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32])];
    let keys = Arc::new(StaticKeys::new(&identities[usize::from(node)], None));
    let remote = x25519_public(&identities[usize::from(1 - node)].address()).unwrap();
    Renewal::new(keys, remote, Suite::ChaCha20Poly1305, node == 0, Zeroizing::new([chain; 32]))
}

/// A pair that renews its keys; node 0 began the session.
fn renewing(seed: u8, wire: Wire) -> Pair {
    let mut pair = Pair::new(seed, wire);
    let now = pair.now;
    for node in 0..2 {
        pair.links[node].renewal = Some(renewal(node as u8, 9));
        let Link { renewal, rng, .. } = &mut pair.links[node];
        renewal.as_mut().unwrap().start_key_life(now, rng);
    }
    pair
}

fn generations(pair: &Pair) -> [u32; 2] {
    [0, 1].map(|node| pair.links[node].opener.generation())
}

/// The next `rekey` of a node, which is not sent.
fn rekey_of(pair: &mut Pair, node: usize) -> Vec<u8> {
    let due = pair.links[node].renewal.as_ref().and_then(Renewal::deadline).unwrap();
    pair.run(due.since(pair.now).saturating_sub(Duration::from_micros(1)));
    pair.now = due;
    pair.links[node].handle_timeout(due);
    loop {
        match pair.links[node].poll_output(due) {
            Some(LinkOutput::Transmit(plaintext)) if plaintext[0] == KIND_REKEY => return plaintext,
            Some(_) => {}
            None => panic!("no rekey was due"),
        }
    }
}

#[test]
fn an_idle_link_has_its_keys_replaced_every_two_minutes() {
    let mut pair = renewing(1, Wire::good(ms(2)));
    pair.run(Duration::from_secs(119));
    assert_eq!(pair.rekeyed, [0, 0]);
    pair.run(Duration::from_secs(14));
    assert_eq!(pair.rekeyed, [1, 1]);
    assert_eq!(generations(&pair), [1, 1]);
    pair.run(Duration::from_secs(3600));
    let [first, second] = pair.rekeyed;
    assert!(first == second && (27..=31).contains(&first), "{first} times in an hour");
    assert_eq!(
        (pair.states.clone(), pair.drops.clone()),
        (<[Vec<_>; 2]>::default(), <[Vec<_>; 2]>::default())
    );
}

#[test]
fn keys_are_replaced_despite_loss_and_reordering_without_a_frame_that_cannot_be_opened() {
    for seed in 0..10 {
        let bad = Wire { delay: ms(2), jitter: ms(30), loss: 30, duplicates: 30, ..Wire::good(ms(2)) };
        let mut pair = renewing(seed, bad);
        for _ in 0..5 {
            pair.run(ROUND - Duration::from_secs(20));
            pair.traffic(0, ms(5), Duration::from_secs(10));
            pair.traffic(1, ms(5), Duration::from_secs(10));
        }
        let [first, second] = generations(&pair);
        assert!(first >= 4 && first.abs_diff(second) <= 1, "seed {seed}: {first} and {second}");
        let odd = |cause: &DropCause| !matches!(cause, DropCause::Duplicate | DropCause::Replay);
        assert!(!pair.drops.iter().flatten().any(odd), "seed {seed}: {:?}", pair.drops);
        pair.wires = [Wire::good(ms(2)); 2];
        pair.run(Duration::from_secs(20));
        let before = pair.packets;
        pair.packet(0);
        pair.packet(1);
        pair.run(ms(10));
        assert_eq!(pair.packets, [before[0] + 1, before[1] + 1], "both ends agree");
    }
}

#[test]
fn a_perfect_path_loses_nothing_while_keys_are_replaced() {
    let mut pair = renewing(3, Wire { jitter: ms(9), ..Wire::good(ms(10)) });
    pair.run(Duration::from_secs(115));
    for _ in 0..2000 {
        pair.packet(0);
        pair.packet(1);
        pair.run(ms(10));
    }
    pair.run(ms(100));
    assert_eq!((pair.packets, generations(&pair)), ([2000, 2000], [1, 1]));
    assert_eq!(pair.drops, [[], []]);
    for link in &pair.links {
        assert!(link.metrics().loss < 0.01, "the counters continue");
    }
}

#[test]
fn a_lost_answer_is_requested_again_and_the_responder_waits_with_the_new_key() {
    let mut pair = renewing(2, Wire::good(ms(2)));
    pair.run(Duration::from_secs(100));
    let [there, back] = pair.wires;
    pair.wires[1].loss = 100;
    // Node 0 must not give up node 1 meanwhile, because only the renewal is tested.
    while !pair.transmitted[0].contains(&KIND_REKEY) {
        pair.links[0].liveness.on_frame(pair.now);
        pair.run(ms(100));
    }
    pair.links[0].liveness.on_frame(pair.now);
    pair.run(ms(300));
    assert_eq!(pair.rekeyed, [0, 0], "no side seals with a key that the other may not have");
    pair.packet(1);
    pair.wires = [there, back];
    pair.run(Duration::from_secs(3));
    assert_eq!((pair.rekeyed, generations(&pair)), ([1, 1], [1, 1]));
    let asked = pair.transmitted[0].iter().filter(|kind| **kind == KIND_REKEY).count();
    assert!((2..=6).contains(&asked), "{asked}");
}

#[test]
fn the_old_key_opens_nothing_after_ten_seconds_even_on_an_idle_link() {
    let mut pair = renewing(4, Wire::good(ms(2)));
    pair.run(Duration::from_secs(115));
    let mut old = Vec::new();
    while pair.rekeyed != [1, 1] {
        let mut frame = Vec::new();
        pair.sealers[0].seal(|out| out.extend_from_slice(&[KIND_PACKET; 200]), &mut frame).unwrap();
        old.push(frame);
        pair.run(ms(50));
    }
    assert!(old.iter().all(|frame| frame[1] == 0));
    pair.run(Duration::from_secs(9));
    pair.deliver(1, old.pop().unwrap());
    assert_eq!(pair.packets[1], 1, "a frame that was delayed for nine seconds is opened");
    pair.run(Duration::from_secs(2));
    pair.deliver(1, old.pop().unwrap());
    assert_eq!((pair.packets[1], pair.drops[1].last()), (1, Some(&DropCause::BadSeal)));
}

#[test]
fn replayed_frames_of_an_old_generation_are_refused() {
    let mut pair = renewing(5, Wire::good(ms(1)));
    let mut taken = Vec::new();
    while pair.rekeyed != [1, 1] {
        let mut frame = Vec::new();
        pair.sealers[0].seal(|out| out.extend_from_slice(&[KIND_PACKET; 200]), &mut frame).unwrap();
        taken.push(frame.clone());
        pair.fly(0, frame);
        pair.run(ms(500));
    }
    let before = pair.packets[1];
    for after in [1, 20] {
        for frame in taken.clone() {
            pair.deliver(1, frame);
        }
        pair.run(Duration::from_secs(after));
    }
    assert_eq!(pair.packets[1], before);
}

#[test]
fn a_damaged_or_forged_rekey_changes_nothing() {
    let mut pair = renewing(6, Wire::good(ms(1)));
    let rekey = rekey_of(&mut pair, 0);
    let end = rekey.len() - 1;
    // The true message is sent at the end.
    let asking = pair.links[0].renewal.take();
    for at in [2, 5, end] {
        let mut wrong = rekey.clone();
        wrong[at] ^= 1;
        pair.seal(0, &wrong);
        pair.run(Duration::from_millis(1100));
    }
    for wrong in [&rekey[..end], &[KIND_REKEY], &[rekey.as_slice(), &[0]].concat()] {
        pair.seal(0, wrong);
        pair.run(ms(10));
    }
    pair.run(Duration::from_secs(1));
    // An attacker that has the frame keys of the session, but not the chain.
    let mut forger = renewal(0, 8);
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    forger.hasten(Time::ZERO);
    let [_, (_, mut opener)] = sessions();
    let forged = forger.timeout(pair.now, None, &mut opener, &mut rng).unwrap();
    pair.seal(0, &forged);
    pair.run(ms(10));
    assert_eq!(pair.drops[1], [DropCause::MalformedPacket; 7]);
    // A generation far ahead, a `rekey` of the wrong side, and an answer without a request.
    for (from, kind, generation) in [(0, KIND_REKEY, 7), (1, KIND_REKEY, 1), (0, KIND_REKEYED, 1)] {
        pair.drops = Default::default();
        pair.seal(from, &plaintext(kind, &Rekey { generation, message: [1; REKEY_LEN] }));
        pair.run(ms(10));
        assert_eq!(pair.drops[1 - from], [DropCause::MalformedPacket]);
    }
    assert_eq!((pair.rekeyed, generations(&pair)), ([0, 0], [0, 0]));
    pair.links[0].renewal = asking;
    pair.run(Duration::from_secs(3));
    assert_eq!((pair.rekeyed, generations(&pair)), ([1, 1], [1, 1]), "the true message is answered");
}

#[test]
fn messages_that_do_not_verify_are_verified_once_a_second_only() {
    let mut pair = renewing(7, Wire::good(ms(1)));
    for n in 0..100 {
        pair.seal(0, &plaintext(KIND_REKEY, &Rekey { generation: 1, message: [n; REKEY_LEN] }));
    }
    pair.run(ms(500));
    let count = |cause| pair.drops[1].iter().filter(|drop| **drop == cause).count();
    assert_eq!((count(DropCause::MalformedPacket), count(DropCause::HandshakeLimit)), (1, 99));
}

#[test]
fn without_an_answer_the_link_keeps_its_keys() {
    let mut pair = renewing(8, Wire::good(ms(1)));
    pair.links[1].renewal = None;
    pair.run(Duration::from_secs(600));
    let asked = pair.transmitted[0].iter().filter(|kind| **kind == KIND_REKEY).count();
    assert!((60..=110).contains(&asked), "{asked} times in eight minutes");
    assert_eq!((pair.states.clone(), generations(&pair)), (<[Vec<_>; 2]>::default(), [0, 0]));
}

#[test]
fn a_key_is_replaced_at_once_when_either_direction_has_worn_it() {
    let mut pair = renewing(9, Wire::good(ms(1)));
    pair.sealers[0].skip(REKEY_AFTER_FRAMES);
    assert!(pair.sealers[0].is_worn());
    let now = pair.now;
    pair.links[0].on_key_worn(now);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.rekeyed, [1, 1]);
    assert!(!pair.sealers[0].is_worn());
    pair.run(Duration::from_secs(11));
    pair.sealers[1].skip(REKEY_AFTER_FRAMES);
    pair.packet(1);
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.rekeyed, [2, 2]);
    pair.sealers[1].skip(REJECT_AFTER_FRAMES);
    assert!(pair.sealers[1].seal(|out| out.push(0), &mut Vec::new()).is_err());
}

#[test]
fn two_thousand_generations_later_the_link_works_and_holds_no_more_memory() {
    let mut pair = renewing(10, Wire::good(ms(1)));
    for _ in 0..2000 {
        let now = pair.now;
        pair.links[0].on_key_worn(now);
        pair.run(Duration::from_millis(10_500));
        pair.transmitted = Default::default();
    }
    assert_eq!((pair.rekeyed, generations(&pair)), ([2000, 2000], [2000, 2000]));
    assert_eq!(pair.drops, [[], []]);
    pair.packet(0);
    pair.packet(1);
    pair.run(ms(10));
    assert_eq!(pair.packets, [1, 1]);
    for link in &pair.links {
        assert!(link.output.capacity() <= 64, "the queue of outputs does not grow");
    }
}

#[test]
fn both_ends_derive_the_same_keys_and_other_keys_in_each_session() {
    let run = |seed| {
        let mut pair = renewing(seed, Wire::good(ms(1)));
        pair.run(ROUND);
        let mut frame = Vec::new();
        pair.sealers[0].seal(|out| out.extend_from_slice(b"\x00the same"), &mut frame).unwrap();
        frame.split_off(HEADER_LEN)
    };
    let sealed = [run(1), run(2)];
    assert_ne!(sealed[0], sealed[1], "the keys do not depend on the identities alone");
    assert_eq!(run(1), sealed[0]);
}
