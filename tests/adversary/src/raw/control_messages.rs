//! The records of control messages with any fields, valid or not.

use rouse_proto::address::Address;
use rouse_proto::identity::Identity;
use rouse_proto::wire::route::{self, LINKS, OptionalFields, Record};

/// The metric of an unreachable destination.
pub const INFINITY: u16 = route::INFINITY;
/// The bound (exclusive) on the numbers of destinations.
pub const MAX_IDX: u32 = route::MAX_IDX;
/// The longest control message, in bytes.
pub const MAX_MESSAGE: usize = route::MAX_MESSAGE;

/// An announce with any fields and any signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnnounce {
    /// The origin.
    pub dst: Address,
    /// Epoch in the upper half, counter in the lower.
    pub seq: u64,
    /// Seconds for which it is valid.
    pub lifetime: u16,
    /// Abilities of the origin.
    pub caps: u16,
    /// The last value of its hop chain.
    pub anchor: [u8; 16],
    /// Signed extensions. More than 256 bytes cannot be encoded.
    pub extensions: Vec<u8>,
    /// The signature of all fields above.
    pub signature: [u8; 64],
}

impl RawAnnounce {
    /// A valid announce, with the hop chain of this secret value.
    pub fn new(identity: &Identity, seq: u64, lifetime: u16, secret: [u8; 16]) -> Self {
        let dst = identity.address();
        let anchor = chain(&dst, seq, secret, LINKS);
        let announce =
            RawAnnounce { dst, seq, lifetime, caps: 0, anchor, extensions: Vec::new(), signature: [0; 64] };
        announce.signed_by(identity)
    }

    /// The same announce with a signature of any identity.
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

/// The value of a hop chain after this many further rounds.
pub fn chain(dst: &Address, seq: u64, value: [u8; 16], rounds: u8) -> [u8; 16] {
    route::advance(dst, seq, value, rounds)
}

/// The attributes of a neighbour's route, with any values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawAttributes {
    /// The neighbour's number for the destination.
    pub idx: u32,
    /// The neighbour's distance.
    pub metric: u16,
    /// Number of links from the neighbour to the destination.
    pub hops: u8,
    /// The longest packet that every link of the route carries, in bytes.
    pub mtu: u16,
    /// Seconds left of the announce's lifetime.
    pub remaining: u16,
    /// The chain value that proves the hops.
    pub chain: [u8; 16],
}

/// One record of a control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawRecord {
    /// An announce and the sender's route to its origin.
    Announce(RawAnnounce, RawAttributes),
    /// The same for a receiver that has the announce: destination, seq, attributes.
    Offer(Address, u64, RawAttributes),
    /// The request for the announce of the destination with this number.
    Want(u32),
    /// A changed distance: number, metric, hops, chain.
    Update(u32, u16, u8, Option<[u8; 16]>),
    /// A request for a newer seq: destination, seq, hops that it may still be passed on, id.
    SeqnoRequest(Address, u64, u8, u32),
    /// The highest announce of an origin that the sender holds.
    YourHighest(RawAnnounce),
}

impl RawRecord {
    fn record(&self) -> Record {
        let attributes = |attributes: &RawAttributes| {
            let RawAttributes { idx, metric, hops, mtu, remaining, chain } = *attributes;
            route::RouteAttributes { idx, metric, hops, mtu, remaining, chain }
        };
        match self {
            RawRecord::Announce(announce, route) => Record::Announce(announce.inner(), attributes(route)),
            RawRecord::Offer(dst, seq, route) => {
                Record::Offer { key_hash: route::key_hash(dst), seq: *seq, attributes: attributes(route) }
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

    /// Its bytes: a control message, or part of one. They are empty when it cannot be encoded.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.record().encode(&mut out) {
            Ok(()) => out,
            Err(_) => Vec::new(),
        }
    }

    /// The records of a control message. Offers are left out, because they name their destination only by a hash.
    pub fn read(mut message: &[u8]) -> Vec<RawRecord> {
        let mut records = Vec::new();
        while let Ok((record, rest)) = Record::decode(message) {
            message = rest;
            let attributes = |attributes: route::RouteAttributes| {
                let route::RouteAttributes { idx, metric, hops, mtu, remaining, chain } = attributes;
                RawAttributes { idx, metric, hops, mtu, remaining, chain }
            };
            records.extend(match record {
                Record::Announce(announce, route) => {
                    Some(RawRecord::Announce(RawAnnounce::of(announce), attributes(route)))
                }
                Record::Want { idx } => Some(RawRecord::Want(idx)),
                Record::Update(update) => {
                    Some(RawRecord::Update(update.idx, update.metric, update.hops, update.chain))
                }
                Record::SeqnoRequest(route::SeqnoRequest { dst, seq, ttl, id }) => {
                    Some(RawRecord::SeqnoRequest(dst, seq, ttl, id))
                }
                Record::YourHighest(announce) => Some(RawRecord::YourHighest(RawAnnounce::of(announce))),
                // An offer has only a hash of its destination, and a raw offer needs the address.
                Record::Offer { .. } | Record::Reserved { .. } => None,
            });
        }
        records
    }
}
