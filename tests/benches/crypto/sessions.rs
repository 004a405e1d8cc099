//! End-to-end sessions: the handshake at either end, and packets beside `ring` alone.

use std::hint::black_box;

use rouse_tests::handshake_pair::Cipher;

use crate::common::{Bare, HEADER, TAG, median, timed};
use crate::session_end::SessionEnd;

/// Handshakes and packets of one round.
const HANDSHAKES: u64 = 16;
const PACKETS: usize = 512;
/// The bytes of a sealed payload beside its content.
const OVERHEAD: usize = 29;

/// The processor time of a handshake at the end that begins it and at the other.
pub(super) fn handshakes(rounds: usize) {
    let (mut initiators, mut responders) = (Vec::new(), Vec::new());
    for round in 0..rounds as u64 {
        let number = |nth| round * HANDSHAKES + nth;
        let mut pairs: Vec<_> =
            (0..HANDSHAKES).map(|nth| SessionEnd::pair(Cipher::Aes, number(nth))).collect();
        let mut payloads = Vec::new();
        let mut initiator = timed(|| payloads = pairs.iter_mut().map(|[a, _]| a.connect()).collect());
        let mut responder = 0.0;
        for step in 1..5 {
            let end = step % 2;
            let time = timed(|| {
                for (pair, payloads) in pairs.iter_mut().zip(&mut payloads) {
                    *payloads = black_box(pair[end].take(std::mem::take(payloads)));
                }
            });
            *if end == 0 { &mut initiator } else { &mut responder } += time;
        }
        assert!(pairs.iter().flatten().all(SessionEnd::is_ready));
        initiators.push(initiator / HANDSHAKES as f64 * 1e6);
        responders.push(responder / HANDSHAKES as f64 * 1e6);
    }
    println!("Handshake of a session (Noise IK, ML-KEM-768)");
    println!("  initiator                         {:7.1} µs", median(&mut initiators));
    println!("  responder                         {:7.1} µs", median(&mut responders));
}

/// Sealing and opening of packets.
pub(super) fn packets(cipher: Cipher, length: usize, rounds: usize) {
    let [mut a, mut b] = SessionEnd::pair(cipher, 0);
    let request = a.connect();
    let response = b.take(request);
    let confirm = a.take(response);
    let confirmed = b.take(confirm);
    a.take(confirmed);
    let bare = Bare::new(cipher);
    let content = vec![1; length];
    let size = length + OVERHEAD;
    let bare_size = length + HEADER + TAG;
    let mut times = [const { Vec::new() }; 4];
    let mut sealed = Vec::with_capacity(PACKETS * size);
    for _ in 0..rounds {
        sealed.clear();
        let seal = timed(|| (0..PACKETS).for_each(|_| a.seal(&content, &mut sealed)));
        let open = timed(|| sealed.chunks_mut(size).for_each(|payload| assert!(b.open(payload))));
        let mut frames = vec![7; PACKETS * bare_size];
        let each = |frames: &mut Vec<u8>, work: &dyn Fn(u64, &mut [u8])| {
            frames.chunks_mut(bare_size).zip(0..).for_each(|(frame, counter)| work(counter, frame));
        };
        let bare_seal = timed(|| each(&mut frames, &|counter, frame| bare.seal(counter, frame)));
        let bare_open = timed(|| each(&mut frames, &|counter, frame| bare.open(counter, frame)));
        for (times, time) in times.iter_mut().zip([seal, bare_seal, open, bare_open]) {
            times.push(time / PACKETS as f64 * 1e9);
        }
    }
    let [seal, bare_seal, open, bare_open] = times.map(|mut times| median(&mut times));
    println!("Packet of a session, {cipher:?}, {length} B of content");
    println!("  seal    {seal:7.0} ns   ring alone {bare_seal:7.0} ns   times {:.2}", seal / bare_seal);
    println!("  open    {open:7.0} ns   ring alone {bare_open:7.0} ns   times {:.2}", open / bare_open);
}
