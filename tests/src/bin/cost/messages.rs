//! Packets for a node itself and for others: payloads of every kind, and message packets with frames of every kind. The latter
//! are sealed in sessions that their senders have with the node.

use std::time::Duration;

use rouse_adversary::raw::frames;
use rouse_core::Address;

use crate::layer::{Input, Layer, MINUTE, SEAL, Subject, no_places};
use crate::layers::{FriendStanding, NodeLayer};
use crate::pools::{CONVERSATIONS, Pool};
use crate::recipe::{Gene, Kind, Part, Recipe, gene, kind};

/// The longest packet of a link, in bytes.
const MTU: usize = 1400;
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    9,
    63,
    64,
    1000,
    4095,
    4096,
    65_535,
    65_536,
    1_000_000,
    1 << 32,
    (1 << 62) - 1,
    1 << 62,
    u64::MAX,
];
const SHORTS: &[u64] = &[0, 1, 2, 63, 64, 128, 200, 1023, 1024, 2048, 4094, 4095, 4096, 65_534, 65_535];
const LENGTHS: &[u64] = &[0, 1, 2, 8, 16, 64, 128, 200, 600, 1200];
const PIECES: &[u64] = &[0, 1, 2, 3, 8, 32, 64, 100, 200, 1400];
/// A number below 1000 is a source with a route, and a greater one an invented source.
const SOURCES: &[u64] = &[0, 0, 0, 1, 2, 1000, 1000, 5000];

macro_rules! header {
    ($($more:expr),*) => { &[
        gene("source", 0, SOURCES),
        gene("incarnation", 7, &[7, 8, 0, 1, u64::MAX]),
        gene("known", 1, &[0, 1, 1]),
        gene("number", 0, NUMBERS),
        gene("open", 0, &[0, 1, 9, 64, 2048, u32::MAX as u64]),
        gene("floor", 0, NUMBERS),
        $($more),*
    ] };
}

const ACK: &[Gene] = header!(
    gene("largest", 0, NUMBERS),
    gene("ranges", 1, &[1, 2, 8, 31, 32, 33, 255]),
    gene("gap", 1, &[0, 1, 2, 9, 1000]),
    gene("length", 0, &[0, 1, 2, 9, 1000, 1_000_000, u32::MAX as u64]),
    gene("pieces", 1, PIECES)
);
const CREDIT: &[Gene] = header!(
    gene("taken", 0, NUMBERS),
    gene("bytes", 4 << 20, &[0, 1, 4 << 20, u32::MAX as u64]),
    gene("messages", 4096, SHORTS),
    gene("pieces", 1, PIECES)
);
const MESSAGES: &[Gene] = header!(
    gene("above", 0, SHORTS),
    gene("count", 1, &[0, 1, 2, 8, 64, 200, 65_535]),
    gene("length", 64, LENGTHS),
    gene("pieces", 1, PIECES)
);
const FRAGMENT: &[Gene] = header!(
    gene("above", 0, SHORTS),
    gene(
        "total",
        100_000,
        &[1, 2, 129, 1200, 65_536, 100_000, 1 << 20, 16 << 20, (16 << 20) + 1, u32::MAX as u64]
    ),
    gene("offset", 0, &[0, 1, 2, 128, 1200, 50_000, 500_000, 8 << 20, (16 << 20) - 1]),
    gene("length", 1000, LENGTHS),
    gene("pieces", 1, PIECES)
);
const SKIP: &[Gene] = header!(gene("above", 0, SHORTS), gene("count", 1, SHORTS), gene("pieces", 1, PIECES));
const ATTRIBUTES: &[Gene] = header!(
    gene("flags", 1, &[0, 1, 2, 3, 5, 11, 64, 255]),
    gene("name length", 8, &[0, 1, 8, 64, 65, 255]),
    gene("name", 0, NUMBERS),
    gene("above", 0, SHORTS),
    gene("count", 1, &[0, 1, 2, 8, 64]),
    gene("length", 1, LENGTHS),
    gene("pieces", 1, PIECES)
);
const BARE: &[Gene] = header!(gene("pieces", 1, PIECES));
const PROBE: &[Gene] = &[
    gene("source", 0, SOURCES),
    gene("nonce", 0, NUMBERS),
    gene("value", 64, &[0, 1, 2, 64, 255]),
    gene("destination", 0, &[0, 1, 2, 1000]),
    gene("hop limit", 64, &[0, 1, 2, 64, 255]),
    gene("flags", 0, &[0, 1, 255]),
    gene("length", 0, LENGTHS),
];
const SEALED: &[Gene] =
    &[gene("receiver", 0, NUMBERS), gene("counter", 0, NUMBERS), gene("length", 64, LENGTHS)];
const WRITES: &[Gene] = &[gene("to", 0, &[0, 1]), gene("length", 1000, &[1, 1000, 20_000])];

const KINDS: &[Kind] = &[
    kind("message frames of all kinds", FRAGMENT),
    kind("payload 02: ping", PROBE),
    kind("payload 03: pong", PROBE),
    kind("payload 04: trace", PROBE),
    kind("payload 05: hop", PROBE),
    kind("payload 06: session", SEALED),
    kind("payload of an unknown kind", PROBE),
    kind("payload 01: message packet in clear", PROBE),
    kind("message frame 01: ack", ACK),
    kind("message frame 02: credit", CREDIT),
    kind("message frame 03: messages", MESSAGES),
    kind("message frame 04: fragment", FRAGMENT),
    kind("message frame 05: skip", SKIP),
    kind("message frame 06: ping", BARE),
    kind("message frame 07: last", BARE),
    kind("message frame 08: attributes, and messages", ATTRIBUTES),
    kind("message frame of an unknown kind", BARE),
    Kind { prepares: true, ..kind("an application here writes", WRITES) },
];
const SESSION: usize = 5;
const UNKNOWN: usize = 6;
const CLEAR: usize = 7;
const FIRST_FRAME: usize = 7;
const WROTE: usize = 17;

pub(crate) const SUBJECT: Subject = Subject {
    kinds: KINDS,
    make: || Box::new(Packets(NodeLayer::new())),
    weight: 4,
    silence: MINUTE,
    works_in_silence: true,
    usual,
    seeds,
    places: no_places,
    stays,
};

/// One message after the other, each taken at once.
fn usual(length: usize) -> Recipe {
    let body = length.saturating_sub(frames_overhead()).max(1) as u64;
    let part = Part::usual(KINDS, FIRST_FRAME + 3).with(KINDS, "length", body);
    Recipe::usual(part.counting(KINDS, "number").counting(KINDS, "floor"))
}

/// Each from another invented sender.
fn invented(kind: usize) -> Part {
    let part = Part::usual(KINDS, kind).counting(KINDS, "number").counting(KINDS, "source");
    part.with(KINDS, "source", 1000).with(KINDS, "known", 0).with(KINDS, "length", 1)
}

/// Frames below a high floor that claim a lot; invented senders, also of what is far above their next message; messages and
/// fragments with gaps between any two.
fn seeds(kind: usize) -> Vec<Recipe> {
    let part = || Part::usual(KINDS, kind).counting(KINDS, "number");
    let high = Part::usual(KINDS, FIRST_FRAME + 3).with(KINDS, "floor", 1_000_000);
    let many = |part: Part| {
        let part = part.with(KINDS, "count", 65_535).with(KINDS, "ranges", 32).with(KINDS, "length", 1);
        part.with(KINDS, "total", 16 << 20).with(KINDS, "pieces", 200)
    };
    let below = many(part().with(KINDS, "number", 1));
    let gaps = many(part()).stepping(KINDS, "offset", 2).stepping(KINDS, "above", 2);
    let middle = gaps.clone().with(KINDS, "offset", 8 << 20).with(KINDS, "floor", 1_000_000);
    let invented = invented(kind);
    let far = invented.clone().with(KINDS, "above", 4095);
    let probes = Part::usual(KINDS, kind).with(KINDS, "source", 1000).counting(KINDS, "source");
    let mut all = vec![Recipe::after(vec![high], below), Recipe::usual(invented), Recipe::usual(far)];
    all.extend([gaps, middle, probes.counting(KINDS, "nonce")].map(Recipe::usual));
    all
}

/// A conversation that had a session stays in its table, as does one in which messages of our own wait.
fn stays(recipe: &Recipe) -> Option<Pool> {
    let mut parts = recipe.setup.iter().chain([&recipe.dear]);
    let has_session = |part: &Part| part.kind == WROTE || is_message(part.kind);
    parts.any(has_session).then_some(CONVERSATIONS)
}

/// Whether these are message packets, which come out of a seal.
const fn is_message(kind: usize) -> bool {
    kind == 0 || (kind > FIRST_FRAME && kind < WROTE)
}

/// The header of a packet, the seal of a session, and the seal of a link.
const AROUND: usize = 36 + 29 + SEAL;

const fn frames_overhead() -> usize {
    AROUND + 21 + 13 + 4
}

struct Packets(NodeLayer);

impl Packets {
    fn source(&self, number: u64) -> Address {
        if number < 1000 {
            return self.0.friend(number);
        }
        let mut bytes = [0x5e; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Address::from_bytes(bytes)
    }

    fn probe(&self, part: &Part, nth: u64) -> Vec<u8> {
        let number = |name| part.number(KINDS, name, nth);
        let destination = match number("destination") {
            0 => self.0.address(),
            other => self.source(other),
        };
        let mut payload = frames::probe(
            match part.kind {
                UNKNOWN => 0x77,
                CLEAR => 1,
                kind => kind as u8 + 1,
            },
            self.source(number("source")),
            number("nonce"),
            number("value") as u8,
        );
        payload.resize(payload.len() + number("length") as usize % MTU, 0);
        frames::packet(&destination, number("flags") as u8, number("hop limit") as u8, &payload)
    }

    /// A packet with the index of a session, and any bytes in the place of its seal.
    fn sealed(&self, part: &Part, nth: u64) -> Vec<u8> {
        let number = |name| part.number(KINDS, name, nth);
        let mut payload = vec![6];
        payload.extend_from_slice(&(number("receiver") as u32).to_le_bytes());
        payload.extend_from_slice(&number("counter").to_le_bytes());
        payload.resize(payload.len() + number("length") as usize % MTU, 0xaa);
        frames::packet(&self.0.address(), 0, 64, &payload)
    }

    /// A message packet, as it is after its seal was opened.
    fn message(part: &Part, nth: u64) -> Vec<u8> {
        let number = |name| part.number(KINDS, name, nth);
        let mut payload = vec![1];
        payload.extend_from_slice(&number("number").to_le_bytes());
        payload.extend_from_slice(&(number("open") as u32).to_le_bytes());
        payload.extend_from_slice(&number("floor").to_le_bytes());
        let pieces = number("pieces").min(1400);
        for piece in 0..pieces {
            let before = payload.len();
            frame(part, nth.wrapping_mul(pieces).wrapping_add(piece), &mut payload);
            if payload.len() > MTU - 36 - 29 {
                payload.truncate(if piece == 0 { MTU - 36 - 29 } else { before });
                break;
            }
        }
        payload
    }
}

/// Appends the `nth` messages frame after its kind.
fn messages(part: &Part, nth: u64, out: &mut Vec<u8>) {
    let number = |name| part.number(KINDS, name, nth);
    let (count, length) = (number("count") as u16, number("length") as usize % MTU);
    out.extend_from_slice(&(number("above") as u16).to_le_bytes());
    out.extend_from_slice(&7u64.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    for _ in 0..count {
        if out.len() + length + 4 > MTU - 36 - 29 {
            // The count is mended, as a sender would.
            break;
        }
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(length as u16).to_le_bytes());
        out.resize(out.len() + length, 0xaa);
    }
}

/// Appends the `nth` frame of all packets.
fn frame(part: &Part, nth: u64, out: &mut Vec<u8>) {
    let number = |name| part.number(KINDS, name, nth);
    // Any frame where any will do, in turn.
    let kind = if part.kind == 0 { 4 } else { (part.kind - FIRST_FRAME) as u8 };
    let (above, sent_at) = ((number("above") as u16).to_le_bytes(), 7u64.to_le_bytes());
    let length = number("length") as usize % MTU;
    out.push(kind);
    match kind {
        1 => {
            out.extend_from_slice(&number("largest").to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.push(number("ranges") as u8);
            out.extend_from_slice(&(number("length") as u32).to_le_bytes());
            for _ in 1..(number("ranges") as u8).max(1) {
                out.extend_from_slice(&(number("gap") as u32).to_le_bytes());
                out.extend_from_slice(&(number("length") as u32).to_le_bytes());
            }
        }
        2 => {
            out.extend_from_slice(&number("taken").to_le_bytes());
            out.extend_from_slice(&(number("bytes") as u32).to_le_bytes());
            out.extend_from_slice(&(number("messages") as u16).to_le_bytes());
        }
        3 => messages(part, nth, out),
        4 => {
            out.extend_from_slice(&above);
            out.extend_from_slice(&sent_at);
            out.extend_from_slice(&(number("total") as u32).to_le_bytes());
            out.extend_from_slice(&(number("offset") as u32).to_le_bytes());
            out.extend_from_slice(&(length as u16).to_le_bytes());
            out.resize(out.len() + length, 0xaa);
        }
        5 => {
            out.extend_from_slice(&above);
            out.extend_from_slice(&(number("count") as u16).to_le_bytes());
        }
        8 => {
            let (flags, name) = (number("flags") as u8, number("name length") as u8);
            out.push(flags);
            if flags & 1 != 0 {
                out.push(name);
                // Each name is another one: digits are UTF-8 in any number.
                let digits = format!("{:0width$}", number("name"), width = usize::from(name));
                out.extend_from_slice(
                    &digits.as_bytes()[digits.len() - usize::from(name).min(digits.len())..],
                );
            }
            if flags & 2 != 0 {
                out.extend_from_slice(&number("name").to_le_bytes().repeat(2));
            }
            out.push(3);
            messages(part, nth, out);
        }
        _ => {}
    }
}

impl Layer for Packets {
    fn input(&mut self, part: &Part, nth: u64) -> Input {
        let number = |name| part.number(KINDS, name, nth);
        let (bytes, from) = match part.kind {
            WROTE => (Vec::new(), number("to") << 32 | number("length") & 0xffff_ffff),
            SESSION => (self.0.seal(&self.sealed(part, nth)), 0),
            kind if is_message(kind) => {
                let knows_node = number("known") == 1;
                let standing = FriendStanding { incarnation: number("incarnation"), knows_node };
                let friend = self.0.friend(number("source"));
                (self.0.seal_content(friend, standing, &Self::message(part, nth)), 0)
            }
            _ => (self.0.seal(&self.probe(part, nth)), 0),
        };
        Input { from, received: bytes.len(), bytes, count: 1 }
    }

    fn take(&mut self, input: Input) {
        if input.bytes.is_empty() {
            let to = self.0.friend(input.from >> 32);
            return self.0.send(to, input.from as usize & 0x7fff);
        }
        self.0.take(&input.bytes, input.bytes.len());
    }

    fn pass(&mut self, span: Duration) {
        self.0.pass(span);
    }
}
