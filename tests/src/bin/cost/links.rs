//! Data frames: contents of every kind, sealed.

use std::time::Duration;

use crate::layers::LinkLayer;
use rouse_core::time::Time;

use crate::layer::{Input, Layer, MINUTE, Subject, no_places, nothing_stays};
use crate::recipe::{Gene, Kind, Part, Recipe, gene, kind};

const SERIALS: &[u64] = &[0, 1, 2, 16, 62, 63, 64, 65, 255, 256, 1 << 31, u32::MAX as u64];
const SACKS: &[u64] = &[0, 1, 0x5555_5555_5555_5555, 1 << 63, u64::MAX];
const TIMES: &[u64] = &[0, 1, 1000, 1_000_000, 1 << 31, u32::MAX as u64];
const COUNTS: &[u64] = &[0, 1, 255, 1 << 32, u64::MAX];
const LENGTHS: &[u64] = &[0, 1, 2, 3, 17, 64, 500, 1153, 1170, 1400];

const PACKET: &[Gene] = &[gene("length", 64, LENGTHS)];
const SEGMENT: &[Gene] = &[
    gene("ack", 0, SERIALS),
    gene("sack", 0, SACKS),
    gene("sequence", 0, SERIALS),
    gene("message", 8, &[0, 1, 8, 1000, 4095, 4096, 4097]),
    gene("length", 64, LENGTHS),
];
const ACK: &[Gene] = &[gene("ack", 0, SERIALS), gene("sack", 0, SACKS), gene("length", 0, &[0, 0, 1, 500])];
const VITALS: &[Gene] = &[
    gene("sent", 1000, TIMES),
    gene("echo", 0, TIMES),
    gene("held", u32::MAX as u64, TIMES),
    gene("expected", 0, COUNTS),
    gene("received", 0, COUNTS),
    gene("length", 0, &[0, 0, 0, 1, 500]),
];
const REASON: &[Gene] = &[gene("reason", 1, &[0, 1, 2, 3, 255]), gene("length", 0, &[0, 0, 1])];
const REKEY: &[Gene] = &[
    gene("generation", 1, &[0, 1, 2, 255, 256]),
    gene("fill", 9, &[0, 1, 9, 255]),
    gene("length", 48, &[0, 47, 48, 49]),
];
const NUMBERED: &[Gene] = &[gene("id", 0, SERIALS), gene("length", 2, LENGTHS)];
const TOKEN: &[Gene] = &[gene("token", 7, COUNTS), gene("length", 0, &[0, 0, 1])];
const OTHER: &[Gene] = &[gene("kind", 13, &[13, 14, 128, 255]), gene("length", 64, LENGTHS)];

const KINDS: &[Kind] = &[
    kind("content 00: packet", PACKET),
    kind("content 01: control segment", SEGMENT),
    kind("content 02: control ack", ACK),
    kind("content 03: hello", VITALS),
    kind("content 04: probe", VITALS),
    kind("content 05: answer", VITALS),
    kind("content 06: goodbye", REASON),
    kind("content 07: rekey", REKEY),
    kind("content 08: rekeyed", REKEY),
    kind("content 09: MTU probe", NUMBERED),
    kind("content 0a: MTU answer", NUMBERED),
    kind("content 0b: challenge", TOKEN),
    kind("content 0c: response", TOKEN),
    kind("content of an unknown kind", OTHER),
];

pub(crate) const SUBJECT: Subject = Subject {
    kinds: KINDS,
    make: || Box::new(Frames::new()),
    weight: 1,
    silence: MINUTE,
    works_in_silence: true,
    usual,
    seeds,
    places: no_places,
    stays: nothing_stays,
};

/// A packet.
fn usual(length: usize) -> Recipe {
    Recipe::usual(Part::usual(KINDS, 0).with(KINDS, "length", length.saturating_sub(31) as u64))
}

/// Segments that leave room for another one between any two, and what comes after them.
fn seeds(kind: usize) -> Vec<Recipe> {
    let gaps = |kind, first: u64| {
        Part::usual(KINDS, kind).with(KINDS, "sequence", first).stepping(KINDS, "sequence", 2)
    };
    let before = gaps(1, 2).with(KINDS, "length", 1170).times(64);
    vec![Recipe::usual(gaps(kind, 2)), Recipe::after(vec![before], gaps(kind, 1))]
}

struct Frames {
    link: LinkLayer,
    now: Time,
}

impl Frames {
    fn new() -> Self {
        let now = Time::from_millis(10_000);
        Frames { link: LinkLayer::new(now), now }
    }
}

fn content(part: &Part, nth: u64) -> Vec<u8> {
    let number = |name| part.number(KINDS, name, nth);
    let narrow = |name: &str| (part.number(KINDS, name, nth) as u32).to_le_bytes();
    let wide = |name: &str| part.number(KINDS, name, nth).to_le_bytes();
    let mut bytes = vec![part.kind as u8];
    match part.kind {
        1 | 2 => {
            bytes.extend_from_slice(&narrow("ack"));
            bytes.extend_from_slice(&wide("sack"));
            if part.kind == 1 {
                bytes.extend_from_slice(&narrow("sequence"));
                // Each segment holds whole messages where it can.
                let message = number("message");
                let end = bytes.len() + number("length") as usize % 1500;
                while bytes.len() < end {
                    bytes.extend_from_slice(&(message as u16).to_le_bytes());
                    bytes.resize(bytes.len() + message as usize % 5000, 0xaa);
                }
                bytes.truncate(end.min(1422));
                return bytes;
            }
        }
        3..=5 => {
            ["sent", "echo", "held"].iter().for_each(|name| bytes.extend_from_slice(&narrow(name)));
            ["expected", "received"].iter().for_each(|name| bytes.extend_from_slice(&wide(name)));
        }
        6 => bytes.push(number("reason") as u8),
        7 | 8 => {
            bytes.extend_from_slice(&narrow("generation"));
            bytes.resize(bytes.len() + number("length") as usize % 64, number("fill") as u8);
            return bytes;
        }
        9 | 10 => bytes.extend_from_slice(&narrow("id")),
        11 | 12 => bytes.extend_from_slice(&wide("token")),
        13 => bytes[0] = number("kind") as u8,
        _ => {}
    }
    bytes.resize((bytes.len() + number("length") as usize % 1500).min(1422), 0xaa);
    bytes
}

impl Layer for Frames {
    fn input(&mut self, part: &Part, nth: u64) -> Input {
        let bytes = self.link.seal(&content(part, nth));
        Input { from: 0, received: bytes.len(), bytes, count: 1 }
    }

    fn take(&mut self, mut input: Input) {
        self.link.take(self.now, &mut input.bytes);
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.link.pass(self.now);
    }
}
