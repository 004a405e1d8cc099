//! The service of a link: its start and its end, as the router, the peering and subscribers are notified of them.
//!
//! The initiator has a session as soon as it has sent the finish, but does not know yet whether the responder has
//! received it, or has a slot for one more neighbour. So its link enters service with the first frame that the
//! responder has sealed, which also proves that the reverse path works.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::Neighbour;
use crate::link::{DownReason, Link, LinkState};
use crate::node::data_path::payload_mtu;
use crate::node::state::announced::{LinkUp, Turn};
use crate::node::state::{NodeState, lock};
use crate::node::tasks::router::RouterEvent;
use crate::peering::Input;
use crate::route::Location;
use crate::types::PeerState;

// The service of a link goes one way: before, in service, after. Another task may end it at the same instant as it
// begins, so the atomic change decides which notifications are sent: a link that ends before it was in service is
// announced by neither, and the router uses no link that has ended, in whichever order the two events arrive.
pub(super) const BEFORE: u8 = 0;
const IN_SERVICE: u8 = 1;
const AFTER: u8 = 2;

impl Neighbour {
    /// Whether the router and subscribers have been notified of this link.
    pub(crate) fn is_in_service(&self) -> bool {
        self.service.load(SeqCst) == IN_SERVICE
    }

    /// Whether the link has ended, so that the router must not add it.
    pub(crate) fn has_ended(&self) -> bool {
        self.service.load(SeqCst) == AFTER
    }

    /// Ends the service, which is final. Returns whether the router and subscribers have been notified of the link, and
    /// so have to be notified of its end.
    pub(super) fn leave_service(&self) -> bool {
        self.service.swap(AFTER, SeqCst) == IN_SERVICE
    }

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

    /// Whether a configured peer is the reason for this link.
    pub(crate) fn is_configured(&self) -> bool {
        self.configured.load(Relaxed)
    }

    /// Updates whether a configured peer is the reason for this link. It decides about the slot and the quotas of the
    /// link.
    pub(crate) async fn set_configured(&self, shared: &NodeState, configured: bool) {
        if self.configured.swap(configured, Relaxed) != configured {
            self.update_origin();
            shared.router.notify(RouterEvent::LinkStateChanged { id: self.id }).await;
        }
    }

    /// The account that is charged with the memory that packets of this link occupy. A configured link has an account
    /// of its own; others share that of their host and network, so that a host gains nothing by many links.
    pub(crate) fn origin(&self) -> Location {
        *lock(&self.origin)
    }

    /// Updates the account after the neighbour has moved, or was configured or removed.
    pub(super) fn update_origin(&self) {
        let own = || {
            let key = self.address.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes);
            Location { host: key, network: key }
        };
        let origin = if self.is_configured() { own() } else { self.location() };
        *lock(&self.origin) = origin;
    }

    /// The host and the network of the neighbour, for quotas.
    pub(crate) fn location(&self) -> Location {
        let endpoint = self.path().endpoint;
        let netmod = &self.medium.netmod;
        let key = |kind: &[u8], bytes: &[u8]| {
            let mut hash = blake3::Hasher::new();
            hash.update(kind).update(netmod.scheme().as_bytes()).update(&[0]).update(bytes);
            let hash = hash.finalize();
            hash.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes)
        };
        let host = key(b"host", &netmod.host_key(&endpoint).to_le_bytes());
        Location { host, network: key(b"network", &netmod.quota_key(&endpoint).to_le_bytes()) }
    }

    /// Ends the link with a goodbye, after the frames that are queued.
    pub(crate) fn leave(&self) {
        *self.leaving.write() = true;
        self.wake();
    }

    /// Ends the link at once, with a goodbye that carries the reason.
    pub(crate) async fn dismiss(&self, shared: &NodeState, reason: DownReason) {
        self.flush_goodbye(shared, reason.goodbye());
        if self.retire(shared) {
            self.announce_end(shared, &reason.to_string()).await;
        }
    }
}
