//! Cost of forwarding a packet, compared with its cryptography alone:
//! `cargo bench -p rouse-tests --bench forward`.
//!
//! A relay opens a frame, reads the packet's header, finds the next link and seals the packet for it. For comparison `ring` only
//! opens and seals the same bytes with the same cipher. The rounds of both alternate, so that other load on the machine affects
//! both alike. The medians of the rounds and their ratio are printed. A number among the arguments sets the number of rounds.

mod codec;
#[path = "../common/mod.rs"]
mod common;
mod relay;

use std::alloc::System;

use common::{Bare, median, rounds, timed};
use relay::{Relay, announced};
use rouse_adversary::raw::control_messages::RawRecord;
use rouse_core::Address;
use rouse_tests::handshake_pair::Cipher;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Packets of one round.
const PACKETS: usize = 2048;

fn relay(announced: &[(Address, RawRecord)], cipher: Cipher, payload: usize, rounds: usize) {
    let size = Relay::frame_len(payload);
    let bare = Bare::new(cipher);
    let mut relays = [1_000, announced.len()].map(|count| Relay::new(&announced[..count], cipher));
    let mut alone = Vec::new();
    let mut relayed = [Vec::new(), Vec::new()];
    let mut ratios = [Vec::new(), Vec::new()];
    let mut allocations = [0; 2];
    // The first rounds only fill the caches.
    for round in 0..rounds + 3 {
        let mut frames = bare.frames(PACKETS, size);
        let bare_time = timed(|| {
            for (frame, counter) in frames.chunks_mut(size).zip(0..) {
                bare.open(counter, frame);
                bare.seal(counter, frame);
            }
        });
        // The order alternates.
        for which in [round % 2, (round + 1) % 2] {
            let relay = &mut relays[which];
            let trains = relay.trains(PACKETS, payload);
            let before = relay.sent();
            let region = Region::new(ALLOCATOR);
            let mut kept = Vec::new();
            let time = timed(|| kept = relay.forward(trains, size));
            let allocated = region.change().allocations;
            drop(kept);
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
    let rounds = rounds(200);
    let announced: Vec<_> = (0..32_000).map(announced).collect();
    println!("Bar: 1200 B, ratio at least 0.70. Medians of {rounds} rounds of {PACKETS} packets.\n");
    for (cipher, payload) in
        [(Cipher::Aes, 1200), (Cipher::ChaCha, 1200), (Cipher::Aes, 64), (Cipher::ChaCha, 64)]
    {
        relay(&announced, cipher, payload, rounds);
    }
    println!();
    codec::run(ALLOCATOR, rounds);
}
