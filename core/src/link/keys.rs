//! The keys of one session: [`Sealer`] for what leaves, [`Opener`] for what comes.
//!
//! Both come from the raw split of the Noise handshake, run through HKDF (RFC 5869) with the handshake's hash as the salt
//! and the cipher suite in the label, so that no key is ever used with two ciphers. The nonce of a frame is
//! its counter (four zero bytes, then 8 bytes little-endian); a counter is used once, and a session ends
//! before they run out.

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;

use super::replay::Window;
use crate::stats::DropCause;
use crate::wire::link::{DATA, HEADER_LEN, TAG_LEN};

/// After this many frames a session should be replaced by a new one: the limit that RFC 9001, section 6.6, derives for
/// AES-GCM and packets of up to 2 KiB.
pub(crate) const WORN: u64 = 1 << 28;
/// After this many frames nothing more is sealed or opened with the keys.
pub(crate) const LIMIT: u64 = 1 << 32;

/// The cipher of the data frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// ChaCha20-Poly1305 (RFC 8439), for whoever has no AES in hardware.
    ChaCha20Poly1305,
    /// AES-256-GCM.
    Aes256Gcm,
}

impl Suite {
    /// Everybody can do this one.
    pub(crate) const CHACHA: u8 = 1;
    /// Offered by whoever has AES and carry-less multiplication in hardware.
    pub(crate) const AES: u8 = 2;

    /// What this machine offers.
    pub(crate) fn offered() -> u8 {
        if hardware_aes() { Self::CHACHA | Self::AES } else { Self::CHACHA }
    }

    /// What two offers come to; `None` when they have nothing in common.
    pub(crate) fn agree(ours: u8, theirs: u8) -> Option<Suite> {
        match ours & theirs {
            both if both & Self::AES != 0 => Some(Suite::Aes256Gcm),
            both if both & Self::CHACHA != 0 => Some(Suite::ChaCha20Poly1305),
            _ => None,
        }
    }

    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Suite::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
            Suite::Aes256Gcm => &aead::AES_256_GCM,
        }
    }

    fn id(self) -> u8 {
        match self {
            Suite::ChaCha20Poly1305 => Self::CHACHA,
            Suite::Aes256Gcm => Self::AES,
        }
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn hardware_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn hardware_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn hardware_aes() -> bool {
    false
}

/// The data key of one direction.
fn derive(suite: Suite, handshake_hash: &[u8], split: &[u8; 32]) -> Option<LessSafeKey> {
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, handshake_hash).extract(split);
    let id = [suite.id()];
    let info = [b"rouse link data 1".as_slice(), &id];
    let key = secret.expand(&info, suite.algorithm()).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(key)))
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; aead::NONCE_LEN];
    for (to, from) in bytes.iter_mut().skip(4).zip(counter.to_le_bytes()) {
        *to = from;
    }
    Nonce::assume_unique_for_key(bytes)
}

/// The keys have sealed as many frames as they may: the link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session's frame counter is used up")]
pub(crate) struct Exhausted;

/// Seals what leaves on one link. It belongs to the link's egress.
pub(crate) struct Sealer {
    key: LessSafeKey,
    /// The index that the neighbour gave.
    index: u32,
    counter: u64,
}

impl Sealer {
    /// What a frame has more than its plaintext, in bytes.
    pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

    pub(super) fn new(suite: Suite, handshake_hash: &[u8], split: &[u8; 32], index: u32) -> Option<Self> {
        Some(Sealer { key: derive(suite, handshake_hash, split)?, index, counter: 0 })
    }

    /// Appends one frame to `out`: the header, what `plaintext` appends (sealed where it lies) and the tag.
    /// Returns the frame's length in bytes. `plaintext` must only append.
    pub fn seal(
        &mut self,
        plaintext: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) -> Result<usize, Exhausted> {
        if self.counter >= LIMIT {
            return Err(Exhausted);
        }
        let counter = self.counter;
        self.counter = counter.saturating_add(1);
        let header = header(self.index, counter);
        let start = out.len();
        let body = start.saturating_add(HEADER_LEN);
        out.extend_from_slice(&header);
        plaintext(out);
        let sealed = out.get_mut(body..).and_then(|body| {
            self.key.seal_in_place_separate_tag(nonce(counter), Aad::from(header), body).ok()
        });
        let Some(tag) = sealed else {
            // Only for a plaintext longer than the cipher takes: gigabytes.
            out.truncate(start);
            return Err(Exhausted);
        };
        out.extend_from_slice(tag.as_ref());
        Ok(out.len().saturating_sub(start))
    }

    /// Whether it is time for a new session: a frame may still be sealed, for long.
    pub fn is_worn(&self) -> bool {
        self.counter >= WORN
    }
}

fn header(index: u32, counter: u64) -> [u8; HEADER_LEN] {
    let [i0, i1, i2, i3] = index.to_le_bytes();
    let [c0, c1, c2, c3, c4, c5, c6, c7] = counter.to_le_bytes();
    [DATA, PHASE, i0, i1, i2, i3, c0, c1, c2, c3, c4, c5, c6, c7]
}

/// The key phase of the keys that the handshake gives; others come with rekeying.
const PHASE: u8 = 0;

/// Opens what comes on one link, each frame once.
pub(crate) struct Opener {
    key: LessSafeKey,
    window: Window,
}

impl Opener {
    pub(super) fn new(suite: Suite, handshake_hash: &[u8], split: &[u8; 32]) -> Option<Self> {
        Some(Opener { key: derive(suite, handshake_hash, split)?, window: Window::default() })
    }

    /// Opens one frame where it lies and returns its plaintext.
    ///
    /// # Errors
    /// [`DropCause::MalformedFrame`], [`DropCause::Replay`] or [`DropCause::BadSeal`]. A frame that was refused changes
    /// nothing in the opener, though its bytes may be overwritten.
    pub fn open<'a>(&mut self, frame: &'a mut [u8]) -> Result<&'a mut [u8], DropCause> {
        let (header, body) = frame.split_first_chunk_mut::<HEADER_LEN>().ok_or(DropCause::MalformedFrame)?;
        let [DATA, PHASE, _, _, _, _, counter @ ..] = *header else {
            return Err(DropCause::MalformedFrame);
        };
        if body.len() < TAG_LEN {
            return Err(DropCause::MalformedFrame);
        }
        let counter = u64::from_le_bytes(counter);
        if counter >= LIMIT || !self.window.is_new(counter) {
            return Err(DropCause::Replay);
        }
        let plaintext = self
            .key
            .open_in_place(nonce(counter), Aad::from(*header), body)
            .map_err(|_| DropCause::BadSeal)?;
        self.window.mark(counter);
        Ok(plaintext)
    }

    /// How many frames the neighbour has sent, at least: one more than the highest counter that came.
    pub fn expected(&self) -> u64 {
        self.window.expected()
    }

    /// How many of them came.
    pub fn received(&self) -> u64 {
        self.window.received()
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("index", &self.index).field("counter", &self.counter).finish()
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("expected", &self.expected()).finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A sealer and the opener that fits it.
    pub(crate) fn pair(suite: Suite, split: [u8; 32]) -> (Sealer, Opener) {
        let hash = [3; 32];
        (Sealer::new(suite, &hash, &split, 0x0403_0201).unwrap(), Opener::new(suite, &hash, &split).unwrap())
    }

    fn sealed(sealer: &mut Sealer, plaintext: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let length = sealer.seal(|out| out.extend_from_slice(plaintext), &mut out).unwrap();
        assert_eq!(length, out.len());
        assert_eq!(length, plaintext.len() + Sealer::OVERHEAD);
        out
    }

    #[test]
    fn what_is_sealed_is_opened_in_any_order_and_once() {
        for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
            let (mut sealer, mut opener) = pair(suite, [9; 32]);
            let mut frames: Vec<_> = (0u8..20).map(|n| sealed(&mut sealer, &[n; 40])).collect();
            frames.reverse();
            for (frame, n) in frames.iter_mut().zip((0u8..20).rev()) {
                let copy = frame.clone();
                assert_eq!(opener.open(frame).unwrap(), [n; 40]);
                assert_eq!(opener.open(&mut copy.clone()), Err(DropCause::Replay));
            }
            assert_eq!((opener.expected(), opener.received()), (20, 20));
        }
    }

    #[test]
    fn a_train_is_built_in_one_buffer() {
        let (mut sealer, mut opener) = pair(Suite::Aes256Gcm, [9; 32]);
        let mut out = Vec::new();
        let lengths: Vec<_> = [b"one", b"two"]
            .map(|text| sealer.seal(|out| out.extend_from_slice(text), &mut out).unwrap())
            .into();
        let (first, second) = out.split_at_mut(lengths[0]);
        assert_eq!(opener.open(first).unwrap(), b"one");
        assert_eq!(opener.open(second).unwrap(), b"two");
    }

    #[test]
    fn a_frame_is_these_bytes() {
        // As an implementation of RFC 5869 and RFC 8439 that shares no code with this one gives them.
        let (mut sealer, _) = pair(Suite::ChaCha20Poly1305, [9; 32]);
        sealed(&mut sealer, b"");
        let frame = sealed(&mut sealer, b"\x00hello");
        assert_eq!(hex(&frame), "10000102030401000000000000007282f84fec223302a2483f353029be9321677e4713b7");
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn one_split_gives_each_suite_its_own_key() {
        let (mut sealer, _) = pair(Suite::ChaCha20Poly1305, [9; 32]);
        let (_, mut opener) = pair(Suite::Aes256Gcm, [9; 32]);
        assert_eq!(opener.open(&mut sealed(&mut sealer, b"x")), Err(DropCause::BadSeal));
    }

    #[test]
    fn a_refused_frame_does_not_use_up_its_counter() {
        let (mut sealer, mut opener) = pair(Suite::Aes256Gcm, [9; 32]);
        let frame = sealed(&mut sealer, b"payload");
        for at in 0..frame.len() {
            let mut wrong = frame.clone();
            wrong[at] ^= 1;
            assert!(opener.open(&mut wrong).is_err(), "byte {at}");
        }
        for length in 0..frame.len() {
            assert!(opener.open(&mut frame[..length].to_vec()).is_err(), "{length} bytes");
        }
        assert_eq!(opener.open(&mut frame.clone()).unwrap(), b"payload");
    }

    #[test]
    fn no_counter_is_used_twice_at_the_end_of_a_session() {
        let (mut sealer, mut opener) = pair(Suite::Aes256Gcm, [9; 32]);
        assert!(!sealer.is_worn());
        sealer.counter = LIMIT - 1;
        assert!(sealer.is_worn());
        let mut last = sealed(&mut sealer, b"last");
        let mut out = vec![7];
        assert_eq!(sealer.seal(|out| out.push(1), &mut out), Err(Exhausted));
        assert_eq!(sealer.seal(|out| out.push(1), &mut out), Err(Exhausted));
        assert_eq!(out, [7], "nothing is left in the buffer");
        assert_eq!(opener.open(&mut last).unwrap(), b"last");
    }

    #[test]
    fn aes_is_used_where_both_have_it() {
        assert_eq!(Suite::agree(3, 3), Some(Suite::Aes256Gcm));
        assert_eq!(Suite::agree(3, 1), Some(Suite::ChaCha20Poly1305));
        assert_eq!(Suite::agree(1, 0xff), Some(Suite::ChaCha20Poly1305));
        assert_eq!(Suite::agree(3, 4), None);
    }

    proptest! {
        #[test]
        fn random_bytes_open_to_nothing(mut bytes in prop::collection::vec(any::<u8>(), 0..200), lead: bool) {
            let (_, mut opener) = pair(Suite::Aes256Gcm, [9; 32]);
            if lead && bytes.len() > 1 {
                bytes[0] = DATA;
                bytes[1] = PHASE;
            }
            prop_assert!(opener.open(&mut bytes).is_err());
            prop_assert_eq!(opener.received(), 0);
        }
    }
}
