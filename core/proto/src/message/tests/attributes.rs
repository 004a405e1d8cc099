//! Services, requests and answers: the attributes of messages.
//!
//! Any peer can invent names, so that most of these tests are about the memory that they take.

use proptest::prelude::*;

use super::pair::*;
use crate::message::*;
use crate::stats::DropCause;
use crate::types::{MessageKind, Service};
use crate::wire::message as wire;
use crate::wire::session::{ProvedStanding, Standing};

/// The session of the recipient, with a peer that knows it.
const SESSION: ProvedStanding = ProvedStanding {
    session: 1,
    incarnation: 200,
    peer: Standing { incarnation: 100, floor: 0, peer_incarnation: 200, taken: 0 },
};

fn recipient() -> Conversation {
    let mut conversation = Conversation::new(ConversationConfig::default(), address(1), address(0), 200);
    conversation.set_reachable(Time::ZERO, true);
    conversation
}

fn packet(number: u64, frames: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::new();
    wire::write_header(&wire::MessageHeader { number, open: 1 << 16, floor: 0 }, &mut out);
    frames(&mut out);
    out.into()
}

fn service(name: &str) -> Attributes {
    Attributes { service: Service::new(name).unwrap(), ..Attributes::default() }
}

fn message(above: u16, body: &[u8], out: &mut Vec<u8>) {
    let count = wire::write_messages(above, Timestamp(0), out);
    wire::write_entry(0, body, out);
    wire::patch_count(count, 1, out);
}

fn part(above: u16, offset: u32, out: &mut Vec<u8>) {
    let head = wire::FragmentHead { above, sent_at: Timestamp(0), total: 2000, offset };
    wire::write_fragment(&head, &[1; 500], out);
}

fn attributes_of(message: &Message) -> Attributes {
    Attributes {
        service: message.service.clone(),
        in_reply_to: message.in_reply_to,
        kind: message.kind,
        durable: false,
    }
}

/// The packets that a conversation sends for these messages, at once, so that they are gathered as far as they fit.
fn packets(messages: &[(Attributes, usize)], max: usize) -> Vec<Vec<u8>> {
    let mut from = recipient();
    from.on_session(Time::ZERO, &SESSION);
    for (attributes, length) in messages {
        let body = vec![7; *length].into();
        from.send_with(Time::ZERO, Timestamp(0), DAY, attributes.clone(), body).unwrap();
    }
    let mut packets = Vec::new();
    loop {
        let mut out = Vec::new();
        if !from.poll_transmit(Time::ZERO, max, &mut out) {
            return packets;
        }
        packets.push(out);
    }
}

#[test]
fn plain_messages_cost_not_one_byte_more_and_messages_of_one_service_share_one_frame() {
    let plain = packets(&vec![(Attributes::default(), 10); 40], 1200);
    let entries = 40 * (wire::ENTRY_HEADER + 10);
    let bare = wire::HEADER + wire::BATCH_HEADER + entries + wire::LAST;
    assert_eq!(plain.iter().map(Vec::len).collect::<Vec<_>>(), [bare]);
    let chat = packets(&vec![(service("chat"), 10); 40], 1200);
    assert_eq!(chat.iter().map(Vec::len).collect::<Vec<_>>(), [bare + 2 + 1 + 4]);
}

#[test]
fn attributes_hold_until_the_next_ones_and_not_in_the_next_packet() {
    let mut to = recipient();
    let first = packet(0, |out| {
        message(0, b"plain", out);
        wire::write_attributes(&service("chat"), out);
        message(1, b"chat", out);
        let count = wire::write_skip(2, out);
        wire::patch_count(count, 1, out);
        message(3, b"chat", out);
        wire::write_attributes(&Attributes::default(), out);
        message(4, b"plain", out);
    });
    assert_eq!(to.handle(Time::ZERO, &SESSION, &first), Ok(()));
    assert_eq!(to.handle(Time::ZERO, &SESSION, &packet(1, |out| message(5, b"plain", out))), Ok(()));
    let mut seen = Vec::new();
    while let Some(message) = to.next_message(Timestamp(0)) {
        let name = if message.service.is_default() { "plain" } else { message.service.as_str() };
        assert_eq!(message.body.as_ref(), name.as_bytes());
        to.on_taken(Time::ZERO, &message.id, &message.id);
        seen.push(name.to_owned());
    }
    assert_eq!(seen, ["plain", "chat", "chat", "plain", "plain"]);
    assert_eq!(to.held_bytes(), 0);
}

#[test]
fn fragments_of_one_message_that_disagree_on_their_attributes_are_malformed() {
    let fragment = |number, name: &str, offset| {
        packet(number, |out| {
            wire::write_attributes(&service(name), out);
            part(0, offset, out);
        })
    };
    let mut to = recipient();
    assert_eq!(to.handle(Time::ZERO, &SESSION, &fragment(0, "chat", 0)), Ok(()));
    let other = Err(DropCause::MalformedMessage);
    assert_eq!(to.handle(Time::ZERO, &SESSION, &fragment(1, "clock", 500)), other);
    assert_eq!(to.handle(Time::ZERO, &SESSION, &packet(2, |out| part(0, 500, out))), other);
    for (number, offset) in [(3, 500), (4, 1000), (5, 1500)] {
        assert_eq!(to.handle(Time::ZERO, &SESSION, &fragment(number, "chat", offset)), Ok(()));
    }
    let message = to.next_message(Timestamp(0)).expect("all parts have arrived");
    assert_eq!((message.service.as_str(), message.body.len()), ("chat", 2000));
}

#[test]
fn attributes_that_are_reserved_or_contradict_each_other_are_malformed() {
    let mut to = recipient();
    let mut number = 0;
    let mut handle = |fields: &[u8]| {
        number += 1;
        let packet = packet(number, |out| {
            out.push(8);
            out.extend_from_slice(fields);
            message(0, b"x", out);
        });
        to.handle(Time::ZERO, &SESSION, &packet)
    };
    for flags in 0..=u8::MAX {
        // Fields are added so that only the flags themselves can be wrong: the id of a reply is long enough for every field that the flags announce.
        let fields: Vec<u8> = [flags]
            .into_iter()
            .chain([1, b'a'].repeat(usize::from(flags & 1)))
            .chain([7; 16].repeat(usize::from(flags >> 1 & 1)))
            .collect();
        let is_valid =
            matches!(flags & !3, 0 | 4 | 64) || (matches!(flags & !3, 8 | 16 | 32) && flags & 2 != 0);
        assert_eq!(handle(&fields).is_ok(), is_valid, "flags {flags:#b}");
    }
    let long: Vec<u8> = [1, 65].into_iter().chain([b'a'; 65]).collect();
    for fields in [&[1, 0][..], &[1, 2, 0xc3, 0x28], &long, &[2, 1, 2, 3]] {
        assert_eq!(handle(fields), Err(DropCause::MalformedMessage), "{fields:?}");
    }
}

/// The costliest case, because each message takes a run of its own beside a name that is longer than its body.
#[test]
fn a_flood_of_distinct_names_holds_no_more_than_eight_bytes_for_each_that_arrived() {
    let mut to = recipient();
    let mut received = 0;
    for number in 0..3000u64 {
        let flood = packet(number, |out| {
            for nth in 0..12u64 {
                let name = format!("{:064}", number * 12 + nth);
                wire::write_attributes(&service(&name), out);
                message(((number * 12 + nth) % 5000) as u16, b"x", out);
            }
        });
        received += flood.len();
        let _ = to.handle(Time::ZERO, &SESSION, &flood);
        assert!(to.held_bytes() <= 8 * received, "{} of {received}", to.held_bytes());
    }
    assert!(to.held_bytes() > 500_000, "nothing was stored");
}

/// The name is stored for each run, since the runs are taken at different times.
#[test]
fn one_name_for_many_scattered_messages_is_bounded_as_well() {
    let mut to = recipient();
    let mut received = 0;
    for number in 0..64u64 {
        let scattered = packet(number, |out| {
            wire::write_attributes(&service(&"n".repeat(64)), out);
            (0..61).for_each(|nth| message((2 * (number * 61 + nth)) as u16, b"", out));
        });
        received += scattered.len();
        assert!(matches!(
            to.handle(Time::ZERO, &SESSION, &scattered),
            Ok(()) | Err(DropCause::MalformedMessage | DropCause::OverCredit)
        ));
        assert!(to.held_bytes() <= 8 * received, "{} of {received}", to.held_bytes());
    }
}

#[test]
fn a_packet_of_attributes_alone_has_no_effect_and_more_than_sixty_four_are_malformed() {
    let repeated = |number, count| {
        packet(number, |out| (0..count).for_each(|_| wire::write_attributes(&service("x"), out)))
    };
    let mut to = recipient();
    assert_eq!(to.handle(Time::ZERO, &SESSION, &repeated(0, 64)), Ok(()));
    assert_eq!(to.handle(Time::ZERO, &SESSION, &repeated(1, 65)), Err(DropCause::MalformedMessage));
    assert_eq!((to.held_bytes(), to.has_message()), (0, false));
    let mut out = Vec::new();
    assert!(!to.poll_transmit(Time::from_millis(100), 1200, &mut out), "it requests no ack");
}

fn any_attributes() -> impl Strategy<Value = Attributes> {
    let name = prop_oneof![3 => Just(String::new()), 3 => "[a-c]", 1 => "[a-z]{64}"];
    let reply = prop::option::of(any::<[u8; 16]>().prop_map(MessageId));
    (name, reply, 0u8..5).prop_map(|(name, in_reply_to, kind)| {
        let kind = match (kind, in_reply_to) {
            (1, _) => MessageKind::Request,
            (2, Some(_)) => MessageKind::Refused,
            (3, Some(_)) => MessageKind::Failed,
            (4, Some(_)) => MessageKind::Answer,
            _ => MessageKind::Plain,
        };
        Attributes { service: Service::new(&name).unwrap(), in_reply_to, kind, durable: false }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_message_arrives_in_order_with_its_attributes_whatever_its_length_and_the_packets(
        messages in prop::collection::vec((any_attributes(), prop_oneof![0usize..100, 100usize..5000]), 1..60),
        mtu in prop_oneof![Just(227usize), 227usize..1500],
        seed in any::<u64>(),
    ) {
        let mut pair = Pair::new(seed, Line { loss: [100, 100], jitter: ms(10), mtu, ..CLEAN });
        for (attributes, length) in &messages {
            let body = pair.body(*length);
            let side = &mut pair.sides[0].conversation;
            side.send_with(pair.now, Timestamp(0), DAY, attributes.clone(), body).unwrap();
        }
        pair.run_out(Duration::from_secs(3000));
        let arrived: Vec<_> =
            pair.sides[1].inbox.iter().map(|message| (attributes_of(message), message.body.len())).collect();
        prop_assert_eq!(arrived, messages);
        prop_assert_eq!(pair.sides[1].conversation.held_bytes(), 0);
        prop_assert!(!pair.refused.contains(&DropCause::MalformedMessage));
    }
}
