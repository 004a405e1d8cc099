//! The task that keeps the routes: it feeds the pure [`Router`] with what the neighbours' tasks report, sends
//! what the router has to say, and writes its decisions into the table that the data path reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::{Either, select};

use super::awaiting;
use super::fib::Way;
use super::forward::Work;
use super::neighbour::Neighbour;
use super::shared::Shared;
use crate::address::Address;
use crate::identity::Identity;
use crate::route::{
    FibEntry, NeighbourId, RouteInfo, Router, RouterConfig, RouterOutput, Verified, VerifyJob,
};
use crate::rt::Alarm;
use crate::stats::Counter;
use crate::types::{Event, Route};

/// What the router is told.
pub(crate) enum RouterEvent {
    Up {
        neighbour: Arc<Neighbour>,
        cost: u16,
        mtu: u16,
    },
    Down {
        id: NeighbourId,
    },
    Cost {
        id: NeighbourId,
        cost: u16,
    },
    Mtu {
        id: NeighbourId,
        mtu: u16,
    },
    Suspect {
        id: NeighbourId,
        suspect: bool,
    },
    Away {
        id: NeighbourId,
        away: bool,
    },
    Control {
        id: NeighbourId,
        message: Bytes,
    },
    AddOrigin {
        identity: Identity,
    },
    RemoveOrigin {
        address: Address,
    },
    Want {
        destination: Address,
    },
    /// So many packets for a destination arrived over a neighbour, and after them so many were lost.
    Score {
        destination: Address,
        next_hop: NeighbourId,
        delivered: u32,
        lost: u32,
    },
    /// Signatures have been verified.
    Verified {
        verified: Verified,
    },
    /// The routes to one destination, or all.
    List {
        to: Option<Address>,
        reply: oneshot::Sender<Vec<Route>>,
    },
}

impl RouterEvent {
    /// The bytes that a neighbour has sent with it.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            RouterEvent::Control { message, .. } => message.len(),
            _ => 0,
        }
    }
}

const BATCH: usize = 256;

struct Routing {
    shared: Arc<Shared>,
    router: Router,
    neighbours: BTreeMap<NeighbourId, Arc<Neighbour>>,
    epoch: u32,
}

/// The router's task.
pub(crate) async fn run(shared: Arc<Shared>, seed: [u8; 32], epoch: u32) {
    let config = RouterConfig { destinations: shared.limits().destinations, ..RouterConfig::default() };
    let mut routing = Routing {
        router: Router::new(shared.now(), config, seed),
        neighbours: BTreeMap::new(),
        epoch,
        shared: shared.clone(),
    };
    routing.router.add_origin(shared.now(), shared.identity.clone(), epoch);
    let mut events = Vec::new();
    let mut alarm = Alarm::default();
    let mut work = Work::default();
    loop {
        routing.carry_out(&mut work);
        work.finish(&shared);
        alarm.set(routing.router.next_deadline().map(|time| shared.instant(time)));
        {
            let incoming = std::pin::pin!(shared.router_events.recv_batch_into(&mut events, BATCH));
            if let Either::Left((Err(_), _)) = select(incoming, alarm.wait()).await {
                return;
            }
        }
        for event in events.drain(..) {
            routing.handle(event);
        }
        let now = shared.now();
        if routing.router.next_deadline().is_some_and(|deadline| deadline <= now) {
            routing.router.handle_timeout(now);
        }
    }
}

impl Routing {
    fn handle(&mut self, event: RouterEvent) {
        let now = self.shared.now();
        match event {
            RouterEvent::Up { neighbour, cost, mtu } => {
                let (id, address, configured) = (neighbour.id, neighbour.address, neighbour.configured);
                if let Some(rate) = neighbour.medium.netmod.rate() {
                    self.router.neighbour_rate(id, rate);
                }
                self.neighbours.insert(id, neighbour);
                self.router.neighbour_up(now, id, address, cost, mtu, configured);
            }
            RouterEvent::Down { id } => {
                self.neighbours.remove(&id);
                self.router.neighbour_down(now, id);
            }
            RouterEvent::Cost { id, cost } => {
                if let Some(neighbour) = self.neighbours.get(&id) {
                    let dear = neighbour.medium.netmod.properties().cost;
                    self.router.neighbour_cost(now, id, cost.saturating_add(dear));
                }
            }
            RouterEvent::Mtu { id, mtu } => self.router.neighbour_mtu(now, id, mtu),
            RouterEvent::Suspect { id, suspect } => {
                if self.neighbours.contains_key(&id) {
                    self.router.neighbour_suspect(now, id, suspect);
                }
            }
            RouterEvent::Away { id, away } => {
                if self.neighbours.contains_key(&id) {
                    self.router.neighbour_away(now, id, away);
                }
            }
            RouterEvent::Control { id, message } => {
                self.shared.stats.count(Counter::ControlIn, 1);
                if self.neighbours.contains_key(&id)
                    && let Err(cause) = self.router.handle(now, id, &message)
                {
                    self.shared.stats.drop(cause);
                }
            }
            RouterEvent::AddOrigin { identity } => self.router.add_origin(now, identity, self.epoch),
            RouterEvent::RemoveOrigin { address } => self.router.remove_origin(now, &address),
            RouterEvent::Score { destination, next_hop, delivered, lost } => {
                self.router.score(now, &destination, next_hop, delivered, lost);
            }
            RouterEvent::Verified { verified } => self.router.verified(now, verified),
            RouterEvent::Want { destination } => self.router.want_route(now, &destination),
            RouterEvent::List { to, reply } => {
                let known = match to {
                    Some(destination) => self.router.routes_to(now, &destination),
                    None => self.router.routes(now),
                };
                let routes = known.into_iter().filter_map(|info| self.route(info));
                // Who asked may have gone.
                let _ = reply.send(routes.collect());
            }
        }
    }

    fn route(&self, info: RouteInfo) -> Option<Route> {
        Some(Route {
            destination: info.destination,
            name: None,
            next_hop: self.neighbours.get(&info.neighbour)?.address,
            metric: info.metric,
            hops: info.hops,
            seq: info.seq,
            age_s: info.age.as_secs(),
            state: info.state,
        })
    }

    fn carry_out(&mut self, work: &mut Work) {
        let now = self.shared.now();
        while let Some(output) = self.router.poll_output(now) {
            match output {
                RouterOutput::Send { neighbour, message } => self.send(neighbour, message),
                RouterOutput::Fib(destination, entry) => self.install(destination, entry, work),
                RouterOutput::Changed { destination, next_hop, metric, hops } => {
                    let next_hop = next_hop.and_then(|id| self.neighbours.get(&id)).map(|next| next.address);
                    let (metric, hops) = (next_hop.map(|_| metric), next_hop.map(|_| hops));
                    self.shared.publish(Event::RouteChanged { destination, next_hop, metric, hops });
                }
                RouterOutput::Verify(job) => self.verify(job),
                RouterOutput::Dropped(cause, count) => self.shared.stats.drop_n(cause, count),
                RouterOutput::IdentityConflict(address) => self.shared.in_use_elsewhere(address),
                RouterOutput::EpochUsed { epoch, .. } => {
                    self.epoch = self.epoch.max(epoch);
                    super::epoch::save(self.shared.config.epoch_file.as_deref(), self.epoch);
                }
            }
        }
    }

    /// Verifies signatures on another thread. The router asks for a few such jobs at a time.
    fn verify(&self, job: VerifyJob) {
        let shared = self.shared.clone();
        self.shared.spawn(async move {
            let verified = crate::rt::compute(|| job.run()).await;
            let _ = shared.router_events.push(RouterEvent::Verified { verified }).await;
        });
    }

    fn send(&self, id: NeighbourId, message: Vec<u8>) {
        let Some(neighbour) = self.neighbours.get(&id) else { return };
        self.shared.stats.count(Counter::ControlOut, 1);
        if neighbour.routes.try_push(message).is_err() && !neighbour.routes.is_closed() {
            // Routing rests on this channel losing nothing: a link that cannot keep up is ended, and made anew.
            tracing::warn!(neighbour = %neighbour.address, "link cannot keep up with routing");
            neighbour.inbox.close();
        }
    }

    fn install(&self, destination: Address, entry: Option<FibEntry>, work: &mut Work) {
        let way = entry.and_then(|entry| {
            let next = self.neighbours.get(&entry.next)?.clone();
            let alternate = entry.alternate.and_then(|id| self.neighbours.get(&id).cloned());
            Some((Way { next, alternate }, usize::from(entry.mtu)))
        });
        match way {
            Some((way, mtu)) => self.shared.fib.insert(destination, way, mtu),
            None => self.shared.fib.remove(&destination),
        }
        awaiting::route_changed(&self.shared, &destination, work);
    }
}
