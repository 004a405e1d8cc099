//! The receiving half of the data path: a packet that was opened is forwarded over the next link, or is for this node.

use std::sync::Arc;

use bytes::BytesMut;

use super::{DeferredWork, hand_over, probe, route};
use crate::egress::intake::PushGuard;
use crate::link::Sealer;
use crate::node::state::NodeState;
use crate::node::state::neighbour::Neighbour;
use crate::stats::{Counter, DropCause};
use crate::wire::packet::{self, HEADER, Header, payload};

/// Packets whose routes are looked up together. A look-up in a large table waits for memory, and look-ups that are
/// issued together wait at the same time.
const TOGETHER: usize = 64;

/// Handles the packets of one batch (each with its kind byte first) that a neighbour has sent.
pub(crate) fn packets_arrived(shared: &NodeState, packets: &mut Vec<BytesMut>, work: &mut DeferredWork) {
    let routes = shared.fib.snapshot();
    let mut forwarded = 0u64;
    while !packets.is_empty() {
        let (mut hashes, mut words) = ([0; TOGETHER], 0);
        for (packet, hash) in packets.iter().zip(&mut hashes) {
            if let Some(destination) = packet::destination(packet) {
                let (hashed, word) = routes.touch(&destination);
                *hash = hashed;
                words |= word;
            }
        }
        // The words are used, or else the compiler would remove the reads.
        std::hint::black_box(words);
        let mut routed = [None; TOGETHER];
        for ((packet, found), hash) in packets.iter().zip(&mut routed).zip(hashes) {
            *found = packet::destination(packet).and_then(|to| routes.get_hashed(hash, &to));
        }
        // The queue that the last packet was put into stays locked, since most packets of a batch leave over the same
        // link.
        let mut open: Option<(&Arc<Neighbour>, PushGuard<'_>)> = None;
        for (mut packet, found) in packets.drain(..packets.len().min(TOGETHER)).zip(routed) {
            // A packet for this node has no route, and is handled with no queue locked.
            let Some((found, (header, hop_limit))) = found.zip(onward(&packet)) else {
                open = None;
                packet_arrived(shared, packet, work);
                continue;
            };
            packet::set_hop_limit(&mut packet, hop_limit);
            forwarded = forwarded.saturating_add(1);
            let next = found.next_hops.best();
            if packet.len().saturating_add(Sealer::OVERHEAD) > next.mtu() {
                shared.stats.drop(DropCause::TooLong);
                continue;
            }
            let queue = match &mut open {
                Some((known, queue)) if Arc::ptr_eq(known, next) => queue,
                _ => {
                    // One queue is locked at a time, so that two batches cannot wait for each other.
                    drop(open.take());
                    work.flush_later(next);
                    &mut open.insert((next, next.pushing())).1
                }
            };
            let pushed = queue.push(header.class, packet.freeze());
            pushed.count(&shared.stats);
        }
    }
    shared.stats.count(Counter::PacketsForwarded, forwarded);
    // Once for the batch, so that an application wakes once for all of its messages.
    work.deliver(shared);
}

/// The header of a packet that may be forwarded, and the hop limit that it is forwarded with. The limit falls at every
/// node, so that a packet in a loop ends.
fn onward(packet: &[u8]) -> Option<(Header, u8)> {
    let header = packet::read_header(packet)?;
    let hop_limit = header.hop_limit.checked_sub(1).filter(|left| *left > 0)?;
    Some((header, hop_limit))
}

/// Handles a packet that is not forwarded: it is for this node, its hop limit ends here, or there is no route.
fn packet_arrived(shared: &NodeState, packet: BytesMut, work: &mut DeferredWork) {
    let Some(header) = packet::read_header(&packet) else {
        return shared.stats.drop(DropCause::MalformedPacket);
    };
    if shared.is_ours(&header.destination) {
        shared.stats.count(Counter::PacketsIn, 1);
        return payload_arrived(shared, &header, packet, work);
    }
    if header.hop_limit > 1 {
        // A route may have been installed since the snapshot of the batch.
        let Some(hop) = route(shared, &header.destination) else {
            return shared.stats.drop(DropCause::NoRoute);
        };
        let mut packet = packet;
        packet::set_hop_limit(&mut packet, header.hop_limit.saturating_sub(1));
        shared.stats.count(Counter::PacketsForwarded, 1);
        return hand_over(shared, &hop, header.class, packet.freeze(), work);
    }
    if header.flags & packet::FLAG_TRACE != 0 {
        return probe::answer_trace(shared, packet.get(HEADER..).unwrap_or_default(), work);
    }
    shared.stats.drop(DropCause::HopLimit);
}

/// Handles a packet for an address of this node.
fn payload_arrived(shared: &NodeState, header: &Header, packet: BytesMut, work: &mut DeferredWork) {
    let payload = packet.get(HEADER..).unwrap_or_default();
    match payload.first() {
        Some(&payload::SESSION) => {
            shared.conversations.open_packet(shared, header.destination, packet, work);
        }
        Some(&payload::PART) => {
            shared.conversations.handle_part(shared, header.destination, payload, work);
        }
        Some(&payload::CLEAR_MESSAGE) => shared.stats.drop(DropCause::ClearMessage),
        Some(&(payload::PING | payload::TRACE | payload::PONG | payload::HOP)) => {
            probe::arrived(shared, header, payload, work);
        }
        _ => shared.stats.drop(DropCause::MalformedPacket),
    }
}
