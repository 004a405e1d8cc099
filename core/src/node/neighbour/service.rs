//! When a link comes into service and when it leaves, as the router, the dial list and the subscribers learn of it.
//!
//! The side that dialled has a session as soon as it has sent the finish, and does not know yet whether the other side has
//! received it, or has a place for one more neighbour. So its link is in service from the first frame that the other side has
//! sealed, which also shows that the way back is there.

use super::*;
use crate::node::tasks::peering::slots::SlotHolder;

// The service of a link goes one way: before, in, after. Each of its two ends may come from another task at the same instant
// as its begin, and what is announced is decided by the change itself: a link that ends before it was in service is announced
// by neither, and the router uses no link whose end is certain, in whichever order it hears of the two.
pub(super) const BEFORE: u8 = 0;
const IN_SERVICE: u8 = 1;
const AFTER: u8 = 2;

impl Neighbour {
    /// Whether the router and the subscribers know of this link.
    pub(crate) fn is_in_service(&self) -> bool {
        self.service.load(SeqCst) == IN_SERVICE
    }

    /// Whether the link has ended: the router does not take it any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.service.load(SeqCst) == AFTER
    }

    /// Ends the service, for good. Returns whether the router and the subscribers knew of the link, and so have to hear of it.
    pub(super) fn leave_service(&self) -> bool {
        self.service.swap(AFTER, SeqCst) == IN_SERVICE
    }

    /// Puts the link into service: the router may use it from here on.
    pub(crate) async fn enter_service(self: &Arc<Self>, shared: &NodeState) {
        if self.service.compare_exchange(BEFORE, IN_SERVICE, SeqCst, SeqCst).is_err() {
            return;
        }
        self.set_state(PeerState::Up);
        self.reachable_or_not(shared);
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
        lock(&shared.dials).in_service(&self.path(), &address);
        self.announce(shared, Turn::Up, Event::NeighbourUp { address, endpoint: self.endpoint() });
    }

    /// Puts a link into service that the neighbour has used, if it is not yet.
    pub(super) async fn confirm(self: &Arc<Self>, shared: &NodeState, link: &Link) {
        let over = || matches!(link.metrics().state, LinkState::Down(_));
        if !self.is_in_service() && self.confirmed.load(Relaxed) && !over() {
            lock(&self.status).metrics = link.metrics();
            self.enter_service(shared).await;
        }
    }

    /// The neighbour has ended the link, or it has ended by itself: the dial list learns what it needs for the next dial.
    pub(super) fn note_end(&self, shared: &NodeState, reason: DownReason) {
        let (now, path) = (shared.now(), self.path());
        let mut dials = lock(&shared.dials);
        if reason.is_refusal() {
            let rest = dials.refused(now, &path, &self.address, &reason.to_string());
            drop(dials);
            let (neighbour, endpoint) = (self.address, self.endpoint());
            tracing::warn!(%neighbour, endpoint, %reason, again_in = ?rest, "no link");
        } else if reason == DownReason::Goodbye {
            // Before anything looks for a peer to dial.
            dials.left(now, &path, &self.address);
        } else if self.service.load(SeqCst) == BEFORE {
            dials.never_served(now, &path, &self.address, &reason.to_string());
        }
    }

    /// Whether a peer that is dialled by name asks for this link.
    pub(crate) fn is_configured(&self) -> bool {
        self.configured.load(Relaxed)
    }

    /// The configuration may have changed: whether a peer asks for this link decides about its place and its quotas.
    pub(crate) async fn set_configured(&self, shared: &NodeState, configured: bool) {
        if self.configured.swap(configured, Relaxed) != configured {
            self.find_origin();
            shared.router.notify(RouterEvent::LinkStateChanged { id: self.id }).await;
        }
    }

    /// The account on which a node counts what the packets of this link make it hold: its own when a peer asks for the link, or
    /// else that of its host and network. So one host gains nothing by many links.
    pub(crate) fn origin(&self) -> Location {
        *lock(&self.origin)
    }

    /// The neighbour may be elsewhere, or configured by now.
    pub(super) fn find_origin(&self) {
        let own = || {
            let key = self.address.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes);
            Location { host: key, network: key }
        };
        let origin = if self.is_configured() { own() } else { self.location() };
        *lock(&self.origin) = origin;
    }

    /// Where it is, as far as quotas go: its host and the network around it.
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

    /// Ends the link in order: its task sends what is queued, then a goodbye.
    pub(crate) fn leave(&self) {
        *self.leaving.write() = true;
        self.wake();
    }

    /// Ends the link at once, and tells the neighbour why if the medium takes it now.
    pub(crate) async fn dismiss(&self, shared: &NodeState, reason: DownReason) {
        self.push(shared, Class::Control, reason.goodbye().into());
        self.flush(shared);
        if self.retire(shared) {
            self.announce_end(shared, &reason.to_string()).await;
        }
    }

    /// What decides whether it keeps its place when there are no more.
    pub(crate) fn slot_holder(&self) -> SlotHolder {
        let source = self.medium.source(&self.path().endpoint);
        SlotHolder { id: self.id, configured: self.is_configured(), netmod: self.medium.id, source }
    }
}
