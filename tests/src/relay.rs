//! A cable between two daemons, made of a UDP relay: it can lose datagrams or swallow long ones, be cut, change its port,
//! listen in and speak up.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How many datagrams are remembered each way, the newest.
const TAPPED: usize = 512;

/// A relay in front of one daemon: whoever dials it reaches that daemon, one caller at a time.
pub struct Relay {
    shared: Arc<RelayState>,
    threads: Vec<JoinHandle<()>>,
}

struct RelayState {
    /// Where the caller sends to.
    front: Arc<UdpSocket>,
    /// What the daemon takes for its neighbour.
    back: Mutex<Arc<UdpSocket>>,
    /// Somewhere else.
    elsewhere: UdpSocket,
    target: SocketAddr,
    caller: Mutex<Option<SocketAddr>>,
    tapped: Mutex<VecDeque<Vec<u8>>>,
    cut: AtomicBool,
    /// Of a thousand datagrams.
    loss: AtomicU32,
    /// Longer datagrams are swallowed.
    most: AtomicUsize,
    /// The longest that came and that went on.
    came: AtomicUsize,
    went: AtomicUsize,
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
            tapped: Mutex::new(VecDeque::new()),
            cut: AtomicBool::new(false),
            loss: AtomicU32::new(0),
            most: AtomicUsize::new(usize::MAX),
            came: AtomicUsize::new(0),
            went: AtomicUsize::new(0),
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

    /// Nothing gets through any more, and nobody is told.
    pub fn cut(&self) {
        self.shared.cut.store(true, Relaxed);
    }

    /// All gets through again.
    pub fn heal(&self) {
        self.shared.cut.store(false, Relaxed);
    }

    /// Loses so many of a thousand datagrams, each way.
    pub fn lose(&self, per_mille: u32) {
        self.shared.loss.store(per_mille, Relaxed);
    }

    /// Datagrams longer than so many bytes vanish from now on, each way.
    pub fn swallow(&self, most: usize) {
        self.shared.most.store(most, Relaxed);
    }

    /// The longest datagram that came, and the longest that went on, since this was asked last.
    pub fn longest(&self) -> (usize, usize) {
        (self.shared.came.swap(0, Relaxed), self.shared.went.swap(0, Relaxed))
    }

    /// What comes from the caller reaches the daemon from another port from now on, as behind an address translator that has
    /// forgotten. Returns the port that was.
    pub fn rebind(&self) -> u16 {
        let before = std::mem::replace(&mut *lock(&self.shared.back), Arc::new(socket()));
        before.local_addr().expect("it is bound").port()
    }

    /// The port that the daemon takes for its neighbour's.
    pub fn port(&self) -> u16 {
        self.shared.back().local_addr().expect("it is bound").port()
    }

    /// Sends the daemon a datagram from where its neighbour is not.
    ///
    /// # Errors
    /// What the system said: the datagram is too long.
    pub fn inject_from_elsewhere(&self, datagram: &[u8]) -> io::Result<()> {
        self.shared.elsewhere.send_to(datagram, self.shared.target).map(drop)
    }

    /// The datagrams that came by last, both ways.
    pub fn tapped(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.tapped).iter().cloned().collect()
    }

    /// Sends the daemon a datagram that it takes for its neighbour's.
    ///
    /// # Errors
    /// What the system said: the datagram is too long.
    pub fn inject(&self, datagram: &[u8]) -> io::Result<()> {
        self.shared.back().send_to(datagram, self.shared.target).map(drop)
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
    // So that the threads see that they shall stop, or that they have another socket.
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

    /// Passes on what comes to `socket`. What cannot be sent is lost, as datagrams are.
    fn pump(&self, socket: impl Fn() -> Arc<UdpSocket>, pass: impl Fn(SocketAddr, &[u8])) {
        let mut buffer = vec![0; 65_536];
        let mut losses = LossSequence(1);
        while !self.stop.load(Relaxed) {
            // A time-out, or the port at the other end is closed: the cable stays.
            let Ok((length, from)) = socket().recv_from(&mut buffer) else { continue };
            let Some(datagram) = buffer.get(..length) else { continue };
            if self.cut.load(Relaxed) || losses.next() % 1000 < self.loss.load(Relaxed) {
                continue;
            }
            self.came.fetch_max(length, Relaxed);
            if length > self.most.load(Relaxed) {
                continue;
            }
            self.went.fetch_max(length, Relaxed);
            {
                let mut tapped = lock(&self.tapped);
                if tapped.len() == TAPPED {
                    tapped.pop_front();
                }
                tapped.push_back(datagram.to_vec());
            }
            pass(from, datagram);
        }
    }
}

/// Numbers that look random and repeat: a linear congruential generator with Knuth's constants (MMIX).
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
