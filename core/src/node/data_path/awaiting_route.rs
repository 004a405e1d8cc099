//! Replies that wait for a route.
//!
//! A request may arrive before this node has a route to its source, because announces of the two spread at different
//! speeds. So a reply is sent as soon as the route is there, if that is soon. Conversations keep their acknowledgements
//! themselves, and are woken at the same place, [`route_changed`]; replies to probes wait here, few and briefly.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::address::Address;
use crate::egress::Class;
use crate::node::data_path::{DeferredWork, hand_over, route};
use crate::node::state::NodeState;
use crate::node::state::awaiting_route::{AwaitingRoute, QueuedReply};
use crate::rt::Alarm;
use crate::stats::{Counter, DropCause};

/// The time for which a reply waits. It is as long as the source of the request waits for a route itself.
const PATIENCE: Duration = Duration::from_secs(2);

impl AwaitingRoute {
    /// The task that drops and counts the replies whose route has not come in time.
    pub(crate) async fn run(shared: Arc<NodeState>) {
        let mut alarm = Alarm::default();
        loop {
            let first =
                shared.awaiting_route.0.when(|waiting| waiting.front().map(|first| first.until)).await;
            alarm.set(Some(shared.instant(first)));
            alarm.wait().await;
            let expired = shared.awaiting_route.expire(shared.now());
            shared.stats.drop_n(DropCause::NoRoute, expired);
        }
    }
}

/// Sends a reply of this node, now or as soon as there is a route to its destination.
pub(crate) fn answer(shared: &NodeState, to: &Address, packet: Bytes, work: &mut DeferredWork) {
    if let Some(hop) = route(shared, to) {
        shared.stats.count(Counter::PacketsOut, 1);
        return hand_over(shared, &hop, Class::Interactive, packet, work);
    }
    let until = shared.now() + PATIENCE;
    if !shared.awaiting_route.keep(QueuedReply { to: *to, from: work.from, packet, until }) {
        return shared.stats.drop(DropCause::NoRoute);
    }
    // The route may have been installed between the look-up and the insertion, when no reply waited yet.
    send_waiting(shared, to, work);
}

/// Handles a route that was installed, changed or removed: all packets that wait for the destination are sent.
pub(crate) fn route_changed(shared: &NodeState, destination: &Address, work: &mut DeferredWork) {
    {
        let mut changes = shared.fib_changes.write();
        *changes = changes.wrapping_add(1);
    }
    shared.conversations.route_changed(shared, destination, route(shared, destination).is_some(), work);
    send_waiting(shared, destination, work);
}

fn send_waiting(shared: &NodeState, to: &Address, work: &mut DeferredWork) {
    let Some(hop) = route(shared, to) else { return };
    for packet in shared.awaiting_route.take(to) {
        shared.stats.count(Counter::PacketsOut, 1);
        hand_over(shared, &hop, Class::Interactive, packet, work);
    }
}
