//! The service of a link: its start and its end, as the router, the peering and subscribers are notified of them.
//!
//! The initiator has a session as soon as it has sent the finish, but does not know yet whether the responder has
//! received it, or has a slot for one more neighbour. So its link enters service with the first frame that the
//! responder has sealed, which also proves that the reverse path works.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::link::{DownReason, Link, LinkState};
use crate::node::data_path::payload_mtu;
use crate::node::state::NodeState;
use crate::node::state::announced::{LinkUp, Turn};
use crate::node::state::locks::lock;
use crate::node::state::neighbour::{BEFORE, IN_SERVICE, Neighbour};
use crate::node::state::router_inputs::RouterEvent;
use crate::peering::Input;
use crate::types::PeerState;

impl Neighbour {
    /// Puts the link into service: the router may use it from here on.
    pub(crate) async fn enter_service(self: &Arc<Self>, shared: &NodeState) {
        if self.service.compare_exchange(BEFORE, IN_SERVICE, SeqCst, SeqCst).is_err() {
            return;
        }
        self.set_state(PeerState::Up);
        self.reachability_changed(shared);
        let of_medium = self.medium.netmod.properties().cost;
        let cost = lock(&self.status).metrics.cost.saturating_add(of_medium);
        let mtu = u16::try_from(payload_mtu(self.mtu())).unwrap_or(u16::MAX);
        let address = self.address;
        tracing::info!(neighbour = %address, endpoint = %self.endpoint(), "neighbour up");
        let up = RouterEvent::Up { neighbour: self.clone(), cost, mtu };
        shared.router.notify(up).await;
        if self.has_ended() {
            return;
        }
        shared.report_to_peering(Input::LinkInService { id: self.id });
        self.announce(shared, Turn::Up);
    }

    /// Announces a turn of this link, unless the subscribers know that it stands so, or that it has ended.
    pub(super) fn announce(&self, shared: &NodeState, turn: Turn<'_>) {
        // The medium may call foreign code for the endpoint, so no lock is held yet.
        let link = LinkUp { id: self.id, endpoint: self.endpoint() };
        let written: Vec<_> = {
            let mut links = lock(&shared.links_up);
            if !lock(&self.announced).turn(turn) {
                return;
            }
            let events = links.turn(turn, (self.medium.id, self.address), link);
            events.into_iter().map(|event| shared.event_bus.write(&shared.stats, event)).collect()
        };
        for event in written {
            event.wake();
        }
    }

    /// Puts the link into service once a frame of the neighbour has been opened.
    pub(super) async fn confirm(self: &Arc<Self>, shared: &NodeState, link: &Link) {
        let over = || matches!(link.metrics().state, LinkState::Down(_));
        if !self.is_in_service() && self.confirmed.load(Relaxed) && !over() {
            lock(&self.status).metrics = link.metrics();
            self.enter_service(shared).await;
        }
    }

    /// Updates whether a configured peer is the reason for this link. It decides about the slot and the quotas of the
    /// link.
    pub(crate) async fn set_configured(&self, shared: &NodeState, configured: bool) {
        if self.configured.swap(configured, Relaxed) != configured {
            self.update_origin();
            shared.router.notify(RouterEvent::LinkStateChanged { id: self.id }).await;
        }
    }

    /// Ends the link at once, with a goodbye that carries the reason.
    pub(crate) async fn dismiss(&self, shared: &NodeState, reason: DownReason) {
        self.flush_goodbye(shared, reason.goodbye());
        if self.retire(shared) {
            self.announce_end(shared, &reason.on_this_side()).await;
        }
    }
}
