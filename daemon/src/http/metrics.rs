//! The metrics of a node in the text format of OpenMetrics 1.0.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode as encode_text;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use rouse_core::{Level, Mesh, NetmodState, NetmodStatus, Peer, PeerState, Queued, Status};

use super::snapshot::Snapshot;

/// The type of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text of the metrics.
pub(super) fn encode(snapshot: &Snapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(NodeMetrics {
        status: snapshot.status.clone(),
        peers: snapshot.peers.clone(),
    }));
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode_text(&mut text, &registry);
    text
}

#[derive(Debug)]
struct NodeMetrics {
    status: Status,
    peers: Vec<Peer>,
}

/// The description of a metric with labels.
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    unit: Option<Unit>,
}

impl Collector for NodeMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.node(&mut encoder)?;
        self.netmods(&mut encoder)?;
        self.neighbours(&mut encoder)?;
        self.counters(&mut encoder)
    }
}

impl NodeMetrics {
    /// The node, its tables and its queues.
    fn node(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let status = &self.status;
        let info = [("version", status.version.clone()), ("address", status.address.to_string())];
        let family = Family { name: "rouse_node", help: "The node; the value is 1", unit: None };
        gauges(encoder, &family, [(info.to_vec(), 1.0)])?;
        let closed = if status.mesh == Mesh::Closed { 1.0 } else { 0.0 };
        let problems = |level| status.health.iter().filter(|health| health.level == level).count() as f64;
        let queue = |queue: &Queued| (queue.messages as f64, queue.bytes as f64);
        let ((inbox, inbox_bytes), (outbox, outbox_bytes)) = (queue(&status.inbox), queue(&status.outbox));
        let dead_letters = status.dead_letters.messages as f64;
        for (name, help, unit, value) in [
            ("rouse_uptime", "Time since the start of the node", Some(Unit::Seconds), status.uptime_s as f64),
            (
                "rouse_mesh_closed",
                "Whether only nodes with the key of the mesh become neighbours",
                None,
                closed,
            ),
            ("rouse_neighbours", "Neighbours with a link", None, status.neighbours as f64),
            ("rouse_routes", "Destinations with a route in use", None, status.routes as f64),
            ("rouse_inbox_messages", "Messages that no application has received", None, inbox),
            ("rouse_inbox", "Their bodies", Some(Unit::Bytes), inbox_bytes),
            ("rouse_dead_letters", "Messages that were given up after 16 attempts", None, dead_letters),
            ("rouse_outbox_messages", "Messages that wait for a receipt", None, outbox),
            ("rouse_outbox", "Their bodies", Some(Unit::Bytes), outbox_bytes),
            ("rouse_warnings", "Conditions of which the user should know", None, problems(Level::Warn)),
            ("rouse_errors", "Conditions that need an action", None, problems(Level::Error)),
        ] {
            gauges(encoder, &Family { name, help, unit }, [(Vec::new(), value)])?;
        }
        Ok(())
    }

    fn netmods(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let netmods = &self.status.netmods;
        let label = |netmod: &NetmodStatus| vec![("uri", netmod.uri.clone())];
        let up = |netmod: &NetmodStatus| if netmod.state == NetmodState::Up { 1.0 } else { 0.0 };
        let family =
            Family { name: "rouse_netmod_up", help: "Whether the network module is open", unit: None };
        gauges(encoder, &family, netmods.iter().map(|netmod| (label(netmod), up(netmod))))?;
        let directions = |netmod: &NetmodStatus, [rx, tx]: [u64; 2]| {
            [("in", rx), ("out", tx)].map(|(direction, count)| {
                ([label(netmod), vec![("direction", direction.to_owned())]].concat(), count)
            })
        };
        let family = Family { name: "rouse_netmod_frames", help: "Frames of the network module", unit: None };
        let frames = |netmod: &NetmodStatus| directions(netmod, [netmod.rx_frames, netmod.tx_frames]);
        counters(encoder, &family, netmods.iter().flat_map(frames))?;
        let family =
            Family { name: "rouse_netmod", help: "Bytes of the network module", unit: Some(Unit::Bytes) };
        let bytes = |netmod: &NetmodStatus| directions(netmod, [netmod.rx_bytes, netmod.tx_bytes]);
        counters(encoder, &family, netmods.iter().flat_map(bytes))
    }

    fn neighbours(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let labels = |peer: &Peer| {
            let address = peer.address.map(|address| address.to_string()).unwrap_or_default();
            vec![("address", address), ("endpoint", peer.endpoint.clone())]
        };
        let up = |peer: &Peer| if peer.state == PeerState::Up { 1.0 } else { 0.0 };
        let family =
            Family { name: "rouse_peer_up", help: "Whether the peer has a link that works", unit: None };
        gauges(encoder, &family, self.peers.iter().map(|peer| (labels(peer), up(peer))))?;
        let family = Family {
            name: "rouse_peer_round_trip",
            help: "The smoothed round trip of the link",
            unit: Some(Unit::Seconds),
        };
        let rtt = |peer: &Peer| peer.rtt_ms.map(|rtt| (labels(peer), rtt / 1000.0));
        gauges(encoder, &family, self.peers.iter().filter_map(rtt))?;
        let family = Family {
            name: "rouse_peer_loss",
            help: "The share of frames that are lost on the link",
            unit: Some(Unit::Ratios),
        };
        let loss = |peer: &Peer| peer.loss.map(|loss| (labels(peer), loss));
        gauges(encoder, &family, self.peers.iter().filter_map(loss))
    }

    /// The counters of the node by name, and its drops by cause.
    fn counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, count) in &self.status.counters {
            let name = format!("rouse_{name}");
            counters(
                encoder,
                &Family { name: &name, help: "See `rouse status`", unit: None },
                [(Vec::new(), *count)],
            )?;
        }
        let family = Family {
            name: "rouse_drops",
            help: "Drops by cause; see section 10 of the specification",
            unit: None,
        };
        let drop = |(cause, count): (&String, &u64)| (vec![("cause", cause.clone())], *count);
        counters(encoder, &family, self.status.drops.iter().map(drop))
    }
}

type Labels = Vec<(&'static str, String)>;

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family<'_>,
    values: impl IntoIterator<Item = (Labels, f64)>,
) -> fmt::Result {
    samples(encoder, family, MetricType::Gauge, values, ConstGauge::new)
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family<'_>,
    values: impl IntoIterator<Item = (Labels, u64)>,
) -> fmt::Result {
    samples(encoder, family, MetricType::Counter, values, ConstCounter::new)
}

fn samples<N, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family<'_>,
    kind: MetricType,
    values: impl IntoIterator<Item = (Labels, N)>,
    make: impl Fn(N) -> M,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(family.name, family.help, family.unit.as_ref(), kind)?;
    for (labels, value) in values {
        let sample = make(value);
        if labels.is_empty() {
            // A metric without labels has one value.
            return sample.encode(metric);
        }
        sample.encode(metric.encode_family(&labels.as_slice())?)?;
    }
    Ok(())
}
