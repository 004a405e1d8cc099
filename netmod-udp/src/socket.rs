//! The unicast sockets: how they are bound, their buffers, and the offloads that quinn-udp has found for them.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use async_io::Async;
use futures::channel::oneshot;
use futures::future::{FutureExt, Shared};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use crate::config::{DEFAULT_PORT, UdpConfig};
use crate::error;
use crate::notes::{NotesByTopic, Topic};
use crate::source_address::RefusedSources;

/// The wanted size of a socket's buffers, in bytes: some 30 ms at a gigabit a second.
const BUFFER: usize = 4 << 20;

/// The number of attempts to find a port that is free for IPv6 and IPv4.
const PAIR_ATTEMPTS: u32 = 16;

/// A unicast socket of one address family.
pub(crate) struct Socket {
    pub(crate) io: Async<UdpSocket>,
    pub(crate) local: SocketAddr,
    /// Addresses of this host that the kernel refused as a source.
    pub(crate) refused: RefusedSources,
    state: RwLock<UdpSocketState>,
    offload: bool,
}

impl Socket {
    fn new(socket: UdpSocket, offload: bool) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = socket.local_addr()?;
        let refused = RefusedSources::default();
        Ok(Socket { io: Async::new(socket)?, local, refused, state: RwLock::new(state), offload })
    }

    /// The number of frames that the kernel accepts in one call at the moment.
    pub(crate) fn segments(&self) -> usize {
        if self.offload { self.state().max_gso_segments().max(1) } else { 1 }
    }

    /// Hands `transmit` to the kernel without waiting for room.
    pub(crate) fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.state().try_send(UdpSockRef::from(&self.io), transmit)
    }

    /// Receives into `buffers` and returns the number of those that were filled.
    pub(crate) fn recv(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        self.state().recv(UdpSockRef::from(&self.io), buffers, metas)
    }

    /// Discards what quinn-udp concluded from the last error. It takes a refused source address for a kernel that
    /// cannot segment trains, and would stop handing them over whole.
    pub(crate) fn forget_error(&self) {
        if let Ok(state) = UdpSocketState::new(UdpSockRef::from(&self.io)) {
            *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        }
    }

    fn state(&self) -> RwLockReadGuard<'_, UdpSocketState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the socket is bound to one address rather than to all addresses of the host.
    pub(crate) fn is_fixed(&self) -> bool {
        !self.local.ip().is_unspecified()
    }

    /// Whether the one address that the socket is bound to was removed from the host.
    pub(crate) fn has_lost_address(&self) -> bool {
        let probe = || UdpSocket::bind(with_port(self.local, 0));
        self.is_fixed() && probe().is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
    }

    /// Whether this socket can send to `address` at all: no frame leaves the host from a loopback address. The kernel
    /// would report that with the same error as a train that it cannot segment (see [`resolve::check`]).
    ///
    /// [`resolve::check`]: crate::resolve::check
    pub(crate) fn reaches(&self, address: &SocketAddr) -> bool {
        !self.local.ip().is_loopback() || address.ip().is_loopback()
    }
}

/// The unicast sockets of a netmod from one opening to the next.
pub(crate) struct Sockets {
    /// One or two sockets, each of another address family.
    pub(crate) list: Vec<Socket>,
    /// Whether beacons are no longer sent, because the node stops.
    silent: AtomicBool,
    close: Mutex<Option<oneshot::Sender<()>>>,
    closed: Closed,
}

/// A future that resolves when the sockets are closed, so that calls which wait on them end.
pub(crate) type Closed = Shared<oneshot::Receiver<()>>;

impl Sockets {
    /// Opens the sockets of `config`. Where the configuration leaves the port open, `port` is tried first.
    pub(crate) fn open(config: &UdpConfig, port: Option<u16>, notes: &NotesByTopic) -> io::Result<Self> {
        let at = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", config.listen_uri()))
        };
        let bound = bind(&config.with_interface_number().map_err(at)?, port, notes)?;
        let sockets = bound.into_iter().map(|socket| {
            raise_buffers(&socket, notes);
            Socket::new(socket, config.segmentation_offload)
        });
        let (close, closed) = oneshot::channel();
        Ok(Sockets {
            list: sockets.collect::<io::Result<_>>()?,
            silent: AtomicBool::new(false),
            close: Mutex::new(Some(close)),
            closed: closed.shared(),
        })
    }

    /// The socket that sends to `address`.
    pub(crate) fn for_address(&self, address: &SocketAddr) -> Option<&Socket> {
        self.list.iter().find(|socket| socket.local.is_ipv4() == address.is_ipv4())
    }

    /// The address that is listened on. Of two sockets it is the IPv6 one's, which stands for both.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.list.first().map(|socket| socket.local)
    }

    /// Ends the sending of beacons.
    pub(crate) fn silence(&self) {
        self.silent.store(true, Relaxed);
    }

    /// See [`Sockets::silence`].
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Relaxed)
    }

    /// Ends the calls that wait on these sockets.
    pub(crate) fn close(&self) {
        self.close.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// See [`Sockets::close`].
    pub(crate) fn closed(&self) -> Closed {
        self.closed.clone()
    }
}

/// Binds the sockets as configured. The default port may be replaced by a free one.
fn bind(config: &UdpConfig, port: Option<u16>, notes: &NotesByTopic) -> io::Result<Vec<UdpSocket>> {
    notes.clear(Topic::Port);
    let falls_back = config.default_port_fallback && config.listen.port() == DEFAULT_PORT;
    let open_port = falls_back || config.listen.port() == 0;
    if let Some(port) = port.filter(|&port| open_port && port != config.listen.port()) {
        // The port of the last opening is preferred because peers know it. It may be taken by now.
        if let Ok(bound) = bind_at(with_port(config.listen, port), notes) {
            return Ok(bound);
        }
    }
    match bind_at(config.listen, notes) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && falls_back => {
            let bound = bind_at(with_port(config.listen, 0), notes)?;
            notes.set(
                Topic::Port,
                format!("the default port {DEFAULT_PORT} is taken: a free one is used, which changes at each start"),
                "if peers dial this node by its address, configure a port of its own, as in listen = \"[::]:7702\"",
            );
            Ok(bound)
        }
        bound => bound,
    }
    .inspect(|_| {
        if is_group_port(config) {
            notes.set(Topic::Port, GROUP_PORT_TAKEN, GROUP_PORT_HINT);
        }
    })
    .map_err(|error| {
        let hint = if is_group_port(config) { format!("; {GROUP_PORT_HINT}") } else { String::new() };
        io::Error::new(error.kind(), format!("cannot listen on udp:{}: {error}{hint}", config.listen))
    })
}

const GROUP_PORT_TAKEN: &str =
    "this node listens on the port of discovery: no node of this host receives the beacons of its neighbours";

const GROUP_PORT_HINT: &str = "beacons are sent to this port: listen on another one, such as 7700";

/// Whether the configured port is the one that the listeners for beacons share.
fn is_group_port(config: &UdpConfig) -> bool {
    config.listen.port() == config.group_port
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

fn bind_at(listen: SocketAddr, notes: &NotesByTopic) -> io::Result<Vec<UdpSocket>> {
    notes.clear(Topic::Family);
    if listen.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        return Ok(vec![bind_one(listen)?]);
    }
    let pair = bind_pair(listen.port(), bind_one, |socket| Ok(socket.local_addr()?.port()))?;
    if let Some((family, error)) = pair.missing {
        notes.set(
            Topic::Family,
            format!("no {family} on this host: {error}"),
            format!("peers are reached without {family}; to use it, enable {family} on this host"),
        );
    }
    Ok(pair.sockets)
}

/// Binds one socket. It never sets SO_REUSEPORT, which would distribute the datagrams among the sockets of a port, nor
/// SO_REUSEADDR, which would give all of them to the last one.
fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_multicast_hops_v6(1)?;
        socket.set_multicast_loop_v6(true)?;
    } else {
        socket.set_multicast_ttl_v4(1)?;
        socket.set_multicast_loop_v4(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// The sockets of both address families on one port, and the family that the host lacks, with the error.
#[derive(Debug)]
struct DualStack<S> {
    sockets: Vec<S>,
    missing: Option<(&'static str, io::Error)>,
}

/// Binds both families to one port. A family that the host lacks is left out. With port 0, a port is searched that is
/// free for both.
fn bind_pair<S>(
    port: u16,
    mut bind: impl FnMut(SocketAddr) -> io::Result<S>,
    port_of: impl Fn(&S) -> io::Result<u16>,
) -> io::Result<DualStack<S>> {
    let v6 = |port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    let v4 = |port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let mut attempts = PAIR_ATTEMPTS;
    loop {
        attempts -= 1;
        let first = match bind(v6(port)) {
            Ok(first) => first,
            Err(error) if error::is_absent_family(&error) => {
                return Ok(DualStack { sockets: vec![bind(v4(port))?], missing: Some(("IPv6", error)) });
            }
            Err(error) => return Err(error),
        };
        match bind(v4(port_of(&first)?)) {
            Ok(second) => return Ok(DualStack { sockets: vec![first, second], missing: None }),
            Err(error) if error::is_absent_family(&error) => {
                return Ok(DualStack { sockets: vec![first], missing: Some(("IPv4", error)) });
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && port == 0 && attempts > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// Raises the buffers as far as the kernel permits, and sets a note when that is less than wanted.
fn raise_buffers(socket: &UdpSocket, notes: &NotesByTopic) {
    let socket = socket2::SockRef::from(socket);
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt;
        // This exceeds the system's limit, for which the process needs CAP_NET_ADMIN.
        if sockopt::set_socket_recv_buffer_size_force(&*socket, BUFFER).is_err() {
            socket.set_recv_buffer_size(BUFFER).ok();
        }
        if sockopt::set_socket_send_buffer_size_force(&*socket, BUFFER).is_err() {
            socket.set_send_buffer_size(BUFFER).ok();
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        socket.set_recv_buffer_size(BUFFER).ok();
        socket.set_send_buffer_size(BUFFER).ok();
    }
    note_buffer(notes, Topic::ReceiveBuffer, "receive", "rmem", socket.recv_buffer_size());
    note_buffer(notes, Topic::SendBuffer, "send", "wmem", socket.send_buffer_size());
}

fn note_buffer(notes: &NotesByTopic, topic: Topic, which: &str, sysctl: &str, size: io::Result<usize>) {
    // Linux doubles the requested size to leave room for its own records (socket(7)).
    let usable = size.unwrap_or(0) / if cfg!(target_os = "linux") { 2 } else { 1 };
    if usable >= BUFFER {
        notes.clear(topic);
        return;
    }
    notes.set(
        topic,
        format!(
            "the {which} buffer is {} KiB instead of {} KiB: bursts of frames may be lost",
            usable >> 10,
            BUFFER >> 10
        ),
        if cfg!(target_os = "linux") {
            format!("sysctl -w net.core.{sysctl}_max={BUFFER}")
        } else {
            format!("sysctl -w kern.ipc.maxsockbuf={}", BUFFER * 2)
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn port_of(address: &SocketAddr) -> io::Result<u16> {
        Ok(if address.port() == 0 { 4000 } else { address.port() })
    }

    #[test]
    fn a_host_without_one_family_listens_on_the_other() {
        let without = |v6: bool| {
            move |address: SocketAddr| {
                if address.is_ipv6() == v6 { Err(Errno::AFNOSUPPORT.into()) } else { Ok(address) }
            }
        };
        let pair = bind_pair(7, without(true), port_of).unwrap();
        assert_eq!(pair.sockets, ["0.0.0.0:7".parse().unwrap()]);
        assert_eq!(pair.missing.unwrap().0, "IPv6");
        let pair = bind_pair(7, without(false), port_of).unwrap();
        assert_eq!(pair.sockets, ["[::]:7".parse().unwrap()]);
        assert_eq!(pair.missing.unwrap().0, "IPv4");
    }

    #[test]
    fn listening_on_the_port_of_discovery_is_noted_with_a_hint() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap();
        let config = UdpConfig { listen, group_port: listen.port(), ..UdpConfig::default() };
        let notes = NotesByTopic::default();
        let error = bind(&config, None, &notes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(GROUP_PORT_HINT), "{error}");
        drop(taken);
        bind(&config, None, &notes).unwrap();
        assert_eq!(notes.all()[0].hint, GROUP_PORT_HINT);
        bind(&UdpConfig { group_port: 1, ..config }, None, &notes).unwrap();
        assert!(notes.all().is_empty());
    }

    #[test]
    fn a_free_port_is_free_for_both_families() {
        let mut refusals = 3;
        let mut bind = |address: SocketAddr| {
            if address.is_ipv4() && refusals > 0 {
                refusals -= 1;
                return Err(Errno::ADDRINUSE.into());
            }
            Ok(address)
        };
        let pair = bind_pair(0, &mut bind, port_of).unwrap();
        assert_eq!(pair.sockets, ["[::]:0".parse().unwrap(), "0.0.0.0:4000".parse::<SocketAddr>().unwrap()]);
    }

    #[test]
    fn the_search_for_a_free_port_ends() {
        let mut tries = 0;
        let bind = |address: SocketAddr| {
            tries += 1;
            if address.is_ipv4() { Err(Errno::ADDRINUSE.into()) } else { Ok(address) }
        };
        assert_eq!(bind_pair(0, bind, port_of).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(tries, 2 * PAIR_ATTEMPTS);
    }

    #[test]
    fn buffers_that_are_too_small_are_noted_with_the_remedy() {
        let notes = NotesByTopic::default();
        note_buffer(&notes, Topic::ReceiveBuffer, "receive", "rmem", Ok(212_992));
        assert!(notes.all()[0].text.contains("receive buffer"));
        assert!(notes.all()[0].hint.contains("sysctl"));
        note_buffer(&notes, Topic::ReceiveBuffer, "receive", "rmem", Ok(2 * BUFFER));
        assert_eq!(notes.all(), []);
    }
}
