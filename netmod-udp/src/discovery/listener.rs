//! A socket that receives the beacons of one interface and one address family. Every node of a host has its own on the
//! same port, and each of them receives every beacon.
//!
//! There is one socket for each interface because Linux binds a socket with a link-local group to one interface, and
//! because it allows no more than 20 IPv4 groups a socket (`igmp_max_memberships`).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::task::{Context, Poll, ready};

use async_io::Async;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

/// The multicast groups of the beacons, one for each family, and their port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
    pub(crate) port: u16,
}

impl Group {
    /// The address that beacons are sent to on the interface with this number.
    pub(crate) fn address(&self, index: u32, v6: bool) -> SocketAddr {
        if v6 { SocketAddrV6::new(self.v6, self.port, 0, index).into() } else { (self.v4, self.port).into() }
    }
}

/// A socket that has joined the multicast group on one interface.
pub(crate) struct MulticastListener {
    /// The number of the interface.
    pub(crate) index: u32,
    pub(crate) v6: bool,
    io: Async<UdpSocket>,
    ready: bool,
}

impl MulticastListener {
    /// Joins `group` on the interface with this number.
    pub(crate) fn open(group: &Group, index: u32, v6: bool) -> io::Result<Self> {
        let address = group.address(index, v6);
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        // Several nodes of one host listen on this port, and each socket gets a copy of a multicast datagram. On Linux
        // SO_REUSEADDR is enough, while SO_REUSEPORT would allow programs of one user only; the BSDs need the latter.
        socket.set_reuse_address(true)?;
        #[cfg(not(target_os = "linux"))]
        socket.set_reuse_port(true)?;
        if v6 {
            socket.set_only_v6(true)?;
        }
        // Without this the socket would also receive the groups that other sockets of the host have joined elsewhere.
        #[cfg(target_os = "linux")]
        if v6 {
            // This option exists since Linux 4.20; before that, binding to the interface has the same effect.
            socket.set_multicast_all_v6(false).ok();
        } else {
            socket.set_multicast_all_v4(false)?;
        }
        socket.bind(&address.into())?;
        if v6 {
            socket.join_multicast_v6(&group.v6, index)?;
        } else {
            socket.join_multicast_v4_n(&group.v4, &InterfaceIndexOrAddress::Index(index))?;
        }
        Ok(MulticastListener { index, v6, io: Async::new(socket.into())?, ready: true })
    }

    /// Receives the next datagram and returns its length and source.
    pub(crate) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        loop {
            if !self.ready {
                ready!(self.io.poll_readable(cx))?;
                self.ready = true;
            }
            match self.io.get_ref().recv_from(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => return Poll::Ready(received),
            }
        }
    }
}
