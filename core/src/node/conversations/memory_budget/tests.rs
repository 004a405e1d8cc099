//! Tests of the shares of the memory budget, with senders that invent addresses.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::address::Address;
use crate::identity::Identity;
use crate::message::{self, Conversation};
use crate::node::data_path::DeferredWork;
use crate::node::mailbox::Mailbox;
use crate::node::state::memory_budget::{BARREN, RESERVE};
use crate::node::{Limits, NodeConfig};
use crate::session::{ProvedStanding, Standing};
use crate::types::Ends;
use crate::types::Timestamp;

const LOCAL: u8 = 1;

/// The account of a host, in a network with 99 others.
pub(in super::super) fn host(number: u64) -> Location {
    Location { host: number, network: number / 100 }
}

pub(in super::super) fn address(number: u32) -> Address {
    let mut seed = [9; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    Identity::from_seed(&seed).address()
}

pub(in super::super) fn shared() -> NodeState {
    shared_with(Limits::default())
}

pub(in super::super) fn shared_with(limits: Limits) -> NodeState {
    let identity = Identity::from_seed(&[LOCAL; 32]);
    let local = identity.address();
    let config = NodeConfig { limits, ..NodeConfig::default() };
    let shared = NodeState::new(identity, config, [9; 32].into());
    let mailbox = Mailbox::new(local, 4096, shared.conversations.mailbox_changes.clone());
    write(&shared.mailboxes).insert(local, mailbox);
    shared
}

/// Deferred work for packets of a neighbour of this host.
pub(in super::super) fn work_of(over: u64) -> DeferredWork {
    DeferredWork::of(address(over as u32), host(over))
}

/// A session between a peer and the node, as a request that comes over this host makes it: with a conversation of the
/// peer whose messages are sealed in it.
pub(in super::super) fn session(
    shared: &NodeState,
    (local, peer): (&Address, &Address),
    over: u64,
    standing: Standing,
) -> Option<ProvedStanding> {
    let entry = shared.conversations.open_from(shared, local, peer, Some(host(over)))?;
    let incarnation = lock(&entry.state).conversation.incarnation();
    Some(ProvedStanding { session: 1, incarnation, peer: standing })
}

/// A sender on another node that respects no credit but the first.
pub(in super::super) struct Sender(Conversation, Address);

impl Sender {
    pub(in super::super) fn new(number: u32, local: Address) -> Self {
        let from = address(number);
        let mut conversation = Conversation::new(message::ConversationConfig::default(), from, local, 77);
        conversation.set_reachable(Time::from_millis(1), true);
        let peer = Standing { incarnation: 1, ..Standing::default() };
        conversation.on_session(Time::from_millis(1), &ProvedStanding { session: 1, incarnation: 77, peer });
        Sender(conversation, from)
    }

    pub(in super::super) fn address(&self) -> Address {
        self.1
    }

    pub(in super::super) fn begin(&mut self, bytes: usize) {
        let body = Bytes::from(vec![7; bytes]);
        self.0.send(Time::from_millis(1), Timestamp(1), Duration::from_secs(600), body).unwrap();
    }

    /// Sends all that it may over a neighbour; returns the count of packets.
    pub(in super::super) fn flood(&mut self, shared: &NodeState, local: Address, over: u64) -> usize {
        let (mut packets, mut work) = (0, work_of(over));
        let Some(proved) = session(shared, (&local, &self.1), over, self.0.standing()) else { return 0 };
        let pair = Ends { local, peer: self.1 };
        loop {
            let mut payload = Vec::new();
            if !self.0.poll_transmit(Time::from_millis(1), 1100, &mut payload) {
                work.deliver(shared);
                return packets;
            }
            let packet = Bytes::from(payload);
            shared.conversations.handle(shared, &pair, &proved, &packet, &mut work);
            packets += 1;
        }
    }
}

#[test]
fn a_host_that_invents_senders_fills_half_of_the_budget_and_others_are_received() {
    let shared = shared();
    let local = Identity::from_seed(&[LOCAL; 32]).address();
    let room = &shared.conversations.budget;
    for number in 0..4000 {
        let mut sender = Sender::new(number, local);
        sender.begin(1 << 20);
        assert!(sender.flood(&shared, local, 1) > 0);
        assert!(room.used() <= room.limit / 2 + (64 << 10), "{} of {}", room.used(), room.limit);
    }
    assert!(room.used() > room.limit / 4, "{} of {}: they come near", room.used(), room.limit);
    assert!(shared.stats.drops()["reassembly_limit"] > 100, "{:?}", shared.stats.drops()["reassembly_limit"]);
    // A sender behind another neighbour that has received nothing yet either.
    let mut honest = Sender::new(1_000_000, local);
    honest.begin(8_000);
    honest.flood(&shared, local, 2);
    let mailbox = read(&shared.mailboxes).get(&local).cloned().unwrap();
    let message = futures::executor::block_on(mailbox.recv_from(&honest.1)).unwrap();
    assert_eq!(message.body.len(), 8_000);
}

#[test]
fn the_hosts_of_one_network_leave_a_fifth_of_the_budget_to_others() {
    let shared = shared();
    let local = Identity::from_seed(&[LOCAL; 32]).address();
    let room = &shared.conversations.budget;
    for number in 0..4000 {
        let mut sender = Sender::new(number, local);
        sender.begin(1 << 20);
        sender.flood(&shared, local, u64::from(number % 50));
        assert!(room.used() <= room.limit / 5 * 4 + (64 << 10), "{} of {}", room.used(), room.limit);
    }
    assert!(
        room.used() > room.limit / 5 * 2,
        "{} of {}: they come near three fifths",
        room.used(),
        room.limit
    );
    assert!(room.left(host(200)) > room.limit / 16, "{} for another network", room.left(host(200)));
    assert!(room.left(host(60)) >= room.limit / 400, "{} for another host of theirs", room.left(host(60)));
}

#[test]
fn the_larger_hosts_of_a_flooding_network_give_way_to_another_of_it() {
    let shared = shared();
    let local = Identity::from_seed(&[LOCAL; 32]).address();
    let budget = &shared.conversations.budget;
    for number in 0..4000 {
        let mut sender = Sender::new(number, local);
        sender.begin(1 << 20);
        sender.flood(&shared, local, u64::from(number % 8));
    }
    let larger = budget.larger_hosts(host(60));
    assert!((0..8).all(|number| larger(host(number))), "each of the flooding hosts has to give way");
    assert!(!larger(host(200)), "a host of another network never has");
    let (before, left) = (budget.used(), budget.left(host(60)));
    assert!(shared.conversations.make_room_at(&shared, shared.now(), host(60)));
    assert!(budget.used() < before, "{} of {before}", budget.used());
    // More than its reserve, so that a message longer than that comes whole.
    assert!(
        budget.left(host(60)) > left.max(budget.limit / RESERVE),
        "{} after {left}",
        budget.left(host(60))
    );
}

#[test]
fn removed_and_received_messages_are_no_longer_charged() {
    let shared = shared();
    let local = Identity::from_seed(&[LOCAL; 32]).address();
    let mut sender = Sender::new(1, local);
    sender.begin(1 << 20);
    sender.flood(&shared, local, 1);
    assert!(shared.conversations.budget.used() > 10_000);
    shared.conversations.forget(&local);
    assert_eq!(shared.conversations.budget.used(), 0);
    assert!(lock(&shared.conversations.budget.brought).hosts.is_empty());
    let mut other = Sender::new(2, local);
    other.begin(8_000);
    other.flood(&shared, local, 1);
    let list = 16;
    assert_eq!(shared.conversations.budget.used(), list, "it is in the mailbox, where it is not taken yet");
    let mailbox = read(&shared.mailboxes).get(&local).cloned().unwrap();
    futures::executor::block_on(mailbox.recv_from(&other.address())).unwrap();
    shared.conversations.handle_mailbox_change(
        &shared,
        &local,
        &other.address(),
        &mut DeferredWork::default(),
    );
    assert_eq!(shared.conversations.budget.used(), 0, "it is taken");
}

#[test]
fn a_search_that_frees_nothing_is_not_repeated_for_every_packet() {
    let shared = shared();
    let local = Identity::from_seed(&[LOCAL; 32]).address();
    let room = &shared.conversations.budget;
    // There is no conversation yet that could be removed.
    shared.conversations.make_room(&shared, host(1));
    assert!(!room.is_worth_a_look(shared.now(), host(1)), "it was looked at just now");
    assert!(room.is_worth_a_look(shared.now(), host(2)), "another neighbour's may");
    assert!(room.is_worth_a_look(shared.now() + BARREN, host(1)), "and its own a little later");
    // A search that frees enough causes no pause.
    for number in 0..1200 {
        let mut sender = Sender::new(number, local);
        sender.begin(1 << 20);
        sender.flood(&shared, local, 3);
    }
    assert!(shared.conversations.make_room_at(&shared, shared.now(), host(3)));
}
