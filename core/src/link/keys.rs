//! The keys of one session: [`Sealer`] for what leaves, [`Opener`] for what comes.
//!
//! Both come from the raw split of the NoiseHandshake handshake, run through HKDF (RFC 5869) with the handshake's hash as the salt
//! and the cipher suite in the label, so that no key is ever used with two ciphers. The nonce of a frame is
//! its counter (four zero bytes, then 8 bytes little-endian); a counter is used once, and a session ends
//! before they run out.
//!
//! A session has its keys replaced now and then ([`Renewal`](super::rekey::Renewal)): those are its generations, counted from 0. The
//! counter goes on over all of them, so that one replay window serves them all.

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use zeroize::Zeroizing;

use super::replay::ReplayWindow;
use crate::stats::DropCause;
use crate::wire::link::{DATA, HEADER_LEN, TAG_LEN};

/// After this many frames a key should be replaced: the limit that RFC 9001, section 6.6, derives for AES-GCM and packets
/// of up to 2 KiB.
pub(crate) const REKEY_AFTER_FRAMES: u64 = 1 << 28;
/// The budget of a key: after this many frames nothing more is sealed or opened with it.
pub(crate) const REJECT_AFTER_FRAMES: u64 = 1 << 32;

/// Makes data keys unlike whatever else is derived from a handshake.
pub(super) const DATA_LABEL: &[u8] = b"rouse link data 1";
/// The same for the key that the next handshake is bound to.
pub(super) const REKEY_LABEL: &[u8] = b"rouse link rekey 1";

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
    let info = [DATA_LABEL, &id];
    let key = secret.expand(&info, suite.algorithm()).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(key)))
}

/// What the handshake for the next generation of keys is bound to, so that only the two ends of this one can make it.
pub(super) fn chain(
    handshake_hash: &[u8],
    first: &[u8; 32],
    second: &[u8; 32],
) -> Option<Zeroizing<[u8; 32]>> {
    let mut both = Zeroizing::new([0; 64]);
    for (to, from) in both.iter_mut().zip(first.iter().chain(second)) {
        *to = *from;
    }
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, handshake_hash).extract(both.as_slice());
    let mut chain = Zeroizing::new([0; 32]);
    secret.expand(&[REKEY_LABEL], hkdf::HKDF_SHA256).ok()?.fill(chain.as_mut()).ok()?;
    Some(chain)
}

/// One direction's key in one generation.
pub(crate) struct Key {
    key: LessSafeKey,
    generation: u32,
}

impl Key {
    pub(super) fn new(
        suite: Suite,
        handshake_hash: &[u8],
        split: &[u8; 32],
        generation: u32,
    ) -> Option<Self> {
        Some(Key { key: derive(suite, handshake_hash, split)?, generation })
    }

    /// What frames say of it.
    fn phase(&self) -> u8 {
        let [phase, ..] = self.generation.to_le_bytes();
        phase
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("generation", &self.generation).finish_non_exhaustive()
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; aead::NONCE_LEN];
    for (to, from) in bytes.iter_mut().skip(4).zip(counter.to_le_bytes()) {
        *to = from;
    }
    Nonce::assume_unique_for_key(bytes)
}

/// The key has sealed as many frames as it may: the link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session's key has sealed as many frames as it may")]
pub(crate) struct Exhausted;

/// Seals what leaves on one link. It belongs to the link's egress.
pub(crate) struct Sealer {
    key: Key,
    /// The index that the neighbour gave.
    index: u32,
    counter: u64,
    /// The first counter of this key.
    first_counter: u64,
}

impl Sealer {
    /// What a frame has more than its plaintext, in bytes.
    pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

    pub(crate) fn new(suite: Suite, handshake_hash: &[u8], split: &[u8; 32], index: u32) -> Option<Self> {
        Some(Sealer { key: Key::new(suite, handshake_hash, split, 0)?, index, counter: 0, first_counter: 0 })
    }

    /// From now on frames are sealed with the next key.
    pub fn renew(&mut self, key: Key) {
        self.key = key;
        self.first_counter = self.counter;
    }

    /// As if that many frames had been sealed.
    #[cfg(test)]
    pub fn skip(&mut self, frames: u64) {
        self.counter += frames;
    }

    /// Appends one frame to `out`: the header, what `plaintext` appends (sealed where it lies) and the tag.
    /// Returns the frame's length in bytes. `plaintext` must only append.
    pub fn seal(
        &mut self,
        plaintext: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) -> Result<usize, Exhausted> {
        if self.counter.saturating_sub(self.first_counter) >= REJECT_AFTER_FRAMES || self.counter == u64::MAX
        {
            return Err(Exhausted);
        }
        let counter = self.counter;
        self.counter = counter.saturating_add(1);
        let header = header(self.key.phase(), self.index, counter);
        let start = out.len();
        let body = start.saturating_add(HEADER_LEN);
        out.extend_from_slice(&header);
        plaintext(out);
        let sealed = out.get_mut(body..).and_then(|body| {
            self.key.key.seal_in_place_separate_tag(nonce(counter), Aad::from(header), body).ok()
        });
        let Some(tag) = sealed else {
            // Only for a plaintext longer than the cipher takes: gigabytes.
            out.truncate(start);
            return Err(Exhausted);
        };
        out.extend_from_slice(tag.as_ref());
        Ok(out.len().saturating_sub(start))
    }

    /// Whether it is time for a new key: frames may still be sealed, for long.
    pub fn is_worn(&self) -> bool {
        self.counter.saturating_sub(self.first_counter) >= REKEY_AFTER_FRAMES
    }
}

fn header(phase: u8, index: u32, counter: u64) -> [u8; HEADER_LEN] {
    let [i0, i1, i2, i3] = index.to_le_bytes();
    let [c0, c1, c2, c3, c4, c5, c6, c7] = counter.to_le_bytes();
    [DATA, phase, i0, i1, i2, i3, c0, c1, c2, c3, c4, c5, c6, c7]
}

/// Opens what comes on one link, each frame once.
pub(crate) struct Opener {
    key: Key,
    /// One more than the highest counter that had come when the key came into use: its [budget](REJECT_AFTER_FRAMES) begins here.
    first_counter: u64,
    /// The key before, as long as frames may come that were sealed with it, and where its budget began.
    previous: Option<(Key, u64)>,
    /// The key to come, which the neighbour may use from now on.
    next: Option<Key>,
    window: ReplayWindow,
}

impl Opener {
    pub(crate) fn new(suite: Suite, handshake_hash: &[u8], split: &[u8; 32]) -> Option<Self> {
        Some(Opener {
            key: Key::new(suite, handshake_hash, split, 0)?,
            first_counter: 0,
            previous: None,
            next: None,
            window: ReplayWindow::default(),
        })
    }

    /// The neighbour may use this key from now on.
    pub(super) fn set_next(&mut self, next: Key) {
        self.next = Some(next);
    }

    /// The generation of the present key.
    pub(super) fn generation(&self) -> u32 {
        self.key.generation
    }

    /// The key to come is the present one from now on.
    pub(super) fn switch(&mut self) {
        if let Some(next) = self.next.take() {
            self.previous = Some((std::mem::replace(&mut self.key, next), self.first_counter));
            self.first_counter = self.window.expected();
        }
    }

    /// Nothing is opened any more with the key before.
    pub(super) fn forget_previous(&mut self) {
        self.previous = None;
    }

    /// Whether the neighbour has used the present key so often that it needs another.
    pub(super) fn is_worn(&self) -> bool {
        self.window.expected().saturating_sub(self.first_counter) >= REKEY_AFTER_FRAMES
    }

    /// The key of a phase, and where its budget begins. That of the key to come begins with the next frame.
    fn key(&self, phase: u8) -> Option<(&Key, u64)> {
        let next = self.next.as_ref().map(|key| (key, self.window.expected()));
        let previous = self.previous.as_ref().map(|(key, since)| (key, *since));
        let all = [Some((&self.key, self.first_counter)), next, previous];
        all.into_iter().flatten().find(|(key, _)| key.phase() == phase)
    }

    /// Opens one frame where it lies and returns its plaintext. The first frame that opens with the key to come makes it
    /// the present one.
    ///
    /// # Errors
    /// [`DropCause::MalformedFrame`], [`DropCause::Replay`], or [`DropCause::BadSeal`], also when its key is none
    /// that is known. A frame that was refused changes nothing in the opener, though its bytes may be overwritten.
    pub fn open<'a>(&mut self, frame: &'a mut [u8]) -> Result<&'a mut [u8], DropCause> {
        let (header, body) = frame.split_first_chunk_mut::<HEADER_LEN>().ok_or(DropCause::MalformedFrame)?;
        let [DATA, phase, _, _, _, _, counter @ ..] = *header else {
            return Err(DropCause::MalformedFrame);
        };
        if body.len() < TAG_LEN {
            return Err(DropCause::MalformedFrame);
        }
        let counter = u64::from_le_bytes(counter);
        if !self.window.is_new(counter) {
            return Err(DropCause::Replay);
        }
        let (key, since) = self.key(phase).ok_or(DropCause::BadSeal)?;
        if counter.saturating_sub(since) >= REJECT_AFTER_FRAMES {
            return Err(DropCause::Replay);
        }
        let opened = key.key.open_in_place(nonce(counter), Aad::from(*header), body);
        let plaintext = opened.map_err(|_| DropCause::BadSeal)?;
        if self.next.as_ref().is_some_and(|next| next.phase() == phase) {
            self.switch();
        }
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
        f.debug_struct("Opener").field("key", &self.key).field("expected", &self.expected()).finish()
    }
}

#[cfg(test)]
pub(crate) mod tests;
