//! The router's task: it feeds the pure [`Router`] with the reports of the neighbours' tasks, sends the router's
//! messages, and writes its decisions into the table that the data path reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::node::data_path::{DeferredWork, awaiting_route};
use crate::node::epoch::EpochFile;
use crate::node::state::NodeState;
use crate::node::state::fib::NextHops;
use crate::node::state::neighbour::Neighbour;
use crate::node::state::router_feed::LinkChanges;
use crate::node::state::router_inputs::{Round, RouteQuery, RouterEvent, RouterHint};
use crate::route::{
    FibEntry, LinkProperties, NeighbourId, RouteInfo, Router, RouterConfig, RouterOutput, VerifyJob,
};
use crate::rt;
use crate::rt::Alarm;
use crate::stats::Counter;
use crate::time::Time;
use crate::types::{Event, Route};

/// The length of a neighbour's turn. It is exceeded by one message at most, since a message is handled as a whole.
const TURN: Duration = Duration::from_millis(1);

struct RouterTask {
    shared: Arc<NodeState>,
    router: Router,
    neighbours: BTreeMap<NeighbourId, Arc<Neighbour>>,
    /// Neighbours that have used their share of time, and the end of their pause.
    resting: BTreeSet<(Time, NeighbourId)>,
    epoch: EpochFile,
}

/// Runs the router's task until the node ends.
pub(crate) async fn run(shared: Arc<NodeState>, seed: [u8; 32], epoch: EpochFile) {
    let config = RouterConfig { destinations: shared.limits().destinations, ..RouterConfig::default() };
    let mut task = RouterTask {
        router: Router::new(shared.now(), config, seed),
        neighbours: BTreeMap::new(),
        resting: BTreeSet::new(),
        epoch,
        shared: shared.clone(),
    };
    task.router.add_origin(shared.now(), shared.identity.clone().into(), task.epoch.latest());
    let mut round = Round::default();
    let mut alarm = Alarm::default();
    let mut work = DeferredWork::default();
    loop {
        round.take(&shared.router);
        let idle = round.is_empty();
        task.serve(&mut round, &mut work);
        work.finish(&shared);
        let deadline = task.next_deadline();
        if !idle || deadline.is_some_and(|deadline| deadline <= shared.now()) {
            // Other tasks of this thread have their turn, however much there is to do.
            rt::yield_now().await;
            continue;
        }
        alarm.set(deadline.map(|time| shared.instant(time)));
        if round.wait(&shared.router, &mut alarm).await.is_err() {
            return;
        }
    }
}

impl RouterTask {
    fn next_deadline(&self) -> Option<Time> {
        let rested = self.resting.first().map(|(until, _)| *until);
        self.router.next_deadline().into_iter().chain(rested).min()
    }

    /// Handles the events, requests and messages of one round, and what is due.
    fn serve(&mut self, round: &mut Round, work: &mut DeferredWork) {
        for event in round.events.drain(..) {
            self.handle(event);
        }
        self.carry_out(work);
        self.reply_queries(round.queries.drain(..));
        for hint in round.hints.drain(..) {
            self.hint(hint);
        }
        if let Some(id) = round.neighbour.take() {
            self.turn(id, work);
        }
        let now = self.shared.now();
        if self.router.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.router.handle_timeout(now);
        }
        while let Some((_, id)) = self.resting.first().copied().filter(|(until, _)| *until <= now) {
            self.resting.pop_first();
            self.shared.router.ready.enqueue(id);
        }
        self.carry_out(work);
    }

    fn handle(&mut self, event: RouterEvent) {
        let now = self.shared.now();
        match event {
            // Its end may have been announced first. Its routes would then stay for ever, since no further event
            // removes them.
            RouterEvent::Up { neighbour, .. } if neighbour.has_ended() => {}
            RouterEvent::Up { neighbour, cost, mtu } => {
                let (id, address, configured) = (neighbour.id, neighbour.address, neighbour.is_configured());
                let (rate, location) = (neighbour.medium.netmod.rate(), Some(neighbour.location()));
                self.neighbours.insert(id, neighbour);
                let link = LinkProperties { address, cost, mtu, configured, rate, location };
                self.router.neighbour_up(now, id, link);
                // Messages that it sent before wait in its feed: its turn was skipped while the router did not have it.
                self.shared.router.ready.enqueue(id);
            }
            #[cfg(test)]
            RouterEvent::Panic => panic!("a fault of the test"),
            RouterEvent::Down { id } => {
                self.neighbours.remove(&id);
                self.router.neighbour_down(now, id);
            }
            RouterEvent::LinkStateChanged { id } => {
                if let Some(neighbour) = self.neighbours.get(&id) {
                    neighbour.router_feed.clear_announced();
                    self.router.neighbour_configured(id, neighbour.is_configured());
                    self.router.neighbour_suspect(now, id, neighbour.is_suspect());
                    self.router.neighbour_away(now, id, neighbour.is_away());
                }
            }
            RouterEvent::AddOrigin { identity } => {
                self.router.add_origin(now, identity.into(), self.epoch.latest())
            }
            RouterEvent::RemoveOrigin { address } => self.router.remove_origin(&address),
            RouterEvent::Verified { verified } => self.router.verified(now, verified),
        }
    }

    fn hint(&mut self, hint: RouterHint) {
        let now = self.shared.now();
        match hint {
            RouterHint::Want { destination } => self.router.want_route(now, &destination),
            RouterHint::Score { destination, next_hop, delivered, lost } => {
                self.router.score(now, &destination, next_hop, delivered, lost);
            }
        }
    }

    /// Handles messages of one neighbour for a bounded time. The time is measured and charged to it, so that a
    /// neighbour that causes much work gets fewer turns.
    fn turn(&mut self, id: NeighbourId, work: &mut DeferredWork) {
        let Some(neighbour) = self.neighbours.get(&id).cloned() else { return };
        let began = self.shared.now();
        let LinkChanges { cost, mtu } = neighbour.router_feed.take_changes();
        if let Some(cost) = cost {
            let penalty = neighbour.medium.netmod.properties().cost;
            self.router.neighbour_cost(id, cost.saturating_add(penalty));
        }
        if let Some(mtu) = mtu {
            self.router.neighbour_mtu(id, mtu);
        }
        // The node's own measurements are never delayed; messages of a neighbour may be.
        if let Some(until) = self.router.neighbour_rests(began, id) {
            self.resting.insert((until, id));
            return self.carry_out(work);
        }
        let mut now = began;
        while now.since(began) < TURN
            && let Some(message) = neighbour.router_feed.next()
        {
            self.shared.stats.count(Counter::ControlIn, 1);
            if let Err(cause) = self.router.handle(now, id, &message) {
                self.shared.stats.drop(cause);
            }
            now = self.shared.now();
        }
        self.carry_out(work);
        now = self.shared.now();
        self.router.neighbour_worked(now, id, now.since(began));
        if neighbour.router_feed.end_turn(&self.shared.router.ready, id) {
            neighbour.wake();
        }
    }

    /// Replies to requests for routes. The list of all routes is made once for all requests of a round, since it is
    /// long.
    fn reply_queries(&self, queries: impl Iterator<Item = RouteQuery>) {
        let now = self.shared.now();
        let list = |known: Vec<RouteInfo>| -> Vec<Route> {
            known.into_iter().filter_map(|info| self.route(info)).collect()
        };
        let mut all = None;
        for RouteQuery { to, reply } in queries {
            let routes = match to {
                Some(destination) => list(self.router.routes_to(now, &destination)),
                None => all.get_or_insert_with(|| list(self.router.routes(now))).clone(),
            };
            // The receiver of the reply may have been dropped.
            reply.send(routes);
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

    fn carry_out(&mut self, work: &mut DeferredWork) {
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
                RouterOutput::EpochUsed { epoch, .. } => self.epoch.used(now, epoch),
            }
        }
    }

    /// Verifies signatures on another thread, so that routing continues meanwhile. The router has only a few such jobs
    /// at a time.
    fn verify(&self, job: VerifyJob) {
        let shared = self.shared.clone();
        self.shared.spawn_vital("verification of signatures", async move {
            let verified = crate::rt::compute(|| job.run()).await;
            shared.router.notify(RouterEvent::Verified { verified }).await;
        });
    }

    fn send(&self, id: NeighbourId, message: Vec<u8>) {
        let Some(neighbour) = self.neighbours.get(&id) else { return };
        self.shared.stats.count(Counter::ControlOut, 1);
        if neighbour.routes.try_push(message).is_err() && !neighbour.routes.is_closed() {
            // The protocol relies on this channel losing no message, so a link that cannot keep up is ended, and a new
            // one transfers the whole table.
            tracing::warn!(neighbour = %neighbour.address, "link cannot keep up with routing");
            neighbour.inbox.close();
        }
    }

    fn install(&self, destination: Address, entry: Option<FibEntry>, work: &mut DeferredWork) {
        let way = entry.and_then(|entry| {
            let next = self.neighbours.get(&entry.next)?.clone();
            let alternate = entry.alternate.and_then(|id| self.neighbours.get(&id).cloned());
            Some((NextHops { next, alternate }, usize::from(entry.mtu)))
        });
        match way {
            Some((way, mtu)) => self.shared.fib.insert(destination, way, mtu),
            None => self.shared.fib.remove(&destination),
        }
        awaiting_route::route_changed(&self.shared, &destination, work);
    }
}
