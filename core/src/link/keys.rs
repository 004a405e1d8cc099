//! The keys of one session: [`Sealer`] for what leaves, [`Opener`] for what comes.
//!
//! Both come from the raw split of the Noise handshake, run through HKDF (RFC 5869) with the handshake's hash as the salt
//! and the cipher suite in the label, so that no key is ever used with two ciphers. The nonce of a frame is
//! its counter (four zero bytes, then 8 bytes little-endian); a counter is used once, and a session ends
//! before they run out.
//!
//! A session has its keys replaced now and then ([`Renewal`](super::rekey::Renewal)): those are its generations, counted from 0. The
//! counter goes on over all of them, so that one replay window serves them all.

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use zeroize::Zeroizing;

use super::replay::Window;
use crate::stats::DropCause;
use crate::wire::link::{DATA, HEADER_LEN, TAG_LEN};

/// After this many frames a key should be replaced: the limit that RFC 9001, section 6.6, derives for AES-GCM and packets
/// of up to 2 KiB.
pub(crate) const WORN: u64 = 1 << 28;
/// After this many frames nothing more is sealed or opened with a key.
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
    secret.expand(&[b"rouse link rekey 1"], hkdf::HKDF_SHA256).ok()?.fill(chain.as_mut()).ok()?;
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

/// The keys have sealed as many frames as they may: the link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session's frame counter is used up")]
pub(crate) struct Exhausted;

/// Seals what leaves on one link. It belongs to the link's egress.
pub(crate) struct Sealer {
    key: Key,
    /// The index that the neighbour gave.
    index: u32,
    counter: u64,
    /// The first counter of this key.
    since: u64,
}

impl Sealer {
    /// What a frame has more than its plaintext, in bytes.
    pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

    pub(super) fn new(suite: Suite, handshake_hash: &[u8], split: &[u8; 32], index: u32) -> Option<Self> {
        Some(Sealer { key: Key::new(suite, handshake_hash, split, 0)?, index, counter: 0, since: 0 })
    }

    /// From now on frames are sealed with the next key.
    pub fn renew(&mut self, key: Key) {
        self.key = key;
        self.since = self.counter;
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
        if self.counter.saturating_sub(self.since) >= LIMIT || self.counter == u64::MAX {
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
        self.counter.saturating_sub(self.since) >= WORN
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
    /// One more than the highest counter that had come when the key came into use.
    since: u64,
    /// The key before, as long as frames may come that were sealed with it.
    before: Option<Key>,
    /// The key to come, which the neighbour may use from now on.
    next: Option<Key>,
    window: Window,
}

/// Which of an opener's keys.
#[derive(Clone, Copy)]
enum Which {
    Before,
    Present,
    Next,
}

impl Opener {
    pub(super) fn new(suite: Suite, handshake_hash: &[u8], split: &[u8; 32]) -> Option<Self> {
        Some(Opener {
            key: Key::new(suite, handshake_hash, split, 0)?,
            since: 0,
            before: None,
            next: None,
            window: Window::default(),
        })
    }

    /// The neighbour may use this key from now on.
    pub(super) fn expect(&mut self, next: Key) {
        self.next = Some(next);
    }

    /// The generation of the present key.
    pub(super) fn generation(&self) -> u32 {
        self.key.generation
    }

    /// The key to come is the present one from now on.
    pub(super) fn turn(&mut self) {
        if let Some(next) = self.next.take() {
            self.before = Some(std::mem::replace(&mut self.key, next));
            self.since = self.window.expected();
        }
    }

    /// Nothing is opened any more with the key before.
    pub(super) fn forget_before(&mut self) {
        self.before = None;
    }

    /// Whether the neighbour has used the present key so often that it needs another.
    pub(super) fn is_worn(&self) -> bool {
        self.window.expected().saturating_sub(self.since) >= WORN
    }

    fn which(&self, phase: u8) -> Option<Which> {
        let is = |key: &Option<Key>| key.as_ref().is_some_and(|key| key.phase() == phase);
        match phase {
            _ if phase == self.key.phase() => Some(Which::Present),
            _ if is(&self.next) => Some(Which::Next),
            _ if is(&self.before) => Some(Which::Before),
            _ => None,
        }
    }

    /// Opens one frame where it lies and returns its plaintext. The first frame that opens with the key to come makes it
    /// the present one.
    ///
    /// # Errors
    /// [`DropCause::MalformedFrame`], [`DropCause::Replay`], [`DropCause::UnknownSession`] when its key is none of ours, or
    /// [`DropCause::BadSeal`]. A frame that was refused changes nothing in the opener, though its bytes may be overwritten.
    pub fn open<'a>(&mut self, frame: &'a mut [u8]) -> Result<&'a mut [u8], DropCause> {
        let (header, body) = frame.split_first_chunk_mut::<HEADER_LEN>().ok_or(DropCause::MalformedFrame)?;
        let [DATA, phase, _, _, _, _, counter @ ..] = *header else {
            return Err(DropCause::MalformedFrame);
        };
        if body.len() < TAG_LEN {
            return Err(DropCause::MalformedFrame);
        }
        let counter = u64::from_le_bytes(counter);
        if counter.saturating_sub(self.since) >= LIMIT || !self.window.is_new(counter) {
            return Err(DropCause::Replay);
        }
        let which = self.which(phase).ok_or(DropCause::UnknownSession)?;
        let key = match which {
            Which::Present => Some(&self.key),
            Which::Before => self.before.as_ref(),
            Which::Next => self.next.as_ref(),
        };
        let plaintext = key
            .ok_or(DropCause::UnknownSession)?
            .key
            .open_in_place(nonce(counter), Aad::from(*header), body)
            .map_err(|_| DropCause::BadSeal)?;
        if matches!(which, Which::Next) {
            self.turn();
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

    /// The key of a generation, as both sides have it.
    fn key(suite: Suite, generation: u32) -> Key {
        Key::new(suite, &[5; 32], &[7; 32], generation).unwrap()
    }

    #[test]
    fn frames_of_two_generations_are_opened_in_any_order_while_both_are_known() {
        let suite = Suite::Aes256Gcm;
        let (mut sealer, mut opener) = pair(suite, [9; 32]);
        let mut old: Vec<_> = (0..3).map(|_| sealed(&mut sealer, b"old")).collect();
        opener.open(&mut sealed(&mut sealer, b"old")).unwrap();
        opener.expect(key(suite, 1));
        sealer.renew(key(suite, 1));
        let mut new: Vec<_> = (0..3).map(|_| sealed(&mut sealer, b"new")).collect();
        assert_eq!((new[0][1], new[0][6]), (1, 4), "the counter goes on, the phase is another");
        assert_eq!(opener.open(&mut old[2].clone()).unwrap(), b"old");
        assert_eq!(opener.generation(), 0);
        assert_eq!(opener.open(&mut new[2].clone()).unwrap(), b"new");
        assert_eq!(opener.generation(), 1);
        assert_eq!(opener.open(&mut old[1].clone()).unwrap(), b"old");
        for seen in [new[2].clone(), old[1].clone(), old[2].clone()] {
            assert_eq!(opener.open(&mut seen.clone()), Err(DropCause::Replay));
        }
        opener.forget_before();
        assert_eq!(opener.open(&mut old[0]), Err(DropCause::UnknownSession));
        assert_eq!(opener.open(&mut new[0]).unwrap(), b"new");
        assert_eq!((opener.expected(), opener.received()), (7, 5));
    }

    #[test]
    fn each_generation_has_a_budget_of_its_own() {
        let suite = Suite::Aes256Gcm;
        let (mut sealer, mut opener) = pair(suite, [9; 32]);
        sealer.skip(WORN);
        assert!(sealer.is_worn());
        opener.open(&mut sealed(&mut sealer, b"x")).unwrap();
        assert!(opener.is_worn());
        opener.expect(key(suite, 1));
        sealer.renew(key(suite, 1));
        assert!(!sealer.is_worn());
        opener.open(&mut sealed(&mut sealer, b"x")).unwrap();
        assert!(!opener.is_worn() && opener.generation() == 1);
        sealer.skip(LIMIT - 1);
        assert_eq!(sealer.seal(|out| out.push(1), &mut Vec::new()), Err(Exhausted));
    }

    #[test]
    fn what_is_printed_of_keys_is_no_secret() {
        let (sealer, mut opener) = pair(Suite::Aes256Gcm, [0x5a; 32]);
        opener.expect(key(Suite::Aes256Gcm, 1));
        let printed = format!("{sealer:?} {opener:?}");
        assert_eq!(
            printed,
            "Sealer { index: 67305985, counter: 0 } Opener { key: Key { generation: 0, .. }, expected: 0 }"
        );
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
                bytes[1] = 0;
            }
            prop_assert!(opener.open(&mut bytes).is_err());
            prop_assert_eq!(opener.received(), 0);
        }
    }
}
