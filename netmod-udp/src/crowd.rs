//! Who was heard lately. It bounds what a flood of beacons can ask of the node, and tells who is new. Pure: the time is
//! handed in.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rouse_core::netmod::{Endpoint, Heard};

/// The most endpoints that are remembered; of more the one heard least lately is forgotten.
const MAX_ENDPOINTS: usize = 1024;

/// The most endpoints of one host that are remembered: so many nodes may run there. Who invents more fills no more.
const MAX_OF_HOST: usize = 32;

/// How often one endpoint is reported at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// After how long of silence an endpoint is forgotten: four beacons may be lost.
const EXPIRY: Duration = Duration::from_secs(120);

/// How many endpoints that are not remembered are reported: so many at once, so many each second after that.
const BURST: u32 = 256;
const RATE: u32 = 64;

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

/// Who was heard lately.
#[derive(Debug)]
pub(crate) struct Crowd {
    reported: HashMap<Endpoint, (u64, Instant)>,
    /// How many strangers may be reported now, and since when that holds.
    strangers: u32,
    since: Instant,
}

impl Crowd {
    pub(crate) fn new(now: Instant) -> Self {
        Crowd { reported: HashMap::new(), strangers: BURST, since: now }
    }

    /// Takes note of a beacon.
    pub(crate) fn hear(&mut self, heard: Heard, now: Instant) -> Verdict {
        if let Some((instance, last)) = self.reported.get_mut(&heard.endpoint) {
            let silence = now.saturating_duration_since(*last);
            if silence < INTERVAL {
                return Verdict::Limited;
            }
            let known = *instance == heard.instance && silence < EXPIRY;
            (*instance, *last) = (heard.instance, now);
            return if known { Verdict::Known } else { Verdict::New };
        }
        if self.is_crowded(&heard.endpoint, now) || !self.admit(now) {
            return Verdict::Limited;
        }
        if self.reported.len() >= MAX_ENDPOINTS {
            self.make_room(now);
        }
        // The same node may be heard on many ways.
        let known = self.reported.values().any(|&(instance, last)| {
            instance == heard.instance && now.saturating_duration_since(last) < EXPIRY
        });
        self.reported.insert(heard.endpoint, (heard.instance, now));
        if known { Verdict::Known } else { Verdict::New }
    }

    /// Whether as many are known on the same host as there may be.
    fn is_crowded(&self, endpoint: &Endpoint, now: Instant) -> bool {
        let Some(host) = host(endpoint) else { return false };
        let lately = |last: Instant| now.saturating_duration_since(last) < EXPIRY;
        let there = self
            .reported
            .iter()
            .filter(|(known, (_, last))| self::host(known) == Some(host) && lately(*last));
        there.take(MAX_OF_HOST).count() >= MAX_OF_HOST
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

    fn make_room(&mut self, now: Instant) {
        self.reported.retain(|_, (_, last)| now.saturating_duration_since(*last) < EXPIRY);
        if self.reported.len() >= MAX_ENDPOINTS {
            let oldest = self.reported.iter().min_by_key(|(endpoint, (_, last))| (*last, **endpoint));
            if let Some(endpoint) = oldest.map(|(endpoint, _)| *endpoint) {
                self.reported.remove(&endpoint);
            }
        }
    }
}

/// The host of an endpoint: its address and, for a link-local one, the interface.
fn host(endpoint: &Endpoint) -> Option<(IpAddr, u32)> {
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
        let mut crowd = Crowd::new(start);
        assert_eq!(crowd.hear(heard(1, 7), start), Verdict::New);
        for (milliseconds, verdict) in [
            (0, Verdict::Limited),
            (999, Verdict::Limited),
            (1000, Verdict::Known),
            (1999, Verdict::Limited),
            (2000, Verdict::Known),
        ] {
            assert_eq!(crowd.hear(heard(1, 7), start + Duration::from_millis(milliseconds)), verdict);
        }
    }

    #[test]
    fn a_node_that_starts_again_is_new_and_one_on_another_way_is_not() {
        let start = Instant::now();
        let mut crowd = Crowd::new(start);
        assert_eq!(crowd.hear(heard(1, 7), start), Verdict::New);
        assert_eq!(crowd.hear(heard(2, 7), start), Verdict::Known);
        assert_eq!(crowd.hear(heard(1, 8), start + SECOND), Verdict::New);
        assert_eq!(crowd.hear(heard(1, 8), start + SECOND + EXPIRY), Verdict::New);
    }

    #[test]
    fn a_flood_of_strangers_is_bounded_and_does_not_silence_who_is_known() {
        let start = Instant::now();
        let mut crowd = Crowd::new(start);
        crowd.hear(heard(0, 0), start);
        let mut reported = 0;
        for stranger in 1..=60_000 {
            let now = start + Duration::from_millis(stranger.into());
            if stranger % 1000 == 0 {
                assert_eq!(crowd.hear(heard(0, 0), now), Verdict::Known);
            }
            reported += u32::from(crowd.hear(heard(stranger, stranger.into()), now) != Verdict::Limited);
        }
        assert!((60 * RATE..=BURST + 60 * RATE).contains(&reported), "{reported}");
        assert!(crowd.reported.len() <= MAX_ENDPOINTS);
    }

    #[test]
    fn one_host_alone_cannot_fill_the_crowd() {
        let start = Instant::now();
        let mut crowd = Crowd::new(start);
        let at = |host: &str, port: u16| Heard {
            endpoint: SocketAddr::new(host.parse().unwrap(), port).into(),
            instance: port.into(),
        };
        let heard =
            (1..5000).filter(|&port| crowd.hear(at("192.0.2.1", port), start) == Verdict::New).count();
        assert_eq!(heard, MAX_OF_HOST);
        // It has used up nothing that others need.
        assert_eq!(crowd.hear(at("192.0.2.2", 6001), start), Verdict::New);
        assert_eq!(crowd.hear(at("192.0.2.1", 6000), start + EXPIRY), Verdict::New, "the others have gone");
    }

    #[test]
    fn the_one_heard_least_lately_makes_room() {
        let start = Instant::now();
        let mut crowd = Crowd::new(start);
        for endpoint in 0..=u32::try_from(MAX_ENDPOINTS).unwrap() {
            crowd.hear(heard(endpoint, 1), start + SECOND * endpoint / 20);
        }
        assert_eq!(crowd.reported.len(), MAX_ENDPOINTS);
        assert!(!crowd.reported.contains_key(&heard(0, 1).endpoint));
    }
}
