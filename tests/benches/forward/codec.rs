//! The packet's header and its payload, written and read, beside the sealing of the same packet.

use std::alloc::System;
use std::hint::black_box;

use rouse_proto::address::Address;
use rouse_proto::wire::packet::{self, Class, HEADER as PACKET_HEADER, HOP_LIMIT};
use rouse_tests::handshake_pair::Cipher;
use stats_alloc::{Region, StatsAlloc};

use super::common::{Bare, HEADER, TAG, median, timed};

const TIMES: usize = 2048;

/// The part of the codec in a packet's cost: the header, and a copy of the payload.
struct Codec {
    destination: Address,
    out: Vec<u8>,
}

impl Default for Codec {
    fn default() -> Self {
        Codec { destination: Address::from_bytes([9; 32]), out: Vec::with_capacity(2048) }
    }
}

impl Codec {
    /// Writes a packet; returns its bytes.
    fn encode(&mut self, payload: &[u8]) -> &[u8] {
        self.out.clear();
        packet::write_header(&mut self.out, Class::Bulk, 0, HOP_LIMIT, &self.destination);
        self.out.extend_from_slice(payload);
        &self.out
    }

    /// Reads a packet; returns its payload.
    fn decode(packet: &[u8]) -> Option<&[u8]> {
        let header = packet::read_header(packet)?;
        std::hint::black_box(header);
        packet.get(PACKET_HEADER..)
    }
}

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
