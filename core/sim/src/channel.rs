//! Links between nodes, and the channels that carry control messages over them.
//!
//! At [`Fidelity::Route`] a link is a channel that loses nothing and keeps the order. A message that a lossy medium loses is
//! delayed by the time of its retransmission, as on the control channel of a real link. Messages in flight are lost when the
//! link is cut.

use std::time::Duration;

use super::config::Fidelity;
use super::net::{Net, SimSession};
use super::queue::SimEvent;
use super::random::{between, seed_of, unit};
use super::wire::Wire;
use rouse_proto::impairment::{Impairer, Impairments};
use rouse_proto::route::{LinkProperties, NeighbourId};
use rouse_proto::time::Time;

/// The longest time until a netmod reports that a link is gone, where it reports it.
const NOTICE: Duration = Duration::from_millis(5);
/// The largest additional delay of a frame; each frame's is drawn up to it.
const JITTER: Duration = Duration::from_micros(300);
/// The time from the beginning of a silence until a link's timers suspect the neighbour, drawn between the two; and the further
/// time until they give it up.
const SUSPECT_AFTER: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(350));
const GONE_AFTER: Duration = Duration::from_secs(1);
/// The least time until a lost segment is sent again; otherwise it takes a round trip and a half.
const REPEAT: Duration = Duration::from_millis(10);
/// The longest packet that every link carries, in bytes.
const MTU: u16 = 1200;

impl Net {
    /// Adds a link, which is down at first. Returns its number.
    pub(super) fn add_link(&mut self, ends: [usize; 2], latency: Duration) -> usize {
        let link = self.links.len();
        let loss = self.config.loss;
        let media = (self.config.fidelity == Fidelity::Link).then(|| {
            let medium = Impairments {
                loss,
                delay: latency,
                jitter: JITTER,
                rate: self.config.rate,
                backlog: Duration::from_millis(500),
                ..Impairments::default()
            };
            let mut impairer = || Impairer::new(seed_of(&mut self.random), medium.clone());
            Box::new([impairer(), impairer()])
        });
        self.links.push(Wire {
            ends,
            latency,
            up: false,
            sessions: [None; 2],
            former: [None; 2],
            loss: [loss; 2],
            last: [Time::ZERO; 2],
            busy: [Time::ZERO; 2],
            media,
        });
        for end in ends {
            self.nodes[end].wires.push(link);
        }
        link
    }

    /// Brings a link up, if it was down.
    pub(crate) fn raise(&mut self, link: usize) {
        if !self.links[link].up {
            self.links[link].up = true;
            self.stale = true;
            self.connect(link);
        }
    }

    /// Cuts a link. Its ends are notified within 5 ms.
    pub(crate) fn cut(&mut self, link: usize) {
        for id in self.sever(link).into_iter().flatten() {
            let at = self.now + between(&mut self.random, Duration::ZERO, NOTICE);
            self.queue.push(at, SimEvent::Down { id });
        }
    }

    /// Cuts a link without notice: its ends detect it only by its silence.
    pub(crate) fn silence(&mut self, link: usize) {
        for id in self.sever(link).into_iter().flatten() {
            self.detect_by_silence(id);
        }
    }

    /// Cuts a link. The node at `end`, 0 or 1, is notified; the other one detects it only by the silence.
    pub(crate) fn unplug(&mut self, link: usize, end: usize) {
        for (at, id) in self.sever(link).into_iter().enumerate() {
            match id {
                Some(id) if at == end => {
                    let at = self.now + between(&mut self.random, Duration::ZERO, NOTICE);
                    self.queue.push(at, SimEvent::Down { id });
                }
                Some(id) => self.detect_by_silence(id),
                None => {}
            }
        }
    }

    /// Plans the moments at which the timers of a link would react to the silence. At [`Fidelity::Link`] the links have these
    /// timers themselves.
    fn detect_by_silence(&mut self, id: NeighbourId) {
        if self.config.fidelity == Fidelity::Route {
            let suspected = self.now + between(&mut self.random, SUSPECT_AFTER.0, SUSPECT_AFTER.1);
            self.queue.push(suspected, SimEvent::Suspect { id });
            self.queue.push(suspected + GONE_AFTER, SimEvent::Down { id });
        }
    }

    /// Stops all traffic over a link. Returns each end's neighbour id for the other.
    fn sever(&mut self, link: usize) -> [Option<NeighbourId>; 2] {
        if !std::mem::take(&mut self.links[link].up) {
            return [None; 2];
        }
        self.stale = true;
        let ids = self.links[link].sessions;
        for id in ids.into_iter().flatten() {
            self.reach.set_open(id, false);
        }
        if self.config.fidelity == Fidelity::Route {
            self.links[link].sessions = [None; 2];
            self.links[link].former = ids;
        }
        ids
    }

    /// Disconnects the link of a node that stopped. The other end has to detect it.
    pub(super) fn disconnect(&mut self, link: usize, node: usize) {
        let side = usize::from(self.links[link].ends[1] == node);
        let wire = &self.links[link];
        let ids = [0, 1].map(|side| wire.sessions[side].or(wire.former[side]));
        if self.config.fidelity == Fidelity::Route {
            if let Some(id) = wire.sessions[1 - side] {
                let at = self.now + between(&mut self.random, Duration::ZERO, NOTICE);
                self.queue.push(at, SimEvent::Down { id });
            }
            self.links[link].sessions = [None; 2];
            self.links[link].former = [None; 2];
        } else {
            self.links[link].sessions[side] = None;
        }
        // A restarted node begins without neighbours, so no direction of the old link leads anywhere.
        for id in ids.into_iter().flatten() {
            self.reach.remove_direction(id);
        }
        if let Some(id) = ids[side] {
            self.sessions[id as usize].held = false;
        }
    }

    /// Makes both ends neighbours, if the link is up and both are running.
    pub(super) fn connect(&mut self, link: usize) {
        let Wire { ends, up, latency, former, .. } = self.links[link];
        if !up || ends.iter().any(|end| !self.nodes[*end].alive) {
            return;
        }
        if self.config.fidelity == Fidelity::Link {
            return self.discover_both_ends(link);
        }
        for id in former.into_iter().flatten() {
            self.reach.remove_direction(id);
        }
        let ids = [0, 1].map(|side| self.add_session(link, side));
        self.links[link].sessions = ids.map(Some);
        self.links[link].former = [None; 2];
        self.links[link].last = [self.now; 2];
        self.links[link].busy = [self.now; 2];
        // The least cost and a quarter of the round trip in units of half a millisecond, as the link layer would measure it.
        let cost = 32 + u16::try_from(latency.as_micros() * 2 / 500).unwrap_or(u16::MAX - 32);
        for side in 0..2 {
            self.reach.set_open(ids[side], true);
            let address = self.addresses[ends[1 - side]];
            let router = &mut self.nodes[ends[side]].router;
            let properties = LinkProperties::new(address, cost, MTU, true);
            router.neighbour_up(self.now, ids[side], LinkProperties { rate: self.config.rate, ..properties });
        }
        self.settle(ends[0]);
        self.settle(ends[1]);
    }

    /// Gives a node an id for its neighbour at the other end of a link.
    pub(super) fn add_session(&mut self, link: usize, side: usize) -> NeighbourId {
        let ends = self.links[link].ends;
        let id = self.reach.add_direction(ends[side], ends[1 - side]);
        self.sessions.push(SimSession { node: ends[side], link, side, held: true, link_sim: None });
        self.nodes[ends[side]].sessions.push(id);
        id
    }

    /// Removes a neighbour from a node's router, unless that has happened already.
    pub(super) fn drop_session(&mut self, id: NeighbourId) {
        let session = &mut self.sessions[id as usize];
        if !std::mem::take(&mut session.held) {
            return;
        }
        let node = session.node;
        self.nodes[node].sessions.retain(|known| *known != id);
        self.nodes[node].router.neighbour_down(self.now, id);
        self.settle(node);
        // The direction counts in the search for loops until here, since the node could send packets over it.
        self.reach.remove_direction(id);
    }

    pub(super) fn notice_down(&mut self, id: NeighbourId) {
        match self.config.fidelity {
            Fidelity::Route => self.drop_session(id),
            Fidelity::Link => self.report_cut(id),
        }
    }

    pub(super) fn suspect_neighbour(&mut self, id: NeighbourId) {
        if self.sessions[id as usize].held {
            let node = self.sessions[id as usize].node;
            self.with(node, |router, now| router.neighbour_suspect(now, id, true));
        }
    }

    /// Sends a router's control message to a neighbour.
    pub(super) fn send(&mut self, node: usize, id: NeighbourId, message: Vec<u8>) {
        if self.config.fidelity == Fidelity::Link {
            return self.queue_control(id, message);
        }
        self.nodes[node].sent += message.len() as u64;
        if !self.reach.is_open(id) {
            return;
        }
        let SimSession { link, side, .. } = self.sessions[id as usize];
        let other = 1 - side;
        let loss = self.links[link].loss[other];
        let mut late = between(&mut self.random, Duration::ZERO, JITTER);
        let mut repeat = (self.links[link].latency * 3).max(REPEAT);
        while loss > 0.0 && unit(&mut self.random) < loss {
            late += repeat;
            repeat = (repeat * 2).min(Duration::from_secs(1));
        }
        let wire = &mut self.links[link];
        let mut leaves = self.now;
        if let Some(rate) = self.config.rate {
            let takes = Duration::from_secs_f64(message.len() as f64 / rate.max(1) as f64);
            leaves = wire.busy[other].max(self.now) + takes;
            wire.busy[other] = leaves;
        }
        let at = (leaves + wire.latency + late).max(wire.last[other]);
        wire.last[other] = at;
        if let Some(id) = wire.sessions[other] {
            self.queue.push(at, SimEvent::Control { id, message });
        }
    }

    pub(super) fn control_arrives(&mut self, id: NeighbourId, message: &[u8]) {
        let session = &self.sessions[id as usize];
        if session.held && self.reach.is_open(id) {
            // `receive_control` has counted a refusal.
            let _ = self.receive_control(session.node, id, message);
        }
    }

    /// Sets the shares of frames lost from the link's first end to its second, and back.
    pub(crate) fn set_loss(&mut self, link: usize, there: f64, back: f64) {
        let wire = &mut self.links[link];
        wire.loss = [back, there];
        if let Some(media) = &mut wire.media {
            for (medium, loss) in media.iter_mut().zip([back, there]) {
                let changed = Impairments { loss, ..medium.impairments().clone() };
                medium.set(changed);
            }
        }
    }

    /// Sets the cost that both ends report.
    #[cfg(test)]
    pub(crate) fn set_cost(&mut self, link: usize, cost: u16) {
        for id in self.links[link].sessions.into_iter().flatten() {
            let node = self.sessions[id as usize].node;
            self.with(node, |router, _| router.neighbour_cost(id, cost));
        }
    }

    /// Makes both ends suspect the link, or trust it again.
    #[cfg(test)]
    pub(crate) fn suspect(&mut self, link: usize, on: bool) {
        for id in self.links[link].sessions.into_iter().flatten() {
            let node = self.sessions[id as usize].node;
            self.with(node, |router, now| router.neighbour_suspect(now, id, on));
        }
    }

    #[cfg(test)]
    pub(crate) fn other_end(&self, link: usize, node: usize) -> usize {
        let ends = self.links[link].ends;
        ends[usize::from(ends[0] == node)]
    }

    /// Hands a message to a node as if its neighbour at the other end of the link had sent it.
    #[cfg(test)]
    pub(crate) fn inject(
        &mut self,
        node: usize,
        link: usize,
        message: &[u8],
    ) -> Result<(), rouse_proto::stats::DropCause> {
        let side = usize::from(self.links[link].ends[1] == node);
        let id = self.links[link].sessions[side].expect("the link is up");
        self.receive_control(node, id, message)
    }
}
