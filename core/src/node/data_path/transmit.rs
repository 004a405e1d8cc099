//! The sending half of the data path: the route of a packet, and the queue of the link that it leaves over.

use std::cell::Cell;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::DeferredWork;
use crate::address::Address;
use crate::egress::Class;
use crate::link::Sealer;
use crate::node::state::NodeState;
use crate::node::state::conversation::PORTION;
use crate::node::state::fib::{FibRoute, NextHops};
use crate::node::state::neighbour::Neighbour;
use crate::session::PathChoice;
use crate::stats::{Counter, DropCause};
use crate::wire::packet::{self, HEADER, HOP_LIMIT, Header};

/// The length of a buffer that consecutive packets of a conversation share. They leave over one link in their order, so that
/// a buffer is held little longer than each of its packets.
const CHUNK: usize = 16 << 10;

/// The route to a destination, if there is one. A neighbour is reached over its own link as soon as that is in service,
/// even before the router has received its announce: the direct route cannot loop, so it needs no check.
pub(crate) fn route(shared: &NodeState, destination: &Address) -> Option<FibRoute> {
    shared.fib.get(destination).or_else(|| {
        let next = shared.linked_to(destination)?;
        let mtu = payload_mtu(next.mtu());
        Some(FibRoute { next_hops: Arc::new(NextHops { next, alternate: None }), mtu })
    })
}

/// Puts a packet into the queue of the next link. It is counted as dropped where it is longer than the link carries,
/// because a packet is never fragmented on the way.
pub(crate) fn hand_over(
    shared: &NodeState,
    hop: &FibRoute,
    class: Class,
    packet: Bytes,
    work: &mut DeferredWork,
) {
    push_to(shared, hop.best(), class, packet, work);
}

/// Puts a packet into the queue of this link.
fn push_to(shared: &NodeState, next: &Arc<Neighbour>, class: Class, packet: Bytes, work: &mut DeferredWork) {
    if packet.len().saturating_add(Sealer::OVERHEAD) > next.mtu() {
        return shared.stats.drop(DropCause::TooLong);
    }
    next.push(shared, class, packet);
    work.flush_later(next);
}

/// Sends a packet of this node, whose payload `write` appends. Returns whether there was a route.
pub(crate) fn originate(
    shared: &NodeState,
    header: &Header,
    write: impl FnOnce(&mut Vec<u8>),
    work: &mut DeferredWork,
) -> bool {
    originate_over(shared, header, PathChoice::Best, write, work)
}

/// The same, over the path of this choice.
pub(crate) fn originate_over(
    shared: &NodeState,
    header: &Header,
    path: PathChoice,
    write: impl FnOnce(&mut Vec<u8>),
    work: &mut DeferredWork,
) -> bool {
    let &Header { class, flags, hop_limit, destination } = header;
    let Some(hop) = route(shared, &destination) else { return false };
    let second = hop.next_hops.second().filter(|_| path != PathChoice::Best);
    let mut packet = Vec::with_capacity(HEADER + 64);
    packet::write_header(&mut packet, class, flags, hop_limit, &destination);
    write(&mut packet);
    let packet = Bytes::from(packet);
    if let Some(second) = second {
        shared.stats.count(Counter::PacketsOut, 1);
        push_to(shared, second, class, packet.clone(), work);
    }
    if second.is_none() || path == PathChoice::Both {
        shared.stats.count(Counter::PacketsOut, 1);
        hand_over(shared, &hop, class, packet, work);
    }
    true
}

/// The buffers in which packets are made. They are kept per thread, so that neither a conversation nor a link owns any.
#[derive(Default)]
struct PacketBuffers {
    packet: Vec<u8>,
    packets: Vec<Bytes>,
}

thread_local! {
    static BUFFERS: Cell<Option<PacketBuffers>> = const { Cell::new(None) };
}

/// Sends up to [`PORTION`] packets of a conversation. `fill` appends a payload of at most the length that it is given, and
/// returns `false` when there is none. Returns the number of packets.
pub(crate) fn send_portion(
    shared: &NodeState,
    hop: &FibRoute,
    destination: &Address,
    mut fill: impl FnMut(usize, &mut Vec<u8>) -> bool,
    work: &mut DeferredWork,
) -> usize {
    let most = hop.mtu.min(payload_mtu(hop.best().mtu()));
    let mut buffers = BUFFERS.try_with(Cell::take).ok().flatten().unwrap_or_default();
    let PacketBuffers { packet, packets } = &mut buffers;
    let mut chunk = BytesMut::new();
    while packets.len() < PORTION {
        packet.clear();
        packet::write_header(packet, Class::Bulk, 0, HOP_LIMIT, destination);
        if !fill(most, packet) {
            break;
        }
        if packets.is_empty() {
            // A packet that leaves alone has a buffer of its length.
            packets.push(Bytes::copy_from_slice(packet));
            continue;
        }
        if chunk.capacity() < packet.len() {
            chunk = BytesMut::with_capacity(CHUNK.max(packet.len()));
        }
        chunk.extend_from_slice(packet);
        packets.push(chunk.split().freeze());
    }
    let count = packets.len();
    if count > 0 {
        shared.stats.count(Counter::PacketsOut, count as u64);
        let next = hop.best();
        let mut queue = next.pushing();
        for packet in packets.drain(..) {
            if packet.len().saturating_add(Sealer::OVERHEAD) > next.mtu() {
                shared.stats.drop(DropCause::TooLong);
            } else {
                queue.push_own(Class::Bulk, packet).count(&shared.stats);
            }
        }
        drop(queue);
        work.flush_later(next);
    }
    // The thread-local is gone while its thread ends; the buffers are then freed.
    let _ = BUFFERS.try_with(|cell| cell.set(Some(buffers)));
    count
}

/// The longest packet payload that a link with this MTU carries. Origins keep to it, because no node on the way cuts a
/// packet into pieces.
pub(crate) fn payload_mtu(link_mtu: usize) -> usize {
    link_mtu.saturating_sub(Sealer::OVERHEAD + HEADER)
}
