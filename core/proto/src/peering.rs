//! The choice and the upkeep of links: the pure layer between handshakes and a node.
//!
//! A [`Peering`] is given what happens around the links of one node: beacons, handshake frames, look-ups, and the states
//! and ends of links. It decides which peers are dialled and when, which session with a neighbour counts when there are
//! several, which neighbours have the places that a node has, and which frames wait for the end of their handshake. The
//! peering task of a node and the simulator carry out its outputs.
//!
//! Nothing here reads a clock, draws randomness or does I/O. The contract with the caller:
//!
//! 1. Report each event with [`Peering::handle`], [`Peering::add_peer`] or [`Peering::remove_peer`], and the present
//!    time.
//! 2. After a batch of events, and at [`Peering::next_deadline`], call [`Peering::handle_timeout`]. It dials the peers
//!    that are due, and takes up frames that have waited for a handshake.
//! 3. Carry out the outputs in their order until [`Peering::poll_output`] returns `None`.
//! 4. Every link that [`Output::StartLink`] has begun ends in [`Input::LinkLost`], unless [`Output::RetireLink`] replaced
//!    or evicted it. Until then its state is reported: [`Input::LinkInService`], [`Input::LinkState`],
//!    [`Input::LinkMoved`], [`Input::LinkConfirmed`].
/// The neighbours that a node has at most, unless it is configured otherwise.
pub const NEIGHBOURS: usize = 256;

mod barred;
mod dials;
mod early_frames;
mod links;
mod media;
mod neighbour_filter;
mod output;
mod sessions;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use bytes::BytesMut;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

pub use self::dials::{ConfiguredPeer, RefusedPeer};
pub use self::media::Media;
pub use self::neighbour_filter::NeighbourFilter;
pub use self::output::{NewLink, Output, PeeringEvent, Retirement};
pub use self::slots::REFUSALS_WINDOW;

use self::barred::BarredNodes;
use self::dials::Dials;
use self::early_frames::EarlyFrames;
use self::links::{LinkTable, LinkView};
use self::slots::RecentRefusals;
use crate::address::Address;
use crate::endpoint::{Endpoint, Heard};
use crate::identity::Identity;
use crate::link::{DownReason, Handshakes, LinkConfig, LinkState, Path, fresh_seed};
use crate::stats::DropCause;
use crate::time::Time;
use crate::types::{PeerState, RemovedPeer};
use crate::wire::link::CAPABILITIES;

/// Paths for which the last error of sending is kept. Bounded, since a medium may refuse frames to any number of endpoints.
const UNSENT: usize = 1024;

/// An event around the links of a node.
#[allow(missing_docs)] // Each variant describes its fields.
pub enum Input {
    /// A beacon of another node has arrived on a medium.
    Heard { netmod: u32, heard: Heard },
    /// A configured peer was resolved, or the look-up failed.
    Resolved { uri: String, result: Result<Vec<Path>, String> },
    /// A handshake frame has arrived, which belongs to no session yet.
    Handshake { path: Path, frame: BytesMut },
    /// A frame of a session that has not begun yet has arrived from an endpoint with a handshake in progress.
    EarlyFrame { index: u32, path: Path, frame: BytesMut },
    /// The medium has refused to send a handshake frame.
    NotSent { path: Path, error: String },
    /// The first frame of a link was opened, so the neighbour has completed the handshake.
    LinkConfirmed { id: u32 },
    /// The link carries packets from now on.
    LinkInService { id: u32 },
    /// The state of a link has changed; `heard` is the time of the last frame of the neighbour.
    LinkState { id: u32, state: LinkState, heard: Time },
    /// The neighbour has proved to receive at another endpoint.
    LinkMoved { id: u32, endpoint: Endpoint },
    /// A link has ended. Without a reason it was ended by this node.
    LinkLost { id: u32, reason: Option<DownReason> },
    /// A medium was removed.
    MediumGone { netmod: u32 },
    /// The node is about to stop: it dials no peer and answers no handshake any more.
    Leaving,
}

/// The parameters of a node's peering.
pub struct PeeringConfig {
    /// The pre-shared key of a closed mesh.
    pub mesh_key: Option<Zeroizing<[u8; 32]>>,
    /// The greatest number of neighbours.
    pub neighbours: usize,
    /// The addresses that may become neighbours.
    pub neighbour_filter: NeighbourFilter,
}

/// See the [module's page](self).
pub struct Peering {
    address: Address,
    /// The greatest number of neighbours.
    most: usize,
    neighbour_filter: NeighbourFilter,
    handshakes: Handshakes,
    /// The source of the seeds of links. Each has one of its own, so that none can be computed from another.
    seeds: ChaCha20Rng,
    dials: Dials,
    links: LinkTable,
    /// The number of the next link.
    next_id: u32,
    early: EarlyFrames,
    barred: BarredNodes,
    refusals: RecentRefusals,
    /// The error of the last handshake frame to a path. The handshake then ends with a timeout, and the error is the
    /// better explanation.
    unsent: HashMap<Path, String>,
    is_leaving: bool,
    output: VecDeque<Output>,
}

impl Peering {
    /// The peering of a node without links. All randomness comes from `seed`, which must never be used twice.
    pub fn new(identity: &Identity, config: PeeringConfig, seed: Zeroizing<[u8; 32]>) -> Self {
        let mut seeds = ChaCha20Rng::from_seed(*seed);
        drop(seed);
        let link_config =
            LinkConfig { mesh_key: config.mesh_key, capabilities: CAPABILITIES, ..LinkConfig::default() };
        Peering {
            address: identity.address(),
            most: config.neighbours,
            neighbour_filter: config.neighbour_filter,
            handshakes: Handshakes::new(identity, link_config, *fresh_seed(&mut seeds)),
            seeds,
            dials: Dials::default(),
            links: LinkTable::default(),
            next_id: 1,
            early: EarlyFrames::default(),
            barred: BarredNodes::default(),
            refusals: RecentRefusals::default(),
            unsent: HashMap::new(),
            is_leaving: false,
            output: VecDeque::new(),
        }
    }

    /// Handles one event. The work is at most that of one handshake frame.
    pub fn handle(&mut self, now: Time, input: Input, media: &dyn Media) {
        match input {
            Input::Heard { netmod, heard } => self.dials.heard(now, netmod, heard),
            Input::Resolved { uri, result } => {
                let links = LinkView::new(&self.links, self.most, media);
                let paths = self.dials.resolved(now, &uri, result, &links);
                self.update_configured();
                self.dial(now, paths, media);
            }
            Input::Handshake { path, frame } => self.handshake_arrived(now, path, &frame, media),
            Input::EarlyFrame { index, path, frame } => self.early.push((index, path, frame)),
            Input::NotSent { path, error } => {
                // Without a place for the error the dial ends with a timeout, so that a loss here only costs the explanation.
                if self.unsent.len() < UNSENT {
                    self.unsent.insert(path, error);
                }
                self.dials.not_sent(now, &path, &self.unsent);
            }
            Input::LinkConfirmed { id } => {
                // The finish is not repeated any more, since the neighbour has it.
                if let Some(link) = self.links.get(id) {
                    self.handshakes.confirm(now, link.local_index);
                }
            }
            Input::LinkInService { id } => {
                if let Some(link) = self.links.get_mut(id) {
                    link.in_service = true;
                    self.dials.in_service(now, &link.path, &link.address);
                }
            }
            Input::LinkState { id, state, heard } => {
                if let Some(link) = self.links.get_mut(id) {
                    (link.state, link.heard) = (state, heard);
                }
                self.note_disuse(id, media);
            }
            Input::LinkMoved { id, endpoint } => {
                if let Some(link) = self.links.get_mut(id) {
                    let before = std::mem::replace(&mut link.path.endpoint, endpoint);
                    // The source follows, so that the link counts for the host that the neighbour is at now.
                    link.source = media.source(&link.path);
                    let from = Path { endpoint: before, ..link.path };
                    self.dials.moved(&from, &link.path, &link.address);
                }
            }
            Input::LinkLost { id, reason } => self.link_lost(now, id, reason, media),
            Input::MediumGone { netmod } => {
                // Their frames could not be sent any more, so a wait for their time-outs would only delay the next dials.
                self.handshakes.cancel_on(netmod);
                self.dials.medium_gone(now, netmod);
            }
            Input::Leaving => self.is_leaving = true,
        }
    }

    /// Dials a configured peer from now on. Returns whether it is new.
    pub fn add_peer(&mut self, now: Time, uri: &str) -> bool {
        self.dials.add(now, uri)
    }

    /// Stops dialling a configured peer, and ends the link to it unless there is another reason for the link. Returns
    /// the effect on the link; `None` when there was no such peer.
    pub fn remove_peer(&mut self, now: Time, uri: &str) -> Option<RemovedPeer> {
        let (paths, address) = self.dials.remove(uri)?;
        let mut effect = RemovedPeer::NoLink;
        for (id, link) in self.links.iter_mut() {
            if address != Some(link.address) && !paths.contains(&link.path) {
                continue;
            }
            let of_link = self.dials.why_linked(&link.path, &link.address, link.initiator);
            let configured = of_link == RemovedPeer::DialledOtherwise;
            if std::mem::replace(&mut link.configured, configured) != configured {
                self.output.push_back(Output::SetConfigured { id, configured });
            }
            if of_link == RemovedPeer::Ended {
                self.output.push_back(Output::RetireLink { id, retirement: Retirement::PeerRemoved });
            }
            effect = effect.max(of_link);
        }
        // A handshake with the peer may be in progress, and would make the link again.
        for path in &paths {
            self.handshakes.cancel(path);
            self.dials.failed(now, path, "no longer asked for");
        }
        Some(effect)
    }

    /// Changes which addresses may become neighbours. Links to addresses that may not any more are ended with the reason, and
    /// nodes that were barred and may become neighbours now are dialled at the next time-out, which is due at once.
    pub fn set_neighbour_filter(&mut self, neighbour_filter: NeighbourFilter) {
        self.neighbour_filter = neighbour_filter;
        self.barred.readmit(&self.neighbour_filter);
        let barred = self.links.iter().filter(|(_, link)| !self.neighbour_filter.admits(&link.address));
        // Collected first, because each end of a link changes the table.
        for (id, address, path) in barred.map(|(id, link)| (id, link.address, link.path)).collect::<Vec<_>>()
        {
            self.barred.add(address, path);
            self.remove_link(id);
            self.dropped(DropCause::NotAllowed, 1);
            self.output.push_back(Output::RetireLink {
                id,
                retirement: Retirement::Evicted(DownReason::NotAllowed),
            });
        }
    }

    /// Does all that is due: handshakes, dials, and frames that have waited for the end of their handshake.
    pub fn handle_timeout(&mut self, now: Time, media: &dyn Media) {
        if self.handshakes.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.handshakes.handle_timeout(now);
        }
        // A node that leaves dials no peer, since it would end the link at once.
        if !self.is_leaving {
            self.dial_readmitted(now, media);
            self.dial_due(now, media);
        }
        self.serve_handshakes(now, media);
        self.serve_early_frames();
    }

    /// The time at which [`Peering::handle_timeout`] is due.
    pub fn next_deadline(&self, now: Time, media: &dyn Media) -> Option<Time> {
        let links = LinkView::new(&self.links, self.most, media);
        // A node that leaves dials no peer, so no dial is due.
        let dials = match self.is_leaving {
            true => None,
            false if self.barred.has_readmitted() => Some(now),
            false => self.dials.next_deadline(now, &links),
        };
        self.handshakes.next_deadline().into_iter().chain(dials).min()
    }

    /// The next output; `None` when there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// The configured peers and their states.
    pub fn configured_peers(&self) -> Vec<(&str, PeerState, &ConfiguredPeer)> {
        self.dials.targets(&LinkView::in_service(&self.links, self.most))
    }

    /// The discovered nodes that have refused a link, once for each address.
    pub fn refusing_peers(&self) -> Vec<RefusedPeer> {
        self.dials.refusals()
    }

    /// The count of nodes that this node has refused within [`REFUSALS_WINDOW`] minutes.
    pub fn recent_refusals(&mut self, now: Time) -> u32 {
        self.refusals.count(now)
    }

    fn report(&mut self, event: PeeringEvent) {
        self.output.push_back(Output::Event(event));
    }

    fn dropped(&mut self, cause: DropCause, count: u64) {
        // Most batches drop nothing, and would report events about nothing.
        if count > 0 {
            self.report(PeeringEvent::Dropped { cause, count });
        }
    }
}
