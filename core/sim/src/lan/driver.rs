//! The loop of a simulated medium: events, frames, and the outputs of each node's state machines.

use std::cmp::Reverse;
use std::time::Duration;

use bytes::BytesMut;

use super::Lan;
use super::node::{ANSWER, BEACONS, LanEvent, LanLink, Segment, network_of, node_of, number_of};
use crate::random::{between, unit};
use rouse_proto::endpoint::{Endpoint, Heard};
use rouse_proto::link::{FrameContent, LinkOutput, LinkState, Path, Sealer};
use rouse_proto::peering::{Input, NewLink, Output, PeeringEvent, Retirement};
use rouse_proto::time::Time;
use rouse_proto::wire::link::{FrameKind, KIND_PACKET, peek};

/// The number that all nodes give to the medium.
const MEDIUM: u32 = 0;

/// The bytes of a packet behind its kind: the number of the flow, and padding.
const PACKET: usize = 100;

fn path(endpoint: Endpoint) -> Path {
    Path { netmod: MEDIUM, endpoint }
}

impl Lan {
    pub(super) fn push(&mut self, at: Time, event: LanEvent) {
        self.queued += 1;
        self.queue.push(Reverse((at, self.queued, event)));
    }

    /// Handles the next event or deadline, if it is not later than `until`.
    pub(super) fn step(&mut self, until: Time) -> bool {
        let event = self.queue.peek().map(|Reverse((at, ..))| *at);
        let due =
            self.nodes.iter().enumerate().filter_map(|(number, node)| Some((node.deadline?, number))).min();
        let Some(at) = event.into_iter().chain(due.map(|(at, _)| at)).min().filter(|at| *at <= until) else {
            return false;
        };
        self.now = self.now.max(at);
        self.events += 1;
        if event == Some(at) {
            if let Some(Reverse((_, _, event))) = self.queue.pop() {
                self.handle_event(event);
            }
        } else if let Some((_, node)) = due {
            self.links_timeout(node);
            self.serve(node);
        }
        true
    }

    fn handle_event(&mut self, event: LanEvent) {
        match event {
            LanEvent::Start { node } => self.start(node),
            LanEvent::Frame { from, to, bytes } => {
                let node = number_of(&to);
                if self.nodes[node].is_at(&to) {
                    self.frame_arrives(node, from, bytes);
                    self.serve(node);
                }
            }
            LanEvent::Heard { from, to, instance } => {
                let node = number_of(&to);
                if self.nodes[node].is_at(&to) {
                    self.beacon_arrives(node, from, instance);
                }
            }
            LanEvent::Beacon { node, run, next } => {
                if self.nodes[node].is_alive() && self.nodes[node].run == run {
                    self.send_beacon(node, next);
                }
            }
            LanEvent::Resolved { node, run, uri } => {
                if self.nodes[node].run == run {
                    let target = node_of(&uri).and_then(|target| self.nodes.get(target));
                    let endpoints = target.map(|target| target.endpoints()).unwrap_or_default();
                    let result = Ok(endpoints.into_iter().map(path).collect());
                    self.report(node, Input::Resolved { uri, result });
                    self.serve(node);
                }
            }
            LanEvent::Packet { flow } => self.packet_leaves(flow),
        }
    }

    pub(super) fn start(&mut self, node: usize) {
        self.nodes[node].start(self.now);
        self.begin_beacons(node);
        self.serve(node);
    }

    /// Begins a series of beacons, as after a start or a change of endpoints.
    pub(super) fn begin_beacons(&mut self, node: usize) {
        let run = self.nodes[node].run;
        self.push(self.now, LanEvent::Beacon { node, run, next: Some(BEACONS.0) });
    }

    fn send_beacon(&mut self, node: usize, next: Option<Duration>) {
        let (run, instance) = (self.nodes[node].run, self.nodes[node].instance);
        for from in self.nodes[node].endpoints() {
            for other in (0..self.nodes.len()).filter(|other| *other != node) {
                let to = self.nodes[other].endpoint(network_of(&from));
                if let Some(at) = self.arrival() {
                    self.push(at, LanEvent::Heard { from, to, instance });
                }
            }
        }
        if let Some(next) = next {
            let after = Some((next * 2).min(BEACONS.1));
            self.push(self.now + next, LanEvent::Beacon { node, run, next: after });
        }
    }

    /// The moment at which a frame that leaves now arrives; `None` when it is lost.
    fn arrival(&mut self) -> Option<Time> {
        let (least, most) = self.config.delay;
        let (delay, lost) =
            (between(&mut self.random, least, most), unit(&mut self.random) < self.config.loss);
        (!lost).then_some(self.now + delay)
    }

    fn beacon_arrives(&mut self, node: usize, from: Endpoint, instance: u64) {
        let heard = Heard { endpoint: from, instance };
        self.report(node, Input::Heard { netmod: MEDIUM, heard });
        if self.nodes[node].heard.insert(instance) {
            let (at, run) =
                (self.now + between(&mut self.random, Duration::ZERO, ANSWER), self.nodes[node].run);
            self.push(at, LanEvent::Beacon { node, run, next: None });
        }
        self.serve(node);
    }

    /// Sends a frame to an endpoint from the node's endpoint in the same network.
    fn transmit(&mut self, node: usize, to: Endpoint, frame: Vec<u8>) {
        let from = self.nodes[node].endpoint(network_of(&to));
        if let Some(at) = self.arrival() {
            self.push(at, LanEvent::Frame { from, to, bytes: frame });
        }
    }

    fn report(&mut self, node: usize, input: Input) {
        if let Some(peering) = &mut self.nodes[node].peering {
            peering.handle(self.now, input, &Segment);
        }
    }

    fn frame_arrives(&mut self, node: usize, from: Endpoint, bytes: Vec<u8>) {
        match peek(&bytes) {
            Some(FrameKind::Handshake) => {
                let frame = BytesMut::from(&bytes[..]);
                self.report(node, Input::Handshake { path: path(from), frame });
            }
            Some(FrameKind::Data { index }) => match self.nodes[node].link_of_index(index) {
                Some(id) => self.open_frame(node, id, from, bytes),
                None => {
                    let frame = BytesMut::from(&bytes[..]);
                    self.report(node, Input::EarlyFrame { index, path: path(from), frame });
                }
            },
            None => {}
        }
    }

    fn open_frame(&mut self, node: usize, id: u32, from: Endpoint, mut bytes: Vec<u8>) {
        let Some(link) = self.nodes[node].links.get_mut(&id) else { return };
        let opened = match link.path.endpoint == from {
            true => link.sim.link.handle_frame(self.now, &mut bytes),
            false => link.sim.link.handle_frame_from(self.now, from, &mut bytes),
        };
        let flow = match opened {
            Ok(FrameContent::Packet(body)) => body.first_chunk().copied().map(u32::from_le_bytes),
            Ok(FrameContent::Consumed) => None,
            Err(_) => return,
        };
        let first = !std::mem::replace(&mut link.sim.confirmed, true);
        let enters = first && !std::mem::replace(&mut link.in_service, true);
        self.nodes[node].pending.push(id);
        if first {
            self.report(node, Input::LinkConfirmed { id });
        }
        if enters {
            self.report(node, Input::LinkInService { id });
        }
        if let Some(flow) = flow.and_then(|flow| self.flows.get_mut(flow as usize)) {
            flow.arrived(self.now);
        }
    }

    fn packet_leaves(&mut self, number: usize) {
        let Some(flow) = self.flows.get_mut(number) else { return };
        if self.now > flow.until {
            return;
        }
        let ((from, to), at) = (flow.ends, self.now + flow.every);
        self.push(at, LanEvent::Packet { flow: number });
        let link = self.nodes[from].links.iter().find(|(_, link)| link.peer == to && link.in_service);
        let Some(id) = link.map(|(id, _)| *id) else { return };
        self.flows[number].traffic.sent += 1;
        let mut plaintext = vec![KIND_PACKET];
        plaintext.extend_from_slice(&(number as u32).to_le_bytes());
        plaintext.resize(PACKET, 0);
        self.seal_and_send(from, id, None, &plaintext);
        if let Some(link) = self.nodes[from].links.get_mut(&id) {
            link.sim.link.note_sent(self.now, 1, PACKET);
            self.nodes[from].pending.push(id);
        }
        self.serve(from);
    }

    /// Seals a plaintext and sends it to the neighbour, or to another endpoint.
    fn seal_and_send(&mut self, node: usize, id: u32, to: Option<Endpoint>, plaintext: &[u8]) {
        let Some(link) = self.nodes[node].links.get_mut(&id) else { return };
        let mut frame = Vec::with_capacity(plaintext.len() + Sealer::OVERHEAD);
        if link.sim.sealer.seal(|out| out.extend_from_slice(plaintext), &mut frame).is_err() {
            return link.sim.link.on_key_exhausted();
        }
        if let Some(FrameKind::Data { index }) = peek(&frame) {
            link.sim.peer_index = Some(index);
        }
        let to = to.unwrap_or(link.path.endpoint);
        self.transmit(node, to, frame);
    }

    fn links_timeout(&mut self, node: usize) {
        let now = self.now;
        let node = &mut self.nodes[node];
        for (id, link) in &mut node.links {
            if link.sim.link.next_deadline().is_some_and(|deadline| deadline <= now) {
                link.sim.link.handle_timeout(now);
                node.pending.push(*id);
            }
        }
    }

    /// Lets the state machines of a node do what is due, and carries out their outputs.
    pub(super) fn serve(&mut self, node: usize) {
        if let Some(peering) = &mut self.nodes[node].peering {
            peering.handle_timeout(self.now, &Segment);
        }
        loop {
            while let Some(output) =
                self.nodes[node].peering.as_mut().and_then(|peering| peering.poll_output())
            {
                self.carry_out(node, output);
            }
            let Some(id) = self.nodes[node].pending.pop() else { break };
            let now = self.now;
            while let Some(output) =
                self.nodes[node].links.get_mut(&id).and_then(|link| link.sim.link.poll_output(now))
            {
                self.handle_link_output(node, id, output);
            }
        }
        let node = &mut self.nodes[node];
        let links = node.links.values().filter_map(|link| link.sim.link.next_deadline());
        let peering = node.peering.as_ref().and_then(|peering| peering.next_deadline(self.now, &Segment));
        node.deadline = links.chain(peering).min();
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Transmit { path, frame } => {
                self.nodes[node].counts.handshake_frames += 1;
                self.transmit(node, path.endpoint, frame);
            }
            Output::Resolve { uri } => {
                let run = self.nodes[node].run;
                self.push(self.now + Duration::from_millis(1), LanEvent::Resolved { node, run, uri });
            }
            Output::StartLink(new) => self.start_link(node, *new),
            Output::RetireLink { id, retirement } => self.retire_link(node, id, retirement),
            Output::Deliver { id, frame } => {
                if let Some(from) = self.nodes[node].links.get(&id).map(|link| link.path.endpoint) {
                    self.open_frame(node, id, from, frame.to_vec());
                }
            }
            Output::Event(PeeringEvent::Declined { .. }) => self.nodes[node].counts.declined += 1,
            Output::Event(PeeringEvent::Refused { .. }) => self.nodes[node].counts.refused += 1,
            Output::SetConfigured { .. } | Output::Event(_) => {}
        }
    }

    fn start_link(&mut self, node: usize, new: NewLink) {
        let id = new.id;
        let Some(peer) = self.nodes.iter().position(|other| other.address() == new.session.peer) else {
            return;
        };
        let initiator = new.session.initiator;
        let link = LanLink::new(self.now, peer, new);
        let in_service = link.in_service;
        // The session that it replaces has been retired before, and left its mark.
        let state = &mut self.nodes[node];
        if state.replaced.take() == Some((peer, link.peer_instance)) && initiator {
            state.counts.replaced_in_use += 1;
        }
        state.counts.links += 1;
        state.links.insert(id, link);
        state.pending.push(id);
        if in_service {
            self.report(node, Input::LinkInService { id });
        }
    }

    fn retire_link(&mut self, node: usize, id: u32, retirement: Retirement) {
        match retirement {
            Retirement::Replaced => {
                let old = self.nodes[node].links.remove(&id);
                self.nodes[node].replaced =
                    old.filter(|old| old.is_in_use()).map(|old| (old.peer, old.peer_instance));
            }
            Retirement::Evicted(reason) => {
                self.seal_and_send(node, id, None, &reason.goodbye());
                self.nodes[node].links.remove(&id);
            }
            Retirement::PeerRemoved => {
                if let Some(link) = self.nodes[node].links.get_mut(&id) {
                    let goodbye = link.sim.link.goodbye();
                    self.seal_and_send(node, id, None, &goodbye);
                    self.nodes[node].links.remove(&id);
                    self.report(node, Input::LinkLost { id, reason: None });
                }
            }
        }
    }

    fn handle_link_output(&mut self, node: usize, id: u32, output: LinkOutput) {
        match output {
            LinkOutput::Transmit(plaintext) => self.seal_and_send(node, id, None, &plaintext),
            LinkOutput::TransmitTo(endpoint, plaintext) => {
                self.seal_and_send(node, id, Some(endpoint), &plaintext);
            }
            LinkOutput::Moved(endpoint) => {
                if let Some(link) = self.nodes[node].links.get_mut(&id) {
                    link.path.endpoint = endpoint;
                }
                self.report(node, Input::LinkMoved { id, endpoint });
            }
            LinkOutput::Rekeyed(key) => {
                if let Some(link) = self.nodes[node].links.get_mut(&id) {
                    link.sim.sealer.renew(*key);
                }
            }
            LinkOutput::StateChanged(LinkState::Down(reason)) => {
                self.nodes[node].links.remove(&id);
                self.report(node, Input::LinkLost { id, reason: Some(reason) });
                self.dial_again(node);
            }
            LinkOutput::StateChanged(state) => {
                let Some(link) = self.nodes[node].links.get_mut(&id) else { return };
                link.state = state;
                let heard = link.sim.link.metrics().heard;
                self.report(node, Input::LinkState { id, state, heard });
                self.dial_again(node);
            }
            LinkOutput::MtuChanged(_) | LinkOutput::Control(_) | LinkOutput::CostChanged(_) => {}
        }
    }

    /// Lets the peering look for dials after the state of a link has changed.
    fn dial_again(&mut self, node: usize) {
        if let Some(peering) = &mut self.nodes[node].peering {
            peering.handle_timeout(self.now, &Segment);
        }
    }
}
