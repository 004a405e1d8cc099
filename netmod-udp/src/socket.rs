//! The unicast sockets: bound, with buffers as large as the kernel lets, and what quinn-udp knows of them.

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

/// What the buffers of a socket should hold: 40 ms of a gigabit.
const BUFFER: usize = 4 << 20;

/// How often a free port is drawn that IPv6 and IPv4 both have free.
const PAIR_ATTEMPTS: u32 = 16;

/// A unicast socket of one address family.
pub(crate) struct Socket {
    pub(crate) io: Async<UdpSocket>,
    pub(crate) local: SocketAddr,
    /// Addresses of this host that it cannot send from.
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

    /// How many frames the kernel takes in one call, just now.
    pub(crate) fn segments(&self) -> usize {
        if self.offload { self.state().max_gso_segments().max(1) } else { 1 }
    }

    /// Gives `transmit` to the kernel, if it takes it at once.
    pub(crate) fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.state().try_send(UdpSockRef::from(&self.io), transmit)
    }

    /// Takes what has come; how many buffers were filled.
    pub(crate) fn recv(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        self.state().recv(UdpSockRef::from(&self.io), buffers, metas)
    }

    /// Forgets what the last error was taken for. A source address that is refused looks to quinn-udp like a kernel that cannot
    /// cut trains, for which it would stop to hand them over whole.
    pub(crate) fn forget_error(&self) {
        if let Ok(state) = UdpSocketState::new(UdpSockRef::from(&self.io)) {
            *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        }
    }

    fn state(&self) -> RwLockReadGuard<'_, UdpSocketState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has one address of its own, rather than all that the host has.
    pub(crate) fn is_fixed(&self) -> bool {
        !self.local.ip().is_unspecified()
    }

    /// Whether the one address that it has has left the host.
    pub(crate) fn is_homeless(&self) -> bool {
        let probe = || UdpSocket::bind(with_port(self.local, 0));
        self.is_fixed() && probe().is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
    }

    /// Whether the host can send from here to `address` at all: nothing leaves it from a loopback address. The kernel
    /// would say so with the same error as for a train that it cannot cut up (see [`resolve::check`]).
    ///
    /// [`resolve::check`]: crate::resolve::check
    pub(crate) fn reaches(&self, address: &SocketAddr) -> bool {
        !self.local.ip().is_loopback() || address.ip().is_loopback()
    }
}

/// The unicast sockets of a netmod from one opening to the next.
pub(crate) struct Sockets {
    /// One or two, each of its own family.
    pub(crate) list: Vec<Socket>,
    /// Whether beacons are to leave from them no more.
    silent: AtomicBool,
    close: Mutex<Option<oneshot::Sender<()>>>,
    closed: Closed,
}

/// Resolves when the sockets are to be let go of.
pub(crate) type Closed = Shared<oneshot::Receiver<()>>;

impl Sockets {
    /// Opens what `config` says; `port` is tried first when the configuration leaves the port open.
    pub(crate) fn open(config: &UdpConfig, port: Option<u16>, notes: &NotesByTopic) -> io::Result<Self> {
        let at = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", config.place()))
        };
        let bound = bind(&config.placed().map_err(at)?, port, notes)?;
        let sockets = bound.into_iter().map(|socket| {
            widen(&socket, notes);
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

    /// The address that is listened on; of two sockets the IPv6 one's, which stands for both.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.list.first().map(|socket| socket.local)
    }

    /// No beacon leaves from here on.
    pub(crate) fn silence(&self) {
        self.silent.store(true, Relaxed);
    }

    /// See [`Sockets::silence`].
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Relaxed)
    }

    /// Tells everyone who waits on these sockets to let go.
    pub(crate) fn close(&self) {
        self.close.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// See [`Sockets::close`].
    pub(crate) fn closed(&self) -> Closed {
        self.closed.clone()
    }
}

/// Binds as configured. The default port may be replaced by a free one.
fn bind(config: &UdpConfig, port: Option<u16>, notes: &NotesByTopic) -> io::Result<Vec<UdpSocket>> {
    notes.clear(Topic::Port);
    let falls_back = config.default_port_fallback && config.listen.port() == DEFAULT_PORT;
    let open_port = falls_back || config.listen.port() == 0;
    if let Some(port) = port.filter(|&port| open_port && port != config.listen.port()) {
        // The port of last time: peers know it. It may be taken by now.
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
                "if peers dial this node by its address, give it a port of its own to listen on",
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
    "this node listens on the port of discovery: no node of this host hears the beacons of its neighbours";

const GROUP_PORT_HINT: &str = "the port is the one that beacons go to: listen on another one, such as 7700";

/// Whether links are to use the port that the listeners for beacons share.
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
            format!("peers are reached without {family}; if that is meant, nothing is to be done"),
        );
    }
    Ok(pair.sockets)
}

/// Never with SO_REUSEPORT, which splits what comes in between the sockets of a port, nor SO_REUSEADDR, which gives
/// all of it to the last one.
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

/// What a host has of IPv6 and IPv4 on one port.
#[derive(Debug)]
struct Pair<S> {
    sockets: Vec<S>,
    missing: Option<(&'static str, io::Error)>,
}

/// Binds both families to one port; a family that the host lacks is done without. With port 0 a port is looked for
/// that both have free.
fn bind_pair<S>(
    port: u16,
    mut bind: impl FnMut(SocketAddr) -> io::Result<S>,
    port_of: impl Fn(&S) -> io::Result<u16>,
) -> io::Result<Pair<S>> {
    let v6 = |port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    let v4 = |port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let mut attempts = PAIR_ATTEMPTS;
    loop {
        attempts -= 1;
        let first = match bind(v6(port)) {
            Ok(first) => first,
            Err(error) if error::is_absent_family(&error) => {
                return Ok(Pair { sockets: vec![bind(v4(port))?], missing: Some(("IPv6", error)) });
            }
            Err(error) => return Err(error),
        };
        match bind(v4(port_of(&first)?)) {
            Ok(second) => return Ok(Pair { sockets: vec![first, second], missing: None }),
            Err(error) if error::is_absent_family(&error) => {
                return Ok(Pair { sockets: vec![first], missing: Some(("IPv4", error)) });
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && port == 0 && attempts > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// Raises the buffers as far as the kernel lets, and says so when it is less than wished.
fn widen(socket: &UdpSocket, notes: &NotesByTopic) {
    let socket = socket2::SockRef::from(socket);
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt;
        // Past the system's limit, which needs the right to administer the network.
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
    judge(notes, Topic::ReceiveBuffer, "receive", "rmem", socket.recv_buffer_size());
    judge(notes, Topic::SendBuffer, "send", "wmem", socket.send_buffer_size());
}

fn judge(notes: &NotesByTopic, topic: Topic, which: &str, sysctl: &str, size: io::Result<usize>) {
    // Linux doubles what it is asked for, to leave room for its own records (socket(7)).
    let usable = size.unwrap_or(0) / if cfg!(target_os = "linux") { 2 } else { 1 };
    if usable >= BUFFER {
        notes.clear(topic);
        return;
    }
    notes.set(
        topic,
        format!(
            "the {which} buffer is {} KiB, {} KiB are wished for: bursts may be lost",
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
    fn a_host_without_one_family_does_with_the_other() {
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
    fn the_port_of_discovery_is_no_port_to_listen_on_and_a_hint_says_so() {
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
    fn a_free_port_is_one_that_both_families_have_free() {
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
    fn buffers_that_are_too_small_are_said_with_what_to_do() {
        let notes = NotesByTopic::default();
        judge(&notes, Topic::ReceiveBuffer, "receive", "rmem", Ok(212_992));
        assert!(notes.all()[0].text.contains("receive buffer"));
        assert!(notes.all()[0].hint.contains("sysctl"));
        judge(&notes, Topic::ReceiveBuffer, "receive", "rmem", Ok(2 * BUFFER));
        assert_eq!(notes.all(), []);
    }
}
