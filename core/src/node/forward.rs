//! The data path: a packet that was opened goes on to the next link, or is for us.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::fib::{Hop, Way};
use super::neighbour::Neighbour;
use super::probe;
use super::shared::Shared;
use super::traffic::Conv;
use crate::address::Address;
use crate::egress::{Class, PushGuard};
use crate::link::Sealer;
use crate::route::Location;
use crate::stats::{Counter, DropCause};
use crate::wire::packet::{self, HEADER, HOP_LIMIT, Header, payload};

/// What a batch of packets leaves to be done, once for all of them: links to be flushed, conversations that
/// have something to say.
#[derive(Default)]
pub(crate) struct Work {
    /// The account of the neighbour whose packets these are.
    pub(crate) from: Location,
    neighbours: Vec<Arc<Neighbour>>,
    conversations: Vec<Arc<Conv>>,
}

impl Work {
    /// The work that packets of a neighbour with this account leave to be done.
    pub(crate) fn of(from: Location) -> Self {
        Work { from, ..Work::default() }
    }

    pub(crate) fn flush_later(&mut self, neighbour: &Arc<Neighbour>) {
        if !self.neighbours.iter().any(|known| known.id == neighbour.id) {
            self.neighbours.push(neighbour.clone());
        }
    }

    pub(crate) fn pump_later(&mut self, conversation: &Arc<Conv>) {
        if !self.conversations.iter().any(|known| Arc::ptr_eq(known, conversation)) {
            self.conversations.push(conversation.clone());
        }
    }

    /// Does what is left to do. Nothing is waited for, so nothing is left half done.
    pub(crate) fn finish(&mut self, shared: &Shared) {
        loop {
            let conversations = std::mem::take(&mut self.conversations);
            for conversation in conversations {
                // A long message goes out in portions, between which others have their turn.
                if conversation.pump(shared, self) {
                    self.conversations.push(conversation);
                }
            }
            while let Some(neighbour) = self.neighbours.pop() {
                neighbour.flush(shared);
            }
            if self.conversations.is_empty() {
                return;
            }
        }
    }
}

/// The route to a destination, if there is one. A neighbour is reached over its own link from the moment that this is in
/// service, also before the router has heard its announce: that leads straight there, and cannot loop.
pub(crate) fn route(shared: &Shared, destination: &Address) -> Option<Hop> {
    shared.fib.get(destination).or_else(|| {
        let next = shared.linked_to(destination)?;
        let mtu = payload_mtu(next.mtu());
        Some(Hop { way: Arc::new(Way { next, alternate: None }), mtu })
    })
}

/// Packets whose routes are looked up together: the look-ups of a large table wait for memory, and so wait at once.
const TOGETHER: usize = 64;

/// Takes the packets of one batch (each with its kind byte first) that a neighbour has sent.
pub(crate) fn packets_arrived(shared: &Shared, packets: &mut Vec<BytesMut>, work: &mut Work) {
    let routes = shared.fib.look();
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
        // Only so that they are read.
        std::hint::black_box(words);
        let mut routed = [None; TOGETHER];
        for ((packet, found), hash) in packets.iter().zip(&mut routed).zip(hashes) {
            *found = packet::destination(packet).and_then(|to| routes.get_hashed(hash, &to));
        }
        // The queue that the last packet went into: most of a batch goes the same way.
        let mut open: Option<(&Arc<Neighbour>, PushGuard<'_>)> = None;
        for (mut packet, found) in packets.drain(..packets.len().min(TOGETHER)).zip(routed) {
            // What is for us has no route.
            let Some((found, (header, hop_limit))) = found.zip(onward(&packet)) else {
                open = None;
                packet_arrived(shared, packet, work);
                continue;
            };
            packet::set_hop_limit(&mut packet, hop_limit);
            forwarded = forwarded.saturating_add(1);
            let next = found.way.best();
            if packet.len().saturating_add(Sealer::OVERHEAD) > next.mtu() {
                shared.stats.drop(DropCause::TooLong);
                continue;
            }
            let queue = match &mut open {
                Some((known, queue)) if Arc::ptr_eq(known, next) => queue,
                _ => {
                    // One at a time.
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
}

/// The header of a packet that may go on, and the hop limit it goes on with.
fn onward(packet: &[u8]) -> Option<(Header, u8)> {
    let header = packet::read_header(packet)?;
    let hop_limit = header.hop_limit.checked_sub(1).filter(|left| *left > 0)?;
    Some((header, hop_limit))
}

/// Takes a packet that does not go on: it is for us, or has come as far as it may, or there is no route.
fn packet_arrived(shared: &Shared, packet: BytesMut, work: &mut Work) {
    let Some(header) = packet::read_header(&packet) else {
        return shared.stats.drop(DropCause::MalformedPacket);
    };
    if shared.is_ours(&header.destination) {
        shared.stats.count(Counter::PacketsIn, 1);
        return payload_arrived(shared, &header, packet.freeze().slice(HEADER..), work);
    }
    if header.hop_limit > 1 {
        // Unless the route has come since the batch was looked up.
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

pub(crate) fn hand_over(shared: &Shared, hop: &Hop, class: Class, packet: Bytes, work: &mut Work) {
    let next = hop.best();
    if packet.len().saturating_add(Sealer::OVERHEAD) > next.mtu() {
        return shared.stats.drop(DropCause::TooLong);
    }
    next.push(shared, class, packet);
    work.flush_later(next);
}

fn payload_arrived(shared: &Shared, header: &Header, payload: Bytes, work: &mut Work) {
    match payload.first() {
        Some(&payload::MESSAGE) => shared.traffic.handle(shared, header.destination, &payload, work),
        Some(&(payload::PING | payload::TRACE | payload::PONG | payload::HOP)) => {
            probe::arrived(shared, header, &payload, work);
        }
        _ => shared.stats.drop(DropCause::MalformedPacket),
    }
}

/// Sends a packet of our own, whose payload `write` appends. Returns whether there was a route.
pub(crate) fn originate(
    shared: &Shared,
    destination: &Address,
    class: Class,
    (flags, hop_limit): (u8, u8),
    write: impl FnOnce(&mut Vec<u8>),
    work: &mut Work,
) -> bool {
    let Some(hop) = route(shared, destination) else { return false };
    let mut packet = Vec::with_capacity(HEADER + 64);
    packet::write_header(&mut packet, class, flags, hop_limit, destination);
    write(&mut packet);
    shared.stats.count(Counter::PacketsOut, 1);
    hand_over(shared, &hop, class, packet.into(), work);
    true
}

/// Sends one more packet of a conversation, if it has one. `fill` appends the payload, at most as long as it is told.
pub(crate) fn send_part(
    shared: &Shared,
    hop: &Hop,
    destination: &Address,
    fill: impl FnOnce(usize, &mut Vec<u8>) -> bool,
    work: &mut Work,
) -> bool {
    let most = hop.mtu.min(payload_mtu(hop.best().mtu()));
    let mut packet = Vec::with_capacity(most.saturating_add(HEADER));
    packet::write_header(&mut packet, Class::Bulk, 0, HOP_LIMIT, destination);
    if !fill(most, &mut packet) {
        return false;
    }
    shared.stats.count(Counter::PacketsOut, 1);
    hand_over(shared, hop, Class::Bulk, packet.into(), work);
    true
}

/// The longest packet payload that a link with this MTU takes.
pub(crate) fn payload_mtu(link_mtu: usize) -> usize {
    link_mtu.saturating_sub(Sealer::OVERHEAD + HEADER)
}
