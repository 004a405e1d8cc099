//! The state of a node at one moment, for the metrics and for the page.

use rouse_core::ipc::Admin;
use rouse_core::node::Node;
use rouse_core::{Peer, Route, RouteState, Status};
use serde::Serialize;

use crate::admin::DaemonAdmin;
use crate::cli::json;

/// The routes that the page shows at most; the number of all is in the status.
const MAX_ROUTES: usize = 500;

/// The state of a node at one moment.
#[derive(Serialize)]
pub(super) struct Snapshot {
    pub(super) status: Status,
    pub(super) peers: Vec<Peer>,
    /// Routes in use.
    routes: Vec<Route>,
}

impl Snapshot {
    pub(super) async fn of(node: &Node, admin: &DaemonAdmin) -> Self {
        let mut routes = node.routes().await;
        routes.retain(|route| route.state == RouteState::Active);
        routes.sort_by_key(|route| (route.hops, route.metric));
        routes.truncate(MAX_ROUTES);
        for route in &mut routes {
            route.name = admin.name_of(&route.destination);
        }
        let (mut status, mut peers) = (node.status().await, node.peers().await);
        status.counters.extend(admin.counters());
        for peer in &mut peers {
            peer.name = peer.address.and_then(|address| admin.name_of(&address));
        }
        Snapshot { status, peers, routes }
    }

    /// The document that the page reads.
    pub(super) fn document(&self) -> Vec<u8> {
        // Its types have text keys only, so that it always has a form in JSON.
        json::document(self).unwrap_or_default()
    }
}
