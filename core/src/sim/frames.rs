//! Frames of simulated links: sealed, carried by a medium that loses some, and opened.

use super::link_sim::{MTU, path};
use super::net::Net;
use super::queue::SimEvent;
use crate::link::{FrameContent, Sealer, Source};
use crate::route::NeighbourId;
use crate::wire::link::{
    FrameKind, KIND_ACK, KIND_ANSWER, KIND_CONTROL, KIND_GOODBYE, KIND_HELLO, KIND_PROBE, peek,
};

/// The name of a frame's content, for the counts of control traffic.
fn content(kind: u8) -> &'static str {
    match kind {
        KIND_CONTROL => "segment",
        KIND_ACK => "ack",
        KIND_HELLO => "hello",
        KIND_PROBE => "probe",
        KIND_ANSWER => "answer",
        KIND_GOODBYE => "goodbye",
        _ => "other",
    }
}

impl Net {
    /// Seals a plaintext of a link and passes it to the medium. `control` is false for packets, which do not count as control traffic.
    pub(super) fn seal_and_send(&mut self, id: NeighbourId, plaintext: &[u8], control: bool) {
        let (link, side) = (self.sessions[id as usize].link, self.sessions[id as usize].side);
        let Some(link_sim) = &mut self.sessions[id as usize].link_sim else { return };
        let mut frame = Vec::with_capacity(plaintext.len() + Sealer::OVERHEAD);
        if link_sim.sealer.seal(|out| out.extend_from_slice(plaintext), &mut frame).is_err() {
            return link_sim.link.on_key_exhausted();
        }
        if control {
            let kind = plaintext.first().map_or("", |kind| content(*kind));
            *self.kinds.entry(kind).or_default() += frame.len() as u64;
        }
        if !control {
            link_sim.link.note_sent(self.now, 1, frame.len());
            self.pending.push(id);
        }
        if link_sim.peer_index.is_none()
            && let Some(FrameKind::Data { index }) = peek(&frame)
        {
            link_sim.peer_index = Some(index);
            self.reopen(link);
        }
        self.transmit(link, side, &frame, control);
    }

    /// Passes a handshake frame to the medium.
    pub(super) fn send_handshake(&mut self, link: usize, side: usize, frame: &[u8]) {
        *self.kinds.entry("handshake").or_default() += frame.len() as u64;
        self.transmit(link, side, frame, true);
    }

    fn transmit(&mut self, link: usize, side: usize, frame: &[u8], control: bool) {
        let wire = &mut self.links[link];
        if control {
            self.nodes[wire.ends[side]].sent += frame.len() as u64;
        }
        let (Some(media), true) = (&mut wire.media, wire.up) else { return };
        let queue = &mut self.queue;
        let to = 1 - side;
        media[to].pass(self.now, frame, |due, bytes| {
            queue.push(due, SimEvent::Frame { link, side: to, bytes: bytes.to_vec() });
        });
    }

    pub(super) fn frame_arrives(&mut self, link: usize, side: usize, mut bytes: Vec<u8>) {
        let wire = &self.links[link];
        let (node, session) = (wire.ends[side], wire.sessions[side]);
        if !wire.up || !self.nodes[node].alive {
            return;
        }
        match peek(&bytes) {
            Some(FrameKind::Handshake) => {
                if let Some(handshake_sim) = &mut self.nodes[node].handshake_sim {
                    // The medium corrupts nothing, so only frames of finished handshakes are refused.
                    let _ = handshake_sim.handshakes.handle(
                        self.now,
                        path(link),
                        Source::isolated(link as u64),
                        MTU,
                        &bytes,
                    );
                }
                self.serve_handshakes(node);
            }
            Some(FrameKind::Data { index }) => {
                let Some(id) = session else { return };
                let Some(link_sim) = self.sessions[id as usize].link_sim.as_mut() else { return };
                if link_sim.local_index != index {
                    return;
                }
                self.pending.push(id);
                let packet = match link_sim.link.handle_frame(self.now, &mut bytes) {
                    Ok(FrameContent::Packet(body)) => Some(body.to_vec()),
                    Ok(FrameContent::Consumed) => None,
                    // The medium corrupts nothing, so only repeated frames are refused.
                    Err(_) => return,
                };
                if !std::mem::replace(&mut link_sim.confirmed, true) {
                    if let Some(handshake_sim) = &mut self.nodes[node].handshake_sim {
                        handshake_sim.handshakes.confirm(self.now, index);
                    }
                    self.serve_handshakes(node);
                }
                if let Some(packet) = packet {
                    self.forward(node, packet);
                }
            }
            None => {}
        }
    }
}
