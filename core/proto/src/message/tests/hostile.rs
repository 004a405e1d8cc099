//! Packets that were forged, or changed on the line.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::pair::*;
use crate::message::*;
use crate::stats::DropCause;
use crate::wire::message as wire;
use crate::wire::session::{ProvedStanding, Standing};

pub(super) fn packet(number: u64, frames: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::new();
    let header = wire::MessageHeader { number, open: 0, floor: 0 };
    wire::write_header(&header, &mut out);
    frames(&mut out);
    out.into()
}

/// The session of the recipient, with a peer that knows it.
pub(super) const SESSION: ProvedStanding = ProvedStanding {
    session: 1,
    incarnation: 200,
    peer: Standing { incarnation: 100, floor: 0, peer_incarnation: 200, taken: 0 },
};

pub(super) fn recipient() -> Conversation {
    let mut conversation = Conversation::new(ConversationConfig::default(), address(1), address(0), 200);
    conversation.set_reachable(Time::ZERO, true);
    conversation
}

pub(super) fn fragment(number: u64, above: u16, total: u32, offset: u32, length: usize) -> Bytes {
    packet(number, |out| {
        wire::write_fragment(
            &wire::FragmentHead { above, sent_at: Timestamp(0), total, offset },
            &vec![1; length],
            out,
        )
    })
}

#[test]
fn a_message_beyond_the_limit_is_refused() {
    let mut to = recipient();
    let too_long = fragment(0, 0, crate::types::MAX_MESSAGE as u32 + 1, 0, 100);
    assert_eq!(to.handle(Time::ZERO, &SESSION, &too_long), Err(DropCause::MalformedMessage));
    let beyond_its_end = fragment(1, 0, 150, 100, 100);
    assert_eq!(to.handle(Time::ZERO, &SESSION, &beyond_its_end), Err(DropCause::MalformedMessage));
    let of_nothing = fragment(2, 0, 150, 100, 0);
    assert_eq!(to.handle(Time::ZERO, &SESSION, &of_nothing), Err(DropCause::MalformedMessage));
    assert_eq!(to.incoming.bytes(), 0);
}

#[test]
fn messages_beyond_the_credit_are_refused_and_the_next_one_still_arrives() {
    let mut to = recipient();
    let mut refused = 0;
    for number in 0..3000 {
        let part = fragment(number, 1 + (number / 100) as u16, 200_000, (number % 100) as u32 * 1000, 1000);
        match to.handle(Time::ZERO, &SESSION, &part) {
            Ok(()) => {}
            Err(cause) => {
                assert_eq!(cause, DropCause::OverCredit);
                refused += 1;
            }
        }
    }
    assert!(to.incoming.bytes() <= 1 << 20);
    assert!(refused > 1900);
    let whole = packet(5000, |out| {
        let count = wire::write_messages(0, Timestamp(0), out);
        wire::write_entry(0, b"next", out);
        wire::patch_count(count, 1, out);
    });
    assert_eq!(to.handle(Time::ZERO, &SESSION, &whole), Ok(()));
    assert!(to.has_message());
    let far = packet(5001, |out| {
        let count = wire::write_messages(4097, Timestamp(0), out);
        wire::write_entry(0, b"far", out);
        wire::patch_count(count, 1, out);
    });
    assert_eq!(to.handle(Time::ZERO, &SESSION, &far), Err(DropCause::OverCredit));
}

/// At the end of the numbers, where counting up has no effect, each message would be taken for the next one and never
/// for one that was taken.
#[test]
fn packets_whose_numbers_could_not_be_counted_up_are_refused_and_leave_nothing() {
    for (number, floor) in [(0, u64::MAX), (0, 1 << 62), (u64::MAX, 0), (1 << 62, 0)] {
        let mut to = recipient();
        for packets in 0..100 {
            let header = wire::MessageHeader { number: number.max(packets), open: 0, floor };
            let mut out = Vec::new();
            wire::write_header(&header, &mut out);
            let count = wire::write_messages(0, Timestamp(0), &mut out);
            (0..8).for_each(|_| wire::write_entry(0, b"x", &mut out));
            wire::patch_count(count, 8, &mut out);
            assert_eq!(
                to.handle(Time::ZERO, &SESSION, &out.into()),
                Err(DropCause::MalformedMessage),
                "{number} {floor}"
            );
            while let Some(message) = to.next_message(Timestamp(0)) {
                to.on_taken(Time::ZERO, &message.id, &message.id);
            }
        }
        assert_eq!((to.untaken(), to.held_bytes()), (0, 0), "{number} {floor}");
    }
}

#[test]
fn an_ack_or_a_receipt_for_something_never_sent_is_refused() {
    let mut pair = Pair::new(1, CLEAN);
    pair.send(0, "x");
    pair.run_out(Duration::from_secs(60));
    let header = wire::MessageHeader { number: 900, open: 0, floor: 1 };
    let mut ack = Vec::new();
    wire::write_header(&header, &mut ack);
    let mut credit = ack.clone();
    let mut ranges = wire::Ack::new(0);
    ranges.push(70, 80);
    wire::write_ack(&ranges, &mut ack);
    wire::write_credit(1_000_000, 0, 0, &mut credit);
    let (to, session) = (&mut pair.sides[1].conversation, SESSION);
    assert_eq!(to.handle(pair.now, &session, &ack.into()), Err(DropCause::MalformedMessage));
    assert_eq!(to.handle(pair.now, &session, &credit.into()), Err(DropCause::MalformedMessage));
}

#[test]
fn a_repeated_packet_is_a_duplicate_and_one_of_another_kind_is_refused() {
    let mut to = recipient();
    let ping = packet(7, wire::write_ping);
    assert_eq!(to.handle(Time::ZERO, &SESSION, &ping), Ok(()));
    assert_eq!(to.handle(Time::ZERO, &SESSION, &ping), Err(DropCause::Duplicate));
    let mut other = ping.to_vec();
    other[0] ^= 1;
    assert_eq!(to.handle(Time::ZERO, &SESSION, &other.into()), Err(DropCause::MalformedMessage));
}

#[test]
fn a_small_message_does_not_keep_a_large_packet_allocated() {
    let mut to = recipient();
    let packet = packet(0, |out| {
        let count = wire::write_messages(0, Timestamp(0), out);
        wire::write_entry(0, b"small", out);
        wire::patch_count(count, 1, out);
        wire::write_fragment(
            &wire::FragmentHead { above: 1, sent_at: Timestamp(0), total: 5000, offset: 0 },
            &[1; 1000],
            out,
        );
    });
    assert_eq!(to.handle(Time::ZERO, &SESSION, &packet), Ok(()));
    let message = to.next_message(Timestamp(0)).unwrap();
    let range = packet.as_ptr_range();
    assert!(!range.contains(&message.body.as_ptr()));
}

#[test]
fn a_peer_that_never_acknowledges_does_not_grow_memory() {
    let mut to = recipient();
    to.send(Time::ZERO, Timestamp(0), DAY, "never acknowledged".into()).unwrap();
    let mut out = Vec::new();
    for number in 0..200_000 {
        let now = Time::from_nanos(number);
        assert_eq!(to.handle(now, &SESSION, &packet(number, wire::write_ping)), Ok(()));
        while to.poll_transmit(now, 1200, &mut out) {}
        out.clear();
    }
    assert_eq!(to.sending.recovery.remembered(), 1, "packets of acks alone are not recorded");
}

static REAL: LazyLock<Vec<(usize, Vec<u8>)>> = LazyLock::new(real_packets);

/// Packets of all kinds with their recipients, recorded from a real exchange.
fn real_packets() -> Vec<(usize, Vec<u8>)> {
    let mut pair = Pair::new(3, Line { loss: [300, 300], ..CLEAN });
    let mut seen = Vec::new();
    for nth in 0..40 {
        let body = pair.body(nth * 97);
        pair.send_ttl(nth % 2, body, ms(20 + nth as u64 * 5));
    }
    for _ in 0..400 {
        for (number, side) in pair.sides.iter_mut().enumerate() {
            let mut out = Vec::new();
            if side.conversation.poll_transmit(pair.now, 1200, &mut out) {
                seen.push((1 - number, out));
            }
        }
        pair.step();
    }
    seen
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        frames in prop::collection::vec(any::<u8>(), 0..300),
        number in 0..wire::NUMBERS_END,
    ) {
        let mut to = recipient();
        let _ = to.handle(Time::from_millis(3), &SESSION, &packet(number, |out| out.extend_from_slice(&frames)));
        let _ = to.handle(Time::from_millis(3), &SESSION, &Bytes::from(frames));
        let mut out = Vec::new();
        while to.poll_transmit(Time::from_millis(50), 1200, &mut out) {}
    }

    #[test]
    fn mutated_packets_never_panic_nor_grow_memory(
        seed in any::<u64>(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..200),
    ) {
        let mut pair = Pair::new(seed, CLEAN);
        for nth in 0..20 {
            let body = pair.body(nth * 300);
            pair.send(0, body);
        }
        for (which, at, value) in mutations {
            let (to, mut bytes) = which.get(&REAL).clone();
            let place = at.index(bytes.len());
            bytes[place] = value;
            let session = pair.session(to);
            let _ = pair.sides[to].conversation.handle(pair.now, &session, &bytes.into());
            pair.step();
            prop_assert!(pair.sides[to].conversation.incoming.bytes() < 18 << 20);
        }
        for _ in 0..1000 {
            pair.step();
        }
    }
}
