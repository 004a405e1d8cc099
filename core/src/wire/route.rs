//! Bytes of the route layer: what neighbours say to each other on the control channel.
//!
//! A control message is one or more [`Record`]s, back to back, at most [`MAX_MESSAGE`] bytes; the reliable, ordered
//! channel below keeps messages whole. A record is one byte of kind and a body of fixed size, except for the
//! announce core, which carries up to [`MAX_EXTENSIONS`] bytes of signed extensions, and for kinds of versions to come.
//! Integers are little endian.
//!
//! | Kind | Record | Body |
//! |---|---|---|
//! | 1 | ANNOUNCE | core, offer tail |
//! | 2 | OFFER | key hash 8, seq 8, offer tail |
//! | 3 | WANT | idx 4 |
//! | 4 | UPDATE | idx 4, metric 2 (FFFF retracts), hops 1, flags 1 (bit 0: chain), chain 16 if flagged |
//! | 5 | SEQ_REQ | destination 32, seq 8, ttl 1, id 4 |
//! | 6 | YOUR_HIGHEST | core |
//! | 7 | ROUTE_REQ, reserved | length 2, so many bytes |
//! | 8 | DIGEST, reserved | length 2, so many bytes |
//! | 9–127 | reserved | length 2, so many bytes |
//!
//! Core: destination 32, seq 8, lifetime 2 (s), capabilities 2, hop anchor 16, prekey id 2, prekey 32, length of the
//! extensions 2, extensions, signature 64 over [`SIGNED_AS`] and all that comes before it. Offer tail: idx 4, metric 2,
//! hops 1, mtu 2, remaining 2 (s), chain 16. What anchor and chain are stands in `route_chain.rs`: the
//! chain of a tail or an UPDATE with `hops` h, hashed 64 − h times, is the anchor. An UPDATE carries its chain when its
//! hops are lower than those of the last tail for this idx and of all UPDATEs since, and never when it retracts. A receiver skips the reserved
//! kinds 7 to 127 and counts them; kinds 0 and 128 to 255 end the message as malformed.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use crate::address::Address;
use crate::wire::codec::{self, Decode, Encode, Malformed};

#[path = "route_chain.rs"]
mod chain;

#[cfg(test)]
pub(crate) use chain::LABEL;
pub(crate) use chain::{Chain, LINKS, advance, leads_to};

/// No control message is longer, in bytes.
pub(crate) const MAX_MESSAGE: usize = 4096;
/// No core carries more signed extensions, in bytes.
pub(crate) const MAX_EXTENSIONS: usize = 256;
#[cfg(test)]
/// No record is longer, in bytes: an ANNOUNCE with all the extensions it may have.
pub(crate) const MAX_RECORD: usize = 1 + 96 + MAX_EXTENSIONS + 64 + 27;
/// The metric of what cannot be reached. Sums at or above it are it.
pub(crate) const INFINITY: u16 = 0xffff;
/// No sender numbers its destinations higher, so that nobody makes a neighbour keep a vast map.
pub(crate) const MAX_IDX: u32 = 1 << 17;
/// What the signature covers before the core, so that it means nothing elsewhere.
pub(crate) const SIGNED_AS: &[u8; 16] = b"rouse announce 1";

const ANNOUNCE: u8 = 1;
const OFFER: u8 = 2;
const WANT: u8 = 3;
const UPDATE: u8 = 4;
const SEQ_REQ: u8 = 5;
const YOUR_HIGHEST: u8 = 6;
/// Kinds of versions to come, each with its length: from ROUTE_REQ and DIGEST on.
pub(crate) const RESERVED: std::ops::RangeInclusive<u8> = 7..=127;
/// The flag of an UPDATE that has a chain.
const WITH_CHAIN: u8 = 1;

/// An origin's signed statement "I exist, this is my sequence number".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Core {
    pub(crate) dst: Address,
    /// Epoch in the upper half, counter in the lower.
    pub(crate) seq: u64,
    /// Seconds it is good for.
    pub(crate) lifetime: u16,
    pub(crate) caps: u16,
    /// Where the hop chain of this seq ends.
    pub(crate) anchor: Chain,
    pub(crate) signature: [u8; 64],
    /// What most announces do not have, kept apart so that a table of many stays small.
    pub(crate) more: Option<Box<More>>,
}

/// The rarer fields of a [`Core`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct More {
    pub(crate) prekey_id: u16,
    pub(crate) prekey: [u8; 32],
    pub(crate) extensions: Box<[u8]>,
}

#[derive(Encode, Decode)]
struct CoreHead {
    dst: Address,
    seq: u64,
    lifetime: u16,
    caps: u16,
    anchor: [u8; 16],
    prekey_id: u16,
    prekey: [u8; 32],
    extensions: u16,
}

impl Core {
    /// Its epoch: what a restart raises.
    pub(crate) fn epoch(&self) -> u32 {
        epoch(self.seq)
    }

    /// The bytes that the signature is over.
    pub(crate) fn signed(&self) -> Result<Vec<u8>, Malformed> {
        let mut out = SIGNED_AS.to_vec();
        self.encode_head(&mut out)?;
        Ok(out)
    }

    /// Memory beyond the struct itself, in bytes.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn heap(&self) -> usize {
        self.more.as_ref().map_or(0, |more| size_of::<More>().saturating_add(more.extensions.len()))
    }

    fn encode_head(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let none = More::default();
        let more = self.more.as_deref().unwrap_or(&none);
        if more.extensions.len() > MAX_EXTENSIONS {
            return Err(Malformed);
        }
        let head = CoreHead {
            dst: self.dst,
            seq: self.seq,
            lifetime: self.lifetime,
            caps: self.caps,
            anchor: self.anchor,
            prekey_id: more.prekey_id,
            prekey: more.prekey,
            extensions: u16::try_from(more.extensions.len()).map_err(|_| Malformed)?,
        };
        codec::encode_into(&head, out)?;
        out.extend_from_slice(&more.extensions);
        Ok(())
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        self.encode_head(out)?;
        out.extend_from_slice(&self.signature);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (head, rest) = codec::decode_prefix::<CoreHead>(bytes)?;
        let length = usize::from(head.extensions);
        if length > MAX_EXTENSIONS {
            return Err(Malformed);
        }
        let (extensions, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        let (signature, rest) = rest.split_first_chunk::<64>().ok_or(Malformed)?;
        let plain = head.prekey_id == 0 && head.prekey == [0; 32] && length == 0;
        let more = (!plain).then(|| {
            Box::new(More {
                prekey_id: head.prekey_id,
                prekey: head.prekey,
                extensions: Box::from(extensions),
            })
        });
        let core = Core {
            dst: head.dst,
            seq: head.seq,
            lifetime: head.lifetime,
            caps: head.caps,
            anchor: head.anchor,
            signature: *signature,
            more,
        };
        Ok((core, rest))
    }
}

/// The epoch within a sequence number.
pub(crate) fn epoch(seq: u64) -> u32 {
    u32::try_from(seq >> 32).unwrap_or(u32::MAX)
}

/// What a neighbour vouches for when it passes a core on: how far the destination is from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Tail {
    /// The sender's own number for the destination on this link, below [`MAX_IDX`].
    pub(crate) idx: u32,
    pub(crate) metric: u16,
    pub(crate) hops: u8,
    /// The longest packet that fits all the way, in bytes.
    pub(crate) mtu: u16,
    /// Seconds left of the core's lifetime.
    pub(crate) remaining: u16,
    /// Proves that the sender is not nearer than `hops`.
    pub(crate) chain: Chain,
}

impl Tail {
    fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (tail, rest) = codec::decode_prefix::<Tail>(bytes)?;
        if tail.idx >= MAX_IDX { Err(Malformed) } else { Ok((tail, rest)) }
    }
}

/// The head of BLAKE3 of an address: enough to name one that both ends know.
pub(crate) fn key_hash(address: &Address) -> u64 {
    let hash = blake3::hash(address.as_bytes());
    let (head, _) = hash.as_bytes().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    u64::from_le_bytes(*head)
}

/// A change of distance; the destination and its seq are the last that the sender gave this idx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) idx: u32,
    /// [`INFINITY`] retracts.
    pub(crate) metric: u16,
    pub(crate) hops: u8,
    /// When the hops are lower than any that the sender named since its last tail.
    pub(crate) chain: Option<Chain>,
}

impl Update {
    /// The destination is not reachable any more.
    pub(crate) const fn retract(idx: u32) -> Self {
        Update { idx, metric: INFINITY, hops: 0, chain: None }
    }
}

#[derive(Encode, Decode)]
struct UpdateBytes {
    idx: u32,
    metric: u16,
    hops: u8,
    flags: u8,
}

/// "I have only routes that might loop: is there a newer sequence number?"
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SeqReq {
    pub(crate) dst: Address,
    /// The least that would help.
    pub(crate) seq: u64,
    /// Hops that it may still take.
    pub(crate) ttl: u8,
    /// Drawn by who asks, so that a request is passed on once.
    pub(crate) id: u32,
}

/// One thing that a neighbour says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// A core and how far it is.
    Announce(Core, Tail),
    /// The same for who has the core already.
    Offer { key_hash: u64, seq: u64, tail: Tail },
    /// "Send me the core of what you call `idx`."
    Want { idx: u32 },
    /// A new distance, or none any more.
    Update(Update),
    /// A request for a newer sequence number.
    SeqReq(SeqReq),
    /// To an origin, and passed on towards it: the highest of its announces that somebody holds.
    YourHighest(Core),
    /// Of a version to come: passed over.
    Reserved { kind: u8 },
}

impl Record {
    /// Appends the record's bytes to `out`.
    ///
    /// # Errors
    /// When a core has more extensions than it may.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match self {
            Record::Announce(core, tail) => encode_announce(core, *tail, out),
            Record::Offer { key_hash, seq, tail } => {
                out.push(OFFER);
                codec::encode_into(&(*key_hash, *seq), out)?;
                codec::encode_into(tail, out)
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
            Record::SeqReq(request) => {
                out.push(SEQ_REQ);
                codec::encode_into(request, out)
            }
            Record::YourHighest(core) => encode_your_highest(core, out),
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
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (kind, rest) = bytes.split_first().ok_or(Malformed)?;
        match *kind {
            ANNOUNCE => {
                let (core, rest) = Core::decode(rest)?;
                let (tail, rest) = Tail::read(rest)?;
                Ok((Record::Announce(core, tail), rest))
            }
            OFFER => {
                let ((key_hash, seq), rest) = codec::decode_prefix::<(u64, u64)>(rest)?;
                let (tail, rest) = Tail::read(rest)?;
                Ok((Record::Offer { key_hash, seq, tail }, rest))
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
                let (request, rest) = codec::decode_prefix::<SeqReq>(rest)?;
                Ok((Record::SeqReq(request), rest))
            }
            YOUR_HIGHEST => {
                let (core, rest) = Core::decode(rest)?;
                Ok((Record::YourHighest(core), rest))
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

/// Appends an ANNOUNCE of a core that is only borrowed.
pub(crate) fn encode_announce(core: &Core, tail: Tail, out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(ANNOUNCE);
    core.encode(out)?;
    codec::encode_into(&tail, out)
}

/// Appends a YOUR_HIGHEST of a core that is only borrowed.
pub(crate) fn encode_your_highest(core: &Core, out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(YOUR_HIGHEST);
    core.encode(out)
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
