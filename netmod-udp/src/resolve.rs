//! The resolution of a peer, as the user wrote it, to endpoints, and the text of an endpoint.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};

use rouse_core::netmod::{Endpoint, NetmodError};

use crate::config::{DEFAULT_PORT, Host, HostPort};
use crate::discovery::interfaces;
use crate::mix::mix;

/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

fn no_peer(peer: &str, why: &str) -> NetmodError {
    NetmodError::Invalid(format!("\"{peer}\" is no peer: {why}"))
}

/// Parses the host and port of a peer. The error is for a text that could not be a peer in any network.
fn parse(peer: &str) -> Result<(Host<'_>, u16), NetmodError> {
    let parts = HostPort::parse(peer).map_err(|why| no_peer(peer, &why))?;
    let port = parts.port.unwrap_or(DEFAULT_PORT);
    match parts.host {
        _ if port == 0 => Err(no_peer(peer, "port 0 cannot be dialled")),
        Host::V6(ip, None) if ip.is_unicast_link_local() => {
            Err(no_peer(peer, &format!("a link-local address needs its interface: [{ip}%eth0]:{port}")))
        }
        host => Ok((host, port)),
    }
}

/// Checks that `peer` can be dialled at all: `192.0.2.7:7700`, `[fe80::1%eth0]:7700`, `host.example`. Names are not
/// looked up, because they may exist later.
///
/// # Errors
///
/// [`NetmodError::Invalid`], with the reason.
pub fn check_peer(peer: &str) -> Result<(), NetmodError> {
    let (host, port) = parse(peer)?;
    let address = match host {
        Host::V4(ip) => SocketAddr::new(ip.into(), port),
        Host::V6(ip, None) => SocketAddr::new(ip.into(), port),
        // Hosts and interfaces with these names may appear later.
        Host::V6(_, Some(_)) | Host::Name(_) => return Ok(()),
    };
    check(&canonical(address)).map_err(|error| no_peer(peer, &error.to_string()))
}

/// The endpoints of `peer`, best first. An address needs no look-up; a name is looked up on another thread, because the
/// system's resolver blocks.
pub(crate) async fn resolve(peer: &str) -> Result<Vec<Endpoint>, NetmodError> {
    let invalid = |why: String| no_peer(peer, &why);
    let (host, port) = parse(peer)?;
    let found = match host {
        Host::V4(ip) => vec![SocketAddr::new(ip.into(), port)],
        Host::V6(ip, None) => vec![SocketAddr::new(ip.into(), port)],
        Host::V6(ip, Some(zone)) => {
            let zone = zone.to_owned();
            let scope = blocking::unblock(move || interfaces::index_of(&zone)).await.map_err(&invalid)?;
            vec![SocketAddrV6::new(ip, port, 0, scope).into()]
        }
        Host::Name(name) => {
            let named = |error: io::Error| {
                NetmodError::Retry(io::Error::new(error.kind(), format!("{name}: {error}")))
            };
            let name = name.to_owned();
            // The order is that of the system's resolver, which takes the host's own addresses into account (RFC 6724).
            let found =
                blocking::unblock(move || (name.as_str(), port).to_socket_addrs()).await.map_err(named)?;
            found.collect()
        }
    };
    let mut endpoints = Vec::new();
    for address in
        found.into_iter().map(canonical).filter(|address| check(address).is_ok()).take(MAX_ADDRESSES)
    {
        let endpoint = Endpoint::from(address);
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    if endpoints.is_empty() {
        Err(invalid("it has no address of a single host".to_owned()))
    } else {
        Ok(endpoints)
    }
}

/// An IPv4-mapped IPv6 address as the IPv4 address, because the IPv6 socket carries no IPv4; any other address as it
/// is.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Checks that frames may be sent to this address. An address that the kernel would refuse as malformed must not reach
/// it, because its error (EINVAL) is also the one for a train that it cannot segment, and quinn-udp would then stop to
/// use segmentation for the whole socket.
pub(crate) fn check(address: &SocketAddr) -> Result<(), io::Error> {
    let fault = match address {
        address if address.port() == 0 => "port 0 cannot be dialled",
        address if address.ip().is_unspecified() || address.ip().is_multicast() => {
            "not the address of one host"
        }
        SocketAddr::V4(v4) if matches!(v4.ip().octets()[0], 0 | 240..) => "not the address of one host",
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => "an IPv4-mapped IPv6 address",
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
            "a link-local address without its interface"
        }
        _ => return Ok(()),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, fault))
}

/// The URI of an endpoint. `name_of` returns the name of an interface.
pub(crate) fn describe(endpoint: &Endpoint, name_of: impl Fn(u32) -> Option<String>) -> String {
    match endpoint.to_socket_addr() {
        Some(SocketAddr::V6(v6)) if v6.scope_id() != 0 => match name_of(v6.scope_id()) {
            Some(name) => format!("udp:[{}%{name}]:{}", v6.ip(), v6.port()),
            None => format!("udp:{v6}"),
        },
        Some(address) => format!("udp:{address}"),
        None => format!("udp:{endpoint:?}"),
    }
}

/// A key that the addresses of one IPv4 /24 or one IPv6 /64 share and no others have. The link-local addresses of each
/// interface count as a /64 of their own.
pub(crate) fn quota_key(endpoint: &Endpoint) -> u64 {
    let prefix = match endpoint.to_socket_addr() {
        // ::/8 is reserved (RFC 4291, 2.4), so the small numbers are free for IPv4.
        Some(SocketAddr::V4(v4)) => 1 << 32 | u64::from(v4.ip().to_bits() >> 8),
        Some(SocketAddr::V6(v6)) => {
            let [a, b, c, d, ..] = v6.ip().segments();
            let prefix =
                [a, b, c, d].into_iter().fold(0, |prefix, segment| prefix << 16 | u64::from(segment));
            prefix ^ u64::from(v6.scope_id())
        }
        None => return u64::MAX,
    };
    mix(prefix)
}

/// A key that the ports of one IP address share. A link-local address has another key on each interface.
pub(crate) fn host_key(endpoint: &Endpoint) -> u64 {
    match endpoint.to_socket_addr() {
        Some(SocketAddr::V4(v4)) => mix(1 << 32 | u64::from(v4.ip().to_bits())),
        Some(SocketAddr::V6(v6)) => {
            let bits = v6.ip().to_bits();
            mix(mix((bits >> 64) as u64 ^ u64::from(v6.scope_id())) ^ bits as u64)
        }
        None => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(peer: &str) -> Vec<String> {
        let found = async_io::block_on(resolve(peer)).unwrap();
        found.iter().map(|endpoint| describe(endpoint, |_| None)).collect()
    }

    fn endpoint(text: &str) -> Endpoint {
        Endpoint::from(text.parse::<SocketAddr>().unwrap())
    }

    #[test]
    fn an_address_resolves_to_itself_and_the_port_may_be_left_out() {
        assert_eq!(addresses("192.0.2.7:7001"), ["udp:192.0.2.7:7001"]);
        assert_eq!(addresses("192.0.2.7"), ["udp:192.0.2.7:7700"]);
        assert_eq!(addresses("udp:[2001:db8::7]:7001"), ["udp:[2001:db8::7]:7001"]);
        assert_eq!(addresses("[2001:db8::7]"), ["udp:[2001:db8::7]:7700"]);
        assert_eq!(addresses("[::ffff:192.0.2.7]:7001"), ["udp:192.0.2.7:7001"]);
        assert_eq!(addresses("[fe80::7%12]:7001"), ["udp:[fe80::7%12]:7001"]);
    }

    #[test]
    fn an_interface_may_be_given_by_its_name() {
        let lo = interfaces::index_of("lo").unwrap();
        let found = async_io::block_on(resolve("[fe80::7%lo]:7001")).unwrap();
        assert_eq!(
            found,
            [Endpoint::from(SocketAddr::from(SocketAddrV6::new("fe80::7".parse().unwrap(), 7001, 0, lo)))]
        );
        assert_eq!(describe(&found[0], |_| Some("lo".into())), "udp:[fe80::7%lo]:7001");
    }

    #[test]
    fn a_name_is_looked_up() {
        let found = addresses("localhost:7001");
        assert!(found.contains(&"udp:127.0.0.1:7001".to_owned()), "{found:?}");
    }

    #[test]
    fn a_name_that_does_not_resolve_may_resolve_later() {
        // A label of more than 63 letters, which resolvers refuse without a query (RFC 1035, 2.3.4).
        let name = "n".repeat(64);
        let error = async_io::block_on(resolve(&name)).unwrap_err();
        assert!(matches!(error, NetmodError::Retry(_)), "{error:?}");
        assert!(error.to_string().contains(&name), "{error}");
    }

    #[test]
    fn an_invalid_peer_is_refused_with_the_reason() {
        for (peer, word) in [
            ("", "missing"),
            (":7700", "missing"),
            ("192.0.2.7:0", "port 0"),
            ("192.0.2.7:x", "no port"),
            ("2001:db8::7", "brackets"),
            ("[fe80::7]:7700", "interface"),
            ("[fe80::7%no-such-interface]:7700", "no-such-interface"),
            ("[::]:7700", "single host"),
            ("0.0.0.0:7700", "single host"),
            ("239.0.0.1:7700", "single host"),
            ("255.255.255.255", "single host"),
        ] {
            let error = async_io::block_on(resolve(peer)).unwrap_err();
            assert!(matches!(error, NetmodError::Invalid(_)), "{peer}: {error:?}");
            assert!(error.to_string().contains(word), "{peer}: {error}");
        }
    }

    #[test]
    fn the_ports_of_one_ip_address_are_one_host() {
        let key = |text: &str| host_key(&endpoint(text));
        assert_eq!(key("192.0.2.7:7700"), key("192.0.2.7:9"));
        assert_eq!(key("[2001:db8::7]:7700"), key("[2001:db8::7]:9"));
        let hosts = ["192.0.2.7:1", "192.0.2.8:1", "[2001:db8::7]:1", "[2001:db8::8]:1", "[2001:db8:1::7]:1"];
        let keys: std::collections::HashSet<u64> = hosts.into_iter().map(key).collect();
        assert_eq!(keys.len(), hosts.len(), "other addresses are other hosts");
        let local = |scope| {
            let address = std::net::SocketAddrV6::new("fe80::7".parse().unwrap(), 7700, 0, scope);
            host_key(&Endpoint::from(SocketAddr::from(address)))
        };
        assert_ne!(local(2), local(3), "the same link-local address on two interfaces is two hosts");
    }

    #[test]
    fn addresses_that_share_a_prefix_share_a_quota() {
        let key = |text: &str| quota_key(&endpoint(text));
        assert_eq!(key("192.0.2.7:1"), key("192.0.2.200:2"));
        assert_ne!(key("192.0.2.7:1"), key("192.0.3.7:1"));
        assert_eq!(key("[2001:db8::7]:1"), key("[2001:db8::ffff:8]:2"));
        assert_ne!(key("[2001:db8::7]:1"), key("[2001:db8:0:1::7]:1"));
        assert_ne!(key("[fe80::7%1]:1"), key("[fe80::7%2]:1"));
        assert_ne!(key("[::1]:1"), key("127.0.0.1:1"));
    }
}
