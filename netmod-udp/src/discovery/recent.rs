//! The beacons that were received in the last minutes. They bound the work that a flood of beacons causes, since each
//! beacon that is reported may start a handshake, and they show which senders are new.
//!
//! The module is pure: the time is a parameter.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rouse_core::netmod::{Endpoint, Heard};

/// The most endpoints that are remembered. When there are more, the one with the oldest last beacon is evicted.
pub(crate) const MAX_ENDPOINTS: usize = 1024;

/// The most endpoints of one host that are remembered, which is the number of nodes that may run there. The bound
/// exists so that one host cannot fill the table with endpoints that it invents.
pub(crate) const MAX_OF_HOST: usize = 32;

/// The least time between two reports of one endpoint.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// The time without a beacon after which an endpoint is forgotten. It allows for the loss of four beacons.
pub(crate) const EXPIRY: Duration = Duration::from_secs(120);

/// The token bucket of endpoints that are not remembered: its size, and the tokens that are added each second.
pub(crate) const BURST: u32 = 256;
pub(crate) const RATE: u32 = 64;

/// A host: an address and, for a link-local one, the number of the interface.
type HostAddress = (IpAddr, u32);

/// The decision on a beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The sender is new: report the beacon, and answer with one soon.
    New,
    /// The sender is known: report the beacon.
    Known,
    /// The beacon exceeds a limit and is dropped.
    Limited,
}

/// A node by its instance, and the number of the interface on which its beacon was received.
type Node = (u64, u32);

/// The endpoints from which beacons were received lately. No operation scans all entries, because each beacon of a
/// flood would cause such a scan.
#[derive(Debug)]
pub(crate) struct RecentBeacons {
    reported: HashMap<Endpoint, RecentBeacon>,
    /// The same endpoints by the time of their last beacon, oldest first.
    by_age: BTreeSet<(Instant, Endpoint)>,
    /// The number of entries of each host.
    hosts: HashMap<HostAddress, usize>,
    /// The number of entries of each node.
    nodes: HashMap<Node, usize>,
    /// The tokens for endpoints that are not remembered, and the time when tokens were last added.
    tokens: u32,
    refilled: Instant,
}

/// The last beacon of an endpoint.
#[derive(Clone, Copy, Debug)]
struct RecentBeacon {
    node: Node,
    last: Instant,
}

impl RecentBeacons {
    pub(crate) fn new(now: Instant) -> Self {
        let (reported, by_age, hosts, nodes) = Default::default();
        RecentBeacons { reported, by_age, hosts, nodes, tokens: BURST, refilled: now }
    }

    /// Records a beacon that was received on the interface with this number, and decides on it.
    pub(crate) fn record(&mut self, heard: Heard, interface: u32, now: Instant) -> Verdict {
        self.sweep(now);
        let (endpoint, node) = (heard.endpoint, (heard.instance, interface));
        if let Some(report) = self.reported.get(&endpoint) {
            if now.saturating_duration_since(report.last) < INTERVAL {
                return Verdict::Limited;
            }
            let known = report.node.0 == heard.instance;
            self.forget(&endpoint);
            self.remember(endpoint, RecentBeacon { node, last: now });
            return if known { Verdict::Known } else { Verdict::New };
        }
        if self.is_crowded(&endpoint) || !self.admit(now) {
            return Verdict::Limited;
        }
        if self.reported.len() >= MAX_ENDPOINTS
            && let Some((_, oldest)) = self.by_age.first().copied()
        {
            self.forget(&oldest);
        }
        // A node may have several endpoints on an interface, and one answer reaches all of them.
        let known = self.nodes.contains_key(&node);
        self.remember(endpoint, RecentBeacon { node, last: now });
        if known { Verdict::Known } else { Verdict::New }
    }

    /// Whether the host of this endpoint has as many entries as it may have.
    fn is_crowded(&self, endpoint: &Endpoint) -> bool {
        let known = host(endpoint).and_then(|host| self.hosts.get(&host));
        known.is_some_and(|known| *known >= MAX_OF_HOST)
    }

    /// Takes a token for an endpoint that is not remembered, if there is one.
    fn admit(&mut self, now: Instant) -> bool {
        let added = now.saturating_duration_since(self.refilled).as_millis() * u128::from(RATE) / 1000;
        if added > 0 {
            self.tokens = BURST.min(self.tokens.saturating_add(u32::try_from(added).unwrap_or(BURST)));
            self.refilled = now;
        }
        let admitted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        admitted
    }

    /// Forgets the endpoints that have sent no beacon for [`EXPIRY`].
    fn sweep(&mut self, now: Instant) {
        while let Some((last, endpoint)) = self.by_age.first().copied()
            && now.saturating_duration_since(last) >= EXPIRY
        {
            self.forget(&endpoint);
        }
    }

    fn remember(&mut self, endpoint: Endpoint, report: RecentBeacon) {
        self.reported.insert(endpoint, report);
        self.by_age.insert((report.last, endpoint));
        *self.nodes.entry(report.node).or_default() += 1;
        if let Some(host) = host(&endpoint) {
            *self.hosts.entry(host).or_default() += 1;
        }
    }

    fn forget(&mut self, endpoint: &Endpoint) {
        let Some(report) = self.reported.remove(endpoint) else { return };
        self.by_age.remove(&(report.last, *endpoint));
        count_down(&mut self.nodes, &report.node);
        if let Some(host) = host(endpoint) {
            count_down(&mut self.hosts, &host);
        }
    }
}

/// Decrements a count, and removes it when it is zero, so that the map stays as small as its content.
fn count_down<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The host of an endpoint, if it is a socket address.
fn host(endpoint: &Endpoint) -> Option<HostAddress> {
    match endpoint.to_socket_addr()? {
        SocketAddr::V4(v4) => Some(((*v4.ip()).into(), 0)),
        SocketAddr::V6(v6) => Some(((*v6.ip()).into(), v6.scope_id())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn heard(endpoint: u32, instance: u64) -> Heard {
        Heard { endpoint: Endpoint::new(&endpoint.to_be_bytes()).unwrap(), instance }
    }

    #[test]
    fn an_endpoint_is_reported_at_most_each_second() {
        let start = Instant::now();
        let mut recent = RecentBeacons::new(start);
        assert_eq!(recent.record(heard(1, 7), 1, start), Verdict::New);
        for (milliseconds, verdict) in [
            (0, Verdict::Limited),
            (999, Verdict::Limited),
            (1000, Verdict::Known),
            (1999, Verdict::Limited),
            (2000, Verdict::Known),
        ] {
            assert_eq!(recent.record(heard(1, 7), 1, start + Duration::from_millis(milliseconds)), verdict);
        }
    }

    #[test]
    fn a_node_that_restarts_is_new_and_one_at_another_endpoint_is_not() {
        let start = Instant::now();
        let mut recent = RecentBeacons::new(start);
        assert_eq!(recent.record(heard(1, 7), 1, start), Verdict::New);
        assert_eq!(recent.record(heard(2, 7), 1, start), Verdict::Known);
        assert_eq!(
            recent.record(heard(3, 7), 2, start),
            Verdict::New,
            "a node needs an answer on each interface"
        );
        assert_eq!(recent.record(heard(1, 8), 1, start + SECOND), Verdict::New);
        assert_eq!(recent.record(heard(1, 8), 1, start + SECOND + EXPIRY), Verdict::New);
    }

    #[test]
    fn a_flood_of_unknown_senders_is_bounded_and_does_not_silence_known_ones() {
        let start = Instant::now();
        let mut recent = RecentBeacons::new(start);
        recent.record(heard(0, 0), 1, start);
        let mut reported = 0;
        for stranger in 1..=60_000 {
            let now = start + Duration::from_millis(stranger.into());
            if stranger % 1000 == 0 {
                assert_eq!(recent.record(heard(0, 0), 1, now), Verdict::Known);
            }
            reported +=
                u32::from(recent.record(heard(stranger, stranger.into()), 1, now) != Verdict::Limited);
        }
        assert!((60 * RATE..=BURST + 60 * RATE).contains(&reported), "{reported}");
        assert!(recent.reported.len() <= MAX_ENDPOINTS);
    }

    #[test]
    fn one_host_alone_cannot_fill_the_table() {
        let start = Instant::now();
        let mut recent = RecentBeacons::new(start);
        let at = |host: &str, port: u16| Heard {
            endpoint: SocketAddr::new(host.parse().unwrap(), port).into(),
            instance: port.into(),
        };
        let heard =
            (1..5000).filter(|&port| recent.record(at("192.0.2.1", port), 1, start) == Verdict::New).count();
        assert_eq!(heard, MAX_OF_HOST);
        // The host has used up no tokens and no places that others need.
        assert_eq!(recent.record(at("192.0.2.2", 6001), 1, start), Verdict::New);
        assert_eq!(
            recent.record(at("192.0.2.1", 6000), 1, start + EXPIRY),
            Verdict::New,
            "the others have gone"
        );
    }

    #[test]
    fn the_counts_of_hosts_and_nodes_match_the_entries_after_any_sequence_of_beacons() {
        let start = Instant::now();
        let mut recent = RecentBeacons::new(start);
        for n in 0..10_000_u32 {
            // A few hosts have many endpoints, and many hosts have one, at times in between.
            let host = if n % 3 == 0 { n } else { n % 7 };
            let port = u16::try_from(1 + n % 100).unwrap();
            let endpoint = SocketAddr::new(std::net::Ipv4Addr::from(host).into(), port).into();
            let now = start + Duration::from_millis(u64::from(n) * 50);
            recent.record(Heard { endpoint, instance: u64::from(n) }, 1, now);
            if n % 100 == 0 {
                let mut counted: HashMap<HostAddress, usize> = HashMap::new();
                let hosts = recent.reported.keys().filter_map(super::host);
                hosts.for_each(|host| *counted.entry(host).or_default() += 1);
                assert_eq!(recent.hosts, counted);
                let mut nodes: HashMap<Node, usize> = HashMap::new();
                recent.reported.values().for_each(|report| *nodes.entry(report.node).or_default() += 1);
                assert_eq!(recent.nodes, nodes);
                assert_eq!(recent.by_age.len(), recent.reported.len());
            }
            assert!(recent.reported.len() <= MAX_ENDPOINTS);
            assert!(recent.hosts.values().all(|known| *known <= MAX_OF_HOST));
        }
    }

    #[test]
    fn the_endpoint_with_the_oldest_beacon_is_evicted() {
        let start = Instant::now();
        let mut recent = RecentBeacons::new(start);
        for endpoint in 0..=u32::try_from(MAX_ENDPOINTS).unwrap() {
            recent.record(heard(endpoint, 1), 1, start + SECOND * endpoint / 20);
        }
        assert_eq!(recent.reported.len(), MAX_ENDPOINTS);
        assert!(!recent.reported.contains_key(&heard(0, 1).endpoint));
    }
}
