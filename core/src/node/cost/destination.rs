//! A node to which a neighbour sends packets: without tasks and sockets, and with a clock that is set by hand.

use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::node::conversations::Conversations;
use crate::node::data_path::packets_arrived;
use crate::types::Outgoing;

/// Addresses to which there is a route.
const FRIENDS: usize = 16;
/// Deadlines are looked at as often as this while time passes.
const STEP: Duration = Duration::from_millis(500);

/// Housekeeping is done after so much time at once.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// A node, one neighbour, and an application that takes every message at once.
pub struct NodeLayer {
    shared: Arc<NodeState>,
    friends: Vec<Address>,
    packets: Vec<BytesMut>,
    work: DeferredWork,
}

impl NodeLayer {
    /// A node with the bounds that every node has.
    pub fn new() -> Self {
        let shared = Arc::new(idle());
        // There is no router that would take what it is told.
        shared.router.close();
        let medium = Arc::new(Medium::new(0, Arc::new(Nowhere::default())));
        let (from, _) = neighbour(&shared, &medium, 1, *HandshakePair::sessions(Cipher::ChaCha).0);
        let friends = addresses(FRIENDS);
        for friend in &friends {
            shared.fib.insert(*friend, NextHops { next: from.clone(), alternate: None }, 1386);
        }
        crate::node::state::write(&shared.neighbours).insert(from.id, from.clone());
        NodeLayer { work: DeferredWork::of(from.origin()), shared, friends, packets: Vec::new() }
    }

    /// Conversations that there may be.
    pub fn most_conversations() -> usize {
        Limits::default().senders
    }

    /// Whose packets are for the node itself.
    pub fn address(&self) -> Address {
        self.shared.identity.address()
    }

    /// One of the addresses to which there is a route.
    pub fn friend(&self, n: u64) -> Address {
        self.friends[n as usize % self.friends.len()]
    }

    /// The number that packets of this source name the conversation with it by; 0 when there is none yet.
    pub fn incarnation(&self, source: &Address) -> u64 {
        self.shared.conversations.incarnation(&self.address(), source).unwrap_or(0)
    }

    /// An application sends a message of so many bytes.
    pub fn send(&mut self, to: Address, length: usize) {
        // A queue that is full is as good.
        let _ = crate::node::send::try_send(&self.shared, Outgoing::new(to, vec![7; length]));
        self.pass(Duration::from_millis(1));
    }

    /// Takes a packet (its kind byte first), and does all that follows from it.
    pub fn take(&mut self, packet: BytesMut) {
        self.packets.push(packet);
        packets_arrived(&self.shared, &mut self.packets, &mut self.work);
        self.work.finish(&self.shared);
        self.read();
    }

    /// The application takes what has come.
    fn read(&mut self) {
        let mailboxes = crate::node::state::read(&self.shared.mailboxes);
        for mailbox in mailboxes.values() {
            while let Some(Ok(_)) = mailbox.recv_batch(64).now_or_never() {}
        }
    }

    /// Lets time pass, and does all that is due.
    pub fn pass(&mut self, span: Duration) {
        let mut left = span;
        while !left.is_zero() {
            let step = left.min(STEP);
            left -= step;
            // To a node that began earlier, it is later now.
            if let Some(shared) = Arc::get_mut(&mut self.shared) {
                shared.started = shared.started.checked_sub(step).unwrap_or(shared.started);
            }
            // The task of the timers does all that is due before it waits for the first time.
            assert!(Conversations::run(self.shared.clone()).now_or_never().is_none(), "it has no end");
            self.read();
        }
        // The housekeeping of a running node comes more often than this.
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
