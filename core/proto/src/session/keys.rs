//! The keys of one generation of a session: [`PacketSealer`] for packets that are sent, [`PacketOpener`] for those that
//! are received.
//!
//! Both are derived by HKDF (RFC 5869) from the split of a Noise handshake and, if the handshake was a hybrid one, the
//! secret of the KEM, with the handshake hash as the salt and the suite in the label. So an attacker needs to break both
//! key agreements, and no key is ever used with two ciphers.
//!
//! Each generation has an index and a counter of its own, and therefore a replay window of its own. The index selects
//! the keys, so that a packet needs no other mark of its generation, and two generations of a session look unrelated to
//! a relay.

use ring::aead::{Aad, LessSafeKey, UnboundKey};
use ring::hkdf;
use zeroize::Zeroizing;

use super::kem::KemSecret;
use crate::link::{
    Exhausted, REJECT_AFTER_FRAMES, REKEY_AFTER_FRAMES, ReplayWindow, Secret, SplitKeys, Suite, nonce,
};
use crate::stats::DropCause;
use crate::wire::session::{SESSION_HEADER_LEN, read_session_header, session_header};

/// The HKDF label of the keys of session packets.
pub(super) const SESSION_LABEL: &[u8] = b"rouse session data 1";
/// The HKDF label of the pre-shared key for the next rekeying.
pub(super) const CHAIN_LABEL: &[u8] = b"rouse session rekey 1";

/// The keys of one generation at one end.
pub(super) struct EpochKeys {
    pub(super) sealer: PacketSealer,
    pub(super) opener: PacketOpener,
    /// The pre-shared key of the next rekeying, so that only the two ends of this session can complete it.
    pub(super) chain: Secret,
}

/// The inputs of the keys that belong to one end.
#[derive(Clone, Copy, Debug)]
pub(super) struct EpochRole {
    pub(super) suite: Suite,
    /// Whether this end began the handshake.
    pub(super) initiator: bool,
    /// The index that the other end chose.
    pub(super) remote_index: u32,
}

impl EpochKeys {
    /// Derives the keys of a handshake. `kem` is the secret of its KEM; a rekeying has none, since its pre-shared key
    /// comes from a handshake that had one.
    pub(super) fn new(split: &SplitKeys, kem: Option<&KemSecret>, role: EpochRole) -> Option<Self> {
        let (ours, theirs) = match role.initiator {
            true => (&split.of_initiator, &split.of_responder),
            false => (&split.of_responder, &split.of_initiator),
        };
        let kem = kem.map_or(&[][..], |kem| kem.as_slice());
        let sealing = derive(role.suite, &split.hash, &[ours.as_slice(), kem])?;
        let opening = derive(role.suite, &split.hash, &[theirs.as_slice(), kem])?;
        let both = [split.of_initiator.as_slice(), split.of_responder.as_slice(), kem];
        Some(EpochKeys {
            sealer: PacketSealer { key: sealing, index: role.remote_index, counter: 0 },
            opener: PacketOpener { key: opening, window: ReplayWindow::default() },
            chain: chain(&split.hash, &both)?,
        })
    }
}

/// The secrets one after the other. The buffer is overwritten when it is dropped.
fn joined(secrets: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    // The buffer never grows, so that no copy stays behind.
    let mut joined = Zeroizing::new(Vec::with_capacity(secrets.iter().map(|secret| secret.len()).sum()));
    secrets.iter().for_each(|secret| joined.extend_from_slice(secret));
    joined
}

fn derive(suite: Suite, hash: &[u8; 32], secrets: &[&[u8]]) -> Option<LessSafeKey> {
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, hash).extract(&joined(secrets));
    let id = [suite.id()];
    let info = [SESSION_LABEL, &id];
    let key = secret.expand(&info, suite.algorithm()).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(key)))
}

fn chain(hash: &[u8; 32], secrets: &[&[u8]]) -> Option<Secret> {
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, hash).extract(&joined(secrets));
    let mut chain = Zeroizing::new([0; 32]);
    secret.expand(&[CHAIN_LABEL], hkdf::HKDF_SHA256).ok()?.fill(chain.as_mut()).ok()?;
    Some(chain)
}

/// Seals the packets of one generation.
pub(super) struct PacketSealer {
    key: LessSafeKey,
    /// The index by which the other end finds the keys.
    index: u32,
    /// The counter of the next packet.
    counter: u64,
}

impl PacketSealer {
    /// Appends one payload to `out`: the header, the bytes that `content` appends (sealed in place, to avoid a copy) and
    /// the tag. `content` must only append. It returns whether it has appended something; if it has not, no counter is
    /// used and `out` is unchanged.
    ///
    /// # Errors
    /// [`Exhausted`] when the budget of the key is used up; `out` is unchanged then.
    pub(super) fn seal(
        &mut self,
        content: impl FnOnce(&mut Vec<u8>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<bool, Exhausted> {
        if self.counter >= REJECT_AFTER_FRAMES {
            return Err(Exhausted);
        }
        let counter = self.counter;
        let header = session_header(self.index, counter);
        let start = out.len();
        out.extend_from_slice(&header);
        if !content(out) {
            out.truncate(start);
            return Ok(false);
        }
        self.counter = counter.saturating_add(1);
        let body = out.get_mut(start.saturating_add(SESSION_HEADER_LEN)..).unwrap_or_default();
        match self.key.seal_in_place_separate_tag(nonce(counter), Aad::from(header), body) {
            Ok(tag) => {
                out.extend_from_slice(tag.as_ref());
                Ok(true)
            }
            Err(_) => {
                // This happens only for a content of gigabytes, which the ciphers do not accept.
                out.truncate(start);
                Err(Exhausted)
            }
        }
    }

    /// Whether the key should be replaced soon. Packets may still be sealed up to its budget.
    pub(super) fn is_worn(&self) -> bool {
        self.counter >= REKEY_AFTER_FRAMES
    }

    /// Skips counters, as if that many packets had been sealed.
    #[cfg(test)]
    pub(super) fn skip(&mut self, packets: u64) {
        self.counter += packets;
    }
}

/// Opens the packets of one generation, each of them once.
pub(super) struct PacketOpener {
    key: LessSafeKey,
    window: ReplayWindow,
}

impl PacketOpener {
    /// Opens one payload in place and returns its content.
    ///
    /// # Errors
    /// [`DropCause::MalformedPacket`]; [`DropCause::Replay`], also beyond the budget of the key; or
    /// [`DropCause::BadSeal`]. A payload that was refused changes nothing in the opener, though its bytes may be
    /// overwritten.
    pub(super) fn open<'a>(&mut self, payload: &'a mut [u8]) -> Result<&'a mut [u8], DropCause> {
        let (_, counter) = read_session_header(payload).ok_or(DropCause::MalformedPacket)?;
        // The counter is checked before the seal, because that is cheaper, and marked after, because otherwise a forged
        // packet could use up the counter of an honest one.
        if counter >= REJECT_AFTER_FRAMES || !self.window.is_new(counter) {
            return Err(DropCause::Replay);
        }
        let (header, body) =
            payload.split_first_chunk_mut::<SESSION_HEADER_LEN>().ok_or(DropCause::MalformedPacket)?;
        let content = self
            .key
            .open_in_place(nonce(counter), Aad::from(*header), body)
            .map_err(|_| DropCause::BadSeal)?;
        self.window.mark(counter);
        Ok(content)
    }

    /// Whether the other end has sealed so many packets with this key that it should be replaced.
    pub(super) fn is_worn(&self) -> bool {
        self.window.expected() >= REKEY_AFTER_FRAMES
    }
}

impl std::fmt::Debug for EpochKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EpochKeys").field("counter", &self.sealer.counter).finish_non_exhaustive()
    }
}
