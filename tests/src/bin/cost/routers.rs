//! Control messages: records of every kind, as many to a message as fit.

use std::time::Duration;

use crate::layers::RouterLayer;
use rouse_adversary::raw::control_messages::{RawAnnounce, RawAttributes, RawRecord, chain};
use rouse_core::Identity;
use rouse_core::time::Time;

use crate::layer::{Input, Layer, Subject, no_places, nothing_stays};
use crate::recipe::{Gene, Kind, Part, Recipe, gene, kind};

/// Senders pack so much, and a receiver takes the other.
const PACKED: usize = 1000;
const MESSAGE: usize = 4096;
/// A segment of the control stream and its frame, for each message.
const SEGMENT: usize = 49;

/// The records of a neighbour about a destination are kept for the lifetime of its announce, since a route that is offered again
/// must not be taken for a nearer one. Here all announces have the lifetime of an honest node's.
const LIFETIME: Duration = Duration::from_secs(5400 + 180);

const IDXS: &[u64] = &[0, 1, 2, 255, 1000, 1023, 65_535, 65_536, 131_070, 131_071, 131_072, u32::MAX as u64];
const METRICS: &[u64] = &[0, 31, 32, 40, 64, 100, 2000, 2048, 10_000, 65_534, 65_535];
const HOPS: &[u64] = &[0, 1, 2, 3, 32, 62, 63, 64, 255];
const SEQS: &[u64] =
    &[0, 1, 2, 1000, 1000 << 32, (1000 << 32) + 1, (1000 << 32) + 70_000, u64::MAX - 1, u64::MAX];
const PIECES: &[u64] = &[1, 1, 2, 5, 16, 64, 400];
const FULL: &[u64] = &[0, 0, 1];
/// 0 is the router itself, the others are strangers to it.
const ORIGINS: &[u64] = &[0, 1, 2, 3, 100];
/// True proofs, and false ones.
const PROOFS: &[u64] = &[0, 0, 1];

const ANNOUNCE: &[Gene] = &[
    gene("origin", 1, ORIGINS),
    gene("seq", 5, SEQS),
    gene("lifetime", 5400, &[0, 1, 7, 60, 5400]),
    gene("extensions", 0, &[0, 1, 255, 256]),
    gene("forged", 0, &[0, 0, 1]),
    gene("idx", 1, IDXS),
    gene("metric", 4000, METRICS),
    gene("hops", 2, HOPS),
    gene("proof", 1, PROOFS),
    gene("mtu", 1200, &[0, 445, 446, 1200, 65_535]),
    gene("remaining", 5000, &[0, 1, 60, 5400]),
    gene("pieces", 1, PIECES),
    gene("full", 0, FULL),
];
const WANT: &[Gene] = &[gene("idx", 1, IDXS), gene("pieces", 1, PIECES), gene("full", 0, FULL)];
const UPDATE: &[Gene] = &[
    gene("idx", 1, IDXS),
    gene("origin", 1, ORIGINS),
    gene("seq", 5, SEQS),
    gene("metric", 4000, METRICS),
    gene("hops", 2, HOPS),
    gene("chain", 0, &[0, 1, 1]),
    gene("proof", 1, PROOFS),
    gene("pieces", 1, PIECES),
    gene("full", 0, FULL),
];
const SEQ_REQ: &[Gene] = &[
    gene("origin", 1, ORIGINS),
    gene("seq", 5, SEQS),
    gene("ttl", 64, &[0, 1, 2, 64, 255]),
    gene("id", 1, &[0, 1, 2, 1000, u32::MAX as u64]),
    gene("pieces", 1, PIECES),
    gene("full", 0, FULL),
];
const RESERVED: &[Gene] = &[
    gene("kind", 7, &[0, 7, 8, 0x7f, 0x80, 0xff]),
    gene("length", 4, &[0, 1, 2, 64, 900, 4000]),
    gene("pieces", 1, PIECES),
    gene("full", 0, FULL),
];

const KINDS: &[Kind] = &[
    kind("record 01: announce", ANNOUNCE),
    kind("record 02: offer", ANNOUNCE),
    kind("record 03: want", WANT),
    kind("record 04: update", UPDATE),
    kind("record 05: request for a seq", SEQ_REQ),
    kind("record 06: your highest", ANNOUNCE),
    kind("record of a reserved kind", RESERVED),
];

pub(crate) const SUBJECT: Subject = Subject {
    kinds: KINDS,
    make: || Box::new(Records::new()),
    weight: 3,
    silence: LIFETIME,
    works_in_silence: true,
    usual,
    seeds,
    places: no_places,
    stays: nothing_stays,
};

/// New distances of known destinations, each farther away than before and advertised to others, as in a mesh where a link has
/// failed.
fn usual(length: usize) -> Recipe {
    let known = Part::usual(KINDS, 0).counting(KINDS, "origin").counting(KINDS, "idx").times(128);
    let update =
        Part::usual(KINDS, 3).with(KINDS, "metric", 200).with(KINDS, "pieces", (length / 9).max(1) as u64);
    Recipe { setup: vec![known], dear: update.counting(KINDS, "idx").counting(KINDS, "metric"), pace: 0 }
}

/// Proofs of fewer hops than there are, for each of some destinations that are known from afar in turn and for one again and again.
fn seeds(kind: usize) -> Vec<Recipe> {
    let known = || {
        let far = Part::usual(KINDS, 0).with(KINDS, "hops", 63).counting(KINDS, "origin");
        far.counting(KINDS, "idx").times(400)
    };
    let lie = || {
        let part = Part::usual(KINDS, kind).with(KINDS, "hops", 1).with(KINDS, "proof", 0);
        part.with(KINDS, "chain", 1).with(KINDS, "pieces", 64).counting(KINDS, "metric")
    };
    let each = lie().counting(KINDS, "origin").counting(KINDS, "idx");
    vec![
        Recipe::after(vec![known()], each),
        Recipe::after(vec![known()], lie()),
        Recipe::after(vec![], lie()),
    ]
}

struct Records {
    router: RouterLayer,
    now: Time,
    own: Identity,
}

/// Announces are signed once: signing is dearer than all that is measured.
fn signed_announce(own: &Identity, part: &Part, nth: u64) -> (RawAnnounce, [u8; 16]) {
    use std::cell::RefCell;
    use std::collections::HashMap;
    type Signed = HashMap<(u64, u64, u16, usize, bool), RawAnnounce>;
    thread_local!(static SIGNED: RefCell<Signed> = RefCell::default());
    let number = |name| part.number(KINDS, name, nth);
    let origin = number("origin") % 4096;
    let identity = || match origin {
        0 => own.clone(),
        other => {
            let mut seed = [0x51; 32];
            seed[..8].copy_from_slice(&other.to_le_bytes());
            Identity::from_seed(&seed)
        }
    };
    let (seq, lifetime) = (number("seq"), number("lifetime") as u16);
    let (extensions, forged) = (number("extensions") as usize % 257, number("forged") != 0);
    let secret = [origin as u8; 16];
    let make = || {
        let identity = identity();
        let mut announce = RawAnnounce::new(&identity, seq, lifetime, secret);
        if extensions > 0 {
            announce.extensions = vec![7; extensions];
            announce = announce.signed_by(&identity);
        }
        if forged {
            announce.signature[9] ^= 1;
        }
        announce
    };
    SIGNED.with_borrow_mut(|signed| {
        if signed.len() > 20_000 {
            signed.clear();
        }
        let announce = signed.entry((origin, seq, lifetime, extensions, forged)).or_insert_with(make);
        (announce.clone(), secret)
    })
}

impl Records {
    fn new() -> Self {
        let (now, own) = (Time::from_millis(1_000_000), Identity::from_seed(&[0x50; 32]));
        Records { router: RouterLayer::new(now, &own, true), now, own }
    }

    /// The proof of so many hops, or none that holds.
    fn proof(&self, part: &Part, nth: u64, announce: &RawAnnounce, secret: [u8; 16]) -> [u8; 16] {
        let hops = part.number(KINDS, "hops", nth) as u8;
        match part.number(KINDS, "proof", nth) {
            0 => [0xfa; 16],
            _ => chain(&announce.dst, announce.seq, secret, hops.min(64)),
        }
    }

    fn record(&self, part: &Part, nth: u64) -> Vec<u8> {
        let number = |name| part.number(KINDS, name, nth);
        let (idx, metric, hops) = (number("idx") as u32, number("metric") as u16, number("hops") as u8);
        let word = match part.kind {
            0 | 1 => {
                let (announce, secret) = signed_announce(&self.own, part, nth);
                let chain = self.proof(part, nth, &announce, secret);
                let (mtu, remaining) = (number("mtu") as u16, number("remaining") as u16);
                let attributes = RawAttributes { idx, metric, hops, mtu, remaining, chain };
                if part.kind == 0 {
                    RawRecord::Announce(announce, attributes)
                } else {
                    RawRecord::Offer(announce.dst, announce.seq, attributes)
                }
            }
            2 => RawRecord::Want(idx),
            3 => {
                let chain = (number("chain") != 0).then(|| {
                    let (announce, secret) = signed_announce(&self.own, part, nth);
                    self.proof(part, nth, &announce, secret)
                });
                RawRecord::Update(idx, metric, hops, chain)
            }
            4 => RawRecord::SeqnoRequest(
                signed_announce(&self.own, part, nth).0.dst,
                number("seq"),
                number("ttl") as u8,
                number("id") as u32,
            ),
            5 => RawRecord::YourHighest(signed_announce(&self.own, part, nth).0),
            _ => {
                let mut bytes = vec![number("kind") as u8];
                let length = number("length") as usize % MESSAGE;
                bytes.extend_from_slice(&(length as u16).to_le_bytes());
                bytes.resize(bytes.len() + length, 0xaa);
                return bytes;
            }
        };
        word.bytes()
    }
}

impl Layer for Records {
    fn input(&mut self, part: &Part, nth: u64) -> Input {
        let most = if part.number(KINDS, "full", nth) == 0 { PACKED } else { MESSAGE };
        let pieces = part.number(KINDS, "pieces", nth).clamp(1, 400);
        let mut bytes = Vec::new();
        for piece in 0..pieces {
            let record = self.record(part, nth.wrapping_mul(pieces).wrapping_add(piece));
            if bytes.len() + record.len() > most {
                break;
            }
            bytes.extend(record);
        }
        let received = bytes.len() + SEGMENT;
        Input { from: 0, bytes, received, count: 1 }
    }

    fn take(&mut self, input: Input) {
        self.router.take(self.now, &input.bytes);
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.router.pass(self.now);
    }
}
