//! `status`, `peers`, `routes` and `watch`, which show the state of the node.

use std::collections::BTreeMap;

use futures::StreamExt;
use rouse_core::ipc::ClientError;
use rouse_core::{Client, Event, Level, NetmodState, Peer, PeerState, Route, RouteState, Status, Timestamp};
use serde::Serialize;

use super::address;
use super::failure::CommandFailure;
use super::output::{Colour, Output};
use super::table::{or_nothing, table};
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
        text.push_str(&format!("  {name}"));
    }
    text.push_str(&format!("\nversion {}, up {}\n", status.version, seconds(status.uptime_s)));
    let waiting = &status.journal;
    text.push_str(&format!(
        "{}, {}, {} waiting ({})\n\n",
        counted(status.neighbours, "neighbour"),
        counted(status.routes, "route"),
        counted(waiting.messages, "message"),
        bytes(waiting.bytes)
    ));
    let rows = status.netmods.iter().map(|netmod| {
        let state = match netmod.state {
            NetmodState::Up => "up",
            NetmodState::Retrying => "retrying",
            NetmodState::Down => "down",
        };
        [
            netmod.uri.clone(),
            state.to_owned(),
            netmod.mtu.to_string(),
            format!("{} ({})", netmod.rx_frames, bytes(netmod.rx_bytes)),
            format!("{} ({})", netmod.tx_frames, bytes(netmod.tx_bytes)),
            or_nothing(netmod.last_error.as_ref().map(|error| out.untrusted(error))),
        ]
    });
    let titles = ["NETMOD", "STATE", "MTU", "FRAMES IN", "FRAMES OUT", "LAST ERROR"];
    text.push_str(&table(titles, rows.collect()));
    for netmod in &status.netmods {
        text.push_str(&counts_text(&netmod.uri, &netmod.counters));
    }
    for (title, counts) in [("counters", &status.counters), ("drops", &status.drops)] {
        text.push_str(&counts_text(title, counts));
    }
    for health in &status.health {
        let (word, colour) = match health.level {
            Level::Ok => ("ok", Colour::Green),
            Level::Warn => ("warn", Colour::Yellow),
            Level::Error => ("error", Colour::Red),
        };
        text.push_str(&format!("\n{}: {}", out.paint(word, colour), out.untrusted(&health.text)));
        if !health.hint.is_empty() {
            text.push_str(&format!("; {}", out.untrusted(&health.hint)));
        }
    }
    text
}

fn counts_text(title: &str, counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<String> =
        counts.iter().filter(|(_, n)| **n > 0).map(|(name, n)| format!("{name} {n}")).collect();
    if counts.is_empty() { String::new() } else { format!("\n{title}: {}", counts.join(", ")) }
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
            or_nothing(peer.name.as_ref()),
            or_nothing(peer.address),
            peer.endpoint.clone(),
            peer_state(peer.state).to_owned(),
            or_nothing(peer.rtt_ms.map(|rtt| format!("{rtt:.2} ms"))),
            or_nothing(peer.loss.map(|loss| format!("{:.0} %", loss * 100.0))),
            bytes(peer.rx_bytes),
            bytes(peer.tx_bytes),
            or_nothing(peer.last_error.as_ref().map(|error| out.untrusted(error))),
        ]
    };
    let titles = ["NAME", "ADDRESS", "ENDPOINT", "STATE", "RTT", "LOSS", "IN", "OUT", "LAST ERROR"];
    if peers.is_empty() {
        out.notice("no neighbours yet; dial one with `rouse peer add udp:HOST:PORT`");
    }
    out.line(&table(titles, peers.iter().map(row).collect()), &peers)
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
            or_nothing(route.name.as_ref()),
            route.destination.to_string(),
            route.next_hop.short(),
            route.metric.to_string(),
            route.hops.to_string(),
            seconds(route.age_s),
            state.to_owned(),
        ]
    };
    let titles = ["NAME", "DESTINATION", "NEXT HOP", "METRIC", "HOPS", "AGE", "STATE"];
    if routes.is_empty() {
        out.notice("no routes");
    }
    out.line(&table(titles, routes.iter().map(row).collect()), &routes)
}

/// An event with its time, as one flat document.
#[derive(Serialize)]
struct Stamped<'a> {
    at: Timestamp,
    #[serde(flatten)]
    event: &'a Event,
}

pub(super) async fn watch(client: &Client, out: &Output) -> Result<(), CommandFailure> {
    let mut events = client.events();
    while let Some((at, event)) = events.next().await {
        out.line(&format!("{at} {}", out.untrusted(&event_text(&event))), &Stamped { at, event: &event })?;
    }
    // The stream ends without an error when it was refused or the daemon is gone; a request shows which.
    match client.status().await {
        Ok(_) => Err(ClientError::Busy.into()),
        Err(_) => Err(ClientError::Stopped.into()),
    }
}

fn event_text(event: &Event) -> String {
    match event {
        Event::NeighbourUp { address, endpoint } => format!("neighbour up: {address} at {endpoint}"),
        Event::NeighbourDown { address, endpoint, reason } => {
            format!("neighbour down: {address} at {endpoint}: {reason}")
        }
        Event::RouteChanged { destination, next_hop: Some(next_hop), metric, hops } => {
            let (metric, hops) = (or_nothing(*metric), or_nothing(*hops));
            format!("route to {destination}: over {}, metric {metric}, {hops} hops", next_hop.short())
        }
        Event::RouteChanged { destination, next_hop: None, .. } => {
            format!("route to {destination}: none any more")
        }
        Event::MessageReceived { id, from, bytes, .. } => format!("message {id} from {from}, {bytes} B"),
        Event::MessageDelivered { id, to, elapsed_us } => {
            format!("message {id} delivered to {to} after {:.2} ms", milliseconds(*elapsed_us))
        }
        Event::MessageExpired { id, to } => format!("message {id} to {to} expired"),
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
