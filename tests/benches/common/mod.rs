//! The common parts of the benchmarks of the data path and of the cryptography: `ring` alone, on frames of the same shape, and
//! medians.

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rouse_tests::handshake_pair::Cipher;
use rustix::time::{ClockId, clock_gettime};

/// The length of a data frame's header in bytes.
pub(crate) const HEADER: usize = 14;
/// The length of its tag in bytes.
pub(crate) const TAG: usize = 16;

/// `ring` alone, on frames of the same shape.
pub(crate) struct Bare {
    key: LessSafeKey,
}

impl Bare {
    pub(crate) fn new(cipher: Cipher) -> Self {
        let algorithm = match cipher {
            Cipher::Aes => &aead::AES_256_GCM,
            Cipher::ChaCha => &aead::CHACHA20_POLY1305,
        };
        let Ok(key) = UnboundKey::new(algorithm, &[7; 32]) else { unreachable!("a key of 32 bytes") };
        Bare { key: LessSafeKey::new(key) }
    }

    fn nonce(counter: u64) -> Nonce {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&counter.to_le_bytes());
        Nonce::assume_unique_for_key(bytes)
    }

    /// Seals what is between header and tag.
    pub(crate) fn seal(&self, counter: u64, frame: &mut [u8]) {
        let end = frame.len() - TAG;
        let (head, body) = frame.split_at_mut(HEADER);
        let (body, tag) = body.split_at_mut(end - HEADER);
        let head: [u8; HEADER] = head.try_into().unwrap_or_default();
        let sealed = self.key.seal_in_place_separate_tag(Self::nonce(counter), Aad::from(head), body);
        tag.copy_from_slice(sealed.as_ref().map_or(&[0; TAG], |tag| tag.as_ref()));
    }

    /// Opens it in place.
    pub(crate) fn open(&self, counter: u64, frame: &mut [u8]) {
        let (head, body) = frame.split_at_mut(HEADER);
        let head: [u8; HEADER] = head.try_into().unwrap_or_default();
        assert!(self.key.open_in_place(Self::nonce(counter), Aad::from(head), body).is_ok());
    }

    /// A sequence of `count` frames, sealed with the counters from 0.
    pub(crate) fn frames(&self, count: usize, size: usize) -> Vec<u8> {
        let mut frames = vec![7; count * size];
        frames.chunks_mut(size).zip(0..).for_each(|(frame, counter)| self.seal(counter, frame));
        frames
    }
}

/// The time that `work` takes, in seconds of this thread's processor time, so that other load on the machine is not counted.
pub(crate) fn timed(work: impl FnOnce()) -> f64 {
    let begun = processor_time();
    work();
    processor_time() - begun
}

fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The median of figures.
pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The number of rounds: the number among the program's arguments.
pub(crate) fn rounds(usual: usize) -> usize {
    std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(usual)
}
