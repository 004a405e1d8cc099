//! Who was heard lately. It bounds what a flood of beacons can ask of the node, and tells who is new. Pure: the time is
//! handed in.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rouse_core::netmod::{Endpoint, Heard};

/// The most endpoints that are remembered; of more the one heard least lately is forgotten.
pub(crate) const MAX_ENDPOINTS: usize = 1024;

/// The most endpoints of one host that are remembered: so many nodes may run there. Who invents more fills no more.
pub(crate) const MAX_OF_HOST: usize = 32;

/// How often one endpoint is reported at most.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// After how long of silence an endpoint is forgotten: four beacons may be lost.
pub(crate) const EXPIRY: Duration = Duration::from_secs(120);

/// How many endpoints that are not remembered are reported: so many at once, so many each second after that.
pub(crate) const BURST: u32 = 256;
pub(crate) const RATE: u32 = 64;

/// An address and, for a link-local one, the interface.
type Host = (IpAddr, u32);

/// What to do about a beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Report it, and answer: its sender is new.
    New,
    /// Report it.
    Known,
    /// It came too soon after the last one, or with too many others.
    Limited,
}

/// A node by its instance, and the number of the interface that it was heard on.
type Node = (u64, u32);

/// Who was heard lately. No beacon has all of them looked through: each stranger of a flood would.
#[derive(Debug)]
pub(crate) struct RecentBeacons {
    reported: HashMap<Endpoint, RecentBeacon>,
    /// The same, the one heard least lately first.
    by_age: BTreeSet<(Instant, Endpoint)>,
    /// How many of them are on each host.
    hosts: HashMap<Host, usize>,
    /// How many of them are of each node.
    nodes: HashMap<Node, usize>,
    /// How many strangers may be reported now, and since when that holds.
    strangers: u32,
    since: Instant,
}

/// The last beacon from an endpoint.
#[derive(Clone, Copy, Debug)]
struct RecentBeacon {
    node: Node,
    last: Instant,
}

impl RecentBeacons {
    pub(crate) fn new(now: Instant) -> Self {
        let (reported, by_age, hosts, nodes) = Default::default();
        RecentBeacons { reported, by_age, hosts, nodes, strangers: BURST, since: now }
    }

    /// Takes note of a beacon that came in on the interface with this number.
    pub(crate) fn hear(&mut self, heard: Heard, interface: u32, now: Instant) -> Verdict {
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
        // The same node may have many endpoints on an interface.
        let known = self.nodes.contains_key(&node);
        self.remember(endpoint, RecentBeacon { node, last: now });
        if known { Verdict::Known } else { Verdict::New }
    }

    /// Whether as many are known on the same host as there may be.
    fn is_crowded(&self, endpoint: &Endpoint) -> bool {
        let known = host(endpoint).and_then(|host| self.hosts.get(&host));
        known.is_some_and(|known| *known >= MAX_OF_HOST)
    }

    /// Whether one more stranger may be reported (a token bucket).
    fn admit(&mut self, now: Instant) -> bool {
        let tokens = now.saturating_duration_since(self.since).as_millis() * u128::from(RATE) / 1000;
        if tokens > 0 {
            self.strangers = BURST.min(self.strangers.saturating_add(u32::try_from(tokens).unwrap_or(BURST)));
            self.since = now;
        }
        let admitted = self.strangers > 0;
        self.strangers = self.strangers.saturating_sub(1);
        admitted
    }

    /// Forgets who was not heard for long.
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

/// One less; what there is none of any more is not kept.
fn count_down<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The host of an endpoint.
fn host(endpoint: &Endpoint) -> Option<Host> {
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
        assert_eq!(recent.hear(heard(1, 7), 1, start), Verdict::New);
        for (milliseconds, verdict) in [
            (0, Verdict::Limited),
            (999, Verdict::Limited),
            (1000, Verdict::Known),
            (1999, Verdict::Limited),
            (2000, Verdict::Known),
        ] {
            assert_eq!(recent.hear(heard(1, 7), 1, start + Duration::from_millis(milliseconds)), verdict);
        }
    }

    #[test]
    fn a_node_that_starts_again_is_new_and_one_on_another_way_is_not() {
        let start = Instant::now();
        let mut recent = RecentBeacons::new(start);
        assert_eq!(recent.hear(heard(1, 7), 1, start), Verdict::New);
        assert_eq!(recent.hear(heard(2, 7), 1, start), Verdict::Known);
        assert_eq!(
            recent.hear(heard(3, 7), 2, start),
            Verdict::New,
            "it waits for an answer on each interface"
        );
        assert_eq!(recent.hear(heard(1, 8), 1, start + SECOND), Verdict::New);
        assert_eq!(recent.hear(heard(1, 8), 1, start + SECOND + EXPIRY), Verdict::New);
    }

    #[test]
    fn a_flood_of_strangers_is_bounded_and_does_not_silence_who_is_known() {
        let start = Instant::now();
        let mut recent = RecentBeacons::new(start);
        recent.hear(heard(0, 0), 1, start);
        let mut reported = 0;
        for stranger in 1..=60_000 {
            let now = start + Duration::from_millis(stranger.into());
            if stranger % 1000 == 0 {
                assert_eq!(recent.hear(heard(0, 0), 1, now), Verdict::Known);
            }
            reported += u32::from(recent.hear(heard(stranger, stranger.into()), 1, now) != Verdict::Limited);
        }
        assert!((60 * RATE..=BURST + 60 * RATE).contains(&reported), "{reported}");
        assert!(recent.reported.len() <= MAX_ENDPOINTS);
    }

    #[test]
    fn one_host_alone_cannot_fill_the_crowd() {
        let start = Instant::now();
        let mut recent = RecentBeacons::new(start);
        let at = |host: &str, port: u16| Heard {
            endpoint: SocketAddr::new(host.parse().unwrap(), port).into(),
            instance: port.into(),
        };
        let heard =
            (1..5000).filter(|&port| recent.hear(at("192.0.2.1", port), 1, start) == Verdict::New).count();
        assert_eq!(heard, MAX_OF_HOST);
        // It has used up nothing that others need.
        assert_eq!(recent.hear(at("192.0.2.2", 6001), 1, start), Verdict::New);
        assert_eq!(
            recent.hear(at("192.0.2.1", 6000), 1, start + EXPIRY),
            Verdict::New,
            "the others have gone"
        );
    }

    #[test]
    fn the_number_on_each_host_is_right_whoever_comes_and_goes() {
        let start = Instant::now();
        let mut recent = RecentBeacons::new(start);
        for n in 0..10_000_u32 {
            // Some hosts with many, and many with one, at all kinds of times.
            let host = if n % 3 == 0 { n } else { n % 7 };
            let port = u16::try_from(1 + n % 100).unwrap();
            let endpoint = SocketAddr::new(std::net::Ipv4Addr::from(host).into(), port).into();
            let now = start + Duration::from_millis(u64::from(n) * 50);
            recent.hear(Heard { endpoint, instance: u64::from(n) }, 1, now);
            if n % 100 == 0 {
                let mut counted: HashMap<Host, usize> = HashMap::new();
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
    fn the_one_heard_least_lately_makes_room() {
        let start = Instant::now();
        let mut recent = RecentBeacons::new(start);
        for endpoint in 0..=u32::try_from(MAX_ENDPOINTS).unwrap() {
            recent.hear(heard(endpoint, 1), 1, start + SECOND * endpoint / 20);
        }
        assert_eq!(recent.reported.len(), MAX_ENDPOINTS);
        assert!(!recent.reported.contains_key(&heard(0, 1).endpoint));
    }
}
