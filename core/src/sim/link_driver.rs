//! Simulated links, at [`Fidelity::Link`](super::Fidelity::Link): handshakes, sealed frames over a medium that loses them, hellos and
//! probes, and a control channel with retransmission.
//!
//! The steps that a daemon's tasks take around a link are taken here in the same order: see the modules `link` and `node`. Only
//! discovery is not simulated: both ends dial a link at once when it comes up, as when an interface comes up.

use std::collections::VecDeque;
use std::time::Duration;

use super::link_sim::{LinkSim, MTU, path};
use super::net::Net;
use super::queue::Actor;
use super::random::seed_of;
use super::violation::Violation;
use crate::link::{HandshakeOutput, Link, LinkOutput, LinkState, Sealer, Session};
use crate::route::{LinkProperties, NeighbourId};
use crate::time::Time;

/// The first and the longest pause before a failed dial is repeated; it doubles with each failure.
const REDIAL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The most control messages that may wait for a link.
const WAITING: usize = 65_536;

impl Net {
    fn side_of(&self, link: usize, node: usize) -> usize {
        usize::from(self.links[link].ends[1] == node)
    }

    /// Lets both ends dial, unless they still have a session.
    pub(super) fn dial_both_ends(&mut self, link: usize) {
        for side in 0..2 {
            if self.links[link].sessions[side].is_none() {
                let node = self.links[link].ends[side];
                if let Some(handshake_sim) = &mut self.nodes[node].handshake_sim {
                    handshake_sim.handshakes.cancel(&path(link));
                }
                self.plan_redial(link, side, None);
                self.links[link].redial[side].1 = Duration::ZERO;
                self.dial(link, side);
            }
        }
        self.reopen(link);
    }

    fn plan_redial(&mut self, link: usize, side: usize, at: Option<Time>) {
        let slot = &mut self.links[link].redial[side].0;
        self.queue.set_deadline(Actor::Redial { link, side }, slot, at);
    }

    fn dial(&mut self, link: usize, side: usize) {
        let wire = &self.links[link];
        let node = wire.ends[side];
        if !wire.up || !self.nodes[node].alive || wire.sessions[side].is_some() {
            return;
        }
        if let Some(handshake_sim) = &mut self.nodes[node].handshake_sim {
            handshake_sim.handshakes.dial(self.now, path(link), MTU);
        }
        self.serve_handshakes(node);
    }

    pub(super) fn serve_handshakes(&mut self, node: usize) {
        while let Some(output) = self.nodes[node]
            .handshake_sim
            .as_mut()
            .and_then(|handshake_sim| handshake_sim.handshakes.poll_output())
        {
            match output {
                HandshakeOutput::Transmit { path, frame } => {
                    let link = path.netmod as usize;
                    self.send_handshake(link, self.side_of(link, node), &frame);
                }
                HandshakeOutput::Established(session) => self.established(node, *session),
                HandshakeOutput::Failed { path, .. } => {
                    let link = path.netmod as usize;
                    let side = self.side_of(link, node);
                    let wait = (self.links[link].redial[side].1 * 2).clamp(REDIAL.0, REDIAL.1);
                    self.links[link].redial[side].1 = wait;
                    self.plan_redial(link, side, Some(self.now + wait));
                }
            }
        }
        if let Some(handshake_sim) = &mut self.nodes[node].handshake_sim {
            let next = handshake_sim.handshakes.next_deadline();
            self.queue.set_deadline(Actor::Handshakes(node), &mut handshake_sim.deadline, next);
        }
    }

    /// Puts a completed session into service, in place of an older one over the same wire.
    fn established(&mut self, node: usize, session: Session) {
        let link = session.path.netmod as usize;
        let side = self.side_of(link, node);
        if let Some(old) = self.links[link].sessions[side] {
            self.remove_link(old);
        }
        self.plan_redial(link, side, None);
        self.links[link].redial[side].1 = Duration::ZERO;
        let id = self.add_session(link, side);
        let seed = seed_of(&mut self.random);
        let measured = Link::new(self.now, session.peer, session.opener, session.mtu, seed)
            .with_renewal(self.now, session.renewal);
        let cost = measured.metrics().cost;
        self.sessions[id as usize].link_sim = Some(Box::new(LinkSim {
            link: measured,
            sealer: session.sealer,
            local_index: session.local_index,
            peer_index: None,
            confirmed: false,
            #[cfg(test)]
            rekeyed: 0,
            waiting: VecDeque::new(),
            deadline: None,
        }));
        self.links[link].sessions[side] = Some(id);
        let mtu = u16::try_from(session.mtu.saturating_sub(Sealer::OVERHEAD)).unwrap_or(u16::MAX);
        let router = &mut self.nodes[node].router;
        let properties = LinkProperties::new(session.peer, cost, mtu, true);
        router.neighbour_up(self.now, id, LinkProperties { rate: self.config.rate, ..properties });
        self.pending.push(id);
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
        let (link, side) = (self.sessions[id as usize].link, self.sessions[id as usize].side);
        if let Some(mut link_sim) = self.sessions[id as usize].link_sim.take() {
            self.queue.set_deadline(Actor::Link(id), &mut link_sim.deadline, None);
        }
        if self.links[link].sessions[side] == Some(id) {
            self.links[link].sessions[side] = None;
        }
        self.drop_session(id);
        self.reopen(link);
    }

    /// Reports to a link that its medium is cut.
    pub(super) fn report_cut(&mut self, id: NeighbourId) {
        if let Some(link_sim) = &mut self.sessions[id as usize].link_sim {
            link_sim.link.on_medium_cut(self.now);
            self.pending.push(id);
        }
    }

    /// Removes a link that is down, and dials again.
    pub(super) fn end_link(&mut self, id: NeighbourId) {
        let (link, side) = (self.sessions[id as usize].link, self.sessions[id as usize].side);
        if self.sessions[id as usize].link_sim.is_some() {
            self.remove_link(id);
            self.dial(link, side);
        }
    }

    /// Cancels everything that a stopped node had planned.
    pub(super) fn cancel_deadlines(&mut self, node: usize) {
        if let Some(mut handshake_sim) = self.nodes[node].handshake_sim.take() {
            self.queue.set_deadline(Actor::Handshakes(node), &mut handshake_sim.deadline, None);
        }
        for id in std::mem::take(&mut self.nodes[node].sessions) {
            self.sessions[id as usize].held = false;
            if let Some(mut link_sim) = self.sessions[id as usize].link_sim.take() {
                self.queue.set_deadline(Actor::Link(id), &mut link_sim.deadline, None);
            }
        }
        for link in self.nodes[node].wires.clone() {
            let side = self.side_of(link, node);
            self.plan_redial(link, side, None);
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
            LinkOutput::StateChanged(LinkState::Down(_)) => self.end_link(id),
            LinkOutput::StateChanged(state) => {
                let (suspect, away) = (state != LinkState::Up, state == LinkState::Away);
                self.with(node, |router, now| router.neighbour_suspect(now, id, suspect));
                self.with(node, |router, now| router.neighbour_away(now, id, away));
            }
        }
    }

    pub(super) fn link_timeout(&mut self, actor: Actor) {
        match actor {
            Actor::Router(_) => {}
            Actor::Handshakes(node) => {
                if let Some(handshake_sim) = &mut self.nodes[node].handshake_sim {
                    handshake_sim.deadline = None;
                    handshake_sim.handshakes.handle_timeout(self.now);
                }
                self.serve_handshakes(node);
            }
            Actor::Link(id) => {
                if let Some(link_sim) = &mut self.sessions[id as usize].link_sim {
                    link_sim.deadline = None;
                    link_sim.link.handle_timeout(self.now);
                    self.pending.push(id);
                }
            }
            Actor::Redial { link, side } => {
                self.links[link].redial[side].0 = None;
                self.dial(link, side);
            }
        }
    }
}
