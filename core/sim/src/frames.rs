//! Frames of simulated links: sealed, carried by a medium that loses some, and opened.

use bytes::BytesMut;

use super::link_sim::path;
use super::net::Net;
use super::queue::SimEvent;
use rouse_proto::link::{FrameContent, Sealer};
use rouse_proto::peering::Input;
use rouse_proto::route::NeighbourId;
use rouse_proto::wire::link::{
    FrameKind, KIND_ACK, KIND_ANSWER, KIND_CONTROL, KIND_GOODBYE, KIND_HELLO, KIND_PROBE, KIND_REST, peek,
};

/// The name of a frame's content, for the counts of control traffic.
fn content(kind: u8) -> &'static str {
    match kind {
        KIND_CONTROL => "segment",
        KIND_ACK => "ack",
        KIND_HELLO | KIND_REST => "hello",
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

    pub(super) fn frame_arrives(&mut self, link: usize, side: usize, bytes: Vec<u8>) {
        let wire = &self.links[link];
        let (node, session) = (wire.ends[side], wire.sessions[side]);
        if !wire.up || !self.nodes[node].alive {
            return;
        }
        match peek(&bytes) {
            Some(FrameKind::Handshake) => {
                let frame = BytesMut::from(&bytes[..]);
                self.report_to_peering(node, Input::Handshake { path: path(link), frame });
                self.serve_peering(node);
            }
            Some(FrameKind::Data { index }) => match session.filter(|id| self.is_of(*id, index)) {
                Some(id) => self.open_frame(id, bytes),
                None => {
                    let frame = BytesMut::from(&bytes[..]);
                    self.report_to_peering(node, Input::EarlyFrame { index, path: path(link), frame });
                    self.serve_peering(node);
                }
            },
            None => {}
        }
    }

    /// Whether frames with this receiver index belong to the session.
    fn is_of(&self, id: NeighbourId, index: u32) -> bool {
        self.sessions[id as usize].link_sim.as_ref().is_some_and(|link_sim| link_sim.local_index == index)
    }

    /// Opens a frame of a link. The first one puts the link of an initiator into service.
    pub(super) fn open_frame(&mut self, id: NeighbourId, mut bytes: Vec<u8>) {
        let node = self.sessions[id as usize].node;
        let Some(link_sim) = self.sessions[id as usize].link_sim.as_mut() else { return };
        self.pending.push(id);
        let packet = match link_sim.link.handle_frame(self.now, &mut bytes) {
            Ok(FrameContent::Packet(body)) => Some(body.to_vec()),
            Ok(FrameContent::Consumed) => None,
            // The medium corrupts nothing, so only repeated frames are refused.
            Err(_) => return,
        };
        if !std::mem::replace(&mut link_sim.confirmed, true) {
            let number = link_sim.number;
            self.report_to_peering(node, Input::LinkConfirmed { id: number });
            if !self.sessions[id as usize].held {
                self.enter_service(id);
            }
            self.serve_peering(node);
        }
        if let Some(packet) = packet {
            self.forward(node, packet);
        }
    }
}
