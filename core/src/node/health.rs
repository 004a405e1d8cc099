//! The status of the node, with the conditions that its user should know of and the remedy for each.

use std::collections::HashSet;

use rouse_journal::{InboxPart, Refusal};

use crate::address::Address;
use crate::node::state::NodeState;
use crate::node::state::locks::{lock, read};
use crate::peering::{ConfiguredPeer, REFUSALS_WINDOW, RefusedPeer};
use crate::rt;
use crate::types::{
    Health, Level, Mesh, NetmodState, NetmodStatus, Peer, PeerState, Queued, Route, RouteState, Status,
};

/// The conversations among which the oldest message is searched, so that the cost of a status is bounded.
const MOST_SEARCHED: usize = 256;

/// The node's status.
pub(crate) fn status(shared: &NodeState, routes: &[Route], inbox: Queued, outbox: Queued) -> Status {
    let media: Vec<_> = read(&shared.media).values().cloned().collect();
    let netmods: Vec<NetmodStatus> = media.iter().map(|medium| medium.status()).collect();
    let neighbours =
        read(&shared.neighbours).values().filter(|known| known.is_in_service() && !known.is_away()).count();
    let mut health: Vec<Health> = netmods.iter().filter_map(netmod_down).collect();
    for note in media.iter().filter(|medium| medium.is_up()).flat_map(|medium| medium.netmod.notes()) {
        health.push(Health { level: Level::Warn, text: note.text, hint: note.hint });
    }
    health.extend(isolated(shared, netmods.len(), neighbours));
    health.extend(full_places(shared));
    health.extend(narrow_links(shared));
    health.extend(unreached_peers(shared));
    health.extend(conflicts(shared));
    health.extend(journal(shared));
    if health.is_empty() {
        health.push(line(Level::Ok, "all is well", ""));
    }
    Status {
        address: shared.identity.address(),
        name: shared.config.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: rt::elapsed(shared.started).as_secs(),
        mesh: if shared.config.mesh_key.is_some() { Mesh::Closed } else { Mesh::Open },
        netmods,
        neighbours: neighbours as u64,
        routes: routes.iter().filter(|route| route.state == RouteState::Active).count() as u64,
        journal: shared
            .journal
            .as_ref()
            .map_or_else(|| shared.conversations.waiting(), |state| state.journal.status().outbox),
        inbox,
        dead_letters: shared.journal.as_ref().map(|state| state.journal.status().dead).unwrap_or_default(),
        outbox,
        counters: shared.stats.counters(),
        drops: shared.stats.drops(),
        health,
    }
}

/// The messages that wait to be delivered, in memory and in the journal.
pub(crate) async fn queued(shared: &NodeState) -> Queued {
    let mut all = shared.conversations.outbox();
    let Some(state) = &shared.journal else { return all };
    let stored = state.journal.status().outbox;
    let mut oldest = None;
    let mut after = None;
    for _ in 0..MOST_SEARCHED {
        // The first message of each conversation is its oldest.
        let Ok(first) = state.journal.outbox(after, 1).await else { break };
        let Some((_, entry)) = first.first() else { break };
        oldest = [oldest, Some(entry.message.sent_at)].into_iter().flatten().min();
        let Ok(next) = state.journal.destinations(after, 1).await else { break };
        let Some((key, ..)) = next.first() else { break };
        after = Some(*key);
    }
    all.add(Queued { messages: stored.messages, bytes: stored.bytes, oldest });
    all
}

/// The messages that no application has received, in mailboxes and in the journal.
pub(crate) async fn unread(shared: &NodeState) -> Queued {
    let mut all = Queued::default();
    read(&shared.mailboxes).values().for_each(|mailbox| all.add(mailbox.unread()));
    let Some(state) = &shared.journal else { return all };
    let stored = state.journal.status().inbox;
    // The first message of the list is the oldest of its sender, which is enough as a hint.
    let first = match stored.messages {
        0 => Vec::new(),
        _ => state.journal.inbox(InboxPart::Waiting, None, 1).await.unwrap_or_default(),
    };
    let oldest = first.first().map(|entry| entry.message.received_at);
    all.add(Queued { messages: stored.messages, bytes: stored.bytes, oldest });
    all
}

/// An error about a netmod that is not up.
fn netmod_down(netmod: &NetmodStatus) -> Option<Health> {
    let error = netmod.last_error.as_deref().unwrap_or("not open");
    let text = || format!("{}: {error}", netmod.uri);
    (netmod.state != NetmodState::Up).then(|| line(Level::Error, text(), "it is tried again by itself"))
}

/// A warning, or an error, about a node that nothing can reach.
fn isolated(shared: &NodeState, netmods: usize, neighbours: usize) -> Option<Health> {
    if netmods == 0 {
        let text = "no netmod: this node is on no network";
        return Some(line(Level::Error, text, "configure at least one netmod"));
    }
    if neighbours > 0 {
        return None;
    }
    let refusal = lock(&shared.peering).refusing_peers().into_iter().next();
    Some(match refusal {
        Some(refusal) => line(
            Level::Warn,
            format!("no neighbours: {} was heard, and {}", refusal.address, refusal.reason),
            "it is dialled again by itself; name another node with `rouse peer add udp:HOST:PORT`, or raise `neighbours` there",
        ),
        None => line(
            Level::Warn,
            "no neighbours",
            "start a node on this network, or name one with `rouse peer add udp:HOST:PORT`",
        ),
    })
}

/// Warnings about configured peers that are not reached, since the user expects each of them to be there.
fn unreached_peers(shared: &NodeState) -> Vec<Health> {
    let peering = lock(&shared.peering);
    let down = peering.configured_peers().into_iter().filter(|(_, state, _)| *state == PeerState::Down);
    down.map(|(uri, _, target)| {
        let error = target.last_error.as_deref().unwrap_or_default();
        let text = format!("{uri} is not reached: {error}");
        line(Level::Warn, text, "it is dialled again by itself")
    })
    .collect()
}

/// Errors about own addresses that another node announces as well.
fn conflicts(shared: &NodeState) -> Vec<Health> {
    let hint = "two nodes must not share an identity: give one of them its own";
    let text = |address: &Address| format!("{address} is in use elsewhere");
    lock(&shared.conflicts).keys().map(|address| line(Level::Error, text(address), hint)).collect()
}

/// The findings about the journal.
fn journal(shared: &NodeState) -> Vec<Health> {
    let Some(state) = &shared.journal else { return Vec::new() };
    let status = state.journal.status();
    let mut findings = Vec::new();
    if let Some(error) = &status.error {
        let hint = "durable messages are refused until it works again; it is tried again by itself";
        findings.push(line(Level::Error, error.to_string(), hint));
    }
    if let Some(Refusal::Full { holder, held, limit }) = &status.full {
        let text = format!(
            "the journal is full: messages to {holder} hold {held} of {limit} bytes, and more are refused"
        );
        let hint = "`rouse outbox` lists and cancels messages, `rouse probe` finds why they wait, limits.journal sets the room";
        findings.push(line(Level::Error, text, hint));
    }
    if status.dead.messages > 0 {
        let text = format!("dead letters, which no application has acknowledged: {}", status.dead.messages);
        findings.push(line(
            Level::Warn,
            text,
            "`rouse inbox dead` lists them, and `rouse inbox revive` lets one wait again",
        ));
    }
    if status.damaged > 0 {
        let text = format!("the journal was damaged, and messages are lost: {}", status.damaged);
        findings.push(line(Level::Warn, text, "check the disk"));
    }
    if status.unreadable > 0 {
        let text =
            "the journal could not be read: messages that waited in it may be lost, and a new file was begun";
        let hint = "check the disk; a file of which nothing could be read is kept as journal.damaged in the folder of the journal";
        findings.push(line(Level::Warn, text, hint));
    }
    if status.renewed > 0 {
        let text = format!(
            "the journal was an older copy of itself: conversations that began again: {}",
            status.renewed
        );
        findings.push(line(
            Level::Warn,
            text,
            "messages that were delivered since the copy was made may be delivered again",
        ));
    }
    findings
}

/// A warning when all slots for neighbours are occupied and a node has been refused one. Either alone needs no action.
fn full_places(shared: &NodeState) -> Option<Health> {
    let (taken, most) = (read(&shared.neighbours).len(), shared.limits().neighbours);
    let refused = lock(&shared.peering).recent_refusals(shared.now());
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

/// Warnings about links whose path carries shorter frames than almost every path does.
fn narrow_links(shared: &NodeState) -> Vec<Health> {
    // Naming an endpoint may list all interfaces of the host, so it is done after the lock is released. Such links are
    // few.
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

/// A configured peer without a link, as an entry of the list of neighbours.
pub(crate) fn peer_without_link(
    shared: &NodeState,
    uri: &str,
    state: PeerState,
    target: &ConfiguredPeer,
) -> Peer {
    let netmod = uri.split_once(':').map_or(uri, |(scheme, _)| scheme).to_owned();
    let line = without_link(uri.to_owned(), netmod, state, target.last_error.clone());
    Peer { since: shared.timestamp(target.since), ..line }
}

/// The discovered nodes that refused a link, as entries of the list of neighbours.
pub(crate) fn refused(shared: &NodeState) -> Vec<Peer> {
    let refusals = lock(&shared.peering).refusing_peers();
    let linked: HashSet<Address> = read(&shared.neighbours).values().map(|known| known.address).collect();
    let line = |refusal: RefusedPeer| {
        let medium = read(&shared.media).get(&refusal.path.netmod).cloned()?;
        let (endpoint, netmod) = (medium.netmod.describe(&refusal.path.endpoint), medium.netmod.uri());
        Some(Peer {
            address: Some(refusal.address),
            since: shared.timestamp(refusal.since),
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
        since: rt::wall_clock(),
        last_error,
    }
}
