//! A cable between two daemons, made of a UDP relay: it can lose datagrams or those that are too long, be cut, change its port,
//! capture datagrams and inject them.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The number of captured datagrams that are kept, the newest.
const CAPTURED: usize = 512;

/// A relay in front of one daemon: a caller that dials it reaches that daemon, one caller at a time.
pub struct Relay {
    shared: Arc<RelayState>,
    threads: Vec<JoinHandle<()>>,
}

struct RelayState {
    /// The socket that the caller sends to.
    front: Arc<UdpSocket>,
    /// The socket that the daemon takes for its neighbour.
    back: Mutex<Arc<UdpSocket>>,
    /// A socket with another address.
    elsewhere: UdpSocket,
    target: SocketAddr,
    caller: Mutex<Option<SocketAddr>>,
    captured: Mutex<VecDeque<Vec<u8>>>,
    cut: AtomicBool,
    /// The number of lost datagrams in a thousand.
    loss: AtomicU32,
    /// Longer datagrams are lost.
    most: AtomicUsize,
    /// The lengths of the longest datagrams that arrived and that were forwarded.
    longest_in: AtomicUsize,
    longest_out: AtomicUsize,
    stop: AtomicBool,
}

impl Relay {
    /// A relay in front of the daemon at `uri`.
    ///
    /// # Panics
    /// When the system gives it no sockets.
    pub fn new(uri: &str) -> Self {
        let target = uri.trim_start_matches("udp:").parse().expect("a URI with address and port");
        let shared = Arc::new(RelayState {
            front: Arc::new(socket()),
            back: Mutex::new(Arc::new(socket())),
            elsewhere: socket(),
            target,
            caller: Mutex::new(None),
            captured: Mutex::new(VecDeque::new()),
            cut: AtomicBool::new(false),
            loss: AtomicU32::new(0),
            most: AtomicUsize::new(usize::MAX),
            longest_in: AtomicUsize::new(0),
            longest_out: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let ways: [fn(&RelayState); 2] = [RelayState::forward, RelayState::backward];
        let threads = ways.map(|way| {
            let shared = shared.clone();
            thread::spawn(move || way(&shared))
        });
        Relay { shared, threads: threads.into() }
    }

    /// Where to dial.
    pub fn uri(&self) -> String {
        format!("udp:{}", self.shared.front.local_addr().expect("it is bound"))
    }

    /// Loses all datagrams from now on, without an error at either end.
    pub fn cut(&self) {
        self.shared.cut.store(true, Relaxed);
    }

    /// Ends [`Relay::cut`].
    pub fn heal(&self) {
        self.shared.cut.store(false, Relaxed);
    }

    /// Loses so many of a thousand datagrams, each way.
    pub fn lose(&self, per_mille: u32) {
        self.shared.loss.store(per_mille, Relaxed);
    }

    /// Loses datagrams longer than `most` bytes from now on, each way.
    pub fn lose_longer_than(&self, most: usize) {
        self.shared.most.store(most, Relaxed);
    }

    /// The lengths of the longest datagrams that arrived and that were forwarded since the last call.
    pub fn longest(&self) -> (usize, usize) {
        (self.shared.longest_in.swap(0, Relaxed), self.shared.longest_out.swap(0, Relaxed))
    }

    /// Forwards the caller's datagrams from another port from now on, as an address translator does that has lost its state.
    /// Returns the former port.
    pub fn rebind(&self) -> u16 {
        let before = std::mem::replace(&mut *lock(&self.shared.back), Arc::new(socket()));
        before.local_addr().expect("it is bound").port()
    }

    /// The port that the daemon takes for its neighbour's.
    pub fn port(&self) -> u16 {
        self.shared.back().local_addr().expect("it is bound").port()
    }

    /// Sends the daemon a datagram from an address that is not its neighbour's.
    ///
    /// # Errors
    /// The error of the system when the datagram is too long.
    pub fn inject_from_elsewhere(&self, datagram: &[u8]) -> io::Result<()> {
        self.shared.elsewhere.send_to(datagram, self.shared.target).map(drop)
    }

    /// The datagrams that were forwarded last, both ways.
    pub fn captured(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.captured).iter().cloned().collect()
    }

    /// Sends the daemon a datagram from its neighbour's address.
    ///
    /// # Errors
    /// The error of the system when the datagram is too long.
    pub fn inject(&self, datagram: &[u8]) -> io::Result<()> {
        self.shared.back().send_to(datagram, self.shared.target).map(drop)
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
    // The time-out is needed so that the threads notice that they are to stop, or that there is another socket.
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("the time is not zero");
    socket
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RelayState {
    fn back(&self) -> Arc<UdpSocket> {
        lock(&self.back).clone()
    }

    fn forward(&self) {
        self.pump(
            || self.front.clone(),
            |from, datagram| {
                *lock(&self.caller) = Some(from);
                let _ = self.back().send_to(datagram, self.target);
            },
        );
    }

    fn backward(&self) {
        self.pump(
            || self.back(),
            |_, datagram| {
                let caller = *lock(&self.caller);
                if let Some(caller) = caller {
                    let _ = self.front.send_to(datagram, caller);
                }
            },
        );
    }

    /// Forwards the datagrams that arrive at `socket`. A datagram that cannot be sent is lost.
    fn pump(&self, socket: impl Fn() -> Arc<UdpSocket>, pass: impl Fn(SocketAddr, &[u8])) {
        let mut buffer = vec![0; 65_536];
        let mut losses = LossSequence(1);
        while !self.stop.load(Relaxed) {
            // An error is a time-out, or a closed port at the other end, and ends nothing.
            let Ok((length, from)) = socket().recv_from(&mut buffer) else { continue };
            let Some(datagram) = buffer.get(..length) else { continue };
            if self.cut.load(Relaxed) || losses.next() % 1000 < self.loss.load(Relaxed) {
                continue;
            }
            self.longest_in.fetch_max(length, Relaxed);
            if length > self.most.load(Relaxed) {
                continue;
            }
            self.longest_out.fetch_max(length, Relaxed);
            {
                let mut captured = lock(&self.captured);
                if captured.len() == CAPTURED {
                    captured.pop_front();
                }
                captured.push_back(datagram.to_vec());
            }
            pass(from, datagram);
        }
    }
}

/// The pseudo-random numbers that decide on losses, the same in every run: a linear congruential generator with Knuth's constants
/// (MMIX).
struct LossSequence(u64);

impl LossSequence {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of the thread was shown when it happened.
            let _ = thread.join();
        }
    }
}
