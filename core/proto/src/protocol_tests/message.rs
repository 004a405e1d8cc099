//! The contents of conversations, and the payloads of probes.

use super::*;
use crate::identity::Identity;
use crate::types::{Attributes, MessageId, MessageKind, Service, Timestamp};
use crate::wire::message::{self as wire, Ack, Frame, MessageHeader, Reader};
use crate::wire::packet::{Probe, payload};

fn source() -> crate::address::Address {
    Identity::from_seed(&[1; 32]).address()
}

/// A message packet with these frames.
fn packet(number: u64, frames: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    wire::write_header(&MessageHeader { number, open: 2, floor: 40 }, &mut out);
    frames(&mut out);
    out
}

/// A message with these attributes.
fn with_attributes(above: u16, attributes: Attributes, body: &[u8], out: &mut Vec<u8>) {
    wire::write_attributes(&attributes, out);
    let count = wire::write_messages(above, Timestamp(1_790_000_000_000), out);
    wire::write_entry(0, body, out);
    wire::patch_count(count, 1, out);
}

/// The message packet of other examples.
pub(super) fn hello() -> Vec<u8> {
    packet(9, |out| {
        let count = wire::write_messages(1, Timestamp(1_790_000_000_000), out);
        wire::write_entry(0, b"hello", out);
        wire::write_entry(3, b"mesh", out);
        wire::patch_count(count, 2, out);
        wire::write_last(out);
    })
}

pub(super) fn made() -> Vec<(String, Vec<u8>)> {
    let probe = |kind, value| {
        let mut out = Vec::new();
        Probe { kind, source: source(), nonce: 0x0807_0605_0403_0201, value }.write(&mut out);
        out
    };
    let examples = [
        ("message", hello()),
        (
            "message-receipt",
            packet(10, |out| {
                let mut ack = Ack::new(1500);
                assert!(ack.push(5, 7) && ack.push(1, 2));
                wire::write_ack(&ack, out);
                wire::write_credit(12, 4 << 20, 4096, out);
            }),
        ),
        (
            "message-fragment",
            packet(11, |out| {
                wire::write_fragment(
                    &wire::FragmentHead {
                        above: 2,
                        sent_at: Timestamp(1_790_000_000_000),
                        total: 300_000,
                        offset: 1024,
                    },
                    b"a part of it",
                    out,
                );
            }),
        ),
        (
            "message-skip",
            packet(12, |out| {
                let count = wire::write_skip(3, out);
                wire::patch_count(count, 2, out);
            }),
        ),
        ("message-ping", packet(13, wire::write_ping)),
        ("ping", probe(payload::PING, 64)),
        ("pong", probe(payload::PONG, 3)),
        ("trace", probe(payload::TRACE, 2)),
        ("hop", probe(payload::HOP, 2)),
    ];
    examples.into_iter().chain(requests()).map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// A request, answers to others, and stored messages.
fn requests() -> [(&'static str, Vec<u8>); 3] {
    [
        (
            "message-request",
            packet(14, |out| {
                let service = Service::new("clock").unwrap();
                with_attributes(
                    4,
                    Attributes { service, kind: MessageKind::Request, ..Attributes::default() },
                    b"now?",
                    out,
                );
                wire::write_last(out);
            }),
        ),
        (
            "message-answers",
            packet(15, |out| {
                let answer = |nth: u8, kind| Attributes {
                    in_reply_to: Some(MessageId([
                        0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0, 0, 0, 0, 0, 0, 0, nth,
                    ])),
                    kind,
                    ..Attributes::default()
                };
                with_attributes(5, answer(7, MessageKind::Answer), b"noon", out);
                with_attributes(6, answer(8, MessageKind::Refused), b"", out);
                with_attributes(7, answer(9, MessageKind::Failed), b"the clock stopped", out);
                with_attributes(8, Attributes::default(), b"plain again", out);
            }),
        ),
        (
            "message-durable",
            packet(16, |out| {
                let durable = Attributes { durable: true, ..Attributes::default() };
                with_attributes(9, durable.clone(), b"kept", out);
                let service = Service::new("clock").unwrap();
                let id = [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0, 0, 0, 0, 0, 0, 0, 7];
                let reply = Attributes { service, in_reply_to: Some(MessageId(id)), ..durable };
                with_attributes(10, reply, b"noted", out);
            }),
        ),
    ]
}

pub(super) fn read(bytes: &[u8]) -> Reading {
    if bytes[0] == wire::CONTENT_MESSAGE {
        return read_message(bytes);
    }
    let probe = Probe::read(bytes).expect("a probe");
    let (name, value) = match probe.kind {
        payload::PING => ("ping", "hop-limit"),
        payload::PONG => ("pong", "hops"),
        payload::TRACE => ("trace", "hop-limit"),
        payload::HOP => ("hop", "hop-limit"),
        kind => panic!("{kind} is no probe"),
    };
    let rows = vec![
        Row::kind("payload", probe.kind, name),
        Row::bytes("source", probe.source.as_bytes()),
        Row::bytes("nonce", &probe.nonce.to_le_bytes()),
        Row::number(value, 1, probe.value.into()),
    ];
    let mut again = Vec::new();
    probe.write(&mut again);
    Reading { rows, again, kinds: vec![(Layer::Payload, probe.kind)] }
}

fn read_message(bytes: &[u8]) -> Reading {
    let mut reader = Reader::new(bytes);
    let header = reader.header().expect("a message packet");
    let mut reading = Reading { kinds: vec![(Layer::Content, bytes[0])], ..Reading::default() };
    wire::write_header(&header, &mut reading.again);
    reading.rows = vec![
        Row::kind("content", bytes[0], "message"),
        Row::number("number", 8, header.number),
        Row::number("open", 4, header.open.into()),
        Row::number("floor", 8, header.floor),
    ];
    while !reader.is_at_end() {
        let kind = bytes[reading.again.len()];
        reading.kinds.push((Layer::Message, kind));
        let frame = reader.frame().expect("a frame");
        read_frame(bytes, kind, frame, &mut reader, &mut reading);
    }
    reading
}

fn read_ack(kind: u8, reader: &mut Reader<'_>, reading: &mut Reading) {
    let Reading { rows, again, .. } = reading;
    let ack = reader.ack().expect("ranges");
    wire::write_ack(&ack, again);
    rows.push(Row::kind("frame", kind, "ack"));
    rows.push(Row::number("largest", 8, ack.largest()));
    rows.push(Row::number("delay", 4, ack.delay_us.into()));
    rows.push(Row::number("ranges", 1, ack.ranges().len() as u64));
    let mut above = None;
    for (low, high) in ack.ranges() {
        if let Some(above) = above {
            rows.push(Row::number("gap", 4, above - high - 1));
        }
        rows.push(Row::number("length", 4, high - low));
        above = Some(low);
    }
}

fn read_attributes(packet: &[u8], kind: u8, reader: &mut Reader<'_>, reading: &mut Reading) {
    let Reading { rows, again, .. } = reading;
    let flags = packet[reader.position()];
    let attributes = reader.attributes().expect("attributes");
    wire::write_attributes(&attributes, again);
    let bits = [
        (1, "service"),
        (2, "reply"),
        (4, "request"),
        (8, "answer"),
        (16, "refused"),
        (32, "failed"),
        (64, "durable"),
    ];
    let set: Vec<_> = bits.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
    rows.push(Row::kind("frame", kind, "attributes"));
    rows.push(Row::kind(
        "flags",
        flags,
        if set.is_empty() { "none".to_owned() } else { set.join(", ") }.as_str(),
    ));
    if !attributes.service.is_default() {
        let name = attributes.service.as_str().as_bytes();
        rows.push(Row::number("length", 1, name.len() as u64));
        rows.push(Row::text("service", name));
    }
    if let Some(id) = attributes.in_reply_to {
        rows.push(Row::bytes("in-reply-to", &id.0));
    }
}

fn read_frame(bytes: &[u8], kind: u8, frame: Frame, reader: &mut Reader<'_>, reading: &mut Reading) {
    let Reading { rows, again, .. } = reading;
    match frame {
        Frame::Ack => read_ack(kind, reader, reading),
        Frame::Attributes => read_attributes(bytes, kind, reader, reading),
        Frame::Credit { taken, bytes, messages } => {
            wire::write_credit(taken, bytes, messages, again);
            rows.push(Row::kind("frame", kind, "credit"));
            rows.push(Row::number("taken", 8, taken));
            rows.push(Row::number("bytes", 4, bytes.into()));
            rows.push(Row::number("messages", 2, messages.into()));
        }
        Frame::Messages { above, sent_at, count } => {
            let at = wire::write_messages(above, sent_at, again);
            rows.push(Row::kind("frame", kind, "messages"));
            rows.push(Row::number("above", 2, above.into()));
            rows.push(Row::number("sent-at", 8, sent_at.0));
            rows.push(Row::number("count", 2, count.into()));
            for _ in 0..count {
                let (later, place) = reader.entry().expect("an entry");
                let body = &bytes[place];
                wire::write_entry(later, body, again);
                rows.push(Row::number("later", 2, later.into()));
                rows.push(Row::number("length", 2, body.len() as u64));
                if !body.is_empty() {
                    rows.push(Row::text("body", body));
                }
            }
            wire::patch_count(at, count, again);
        }
        Frame::Fragment { above, sent_at, total, offset, bytes: (start, end) } => {
            let part = &bytes[start..end];
            wire::write_fragment(&wire::FragmentHead { above, sent_at, total, offset }, part, again);
            rows.push(Row::kind("frame", kind, "fragment"));
            rows.push(Row::number("above", 2, above.into()));
            rows.push(Row::number("sent-at", 8, sent_at.0));
            rows.push(Row::number("total", 4, total.into()));
            rows.push(Row::number("offset", 4, offset.into()));
            rows.push(Row::number("length", 2, part.len() as u64));
            rows.push(Row::text("bytes", part));
        }
        Frame::Skip { above, count } => {
            let at = wire::write_skip(above, again);
            wire::patch_count(at, count, again);
            rows.push(Row::kind("frame", kind, "skip"));
            rows.push(Row::number("above", 2, above.into()));
            rows.push(Row::number("count", 2, count.into()));
        }
        Frame::Ping => {
            wire::write_ping(again);
            rows.push(Row::kind("frame", kind, "ping"));
        }
        Frame::Last => {
            wire::write_last(again);
            rows.push(Row::kind("frame", kind, "last"));
        }
    }
}
