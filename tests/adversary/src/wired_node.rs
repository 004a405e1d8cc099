//! A whole node under a virtual clock, and raw links to it over a wire in memory.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use futures::task::AtomicWaker;
use rouse_core::netmod::{Arrival, Endpoint, Netmod, NetmodError, Properties, Received, Train};
use rouse_core::{Identity, Node, NodeBuilder, PeerState, VirtualRuntime};
use rouse_proto::time::Time;
use rouse_proto::wire::link::{FrameKind, peek};

use crate::raw::control_messages::{MAX_MESSAGE, RawRecord};
use crate::raw::{RawHandshake, RawHandshakeEvent, RawLink, RawLinkEvent, RawOptions};

/// The longest frame of the wire, in bytes.
const MTU: usize = 1452;
/// The most frames in one train.
const TRAIN: usize = 64;
/// The bytes and the frames that the node may have sent and no link has received yet. Further ones are lost.
const ROOM: usize = 1 << 20;
const FRAMES: usize = 4096;
/// The time within which a link must be up.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A node, and links to it over which anything can be sent. All of it runs on the calling thread, so that a test has the costs
/// and the effects of an input to itself.
pub struct WiredNode {
    node: Node,
    wire: Arc<Wire>,
    links: Vec<RawLink>,
    packets: VecDeque<(usize, Vec<u8>)>,
    frame: Vec<u8>,
    runtime: VirtualRuntime,
}

/// The identity at the other end of a link.
fn neighbour(link: usize) -> Identity {
    Identity::from_seed(&[0xa0 + link as u8; 32])
}

impl WiredNode {
    /// Starts a node, and dials it over so many links, which offer these cipher suites.
    ///
    /// # Panics
    /// When the node does not start, or refuses a link.
    pub fn start(builder: NodeBuilder, links: usize, suites: u8) -> Self {
        let (runtime, wire) = (VirtualRuntime::new(), Arc::new(Wire::new()));
        let node = runtime.block_on(builder.netmod_arc(wire.clone()).start()).expect("its wire is open");
        let (links, packets, frame) = (0..links, VecDeque::with_capacity(FRAMES), Vec::with_capacity(MTU));
        let mut wired = WiredNode { node, wire, links: Vec::new(), packets, frame, runtime };
        links.for_each(|link| wired.connect(link, suites));
        wired
    }

    /// The node, for what needs no runtime.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Calls `work` with the node within its runtime, and runs the node until nothing is left to do.
    pub fn with<T>(&mut self, work: impl FnOnce(&Node) -> T) -> T {
        let result = self.runtime.enter(|| work(&self.node));
        self.runtime.run_until_idle();
        result
    }

    /// Whether the node runs, and all its links are up: a panic in one of its tasks would have ended either.
    pub fn is_whole(&self) -> bool {
        let peers = self.runtime.block_on(self.node.peers());
        let up = peers.iter().filter(|peer| peer.state == PeerState::Up).count();
        self.node.failure().is_none() && up == self.links.len()
    }

    /// The number of its routes.
    pub fn routes(&self) -> usize {
        self.runtime.block_on(self.node.routes()).len()
    }

    /// The bytes that the node has sent.
    pub fn sent(&self) -> u64 {
        self.wire.sent.load(Relaxed)
    }

    /// Lets everything that the node sends be lost, or not.
    pub fn lose_all(&self, loses: bool) {
        self.wire.loses.store(loses, Relaxed);
    }

    /// Seals a plaintext as the next frame of a link.
    pub fn seal(&mut self, link: usize, plaintext: &[u8]) -> Vec<u8> {
        self.links[link].seal(plaintext)
    }

    /// Lets frames arrive at the node in one train, each `size` bytes long but the last, and runs the node until nothing is left
    /// to do. The links do not receive what it sends before the next [`exchange`](Self::exchange).
    pub fn arrive(&self, link: usize, bytes: BytesMut, size: usize) {
        self.wire.arrive(link, bytes, size);
        self.runtime.run_until_idle();
    }

    /// Lets a link announce these records, as many in a message as fit.
    ///
    /// # Panics
    /// When the link has ended, or has no room for them.
    pub fn announce(&mut self, link: usize, records: &[RawRecord]) {
        let mut message = Vec::new();
        for record in records {
            let bytes = record.bytes();
            if message.len() + bytes.len() > MAX_MESSAGE {
                self.send(link, &message);
                message.clear();
            }
            message.extend(bytes);
        }
        self.send(link, &message);
    }

    fn send(&mut self, link: usize, message: &[u8]) {
        assert!(self.links[link].send_control(message), "the control channel of a link that is up has room");
        self.exchange();
    }

    /// The next packet that the node sent over a link, with the number of the link.
    pub fn next_packet(&mut self) -> Option<(usize, Vec<u8>)> {
        self.packets.pop_front()
    }

    /// Lets the links and the node receive what they have sent, until nothing is on the way.
    pub fn exchange(&mut self) {
        loop {
            self.runtime.run_until_idle();
            let (now, mut is_quiet) = (self.now(), true);
            while let Some(link) = self.wire.take(&mut self.frame) {
                is_quiet = false;
                if let Some(link) = self.links.get_mut(link) {
                    // Late frames of the handshake do not concern the link.
                    let _ = link.receive(now, &self.frame);
                }
            }
            for (number, link) in self.links.iter_mut().enumerate() {
                while let Some(event) = link.poll(now) {
                    match event {
                        RawLinkEvent::Send(frame) => {
                            is_quiet = false;
                            let size = frame.len();
                            self.wire.arrive(number, frame.as_slice().into(), size);
                        }
                        RawLinkEvent::Packet(packet) => self.packets.push_back((number, packet)),
                        RawLinkEvent::Control(_) | RawLinkEvent::Down(_) => {}
                    }
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    /// Lets time pass, and does all that is due meanwhile.
    pub fn pass(&mut self, span: Duration) {
        let end = self.runtime.elapsed() + span;
        self.exchange();
        loop {
            let links = self.links.iter().filter_map(RawLink::next_deadline);
            let links = links.map(|due| due.since(Time::ZERO));
            let Some(due) = links.chain(self.runtime.next_deadline()).min().filter(|due| *due <= end) else {
                break;
            };
            self.runtime.advance(due.saturating_sub(self.runtime.elapsed()));
            self.exchange();
        }
        self.runtime.advance(end.saturating_sub(self.runtime.elapsed()));
    }

    fn now(&self) -> Time {
        Time::ZERO + self.runtime.elapsed()
    }

    fn connect(&mut self, link: usize, suites: u8) {
        let options = RawOptions { seed: [link as u8 + 1; 32], mtu: MTU, suites, ..RawOptions::default() };
        let mut handshake = RawHandshake::dial(self.now(), &neighbour(link), options);
        let end = self.runtime.elapsed() + HANDSHAKE;
        while self.links.len() <= link {
            while let Some(event) = handshake.poll(self.now()) {
                match event {
                    RawHandshakeEvent::Send(frame) => {
                        let size = frame.len();
                        self.arrive(link, frame.as_slice().into(), size);
                    }
                    RawHandshakeEvent::Link(made) => self.links.push(*made),
                    RawHandshakeEvent::Failed(reason) => panic!("the node refuses a link: {reason}"),
                }
            }
            while let Some(to) = self.wire.take(&mut self.frame) {
                if peek(&self.frame) == Some(FrameKind::Handshake) && to == link {
                    // The node may repeat a frame.
                    let _ = handshake.receive(self.now(), &self.frame);
                }
            }
            assert!(self.runtime.elapsed() < end, "a handshake without an answer");
            self.runtime.advance(Duration::from_millis(1));
        }
        while !self.is_whole() {
            assert!(self.runtime.elapsed() < end, "a link that the node does not use");
            self.pass(Duration::from_millis(10));
        }
    }
}

/// The medium between the node and the links. The first byte of an endpoint is the number of a link.
struct Wire {
    state: Mutex<WireState>,
    receiver: AtomicWaker,
    sent: AtomicU64,
    loses: AtomicBool,
}

/// Frames on their way. What the node sent is kept in memory of a fixed size, so that it does not count as held by the node.
struct WireState {
    arrivals: Vec<Arrival>,
    lengths: VecDeque<(u8, usize)>,
    bytes: VecDeque<u8>,
}

impl Wire {
    fn new() -> Self {
        let (lengths, bytes) = (VecDeque::with_capacity(FRAMES), VecDeque::with_capacity(ROOM));
        let state = WireState { arrivals: Vec::with_capacity(TRAIN), lengths, bytes };
        let (receiver, sent, loses) = (AtomicWaker::new(), AtomicU64::new(0), AtomicBool::new(false));
        Wire { state: Mutex::new(state), receiver, sent, loses }
    }

    fn state(&self) -> MutexGuard<'_, WireState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrive(&self, link: usize, bytes: BytesMut, size: usize) {
        let endpoint = Endpoint::new(&[link as u8]).expect("one byte is an endpoint");
        self.state().arrivals.push(Arrival { endpoint, bytes, size });
        self.receiver.wake();
    }

    /// Takes the oldest frame that the node sent. Returns the link that it is for.
    fn take(&self, frame: &mut Vec<u8>) -> Option<usize> {
        let mut state = self.state();
        let (link, length) = state.lengths.pop_front()?;
        frame.clear();
        frame.extend(state.bytes.drain(..length));
        Some(link.into())
    }
}

#[async_trait]
impl Netmod for Wire {
    fn scheme(&self) -> &str {
        "wire"
    }

    fn uri(&self) -> String {
        "wire:".to_owned()
    }

    fn properties(&self) -> Properties {
        Properties { mtu: MTU, max_train: TRAIN, broadcast: false, cost: 0 }
    }

    async fn recv(&self, received: &mut Received) -> Result<(), NetmodError> {
        poll_fn(|cx| {
            self.receiver.register(cx.waker());
            let mut state = self.state();
            if state.arrivals.is_empty() {
                return Poll::Pending;
            }
            received.arrivals.append(&mut state.arrivals);
            Poll::Ready(Ok(()))
        })
        .await
    }

    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        self.sent.fetch_add(train.bytes.len() as u64, Relaxed);
        if self.loses.load(Relaxed) {
            return Ok(());
        }
        let link = endpoint.as_bytes().first().copied().unwrap_or(u8::MAX);
        let mut state = self.state();
        for frame in train.frames() {
            if state.lengths.len() < FRAMES && state.bytes.len() + frame.len() <= ROOM {
                state.lengths.push_back((link, frame.len()));
                state.bytes.extend(frame);
            }
        }
        Ok(())
    }

    async fn resolve(&self, _: &str) -> Result<Vec<Endpoint>, NetmodError> {
        Ok(Vec::new())
    }

    fn describe(&self, endpoint: &Endpoint) -> String {
        format!("wire:{:?}", endpoint.as_bytes())
    }

    fn quota_key(&self, endpoint: &Endpoint) -> u64 {
        endpoint.as_bytes().first().copied().unwrap_or(u8::MAX).into()
    }
}
