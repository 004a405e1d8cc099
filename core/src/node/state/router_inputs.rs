//! The inputs of the router, in four queues, so that a flood of one kind delays no other.
//!
//! Events of the node itself come first: links that enter or leave service or are suspect, addresses, verified
//! signatures. No neighbour can fill that queue. A few requests for routes and a few hints follow, then one neighbour
//! for a short turn. Neighbours wait in a ready queue, each at most once, and the messages of each in a bounded queue
//! of its own ([`RouterFeed`](crate::node::state::router_feed::RouterFeed)).

use std::sync::Arc;

use futures::future::{Either, select};

use crate::address::Address;
use crate::identity::Identity;
use crate::inbox::{Closed, Full, Inbox};
use crate::node::reply::{self, ReplySender};
use crate::node::state::neighbour::Neighbour;
use crate::node::state::ready_queue::ReadyQueue;
use crate::route::{NeighbourId, VerifyResults};
use crate::rt::Alarm;
use crate::types::Route;

/// An event that the router must not miss.
///
/// It is no copy of an input type of the protocol: [`Router`](crate::route::Router) has a method for each input. The event carries
/// what the task needs besides, such as the neighbour's queue of messages and whether its link has ended meanwhile.
pub(crate) enum RouterEvent {
    Up {
        neighbour: Arc<Neighbour>,
        cost: u16,
        mtu: u16,
    },
    Down {
        id: NeighbourId,
    },
    /// The link may have become suspect, away or configured, or the reverse.
    LinkStateChanged {
        id: NeighbourId,
    },
    AddOrigin {
        identity: Identity,
    },
    RemoveOrigin {
        address: Address,
    },
    /// A batch of signatures has been verified.
    Verified {
        verified: VerifyResults,
    },
    /// A fault of the program.
    #[cfg(test)]
    Panic,
}

/// An event that the router may miss when it is busy, so that hints cannot delay events.
pub(crate) enum RouterHint {
    /// The destination is in use, so its route should be kept.
    Want { destination: Address },
    /// This many packets for a destination were delivered over a neighbour, and this many lost after them.
    Score { destination: Address, next_hop: NeighbourId, delivered: u32, lost: u32 },
}

/// Events of the node itself that may wait: as many as a burst of links causes. Further writers wait, since no event
/// may be lost.
const EVENTS: usize = 16_384;
/// Requests for routes that may wait, and hints. Further hints are dropped.
const QUERIES: usize = 1024;
const HINTS: usize = 1024;
/// Requests and hints that are handled in one round.
const BATCH: usize = 64;

/// A request for the routes to one destination, or for all routes.
pub(crate) struct RouteQuery {
    pub(crate) to: Option<Address>,
    pub(crate) reply: ReplySender<Vec<Route>>,
}

/// The inputs of the router. See the [module's page](self).
pub(crate) struct RouterInputs {
    pub(crate) events: Inbox<RouterEvent>,
    pub(crate) queries: Inbox<RouteQuery>,
    pub(crate) hints: Inbox<RouterHint>,
    pub(crate) ready: ReadyQueue,
}

impl Default for RouterInputs {
    fn default() -> Self {
        RouterInputs {
            events: Inbox::new(EVENTS, Full::Wait),
            queries: Inbox::new(QUERIES, Full::Wait),
            hints: Inbox::new(HINTS, Full::RefuseNewest),
            ready: ReadyQueue::default(),
        }
    }
}

impl RouterInputs {
    /// Sends the router an event that must not be lost; waits while the queue is full.
    pub(crate) async fn notify(&self, event: RouterEvent) {
        // A router that has ended needs no events.
        let _ = self.events.push(event).await;
    }

    /// Sends the router an event that may be lost.
    pub(crate) fn hint(&self, hint: RouterHint) {
        let _ = self.hints.try_push(hint);
    }

    /// The routes to one destination, or all routes; none when the node stops.
    pub(crate) async fn query_routes(&self, to: Option<Address>) -> Vec<Route> {
        let (reply, routes) = reply::reply();
        match self.queries.push(RouteQuery { to, reply }).await {
            Ok(()) => routes.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    pub(crate) fn close(&self) {
        self.events.close();
        self.queries.close();
        self.hints.close();
        self.ready.close();
    }
}

/// The inputs that the router has taken out of its queues for one round.
#[derive(Default)]
pub(crate) struct Round {
    pub(crate) events: Vec<RouterEvent>,
    pub(crate) queries: Vec<RouteQuery>,
    pub(crate) hints: Vec<RouterHint>,
    pub(crate) neighbour: Option<NeighbourId>,
}

impl Round {
    /// Takes inputs without waiting. It takes all events, since a neighbour's turn must not precede the event that it
    /// is up.
    pub(crate) fn take(&mut self, inputs: &RouterInputs) {
        let _ = inputs.events.try_recv_batch(&mut self.events, usize::MAX);
        if self.queries.is_empty() {
            let _ = inputs.queries.try_recv_batch(&mut self.queries, BATCH);
        }
        if self.hints.is_empty() {
            let _ = inputs.hints.try_recv_batch(&mut self.hints, BATCH);
        }
        self.neighbour = self.neighbour.or_else(|| inputs.ready.try_next());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.queries.is_empty() && self.hints.is_empty() && self.neighbour.is_none()
    }

    /// Waits for an input in one of the queues, or for the alarm.
    pub(crate) async fn wait(&mut self, inputs: &RouterInputs, alarm: &mut Alarm) -> Result<(), Closed> {
        let events = inputs.events.recv_batch_into(&mut self.events, usize::MAX);
        let queries = inputs.queries.recv_batch_into(&mut self.queries, BATCH);
        let hints = inputs.hints.recv_batch_into(&mut self.hints, BATCH);
        let ready = inputs.ready.next();
        let (events, queries) = (std::pin::pin!(events), std::pin::pin!(queries));
        let (hints, ready) = (std::pin::pin!(hints), std::pin::pin!(ready));
        match select(events, select(queries, select(hints, select(ready, alarm.wait())))).await {
            Either::Left((events, _)) => events.map(drop),
            Either::Right((Either::Left((queries, _)), _)) => queries.map(drop),
            Either::Right((Either::Right((Either::Left((hints, _)), _)), _)) => hints.map(drop),
            Either::Right((Either::Right((Either::Right((Either::Left((id, _)), _)), _)), _)) => {
                self.neighbour = Some(id?);
                Ok(())
            }
            Either::Right((Either::Right((Either::Right((Either::Right(((), _)), _)), _)), _)) => Ok(()),
        }
    }
}
