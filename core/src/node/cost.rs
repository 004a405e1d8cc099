//! A relay without sockets, for the benchmarks. Its frames take the functions of the real data path (open, look up,
//! push, drain) to a medium that discards them, so that only the node's own cost is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;
use bytes::BytesMut;

pub(crate) mod destination;

use super::data_path::DeferredWork;
use super::state::NodeState;
use super::state::fib::{Fib, NextHops};
use super::{Limits, NodeConfig};
use crate::address::Address;
use crate::egress::{Class, Egress};
use crate::fixtures::handshake_pair::{Cipher, HandshakePair};
use crate::identity::Identity;
use crate::link::{Link, Sealer, Session};
use crate::netmod::{Endpoint, Netmod, NetmodError, Properties, Received, Train};
use crate::node::state::medium::Medium;
use crate::node::state::neighbour::{Neighbour, NeighbourParts};
use crate::wire::link::KIND_PACKET;
use crate::wire::packet::{self, HEADER, HOP_LIMIT};

/// Frames that a neighbour's task takes at once, and so the frames of one train here.
const BATCH: usize = 64;

/// A netmod that discards all frames and counts their bytes.
#[derive(Default)]
struct Nowhere {
    bytes: AtomicU64,
}

#[async_trait]
impl Netmod for Nowhere {
    fn scheme(&self) -> &str {
        "nowhere"
    }

    fn uri(&self) -> String {
        "nowhere:".to_owned()
    }

    fn properties(&self) -> Properties {
        Properties { mtu: 1452, max_train: BATCH, broadcast: false, cost: 0 }
    }

    async fn recv(&self, _: &mut Received) -> Result<(), NetmodError> {
        std::future::pending().await
    }

    async fn send(&self, _: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        self.bytes.fetch_add(train.bytes.len() as u64, Relaxed);
        Ok(())
    }

    async fn resolve(&self, _: &str) -> Result<Vec<Endpoint>, NetmodError> {
        Ok(Vec::new())
    }

    fn describe(&self, _: &Endpoint) -> String {
        String::new()
    }

    fn quota_key(&self, _: &Endpoint) -> u64 {
        0
    }
}

/// A node with two neighbours, which forwards the packets of one to the other.
pub struct Relay {
    shared: Arc<NodeState>,
    nowhere: Arc<Nowhere>,
    from: Arc<Neighbour>,
    link: Link,
    work: DeferredWork,
    /// The keys of the neighbour that sends.
    sealer: Sealer,
    destinations: Vec<Address>,
    next: usize,
    frames: Vec<BytesMut>,
}

impl Relay {
    /// A relay with routes to this many `destinations`, all over one neighbour.
    pub fn new(destinations: usize, cipher: Cipher) -> Self {
        let shared = Arc::new(idle());
        let nowhere = Arc::new(Nowhere::default());
        let medium = Arc::new(Medium::new(0, nowhere.clone()));
        let inward = HandshakePair::sessions(cipher);
        let outward = HandshakePair::sessions(cipher);
        let (from, link) = neighbour(&shared, &medium, 1, *inward.1);
        let (to, _) = neighbour(&shared, &medium, 2, *outward.0);
        let destinations = addresses(destinations);
        for destination in &destinations {
            shared.fib.insert(*destination, NextHops { next: to.clone(), alternate: None }, 1386);
        }
        let sealer = inward.0.sealer;
        let (next, frames, work) = (0, Vec::new(), DeferredWork::default());
        Relay { shared, nowhere, from, link, work, sealer, destinations, next, frames }
    }

    /// Seals `count` packets with payloads of `payload` bytes for one destination after the other, in trains as the
    /// sending neighbour does.
    pub fn trains(&mut self, count: usize, payload: usize) -> Vec<BytesMut> {
        let body = vec![7; payload];
        let size = payload + HEADER + Sealer::OVERHEAD;
        let most = (65_000 / size).min(BATCH);
        let mut left = count;
        let mut trains = Vec::new();
        while left > 0 {
            let now = left.min(most);
            let mut train = Vec::with_capacity(now * size);
            for _ in 0..now {
                // The step has no common factor with the number of destinations, so that their order defeats the
                // cache's prefetching.
                self.next = (self.next + 7919) % self.destinations.len();
                let destination = self.destinations[self.next];
                let sealed = self.sealer.seal(
                    |out| {
                        packet::write_header(out, Class::Bulk, 0, HOP_LIMIT, &destination);
                        out.extend_from_slice(&body);
                    },
                    &mut train,
                );
                assert!(sealed.is_ok());
            }
            trains.push(BytesMut::from(train.as_slice()));
            left -= now;
        }
        trains
    }

    /// The length of a frame with a payload of `payload` bytes.
    pub fn frame_len(payload: usize) -> usize {
        payload + HEADER + Sealer::OVERHEAD
    }

    /// Forwards the frames, each train as one batch of the neighbour's task. Returns handles on the trains' memory,
    /// which a medium would use again.
    pub fn forward(&mut self, trains: Vec<BytesMut>, size: usize) -> Vec<BytesMut> {
        let mut kept = Vec::with_capacity(trains.len());
        for mut train in trains {
            kept.push(train.split_off(train.len()));
            while !train.is_empty() {
                self.frames.push(train.split_to(size.min(train.len())));
            }
            let mut frames = std::mem::take(&mut self.frames);
            // The clock is read once for a batch, as the neighbour's task does.
            let now = self.shared.now();
            self.from.frames_arrived(&self.shared, now, &mut self.link, &mut frames, &mut self.work);
            self.frames = frames;
            self.work.finish(&self.shared);
        }
        kept
    }

    /// The bytes that were sent.
    pub fn sent(&self) -> u64 {
        self.nowhere.bytes.load(Relaxed)
    }
}

fn neighbour(
    shared: &Arc<NodeState>,
    medium: &Arc<Medium>,
    id: u32,
    session: Session,
) -> (Arc<Neighbour>, Link) {
    let (address, path, mtu) = (session.peer, session.path, session.mtu);
    let egress = Egress::new(medium.netmod.clone(), path.endpoint, session.sealer);
    let link = Link::new(shared.now(), address, session.opener, mtu, [5; 32]);
    let made = NeighbourParts {
        id,
        address,
        path,
        medium: medium.clone(),
        initiator: session.initiator,
        local_index: session.local_index,
        mtu,
        configured: false,
        egress,
        metrics: link.metrics(),
    };
    (Arc::new(Neighbour::new(made, shared.limits().inbox_frames)), link)
}

/// This many neighbours of a node without tasks.
pub(crate) fn neighbours(count: u32) -> (Arc<NodeState>, Vec<Arc<Neighbour>>) {
    let shared = Arc::new(idle());
    let medium = Arc::new(Medium::new(0, Arc::new(Nowhere::default())));
    let make = |id| neighbour(&shared, &medium, id, *HandshakePair::sessions(Cipher::Aes).0).0;
    let made = (1..=count).map(make).collect();
    (shared, made)
}

/// The state of a node without its tasks.
fn idle() -> NodeState {
    let limits = Limits::default();
    let config = NodeConfig { name: None, limits, epoch_file: None, mesh_key: None };
    NodeState::new(Identity::from_seed(&[3; 32]), config, [9; 32].into())
}

/// Addresses without any order, as public keys are.
pub(crate) fn addresses(count: usize) -> Vec<Address> {
    (0..count).map(|n| Address::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())).collect()
}

/// The part of the codec in a packet's cost: the header, and a copy of the payload.
pub struct Codec {
    destination: Address,
    out: Vec<u8>,
}

impl Default for Codec {
    fn default() -> Self {
        Codec { destination: Address::from_bytes([9; 32]), out: Vec::with_capacity(2048) }
    }
}

impl Codec {
    /// Writes a packet; returns its bytes.
    pub fn encode(&mut self, payload: &[u8]) -> &[u8] {
        self.out.clear();
        packet::write_header(&mut self.out, Class::Bulk, 0, HOP_LIMIT, &self.destination);
        self.out.extend_from_slice(payload);
        &self.out
    }

    /// Reads a packet; returns its payload.
    pub fn decode(packet: &[u8]) -> Option<&[u8]> {
        let header = packet::read_header(packet)?;
        debug_assert_eq!(packet.first(), Some(&KIND_PACKET));
        std::hint::black_box(header);
        packet.get(HEADER..)
    }
}

/// The table of routes, with a writer.
pub struct Routes {
    fib: Fib,
    ways: [Arc<Neighbour>; 2],
    destinations: Vec<Address>,
}

impl Routes {
    /// An empty table, and this many destinations for it.
    pub fn new(destinations: usize) -> Self {
        let (_, ways) = neighbours(2);
        let Ok(ways) = <[_; 2]>::try_from(ways) else { unreachable!("two were asked for") };
        Routes { fib: Fib::default(), ways, destinations: addresses(destinations) }
    }

    /// Installs or changes the routes to all destinations, over one of two neighbours.
    pub fn install_all(&self, which: bool) {
        let next = &self.ways[usize::from(which)];
        for destination in &self.destinations {
            self.fib.insert(*destination, NextHops { next: next.clone(), alternate: None }, 1386);
        }
    }

    /// Removes all routes.
    pub fn remove_all(&self) {
        for destination in &self.destinations {
            self.fib.remove(destination);
        }
    }

    /// Looks up one of the destinations; returns whether it has a route.
    pub fn look(&self, n: usize) -> bool {
        let destination = &self.destinations[n % self.destinations.len()];
        self.fib.snapshot().get(destination).is_some_and(|found| found.mtu > 0)
    }
}
