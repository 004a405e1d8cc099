//! Records of the route layer in scripts, with the fields and the proofs of eight origins.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use rouse_proto::address::Address;
use rouse_proto::identity::Identity;
use rouse_proto::wire::route::{
    Chain, INFINITY, LINKS, Record, RouteAttributes, SeqnoRequest, SignedAnnounce, Update, advance, key_hash,
};

use crate::fuzz::script::Script;

/// Step: a signed announce with a neighbour's route attributes.
pub(crate) const ANNOUNCE: u8 = 1;
/// Step: an offer, which names the announce by a hash.
pub(crate) const OFFER: u8 = 2;
/// Step: a neighbour requests an announce.
pub(crate) const WANT: u8 = 3;
/// Step: a neighbour's distance has changed.
pub(crate) const UPDATE: u8 = 4;
/// Step: a neighbour requests a newer sequence number.
pub(crate) const SEQ_REQ: u8 = 5;
/// Step: a neighbour sends an origin its highest announce.
pub(crate) const YOUR_HIGHEST: u8 = 6;

/// The identities of a script that can sign: the router under test first, then its neighbours and others.
pub(crate) const ORIGINS: usize = 8;

static IDENTITIES: LazyLock<Vec<Identity>> =
    LazyLock::new(|| (0..ORIGINS as u8).map(|number| Identity::from_seed(&[number + 0x40; 32])).collect());
static SIGNED: Mutex<BTreeMap<(usize, u64, u16), SignedAnnounce>> = Mutex::new(BTreeMap::new());

/// An origin.
pub(crate) fn identity(origin: usize) -> Identity {
    IDENTITIES[origin].clone()
}

/// An origin's address.
pub(crate) fn address(origin: usize) -> Address {
    IDENTITIES[origin].address()
}

/// An announce that an origin signed.
pub(crate) fn signed(origin: usize, seq: u64, lifetime: u16) -> SignedAnnounce {
    let mut signed = SIGNED.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        let dst = address(origin);
        let anchor = advance(&dst, seq, IDENTITIES[origin].chain_seed(seq), LINKS);
        let mut announce =
            SignedAnnounce { dst, seq, lifetime, caps: 0, anchor, signature: [0; 64], optional: None };
        announce.signature = IDENTITIES[origin].sign(&announce.signed().expect("a plain announce encodes"));
        announce
    };
    signed.entry((origin, seq, lifetime)).or_insert_with(make).clone()
}

/// A sequence number near a boundary: a few in the epochs before and at ours, the lowest and the highest ones.
fn seq(script: &mut Script<'_>) -> u64 {
    let byte = script.u8();
    let low = u64::from(byte & 7);
    match byte >> 6 {
        0 => low,
        1 => (999 << 32) | low,
        2 => (1000 << 32) | low,
        _ => u64::MAX - low,
    }
}

/// An announce and the number of its origin.
fn signed_announce(script: &mut Script<'_>) -> (usize, SignedAnnounce) {
    let (origin, seq) = (script.below(ORIGINS), seq(script));
    let lifetime = [5400, 60, 0, 7][script.below(4)];
    (origin, signed(origin, seq, lifetime))
}

/// The chain value of a node this many hops away from an origin. Any holder can compute those of more hops.
fn chain(origin: usize, seq: u64, hops: u8) -> Chain {
    static MADE: Mutex<BTreeMap<(usize, u64), Vec<Chain>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        let Some(identity) = IDENTITIES.get(origin) else { return Vec::new() };
        let next = |chain: &Chain| Some(advance(&identity.address(), seq, *chain, 1));
        std::iter::successors(Some(identity.chain_seed(seq)), next).take(usize::from(LINKS) + 1).collect()
    };
    made.entry((origin, seq)).or_insert_with(make).get(usize::from(hops)).copied().unwrap_or_default()
}

fn attributes(script: &mut Script<'_>, origin: usize, seq: u64) -> RouteAttributes {
    let (idx, metric, hops) = (script.u8().into(), script.u16(), script.u8());
    let (mtu, remaining) = (script.u16(), script.u16());
    // In one of 256 cases the neighbour claims fewer hops than it can prove.
    let proved = hops.saturating_add(u8::from(remaining & 0xff == 0xff));
    RouteAttributes { idx, metric, hops, mtu, remaining, chain: chain(origin, seq, proved) }
}

/// The record of a neighbour that a step sends.
pub(crate) fn record(step: u8, script: &mut Script<'_>) -> Record {
    match step {
        ANNOUNCE => {
            let (origin, announce) = signed_announce(script);
            let attributes = attributes(script, origin, announce.seq);
            Record::Announce(announce, attributes)
        }
        OFFER => {
            let (origin, seq) = (script.below(ORIGINS + 1), seq(script));
            let attributes = attributes(script, origin, seq);
            let key_hash = if origin < ORIGINS { key_hash(&address(origin)) } else { 77 };
            Record::Offer { key_hash, seq, attributes }
        }
        WANT => Record::Want { idx: script.u8().into() },
        UPDATE => {
            let (idx, metric, hops) = (script.u8().into(), script.u16(), script.u8());
            let proof = script.u8();
            let proved = || chain(usize::from(proof) % ORIGINS, seq(script), hops);
            let chain = (proof & 0x80 != 0 && metric != INFINITY).then(proved);
            Record::Update(Update { idx, metric, hops, chain })
        }
        SEQ_REQ => {
            let dst = address(script.below(ORIGINS));
            Record::SeqnoRequest(SeqnoRequest {
                dst,
                seq: seq(script),
                ttl: script.u8(),
                id: script.u8().into(),
            })
        }
        _ => Record::YourHighest(signed_announce(script).1),
    }
}
