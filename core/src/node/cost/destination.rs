//! A node that receives packets from a neighbour, without tasks and sockets, and with a clock that the test sets.

use std::time::Duration;

use futures::FutureExt;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{Nowhere, addresses, idle, neighbour};
use crate::address::Address;
use crate::fixtures::handshake_pair::{Cipher, HandshakePair};
use crate::node::Limits;
use crate::node::data_path::DeferredWork;
use crate::node::data_path::packets_arrived;
use crate::node::state::NodeState;
use crate::node::state::conversations::Conversations;
use crate::node::state::fib::NextHops;
use crate::node::state::medium::Medium;
use crate::session::{ProvedStanding, SessionPair, Standing};
use crate::types::Outgoing;

/// Addresses with a route.
const FRIENDS: usize = 16;
/// The period in which deadlines are examined while time passes.
const STEP: Duration = Duration::from_millis(500);

/// The time that has to pass at once for the housekeeping to run.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// A node, one neighbour, and an application that takes every message at once.
pub struct NodeLayer {
    shared: Arc<NodeState>,
    friends: Vec<Address>,
    packets: Vec<BytesMut>,
    work: DeferredWork,
    /// The last peer with its end of the conversation, and the number of its session.
    peer: (Address, Standing, u64),
}

impl NodeLayer {
    /// A node with the default bounds.
    pub fn new() -> Self {
        let shared = Arc::new(idle());
        // Closed, because no router takes the events.
        shared.router.close();
        let medium = Arc::new(Medium::new(0, Arc::new(Nowhere::default())));
        let (from, _) = neighbour(&shared, &medium, 1, *HandshakePair::sessions(Cipher::ChaCha).0);
        let friends = addresses(FRIENDS);
        for friend in &friends {
            shared.fib.insert(*friend, NextHops { next: from.clone(), alternate: None }, 1386);
        }
        crate::node::state::locks::write(&shared.neighbours).insert(from.id, from.clone());
        let peer = (from.address, Standing::default(), 0);
        NodeLayer {
            work: DeferredWork::of(from.address, from.origin()),
            shared,
            friends,
            packets: Vec::new(),
            peer,
        }
    }

    /// The bound of conversations.
    pub fn most_conversations() -> usize {
        Limits::default().senders
    }

    /// The bound of messages that wait to be sent in one conversation.
    pub fn most_waiting() -> usize {
        crate::message::ConversationConfig::default().max_queue_messages
    }

    /// The address of the node, to which its packets are sent.
    pub fn address(&self) -> Address {
        self.shared.identity.address()
    }

    /// One of the addresses with a route.
    pub fn friend(&self, n: u64) -> Address {
        self.friends[n as usize % self.friends.len()]
    }

    /// Handles a message packet that `peer` has sealed, to the end. The session is between this incarnation of the peer and
    /// the node, which the peer knows or does not; another than that of the last packet has just begun.
    pub fn take_message(&mut self, peer: Address, incarnation: u64, is_known: bool, packet: &Bytes) {
        let (local, from) = (self.address(), self.work.from);
        let conversations = &self.shared.conversations;
        let Some(entry) = conversations.open_from(&self.shared, &local, &peer, Some(from)) else { return };
        let own = crate::node::state::locks::lock(&entry.state).conversation.incarnation();
        let peer_incarnation = if is_known { own } else { 0 };
        let standing = Standing { incarnation, floor: 0, peer_incarnation, taken: 0 };
        let session = self.peer.2 + u64::from((self.peer.0, self.peer.1) != (peer, standing));
        self.peer = (peer, standing, session);
        let proved = ProvedStanding { session, incarnation: own, peer: standing };
        conversations.handle(&self.shared, &SessionPair { local, peer }, &proved, packet, &mut self.work);
        self.work.finish(&self.shared);
        self.read();
    }

    /// Sends a message of this many bytes from an application.
    pub fn send(&mut self, to: Address, length: usize) {
        // A full queue is as good for the measurement.
        let _ = crate::node::send::try_send(&self.shared, Outgoing::new(to, vec![7; length]));
        self.pass(Duration::from_millis(1));
    }

    /// Handles a packet (its kind byte first) to the end.
    pub fn take(&mut self, packet: BytesMut) {
        self.packets.push(packet);
        packets_arrived(&self.shared, &mut self.packets, &mut self.work);
        self.work.finish(&self.shared);
        self.read();
    }

    /// Takes all messages, as an application does.
    fn read(&mut self) {
        let mailboxes = crate::node::state::locks::read(&self.shared.mailboxes);
        for mailbox in mailboxes.values() {
            while let Some(Ok(_)) = mailbox.recv_batch(64).now_or_never() {}
        }
    }

    /// Lets time pass, and does all that is due meanwhile.
    pub fn pass(&mut self, span: Duration) {
        let mut left = span;
        while !left.is_zero() {
            let step = left.min(STEP);
            left -= step;
            // A node that started earlier has a later time now.
            if let Some(shared) = Arc::get_mut(&mut self.shared) {
                shared.started = shared.started.checked_sub(step).unwrap_or(shared.started);
            }
            // The task does all that is due before it waits for the first time.
            assert!(Conversations::run(self.shared.clone()).now_or_never().is_none(), "it has no end");
            assert!(
                Conversations::run_sessions(self.shared.clone()).now_or_never().is_none(),
                "nor has this"
            );
            self.read();
        }
        // The housekeeping of a running node has a shorter period than this.
        if span >= HOUSEKEEPING {
            self.shared.conversations.sweep(&self.shared);
            crate::node::tasks::housekeeping::forget_senders(&self.shared);
        }
    }
}

impl Default for NodeLayer {
    fn default() -> Self {
        NodeLayer::new()
    }
}
