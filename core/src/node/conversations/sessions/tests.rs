//! Two nodes whose packets all go through the hands of one relay, which is the test: it records, loses, repeats, changes
//! and invents packets. The nodes have no tasks and a clock that the test sets, since otherwise no run would repeat.

mod hostile_relay;
mod memory;
mod restarts;
mod unanswered;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;

use super::*;
use crate::egress::Egress;
use crate::identity::Identity;
use crate::link::{
    FrameContent, HandshakeOutput, Handshakes, Link, LinkConfig, Path, Session as LinkSession, Source,
};
use crate::netmod::{Endpoint, Netmod, NetmodError, Properties, Received, Train};
use crate::node::NodeConfig;
use crate::node::data_path::packets_arrived;
use crate::node::state::fib::NextHops;
use crate::node::state::locks::read;
use crate::node::state::medium::Medium;
use crate::node::state::neighbour::{Neighbour, NeighbourParts};
use crate::types::{Message, Outgoing};
use crate::wire::link::KIND_PACKET;

/// The frame length of the links to the relay.
const MTU: usize = 1200;
/// The step of the clock.
const STEP: Duration = Duration::from_millis(5);

/// A medium that keeps all frames for the test. The relay takes them from here, because a task would take them in any order.
#[derive(Default)]
struct Tape(Mutex<VecDeque<Vec<u8>>>);

#[async_trait]
impl Netmod for Tape {
    fn scheme(&self) -> &str {
        "tape"
    }

    fn uri(&self) -> String {
        "tape:".to_owned()
    }

    fn properties(&self) -> Properties {
        Properties { mtu: MTU, max_train: 64, broadcast: false, cost: 0 }
    }

    async fn recv(&self, _: &mut Received) -> Result<(), NetmodError> {
        std::future::pending().await
    }

    async fn send(&self, _: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        lock(&self.0).extend(train.frames().map(<[u8]>::to_vec));
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

fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

/// Both ends of a link between two identities, the first one's first.
fn link_sessions(identities: [Identity; 2]) -> [LinkSession; 2] {
    let path = Path { netmod: 0, endpoint: Endpoint::new(b"relay").unwrap() };
    let [mut us, mut them] = identities.map(|one| Handshakes::new(&one, LinkConfig::default(), [4; 32]));
    us.dial(Time::ZERO, path, MTU);
    let mut ours = None;
    loop {
        while let Some(output) = us.poll_output() {
            match output {
                HandshakeOutput::Transmit { frame, .. } => {
                    them.handle(Time::ZERO, path, Source::default(), MTU, &frame).unwrap();
                }
                HandshakeOutput::Established(session) => ours = Some(*session),
                HandshakeOutput::Failed { reason, .. } => panic!("{reason}"),
            }
        }
        while let Some(output) = them.poll_output() {
            match output {
                HandshakeOutput::Transmit { frame, .. } => {
                    us.handle(Time::ZERO, path, Source::default(), MTU, &frame).unwrap();
                }
                HandshakeOutput::Established(theirs) => return [ours.expect("the finish came"), *theirs],
                HandshakeOutput::Failed { reason, .. } => panic!("{reason}"),
            }
        }
    }
}

/// A node with a route to the other one over its link to the relay. The routes are fixed, since the bench has no router.
struct BenchNode {
    shared: Arc<NodeState>,
    tape: Arc<Tape>,
    neighbour: Arc<Neighbour>,
    /// The relay's end of the link.
    relay: Link,
    work: DeferredWork,
    inbox: Vec<Message>,
}

impl BenchNode {
    /// A run of the node `number`, which has another seed than its runs before.
    fn start(number: usize, run: u8) -> Self {
        let own = || identity(number as u8 + 1);
        let config = NodeConfig::default();
        let shared = Arc::new(NodeState::new(own(), config, [10 * run + number as u8; 32].into()));
        // There is no router that would take its events, so a full queue would hold the node up.
        shared.router.close();
        let tape = Arc::new(Tape::default());
        let [session, theirs] = link_sessions([own(), identity(99)]);
        let medium = Arc::new(Medium::new(0, tape.clone()));
        let link = Link::new(shared.now(), session.peer, session.opener, MTU, [7; 32]);
        let neighbour = Arc::new(Neighbour::new(
            NeighbourParts {
                id: 1,
                address: session.peer,
                path: session.path,
                initiator: true,
                local_index: session.local_index,
                mtu: MTU,
                configured: false,
                egress: Egress::new(medium.netmod.clone(), session.path.endpoint, session.sealer),
                metrics: link.metrics(),
                medium,
            },
            1024,
        ));
        let work = DeferredWork::of(neighbour.address, neighbour.origin());
        let relay = Link::new(shared.now(), theirs.peer, theirs.opener, MTU, [8; 32]);
        let node = BenchNode { shared, tape, neighbour, relay, work, inbox: Vec::new() };
        node.add_route(identity(2 - number as u8).address());
        node
    }

    fn add_route(&self, destination: Address) {
        let next_hops = NextHops { next: self.neighbour.clone(), alternate: None };
        self.shared.fib.insert(destination, next_hops, MTU - 66);
    }

    fn address(&self) -> Address {
        self.shared.identity.address()
    }

    /// Does all that is due, and returns the packets that leave.
    fn poll(&mut self) -> Vec<Vec<u8>> {
        assert!(Conversations::run(self.shared.clone()).now_or_never().is_none(), "it has no end");
        assert!(Conversations::run_sessions(self.shared.clone()).now_or_never().is_none(), "it has no end");
        let mailbox = read(&self.shared.mailboxes)[&self.address()].clone();
        while let Some(Ok(batch)) = mailbox.recv_batch(64).now_or_never() {
            self.inbox.extend(batch);
        }
        let frames = std::mem::take(&mut *lock(&self.tape.0));
        let now = self.shared.now();
        frames.into_iter().map(|frame| self.packet(now, frame)).collect()
    }

    /// The packet in a frame, as the relay at the other end of the link reads it. The seal of the link hides nothing from
    /// it, because it is that link's end.
    fn packet(&mut self, now: Time, mut frame: Vec<u8>) -> Vec<u8> {
        match self.relay.handle_frame(now, &mut frame) {
            Ok(FrameContent::Packet(body)) => [&[KIND_PACKET], &*body].concat(),
            other => panic!("the node sends only packets: {other:?}"),
        }
    }

    fn take(&mut self, packet: &[u8]) {
        packets_arrived(&self.shared, &mut vec![packet.into()], &mut self.work);
        self.work.finish(&self.shared);
    }

    fn send(&self, to: Address, body: Vec<u8>) {
        crate::node::send::try_send(&self.shared, Outgoing::new(to, body)).expect("there is room");
    }

    fn drops(&self, cause: DropCause) -> u64 {
        self.shared.stats.drops()[cause.name()]
    }
}

/// The faults of the relay, in hundredths of the packets. They concern payloads only, because the seal of a link would
/// detect a change on the wire.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    loss: u32,
    duplicates: u32,
    reordering: u32,
    corruption: u32,
}

/// The two nodes, and the relay between them.
struct Bench {
    nodes: [BenchNode; 2],
    faults: Faults,
    /// Packets on their way: the step in which they arrive, their recipient, and their bytes.
    flying: VecDeque<(u64, usize, Vec<u8>)>,
    /// All packets that were sent, with their senders.
    recorded: Vec<(usize, Vec<u8>)>,
    /// The state of an xorshift64* generator (Vigna 2016).
    random: u64,
    step: u64,
    numbers: u32,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Bench {
            nodes: [0, 1].map(|number| BenchNode::start(number, 1)),
            faults: Faults::default(),
            flying: VecDeque::new(),
            recorded: Vec::new(),
            random: 0x9e37_79b9_7f4a_7c15 ^ (seed + 1),
            step: 0,
            numbers: 0,
        }
    }

    /// A random number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit.max(1)
    }

    fn chance(&mut self, hundredths: u32) -> bool {
        self.below(100) < hundredths as usize
    }

    /// Sends numbered messages of many lengths from one node to the other. Each number occurs once, because a message that
    /// arrives twice would not be noticed otherwise.
    fn send(&mut self, from: usize, count: u32) {
        let to = self.nodes[1 - from].address();
        for _ in 0..count {
            let mut body = self.numbers.to_le_bytes().to_vec();
            body.resize(4 + (self.numbers as usize * 137) % 3000, from as u8);
            self.numbers += 1;
            self.nodes[from].send(to, body);
        }
    }

    /// The numbers of the messages that a node has received.
    fn received(&self, node: usize) -> Vec<u32> {
        let number = |message: &Message| u32::from_le_bytes(message.body[..4].try_into().unwrap());
        self.nodes[node].inbox.iter().map(number).collect()
    }

    /// Puts a packet on its way to a node.
    fn forward(&mut self, to: usize, mut packet: Vec<u8>) {
        if self.chance(self.faults.loss) {
            return;
        }
        let copies = 1 + usize::from(self.chance(self.faults.duplicates));
        for _ in 0..copies {
            let late = if self.chance(self.faults.reordering) { self.below(8) as u64 } else { 0 };
            if self.chance(self.faults.corruption) {
                let at = HEADER + self.below(packet.len() - HEADER);
                packet[at] ^= 1 << self.below(8);
            }
            self.flying.push_back((self.step + 1 + late, to, packet.clone()));
        }
    }

    /// Lets time pass for as long as `until` does not hold, for at most `span`. `relay` sees each packet with its recipient
    /// before it is forwarded.
    fn run_with(
        &mut self,
        span: Duration,
        mut relay: impl FnMut(&mut Bench, usize, &[u8]),
        until: impl Fn(&Bench) -> bool,
    ) -> bool {
        for _ in 0..span.as_millis() / STEP.as_millis() {
            for number in 0..2 {
                for packet in self.nodes[number].poll() {
                    relay(self, 1 - number, &packet);
                    self.recorded.push((number, packet.clone()));
                    self.forward(1 - number, packet);
                }
            }
            if until(self) {
                return true;
            }
            self.step += 1;
            for _ in 0..self.flying.len() {
                let Some((due, to, packet)) = self.flying.pop_front() else { break };
                match due <= self.step {
                    true => self.nodes[to].take(&packet),
                    false => self.flying.push_back((due, to, packet)),
                }
            }
            self.nodes.iter_mut().for_each(|node| pass(node, STEP));
        }
        false
    }

    fn run(&mut self, span: Duration, until: impl Fn(&Bench) -> bool) -> bool {
        self.run_with(span, |_, _, _| {}, until)
    }

    /// Lets a long time pass at once, since minutes in steps would take seconds of the test. No packet may be on its way.
    fn sleep(&mut self, span: Duration) {
        self.nodes.iter_mut().for_each(|node| pass(node, span));
    }
}

/// Moves the clock of a node.
fn pass(node: &mut BenchNode, span: Duration) {
    let shared = Arc::get_mut(&mut node.shared).expect("no task runs");
    // A node that started earlier has a later time now.
    shared.started = shared.started.checked_sub(span).expect("the clock of the system has run for longer");
}
