//! `status`, `peers`, `routes` and `watch`, which show the state of the node.

use std::collections::BTreeMap;

use futures::StreamExt;
use rouse_core::ipc::{ClientError, Search};
use rouse_core::{
    Address, Client, Event, Level, Mesh, NetmodState, NetmodStatus, Peer, PeerState, Queued, Route,
    RouteState, Status, Timestamp,
};
use serde::Serialize;

use super::failure::CommandFailure;
use super::output::{Colour, Output};
use super::table::{Columns, or_nothing};
use super::{address, reconnect};
use crate::units::{bytes, counted, milliseconds, seconds};

pub(super) async fn status(client: &Client, out: &Output) -> Result<(), CommandFailure> {
    let status = client.status().await?;
    out.line(&status_text(out, &status), &status)?;
    match status.health.iter().find(|health| health.level == Level::Error) {
        Some(health) => Err(CommandFailure::no("unhealthy", health.text.clone(), health.hint.clone())),
        None => Ok(()),
    }
}

fn status_text(out: &Output, status: &Status) -> String {
    let mut text = status.address.to_string();
    if let Some(name) = &status.name {
        text.push_str(&format!("\n{}", out.safe_line(&format!("name {name}"))));
    }
    text.push_str(&format!("\nversion {}, up {}\n", status.version, seconds(status.uptime_s)));
    let mesh = match status.mesh {
        Mesh::Open => "open: every node that reaches this one may become a neighbour",
        Mesh::Closed => "closed",
    };
    let (neighbours, routes) = (counted(status.neighbours, "neighbour"), counted(status.routes, "route"));
    text.push_str(&format!("{neighbours}, {routes}\n{}\n", out.safe_line(&format!("mesh {mesh}"))));
    text.push_str(&format!("inbox {}\noutbox {}\n", queue_text(&status.inbox), queue_text(&status.outbox)));
    if status.dead_letters.messages > 0 {
        let dead = counted(status.dead_letters.messages, "dead letter");
        let line = format!("{dead} ({}): `rouse inbox dead` lists them", bytes(status.dead_letters.bytes));
        text.push_str(&format!("{}\n", out.safe_line(&line)));
    }
    text.push('\n');
    let row = |netmod: &NetmodStatus| {
        let state = match netmod.state {
            NetmodState::Up => "up",
            NetmodState::Retrying => "retrying",
            NetmodState::Down => "down",
        };
        [
            netmod.uri.clone().into(),
            state.into(),
            netmod.mtu.to_string().into(),
            format!("{} ({})", netmod.rx_frames, bytes(netmod.rx_bytes)).into(),
            format!("{} ({})", netmod.tx_frames, bytes(netmod.tx_bytes)).into(),
            netmod.last_error.clone().into(),
        ]
    };
    let columns = Columns {
        titles: ["NETMOD", "STATE", "MTU", "FRAMES IN", "FRAMES OUT", "LAST ERROR"],
        long: &["LAST ERROR"],
    };
    text.push_str(&columns.table(out.width(), &status.netmods.iter().map(row).collect::<Vec<_>>()));
    for netmod in &status.netmods {
        text.push_str(&counts_text(out, &netmod.uri, &netmod.counters));
    }
    for (title, counts) in [("counters", &status.counters), ("drops", &status.drops)] {
        text.push_str(&counts_text(out, title, counts));
    }
    for health in &status.health {
        text.push_str(&format!("\n{}", health_line(out, health.level, &health.text, &health.hint)));
    }
    text
}

/// A finding and its next step, after a word for its severity.
pub(super) fn health_line(out: &Output, level: Level, text: &str, hint: &str) -> String {
    let (word, colour) = match level {
        Level::Ok => ("ok", Colour::Green),
        Level::Warn => ("warn", Colour::Yellow),
        Level::Error => ("error", Colour::Red),
    };
    let hint = if hint.is_empty() { String::new() } else { format!("; {hint}") };
    let line = out.safe_line(&format!("{word}: {text}{hint}"));
    // Colour is added last, because its characters have no width.
    line.replacen(word, &out.paint(word, colour), 1)
}

/// The messages of an inbox or an outbox, and the age of the oldest.
fn queue_text(queue: &Queued) -> String {
    let text = format!("{} ({})", counted(queue.messages, "message"), bytes(queue.bytes));
    let age = |oldest: Timestamp| Timestamp::now().0.saturating_sub(oldest.0) / 1000;
    match queue.oldest {
        Some(oldest) => format!("{text}, the oldest from {} ago", seconds(age(oldest))),
        None => text,
    }
}

fn counts_text(out: &Output, title: &str, counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<String> =
        counts.iter().filter(|(_, n)| **n > 0).map(|(name, n)| format!("{name} {n}")).collect();
    if counts.is_empty() {
        return String::new();
    }
    format!("\n{}", out.safe_line(&format!("{title}: {}", counts.join(", "))))
}

pub(super) fn peer_state(state: PeerState) -> &'static str {
    match state {
        PeerState::Connecting => "connecting",
        PeerState::Up => "up",
        PeerState::Suspect => "suspect",
        PeerState::Down => "down",
    }
}

pub(super) async fn peers(client: &Client, out: &Output) -> Result<(), CommandFailure> {
    let peers = client.peers().await?;
    let row = |peer: &Peer| {
        [
            peer.name.clone().into(),
            peer.address.into(),
            peer.endpoint.clone().into(),
            peer_state(peer.state).into(),
            peer.rtt_ms.map(|rtt| format!("{rtt:.2} ms")).into(),
            peer.loss.map(|loss| format!("{:.0} %", loss * 100.0)).into(),
            bytes(peer.rx_bytes).into(),
            bytes(peer.tx_bytes).into(),
            peer.last_error.clone().into(),
        ]
    };
    let columns = Columns {
        titles: ["NAME", "ADDRESS", "ENDPOINT", "STATE", "RTT", "LOSS", "IN", "OUT", "LAST ERROR"],
        long: &["ENDPOINT", "LAST ERROR"],
    };
    if peers.is_empty() {
        out.notice("no neighbours; dial one with `rouse peer add udp:HOST:PORT`");
    }
    out.line(&columns.table(out.width(), &peers.iter().map(row).collect::<Vec<_>>()), &peers)
}

pub(super) async fn routes(client: &Client, out: &Output, peer: Option<&str>) -> Result<(), CommandFailure> {
    let routes = match peer {
        Some(peer) => client.routes_to(address::resolve(client, peer).await?).await?,
        None => client.routes().await?,
    };
    let row = |route: &Route| {
        let state = match route.state {
            RouteState::Active => "active",
            RouteState::Standby => "standby",
            RouteState::Avoided => "avoided",
            RouteState::Infeasible => "infeasible",
            RouteState::Retracted => "retracted",
        };
        [
            route.name.clone().into(),
            route.destination.into(),
            route.next_hop.into(),
            route.metric.to_string().into(),
            route.hops.to_string().into(),
            seconds(route.age_s).into(),
            state.into(),
        ]
    };
    let columns = Columns {
        titles: ["NAME", "DESTINATION", "NEXT HOP", "METRIC", "HOPS", "AGE", "STATE"],
        long: &["NEXT HOP"],
    };
    if routes.is_empty() {
        out.notice("no routes");
    }
    out.line(&columns.table(out.width(), &routes.iter().map(row).collect::<Vec<_>>()), &routes)
}

/// An event with its time, as one flat document.
#[derive(Serialize)]
pub(crate) struct Stamped<'a> {
    pub(crate) at: Timestamp,
    #[serde(flatten)]
    pub(crate) event: &'a Event,
}

pub(super) async fn watch(search: &Search, out: &Output) -> Result<(), CommandFailure> {
    reconnect::through_restarts(search, out, None, async |client: Client| watch_at(&client, out).await).await
}

/// Prints the events over one connection.
async fn watch_at(client: &Client, out: &Output) -> Result<(), CommandFailure> {
    let mut events = client.events();
    while let Some((at, event)) = events.next().await {
        out.line(
            &out.safe_line(&format!("{at} {}", event_text(out, &event))),
            &Stamped { at, event: &event },
        )?;
    }
    Err(events.failure().cloned().unwrap_or(ClientError::Stopped).into())
}

fn event_text(out: &Output, event: &Event) -> String {
    let show = |address: &Address| out.address(address);
    match event {
        Event::NeighbourUp { address, endpoint } => format!("neighbour up: {} at {endpoint}", show(address)),
        Event::NeighbourDown { address, endpoint, reason } => {
            format!("neighbour down: {} at {endpoint}: {reason}", show(address))
        }
        Event::NeighbourMoved { address, endpoint } => {
            format!("neighbour moved: {} is at {endpoint}", show(address))
        }
        Event::RouteChanged { destination, next_hop: Some(next_hop), metric, hops } => {
            let (to, over) = (show(destination), show(next_hop));
            let metric = or_nothing(*metric);
            let hops = hops.map_or_else(|| "unknown hops".to_owned(), |hops| counted(hops.into(), "hop"));
            format!("route to {to}: over {over}, metric {metric}, {hops}")
        }
        Event::RouteChanged { destination, next_hop: None, .. } => {
            format!("route to {}: lost", show(destination))
        }
        Event::MessageReceived { id, from, bytes, .. } => {
            format!("message {id} from {}, {bytes} B", show(from))
        }
        Event::MessageDelivered { id, to, elapsed_us } => {
            format!("message {id} delivered to {} after {:.2} ms", show(to), milliseconds(*elapsed_us))
        }
        Event::MessageExpired { id, to } => format!("message {id} to {} expired", show(to)),
        Event::NetmodState { uri, state, error } => {
            let state = match state {
                NetmodState::Up => "up",
                NetmodState::Retrying => "retrying",
                NetmodState::Down => "down",
            };
            let error = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            format!("network module {uri} {state}{error}")
        }
        Event::Drop { cause, count } => format!("dropped {count}: {cause}"),
        event => format!("{event:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rouse_core::Identity;

    #[test]
    fn an_event_is_one_flat_document() {
        let event = Event::MessageExpired {
            id: "00000000000000000000000000000007".parse().unwrap(),
            to: Identity::from_seed(&[1; 32]).address(),
        };
        let json = serde_json::to_value(Stamped { at: Timestamp(0), event: &event }).unwrap();
        assert_eq!(json["at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(json["event"], "message_expired");
        assert_eq!(json["id"], "00000000000000000000000000000007");
    }
}
