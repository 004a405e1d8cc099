//! What the fuzzers reach into: beacons of strangers, and what people type. No promises, no use to anybody else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rouse_core::netmod::{Endpoint, Heard};

use crate::UdpConfig;
use crate::config::{Host, HostPort};
use crate::discovery::beacon::{BeaconError, LENGTH, decode, encode};
use crate::discovery::recent::{RecentBeacons, Verdict};
use crate::resolve::{check, describe, host_key, quota_key};

/// Hears a datagram on the port of the beacons, in an open mesh and in closed ones.
///
/// What is heeded is, up to what a later version appends, the beacon that its sender wrote; no beacon is of two meshes.
pub fn beacon(data: &[u8]) {
    let (first, other) = ([7; 32], [8; 32]);
    let mut heeded = 0;
    for key in [None, Some(&first), Some(&other)] {
        let heard = decode(data, key);
        if let Ok(instance) = heard {
            assert_eq!(data.get(..LENGTH), Some(&encode(instance, key)[..]));
            heeded += 1;
        }
        let whole = data.len() >= LENGTH && data.starts_with(b"rous\x01");
        assert_eq!(heard == Err(BeaconError::Malformed), !whole);
    }
    assert!(heeded <= 1, "a beacon of two meshes");
    if let Some(head) = data.first_chunk() {
        let instance = u64::from_le_bytes(*head);
        assert_eq!(decode(&encode(instance, Some(&first)), Some(&first)), Ok(instance));
        assert_eq!(decode(&encode(instance, Some(&first)), None), Err(BeaconError::Foreign));
    }
}

/// Beacons of an open mesh and of closed ones, one with what a later version might append.
pub fn beacons() -> Vec<Vec<u8>> {
    let longer = [encode(1, None).as_slice(), b"more"].concat();
    vec![encode(1, None).into(), encode(2, Some(&[7; 32])).into(), encode(3, Some(&[9; 32])).into(), longer]
}

/// Reads a text as somewhere to listen and as a peer, and bytes as an endpoint.
///
/// What reads as an address and a port is printed so that it reads as the same.
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

/// What hears beacons, with a clock that is set by hand: for the cost table.
pub struct BeaconReceiver {
    recent: RecentBeacons,
    now: Instant,
}

impl BeaconReceiver {
    /// It has heard nothing yet.
    pub fn new() -> Self {
        let now = Instant::now();
        BeaconReceiver { recent: RecentBeacons::new(now), now }
    }

    /// Hears a datagram on the port of the beacons; whether a node is told of it.
    pub fn hear(&mut self, from: SocketAddr, datagram: &[u8]) -> bool {
        let Ok(instance) = decode(datagram, None) else { return false };
        self.recent.hear(Heard { endpoint: from.into(), instance }, 1, self.now) != Verdict::Limited
    }

    /// Lets time pass.
    pub fn pass(&mut self, span: Duration) {
        self.now += span;
    }
}

impl Default for BeaconReceiver {
    fn default() -> Self {
        BeaconReceiver::new()
    }
}
