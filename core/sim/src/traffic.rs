//! Flows of packets between two nodes, at [`Fidelity::Link`](super::Fidelity::Link). Each packet follows the current next hops, is
//! sealed on every link, and is lost where the medium loses it.

use std::time::Duration;

use super::flow::{Flow, Traffic};
use super::net::Net;
use super::queue::SimEvent;
use rouse_proto::wire::link::KIND_PACKET;

/// The most links that a packet may cross.
const HOP_LIMIT: u8 = 64;
/// The least length of a packet, in bytes: the fields that the simulation writes into it.
const LEAST: usize = 17;

impl Net {
    /// Starts a flow of packets of `length` bytes, one every `every`, for `span`. Returns its number.
    pub(crate) fn add_flow(
        &mut self,
        ends: (usize, usize),
        every: Duration,
        length: usize,
        span: Duration,
    ) -> usize {
        let flow = self.flows.len();
        self.flows.push(Flow {
            from: ends.0,
            to: ends.1,
            every: every.max(Duration::from_micros(1)),
            length: length.max(LEAST),
            until: self.now + span,
            seen: Vec::new(),
            last: None,
            traffic: Traffic::default(),
        });
        self.queue.push(self.now, SimEvent::Packet { flow });
        flow
    }

    pub(crate) fn traffic(&self, flow: usize) -> Option<Traffic> {
        self.flows.get(flow).map(|flow| flow.traffic)
    }

    pub(super) fn packet_leaves(&mut self, number: usize) {
        let flow = &mut self.flows[number];
        if self.now >= flow.until {
            return;
        }
        self.queue.push(self.now + flow.every, SimEvent::Packet { flow: number });
        let from = flow.from;
        if !self.nodes[from].alive {
            return;
        }
        let mut packet = Vec::with_capacity(flow.length);
        packet.extend_from_slice(&(flow.to as u32).to_le_bytes());
        packet.extend_from_slice(&(number as u32).to_le_bytes());
        packet.extend_from_slice(&flow.traffic.sent.to_le_bytes());
        packet.push(HOP_LIMIT);
        packet.resize(flow.length, 0);
        flow.traffic.sent += 1;
        flow.seen.push(false);
        self.forward(from, packet);
    }

    /// Delivers a packet at a node, or sends it on to the next hop.
    pub(super) fn forward(&mut self, node: usize, mut packet: Vec<u8>) {
        let Some(head) = packet.first_chunk_mut::<LEAST>() else { return };
        let [t0, t1, t2, t3, f0, f1, f2, f3, sequence @ .., hops] = head;
        let to = u32::from_le_bytes([*t0, *t1, *t2, *t3]) as usize;
        let number = u32::from_le_bytes([*f0, *f1, *f2, *f3]) as usize;
        let sequence = u64::from_le_bytes(*sequence) as usize;
        *hops = hops.saturating_sub(1);
        let spent = *hops == 0;
        let Some(flow) = self.flows.get_mut(number) else { return };
        if to == node {
            match flow.seen.get_mut(sequence) {
                Some(seen) if *seen => flow.traffic.duplicates += 1,
                Some(seen) => {
                    *seen = true;
                    flow.traffic.arrived += 1;
                    let gap = flow.last.map_or(Duration::ZERO, |last| self.now.since(last));
                    flow.traffic.gap = flow.traffic.gap.max(gap);
                    flow.last = Some(self.now);
                }
                None => {}
            }
            return;
        }
        match self.reach.next(node, to).filter(|_| !spent) {
            Some(id) => {
                packet.insert(0, KIND_PACKET);
                self.seal_and_send(id, &packet, false);
            }
            None => flow.traffic.unroutable += 1,
        }
    }
}
