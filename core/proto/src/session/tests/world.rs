//! Nodes with sessions, a channel between them that loses, repeats, reorders and corrupts, and a virtual clock.
//!
//! Each node has a small layer above its sessions: it queues items, seals them when there is a session, repeats each until
//! its acknowledgement arrives, and doubts the session when none arrives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

use crate::address::Address;
use crate::identity::Identity;
use crate::link::Suite;
use crate::session::{EndReason, Opened, PreviousHop, SessionInput, SessionOutput, Sessions, Standing};
use crate::stats::DropCause;
use crate::time::Time;
use crate::types::Ends;
use crate::wire::session::{PAYLOAD_PART, PAYLOAD_SESSION};

/// The first byte of an item, and of an acknowledgement.
const ITEM: u8 = 1;
const ACK: u8 = 2;
/// The time after which an item is sent again.
const RESEND: Duration = Duration::from_millis(400);

/// The faults of the channel, in hundredths of the packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) loss: u32,
    pub(super) duplicates: u32,
    pub(super) reordering: u32,
    pub(super) corruption: u32,
}

/// A choice of packets, by their number among all that were sent.
type Filter = Box<dyn FnMut(usize, &Flight) -> bool>;

/// A packet on its way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) payload: Vec<u8>,
}

impl Flight {
    pub(super) fn is_part(&self) -> bool {
        self.payload[0] == PAYLOAD_PART
    }
}

struct Item {
    id: u64,
    next: Time,
    tries: u32,
}

pub(super) struct TestNode {
    pub(super) address: Address,
    pub(super) sessions: Sessions,
    /// Items that are not acknowledged, by the node that they are for.
    queues: BTreeMap<usize, VecDeque<Item>>,
    /// Items that have arrived, by the node that sealed them, in order of arrival.
    pub(super) arrived: BTreeMap<usize, Vec<u64>>,
    /// All contents that have opened. Each sealed content is unique, so none may open twice.
    opened: BTreeSet<(usize, Vec<u8>)>,
    /// The sessions that were reported, and the standing of the peer.
    pub(super) ready: Vec<(usize, Standing)>,
    pub(super) ended: Vec<(usize, EndReason)>,
    pub(super) drops: BTreeMap<&'static str, u64>,
    sealed: u64,
}

pub(super) struct World {
    pub(super) now: Time,
    pub(super) nodes: Vec<TestNode>,
    pub(super) faults: Faults,
    flights: BTreeMap<(Time, u64), Flight>,
    /// All packets that were sent.
    pub(super) sent: Vec<Flight>,
    /// The packets that are lost.
    pub(super) filter: Filter,
    /// The node that all packets come over; each comes from its sender itself where it is `None`.
    pub(super) relay: Option<usize>,
    rng: ChaCha20Rng,
    numbers: u64,
}

pub(super) fn standing(node: usize) -> Standing {
    Standing { incarnation: 100 + node as u64, floor: 7, peer_incarnation: 3, taken: 9 }
}

pub(super) fn identity(node: usize) -> Identity {
    Identity::from_seed(&[node as u8 + 1; 32])
}

impl World {
    /// Nodes in the order of their addresses, so that the first is the lowest.
    pub(super) fn new(count: usize, seed: u64) -> Self {
        let mut identities: Vec<_> = (0..count).map(identity).collect();
        identities.sort_by_key(Identity::address);
        let mut nodes = Vec::new();
        for (number, identity) in identities.iter().enumerate() {
            let mut randomness = [number as u8 + 1; 32];
            randomness[8..16].copy_from_slice(&seed.to_le_bytes());
            let mut sessions = Sessions::with_suites(randomness, Suite::CHACHA);
            sessions.add_local(identity);
            nodes.push(TestNode {
                address: identity.address(),
                sessions,
                queues: BTreeMap::new(),
                arrived: BTreeMap::new(),
                opened: BTreeSet::new(),
                ready: Vec::new(),
                ended: Vec::new(),
                drops: BTreeMap::new(),
                sealed: 0,
            });
        }
        World {
            now: Time::from_millis(1000),
            nodes,
            faults: Faults::default(),
            flights: BTreeMap::new(),
            sent: Vec::new(),
            filter: Box::new(|_, _| false),
            relay: None,
            rng: ChaCha20Rng::seed_from_u64(seed),
            numbers: 0,
        }
    }

    pub(super) fn pair(&self, local: usize, peer: usize) -> Ends {
        Ends { local: self.nodes[local].address, peer: self.nodes[peer].address }
    }

    fn number_of(&self, address: &Address) -> usize {
        self.nodes.iter().position(|node| node.address == *address).expect("a node of this world")
    }

    pub(super) fn hop(&self, neighbour: usize) -> PreviousHop {
        let neighbour_address = self.nodes[neighbour].address;
        PreviousHop { neighbour: neighbour_address, host: neighbour as u64, group: neighbour as u64 }
    }

    /// Queues items at a node for another.
    pub(super) fn queue(&mut self, from: usize, to: usize, ids: std::ops::Range<u64>) {
        let items = ids.map(|id| Item { id, next: self.now, tries: 0 });
        self.nodes[from].queues.entry(to).or_default().extend(items);
        let pair = self.pair(from, to);
        let input = SessionInput::Connect { pair, standing: standing(from) };
        self.nodes[from].sessions.handle(self.now, input).unwrap();
        self.send_items(from);
        self.collect(from);
    }

    pub(super) fn input(&mut self, node: usize, input: SessionInput<'_>) -> Result<(), DropCause> {
        let result = self.nodes[node].sessions.handle(self.now, input);
        self.collect(node);
        result
    }

    /// Whether all items have arrived and are acknowledged.
    pub(super) fn is_done(&self) -> bool {
        self.nodes.iter().all(|node| node.queues.values().all(VecDeque::is_empty))
    }

    /// Lets time pass. Returns early when `until` holds.
    pub(super) fn run(&mut self, span: Duration, until: impl Fn(&World) -> bool) -> bool {
        let end = self.now + span;
        while !until(self) {
            let Some(next) = self.next_event().filter(|next| *next <= end) else {
                self.now = end;
                return until(self);
            };
            self.now = self.now.max(next);
            self.step();
        }
        true
    }

    pub(super) fn pass(&mut self, span: Duration) {
        self.run(span, |_| false);
    }

    fn next_event(&self) -> Option<Time> {
        let flights = self.flights.keys().next().map(|(time, _)| *time);
        let deadlines = self.nodes.iter().filter_map(|node| node.sessions.next_deadline());
        let items = self.nodes.iter().enumerate().flat_map(|(number, node)| {
            let ready = move |to: &usize| node.sessions.is_ready(&self.pair(number, *to));
            let queues = node.queues.iter().filter(move |(to, _)| ready(to));
            queues.flat_map(|(_, queue)| queue.iter().map(|item| item.next))
        });
        deadlines.chain(items).chain(flights).min()
    }

    fn step(&mut self) {
        while let Some(entry) = self.flights.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let flight = entry.remove();
            self.deliver(flight);
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].sessions.next_deadline().is_some_and(|due| due <= self.now) {
                self.nodes[node].sessions.handle_timeout(self.now);
                let next = self.nodes[node].sessions.next_deadline();
                assert!(next.is_none_or(|next| next > self.now), "a timer that was handled is not due again");
            }
            self.send_items(node);
            self.collect(node);
        }
    }

    /// Seals the items that are due.
    fn send_items(&mut self, from: usize) {
        let targets: Vec<_> = self.nodes[from].queues.keys().copied().collect();
        for to in targets {
            let pair = self.pair(from, to);
            let node = &mut self.nodes[from];
            if !node.sessions.is_ready(&pair) {
                continue;
            }
            let mut doubted = false;
            let mut due = Vec::new();
            for item in node.queues.get_mut(&to).into_iter().flatten().filter(|item| item.next <= self.now) {
                (item.next, item.tries) = (self.now + RESEND, item.tries + 1);
                doubted |= item.tries % 4 == 0;
                due.push(item.id);
            }
            due.into_iter().for_each(|id| self.seal(from, to, ITEM, id));
            if doubted {
                let input = SessionInput::Renew { pair, standing: standing(from) };
                self.nodes[from].sessions.handle(self.now, input).unwrap();
            }
        }
    }

    fn seal(&mut self, from: usize, to: usize, kind: u8, id: u64) {
        let pair = self.pair(from, to);
        let node = &mut self.nodes[from];
        node.sealed += 1;
        let unique = node.sealed;
        let mut payload = Vec::new();
        let content = |out: &mut Vec<u8>| {
            out.push(kind);
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&unique.to_le_bytes());
            true
        };
        if node.sessions.seal(self.now, &pair, content, &mut payload).is_ok() {
            self.transmit(Flight { from, to, payload });
        }
    }

    fn chance(&mut self, hundredths: u32) -> bool {
        self.rng.next_u32() % 100 < hundredths
    }

    pub(super) fn transmit(&mut self, flight: Flight) {
        let number = self.sent.len();
        self.sent.push(flight.clone());
        let lost = (self.filter)(number, &flight);
        if lost || self.chance(self.faults.loss) {
            return;
        }
        let copies = if self.chance(self.faults.duplicates) { 2 } else { 1 };
        for _ in 0..copies {
            let mut flight = flight.clone();
            let late = if self.chance(self.faults.reordering) { self.rng.next_u32() % 700 } else { 0 };
            if self.chance(self.faults.corruption) {
                let at = self.rng.next_u32() as usize % flight.payload.len();
                flight.payload[at] ^= 1 << (self.rng.next_u32() % 8);
            }
            self.numbers += 1;
            let time = self.now + Duration::from_millis(20 + u64::from(late));
            self.flights.insert((time, self.numbers), flight);
        }
    }

    /// Hands a packet to its destination.
    pub(super) fn deliver(&mut self, flight: Flight) {
        let Flight { from, to, mut payload } = flight;
        let hop = self.hop(self.relay.unwrap_or(from));
        let node = &mut self.nodes[to];
        let local = node.address;
        let mut item = None;
        let result = match payload.first() {
            Some(&PAYLOAD_PART) => {
                node.sessions.handle(self.now, SessionInput::Part { local, hop, payload: &payload })
            }
            Some(&PAYLOAD_SESSION) => node.sessions.open(self.now, &local, &mut payload).map(|opened| {
                let Opened { peer, content, .. } = opened;
                item = content.map(|content| (peer, content.to_vec()));
            }),
            _ => Err(DropCause::MalformedPacket),
        };
        if let Err(cause) = result {
            *node.drops.entry(cause.name()).or_default() += 1;
        }
        if let Some((peer, content)) = item {
            self.take(to, &peer, content);
        }
        self.collect(to);
    }

    fn take(&mut self, to: usize, peer: &Address, content: Vec<u8>) {
        let from = self.number_of(peer);
        let id = u64::from_le_bytes(content[1..9].try_into().unwrap());
        let kind = content[0];
        assert!(self.nodes[to].opened.insert((from, content)), "a packet has opened twice");
        match kind {
            ITEM => {
                let arrived = self.nodes[to].arrived.entry(from).or_default();
                if !arrived.contains(&id) {
                    arrived.push(id);
                }
                self.seal(to, from, ACK, id);
            }
            _ => {
                let queue = self.nodes[to].queues.get_mut(&from).expect("an item was sent");
                queue.retain(|item| item.id != id);
            }
        }
    }

    /// Does what the sessions of a node request.
    fn collect(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].sessions.poll_output() {
            match output {
                SessionOutput::Transmit { pair, payload, .. } => {
                    let to = self.number_of(&pair.peer);
                    self.transmit(Flight { from: node, to, payload });
                }
                SessionOutput::Requested { pair, .. } => {
                    let input = SessionInput::Accept { pair, standing: standing(node) };
                    self.nodes[node].sessions.handle(self.now, input).unwrap();
                }
                SessionOutput::Ready { pair, standing } => {
                    let peer = self.number_of(&pair.peer);
                    self.nodes[node].ready.push((peer, standing));
                    self.send_items(node);
                }
                SessionOutput::Ended { pair, reason } => {
                    let peer = self.number_of(&pair.peer);
                    self.nodes[node].ended.push((peer, reason));
                    let waits = self.nodes[node].queues.get(&peer).is_some_and(|queue| !queue.is_empty());
                    if waits {
                        let input = SessionInput::Connect { pair, standing: standing(node) };
                        self.nodes[node].sessions.handle(self.now, input).unwrap();
                    }
                }
            }
        }
    }

    /// Replaces the sessions of a node, as a restart does. What was queued there stays.
    pub(super) fn restart(&mut self, node: usize) {
        let address = self.nodes[node].address;
        let identity = (0..self.nodes.len()).map(identity).find(|one| one.address() == address).unwrap();
        let mut sessions = Sessions::with_suites([200 + node as u8; 32], Suite::CHACHA);
        sessions.add_local(&identity);
        self.nodes[node].sessions = sessions;
        self.nodes[node].opened.clear();
        // The layer above asks for a session again for each peer that it has something for.
        let waiting: Vec<_> = self.nodes[node]
            .queues
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|(to, _)| *to)
            .collect();
        for to in waiting {
            let input = SessionInput::Connect { pair: self.pair(node, to), standing: standing(node) };
            self.nodes[node].sessions.handle(self.now, input).unwrap();
        }
        self.collect(node);
    }
}
