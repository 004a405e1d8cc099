//! Endpoints: the handle by which a network module names a destination for its frames, and its limits.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{SocketAddr, SocketAddrV6};

/// The shortest MTU that a netmod may have, in bytes, because a handshake message has to fit.
pub const MIN_MTU: usize = 512;

/// A netmod's own handle for a destination, at most [`Endpoint::MAX`] bytes. Only the netmod can interpret it: print it
/// with `Netmod::describe`.
///
/// The endpoint of a received frame may also carry its *local part* ([`Endpoint::arrived_at`]), for example the local
/// address to which the frame was sent, so that the answer leaves from the same address. The local part affects sending
/// only: two endpoints are equal if they are the same destination.
#[derive(Clone, Copy)]
pub struct Endpoint {
    length: u8,
    local: u8,
    /// The destination in the first `length` bytes, the local part in the next `local` bytes.
    bytes: [u8; Endpoint::MAX + Endpoint::MAX_LOCAL],
}

impl Endpoint {
    /// The most bytes that a destination may have.
    pub const MAX: usize = 22;

    /// The most bytes that a local part may have: an IPv6 address.
    pub const MAX_LOCAL: usize = 16;

    /// A handle made of `bytes`; `None` if they are more than [`Endpoint::MAX`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let length = u8::try_from(bytes.len()).ok().filter(|_| bytes.len() <= Endpoint::MAX)?;
        let mut endpoint = Endpoint { length, local: 0, bytes: [0; Endpoint::MAX + Endpoint::MAX_LOCAL] };
        endpoint.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(endpoint)
    }

    /// The same destination with a local part; unchanged if that is more than [`Endpoint::MAX_LOCAL`] bytes.
    #[must_use]
    pub fn arrived_at(mut self, local: &[u8]) -> Self {
        let from = usize::from(self.length);
        let Ok(length) = u8::try_from(local.len()) else { return self };
        if local.len() <= Endpoint::MAX_LOCAL
            && let Some(target) = self.bytes.get_mut(from..from.saturating_add(local.len()))
        {
            target.copy_from_slice(local);
            self.local = length;
        }
        self
    }

    /// The bytes of the destination.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&[])
    }

    /// The local part; empty if it is unknown, as for an endpoint that was not received from.
    pub fn local(&self) -> &[u8] {
        let from = usize::from(self.length);
        self.bytes.get(from..from.saturating_add(usize::from(self.local))).unwrap_or(&[])
    }

    /// The IP socket address from which it was made, if it was.
    pub fn to_socket_addr(&self) -> Option<SocketAddr> {
        let bytes = self.as_bytes();
        let port = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        match bytes.len() {
            6 => {
                let ip: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
                Some(SocketAddr::from((ip, port(4)?)))
            }
            22 => {
                let ip: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
                let scope = u32::from_be_bytes(bytes.get(18..22)?.try_into().ok()?);
                Some(SocketAddrV6::new(ip.into(), port(16)?, 0, scope).into())
            }
            _ => None,
        }
    }
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Endpoint {}

impl Hash for Endpoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Ord for Endpoint {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.length, self.as_bytes()).cmp(&(other.length, other.as_bytes()))
    }
}

impl PartialOrd for Endpoint {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoint(")?;
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// An IP socket address as a handle: 6 bytes for IPv4, 22 for IPv6 with its scope.
impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        let mut bytes = [0; Endpoint::MAX + Endpoint::MAX_LOCAL];
        let port = address.port().to_be_bytes();
        let length = match address {
            SocketAddr::V4(v4) => {
                bytes[..4].copy_from_slice(&v4.ip().octets());
                bytes[4..6].copy_from_slice(&port);
                6
            }
            SocketAddr::V6(v6) => {
                bytes[..16].copy_from_slice(&v6.ip().octets());
                bytes[16..18].copy_from_slice(&port);
                bytes[18..22].copy_from_slice(&v6.scope_id().to_be_bytes());
                22
            }
        };
        Endpoint { length, local: 0, bytes }
    }
}

/// An announcement of a node that can be dialled. It is a hint only, because it is not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The endpoint to dial.
    pub endpoint: Endpoint,
    /// A random number that the node drew when it started. It is the same on every path to the node.
    pub instance: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_address_survives_as_an_endpoint() {
        let v6 = SocketAddrV6::new("fe80::1".parse().unwrap(), 7700, 0, 3);
        for address in ["192.0.2.7:7700".parse().unwrap(), SocketAddr::from(v6)] {
            assert_eq!(Endpoint::from(address).to_socket_addr(), Some(address));
            let arrived = Endpoint::from(address).arrived_at(&[7; 16]);
            assert_eq!((arrived.to_socket_addr(), arrived.local()), (Some(address), &[7; 16][..]));
        }
        assert_eq!(Endpoint::new(b"abc").unwrap().to_socket_addr(), None);
        assert_eq!(Endpoint::new(&[0; Endpoint::MAX + 1]), None);
    }

    #[test]
    fn the_local_part_does_not_distinguish_endpoints() {
        let place = Endpoint::new(b"place").unwrap();
        let arrived = place.arrived_at(b"by this way");
        assert_eq!((place, place.cmp(&arrived)), (arrived, Ordering::Equal));
        assert!(std::collections::HashSet::from([place]).contains(&arrived));
        assert_eq!((place.local(), arrived.local()), (&b""[..], &b"by this way"[..]));
        assert_eq!(arrived.arrived_at(b"").local(), b"");
        assert_eq!(place.arrived_at(&[0; Endpoint::MAX_LOCAL + 1]).local(), b"");
        assert_ne!(Endpoint::new(b"place1"), Some(place.arrived_at(b"1")));
    }
}
