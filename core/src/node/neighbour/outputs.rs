//! The outputs of the link: frames, changes of its state, and its end, as others are notified of them.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::egress::{Class, PushOutcome};
use crate::link::{Link, LinkOutput, LinkState};
use crate::netmod::Endpoint;
use crate::node::data_path::{DeferredWork, awaiting_route, payload_mtu};
use crate::node::state::NodeState;
use crate::node::state::announced::Turn;
use crate::node::state::locks::lock;
use crate::node::state::neighbour::Neighbour;
use crate::node::state::router_inputs::RouterEvent;
use crate::peering::Input;
use crate::rt;
use crate::stats::DropCause;
use crate::types::PeerState;
use crate::wire::link::KIND_GOODBYE;

/// The time that a medium may take to send a path challenge. It is short, because the task waits for it.
const CHALLENGE_SEND: Duration = Duration::from_millis(20);

impl Neighbour {
    /// Moves the link to the endpoint where the neighbour has proved to be.
    fn moved(&self, shared: &NodeState, endpoint: Endpoint) {
        let before = self.endpoint();
        lock(&self.path).endpoint = endpoint;
        self.egress.redirect(endpoint);
        self.update_origin();
        shared.report_to_peering(Input::LinkMoved { id: self.id, endpoint });
        tracing::info!(neighbour = %self.address, %before, endpoint = %self.endpoint(), "neighbour moved");
        self.announce(shared, Turn::Moved);
    }

    /// Carries out the outputs of the link. Returns the reason of its end, if it has ended.
    pub(super) async fn serve_link(&self, shared: &NodeState, link: &mut Link) -> Option<String> {
        let mut changed = false;
        let mut down = None;
        link.hold_control(self.router_feed.is_full());
        while let Some(output) = link.poll_output(shared.now()) {
            changed = true;
            match output {
                LinkOutput::Transmit(content) if content.first() == Some(&KIND_GOODBYE) => {
                    self.flush_goodbye(shared, content);
                }
                LinkOutput::Transmit(content) => {
                    if self.push(shared, Class::Control, content.into()) == PushOutcome::Closed {
                        link.on_key_exhausted();
                    }
                }
                LinkOutput::TransmitTo(endpoint, content) => {
                    let sent = rt::timeout(CHALLENGE_SEND, self.egress.send_to(&endpoint, &content));
                    if !matches!(sent.await, Some(Ok(()))) {
                        shared.stats.drop(DropCause::SendFailed);
                    }
                }
                LinkOutput::Moved(endpoint) => self.moved(shared, endpoint),
                LinkOutput::MtuChanged(mtu) => {
                    tracing::debug!(neighbour = ?self.address, mtu, "longest frame");
                    self.mtu.store(mtu, Relaxed);
                    let mtu = u16::try_from(payload_mtu(mtu)).unwrap_or(u16::MAX);
                    self.router_feed
                        .changed(&shared.router.ready, self.id, |changes| changes.mtu = Some(mtu));
                }
                LinkOutput::Rekeyed(key) => {
                    tracing::debug!(neighbour = ?self.address, ?key, "new keys");
                    self.egress.renew(*key);
                    self.worn.store(false, Relaxed);
                }
                LinkOutput::Control(message) => {
                    link.hold_control(self.router_feed.push_message(&shared.router.ready, self.id, message));
                }
                LinkOutput::CostChanged(cost) => {
                    self.router_feed
                        .changed(&shared.router.ready, self.id, |changes| changes.cost = Some(cost));
                }
                LinkOutput::StateChanged(LinkState::Down(reason)) => {
                    // Before the link leaves the tables, since the reason decides when the neighbour is dialled again.
                    let lost = Input::LinkLost { id: self.id, reason: Some(reason) };
                    shared.report_to_peering(lost);
                    down = Some(reason.to_string());
                }
                LinkOutput::StateChanged(state) => {
                    let heard = link.metrics().heard;
                    shared.report_to_peering(Input::LinkState { id: self.id, state, heard });
                    self.link_state_changed(shared, state).await;
                }
            }
        }
        if changed {
            lock(&self.status).metrics = link.metrics();
        }
        down
    }

    /// Announces that the link is up, suspect or away to the router and subscribers.
    async fn link_state_changed(&self, shared: &NodeState, state: LinkState) {
        let (suspect, away) = (state != LinkState::Up, state == LinkState::Away);
        self.suspect.store(suspect, Relaxed);
        if !self.is_in_service() {
            self.away.store(away, Relaxed);
            return;
        }
        self.set_state(match state {
            LinkState::Up => PeerState::Up,
            LinkState::Suspect => PeerState::Suspect,
            LinkState::Away | LinkState::Down(_) => PeerState::Down,
        });
        tracing::debug!(neighbour = ?self.address, ?state, "link");
        let turned = self.away.swap(away, Relaxed) != away;
        if turned {
            self.reachability_changed(shared);
        }
        if self.router_feed.announce() {
            shared.router.notify(RouterEvent::LinkStateChanged { id: self.id }).await;
        }
        if turned {
            let (address, endpoint) = (self.address, self.endpoint());
            if away {
                tracing::info!(neighbour = %address, endpoint, "neighbour cut off: its session is kept for a while");
            } else {
                tracing::info!(neighbour = %address, endpoint, "neighbour back");
            }
            self.announce(shared, if away { Turn::Cut } else { Turn::Up });
        }
    }

    /// Ends a link that has failed: takes it out of service and announces that.
    pub(super) async fn ended(&self, shared: &NodeState, reason: &str) {
        if !self.retire(shared) {
            return;
        }
        self.announce_end(shared, reason).await;
    }

    /// Serves the packets that wait for a route to the neighbour, since the link has entered or left service.
    pub(crate) fn reachability_changed(&self, shared: &NodeState) {
        let mut work = DeferredWork::default();
        awaiting_route::route_changed(shared, &self.address, &mut work);
        work.finish(shared);
    }

    /// Announces the end of this link to the router and to subscribers.
    pub(crate) async fn announce_end(&self, shared: &NodeState, reason: &str) {
        if !self.leave_service() {
            tracing::debug!(neighbour = %self.address, endpoint = %self.endpoint(), reason, "no link");
            return;
        }
        tracing::info!(neighbour = %self.address, endpoint = %self.endpoint(), reason, "neighbour down");
        self.reachability_changed(shared);
        shared.router.notify(RouterEvent::Down { id: self.id }).await;
        self.announce(shared, Turn::Ended(reason));
    }
}
