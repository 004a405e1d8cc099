//! Handshake frames of strangers, of every kind.

use std::collections::HashMap;
use std::time::Duration;

use crate::layers::HandshakeLayer;
use rouse_adversary::raw::frames::ForgedInitiation;
use rouse_adversary::raw::{RawHandshake, RawHandshakeEvent, RawOptions};
use rouse_core::Identity;
use rouse_core::time::Time;

use crate::layer::{Input, Layer, MINUTE, Subject, nothing_stays};
use crate::pools::ANSWERS;
use crate::recipe::{Gene, Kind, Part, Recipe, gene, kind};

/// The lower byte is the port of one address.
const ENDPOINTS: &[u64] = &[0, 1, 2, 255, 256, 65_536];
const LENGTHS: &[u64] = &[6, 30, 54, 55, 121, 157, 255, 256, 257, 512, 513, 1400];

/// `state`: 0 out of nothing, 1 as it should be, 2 as it should be but for its last byte, 3 as it should be but for what comes first
/// of what Noise made.
const FRAME: &[Gene] = &[
    gene("endpoint", 0, ENDPOINTS),
    gene("state", 1, &[0, 1, 2, 3]),
    gene("version", 1, &[0, 1, 2, 255]),
    gene("flags", 0, &[0, 1, 255]),
    gene("key", 7, &[0, 1, 7, 255]),
    gene("cookie", 0, &[0, 1]),
    gene("length", 256, LENGTHS),
];

const KINDS: &[Kind] = &[
    Kind { pool: Some(ANSWERS), ..kind("handshake 01: initiation", FRAME) },
    kind("handshake 02: response", FRAME),
    kind("handshake 03: finish", FRAME),
    kind("handshake 04: cookie", FRAME),
    kind("handshake 05: refusal", FRAME),
];

pub(crate) const SUBJECT: Subject = Subject {
    kinds: KINDS,
    make: || Box::new(Strangers::new()),
    weight: 1,
    silence: MINUTE,
    works_in_silence: true,
    usual,
    seeds,
    places: |kind| Some(initiations(kind)),
    stays: nothing_stays,
};

/// Initiations, each from another host, as many as are answered without a cookie.
fn usual(_: usize) -> Recipe {
    let initiation = Part::usual(KINDS, 0).counting(KINDS, "endpoint");
    Recipe { pace: 25_000, ..Recipe::usual(initiation) }
}

/// Each from another network, as often as one is answered without a cookie: the last comes before the time of the first is over.
fn initiations(kind: usize) -> Recipe {
    let networks = Part::usual(KINDS, kind).stepping(KINDS, "endpoint", 65_536);
    Recipe { pace: 25_000, ..Recipe::usual(networks) }
}

/// Each from another host, and from another network, as often as one is answered without a cookie; and one that is left before
/// its end.
fn seeds(kind: usize) -> Vec<Recipe> {
    let part = || Part::usual(KINDS, kind).counting(KINDS, "endpoint");
    let paced = |part| Recipe { pace: 25_000, ..Recipe::usual(part) };
    vec![paced(part()), initiations(kind), paced(part().with(KINDS, "state", 2))]
}

struct Strangers {
    node: HandshakeLayer,
    now: Time,
    /// Frames that the node has sent, by kind and endpoint: what one needs to answer it.
    dials: HashMap<u32, Vec<u8>>,
}

impl Strangers {
    fn new() -> Self {
        let node = HandshakeLayer::new(&Identity::from_seed(&[0x50; 32]), None, [3; 32]);
        Strangers { node, now: Time::from_millis(10_000), dials: HashMap::new() }
    }

    fn shaking(endpoint: u32) -> (Identity, RawOptions) {
        let mut seed = [0x5a; 32];
        seed[..4].copy_from_slice(&endpoint.to_le_bytes());
        (Identity::from_seed(&seed), RawOptions { seed, ..RawOptions::default() })
    }

    /// The initiation of an honest stranger.
    fn initiation(&self, endpoint: u32) -> (RawHandshake, Vec<u8>) {
        let (identity, manners) = Self::shaking(endpoint);
        let mut shaking = RawHandshake::dial(self.now, &identity, manners);
        let frame = sent(&mut shaking, self.now);
        (shaking, frame)
    }

    /// The frame that an honest stranger sends at this point, with those that have to precede it.
    fn honest(&mut self, kind: usize, endpoint: u32) -> Vec<u8> {
        match kind {
            0 => self.initiation(endpoint).1,
            2 => {
                let (mut shaking, frame) = self.initiation(endpoint);
                // As many as it answers without asking for a cookie.
                self.pass(Duration::from_millis(25));
                for answer in self.node.take(self.now, endpoint, &frame) {
                    let _ = shaking.receive(self.now, &answer);
                }
                sent(&mut shaking, self.now)
            }
            _ => {
                let dialled = self.dialled(endpoint);
                let (identity, manners) = Self::shaking(endpoint);
                let mut shaking = RawHandshake::answer(&identity, manners);
                let _ = shaking.receive(self.now, &dialled);
                sent(&mut shaking, self.now)
            }
        }
    }

    /// The initiation that the node itself has sent there.
    fn dialled(&mut self, endpoint: u32) -> Vec<u8> {
        let (node, now) = (&mut self.node, self.now);
        let dial = || node.dial(now, endpoint).into_iter().next().unwrap_or_default();
        self.dials.entry(endpoint).or_insert_with(dial).clone()
    }

    fn short(&mut self, part: &Part, endpoint: u32, nth: u64) -> Vec<u8> {
        let dialled = self.dialled(endpoint);
        let (sender, echo) = (dialled.get(3..7).unwrap_or(&[0; 4]), dialled.get(23..31).unwrap_or(&[0; 8]));
        let mut bytes = vec![part.kind as u8 + 1, 1];
        bytes.extend_from_slice(sender);
        bytes.extend_from_slice(echo);
        match part.kind {
            3 => bytes.extend_from_slice(&[part.number(KINDS, "key", nth) as u8; 16]),
            _ => bytes.push(1 + part.number(KINDS, "key", nth) as u8 % 2),
        }
        bytes
    }
}

fn sent(shaking: &mut RawHandshake, now: Time) -> Vec<u8> {
    while let Some(shaken) = shaking.poll(now) {
        if let RawHandshakeEvent::Send(frame) = shaken {
            return frame;
        }
    }
    Vec::new()
}

impl Layer for Strangers {
    fn input(&mut self, part: &Part, nth: u64) -> Input {
        let number = |name| part.number(KINDS, name, nth);
        let endpoint = number("endpoint") as u32;
        let state = number("state");
        let mut bytes = match part.kind {
            _ if state == 0 => {
                let mut key = [number("key") as u8; 32];
                key[..8].copy_from_slice(&nth.to_le_bytes());
                let mut opening = ForgedInitiation::new(nth as u32, key);
                opening.version = number("version") as u8;
                opening.flags = number("flags") as u8;
                opening.cookie = [number("cookie") as u8; 16];
                opening.length = number("length") as usize % 1401;
                let mut bytes = opening.bytes();
                bytes.iter_mut().take(1).for_each(|kind| *kind = part.kind as u8 + 1);
                bytes
            }
            3 | 4 => self.short(part, endpoint, nth),
            kind => self.honest(kind, endpoint),
        };
        let from = bytes.len();
        match state {
            2 => bytes.iter_mut().skip(from.saturating_sub(1)).for_each(|byte| *byte ^= 1),
            3 => bytes.iter_mut().skip(20).take(1).for_each(|byte| *byte ^= 1),
            _ => {}
        }
        Input { from: endpoint.into(), received: bytes.len(), bytes, count: 1 }
    }

    fn take(&mut self, input: Input) {
        self.node.take(self.now, input.from as u32, &input.bytes);
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.node.pass(self.now);
    }
}
