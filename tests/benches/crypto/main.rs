//! Cost of the cryptography of links, announces and sessions: `cargo bench -p rouse-tests --bench crypto`.
//!
//! The compared rounds alternate, so that other load on the machine affects all alike. The medians are printed. A number among the
//! arguments sets the number of rounds.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the other benchmark uses the rest")]
mod common;

use std::hint::black_box;

use common::{Bare, HEADER, TAG, median, rounds, timed};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rouse_proto::link::{Sealer, Session};
use rouse_tests::handshake_pair::{Cipher, HandshakePair};

mod session_end;
mod sessions;

/// Handshakes, frames and signatures of one round.
const HANDSHAKES: u64 = 16;
const COOKIES: usize = 256;
const FRAMES: usize = 512;
const SIGNATURES: usize = 256;
/// The approximate length of an announce's signed bytes.
const SIGNED: usize = 116;

/// One direction of a link: the sealer of one end and the opener of the other.
struct Channel {
    sealer: Sealer,
    opener: Box<Session>,
    out: Vec<u8>,
}

impl Channel {
    /// A link with this cipher.
    fn new(cipher: Cipher) -> Self {
        let (a, b) = HandshakePair::sessions(cipher);
        Channel { sealer: a.sealer, opener: b, out: Vec::with_capacity(4096) }
    }

    /// Seals one frame; returns it.
    fn seal(&mut self, content: &[u8]) -> &mut [u8] {
        self.out.clear();
        let sealed = self.sealer.seal(|out| out.extend_from_slice(content), &mut self.out);
        assert!(sealed.is_ok());
        &mut self.out
    }

    /// Opens one frame in place; returns whether its seal was valid.
    fn open(&mut self, frame: &mut [u8]) -> bool {
        self.opener.opener.open(frame).is_ok()
    }
}

fn main() {
    let rounds = rounds(40);
    handshakes(rounds);
    for cipher in [Cipher::Aes, Cipher::ChaCha] {
        for length in [64, 1200] {
            frames(cipher, length, rounds * 5);
        }
    }
    sessions::handshakes(rounds);
    for cipher in [Cipher::Aes, Cipher::ChaCha] {
        for length in [64, 1024] {
            sessions::packets(cipher, length, rounds * 5);
        }
    }
    signatures(rounds);
}

fn handshakes(rounds: usize) {
    let (mut plain, mut loaded, mut cookies) = (Vec::new(), Vec::new(), Vec::new());
    let mut frames = [0, 0];
    for _ in 0..rounds {
        for (under_load, times) in [(false, &mut plain), (true, &mut loaded)] {
            let pairs = (0..HANDSHAKES).map(|number| HandshakePair::new(Cipher::Aes, under_load, number));
            let mut pairs: Vec<_> = pairs.collect();
            let time = timed(|| {
                for pair in &mut pairs {
                    frames[usize::from(under_load)] = black_box(pair.handshake());
                }
            });
            times.push(time / HANDSHAKES as f64 * 1e6);
        }
        let mut pair = HandshakePair::new(Cipher::Aes, true, 0);
        let mut bytes = 0;
        let time = timed(|| bytes = pair.cookies(COOKIES));
        assert!(bytes > 0, "a stranger is asked for a cookie");
        cookies.push(time / COOKIES as f64 * 1e6);
    }
    println!("Handshake (Noise XX), both sides together");
    println!("  whole, {} frames                  {:7.1} µs", frames[0], median(&mut plain));
    println!("  under load, {} frames             {:7.1} µs", frames[1], median(&mut loaded));
    println!("  an initiation answered by a cookie {:6.2} µs", median(&mut cookies));
}

fn frames(cipher: Cipher, length: usize, rounds: usize) {
    let mut channel = Channel::new(cipher);
    let bare = Bare::new(cipher);
    let size = length + HEADER + TAG;
    let content = vec![7; length];
    let mut times = [const { Vec::new() }; 4];
    let mut sealed = vec![0; FRAMES * size];
    for _ in 0..rounds {
        sealed.clear();
        let seal = timed(|| {
            for _ in 0..FRAMES {
                sealed.extend_from_slice(channel.seal(&content));
            }
        });
        let open = timed(|| sealed.chunks_mut(size).for_each(|frame| assert!(channel.open(frame))));
        let mut frames = vec![7; FRAMES * size];
        let each = |frames: &mut Vec<u8>, work: &dyn Fn(u64, &mut [u8])| {
            frames.chunks_mut(size).zip(0..).for_each(|(frame, counter)| work(counter, frame));
        };
        let bare_seal = timed(|| each(&mut frames, &|counter, frame| bare.seal(counter, frame)));
        let bare_open = timed(|| each(&mut frames, &|counter, frame| bare.open(counter, frame)));
        for (times, time) in times.iter_mut().zip([seal, bare_seal, open, bare_open]) {
            times.push(time / FRAMES as f64 * 1e9);
        }
    }
    let [seal, bare_seal, open, bare_open] = times.map(|mut times| median(&mut times));
    println!("Frame, {cipher:?}, {length} B of content");
    println!("  seal    {seal:7.0} ns   ring alone {bare_seal:7.0} ns   ratio {:.2}", bare_seal / seal);
    println!("  open    {open:7.0} ns   ring alone {bare_open:7.0} ns   ratio {:.2}", bare_open / open);
}

fn signatures(rounds: usize) {
    let keys: Vec<_> = (0..SIGNATURES)
        .map(|n| {
            let mut seed = [9; 32];
            seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
            SigningKey::from_bytes(&seed)
        })
        .collect();
    let messages: Vec<_> = (0..SIGNATURES).map(|n| vec![n as u8; SIGNED]).collect();
    let signatures: Vec<Signature> =
        keys.iter().zip(&messages).map(|(key, message)| key.sign(message)).collect();
    // As for received announces, an address is 32 bytes and not yet a point of the curve.
    let addresses: Vec<[u8; 32]> = keys.iter().map(|key| key.verifying_key().to_bytes()).collect();
    let key = |bytes: &[u8; 32]| VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak());
    let mut single = Vec::new();
    const BATCHES: [usize; 4] = [8, 32, 64, 256];
    let mut batched = [const { Vec::new() }; BATCHES.len()];
    for _ in 0..rounds {
        let time = timed(|| {
            for ((bytes, message), signature) in addresses.iter().zip(&messages).zip(&signatures) {
                let good = key(bytes).is_some_and(|key| key.verify_strict(message, signature).is_ok());
                assert!(good);
            }
        });
        single.push(time / SIGNATURES as f64 * 1e6);
        for (size, times) in BATCHES.into_iter().zip(&mut batched) {
            let time = timed(|| {
                for at in (0..SIGNATURES).step_by(size) {
                    let keys: Vec<_> = addresses[at..at + size].iter().filter_map(key).collect();
                    let texts: Vec<_> = messages[at..at + size].iter().map(Vec::as_slice).collect();
                    let good = ed25519_dalek::verify_batch(&texts, &signatures[at..at + size], &keys);
                    assert!(good.is_ok());
                }
            });
            times.push(time / SIGNATURES as f64 * 1e6);
        }
    }
    println!("Signature of an announce ({SIGNED} B), each of another key");
    println!("  one by one                        {:7.1} µs", median(&mut single));
    for (size, times) in BATCHES.iter().zip(&mut batched) {
        println!("  in batches of {size:<4}                {:7.1} µs", median(times));
    }
}
