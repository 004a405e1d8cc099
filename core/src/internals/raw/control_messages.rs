//! What routers say to each other, with any fields.

use crate::address::Address;
use crate::identity::Identity;
use crate::wire::route::{self, LINKS, OptionalFields, Record};

/// The metric of what cannot be reached.
pub const INFINITY: u16 = route::INFINITY;
/// No number of a destination is as high.
pub const MAX_IDX: u32 = route::MAX_IDX;
/// No control message is longer, in bytes.
pub const MAX_MESSAGE: usize = route::MAX_MESSAGE;

/// An origin's statement, signed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnnounce {
    /// Whose it is.
    pub dst: Address,
    /// Epoch in the upper half, counter in the lower.
    pub seq: u64,
    /// Seconds it is good for.
    pub lifetime: u16,
    /// What the origin can do.
    pub caps: u16,
    /// Where its hop chain ends.
    pub anchor: [u8; 16],
    /// Signed extensions; more than 256 bytes are never sent.
    pub extensions: Vec<u8>,
    /// Over all of the above.
    pub signature: [u8; 64],
}

impl RawAnnounce {
    /// An honest one, with the chain of this secret value.
    pub fn new(identity: &Identity, seq: u64, lifetime: u16, secret: [u8; 16]) -> Self {
        let dst = identity.address();
        let anchor = chain(&dst, seq, secret, LINKS);
        let announce =
            RawAnnounce { dst, seq, lifetime, caps: 0, anchor, extensions: Vec::new(), signature: [0; 64] };
        announce.signed_by(identity)
    }

    /// The same with a signature of this identity, whose ever it is.
    pub fn signed_by(mut self, identity: &Identity) -> Self {
        let signed = self.inner().signed().unwrap_or_default();
        self.signature = identity.sign(&signed);
        self
    }

    fn inner(&self) -> route::SignedAnnounce {
        let optional =
            OptionalFields { extensions: self.extensions.clone().into(), ..OptionalFields::default() };
        route::SignedAnnounce {
            dst: self.dst,
            seq: self.seq,
            lifetime: self.lifetime,
            caps: self.caps,
            anchor: self.anchor,
            signature: self.signature,
            optional: (!self.extensions.is_empty()).then(|| Box::new(optional)),
        }
    }

    fn of(announce: route::SignedAnnounce) -> Self {
        let extensions =
            announce.optional.as_ref().map(|optional| optional.extensions.to_vec()).unwrap_or_default();
        let route::SignedAnnounce { dst, seq, lifetime, caps, anchor, signature, .. } = announce;
        RawAnnounce { dst, seq, lifetime, caps, anchor, extensions, signature }
    }
}

/// The value of a hop chain so many rounds further on.
pub fn chain(dst: &Address, seq: u64, value: [u8; 16], rounds: u8) -> [u8; 16] {
    route::advance(dst, seq, value, rounds)
}

/// What a neighbour vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawAttributes {
    /// Its number for the destination.
    pub idx: u32,
    /// Its distance.
    pub metric: u16,
    /// Links from it to the destination.
    pub hops: u8,
    /// The longest packet that fits all the way, in bytes.
    pub mtu: u16,
    /// Seconds left of the announce's lifetime.
    pub remaining: u16,
    /// The proof of its hops.
    pub chain: [u8; 16],
}

/// One thing said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawRecord {
    /// An announce and how far it is.
    Announce(RawAnnounce, RawAttributes),
    /// The same for who has the core.
    Offer(Address, u64, RawAttributes),
    /// "Send me the announce of what you call so."
    Want(u32),
    /// A new distance: number, metric, hops, chain.
    Update(u32, u16, u8, Option<[u8; 16]>),
    /// A request for a newer seq: destination, seq, hops it may take, id.
    SeqnoRequest(Address, u64, u8, u32),
    /// The highest announce that somebody holds.
    YourHighest(RawAnnounce),
}

impl RawRecord {
    fn record(&self) -> Record {
        let attributes = |attributes: &RawAttributes| {
            let RawAttributes { idx, metric, hops, mtu, remaining, chain } = *attributes;
            route::RouteAttributes { idx, metric, hops, mtu, remaining, chain }
        };
        match self {
            RawRecord::Announce(announce, said) => Record::Announce(announce.inner(), attributes(said)),
            RawRecord::Offer(dst, seq, said) => {
                Record::Offer { key_hash: route::key_hash(dst), seq: *seq, attributes: attributes(said) }
            }
            RawRecord::Want(idx) => Record::Want { idx: *idx },
            RawRecord::Update(idx, metric, hops, chain) => {
                Record::Update(route::Update { idx: *idx, metric: *metric, hops: *hops, chain: *chain })
            }
            RawRecord::SeqnoRequest(dst, seq, ttl, id) => {
                Record::SeqnoRequest(route::SeqnoRequest { dst: *dst, seq: *seq, ttl: *ttl, id: *id })
            }
            RawRecord::YourHighest(announce) => Record::YourHighest(announce.inner()),
        }
    }

    /// Its bytes: a control message, or part of one. Empty when it cannot be written.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.record().encode(&mut out) {
            Ok(()) => out,
            Err(_) => Vec::new(),
        }
    }

    /// The announces in what a neighbour's router said, and whatever else stands between them.
    pub fn read(mut message: &[u8]) -> Vec<RawRecord> {
        let mut words = Vec::new();
        while let Ok((record, rest)) = Record::decode(message) {
            message = rest;
            let attributes = |attributes: route::RouteAttributes| {
                let route::RouteAttributes { idx, metric, hops, mtu, remaining, chain } = attributes;
                RawAttributes { idx, metric, hops, mtu, remaining, chain }
            };
            words.extend(match record {
                Record::Announce(announce, said) => {
                    Some(RawRecord::Announce(RawAnnounce::of(announce), attributes(said)))
                }
                Record::Want { idx } => Some(RawRecord::Want(idx)),
                Record::Update(update) => {
                    Some(RawRecord::Update(update.idx, update.metric, update.hops, update.chain))
                }
                Record::SeqnoRequest(route::SeqnoRequest { dst, seq, ttl, id }) => {
                    Some(RawRecord::SeqnoRequest(dst, seq, ttl, id))
                }
                Record::YourHighest(announce) => Some(RawRecord::YourHighest(RawAnnounce::of(announce))),
                // An offer names its destination by a hash only.
                Record::Offer { .. } | Record::Reserved { .. } => None,
            });
        }
        words
    }
}
