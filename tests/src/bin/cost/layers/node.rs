//! A node that receives packets from a neighbour, with a clock that the table sets.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use futures::FutureExt;
use rouse_adversary::WiredNode;
use rouse_adversary::raw::control_messages::{RawAnnounce, RawAttributes, RawRecord, chain};
use rouse_adversary::raw::frames;
use rouse_core::{Address, Identity, Limits, Node, Outgoing};
use rouse_proto::link::Suite;
use rouse_proto::message::ConversationConfig;
use rouse_proto::session::{PreviousHop, SEAL_OVERHEAD, SessionInput, SessionOutput, Sessions, Standing};
use rouse_proto::time::Time;
use rouse_proto::types::Ends;
use rouse_proto::wire::packet::{HEADER, read_header};
use rouse_proto::wire::session::{PAYLOAD_PART, PAYLOAD_SESSION};

/// Addresses with a route. They are few, because each needs a session before its first message, which takes as long as some
/// hundred messages.
const FRIENDS: usize = 4;
/// The period in which the application takes its messages while time passes.
const STEP: Duration = Duration::from_millis(500);
/// A handshake between two honest ends needs fewer exchanges than this.
const EXCHANGES: usize = 8;

/// The identity of the node.
static NODE: LazyLock<Identity> = LazyLock::new(|| Identity::from_seed(&[3; 32]));

/// An address with a route to the node, and the record that announces it.
struct Friend {
    identity: Identity,
    record: RawRecord,
}

/// They are signed once, since that costs more than an input. Their addresses are lower than the node's, so that their requests
/// for a session are read even while the node's own are under way.
static FRIENDS_ANNOUNCED: LazyLock<Vec<Friend>> = LazyLock::new(|| {
    let identities = (0..=u8::MAX).map(|number| Identity::from_seed(&[number; 32]));
    let lower = identities.filter(|identity| identity.address() < NODE.address());
    let announced = |(number, identity): (usize, Identity)| {
        let (secret, hops) = ([number as u8; 16], 1);
        let announce = RawAnnounce::new(&identity, 1, 5400, secret);
        let chain = chain(&announce.dst, announce.seq, secret, hops);
        let idx = number as u32 + 1;
        let attributes = RawAttributes { idx, metric: 40, hops, mtu: 1386, remaining: 5400, chain };
        Friend { identity, record: RawRecord::Announce(announce, attributes) }
    };
    lower.take(FRIENDS).enumerate().map(announced).collect()
});

/// The end of a conversation that a friend names in its handshake: its incarnation, and whether it knows the node's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FriendStanding {
    pub(crate) incarnation: u64,
    pub(crate) knows_node: bool,
}

/// A node, one neighbour, friends behind it, and an application that takes every message at once.
pub(crate) struct NodeLayer {
    node: WiredNode,
    address: Address,
    now: Time,
    /// The friends' ends of their sessions with the node. What they allocate is part of the making of an input, which no
    /// measurement counts.
    sessions: Sessions,
    /// The last standing with which each friend asked for a session.
    standings: HashMap<Address, FriendStanding>,
}

impl NodeLayer {
    /// A node with the default bounds.
    pub(crate) fn new() -> Self {
        // The cipher that costs the same on every machine.
        let builder = Node::builder().identity(NODE.clone()).seed([9; 32]);
        let mut node = WiredNode::start(builder, 1, Suite::CHACHA);
        let records: Vec<_> = FRIENDS_ANNOUNCED.iter().map(|friend| friend.record.clone()).collect();
        node.announce(0, &records);
        let settled = Duration::from_secs(1);
        node.pass(settled);
        assert!(node.routes() >= records.len(), "a node takes the announces of a neighbour");
        let mut sessions = Sessions::with_suites([8; 32], Suite::CHACHA);
        FRIENDS_ANNOUNCED.iter().for_each(|friend| sessions.add_local(&friend.identity));
        let (address, now, standings) = (NODE.address(), Time::ZERO + settled, HashMap::new());
        NodeLayer { node, address, now, sessions, standings }
    }

    /// The bound of conversations.
    pub(crate) fn most_conversations() -> usize {
        Limits::default().senders
    }

    /// The bound of messages that wait to be sent in one conversation.
    pub(crate) fn most_waiting() -> usize {
        ConversationConfig::default().max_queue_messages
    }

    /// The address of the node, to which its packets are sent.
    pub(crate) fn address(&self) -> Address {
        self.address
    }

    /// One of the addresses with a route.
    pub(crate) fn friend(&self, n: u64) -> Address {
        FRIENDS_ANNOUNCED[n as usize % FRIENDS].identity.address()
    }

    /// Seals a packet (its kind byte first) as the neighbour does.
    pub(crate) fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        self.node.seal(0, packet)
    }

    /// Seals a content as a friend does in its session with the node, and its packet as the neighbour does. Another standing than
    /// the last begins another session. Where the node refuses it, nothing opens the packet.
    pub(crate) fn seal_content(
        &mut self,
        peer: Address,
        standing: FriendStanding,
        content: &[u8],
    ) -> Vec<u8> {
        let pair = Ends { local: peer, peer: self.address };
        if self.standings.insert(peer, standing) != Some(standing) {
            self.meet(pair, standing);
        }
        let mut payload = Vec::with_capacity(SEAL_OVERHEAD + content.len());
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(content);
            true
        };
        if self.sessions.seal(self.now, &pair, write, &mut payload).is_err() {
            payload.clear();
            payload.push(PAYLOAD_SESSION);
            payload.resize(SEAL_OVERHEAD + content.len(), 0xaa);
        }
        let packet = frames::packet(&self.address, 0, 64, &payload);
        self.seal(&packet)
    }

    /// Lets a friend have a session with this standing.
    fn meet(&mut self, pair: Ends, standing: FriendStanding) {
        let FriendStanding { incarnation, knows_node } = standing;
        let first = Standing { incarnation, ..Standing::default() };
        if !knows_node || !self.sessions.is_ready(&pair) {
            self.connect(pair, first);
        }
        // A friend learns the incarnation of the node from its first session.
        if let Some(proved) = self.sessions.current(&pair).filter(|_| knows_node) {
            self.connect(pair, Standing { peer_incarnation: proved.peer.incarnation, ..first });
        }
    }

    /// Exchanges the packets of a handshake until there are no more.
    fn connect(&mut self, pair: Ends, standing: Standing) {
        // The packets that the node has sent before are lost.
        self.forget_sent();
        let _ = self.sessions.handle(self.now, SessionInput::Renew { pair, standing });
        for _ in 0..EXCHANGES {
            let mut is_quiet = true;
            while let Some(output) = self.sessions.poll_output() {
                if let SessionOutput::Transmit { payload, .. } = output {
                    is_quiet = false;
                    let frame = self.seal(&frames::packet(&self.address, 0, 64, &payload));
                    self.node.arrive(0, frame.as_slice().into(), frame.len());
                }
            }
            if is_quiet {
                break;
            }
            self.node.exchange();
            while let Some((_, mut packet)) = self.node.next_packet() {
                self.deliver(&mut packet);
            }
        }
    }

    /// Delivers a packet of the node to the session of a friend.
    fn deliver(&mut self, packet: &mut [u8]) {
        let Some(local) = read_header(packet).map(|header| header.destination) else { return };
        let Some(payload) = packet.get_mut(HEADER..) else { return };
        let hop = PreviousHop { neighbour: self.address, host: 1, group: 1 };
        // Other packets than those of the handshake are for no session, and are lost.
        let _ = match payload.first() {
            Some(&PAYLOAD_PART) => self.sessions.handle(self.now, SessionInput::Part { local, hop, payload }),
            _ => self.sessions.open(self.now, &local, payload).map(drop),
        };
    }

    /// Sends a message of this many bytes from an application.
    pub(crate) fn send(&mut self, to: Address, length: usize) {
        // A full queue is as good for the measurement.
        let _ = self.node.with(|node| node.try_send(Outgoing::new(to, vec![7; length])));
        self.pass(Duration::from_millis(1));
    }

    /// Handles frames to the end, each `size` bytes long but the last.
    pub(crate) fn take(&mut self, frames: &[u8], size: usize) {
        self.node.arrive(0, frames.into(), size);
        self.read();
    }

    /// Takes all messages, as an application does.
    fn read(&mut self) {
        self.node.with(|node| while let Some(Ok(_)) = node.recv_batch(64).now_or_never() {});
    }

    fn forget_sent(&mut self) {
        while self.node.next_packet().is_some() {}
    }

    /// Lets time pass, and does all that is due meanwhile.
    pub(crate) fn pass(&mut self, span: Duration) {
        let mut left = span;
        while !left.is_zero() {
            let step = left.min(STEP);
            left -= step;
            self.node.pass(step);
            self.now = self.now + step;
            self.forget_sent();
            self.read();
        }
    }
}
