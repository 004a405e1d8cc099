//! Simulated links, at [`Fidelity::Link`](super::Fidelity::Link): peering, sealed frames over a medium that loses them, hellos and
//! probes, and a control channel with retransmission.
//!
//! The state machines are those of a node, and the steps that a daemon's tasks take around them are taken here in the same order:
//! see the modules `peering`, `link` and `node`. Each link is a medium of its own, on which its two ends hear each other once when
//! it comes up.

use super::link_sim::{LinkSim, Wires, path};
use super::net::{Net, SimSession};
use super::queue::Actor;
use super::violation::Violation;
use rouse_proto::endpoint::Heard;
use rouse_proto::link::{DownReason, LinkOutput, LinkState};
use rouse_proto::peering::{Input, NewLink, Output};
use rouse_proto::route::{LinkProperties, NeighbourId};

/// The most control messages that may wait for a link.
const WAITING: usize = 65_536;

impl Net {
    fn side_of(&self, link: usize, node: usize) -> usize {
        usize::from(self.links[link].ends[1] == node)
    }

    /// Lets both ends discover each other, as when the interface to a link comes up.
    pub(super) fn discover_both_ends(&mut self, link: usize) {
        let ends = self.links[link].ends;
        for side in 0..2 {
            let Some(other) = &self.nodes[ends[1 - side]].peer_sim else { continue };
            let heard = Heard { endpoint: path(link).endpoint, instance: other.instance };
            let netmod = link as u32;
            self.report_to_peering(ends[side], Input::MediumGone { netmod });
            self.report_to_peering(ends[side], Input::Heard { netmod, heard });
            self.serve_peering(ends[side]);
        }
        self.reopen(link);
    }

    /// Reports an event to the peering of a node. [`Net::serve_peering`] is due.
    pub(super) fn report_to_peering(&mut self, node: usize, input: Input) {
        if let Some(peer_sim) = &mut self.nodes[node].peer_sim {
            peer_sim.peering.handle(self.now, input, &Wires);
        }
    }

    /// Lets the peering of a node do what is due, and carries out its outputs.
    pub(super) fn serve_peering(&mut self, node: usize) {
        if let Some(peer_sim) = &mut self.nodes[node].peer_sim {
            peer_sim.peering.handle_timeout(self.now, &Wires);
        }
        while let Some(output) =
            self.nodes[node].peer_sim.as_mut().and_then(|peer_sim| peer_sim.peering.poll_output())
        {
            self.carry_out(node, output);
        }
        if let Some(peer_sim) = &mut self.nodes[node].peer_sim {
            let next = peer_sim.peering.next_deadline(self.now, &Wires);
            self.queue.set_deadline(Actor::Peering(node), &mut peer_sim.deadline, next);
        }
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Transmit { path, frame } => {
                let link = path.netmod as usize;
                self.send_handshake(link, self.side_of(link, node), &frame);
            }
            Output::StartLink(new) => self.start_link(node, *new),
            Output::RetireLink { id, .. } => {
                let peer_sim = self.nodes[node].peer_sim.as_ref();
                if let Some(id) = peer_sim.and_then(|peer_sim| peer_sim.ids.get(&id).copied()) {
                    self.remove_link(id);
                }
            }
            Output::Deliver { id, frame } => {
                let peer_sim = self.nodes[node].peer_sim.as_ref();
                if let Some(id) = peer_sim.and_then(|peer_sim| peer_sim.ids.get(&id).copied()) {
                    self.open_frame(id, frame.to_vec());
                }
            }
            // No peer is configured by a URI, and events are for counters and logs.
            Output::Resolve { .. } | Output::SetConfigured { .. } | Output::Event(_) => {}
        }
    }

    /// Begins a link. The initiator waits for the first frame of the responder before it uses the link.
    fn start_link(&mut self, node: usize, new: NewLink) {
        let link = new.session.path.netmod as usize;
        let (number, initiator) = (new.id, new.session.initiator);
        let side = self.side_of(link, node);
        let id = self.add_session(link, side);
        self.sessions[id as usize].held = false;
        self.sessions[id as usize].link_sim = Some(Box::new(LinkSim::new(self.now, new)));
        if let Some(peer_sim) = &mut self.nodes[node].peer_sim {
            peer_sim.ids.insert(number, id);
        }
        self.links[link].sessions[side] = Some(id);
        self.pending.push(id);
        if !initiator {
            self.enter_service(id);
        }
    }

    /// Lets the router use a link.
    pub(super) fn enter_service(&mut self, id: NeighbourId) {
        let SimSession { node, link, side, .. } = self.sessions[id as usize];
        let Some(link_sim) = &self.sessions[id as usize].link_sim else { return };
        let (number, cost, mtu) = (link_sim.number, link_sim.link.metrics().cost, link_sim.mtu);
        self.sessions[id as usize].held = true;
        self.report_to_peering(node, Input::LinkInService { id: number });
        let peer = self.addresses[self.links[link].ends[1 - side]];
        let properties = LinkProperties::new(peer, cost, mtu, true);
        let router = &mut self.nodes[node].router;
        router.neighbour_up(self.now, id, LinkProperties { rate: self.config.rate, ..properties });
        self.settle(node);
    }

    /// Updates in which directions packets are carried: those in which both ends use the same session.
    pub(super) fn reopen(&mut self, link: usize) {
        let wire = &self.links[link];
        let (up, ids, ends) = (wire.up, wire.sessions, wire.ends);
        let link_sim = |side: usize| self.sessions[ids[side]? as usize].link_sim.as_ref();
        let open = [0, 1].map(|side| {
            let (Some(here), Some(there)) = (link_sim(side), link_sim(1 - side)) else { return false };
            let alive = ends.iter().all(|end| self.nodes[*end].alive);
            up && alive && here.peer_index == Some(there.local_index)
        });
        for side in 0..2 {
            if let Some(id) = ids[side] {
                self.reach.set_open(id, open[side]);
            }
        }
    }

    /// Removes a link without a goodbye.
    fn remove_link(&mut self, id: NeighbourId) {
        let SimSession { node, link, side, held, .. } = self.sessions[id as usize];
        if let Some(mut link_sim) = self.sessions[id as usize].link_sim.take() {
            self.queue.set_deadline(Actor::Link(id), &mut link_sim.deadline, None);
            if let Some(peer_sim) = &mut self.nodes[node].peer_sim {
                peer_sim.ids.remove(&link_sim.number);
            }
        }
        if self.links[link].sessions[side] == Some(id) {
            self.links[link].sessions[side] = None;
        }
        if held {
            self.drop_session(id);
        } else {
            self.nodes[node].sessions.retain(|known| *known != id);
            self.reach.remove_direction(id);
        }
        self.reopen(link);
    }

    /// Reports to a link that its medium is cut.
    pub(super) fn report_cut(&mut self, id: NeighbourId) {
        if let Some(link_sim) = &mut self.sessions[id as usize].link_sim {
            link_sim.link.on_medium_cut(self.now);
            self.pending.push(id);
        }
    }

    /// Removes a link that is down. The peering decides when the neighbour is dialled again.
    fn end_link(&mut self, id: NeighbourId, reason: DownReason) {
        let node = self.sessions[id as usize].node;
        let Some(number) = self.sessions[id as usize].link_sim.as_ref().map(|link_sim| link_sim.number)
        else {
            return;
        };
        self.remove_link(id);
        self.report_to_peering(node, Input::LinkLost { id: number, reason: Some(reason) });
        self.serve_peering(node);
    }

    /// Cancels everything that a stopped node had planned.
    pub(super) fn cancel_deadlines(&mut self, node: usize) {
        if let Some(mut peer_sim) = self.nodes[node].peer_sim.take() {
            self.queue.set_deadline(Actor::Peering(node), &mut peer_sim.deadline, None);
        }
        for id in std::mem::take(&mut self.nodes[node].sessions) {
            self.sessions[id as usize].held = false;
            if let Some(mut link_sim) = self.sessions[id as usize].link_sim.take() {
                self.queue.set_deadline(Actor::Link(id), &mut link_sim.deadline, None);
            }
        }
        for link in self.nodes[node].wires.clone() {
            self.reopen(link);
        }
    }

    /// Queues a message for the control channel of a link.
    pub(super) fn queue_control(&mut self, id: NeighbourId, message: Vec<u8>) {
        let node = self.sessions[id as usize].node;
        let Some(link_sim) = &mut self.sessions[id as usize].link_sim else { return };
        link_sim.waiting.push_back(message);
        let is = link_sim.waiting.len();
        self.pending.push(id);
        if is > WAITING {
            let quantity = "control messages waiting for a link";
            self.violated(Violation::Bound { node, quantity, is, bound: WAITING });
        }
    }

    /// Handles the outputs of all pending links, until there are none.
    pub(super) fn pump(&mut self) {
        while let Some(id) = self.pending.pop() {
            while let Some(output) = self.poll_link(id) {
                self.handle_output(id, output);
            }
            if let Some(link_sim) = &mut self.sessions[id as usize].link_sim {
                let next = link_sim.link.next_deadline();
                self.queue.set_deadline(Actor::Link(id), &mut link_sim.deadline, next);
            }
        }
    }

    fn poll_link(&mut self, id: NeighbourId) -> Option<LinkOutput> {
        let link_sim = self.sessions[id as usize].link_sim.as_mut()?;
        while let Some(message) = link_sim.waiting.front() {
            if link_sim.link.send_control(message).is_err() {
                break;
            }
            link_sim.waiting.pop_front();
        }
        link_sim.link.poll_output(self.now)
    }

    fn handle_output(&mut self, id: NeighbourId, output: LinkOutput) {
        let node = self.sessions[id as usize].node;
        match output {
            LinkOutput::Transmit(plaintext) => self.seal_and_send(id, &plaintext, true),
            LinkOutput::Rekeyed(key) => {
                if let Some(link_sim) = &mut self.sessions[id as usize].link_sim {
                    link_sim.sealer.renew(*key);
                    #[cfg(test)]
                    {
                        link_sim.rekeyed += 1;
                    }
                }
            }
            // Simulated neighbours keep their endpoints, and all links have the same MTU.
            LinkOutput::TransmitTo(..) | LinkOutput::Moved(_) | LinkOutput::MtuChanged(_) => {}
            LinkOutput::Control(message) => {
                // `receive_control` has counted a refusal.
                let _ = self.receive_control(node, id, &message);
            }
            LinkOutput::CostChanged(cost) => {
                self.with(node, |router, _| router.neighbour_cost(id, cost));
            }
            LinkOutput::StateChanged(LinkState::Down(reason)) => self.end_link(id, reason),
            LinkOutput::StateChanged(state) => {
                if let Some(link_sim) = &self.sessions[id as usize].link_sim {
                    let (number, heard) = (link_sim.number, link_sim.link.metrics().heard);
                    self.report_to_peering(node, Input::LinkState { id: number, state, heard });
                    self.serve_peering(node);
                }
                if !self.sessions[id as usize].held {
                    return;
                }
                let (suspect, away) = (state != LinkState::Up, state == LinkState::Away);
                self.with(node, |router, now| router.neighbour_suspect(now, id, suspect));
                self.with(node, |router, now| router.neighbour_away(now, id, away));
            }
        }
    }

    pub(super) fn link_timeout(&mut self, actor: Actor) {
        match actor {
            Actor::Router(_) => {}
            Actor::Peering(node) => {
                if let Some(peer_sim) = &mut self.nodes[node].peer_sim {
                    peer_sim.deadline = None;
                }
                self.serve_peering(node);
            }
            Actor::Link(id) => {
                if let Some(link_sim) = &mut self.sessions[id as usize].link_sim {
                    link_sim.deadline = None;
                    link_sim.link.handle_timeout(self.now);
                    self.pending.push(id);
                }
            }
        }
    }
}
