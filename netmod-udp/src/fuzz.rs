//! Entry points for the fuzzers and the cost table: beacons from the network and texts from users. This is no public
//! interface and may change at any time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rouse_core::netmod::{Endpoint, Heard};

use crate::UdpConfig;
use crate::config::{Host, HostPort};
use crate::discovery::beacon::{BeaconError, LENGTH, decode, encode};
use crate::discovery::recent::{MAX_ENDPOINTS, RecentBeacons, Verdict};
use crate::resolve::{check, describe, host_key, quota_key};

/// Decodes a datagram as a beacon, in an open mesh and in two closed ones.
///
/// A beacon that is accepted begins with the bytes that its sender encoded, and no beacon is accepted in two meshes.
pub fn beacon(data: &[u8]) {
    let (first, other) = ([7; 32], [8; 32]);
    let mut accepted = 0;
    for key in [None, Some(&first), Some(&other)] {
        let heard = decode(data, key);
        if let Ok(instance) = heard {
            assert_eq!(data.get(..LENGTH), Some(&encode(instance, key)[..]));
            accepted += 1;
        }
        let whole = data.len() >= LENGTH && data.starts_with(b"rous\x01");
        assert_eq!(heard == Err(BeaconError::Malformed), !whole);
    }
    assert!(accepted <= 1, "a beacon of two meshes");
    if let Some(head) = data.first_chunk() {
        let instance = u64::from_le_bytes(*head);
        assert_eq!(decode(&encode(instance, Some(&first)), Some(&first)), Ok(instance));
        assert_eq!(decode(&encode(instance, Some(&first)), None), Err(BeaconError::Foreign));
    }
}

/// Beacons of an open mesh and of closed ones, one of them with bytes that a later version might append.
pub fn beacons() -> Vec<Vec<u8>> {
    let longer = [encode(1, None).as_slice(), b"more"].concat();
    vec![encode(1, None).into(), encode(2, Some(&[7; 32])).into(), encode(3, Some(&[9; 32])).into(), longer]
}

/// Parses a text as a listen address and as a peer, and bytes as an endpoint.
///
/// An address and a port that were parsed are printed so that they parse as the same.
pub fn text(data: &[u8]) {
    if let Some(endpoint) = Endpoint::new(data) {
        let address = endpoint.to_socket_addr();
        assert!(!describe(&endpoint, |index| Some(format!("if{index}"))).is_empty());
        quota_key(&endpoint);
        host_key(&endpoint);
        if let Some(address) = address {
            let _ = check(&address);
            assert_eq!(Endpoint::from(address).to_socket_addr(), Some(address));
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(config) = UdpConfig::listen_on(text)
        && !matches!(config.listen, SocketAddr::V6(v6) if v6.scope_id() != 0)
    {
        let again = UdpConfig::listen_on(&format!("udp:{}", config.listen));
        assert_eq!(again.ok().map(|again| again.listen), Some(config.listen));
    }
    if let Ok(HostPort { host, port: Some(port) }) = HostPort::parse(text) {
        let printed = match host {
            Host::V4(ip) => format!("{ip}:{port}"),
            Host::V6(ip, None) => format!("[{ip}]:{port}"),
            Host::V6(ip, Some(zone)) => format!("[{ip}%{zone}]:{port}"),
            Host::Name(name) => format!("{name}:{port}"),
        };
        assert_eq!(HostPort::parse(&printed), Ok(HostPort { host, port: Some(port) }));
    }
}

/// A receiver of beacons with a clock that is set by hand, for the cost table.
pub struct BeaconReceiver {
    recent: RecentBeacons,
    now: Instant,
}

impl BeaconReceiver {
    /// A receiver without any beacon yet.
    pub fn new() -> Self {
        let now = Instant::now();
        BeaconReceiver { recent: RecentBeacons::new(now), now }
    }

    /// Senders that it may remember.
    pub const fn most_senders() -> usize {
        MAX_ENDPOINTS
    }

    /// Handles a datagram on the port of the beacons and returns whether it would be reported to the node.
    pub fn receive(&mut self, from: SocketAddr, datagram: &[u8]) -> bool {
        let Ok(instance) = decode(datagram, None) else { return false };
        self.recent.record(Heard { endpoint: from.into(), instance }, 1, self.now) != Verdict::Limited
    }

    /// Advances the clock.
    pub fn advance(&mut self, span: Duration) {
        self.now += span;
    }
}

impl Default for BeaconReceiver {
    fn default() -> Self {
        BeaconReceiver::new()
    }
}
