//! A neighbour that violates the protocol: its frames are sealed properly, but their content is wrong.

use proptest::prelude::*;

use super::*;
use crate::link::control::{MAX_BODY, WINDOW};
use crate::wire::link::Vitals;

fn segment(sequence: u32, body: &[u8]) -> Vec<u8> {
    let acknowledged = Acknowledged { ack: 0, sack: 0 };
    let mut segment = plaintext(KIND_CONTROL, &Segment { acknowledged, sequence });
    segment.extend_from_slice(body);
    segment
}

fn result(pair: &mut Pair, plaintext: &[u8]) -> Result<(), DropCause> {
    let before = pair.drops[1].len();
    pair.seal(0, plaintext);
    pair.run(ms(2));
    pair.drops[1].get(before).map_or(Ok(()), |cause| Err(*cause))
}

#[test]
fn malformed_contents_are_counted_and_change_nothing() {
    let mut pair = Pair::settled(1, ms(1));
    let vitals = plaintext(KIND_HELLO, &Vitals { sent: 0, echo: 0, held: 0, expected: 0, received: 0 });
    let long = [vitals.as_slice(), &[0]].concat();
    let cases: [&[u8]; 11] = [
        &[],
        &[99],
        &[0xff; 40],
        &vitals[..vitals.len() - 1],
        &long,
        &[KIND_ACK, 0],
        &[KIND_GOODBYE],
        &[KIND_GOODBYE, 1, 1],
        &segment(0, &[]),
        &segment(0, &[1; MAX_BODY + 1]),
        &segment(WINDOW as u32, b"\x01\x00x"),
    ];
    for case in cases {
        assert_eq!(result(&mut pair, case), Err(DropCause::MalformedPacket), "{case:?}");
    }
    assert_eq!(pair.state(1), LinkState::Up);
    assert_eq!(result(&mut pair, &segment(0, b"\x02\x00ok")), Ok(()));
    assert_eq!(pair.control[1], [b"ok".as_slice()]);
}

#[test]
fn a_message_of_an_impossible_length_ends_the_link() {
    for length in [0u16, 4097, u16::MAX] {
        let mut pair = Pair::settled(1, ms(1));
        let mut body = length.to_le_bytes().to_vec();
        body.push(7);
        assert_eq!(result(&mut pair, &segment(0, &body)), Ok(()));
        assert_eq!(pair.state(1), LinkState::Down(DownReason::Violation));
        pair.run(ms(2));
        assert_eq!(pair.state(0), LinkState::Down(DownReason::Violation), "the other side is notified");
    }
}

#[test]
fn segments_ahead_of_order_are_bounded() {
    let mut pair = Pair::settled(1, ms(1));
    for sequence in 1..2 * WINDOW as u32 {
        let _ = result(&mut pair, &segment(sequence, &[1; MAX_BODY]));
    }
    assert_eq!(pair.control[1].len(), 0);
    assert_eq!(pair.drops[1].len(), WINDOW);
}

#[test]
fn acknowledgements_of_segments_that_were_never_sent_do_no_harm() {
    let mut pair = Pair::settled(1, ms(1));
    let refused = Err(DropCause::MalformedPacket);
    for (ack, sack, expected) in
        [(1, 0, refused), (u32::MAX, u64::MAX, Ok(())), (1 << 31, 1, Ok(())), (0, u64::MAX, refused)]
    {
        let acknowledged = Acknowledged { ack, sack };
        assert_eq!(result(&mut pair, &plaintext(KIND_ACK, &acknowledged)), expected, "{acknowledged:?}");
    }
    let acknowledged = Acknowledged { ack: 1, sack: 0 };
    let mut beside = plaintext(KIND_CONTROL, &Segment { acknowledged, sequence: 0 });
    beside.extend_from_slice(&[1, 0, 7]);
    assert_eq!(result(&mut pair, &beside), refused, "such a frame is ignored as a whole");
    assert_eq!(pair.control[1].len(), 0);
    pair.links[1].send_control(b"still works").unwrap();
    pair.poll(1);
    pair.run(ms(10));
    assert_eq!(pair.control[0], [b"still works".as_slice()]);
}

#[test]
fn false_vitals_stay_within_the_bounds_of_the_metrics() {
    let mut pair = Pair::settled(1, ms(1));
    for (expected, received) in [(u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX), (5, 1)] {
        let vitals = Vitals { sent: 1, echo: 0xdead_beef, held: 7, expected, received };
        assert_eq!(result(&mut pair, &plaintext(KIND_HELLO, &vitals)), Ok(()));
        let metrics = pair.links[1].metrics();
        assert!((32..=1000).contains(&metrics.cost));
        assert!((0.0..=1.0).contains(&metrics.loss));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_contents_do_no_harm(
        plaintexts in prop::collection::vec((0u8..8, prop::collection::vec(any::<u8>(), 0..80)), 1..40),
    ) {
        let mut pair = Pair::new(1, Wire::good(ms(1)));
        for (kind, mut body) in plaintexts {
            if kind == KIND_PACKET {
                continue;
            }
            body.insert(0, kind);
            pair.seal(0, &body);
            pair.run(ms(3));
        }
        pair.run(Duration::from_secs(5));
        prop_assert!(pair.links[1].metrics().cost >= 32);
    }

    #[test]
    fn random_and_changed_frames_are_dropped_and_do_not_reach_the_link(
        random in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..20),
        at in 0usize..60,
        by in 1u8..,
    ) {
        let mut pair = Pair::settled(1, ms(1));
        let frames_in = pair.links[1].metrics().frames_in;
        let mut changed = Vec::new();
        pair.sealers[0].seal(|out| out.extend_from_slice(&[KIND_HELLO; 41]), &mut changed).unwrap();
        changed[at] ^= by;
        for mut frame in random.into_iter().chain([changed]) {
            prop_assert!(pair.links[1].handle_frame(pair.now, &mut frame).is_err());
        }
        prop_assert_eq!(pair.links[1].metrics().frames_in, frames_in);
    }
}

#[test]
fn a_neighbour_that_sends_hellos_but_acknowledges_nothing_is_given_up() {
    let mut pair = Pair::settled(1, ms(1));
    pair.links[0].send_control(b"are you there?").unwrap();
    let began = pair.now;
    let hello =
        Vitals { sent: 0, echo: 0, held: Vitals::NO_ECHO, expected: u64::MAX / 2, received: u64::MAX / 2 };
    while pair.state(0) == LinkState::Up && pair.now < began + Duration::from_secs(60) {
        pair.poll(0);
        // The neighbour receives nothing, but sends hellos, so the liveness alone would keep the link.
        pair.flying.clear();
        pair.seal(1, &plaintext(KIND_HELLO, &hello));
        let (_, (to, frame)) = pair.flying.pop_first().unwrap();
        pair.deliver(to, frame);
        pair.now = pair.now + ms(100);
        pair.links[0].handle_timeout(pair.now);
    }
    pair.poll(0);
    assert_eq!(pair.state(0), LinkState::Down(DownReason::Unheard));
    let took = pair.now.since(began);
    assert!(took >= Duration::from_secs(30) && took < Duration::from_secs(35), "{took:?}");
}
