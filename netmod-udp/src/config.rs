//! The configuration of a UDP netmod, and the parsing of listen addresses and peers. It is read once, when the netmod
//! is created.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use rouse_core::netmod::NetmodError;
use zeroize::Zeroizing;

use crate::discovery::interfaces;

/// The port that a node listens on unless it is configured, and at which a peer without a port is dialled.
pub const DEFAULT_PORT: u16 = 7700;

/// The IPv6 group that beacons are sent to. It is link-local, and its last four bytes spell `rous`.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0x726f, 0x7573);

/// The IPv4 group that beacons are sent to. It is administratively scoped (RFC 2365), and its last three bytes spell
/// `rou`.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 114, 111, 117);

/// The port that beacons are sent to.
pub const GROUP_PORT: u16 = 7701;

/// The configuration of a [`Udp`](crate::Udp).
#[derive(Clone, PartialEq, Eq)]
pub struct UdpConfig {
    /// The address to listen on. `[::]` means IPv6 and IPv4, on the same port; `0.0.0.0` means IPv4 alone; any other
    /// address means that address alone. Port 0 means any free one.
    pub listen: SocketAddr,
    /// The name of the interface of a link-local address to listen on. It is looked up each time that the netmod opens,
    /// because the interface may appear later or have another number by then.
    pub zone: Option<String>,
    /// Whether to use a free port when `listen` has the [`DEFAULT_PORT`] and another program has taken it. Any other
    /// port that is taken is an error.
    pub default_port_fallback: bool,
    /// Whether to send beacons and to listen for those of other nodes.
    pub discover: bool,
    /// The interfaces for beacons, as patterns of their names: `*` stands for any run of letters, `?` for one. A
    /// pattern that begins with `!` excludes; if all patterns exclude, all other interfaces are selected.
    pub interfaces: Vec<String>,
    /// The IPv6 group of the beacons; [`GROUP_V6`] but in tests.
    pub group_v6: Ipv6Addr,
    /// The IPv4 group of the beacons; [`GROUP_V4`] but in tests.
    pub group_v4: Ipv4Addr,
    /// The port of the beacons; [`GROUP_PORT`] but in tests.
    pub group_port: u16,
    /// The key of a closed mesh. Beacons are tagged with it, and beacons with another tag are ignored. Without a key,
    /// only beacons without a tag are accepted.
    pub mesh_key: Option<Zeroizing<[u8; 32]>>,
    /// Whether trains are handed to the kernel whole (GSO). When it is off, each frame costs a system call; it exists
    /// for network cards with a driver that segments wrongly.
    pub segmentation_offload: bool,
}

impl Default for UdpConfig {
    fn default() -> Self {
        UdpConfig {
            listen: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), DEFAULT_PORT),
            zone: None,
            default_port_fallback: true,
            discover: true,
            interfaces: vec!["*".to_owned()],
            group_v6: GROUP_V6,
            group_v4: GROUP_V4,
            group_port: GROUP_PORT,
            mesh_key: None,
            segmentation_offload: true,
        }
    }
}

/// The key of the mesh is not printed.
impl fmt::Debug for UdpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpConfig")
            .field("listen", &self.listen)
            .field("zone", &self.zone)
            .field("default_port_fallback", &self.default_port_fallback)
            .field("discover", &self.discover)
            .field("interfaces", &self.interfaces)
            .field("group_v6", &self.group_v6)
            .field("group_v4", &self.group_v4)
            .field("group_port", &self.group_port)
            .field("mesh_key", &self.mesh_key.as_ref().map(|_| "…"))
            .field("segmentation_offload", &self.segmentation_offload)
            .finish()
    }
}

impl UdpConfig {
    /// The defaults with the listen address `listen`: `udp:[::]:7700`, `127.0.0.1:7001`, `[fe80::1%eth0]`, `0.0.0.0:0`.
    /// Without a port, it is the default one, or a free one when that is taken; a port that is given has to be free.
    ///
    /// # Errors
    ///
    /// [`NetmodError::Invalid`] when `listen` is no IP address with an optional port.
    pub fn listen_on(listen: &str) -> Result<Self, NetmodError> {
        let (listen, zone, given) = parse_listen(listen)?;
        Ok(UdpConfig { listen, zone, default_port_fallback: !given, ..UdpConfig::default() })
    }

    /// The same configuration with the number that the interface has now.
    pub(crate) fn with_interface_number(&self) -> io::Result<Self> {
        let mut numbered = self.clone();
        if let (Some(zone), SocketAddr::V6(v6)) = (&self.zone, &mut numbered.listen) {
            let missing = |error| io::Error::new(io::ErrorKind::AddrNotAvailable, error);
            v6.set_scope_id(interfaces::index_of(zone).map_err(missing)?);
        }
        Ok(numbered)
    }

    /// The listen address as a URI.
    pub(crate) fn listen_uri(&self) -> String {
        match (&self.zone, self.listen) {
            (Some(zone), SocketAddr::V6(v6)) => format!("udp:[{}%{zone}]:{}", v6.ip(), v6.port()),
            _ => format!("udp:{}", self.listen),
        }
    }
}

/// The address to listen on, the name of its interface, and whether it had a port.
fn parse_listen(text: &str) -> Result<(SocketAddr, Option<String>, bool), NetmodError> {
    let invalid = |why: String| NetmodError::Invalid(format!("cannot listen on \"{text}\": {why}"));
    let parts = HostPort::parse(text).map_err(&invalid)?;
    let given = parts.port.is_some();
    let port = parts.port.unwrap_or(DEFAULT_PORT);
    let mut name = None;
    let address = match parts.host {
        Host::V4(ip) => SocketAddr::new(ip.into(), port),
        Host::V6(ip, None) => SocketAddr::new(ip.into(), port),
        Host::V6(ip, Some(zone)) => {
            let scope = zone.parse().ok();
            name = scope.is_none().then(|| zone.to_owned());
            SocketAddrV6::new(ip, port, 0, scope.unwrap_or_default()).into()
        }
        Host::Name(_) => {
            return Err(invalid("an IP address is needed here, like [::] or 127.0.0.1".to_owned()));
        }
    };
    match address.ip() {
        ip if ip.is_multicast() => {
            Err(invalid("this is a multicast group, not the address of a host".to_owned()))
        }
        IpAddr::V4(ip) if ip.is_broadcast() => {
            Err(invalid("this is the broadcast address, not the address of a host".to_owned()))
        }
        _ => Ok((address, name, given)),
    }
}

/// `HOST:PORT` in its parts. The host is not looked up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HostPort<'a> {
    pub(crate) host: Host<'a>,
    pub(crate) port: Option<u16>,
}

/// The host of a peer or listen address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    V4(Ipv4Addr),
    /// An IPv6 address with its zone, which is the name or number of an interface.
    V6(Ipv6Addr, Option<&'a str>),
    Name(&'a str),
}

impl<'a> HostPort<'a> {
    /// Parses `text`, which may begin with `udp:`. The error is a reason for the user.
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        let text = text.trim();
        let text = text.strip_prefix("udp:").unwrap_or(text);
        if let Some(rest) = text.strip_prefix('[') {
            let (literal, rest) = rest.split_once(']').ok_or("a bracket is not closed")?;
            let (ip, zone) = match literal.split_once('%') {
                Some((_, "")) => return Err("an interface is missing after the \"%\"".to_owned()),
                Some((ip, zone)) => (ip, Some(zone)),
                None => (literal, None),
            };
            let ip = ip.parse().map_err(|_| format!("\"{ip}\" is no IPv6 address"))?;
            let port = match rest.strip_prefix(':') {
                Some(port) => Some(parse_port(port)?),
                None if rest.is_empty() => None,
                None => return Err(format!("\"{rest}\" after the bracket is no port")),
            };
            return Ok(HostPort { host: Host::V6(ip, zone), port });
        }
        let (host, port) = match text.split_once(':') {
            Some((_, rest)) if rest.contains(':') => {
                return Err("an IPv6 address stands in brackets: [2001:db8::7]:7700".to_owned());
            }
            Some((host, port)) => (host, Some(parse_port(port)?)),
            None => (text, None),
        };
        if let Ok(ip) = host.parse() {
            return Ok(HostPort { host: Host::V4(ip), port });
        }
        check_name(host)?;
        Ok(HostPort { host: Host::Name(host), port })
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = if digits { text.parse().ok() } else { None };
    port.ok_or_else(|| format!("\"{text}\" is no port, a number up to 65535"))
}

/// Refuses a text that no resolver could look up, so that the user learns of a typing error at once rather than of a
/// host that cannot be reached.
fn check_name(name: &str) -> Result<(), String> {
    let legal =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') || !byte.is_ascii();
    if name.is_empty() {
        Err("the host is missing".to_owned())
    } else if name.len() > 253 || !name.bytes().all(legal) {
        Err(format!("\"{name}\" is no host name"))
    } else if name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        Err(format!("\"{name}\" is no IPv4 address"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> (String, bool) {
        let config = UdpConfig::listen_on(text).unwrap();
        (config.listen.to_string(), config.default_port_fallback)
    }

    #[test]
    fn a_listen_address_may_have_a_scheme_and_lack_a_port() {
        assert_eq!(listen("[::]:7700"), ("[::]:7700".into(), false));
        assert_eq!(listen("udp:127.0.0.1:7001"), ("127.0.0.1:7001".into(), false));
        assert_eq!(listen("udp:[::]"), ("[::]:7700".into(), true));
        assert_eq!(listen("0.0.0.0"), ("0.0.0.0:7700".into(), true));
        assert_eq!(listen("[::1%1]:9"), ("[::1%1]:9".into(), false));
    }

    #[test]
    fn an_invalid_listen_address_is_refused_with_the_reason() {
        for (text, word) in [
            ("", "missing"),
            ("localhost:7700", "IP address"),
            ("::1:7700", "brackets"),
            ("[::1:7700", "closed"),
            ("[::1]7700", "no port"),
            ("127.0.0.1:70000", "65535"),
            ("127.0.0.1:", "65535"),
            ("127.0.0.1:+1", "65535"),
            ("127.0.0.999:1", "IPv4"),
            ("[::1%]:1", "interface"),
            ("[ff02::1]:1", "group"),
            ("255.255.255.255:1", "broadcast"),
            ("tcp:127.0.0.1:1", "brackets"),
            ("bad host:1", "no host name"),
        ] {
            let error = UdpConfig::listen_on(text).unwrap_err();
            assert!(matches!(error, NetmodError::Invalid(_)), "{text}: {error:?}");
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn an_interface_may_appear_later_and_have_another_number_each_time() {
        let config = UdpConfig::listen_on("udp:[fe80::1%no-such-interface]:1").unwrap();
        assert_eq!(config.listen_uri(), "udp:[fe80::1%no-such-interface]:1");
        let error = config.with_interface_number().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        assert!(error.to_string().contains("no-such-interface"), "{error}");
        let SocketAddr::V6(numbered) =
            UdpConfig::listen_on("[fe80::1%lo]").unwrap().with_interface_number().unwrap().listen
        else {
            panic!("IPv6")
        };
        assert_eq!(numbered.scope_id(), interfaces::index_of("lo").unwrap());
    }

    #[test]
    fn the_key_of_the_mesh_is_not_printed() {
        let config = UdpConfig { mesh_key: Some([0xab; 32].into()), ..UdpConfig::default() };
        assert!(!format!("{config:?}").contains("171"));
    }
}
