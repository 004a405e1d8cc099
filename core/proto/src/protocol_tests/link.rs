//! Data frames, and what is inside them.

use super::*;
use crate::identity::Identity;
use crate::link::Suite;
use crate::wire::codec::{decode, encode};
use crate::wire::link::{
    Acknowledged, ChallengeToken, DATA, FrameKind, HEADER_LEN, KEY_LEN, KIND_ACK, KIND_ANSWER,
    KIND_CHALLENGE, KIND_CONTROL, KIND_GOODBYE, KIND_HELLO, KIND_MTU_ANSWER, KIND_MTU_PROBE, KIND_PACKET,
    KIND_PROBE, KIND_REKEY, KIND_REKEYED, KIND_RESPONSE, KIND_REST, MtuAnswer, Rekey, RestHello, Segment,
    TAG_LEN, Vitals, peek, plaintext, split,
};
use crate::wire::packet::Class;
use crate::wire::packet::{self, HEADER, HOP_LIMIT};
use crate::wire::route::Record;

/// The plaintext of the first frame of a link.
pub(super) fn probe() -> Vec<u8> {
    let vitals = Vitals { sent: 3_000_000_000, echo: 0, held: Vitals::NO_ECHO, expected: 0, received: 0 };
    plaintext(KIND_PROBE, &vitals)
}

/// A packet that carries the sealed example of a message.
pub(super) fn packet() -> Vec<u8> {
    let mut packet = Vec::new();
    let to = Identity::from_seed(&[2; 32]).address();
    packet::write_header(&mut packet, Class::Bulk, 0, HOP_LIMIT, &to);
    packet.extend_from_slice(&session::sealed_message());
    packet
}

pub(super) fn made() -> Vec<(String, Vec<u8>)> {
    let acknowledged = Acknowledged { ack: 7, sack: 0b101 };
    let mut want = Vec::new();
    Record::Want { idx: 5 }.encode(&mut want).unwrap();
    let mut control = plaintext(KIND_CONTROL, &Segment { acknowledged, sequence: 12 });
    control.extend_from_slice(&u16::try_from(want.len()).unwrap().to_le_bytes());
    control.extend_from_slice(&want);
    let hello = Vitals { sent: 3_001_000_000, echo: 77, held: 250_000, expected: 1042, received: 1041 };
    let answer = Vitals { sent: 3_001_002_000, echo: 78, held: 150, expected: 1043, received: 1042 };
    let renewed = rekey::renewed();
    let mut mtu_probe = vec![KIND_MTU_PROBE];
    mtu_probe.extend_from_slice(&9u32.to_le_bytes());
    mtu_probe.resize(1400 - HEADER_LEN - TAG_LEN, 0);
    let token = ChallengeToken { token: 0x7a7a_7a7a_7a7a_7a7a };
    let examples = [
        ("data-frame", handshake::first_frame()),
        ("data-frame-of-aes", handshake::first_frame_of_aes()),
        ("data-frame-renewed", renewed.frame),
        ("packet", packet()),
        ("control", control),
        ("ack", plaintext(KIND_ACK, &acknowledged)),
        ("hello", plaintext(KIND_HELLO, &hello)),
        ("rest", plaintext(KIND_REST, &RestHello { vitals: hello, next_ms: 5625 })),
        ("probe", probe()),
        ("answer", plaintext(KIND_ANSWER, &answer)),
        ("goodbye", vec![KIND_GOODBYE, 1]),
        ("rekey", renewed.rekey),
        ("rekeyed", renewed.rekeyed),
        ("mtuprobe", mtu_probe),
        ("mtuanswer", plaintext(KIND_MTU_ANSWER, &MtuAnswer { id: 9, length: 1400 })),
        ("challenge", plaintext(KIND_CHALLENGE, &token)),
        ("echo", plaintext(KIND_RESPONSE, &token)),
    ];
    examples.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}

pub(super) fn read(name: &str, bytes: &[u8]) -> Reading {
    if name == "data" {
        return read_frame(bytes);
    }
    let (kind, body) = bytes.split_first().expect("a kind");
    let mut rows = vec![Row::kind("content", *kind, name)];
    let again = match *kind {
        KIND_PACKET => {
            rows.extend(packet_rows(bytes));
            packet_again(bytes)
        }
        KIND_CONTROL => read_control(body, &mut rows),
        KIND_ACK => {
            let acknowledged = decode::<Acknowledged>(body).expect("an acknowledgement");
            rows.extend(acknowledged_rows(acknowledged));
            plaintext(*kind, &acknowledged)
        }
        KIND_HELLO | KIND_REST | KIND_PROBE | KIND_ANSWER => read_vitals(*kind, body, &mut rows),
        KIND_GOODBYE => {
            let [reason] = *body else { panic!("a reason") };
            rows.push(Row::number("reason", 1, reason.into()));
            bytes.to_vec()
        }
        KIND_REKEY | KIND_REKEYED => {
            let rekey = decode::<Rekey>(body).expect("a rekeying");
            rows.push(Row::number("generation", 4, rekey.generation.into()));
            let (ephemeral, tag) = rekey.message.split_at(KEY_LEN);
            rows.push(Row::bytes("ephemeral", ephemeral));
            rows.push(Row::bytes("tag", tag));
            plaintext(*kind, &rekey)
        }
        KIND_MTU_PROBE => {
            let (id, padding) = body.split_first_chunk::<4>().expect("a number");
            rows.push(Row::number("id", 4, u32::from_le_bytes(*id).into()));
            rows.push(Row::bytes("padding", padding));
            bytes.to_vec()
        }
        KIND_MTU_ANSWER => {
            let answer = decode::<MtuAnswer>(body).expect("an answer");
            rows.push(Row::number("id", 4, answer.id.into()));
            rows.push(Row::number("length", 2, answer.length.into()));
            plaintext(*kind, &answer)
        }
        KIND_CHALLENGE | KIND_RESPONSE => {
            let token = decode::<ChallengeToken>(body).expect("a token");
            rows.push(Row::bytes("token", &token.token.to_le_bytes()));
            plaintext(*kind, &token)
        }
        kind => panic!("{kind} has no reader"),
    };
    Reading { rows, again, kinds: vec![(Layer::Plaintext, *kind)] }
}

fn packet_again(bytes: &[u8]) -> Vec<u8> {
    let header = packet::read_header(bytes).unwrap();
    let mut again = Vec::new();
    packet::write_header(&mut again, header.class, header.flags, header.hop_limit, &header.destination);
    again.extend_from_slice(&bytes[HEADER..]);
    again
}

fn read_vitals(kind: u8, body: &[u8], rows: &mut Vec<Row>) -> Vec<u8> {
    if kind == KIND_REST {
        let hello = decode::<RestHello>(body).expect("vitals and a time");
        rows.extend(vitals_rows(hello.vitals));
        rows.push(Row::number("next", 2, hello.next_ms.into()));
        return plaintext(kind, &hello);
    }
    let vitals = decode::<Vitals>(body).expect("vitals");
    rows.extend(vitals_rows(vitals));
    plaintext(kind, &vitals)
}

fn read_control(body: &[u8], rows: &mut Vec<Row>) -> Vec<u8> {
    let (segment, stream) = split::<Segment>(body).expect("a segment");
    rows.extend(acknowledged_rows(segment.acknowledged));
    rows.push(Row::number("sequence", 4, segment.sequence.into()));
    let (length, message) = stream.split_first_chunk::<2>().unwrap();
    rows.push(Row::number("length", 2, u16::from_le_bytes(*length).into()));
    assert_eq!(usize::from(u16::from_le_bytes(*length)), message.len());
    assert_eq!(Record::decode(message), Ok((Record::Want { idx: 5 }, &[][..])));
    rows.push(Row::bytes("message", message));
    [plaintext(KIND_CONTROL, &segment), stream.to_vec()].concat()
}

fn read_frame(bytes: &[u8]) -> Reading {
    let Some(FrameKind::Data { index }) = peek(bytes) else { panic!("no data frame") };
    let counter = u64::from_le_bytes(bytes[6..HEADER_LEN].try_into().unwrap());
    let (ciphertext, tag) = bytes[HEADER_LEN..].split_at(bytes.len() - HEADER_LEN - TAG_LEN);
    let again = frame_again(bytes);
    let rows = vec![
        Row::kind("frame", DATA, "data"),
        Row::number("phase", 1, bytes[1].into()),
        Row::bytes("receiver", &index.to_le_bytes()),
        Row::number("counter", 8, counter),
        Row::bytes("ciphertext", ciphertext),
        Row::bytes("tag", tag),
    ];
    Reading { rows, again, kinds: vec![(Layer::Frame, DATA)] }
}

/// The frame as it is made, opened by the session of the example before: it holds the example of a probe, or of a packet.
fn frame_again(bytes: &[u8]) -> Vec<u8> {
    if bytes[1] != 0 {
        rekey::opened(bytes, &packet());
        return rekey::renewed().frame;
    }
    for (made, suite) in [
        (handshake::first_frame(), Suite::ChaCha20Poly1305),
        (handshake::first_frame_of_aes(), Suite::Aes256Gcm),
    ] {
        if made == bytes {
            assert_eq!(handshake::opened(bytes, suite), probe());
            return made;
        }
    }
    panic!("no session of the examples has sealed {}", hex(bytes));
}

fn packet_rows(bytes: &[u8]) -> Vec<Row> {
    let header = packet::read_header(bytes).expect("a packet");
    let class = match header.class {
        Class::Bulk => 0,
        Class::Interactive | Class::Control => 1,
    };
    vec![
        Row::number("class", 1, class),
        Row::number("flags", 1, header.flags.into()),
        Row::number("hop-limit", 1, header.hop_limit.into()),
        Row::bytes("destination", header.destination.as_bytes()),
        Row::bytes("payload", &bytes[HEADER..]),
    ]
}

fn acknowledged_rows(acknowledged: Acknowledged) -> Vec<Row> {
    assert_eq!(encode(&acknowledged).unwrap().len(), 12);
    vec![
        Row::number("ack", 4, acknowledged.ack.into()),
        Row { meaning: format!("{:#b}", acknowledged.sack), ..Row::number("sack", 8, acknowledged.sack) },
    ]
}

fn vitals_rows(vitals: Vitals) -> Vec<Row> {
    assert_eq!(encode(&vitals).unwrap().len(), 28);
    let held = match vitals.held {
        Vitals::NO_ECHO => Row { meaning: "none".to_owned(), ..Row::bytes("held", &[0xff; 4]) },
        held => Row::number("held", 4, held.into()),
    };
    vec![
        Row::number("sent", 4, vitals.sent.into()),
        Row::number("echo", 4, vitals.echo.into()),
        held,
        Row::number("expected", 8, vitals.expected),
        Row::number("received", 8, vitals.received),
    ]
}

#[test]
fn the_costs_in_the_specification_are_those_of_the_code() {
    let rows = &blocks("costs")["link"];
    let (title, rows) = rows.split_once('\n').expect("a line of titles");
    assert_eq!(title.split_whitespace().collect::<Vec<_>>(), ["there", "back", "rttmin", "cost"]);
    let mut costs = 0;
    for row in rows.lines() {
        let numbers: Vec<u64> = row.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [there, back, rttmin, cost] = numbers[..] else { panic!("{row}") };
        assert_eq!(u64::from(crate::link::cost_of(there, back, Some(rttmin))), cost, "{row}");
        costs += 1;
    }
    assert!(costs > 0, "there are no costs");
}
