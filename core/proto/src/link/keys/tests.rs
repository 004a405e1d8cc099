//! Data keys: each frame opens once, and under its own key only.

use proptest::prelude::*;

use super::*;

/// A sealer and the opener that fits it.
pub(crate) fn pair(suite: Suite, split: [u8; 32]) -> (Sealer, Opener) {
    let hash = [3; 32];
    (Sealer::new(suite, &hash, &split, 0x0403_0201).unwrap(), Opener::new(suite, &hash, &split).unwrap())
}

fn sealed(sealer: &mut Sealer, plaintext: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let length = sealer.seal(|out| out.extend_from_slice(plaintext), &mut out).unwrap();
    assert_eq!(length, out.len());
    assert_eq!(length, plaintext.len() + Sealer::OVERHEAD);
    out
}

#[test]
fn sealed_frames_open_in_any_order_and_once() {
    for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
        let (mut sealer, mut opener) = pair(suite, [9; 32]);
        let mut frames: Vec<_> = (0u8..20).map(|n| sealed(&mut sealer, &[n; 40])).collect();
        frames.reverse();
        for (frame, n) in frames.iter_mut().zip((0u8..20).rev()) {
            let copy = frame.clone();
            assert_eq!(opener.open(frame).unwrap(), [n; 40]);
            assert_eq!(opener.open(&mut copy.clone()), Err(DropCause::Replay));
        }
        assert_eq!((opener.expected(), opener.received()), (20, 20));
    }
}

#[test]
fn several_frames_are_sealed_into_one_buffer() {
    let (mut sealer, mut opener) = pair(Suite::Aes256Gcm, [9; 32]);
    let mut out = Vec::new();
    let lengths: Vec<_> =
        [b"one", b"two"].map(|text| sealer.seal(|out| out.extend_from_slice(text), &mut out).unwrap()).into();
    let (first, second) = out.split_at_mut(lengths[0]);
    assert_eq!(opener.open(first).unwrap(), b"one");
    assert_eq!(opener.open(second).unwrap(), b"two");
}

#[test]
fn a_frame_has_the_bytes_of_an_independent_implementation() {
    // The bytes come from an implementation of RFC 5869 and RFC 8439 that shares no code with this one.
    let (mut sealer, _) = pair(Suite::ChaCha20Poly1305, [9; 32]);
    sealed(&mut sealer, b"");
    let frame = sealed(&mut sealer, b"\x00hello");
    assert_eq!(hex(&frame), "10000102030401000000000000007282f84fec223302a2483f353029be9321677e4713b7");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn each_suite_has_its_own_key_from_one_split() {
    let (mut sealer, _) = pair(Suite::ChaCha20Poly1305, [9; 32]);
    let (_, mut opener) = pair(Suite::Aes256Gcm, [9; 32]);
    assert_eq!(opener.open(&mut sealed(&mut sealer, b"x")), Err(DropCause::BadSeal));
}

#[test]
fn a_refused_frame_does_not_use_up_its_counter() {
    let (mut sealer, mut opener) = pair(Suite::Aes256Gcm, [9; 32]);
    let frame = sealed(&mut sealer, b"payload");
    for at in 0..frame.len() {
        let mut wrong = frame.clone();
        wrong[at] ^= 1;
        assert!(opener.open(&mut wrong).is_err(), "byte {at}");
    }
    for length in 0..frame.len() {
        assert!(opener.open(&mut frame[..length].to_vec()).is_err(), "{length} bytes");
    }
    assert_eq!(opener.open(&mut frame.clone()).unwrap(), b"payload");
}

#[test]
fn no_counter_is_used_twice_at_the_end_of_a_session() {
    let (mut sealer, mut opener) = pair(Suite::Aes256Gcm, [9; 32]);
    assert!(!sealer.is_worn());
    sealer.counter = REJECT_AFTER_FRAMES - 1;
    assert!(sealer.is_worn());
    let mut last = sealed(&mut sealer, b"last");
    let mut out = vec![7];
    assert_eq!(sealer.seal(|out| out.push(1), &mut out), Err(Exhausted));
    assert_eq!(sealer.seal(|out| out.push(1), &mut out), Err(Exhausted));
    assert_eq!(out, [7], "nothing is left in the buffer");
    assert_eq!(opener.open(&mut last).unwrap(), b"last");
}

/// The key of a generation, as both sides have it.
fn key(suite: Suite, generation: u32) -> DataKey {
    DataKey::new(suite, &[5; 32], &[7; 32], generation).unwrap()
}

#[test]
fn frames_of_two_generations_are_opened_in_any_order_while_both_are_known() {
    let suite = Suite::Aes256Gcm;
    let (mut sealer, mut opener) = pair(suite, [9; 32]);
    let mut old: Vec<_> = (0..3).map(|_| sealed(&mut sealer, b"old")).collect();
    opener.open(&mut sealed(&mut sealer, b"old")).unwrap();
    opener.set_next(key(suite, 1));
    sealer.renew(key(suite, 1));
    let mut new: Vec<_> = (0..3).map(|_| sealed(&mut sealer, b"new")).collect();
    assert_eq!((new[0][1], new[0][6]), (1, 4), "the counter continues and the phase changes");
    assert_eq!(opener.open(&mut old[2].clone()).unwrap(), b"old");
    assert_eq!(opener.generation(), 0);
    assert_eq!(opener.open(&mut new[2].clone()).unwrap(), b"new");
    assert_eq!(opener.generation(), 1);
    assert_eq!(opener.open(&mut old[1].clone()).unwrap(), b"old");
    for seen in [new[2].clone(), old[1].clone(), old[2].clone()] {
        assert_eq!(opener.open(&mut seen.clone()), Err(DropCause::Replay));
    }
    opener.forget_previous();
    assert_eq!(opener.open(&mut old[0]), Err(DropCause::BadSeal));
    assert_eq!(opener.open(&mut new[0]).unwrap(), b"new");
    assert_eq!((opener.expected(), opener.received()), (7, 5));
}

#[test]
fn each_generation_has_a_budget_of_its_own() {
    let suite = Suite::Aes256Gcm;
    let (mut sealer, mut opener) = pair(suite, [9; 32]);
    sealer.skip(REKEY_AFTER_FRAMES);
    assert!(sealer.is_worn());
    opener.open(&mut sealed(&mut sealer, b"x")).unwrap();
    assert!(opener.is_worn());
    opener.set_next(key(suite, 1));
    sealer.renew(key(suite, 1));
    assert!(!sealer.is_worn());
    opener.open(&mut sealed(&mut sealer, b"x")).unwrap();
    assert!(!opener.is_worn() && opener.generation() == 1);
    sealer.skip(REJECT_AFTER_FRAMES - 1);
    assert_eq!(sealer.seal(|out| out.push(1), &mut Vec::new()), Err(Exhausted));
}

#[test]
fn a_key_that_has_used_up_its_budget_does_not_shorten_that_of_the_next() {
    let suite = Suite::Aes256Gcm;
    let (mut sealer, mut opener) = pair(suite, [9; 32]);
    sealer.skip(REJECT_AFTER_FRAMES - 1);
    let mut last = sealed(&mut sealer, b"last");
    assert_eq!(opener.open(&mut last).unwrap(), b"last");
    opener.set_next(key(suite, 1));
    sealer.renew(key(suite, 1));
    let mut late = sealed(&mut sealer, b"late");
    let mut first = sealed(&mut sealer, b"first");
    assert_eq!(opener.open(&mut first).unwrap(), b"first");
    assert_eq!(opener.open(&mut late).unwrap(), b"late");
    sealer.skip(REJECT_AFTER_FRAMES - 3);
    assert_eq!(opener.open(&mut sealed(&mut sealer, b"last")).unwrap(), b"last");
}

#[test]
fn a_frame_beyond_the_budget_of_its_key_is_dropped_as_a_replay_before_it_is_opened() {
    let suite = Suite::Aes256Gcm;
    let (mut sealer, mut opener) = pair(suite, [9; 32]);
    opener.open(&mut sealed(&mut sealer, b"x")).unwrap();
    opener.set_next(key(suite, 1));
    // These frames do not open. They would be bad seals if they were tried.
    let counts = |opener: &mut Opener, phase: u8, counter: u64| {
        let mut frame = [header(phase, 0, counter).as_slice(), &[0; 40]].concat();
        opener.open(&mut frame).unwrap_err()
    };
    for (phase, first) in [(0, 0), (1, 1)] {
        assert_eq!(
            counts(&mut opener, phase, first + REJECT_AFTER_FRAMES - 1),
            DropCause::BadSeal,
            "phase {phase}"
        );
        assert_eq!(
            counts(&mut opener, phase, first + REJECT_AFTER_FRAMES),
            DropCause::Replay,
            "phase {phase}"
        );
        assert_eq!(counts(&mut opener, phase, u64::MAX), DropCause::Replay, "phase {phase}");
    }
    sealer.renew(key(suite, 1));
    opener.open(&mut sealed(&mut sealer, b"x")).unwrap();
    assert_eq!(
        counts(&mut opener, 0, REJECT_AFTER_FRAMES - 1),
        DropCause::BadSeal,
        "the previous key has its own budget"
    );
    assert_eq!(counts(&mut opener, 0, REJECT_AFTER_FRAMES), DropCause::Replay);
    assert_eq!(counts(&mut opener, 1, REJECT_AFTER_FRAMES), DropCause::BadSeal);
}

#[test]
fn debug_output_of_keys_contains_no_secret() {
    let (sealer, mut opener) = pair(Suite::Aes256Gcm, [0x5a; 32]);
    opener.set_next(key(Suite::Aes256Gcm, 1));
    let printed = format!("{sealer:?} {opener:?}");
    assert_eq!(
        printed,
        "Sealer { index: 67305985, counter: 0 } Opener { key: DataKey { generation: 0, .. }, expected: 0 }"
    );
}

#[test]
fn aes_is_used_where_both_offer_it() {
    assert_eq!(Suite::agree(3, 3), Some(Suite::Aes256Gcm));
    assert_eq!(Suite::agree(3, 1), Some(Suite::ChaCha20Poly1305));
    assert_eq!(Suite::agree(1, 0xff), Some(Suite::ChaCha20Poly1305));
    assert_eq!(Suite::agree(3, 4), None);
}

proptest! {
    #[test]
    fn random_bytes_open_to_nothing(mut bytes in prop::collection::vec(any::<u8>(), 0..200), lead: bool) {
        let (_, mut opener) = pair(Suite::Aes256Gcm, [9; 32]);
        if lead && bytes.len() > 1 {
            bytes[0] = DATA;
            bytes[1] = 0;
        }
        prop_assert!(opener.open(&mut bytes).is_err());
        prop_assert_eq!(opener.received(), 0);
    }
}
