//! Bare sockets of the same shape: a sender that sends as fast as it can, a receiver that counts what it gets, and a
//! relay that passes on what it gets and does nothing else. Each has a thread of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use async_io::Async;
use async_std::future::timeout;
use async_std::task;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use crate::measure::{Latency, latency, rate};

/// The bytes of a datagram, as nodes send them.
const MTU: usize = 1200;
/// The socket buffers that are requested from the kernel, as the netmod does.
const BUFFER: usize = 4 << 20;
/// The most bytes that the kernel takes in one call, and the most segments.
const MAX_TRAIN: usize = 65_507;
const MAX_SEGMENTS: usize = 64;

/// How datagrams are given to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One by one.
    Single,
    /// As many as it takes in one call.
    Train,
}

struct Socket {
    io: Async<UdpSocket>,
    state: UdpSocketState,
}

impl Socket {
    fn new() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let raw = socket2::SockRef::from(&socket);
        raw.set_recv_buffer_size(BUFFER)?;
        raw.set_send_buffer_size(BUFFER)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Socket { io: Async::new(socket)?, state })
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// As many datagrams of this size as one call takes.
    fn train(&self, size: usize) -> usize {
        (MAX_TRAIN / size).min(MAX_SEGMENTS).min(self.state.max_gso_segments()).max(1)
    }

    async fn send(&self, destination: SocketAddr, contents: &[u8], size: usize) -> io::Result<()> {
        let segment_size = (contents.len() > size).then_some(size);
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
        loop {
            match self.state.try_send(UdpSockRef::from(&self.io), &transmit) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.io.writable().await?,
                result => return result,
            }
        }
    }

    async fn receive(&self, buffers: &mut Buffers) -> io::Result<usize> {
        loop {
            let mut slices: Vec<_> =
                buffers.bytes.iter_mut().map(|bytes| io::IoSliceMut::new(bytes)).collect();
            match self.state.recv(UdpSockRef::from(&self.io), &mut slices, &mut buffers.metas) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.io.readable().await?,
                result => return result,
            }
        }
    }
}

struct Buffers {
    bytes: Vec<Vec<u8>>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Buffers {
    fn new() -> Self {
        Buffers { bytes: vec![vec![0; 65_536]; BATCH_SIZE], metas: [RecvMeta::default(); BATCH_SIZE] }
    }
}

/// Messages that arrive in a second, when each is cut into datagrams of [`MTU`] bytes at most.
pub(crate) fn throughput(size: usize, shape: Shape, relay: bool) -> io::Result<f64> {
    let frame = size.min(MTU);
    let bytes = Arc::new(AtomicU64::new(0));
    let mut threads = Threads::default();
    let mut target = threads.start(shape, Role::Receiver(bytes.clone()))?;
    if relay {
        target = threads.start(shape, Role::Relay(target))?;
    }
    threads.start(shape, Role::Sender { target, frame })?;
    Ok(rate(&bytes) / size as f64)
}

enum Role {
    Sender {
        target: SocketAddr,
        frame: usize,
    },
    Relay(SocketAddr),
    /// Counts bytes.
    Receiver(Arc<AtomicU64>),
}

/// Threads that end when this is dropped.
#[derive(Default)]
struct Threads {
    stop: Arc<AtomicBool>,
    running: Vec<thread::JoinHandle<io::Result<()>>>,
}

impl Threads {
    /// Starts one; where its socket is.
    fn start(&mut self, shape: Shape, role: Role) -> io::Result<SocketAddr> {
        let socket = Socket::new()?;
        let address = socket.address()?;
        let stop = self.stop.clone();
        self.running.push(thread::spawn(move || {
            task::block_on(async {
                while !stop.load(Relaxed) {
                    // From time to time it looks whether it shall stop.
                    let turn = match shape {
                        Shape::Single => {
                            timeout(Duration::from_millis(100), singles(&socket, &role, &stop)).await
                        }
                        Shape::Train => {
                            timeout(Duration::from_millis(100), trains(&socket, &role, &stop)).await
                        }
                    };
                    turn.unwrap_or(Ok(()))?;
                }
                Ok(())
            })
        }));
        Ok(address)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.running.drain(..) {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => eprintln!("a bare socket failed: {error}"),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    }
}

/// One datagram a call, by the calls that async-std's sockets make.
async fn singles(socket: &Socket, role: &Role, stop: &AtomicBool) -> io::Result<()> {
    let mut buffer = vec![0x5a; 65_536];
    while !stop.load(Relaxed) {
        match role {
            Role::Sender { target, frame } => {
                socket.io.send_to(&buffer[..*frame], *target).await?;
            }
            Role::Relay(target) => {
                let (length, _) = socket.io.recv_from(&mut buffer).await?;
                socket.io.send_to(&buffer[..length], *target).await?;
            }
            Role::Receiver(bytes) => {
                let (length, _) = socket.io.recv_from(&mut buffer).await?;
                bytes.fetch_add(length as u64, Relaxed);
            }
        }
    }
    Ok(())
}

async fn trains(socket: &Socket, role: &Role, stop: &AtomicBool) -> io::Result<()> {
    let mut buffers = Buffers::new();
    while !stop.load(Relaxed) {
        if let Role::Sender { target, frame } = role {
            let train = socket.train(*frame) * frame;
            socket.send(*target, &buffers.bytes[0][..train], *frame).await?;
            continue;
        }
        let count = socket.receive(&mut buffers).await?;
        for (meta, contents) in buffers.metas[..count].iter().zip(&buffers.bytes) {
            match role {
                Role::Relay(target) => socket.send(*target, &contents[..meta.len], meta.stride).await?,
                Role::Receiver(bytes) => drop(bytes.fetch_add(meta.len as u64, Relaxed)),
                Role::Sender { .. } => {}
            }
        }
    }
    Ok(())
}

/// How long 64 bytes take there and back, by async-std's sockets and tasks.
pub(crate) fn round_trip(relay: bool) -> io::Result<Latency> {
    task::block_on(async {
        let here = || async_std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let (first, last) = (here().await?, here().await?);
        let mut tasks = Vec::new();
        let (mut to_last, mut to_first) = (last.local_addr()?, first.local_addr()?);
        if relay {
            let (front, back) = (here().await?, here().await?);
            let (at_front, at_back) = (front.local_addr()?, back.local_addr()?);
            // Datagrams from the front are sent to the last socket, and datagrams from the back to the first.
            tasks.push(pass_on(front, to_last));
            tasks.push(pass_on(back, to_first));
            (to_last, to_first) = (at_front, at_back);
        }
        tasks.push(pass_on(last, to_first));
        let mut buffer = [0x5a; 64];
        let result = latency(async || {
            first.send_to(&buffer, to_last).await?;
            first.recv_from(&mut buffer).await.map(drop)
        });
        let result = result.await;
        for task in tasks {
            task.cancel().await;
        }
        result
    })
}

fn pass_on(socket: async_std::net::UdpSocket, to: SocketAddr) -> task::JoinHandle<io::Result<()>> {
    task::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (length, _) = socket.recv_from(&mut buffer).await?;
            socket.send_to(&buffer[..length], to).await?;
        }
    })
}
