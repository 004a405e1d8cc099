//! The formats of the route layer: the records that neighbours send to each other on the control channel.
//!
//! A control message is one or more [`Record`]s, back to back, at most [`MAX_MESSAGE`] bytes; the reliable, ordered
//! channel below keeps messages whole. A record is one byte of kind and a body of fixed size, except for the
//! announce, which carries up to [`MAX_EXTENSIONS`] bytes of signed extensions, and for kinds of versions to come.
//! Integers are little endian.
//!
//! | Kind | Record | Body |
//! |---|---|---|
//! | 1 | ANNOUNCE | announce, route attributes |
//! | 2 | OFFER | key hash 8, seq 8, route attributes |
//! | 3 | WANT | idx 4 |
//! | 4 | UPDATE | idx 4, metric 2 (FFFF retracts), hops 1, flags 1 (bit 0: chain), chain 16 if flagged |
//! | 5 | SEQ_REQ | destination 32, seq 8, ttl 1, id 4 |
//! | 6 | YOUR_HIGHEST | announce |
//! | 7 | ROUTE_REQ, reserved | length 2, so many bytes |
//! | 8 | DIGEST, reserved | length 2, so many bytes |
//! | 9–127 | reserved | length 2, so many bytes |
//!
//! Core: destination 32, seq 8, lifetime 2 (s), capabilities 2, hop anchor 16, prekey id 2, prekey 32, length of the
//! extensions 2, extensions, signature 64 over [`SIGNED_AS`] and all that comes before it. Route attributes: idx 4, metric 2,
//! hops 1, mtu 2, remaining 2 (s), chain 16. `route_chain.rs` describes anchor and chain: the chain of route attributes or of an
//! UPDATE with `hops` h, hashed 64 − h times, is the anchor. An UPDATE carries its chain when its hops are lower than those of
//! the last route attributes for this idx and of all UPDATEs since, and never when it retracts: higher hops need no proof. A
//! receiver skips the reserved kinds 7 to 127 and counts them; kinds 0 and 128 to 255 end the message as malformed.
use crate::address::Address;
use crate::wire::codec::{self, Decode, Encode, Malformed};

#[path = "route_attributes.rs"]
mod attributes;
#[path = "route_chain.rs"]
mod chain;

pub use attributes::RouteAttributes;
#[cfg(test)]
pub(crate) use chain::LABEL;
pub use chain::{Chain, LINKS, advance, leads_to};

/// The longest control message, in bytes.
pub const MAX_MESSAGE: usize = 4096;
/// The most signed extensions that an announce may carry, in bytes.
pub const MAX_EXTENSIONS: usize = 256;
/// The longest record, in bytes: an ANNOUNCE with as many extensions as it may have.
#[cfg(test)]
pub const MAX_RECORD: usize = 1 + 96 + MAX_EXTENSIONS + 64 + 27;
/// The metric of an unreachable destination. Sums saturate at it.
pub const INFINITY: u16 = 0xffff;
/// The bound (exclusive) on the numbers that a sender gives its destinations. It bounds the map that a receiver keeps for each
/// neighbour.
pub const MAX_IDX: u32 = 1 << 17;
/// The label that the signature covers before the announce, so that the signature is valid for no other purpose.
pub const SIGNED_AS: &[u8; 16] = b"rouse announce 1";

const ANNOUNCE: u8 = 1;
const OFFER: u8 = 2;
const WANT: u8 = 3;
const UPDATE: u8 = 4;
const SEQ_REQ: u8 = 5;
const YOUR_HIGHEST: u8 = 6;
/// Kinds reserved for later versions, ROUTE_REQ and DIGEST first. They carry their length, so that a receiver can skip them.
pub const RESERVED: std::ops::RangeInclusive<u8> = 7..=127;
/// The flag of an UPDATE that carries a chain.
const WITH_CHAIN: u8 = 1;

/// The statement, signed by an origin, that it exists and has this sequence number. Routers pass it on unchanged, so that no relay
/// can invent a destination or a newer sequence number for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedAnnounce {
    /// The address of the origin.
    pub dst: Address,
    /// Epoch in the upper half, counter in the lower.
    pub seq: u64,
    /// Seconds for which it is valid after it was signed.
    pub lifetime: u16,
    /// Capabilities of the origin. No bit has a meaning yet.
    pub caps: u16,
    /// The last value of the hop chain of this seq.
    pub anchor: Chain,
    /// The ed25519 signature of the origin over the fields above and the optional ones.
    pub signature: [u8; 64],
    /// The fields that most announces leave empty. They are kept apart, so that a table of many announces stays small.
    pub optional: Option<Box<OptionalFields>>,
}

/// The fields of a [`SignedAnnounce`] that most announces leave empty.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct OptionalFields {
    /// The number of the prekey; 0, since nothing uses it yet.
    pub prekey_id: u16,
    /// A key for messages to a destination that is away; zero, since nothing uses it yet.
    pub prekey: [u8; 32],
    /// The fields that a later version may add, at most [`MAX_EXTENSIONS`] bytes.
    pub extensions: Box<[u8]>,
}

/// The fixed part of a [`SignedAnnounce`], before its extensions and its signature.
#[derive(Encode, Decode)]
struct AnnounceHead {
    dst: Address,
    seq: u64,
    lifetime: u16,
    caps: u16,
    anchor: [u8; 16],
    prekey_id: u16,
    prekey: [u8; 32],
    extensions: u16,
}

impl SignedAnnounce {
    /// The epoch of its sequence number; a restarted origin uses a higher one.
    pub fn epoch(&self) -> u32 {
        epoch(self.seq)
    }

    /// The bytes that the signature covers.
    pub fn signed(&self) -> Result<Vec<u8>, Malformed> {
        let mut out = SIGNED_AS.to_vec();
        self.encode_head(&mut out)?;
        Ok(out)
    }

    /// Memory beyond the struct itself, in bytes.
    pub fn heap(&self) -> usize {
        self.optional
            .as_ref()
            .map_or(0, |optional| size_of::<OptionalFields>().saturating_add(optional.extensions.len()))
    }

    fn encode_head(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let none = OptionalFields::default();
        let optional = self.optional.as_deref().unwrap_or(&none);
        if optional.extensions.len() > MAX_EXTENSIONS {
            return Err(Malformed);
        }
        let head = AnnounceHead {
            dst: self.dst,
            seq: self.seq,
            lifetime: self.lifetime,
            caps: self.caps,
            anchor: self.anchor,
            prekey_id: optional.prekey_id,
            prekey: optional.prekey,
            extensions: u16::try_from(optional.extensions.len()).map_err(|_| Malformed)?,
        };
        codec::encode_into(&head, out)?;
        out.extend_from_slice(&optional.extensions);
        Ok(())
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        self.encode_head(out)?;
        out.extend_from_slice(&self.signature);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (head, rest) = codec::decode_prefix::<AnnounceHead>(bytes)?;
        let length = usize::from(head.extensions);
        if length > MAX_EXTENSIONS {
            return Err(Malformed);
        }
        let (extensions, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        let (signature, rest) = rest.split_first_chunk::<64>().ok_or(Malformed)?;
        let plain = head.prekey_id == 0 && head.prekey == [0; 32] && length == 0;
        let optional = (!plain).then(|| {
            Box::new(OptionalFields {
                prekey_id: head.prekey_id,
                prekey: head.prekey,
                extensions: Box::from(extensions),
            })
        });
        let announce = SignedAnnounce {
            dst: head.dst,
            seq: head.seq,
            lifetime: head.lifetime,
            caps: head.caps,
            anchor: head.anchor,
            signature: *signature,
            optional,
        };
        Ok((announce, rest))
    }
}

/// The epoch of a sequence number: its upper half.
pub fn epoch(seq: u64) -> u32 {
    u32::try_from(seq >> 32).unwrap_or(u32::MAX)
}

/// The first 8 bytes of BLAKE3 of an address: enough to identify an address that both neighbours have.
pub fn key_hash(address: &Address) -> u64 {
    let hash = blake3::hash(address.as_bytes());
    let (head, _) = hash.as_bytes().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    u64::from_le_bytes(*head)
}

/// A change of distance. The destination and its seq are those that the sender last bound to this idx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// The sender's number for the destination.
    pub idx: u32,
    /// The new cost; [`INFINITY`] retracts.
    pub metric: u16,
    /// The new number of links.
    pub hops: u8,
    /// The proof of `hops`, present when they are lower than any that the sender sent since its last route attributes.
    pub chain: Option<Chain>,
}

impl Update {
    /// The update that withdraws the route.
    pub const fn retract(idx: u32) -> Self {
        Update { idx, metric: INFINITY, hops: 0, chain: None }
    }
}

/// The fixed part of an UPDATE, before its chain.
#[derive(Encode, Decode)]
struct UpdateBytes {
    idx: u32,
    metric: u16,
    hops: u8,
    flags: u8,
}

/// The request of a router that has only routes that might loop: the origin is to announce a newer sequence number (RFC 8966,
/// section 3.8.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SeqnoRequest {
    /// The origin.
    pub dst: Address,
    /// The least sequence number that would make the route feasible.
    pub seq: u64,
    /// The number of hops that the request may still be passed on.
    pub ttl: u8,
    /// A number drawn by the requester, so that each router passes a request on once.
    pub id: u32,
}

/// One record of a control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An announce and the sender's route to its origin.
    Announce(SignedAnnounce, RouteAttributes),
    /// The same for a neighbour that probably has the announce already: a hash replaces it.
    Offer {
        /// The [`key_hash`] of the origin.
        key_hash: u64,
        /// The sequence number of the announce.
        seq: u64,
        /// The sender's route.
        attributes: RouteAttributes,
    },
    /// The request for the announce of the destination that the receiver numbered `idx`.
    Want {
        /// The receiver's number for it.
        idx: u32,
    },
    /// A changed distance, or the withdrawal of a route.
    Update(Update),
    /// A request for a newer sequence number.
    SeqnoRequest(SeqnoRequest),
    /// The highest announce of an origin that a router holds, passed on towards the origin. A restarted origin learns from it
    /// which sequence numbers it has used.
    YourHighest(SignedAnnounce),
    /// A record of a later version, which is skipped.
    Reserved {
        /// Its first byte.
        kind: u8,
    },
}

impl Record {
    /// Appends the record's bytes to `out`.
    ///
    /// # Errors
    /// When an announce has more extensions than it may.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match self {
            Record::Announce(announce, attributes) => encode_announce(announce, *attributes, out),
            Record::Offer { key_hash, seq, attributes } => {
                out.push(OFFER);
                codec::encode_into(&(*key_hash, *seq), out)?;
                codec::encode_into(attributes, out)
            }
            Record::Want { idx } => {
                out.push(WANT);
                codec::encode_into(idx, out)
            }
            Record::Update(Update { idx, metric, hops, chain }) => {
                out.push(UPDATE);
                let flags = if chain.is_some() { WITH_CHAIN } else { 0 };
                let update = UpdateBytes { idx: *idx, metric: *metric, hops: *hops, flags };
                codec::encode_into(&update, out)?;
                out.extend(chain.iter().flatten());
                Ok(())
            }
            Record::SeqnoRequest(request) => {
                out.push(SEQ_REQ);
                codec::encode_into(request, out)
            }
            Record::YourHighest(announce) => encode_your_highest(announce, out),
            Record::Reserved { kind } => {
                out.push(*kind);
                codec::encode_into(&0u16, out)
            }
        }
    }

    /// Reads the record at the head of `bytes`; returns it and the rest.
    ///
    /// # Errors
    /// When the bytes are not a record: cut short, of no known or reserved kind, an unknown flag, an idx or a
    /// length beyond its bound.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (kind, rest) = bytes.split_first().ok_or(Malformed)?;
        match *kind {
            ANNOUNCE => {
                let (announce, rest) = SignedAnnounce::decode(rest)?;
                let (attributes, rest) = RouteAttributes::read(rest)?;
                Ok((Record::Announce(announce, attributes), rest))
            }
            OFFER => {
                let ((key_hash, seq), rest) = codec::decode_prefix::<(u64, u64)>(rest)?;
                let (attributes, rest) = RouteAttributes::read(rest)?;
                Ok((Record::Offer { key_hash, seq, attributes }, rest))
            }
            WANT => {
                let (idx, rest) = codec::decode_prefix::<u32>(rest)?;
                if idx >= MAX_IDX {
                    return Err(Malformed);
                }
                Ok((Record::Want { idx }, rest))
            }
            UPDATE => {
                let (update, rest) = codec::decode_prefix::<UpdateBytes>(rest)?;
                let UpdateBytes { idx, metric, hops, flags } = update;
                if idx >= MAX_IDX || flags > WITH_CHAIN || (flags == WITH_CHAIN && metric == INFINITY) {
                    return Err(Malformed);
                }
                let (chain, rest) = match flags {
                    WITH_CHAIN => {
                        let (chain, rest) = codec::decode_prefix::<Chain>(rest)?;
                        (Some(chain), rest)
                    }
                    _ => (None, rest),
                };
                Ok((Record::Update(Update { idx, metric, hops, chain }), rest))
            }
            SEQ_REQ => {
                let (request, rest) = codec::decode_prefix::<SeqnoRequest>(rest)?;
                Ok((Record::SeqnoRequest(request), rest))
            }
            YOUR_HIGHEST => {
                let (announce, rest) = SignedAnnounce::decode(rest)?;
                Ok((Record::YourHighest(announce), rest))
            }
            kind if RESERVED.contains(&kind) => {
                let (length, rest) = codec::decode_prefix::<u16>(rest)?;
                let (_, rest) = rest.split_at_checked(usize::from(length)).ok_or(Malformed)?;
                Ok((Record::Reserved { kind }, rest))
            }
            _ => Err(Malformed),
        }
    }
}

/// Appends an ANNOUNCE of a borrowed announce, which a [`Record`] would have to own.
pub fn encode_announce(
    announce: &SignedAnnounce,
    attributes: RouteAttributes,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    out.push(ANNOUNCE);
    announce.encode(out)?;
    codec::encode_into(&attributes, out)
}

/// Appends a YOUR_HIGHEST of a borrowed announce.
pub fn encode_your_highest(announce: &SignedAnnounce, out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(YOUR_HIGHEST);
    announce.encode(out)
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
