//! The selection of the source address of a frame. The answer to a frame is sent from the address that the frame was
//! sent to, because a firewall, a NAT or the neighbour's own table of dials knows this host by that address only.
//!
//! The endpoint of a received frame carries that address. An endpoint that is dialled carries none, and the kernel
//! chooses.

use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use rouse_core::netmod::Endpoint;

/// The time for which an address is not used after the kernel has refused it as a source. Until then the kernel chooses
/// the source; later the address is tried again, since it may be back.
const REFUSED: Duration = Duration::from_secs(10);

/// The most refused addresses that are remembered. Forgetting one too early costs one more system call for a frame.
const MAX_REFUSED: usize = 64;

/// The endpoint `from`, with the address of this host that its frame was sent to.
pub(crate) fn attach(from: Endpoint, sent_to: Option<IpAddr>) -> Endpoint {
    match sent_to {
        // A group or broadcast address is no address of this host, so no frame can be sent from it.
        Some(ip) if ip.is_multicast() || ip.is_unspecified() => from,
        Some(IpAddr::V4(ip)) if !ip.is_broadcast() => from.arrived_at(&ip.octets()),
        Some(IpAddr::V6(ip)) => from.arrived_at(&ip.octets()),
        _ => from,
    }
}

/// The address of this host that the frame from `endpoint` was sent to, if it carries one.
pub(crate) fn of(endpoint: &Endpoint) -> Option<IpAddr> {
    let local = endpoint.local();
    let v4 = || <[u8; 4]>::try_from(local).ok().map(IpAddr::from);
    v4().or_else(|| <[u8; 16]>::try_from(local).ok().map(IpAddr::from))
}

/// The addresses that the kernel has refused as a source: they were removed from the host, or they are broadcast
/// addresses of a network, which cannot be recognised by their form.
#[derive(Debug, Default)]
pub(crate) struct RefusedSources(RwLock<Vec<(IpAddr, Instant)>>);

impl RefusedSources {
    /// Whether `ip` was refused less than [`REFUSED`] ago.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        let refused = self.0.read().unwrap_or_else(PoisonError::into_inner);
        refused.iter().any(|(known, until)| *known == ip && *until > Instant::now())
    }

    /// Records that `ip` was refused while the kernel's own choice was not.
    pub(crate) fn insert(&self, ip: IpAddr) {
        let now = Instant::now();
        let mut refused = self.0.write().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|(known, until)| *known != ip && *until > now);
        if refused.len() >= MAX_REFUSED {
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
    fn an_endpoint_carries_the_address_that_the_frame_was_sent_to_unless_it_is_shared() {
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
    fn the_number_of_refused_addresses_is_bounded() {
        let refused = RefusedSources::default();
        let address = |n: u32| IpAddr::from(Ipv4Addr::from(n));
        for n in 0..1000 {
            refused.insert(address(n));
            refused.insert(address(n));
            assert!(refused.contains(address(n)));
        }
        assert!(refused.contains(address(1000 - u32::try_from(MAX_REFUSED).unwrap())));
        assert!(!refused.contains(address(0)));
        assert_eq!(refused.0.read().unwrap().len(), MAX_REFUSED);
    }
}
