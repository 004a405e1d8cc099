//! What a relay does with a packet, beside its cryptography alone:
//! `cargo bench -p rouse-core --features internals --bench forward`.
//!
//! A relay opens a frame, looks at the packet's header, finds the next link and seals the packet for it. Beside that
//! stand `ring` opening and sealing the same bytes with the same cipher, and nothing else. Rounds of both take turns, so
//! that what else the machine does hits both alike; printed are medians of the rounds, and their ratio. A number among the
//! arguments says how many rounds there are.

mod codec;
mod fib;

use std::alloc::System;
use std::time::{Duration, Instant};

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rouse_core::internals::cost::{Cipher, Relay};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Packets of one round.
const PACKETS: usize = 2048;
const HEADER: usize = 14;
const TAG: usize = 16;

/// `ring` alone, on frames of the same shape.
struct Bare {
    key: LessSafeKey,
    counter: u64,
}

impl Bare {
    fn new(cipher: Cipher) -> Self {
        let algorithm = match cipher {
            Cipher::Aes => &aead::AES_256_GCM,
            Cipher::ChaCha => &aead::CHACHA20_POLY1305,
        };
        let Ok(key) = UnboundKey::new(algorithm, &[7; 32]) else { unreachable!("a key of 32 bytes") };
        Bare { key: LessSafeKey::new(key), counter: 0 }
    }

    fn nonce(counter: u64) -> Nonce {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&counter.to_le_bytes());
        Nonce::assume_unique_for_key(bytes)
    }

    fn seal(&self, counter: u64, frame: &mut [u8]) {
        let end = frame.len() - TAG;
        let (head, body) = frame.split_at_mut(HEADER);
        let (body, tag) = body.split_at_mut(end - HEADER);
        let head: [u8; HEADER] = head.try_into().unwrap_or_default();
        let sealed = self.key.seal_in_place_separate_tag(Self::nonce(counter), Aad::from(head), body);
        tag.copy_from_slice(sealed.as_ref().map_or(&[0; TAG], |tag| tag.as_ref()));
    }

    fn open(&self, counter: u64, frame: &mut [u8]) {
        let (head, body) = frame.split_at_mut(HEADER);
        let head: [u8; HEADER] = head.try_into().unwrap_or_default();
        assert!(self.key.open_in_place(Self::nonce(counter), Aad::from(head), body).is_ok());
    }

    /// Frames as they would come.
    fn frames(&mut self, count: usize, size: usize) -> Vec<u8> {
        let mut frames = vec![7; count * size];
        for frame in frames.chunks_mut(size) {
            self.seal(self.counter, frame);
            self.counter += 1;
        }
        self.counter -= count as u64;
        frames
    }

    /// Opens each and seals it again.
    fn forward(&mut self, frames: &mut [u8], size: usize) {
        for frame in frames.chunks_mut(size) {
            self.open(self.counter, frame);
            self.seal(self.counter, frame);
            self.counter += 1;
        }
    }
}

fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn relay(cipher: Cipher, payload: usize, rounds: usize) {
    let size = Relay::frame_len(payload);
    let mut bare = Bare::new(cipher);
    let mut relays = [1_000, 32_000].map(|destinations| Relay::new(destinations, cipher));
    let mut alone = Vec::new();
    let mut relayed = [Vec::new(), Vec::new()];
    let mut ratios = [Vec::new(), Vec::new()];
    let mut allocations = [0; 2];
    // Of the first rounds only the caches learn.
    for round in 0..rounds + 3 {
        let mut frames = bare.frames(PACKETS, size);
        let bare_time = timed(|| bare.forward(&mut frames, size));
        for (which, relay) in relays.iter_mut().enumerate() {
            let trains = relay.trains(PACKETS, payload);
            let before = relay.sent();
            let region = Region::new(ALLOCATOR);
            let time = timed(|| relay.forward(trains, size));
            let allocated = region.change().allocations;
            assert_eq!(relay.sent() - before, (PACKETS * size) as u64, "every packet went on");
            if round >= 3 {
                relayed[which].push(time);
                ratios[which].push(bare_time / time);
                allocations[which] += allocated;
            }
        }
        if round >= 3 {
            alone.push(bare_time);
        }
    }
    let per_packet = |times: &mut [f64]| median(times) / PACKETS as f64 * 1e9;
    let alone = per_packet(&mut alone);
    println!("{cipher:?}, payload {payload} B (frames of {size} B):");
    println!("  AEAD alone, open and seal         {alone:7.0} ns  {:6.0} k/s", 1e6 / alone);
    for (which, destinations) in ["1 000", "32 000"].iter().enumerate() {
        let time = per_packet(&mut relayed[which]);
        let ratio = median(&mut ratios[which]);
        let allocations = allocations[which] as f64 / (rounds * PACKETS) as f64;
        println!(
            "  relay, {destinations:>6} destinations       {time:7.0} ns  {:6.0} k/s  ratio {ratio:.2}  {allocations:.3} allocations",
            1e6 / time
        );
    }
}

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(200);
    let begun = Instant::now();
    println!("Bar: 1200 B, ratio at least 0.70. Medians of {rounds} rounds of {PACKETS} packets.\n");
    for (cipher, payload) in
        [(Cipher::Aes, 1200), (Cipher::ChaCha, 1200), (Cipher::Aes, 64), (Cipher::ChaCha, 64)]
    {
        relay(cipher, payload, rounds);
    }
    println!();
    codec::run(ALLOCATOR, rounds);
    println!();
    fib::run();
    println!("\n{:.0?}", begun.elapsed().max(Duration::from_secs(1)));
}
