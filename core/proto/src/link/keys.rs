//! The data keys of one session: [`Sealer`] for frames that are sent, [`Opener`] for frames that are received.
//!
//! Both keys are derived from the raw split of the Noise handshake by HKDF (RFC 5869), with the handshake hash as the
//! salt and the cipher suite in the label, so that no key is ever used with two ciphers. The nonce of a frame is its
//! counter (four zero bytes, then 8 bytes little-endian). A counter is used once, because a repeated nonce would break
//! both ciphers; the session ends before the counters are used up.
//!
//! The keys of a session are replaced regularly ([`Renewal`](super::rekey::Renewal)). Each pair is a generation,
//! counted from zero. The counter continues over all generations, so that one replay window serves them all.

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use zeroize::Zeroizing;

use super::replay::ReplayWindow;
use crate::stats::DropCause;
use crate::wire::link::{DATA, HEADER_LEN, TAG_LEN};

/// The number of frames after which a key should be replaced. RFC 9001, section 6.6 and appendix B.1.1, derives
/// this confidentiality limit for AES-GCM and packets of up to 2 KiB.
pub const REKEY_AFTER_FRAMES: u64 = 1 << 28;
/// The budget of a key: the number of frames after which nothing is sealed or opened with it. It is far above
/// [`REKEY_AFTER_FRAMES`], so that a session outlives renewals that fail for a while.
pub const REJECT_AFTER_FRAMES: u64 = 1 << 32;

/// The HKDF label of data keys. It separates them from other keys that are derived from the same handshake.
pub(super) const DATA_LABEL: &[u8] = b"rouse link data 1";
/// The HKDF label of the pre-shared key for the next rekeying.
pub(super) const REKEY_LABEL: &[u8] = b"rouse link rekey 1";

/// The cipher suite of data frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// ChaCha20-Poly1305 (RFC 8439), which is fast in software.
    ChaCha20Poly1305,
    /// AES-256-GCM, which is faster where the processor supports it.
    Aes256Gcm,
}

impl Suite {
    /// The offer of ChaCha20-Poly1305, which every node supports.
    pub const CHACHA: u8 = 1;
    /// The offer of AES-256-GCM. It is made only with hardware for AES and carry-less multiplication, because in
    /// software the cipher is slower than ChaCha20-Poly1305.
    pub const AES: u8 = 2;

    /// The suites that this machine offers, as bits.
    pub fn offered() -> u8 {
        if hardware_aes() { Self::CHACHA | Self::AES } else { Self::CHACHA }
    }

    /// The suite that follows from two offers; `None` when they have none in common. Both sides compute the same.
    pub fn agree(ours: u8, theirs: u8) -> Option<Suite> {
        match ours & theirs {
            both if both & Self::AES != 0 => Some(Suite::Aes256Gcm),
            both if both & Self::CHACHA != 0 => Some(Suite::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// The cipher of the library.
    pub fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Suite::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
            Suite::Aes256Gcm => &aead::AES_256_GCM,
        }
    }

    /// The byte of the suite in the HKDF label.
    pub fn id(self) -> u8 {
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

/// Derives the data key of one direction.
fn derive(suite: Suite, handshake_hash: &[u8], split: &[u8; 32]) -> Option<LessSafeKey> {
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, handshake_hash).extract(split);
    let id = [suite.id()];
    let info = [DATA_LABEL, &id];
    let key = secret.expand(&info, suite.algorithm()).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(key)))
}

/// Derives the pre-shared key of the handshake for the next generation, so that only the two ends of this session can
/// complete it. `first` is the split key of the initiator's direction.
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

/// The key of one direction and one generation.
pub struct DataKey {
    key: LessSafeKey,
    generation: u32,
}

impl DataKey {
    pub(super) fn new(
        suite: Suite,
        handshake_hash: &[u8],
        split: &[u8; 32],
        generation: u32,
    ) -> Option<Self> {
        Some(DataKey { key: derive(suite, handshake_hash, split)?, generation })
    }

    /// The byte by which frames select the key: the generation modulo 256. Few generations are valid at a time.
    fn phase(&self) -> u8 {
        let [phase, ..] = self.generation.to_le_bytes();
        phase
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKey").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// The nonce of a frame.
pub fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; aead::NONCE_LEN];
    for (to, from) in bytes.iter_mut().skip(4).zip(counter.to_le_bytes()) {
        *to = from;
    }
    Nonce::assume_unique_for_key(bytes)
}

/// The key has sealed as many frames as it may, so the link must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key of the session has sealed as many frames as it may: the link ends and is dialled again")]
pub struct Exhausted;

/// Seals the frames of one link. It belongs to the link's egress, where frames are queued.
pub struct Sealer {
    key: DataKey,
    /// The index by which the neighbour finds the session.
    index: u32,
    /// The counter of the next frame.
    counter: u64,
    /// The first counter that was sealed with this key, where its budget begins.
    first_counter: u64,
}

impl Sealer {
    /// The length of a frame without its plaintext, in bytes.
    pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

    /// Seals frames for the session that the receiver knows by `index`, with the key of one direction; `None` if this machine
    /// cannot use the cipher.
    pub fn new(suite: Suite, handshake_hash: &[u8], split: &[u8; 32], index: u32) -> Option<Self> {
        Some(Sealer {
            key: DataKey::new(suite, handshake_hash, split, 0)?,
            index,
            counter: 0,
            first_counter: 0,
        })
    }

    /// Seals the following frames with the next key.
    pub fn renew(&mut self, key: DataKey) {
        self.key = key;
        self.first_counter = self.counter;
    }

    /// Skips counters, as if that many frames had been sealed.
    #[cfg(test)]
    pub fn skip(&mut self, frames: u64) {
        self.counter += frames;
    }

    /// Appends one frame to `out`: the header, the bytes that `plaintext` appends (sealed in place, to avoid a copy)
    /// and the tag. Returns the length of the frame in bytes. `plaintext` must only append.
    ///
    /// # Errors
    /// [`Exhausted`] when the budget of the key is used up; `out` is unchanged then.
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
            // This happens only for a plaintext of gigabytes, which the ciphers do not accept.
            out.truncate(start);
            return Err(Exhausted);
        };
        out.extend_from_slice(tag.as_ref());
        Ok(out.len().saturating_sub(start))
    }

    /// Whether the key should be replaced soon. Frames may still be sealed up to the budget.
    pub fn is_worn(&self) -> bool {
        self.counter.saturating_sub(self.first_counter) >= REKEY_AFTER_FRAMES
    }
}

/// The header of a data frame, which is authenticated as associated data.
fn header(phase: u8, index: u32, counter: u64) -> [u8; HEADER_LEN] {
    let [i0, i1, i2, i3] = index.to_le_bytes();
    let [c0, c1, c2, c3, c4, c5, c6, c7] = counter.to_le_bytes();
    [DATA, phase, i0, i1, i2, i3, c0, c1, c2, c3, c4, c5, c6, c7]
}

/// Opens the frames of one link, each of them once.
pub struct Opener {
    key: DataKey,
    /// One more than the highest counter that was accepted before the key came into use. Its
    /// [budget](REJECT_AFTER_FRAMES) begins here.
    first_counter: u64,
    /// The previous key while frames sealed with it may still arrive, and the counter where its budget began.
    previous: Option<(DataKey, u64)>,
    /// The next key, which the neighbour may use already.
    next: Option<DataKey>,
    window: ReplayWindow,
}

impl Opener {
    /// Opens frames with the key of one direction; `None` if this machine cannot use the cipher.
    pub fn new(suite: Suite, handshake_hash: &[u8], split: &[u8; 32]) -> Option<Self> {
        Some(Opener {
            key: DataKey::new(suite, handshake_hash, split, 0)?,
            first_counter: 0,
            previous: None,
            next: None,
            window: ReplayWindow::default(),
        })
    }

    /// Accepts frames under this key too, since the neighbour may use it from now on.
    pub(super) fn set_next(&mut self, next: DataKey) {
        self.next = Some(next);
    }

    /// The generation of the present key.
    pub(super) fn generation(&self) -> u32 {
        self.key.generation
    }

    /// Makes the next key the present one.
    pub(super) fn switch(&mut self) {
        if let Some(next) = self.next.take() {
            self.previous = Some((std::mem::replace(&mut self.key, next), self.first_counter));
            self.first_counter = self.window.expected();
        }
    }

    /// Erases the previous key.
    pub(super) fn forget_previous(&mut self) {
        self.previous = None;
    }

    /// Whether the neighbour has sealed so many frames with the present key that it should be replaced.
    pub(super) fn is_worn(&self) -> bool {
        self.window.expected().saturating_sub(self.first_counter) >= REKEY_AFTER_FRAMES
    }

    /// The key of a phase, and the counter where its budget begins. That of the next key begins with the next frame.
    fn key(&self, phase: u8) -> Option<(&DataKey, u64)> {
        let next = self.next.as_ref().map(|key| (key, self.window.expected()));
        let previous = self.previous.as_ref().map(|(key, since)| (key, *since));
        let all = [Some((&self.key, self.first_counter)), next, previous];
        all.into_iter().flatten().find(|(key, _)| key.phase() == phase)
    }

    /// Opens one frame in place and returns its plaintext. The first frame that opens with the next key makes it the
    /// present one.
    ///
    /// The counter is checked before the frame is opened, because that is cheaper than the cipher, and marked after,
    /// because otherwise a forged frame could use up the counter of an honest one.
    ///
    /// # Errors
    /// [`DropCause::MalformedFrame`]; [`DropCause::Replay`]; or [`DropCause::BadSeal`], also when its phase selects no
    /// key. A frame that was refused changes nothing in the opener, though its bytes may be overwritten.
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

    /// The minimum number of frames that the neighbour has sent: one more than the highest counter that was accepted.
    pub fn expected(&self) -> u64 {
        self.window.expected()
    }

    /// The number of frames that were accepted.
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
pub(super) mod tests;
