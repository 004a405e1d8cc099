//! One link of a hostile node, over a real socket.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rouse_adversary::raw::control_messages::RawRecord;
use rouse_adversary::raw::{RawHandshake, RawHandshakeEvent, RawLink, RawLinkEvent, RawOptions};
use rouse_core::time::Time;
use rouse_core::{Address, Identity};

/// The number of received records and of sent frames that are kept, the newest.
const REMEMBERED: usize = 4096;

/// The reaction of an attack to the events of a link.
type EventHandler = Box<dyn FnMut(&mut RawLink, &RawLinkEvent) + Send>;

/// One link of a hostile node, kept alive by a thread of its own until this is dropped.
pub struct HostileLink {
    shared: Arc<SharedLink>,
    thread: Option<JoinHandle<()>>,
}

struct SharedLink {
    socket: UdpSocket,
    began: Instant,
    stop: AtomicBool,
    state: Mutex<LinkState>,
}

struct LinkState {
    handshake: RawHandshake,
    link: Option<Box<RawLink>>,
    end: Option<String>,
    on_event: Option<EventHandler>,
    received: VecDeque<RawRecord>,
    sent: VecDeque<Vec<u8>>,
    packets: u64,
}

impl HostileLink {
    /// Dials a node on loopback from 127.0.0.1, and any other from an address that the system chooses.
    ///
    /// # Errors
    /// When the system gives it no socket.
    pub fn dial(to: SocketAddr, identity: &Identity, mesh_key: Option<[u8; 32]>) -> Result<Self> {
        let from: IpAddr = match to.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        HostileLink::dial_from(from, to, identity, mesh_key)
    }

    /// Dials a node from this address.
    ///
    /// # Errors
    /// When the system gives it no socket.
    pub fn dial_from(
        from: IpAddr,
        to: SocketAddr,
        identity: &Identity,
        mesh_key: Option<[u8; 32]>,
    ) -> Result<Self> {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect(to)?;
        // The time-out is needed so that timers are kept and the thread notices that it is to stop.
        socket.set_read_timeout(Some(Duration::from_millis(5)))?;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&Identity::generate().address().as_bytes()[..8]);
        let options = RawOptions { mesh_key, seed, ..RawOptions::default() };
        let state = LinkState {
            handshake: RawHandshake::dial(Time::from_millis(1), identity, options),
            link: None,
            end: None,
            on_event: None,
            received: VecDeque::new(),
            sent: VecDeque::new(),
            packets: 0,
        };
        let stop = AtomicBool::new(false);
        let shared = Arc::new(SharedLink { socket, began: Instant::now(), stop, state: Mutex::new(state) });
        let theirs = shared.clone();
        let thread = Some(thread::spawn(move || theirs.serve()));
        Ok(HostileLink { shared, thread })
    }

    /// Waits until the link is up, and returns the address of the neighbour.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn linked(&self) -> Result<Address> {
        self.wait("a link", |state| match (&state.link, &state.end) {
            (Some(link), _) => Some(Ok(link.peer())),
            (None, Some(end)) => Some(Err(anyhow::anyhow!("no link: {end}"))),
            (None, None) => None,
        })?
    }

    /// The address of the neighbour.
    ///
    /// # Errors
    /// When there is no link.
    pub fn peer(&self) -> Result<Address> {
        self.with(|link| link.peer()).context("no link")
    }

    /// Whether the link is up.
    pub fn is_linked(&self) -> bool {
        let state = self.shared.lock();
        state.link.is_some() && state.end.is_none()
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut(&LinkState) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + crate::PATIENCE;
        while Instant::now() < deadline {
            if let Some(found) = look(&self.shared.lock()) {
                return Ok(found);
            }
            thread::sleep(Duration::from_millis(2));
        }
        bail!("not in time: {what}")
    }

    /// Calls `on_event` for each event of the link from now on.
    pub fn on_event(&self, on_event: impl FnMut(&mut RawLink, &RawLinkEvent) + Send + 'static) {
        self.shared.lock().on_event = Some(Box::new(on_event));
    }

    /// Waits until the neighbour has sent a record in which `wanted` finds something.
    ///
    /// # Errors
    /// When it does not.
    pub fn receive<T>(&self, wanted: impl Fn(&RawRecord) -> Option<T>) -> Result<T> {
        self.wait("a record", |state| state.received.iter().rev().find_map(&wanted))
    }

    /// The records that the neighbour sent last.
    pub fn received(&self) -> Vec<RawRecord> {
        self.shared.lock().received.iter().cloned().collect()
    }

    /// The frames that were sent last, handshake and all.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        self.shared.lock().sent.iter().cloned().collect()
    }

    /// The number of packets that arrived.
    pub fn packets(&self) -> u64 {
        self.shared.lock().packets
    }

    /// The reason why the link has ended; `None` as long as it has not.
    pub fn end(&self) -> Option<String> {
        self.shared.lock().end.clone()
    }

    /// Calls a function of the link, and sends the resulting frames; `None` when there is no link.
    pub fn with<T>(&self, act: impl FnOnce(&mut RawLink) -> T) -> Option<T> {
        let mut state = self.shared.lock();
        let done = act(state.link.as_deref_mut()?);
        self.shared.pump(&mut state);
        Some(done)
    }

    /// Sends records in control messages that are as full as possible. Waits while the control channel is full.
    pub fn send_records(&self, records: &[RawRecord]) {
        let mut message = Vec::new();
        for record in records.iter().map(RawRecord::bytes) {
            if message.len() + record.len() > 1000 {
                self.send_control(&std::mem::take(&mut message));
            }
            message.extend(record);
        }
        self.send_control(&message);
    }

    /// Sends bytes as one control message. Waits while the control channel is full and the link is up.
    pub fn send_control(&self, message: &[u8]) {
        if !(1..=4096).contains(&message.len()) {
            return;
        }
        while self.end().is_none() && self.with(|link| link.send_control(message)) == Some(false) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the neighbour has acknowledged every control message, or the link has ended.
    pub fn wait_for_acknowledgement(&self) {
        while self.end().is_none() && self.with(|link| link.unacknowledged()).is_some_and(|bytes| bytes > 0) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Seals any plaintext and sends it.
    pub fn seal(&self, plaintext: &[u8]) {
        if let Some(frame) = self.with(|link| link.seal(plaintext)) {
            self.send(&frame);
        }
    }

    /// Sends bytes without a seal. A frame that the system does not take is lost.
    pub fn send(&self, frame: &[u8]) {
        self.shared.send(&mut self.shared.lock(), frame);
    }
}

impl Drop for HostileLink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was shown when it happened.
            let _ = thread.join();
        }
    }
}

impl SharedLink {
    fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        Time::from_millis(1) + self.began.elapsed()
    }

    fn send(&self, state: &mut LinkState, frame: &[u8]) {
        if state.sent.len() == REMEMBERED {
            state.sent.pop_front();
        }
        state.sent.push_back(frame.to_vec());
        let _ = self.socket.send(frame);
    }

    fn serve(&self) {
        let mut buffer = vec![0; 65_536];
        self.pump(&mut self.lock());
        while !self.stop.load(Relaxed) {
            let came = self.socket.recv(&mut buffer).ok().and_then(|length| buffer.get(..length));
            let mut state = self.lock();
            let state = &mut *state;
            if let Some(frame) = came {
                let now = self.now();
                // A frame that is refused changes nothing.
                let _ = match (&mut state.link, frame.first()) {
                    (Some(link), Some(0x10)) => link.receive(now, frame),
                    _ => state.handshake.receive(now, frame),
                };
            }
            self.pump(state);
        }
    }

    /// Sends the frames that are due, and processes the events.
    fn pump(&self, state: &mut LinkState) {
        let now = self.now();
        while let Some(shaken) = state.handshake.poll(now) {
            match shaken {
                RawHandshakeEvent::Send(frame) => self.send(state, &frame),
                RawHandshakeEvent::Link(link) => state.link = Some(link),
                RawHandshakeEvent::Failed(why) => state.end = Some(why),
            }
        }
        loop {
            let Some(link) = &mut state.link else { return };
            let Some(happened) = link.poll(now) else { return };
            if let Some(on_event) = &mut state.on_event {
                on_event(link, &happened);
            }
            match happened {
                RawLinkEvent::Send(frame) => self.send(state, &frame),
                RawLinkEvent::Packet(_) => state.packets += 1,
                RawLinkEvent::Down(why) => state.end = Some(why),
                RawLinkEvent::Control(message) => {
                    state.received.extend(RawRecord::read(&message));
                    let excess = state.received.len().saturating_sub(REMEMBERED);
                    state.received.drain(..excess);
                }
            }
        }
    }
}
