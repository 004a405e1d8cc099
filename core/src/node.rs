//! A node that reaches its own addresses only.
#![allow(missing_docs, dead_code)]

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_listener::Event as Bell;
use futures::Stream;

use crate::netmod::Netmod;
use crate::types::*;
use crate::{Address, Identity};

/// The node has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopped;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("no network module takes `{scheme}:`")]
    NoNetmod { scheme: String },
    #[error("{0}")]
    Invalid(String),
    #[error("this peer is not dialled")]
    Unknown,
    #[error("the node is stopping")]
    Stopped,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    #[error("no network module could be opened: {}", reasons.join("; "))]
    NoNetmod { reasons: Vec<String> },
    #[error("{0}")]
    Peer(#[from] PeerError),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub neighbours: usize,
    pub senders: usize,
    pub destinations: usize,
    pub inbox_frames: usize,
    pub inbox_messages: usize,
    /// Bytes.
    pub reassembly: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            neighbours: 256,
            senders: 4096,
            destinations: 32768,
            inbox_frames: 1024,
            inbox_messages: 4096,
            reassembly: 64 << 20,
        }
    }
}

#[derive(Debug)]
pub struct Sent {
    pub id: MessageId,
    pub durable: bool,
    pub bytes: u64,
    since: Instant,
    to: Address,
    here: bool,
    ttl: Duration,
}

impl Sent {
    pub async fn delivered(self) -> Result<Receipt, SendError> {
        if !self.here {
            crate::rt::sleep(self.ttl).await;
            return Err(SendError::Expired(self.to));
        }
        let elapsed_us = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(Receipt { id: self.id, elapsed_us })
    }
}

#[derive(Default)]
pub struct NodeBuilder {
    identity: Option<Identity>,
    name: Option<String>,
    netmods: Vec<Arc<dyn Netmod>>,
    peers: Vec<String>,
}

impl NodeBuilder {
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
    pub fn netmod(self, netmod: impl Netmod) -> Self {
        self.netmod_arc(Arc::new(netmod))
    }
    pub fn netmod_arc(mut self, netmod: Arc<dyn Netmod>) -> Self {
        self.netmods.push(netmod);
        self
    }
    pub fn peer(mut self, uri: impl Into<String>) -> Self {
        self.peers.push(uri.into());
        self
    }
    pub fn epoch_file(self, _path: PathBuf) -> Self {
        self
    }
    pub fn limits(self, _limits: Limits) -> Self {
        self
    }
    pub fn mesh_key(self, _key: Option<[u8; 32]>) -> Self {
        self
    }
    pub async fn start(self) -> Result<Node, StartError> {
        let mut reasons = Vec::new();
        for netmod in &self.netmods {
            if let Err(error) = netmod.open().await {
                reasons.push(format!("{}: {error}", netmod.uri()));
            }
        }
        if !reasons.is_empty() && reasons.len() == self.netmods.len() {
            return Err(StartError::NoNetmod { reasons });
        }
        let identity = self.identity.unwrap_or_else(Identity::generate);
        let address = identity.address();
        let node = Node {
            inner: Arc::new(Inner {
                address,
                name: self.name,
                started: Instant::now(),
                netmods: self.netmods,
                state: Mutex::default(),
                bell: Bell::new(),
            }),
        };
        node.add_identity(identity);
        for uri in self.peers {
            node.add_peer(&uri).await?;
        }
        Ok(node)
    }
}

#[derive(Default)]
struct State {
    inboxes: BTreeMap<Address, VecDeque<Message>>,
    peers: Vec<String>,
    serial: u128,
    subscribers: Vec<futures::channel::mpsc::UnboundedSender<(Timestamp, Event)>>,
    stopped: bool,
}

struct Inner {
    address: Address,
    name: Option<String>,
    started: Instant,
    netmods: Vec<Arc<dyn Netmod>>,
    state: Mutex<State>,
    bell: Bell,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Clone)]
pub struct Mailbox {
    node: Node,
    address: Address,
}

impl Mailbox {
    pub async fn recv(&self) -> Result<Message, Stopped> {
        self.node.take(&self.address, None).await
    }
    pub async fn recv_from(&self, peer: &Address) -> Result<Message, Stopped> {
        self.node.take(&self.address, Some(peer)).await
    }
    pub async fn recv_batch(&self, limit: usize) -> Result<Vec<Message>, Stopped> {
        let first = self.recv().await?;
        let mut batch = vec![first];
        let mut state = self.node.inner.lock();
        if let Some(inbox) = state.inboxes.get_mut(&self.address) {
            while batch.len() < limit {
                let Some(message) = inbox.pop_front() else { break };
                batch.push(message);
            }
        }
        Ok(batch)
    }
    pub fn unrecv(&self, message: Message) {
        self.node.unrecv(message);
    }
}

impl Node {
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }
    pub fn address(&self) -> Address {
        self.inner.address
    }
    pub async fn send(&self, to: &Address, body: impl Into<Body>) -> Result<Sent, SendError> {
        self.try_send(Outgoing::new(*to, body))
    }
    pub async fn submit(&self, message: Outgoing) -> Result<Sent, SendError> {
        self.try_send(message)
    }
    pub fn try_send(&self, message: Outgoing) -> Result<Sent, SendError> {
        let bytes = message.body.len() as u64;
        if message.body.len() > MAX_MESSAGE {
            return Err(SendError::TooLong { length: bytes });
        }
        let mut state = self.inner.lock();
        let from = message.from.unwrap_or(self.inner.address);
        if state.stopped {
            return Err(SendError::Stopped);
        }
        if !state.inboxes.contains_key(&from) {
            return Err(SendError::NotOurs(from));
        }
        state.serial += 1;
        let id = MessageId(state.serial.to_be_bytes());
        let now = Timestamp::now();
        let here = match state.inboxes.get_mut(&message.to) {
            Some(inbox) => {
                inbox.push_back(Message {
                    id,
                    from,
                    to: message.to,
                    sent_at: now,
                    received_at: now,
                    protection: Protection::Local,
                    body: message.body,
                });
                true
            }
            None => false,
        };
        if here {
            let event = Event::MessageReceived { id, from, to: message.to, bytes };
            state.subscribers.retain(|sender| sender.unbounded_send((now, event.clone())).is_ok());
        }
        drop(state);
        self.inner.bell.notify(usize::MAX);
        let ttl = Duration::from_millis(message.ttl_ms);
        Ok(Sent { id, durable: false, bytes, since: Instant::now(), to: message.to, here, ttl })
    }
    pub async fn send_batch(&self, batch: Vec<Outgoing>) -> Result<Vec<Sent>, SendError> {
        batch.into_iter().map(|message| self.try_send(message)).collect()
    }
    async fn take(&self, to: &Address, from: Option<&Address>) -> Result<Message, Stopped> {
        loop {
            let listener = self.inner.bell.listen();
            {
                let mut state = self.inner.lock();
                if state.stopped {
                    return Err(Stopped);
                }
                let inbox = state.inboxes.get_mut(to).ok_or(Stopped)?;
                let at = inbox.iter().position(|message| from.is_none_or(|from| message.from == *from));
                if let Some(message) = at.and_then(|at| inbox.remove(at)) {
                    return Ok(message);
                }
            }
            listener.await;
        }
    }
    fn first(&self) -> Mailbox {
        Mailbox { node: self.clone(), address: self.inner.address }
    }
    pub async fn recv(&self) -> Result<Message, Stopped> {
        self.first().recv().await
    }
    pub async fn recv_batch(&self, limit: usize) -> Result<Vec<Message>, Stopped> {
        self.first().recv_batch(limit).await
    }
    pub async fn recv_from(&self, peer: &Address) -> Result<Message, Stopped> {
        self.first().recv_from(peer).await
    }
    pub fn messages(&self) -> impl Stream<Item = Message> + use<> {
        futures::stream::unfold(self.clone(), |node| async move { Some((node.recv().await.ok()?, node)) })
    }
    pub fn unrecv(&self, message: Message) {
        if let Some(inbox) = self.inner.lock().inboxes.get_mut(&message.to) {
            inbox.push_front(message);
        }
        self.inner.bell.notify(usize::MAX);
    }
    pub fn mailbox(&self, address: &Address) -> Option<Mailbox> {
        let known = self.inner.lock().inboxes.contains_key(address);
        known.then(|| Mailbox { node: self.clone(), address: *address })
    }
    pub async fn status(&self) -> Status {
        let netmods = self.inner.netmods.iter().map(|netmod| NetmodStatus {
            uri: netmod.uri(),
            state: NetmodState::Up,
            mtu: netmod.properties().mtu as u64,
            rx_frames: 0,
            tx_frames: 0,
            rx_bytes: 0,
            tx_bytes: 0,
            last_error: None,
        });
        let stats = crate::stats::Stats::default();
        Status {
            address: self.inner.address,
            name: self.inner.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: self.inner.started.elapsed().as_secs(),
            netmods: netmods.collect(),
            neighbours: 0,
            routes: 0,
            journal: Waiting::default(),
            counters: stats.counters(),
            drops: stats.drops(),
            health: Vec::new(),
        }
    }
    pub async fn peers(&self) -> Vec<Peer> {
        Vec::new()
    }
    pub async fn routes(&self) -> Vec<Route> {
        Vec::new()
    }
    pub async fn dialled(&self) -> Vec<Dialled> {
        let state = self.inner.lock();
        let dialled = |uri: &String| Dialled { uri: uri.clone(), state: PeerState::Connecting };
        state.peers.iter().map(dialled).collect()
    }
    pub async fn ping(&self, peer: &Address, _timeout: Duration) -> Result<Pong, PingError> {
        match self.inner.lock().inboxes.contains_key(peer) {
            true => Ok(Pong { rtt_us: 1, hops: 0 }),
            false => Err(PingError::NoRoute(*peer)),
        }
    }
    pub async fn trace(
        &self,
        peer: &Address,
        _max_hops: u8,
        timeout_per_hop: Duration,
    ) -> impl Stream<Item = Result<Hop, PingError>> + use<> {
        let pong = self.ping(peer, timeout_per_hop).await;
        let address = *peer;
        futures::stream::iter([pong.map(|pong| Hop { hop: pong.hops, address, rtt_us: pong.rtt_us })])
    }
    pub async fn add_peer(&self, uri: &str) -> Result<(), PeerError> {
        let scheme = uri.split_once(':').map(|(scheme, _)| scheme);
        let Some(scheme) = scheme else {
            return Err(PeerError::Invalid(format!("`{uri}` is not a URI such as udp:192.0.2.7:7700")));
        };
        if !self.inner.netmods.iter().any(|netmod| netmod.scheme() == scheme) {
            return Err(PeerError::NoNetmod { scheme: scheme.into() });
        }
        self.inner.lock().peers.push(uri.into());
        Ok(())
    }
    pub async fn remove_peer(&self, uri: &str) -> Result<(), PeerError> {
        let mut state = self.inner.lock();
        let before = state.peers.len();
        state.peers.retain(|known| known != uri);
        if state.peers.len() == before { Err(PeerError::Unknown) } else { Ok(()) }
    }
    pub fn add_identity(&self, identity: Identity) {
        self.inner.lock().inboxes.entry(identity.address()).or_default();
    }
    pub fn remove_identity(&self, address: &Address) -> bool {
        self.inner.lock().inboxes.remove(address).is_some()
    }
    pub fn addresses(&self) -> Vec<Address> {
        self.inner.lock().inboxes.keys().copied().collect()
    }
    pub fn events(&self) -> impl Stream<Item = (Timestamp, Event)> + use<> {
        let (sender, receiver) = futures::channel::mpsc::unbounded();
        self.inner.lock().subscribers.push(sender);
        receiver
    }
    pub async fn stop(&self) {
        let mut state = self.inner.lock();
        state.stopped = true;
        state.subscribers.clear();
        drop(state);
        self.inner.bell.notify(usize::MAX);
    }
}
