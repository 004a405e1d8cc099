//! The packet's header and its payload, written and read, beside the sealing of the same packet.

use std::alloc::System;
use std::hint::black_box;

use rouse_core::internals::cost::{Cipher, Codec};
use stats_alloc::{Region, StatsAlloc};

use super::common::{Bare, HEADER, TAG, median, timed};

const TIMES: usize = 2048;

pub(crate) fn run(allocator: &StatsAlloc<System>, rounds: usize) {
    let payload = vec![7; 1200];
    let mut codec = Codec::default();
    let packet = codec.encode(&payload).to_vec();
    let bare = Bare::new(Cipher::Aes);
    let mut frame = vec![7; HEADER + packet.len() + TAG];
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    let region = Region::new(allocator);
    let mut allocations = 0;
    for _ in 0..rounds {
        let sealed = timed(|| (0..TIMES as u64).for_each(|n| bare.seal(n, black_box(&mut frame))));
        let before = region.change().allocations;
        let encoded = timed(|| {
            for _ in 0..TIMES {
                black_box(codec.encode(black_box(&payload)));
            }
        });
        let decoded = timed(|| {
            for _ in 0..TIMES {
                black_box(Codec::decode(black_box(&packet)));
            }
        });
        allocations += region.change().allocations - before;
        for (figures, time) in times.iter_mut().zip([sealed, encoded, decoded]) {
            figures.push(time / TIMES as f64 * 1e9);
        }
    }
    let [sealed, encoded, decoded] = times.map(|mut figures| median(&mut figures));
    println!("Codec, header and 1200 B borrowed. Bar: each at most 0.25 of the AEAD, no allocation.");
    println!("  AEAD, seal                        {sealed:7.1} ns");
    println!("  encode                            {encoded:7.1} ns  ratio {:.2}", encoded / sealed);
    println!("  decode                            {decoded:7.1} ns  ratio {:.2}", decoded / sealed);
    println!("  allocations in {} of each: {allocations}", TIMES * rounds);
}
