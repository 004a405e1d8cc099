//! A whole node as a relay, between a neighbour that sends and one that announces destinations.

use std::time::Duration;

use bytes::BytesMut;
use rouse_adversary::WiredNode;
use rouse_adversary::raw::control_messages::{RawAnnounce, RawAttributes, RawRecord, chain};
use rouse_core::{Address, Identity, Node};
use rouse_proto::link::Sealer;
use rouse_proto::wire::packet::{self, Class, HEADER, HOP_LIMIT};
use rouse_tests::handshake_pair::Cipher;

/// Frames of one train, as many as a neighbour's task takes at once.
const BATCH: usize = 64;
/// The link over which the packets arrive, and that over which they leave.
const FROM: usize = 0;
const TO: usize = 1;
/// The destinations that a node learns at once, and those that it learns in a second after that (section 8 of the specification).
const BURST: usize = 2000;
const EACH_SECOND: usize = 19;

/// The announce of a destination, as its neighbour passes it on.
pub(crate) fn announced(number: u32) -> (Address, RawRecord) {
    let mut seed = [6; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    let (secret, hops, remaining) = ([7; 16], 1, u16::MAX);
    let announce = RawAnnounce::new(&Identity::from_seed(&seed), 1, remaining, secret);
    let chain = chain(&announce.dst, announce.seq, secret, hops);
    let attributes = RawAttributes { idx: number, metric: 40, hops, mtu: 1386, remaining, chain };
    (announce.dst, RawRecord::Announce(announce, attributes))
}

/// A node with two neighbours, which forwards the packets of one to the other.
pub(crate) struct Relay {
    node: WiredNode,
    destinations: Vec<Address>,
    next: usize,
}

impl Relay {
    /// A relay with routes to these destinations, all over one neighbour.
    pub(crate) fn new(announced: &[(Address, RawRecord)], cipher: Cipher) -> Self {
        let builder = Node::builder().identity(Identity::from_seed(&[3; 32])).seed([9; 32]);
        let mut node = WiredNode::start(builder, 2, cipher.offered());
        let records: Vec<_> = announced.iter().map(|(_, record)| record.clone()).collect();
        let (first, others) = records.split_at(records.len().min(BURST));
        node.announce(TO, first);
        for more in others.chunks(EACH_SECOND) {
            node.pass(Duration::from_secs(1));
            node.announce(TO, more);
        }
        node.pass(Duration::from_secs(10));
        assert!(node.routes() >= records.len(), "{} routes of {}", node.routes(), records.len());
        let destinations = announced.iter().map(|(address, _)| *address).collect();
        Relay { node, destinations, next: 0 }
    }

    /// Seals `count` packets with payloads of `payload` bytes for one destination after the other, in trains as the
    /// sending neighbour does.
    pub(crate) fn trains(&mut self, count: usize, payload: usize) -> Vec<BytesMut> {
        // The neighbours are kept alive between two rounds, and no time passes within one.
        self.node.lose_all(false);
        self.node.pass(Duration::from_millis(100));
        let body = vec![7; payload];
        let size = Relay::frame_len(payload);
        let most = (65_000 / size).min(BATCH);
        let mut left = count;
        let mut trains = Vec::new();
        while left > 0 {
            let now = left.min(most);
            let mut train = BytesMut::with_capacity(now * size);
            for _ in 0..now {
                // The step has no common factor with the number of destinations, so that their order defeats the
                // cache's prefetching.
                self.next = (self.next + 7919) % self.destinations.len();
                let mut packet = Vec::with_capacity(HEADER + payload);
                let destination = &self.destinations[self.next];
                packet::write_header(&mut packet, Class::Bulk, 0, HOP_LIMIT, destination);
                packet.extend_from_slice(&body);
                train.extend_from_slice(&self.node.seal(FROM, &packet));
            }
            trains.push(train);
            left -= now;
        }
        self.node.lose_all(true);
        trains
    }

    /// The length of a frame with a payload of `payload` bytes.
    pub(crate) fn frame_len(payload: usize) -> usize {
        payload + HEADER + Sealer::OVERHEAD
    }

    /// Forwards the frames, each train as one batch of the neighbour's task. Returns handles on the trains' memory,
    /// which a medium would use again.
    pub(crate) fn forward(&mut self, trains: Vec<BytesMut>, size: usize) -> Vec<BytesMut> {
        let mut kept = Vec::with_capacity(trains.len());
        for mut train in trains {
            kept.push(train.split_off(train.len()));
            self.node.arrive(FROM, train, size);
        }
        kept
    }

    /// The bytes that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.node.sent()
    }
}
