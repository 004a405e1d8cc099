//! From which of this host's addresses a frame leaves. The answer to a frame leaves from the address that the frame was written
//! to: a firewall, a NAT or the neighbour's own table of dials knows this host by that address only.
//!
//! The endpoint that a frame came from carries that address. A place that is dialled carries none, and the kernel chooses.

use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use rouse_core::netmod::Endpoint;

/// How long an address that the kernel has refused as a source is left alone. It may be back by then; until then the kernel
/// chooses.
const REFUSED: Duration = Duration::from_secs(10);

/// The most refused addresses that are remembered. Of one that is forgotten too early, a frame costs one call more.
const MOST: usize = 64;

/// The endpoint `from`, with the address that its frame was written to.
pub(crate) fn attach(from: Endpoint, written_to: Option<IpAddr>) -> Endpoint {
    match written_to {
        // What was written to a group came to many, and none of them has that address.
        Some(ip) if ip.is_multicast() || ip.is_unspecified() => from,
        Some(IpAddr::V4(ip)) if !ip.is_broadcast() => from.arrived_at(&ip.octets()),
        Some(IpAddr::V6(ip)) => from.arrived_at(&ip.octets()),
        _ => from,
    }
}

/// The address that the frame from `endpoint` was written to.
pub(crate) fn of(endpoint: &Endpoint) -> Option<IpAddr> {
    let local = endpoint.local();
    let v4 = || <[u8; 4]>::try_from(local).ok().map(IpAddr::from);
    v4().or_else(|| <[u8; 16]>::try_from(local).ok().map(IpAddr::from))
}

/// The addresses that the kernel has refused to send from: they have left the host, or never were addresses of it alone (the
/// broadcast address of a network).
#[derive(Debug, Default)]
pub(crate) struct RefusedSources(RwLock<Vec<(IpAddr, Instant)>>);

impl RefusedSources {
    /// Whether `ip` was refused a short time ago.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        let refused = self.0.read().unwrap_or_else(PoisonError::into_inner);
        refused.iter().any(|(known, until)| *known == ip && *until > Instant::now())
    }

    /// `ip` was refused now, while the kernel's own choice was not.
    pub(crate) fn insert(&self, ip: IpAddr) {
        let now = Instant::now();
        let mut refused = self.0.write().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|(known, until)| *known != ip && *until > now);
        if refused.len() >= MOST {
            refused.remove(0);
        }
        refused.push((ip, now + REFUSED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr};

    #[test]
    fn an_endpoint_carries_the_address_that_was_written_to_if_it_is_one_of_this_host_alone() {
        for (from, to, carried) in [
            ("192.0.2.7:7700", "192.0.2.1", true),
            ("192.0.2.7:7700", "255.255.255.255", false),
            ("192.0.2.7:7700", "239.114.111.117", false),
            ("192.0.2.7:7700", "0.0.0.0", false),
            ("[2001:db8::7]:7700", "2001:db8::1", true),
            ("[fe80::7%3]:7700", "fe80::1", true),
            ("[fe80::7%3]:7700", "ff02::726f:7573", false),
        ] {
            let from = Endpoint::from(from.parse::<SocketAddr>().unwrap());
            let to: IpAddr = to.parse().unwrap();
            let endpoint = attach(from, Some(to));
            assert_eq!(endpoint, from);
            assert_eq!(of(&endpoint), carried.then_some(to), "{to}");
        }
        assert_eq!(of(&Endpoint::from(SocketAddr::from(([192, 0, 2, 7], 7700)))), None);
    }

    #[test]
    fn refused_addresses_are_remembered_in_bounds() {
        let refused = RefusedSources::default();
        let address = |n: u32| IpAddr::from(Ipv4Addr::from(n));
        for n in 0..1000 {
            refused.insert(address(n));
            refused.insert(address(n));
            assert!(refused.contains(address(n)));
        }
        assert!(refused.contains(address(1000 - u32::try_from(MOST).unwrap())));
        assert!(!refused.contains(address(0)));
        assert_eq!(refused.0.read().unwrap().len(), MOST);
    }
}
