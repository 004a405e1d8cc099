//! How the node is: its status, what is wrong with it, and the housekeeping.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dial::{Refusal, Target};
use super::links;
use super::links::places::REFUSALS_WINDOW;
use super::routing::Hint;
use super::shared::{Shared, lock, read};
use crate::address::Address;
use crate::rt;
use crate::types::{
    Event, Health, Level, NetmodState, NetmodStatus, Peer, PeerState, Route, RouteState, Status, Timestamp,
};

/// How often drops are reported to subscribers.
const REPORT: Duration = Duration::from_secs(1);
/// How often conversations are looked for that nothing comes of any more.
const FORGET: Duration = Duration::from_secs(5);
/// How often the mailboxes are swept.
const SWEEP: Duration = Duration::from_secs(60);
/// An identity that was in use elsewhere is thought to be so this long after the last sign of it: as long as the router
/// gives way, and a little more.
const CONFLICT: Duration = Duration::from_secs(660);

/// The node's status.
pub(crate) fn status(shared: &Shared, routes: &[Route]) -> Status {
    let media: Vec<_> = read(&shared.media).values().cloned().collect();
    let netmods: Vec<NetmodStatus> = media.iter().map(|medium| medium.status()).collect();
    let neighbours =
        read(&shared.neighbours).values().filter(|known| known.is_in_service() && !known.is_away()).count()
            as u64;
    let mut health = Vec::new();
    for netmod in netmods.iter().filter(|netmod| netmod.state != NetmodState::Up) {
        let error = netmod.last_error.as_deref().unwrap_or("not open yet");
        health.push(line(Level::Error, format!("{}: {error}", netmod.uri), "it is tried again by itself"));
    }
    for note in media.iter().filter(|medium| medium.is_up()).flat_map(|medium| medium.netmod.notes()) {
        health.push(Health { level: Level::Warn, text: note.text, hint: note.hint });
    }
    if netmods.is_empty() {
        health.push(line(Level::Error, "no netmod: this node reaches nobody", "configure one"));
    } else if let Some(refusal) =
        lock(&shared.dials).refusals().into_iter().next().filter(|_| neighbours == 0)
    {
        health.push(line(
            Level::Warn,
            format!("no neighbours: {} was heard, and {}", refusal.address, refusal.reason),
            "it is dialled again by itself; name another node with `rouse peer add udp:HOST:PORT`, or raise `neighbours` there",
        ));
    } else if neighbours == 0 {
        health.push(line(
            Level::Warn,
            "no neighbours yet",
            "start a node on this network, or name one with `rouse peer add udp:HOST:PORT`",
        ));
    }
    health.extend(full_places(shared));
    health.extend(narrow_links(shared));
    for (uri, _, target) in lock(&shared.dials)
        .targets(&links::in_service(shared))
        .filter(|(_, state, _)| matches!(state, PeerState::Down))
    {
        let error = target.last_error.as_deref().unwrap_or_default();
        health.push(line(
            Level::Warn,
            format!("{uri} is not reached: {error}"),
            "it is dialled again by itself",
        ));
    }
    for address in lock(&shared.conflicts).keys() {
        health.push(line(
            Level::Error,
            format!("{address} is in use elsewhere"),
            "two nodes must not share an identity: give one of them its own",
        ));
    }
    if health.is_empty() {
        health.push(line(Level::Ok, "all is well", ""));
    }
    Status {
        address: shared.identity.address(),
        name: shared.config.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: shared.started.elapsed().as_secs(),
        netmods,
        neighbours,
        routes: routes.iter().filter(|route| route.state == RouteState::Active).count() as u64,
        journal: shared.traffic.waiting(),
        counters: shared.stats.counters(),
        drops: shared.stats.drops(),
        health,
    }
}

/// All places for neighbours are taken, and a node has been refused one.
fn full_places(shared: &Shared) -> Option<Health> {
    let (taken, most) = (read(&shared.neighbours).len(), shared.limits().neighbours);
    let refused = lock(&shared.refusals).count(shared.now());
    (taken >= most && refused > 0).then(|| {
        let text = format!(
            "places full: {taken} of {most} neighbours, {refused} refused in the last {REFUSALS_WINDOW} min"
        );
        line(
            Level::Warn,
            text,
            "raise `neighbours` under [limits] in the configuration, and restart the node",
        )
    })
}

/// Links whose way takes less than nearly every way does.
fn narrow_links(shared: &Shared) -> Vec<Health> {
    // Few as a rule. To name the endpoint of one may take a list of all interfaces, so that is done without the lock.
    let narrow: Vec<_> = {
        let neighbours = read(&shared.neighbours);
        let here = neighbours.values().filter(|neighbour| !neighbour.is_away());
        here.filter_map(|neighbour| Some((neighbour.clone(), neighbour.narrow_mtu()?))).collect()
    };
    narrow
        .into_iter()
        .map(|(neighbour, mtu)| {
            let endpoint = neighbour.endpoint();
            let text = format!("the way to {endpoint} takes frames of {mtu} bytes at most");
            line(Level::Warn, text, "messages go in smaller parts; raise the MTU of the network on that way")
        })
        .collect()
}

fn line(level: Level, text: impl Into<String>, hint: &str) -> Health {
    Health { level, text: text.into(), hint: hint.to_owned() }
}

/// A configured peer without a link, as a line among the neighbours.
pub(crate) fn dialled_in_vain(uri: &str, state: PeerState, target: &Target) -> Peer {
    let netmod = uri.split_once(':').map_or(uri, |(scheme, _)| scheme).to_owned();
    let line = without_link(uri.to_owned(), netmod, state, target.last_error.clone());
    Peer { since: target.since, ..line }
}

/// The nodes that were heard and do not want a link, as lines among the neighbours.
pub(crate) fn refused(shared: &Shared) -> Vec<Peer> {
    let refusals = lock(&shared.dials).refusals();
    let linked: HashSet<Address> = read(&shared.neighbours).values().map(|known| known.address).collect();
    let line = |refusal: Refusal| {
        let medium = read(&shared.media).get(&refusal.path.netmod).cloned()?;
        let (endpoint, netmod) = (medium.netmod.describe(&refusal.path.endpoint), medium.netmod.uri());
        Some(Peer {
            address: Some(refusal.address),
            since: refusal.since,
            ..without_link(endpoint, netmod, PeerState::Down, Some(refusal.reason))
        })
    };
    refusals.into_iter().filter(|refusal| !linked.contains(&refusal.address)).filter_map(line).collect()
}

fn without_link(endpoint: String, netmod: String, state: PeerState, last_error: Option<String>) -> Peer {
    Peer {
        address: None,
        name: None,
        endpoint,
        netmod,
        state,
        rtt_ms: None,
        loss: None,
        metric: None,
        rx_bytes: 0,
        tx_bytes: 0,
        since: Timestamp::now(),
        last_error,
    }
}

/// The housekeeping task: tells subscribers of drops, forgets mailboxes of senders that are gone.
pub(crate) async fn keep_house(shared: Arc<Shared>) {
    let mut before: BTreeMap<String, u64> = shared.stats.drops();
    let (mut swept, mut forgot) = (Instant::now(), Instant::now());
    loop {
        // While nobody listens there is nothing to report.
        let rest = SWEEP.saturating_sub(swept.elapsed()).min(FORGET.saturating_sub(forgot.elapsed()));
        if rt::timeout(rest, shared.bus.heard()).await.is_some() {
            rt::sleep(REPORT).await;
        }
        if shared.bus.is_heard() {
            let now = shared.stats.drops();
            for (cause, count) in &now {
                let new = count.saturating_sub(before.get(cause).copied().unwrap_or(0));
                if new > 0 {
                    shared.publish(Event::Drop { cause: cause.clone(), count: new });
                }
            }
            before = now;
        }
        if forgot.elapsed() >= FORGET {
            forgot = Instant::now();
            shared.traffic.sweep(&shared);
        }
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            let now = shared.now();
            lock(&shared.conflicts).retain(|_, seen| now.since(*seen) < CONFLICT);
            // Who is talked to keeps its place in the routing table.
            for destination in shared.traffic.peers() {
                shared.router.hint(Hint::Want { destination });
            }
            forget_senders(&shared);
        }
    }
}

/// Forgets the empty inboxes of senders that there is no conversation with any more.
pub(crate) fn forget_senders(shared: &Shared) {
    let mailboxes = read(&shared.mailboxes).clone();
    for (address, mailbox) in &mailboxes {
        // Known beforehand: making room for a conversation locks them all and then looks at mailboxes.
        let peers = shared.traffic.peers_of(address);
        mailbox.forget(|sender| peers.contains(sender));
    }
}
