//! A sender with a journal: crashes at any moment lose and repeat no message that was stored.

use std::collections::BTreeMap;

use rand_core::RngCore;

use super::pair::*;
use crate::message::*;

const JOURNALED: ConversationConfig = ConversationConfig {
    max_queue_messages: 16,
    max_queue_bytes: 32 << 20,
    credit_bytes: 1 << 20,
    credit_messages: 4096,
    has_journal: true,
};

/// The journal of one side: what it has stored, and the operations that are not on the disk yet.
#[derive(Default)]
struct Disk {
    incarnation: u64,
    stored: BTreeMap<u64, Bytes>,
    next: u64,
    pending: Vec<Operation>,
    /// The messages that were reported as stored.
    accepted: Vec<Bytes>,
}

enum Operation {
    Put(MessageId, Bytes),
    Reserve(u64),
    Settle(Vec<std::ops::Range<u64>>),
    Load(LoadRequest),
}

fn seq(id: &MessageId) -> u64 {
    split_id(id).map_or(0, |(_, seq)| seq)
}

impl Disk {
    /// Queues what the conversation needs of the journal.
    fn gather(&mut self, conversation: &mut Conversation) {
        let settled = conversation.take_settled();
        if !settled.is_empty() {
            self.pending.push(Operation::Settle(settled));
        }
        let is_reserving = self.pending.iter().any(|one| matches!(one, Operation::Reserve(_)));
        self.pending.extend(conversation.reserve_need().filter(|_| !is_reserving).map(Operation::Reserve));
        self.pending.extend(conversation.begin_load().map(Operation::Load));
    }

    /// Syncs all operations that wait.
    fn sync(&mut self, now: Time, conversation: &mut Conversation) {
        for operation in std::mem::take(&mut self.pending) {
            match operation {
                Operation::Put(id, body) => {
                    self.stored.insert(seq(&id), body.clone());
                    self.next = self.next.max(seq(&id) + 1);
                    self.accepted.push(body);
                    conversation.on_stored(&id);
                }
                Operation::Reserve(next) => {
                    self.next = self.next.max(next);
                    conversation.on_reserved(next);
                }
                Operation::Settle(ranges) => {
                    self.stored.retain(|seq, _| !ranges.iter().any(|range| range.contains(seq)));
                }
                Operation::Load(request) => {
                    let some = self.stored.range(request.from..).take(5);
                    let message = |(seq, body): (&u64, &Bytes)| StoredMessage {
                        seq: *seq,
                        sent_at: Timestamp(0),
                        life: DAY,
                        attributes: Attributes::default(),
                        body: body.clone(),
                    };
                    conversation.on_loaded(now, request, some.map(message).collect());
                }
            }
        }
    }

    /// Puts the side into the state that it has after a start of the program.
    fn restart(&mut self, pair: &mut Pair, number: usize) {
        self.pending.clear();
        pair.restart_with(JOURNALED, number, 1);
        let floor = self.stored.keys().next().copied().unwrap_or(self.next);
        pair.sides[number].conversation.restore(self.incarnation, floor, self.next);
    }
}

fn begin(seed: u64, line: Line) -> (Pair, Disk) {
    let mut pair = Pair::with(seed, line, ConversationConfig::default());
    let mut disk = Disk { incarnation: 100, ..Disk::default() };
    disk.restart(&mut pair, 0);
    (pair, disk)
}

impl Disk {
    fn put(&mut self, pair: &mut Pair, number: u32) {
        let mut body = number.to_be_bytes().to_vec();
        body.resize(4 + (number as usize * 131) % 3000, 0);
        let body = Bytes::from(body);
        let conversation = &mut pair.sides[0].conversation;
        let id = conversation.begin_storing(pair.now, Timestamp(0), DAY, Attributes::default(), &body);
        self.pending.push(Operation::Put(id, body));
    }

    /// Runs for a while, with a sync every few milliseconds.
    fn run(&mut self, pair: &mut Pair, rounds: u32) {
        for _ in 0..rounds {
            self.gather(&mut pair.sides[0].conversation);
            pair.run(ms(2), |_| false);
            if pair.rng.next_u32().is_multiple_of(3) {
                self.sync(pair.now, &mut pair.sides[0].conversation);
            }
        }
    }
}

fn is_durable(body: &Bytes) -> bool {
    body.len() != 3
}

#[test]
fn what_was_stored_arrives_once_and_in_order_whenever_the_sender_crashes() {
    for seed in 0..40 {
        let line = Line { loss: [50, 50], duplicate: 50, jitter: ms(10), ..CLEAN };
        let (mut pair, mut disk) = begin(seed, line);
        let mut number = 0;
        for _ in 0..12 {
            for _ in 0..pair.rng.next_u32() % 40 {
                disk.put(&mut pair, number);
                number += 1;
                // One that is kept in memory alone, between the others.
                if pair.rng.next_u32().is_multiple_of(4) {
                    let now = pair.now;
                    let _ =
                        pair.sides[0].conversation.send(now, Timestamp(0), DAY, Bytes::from_static(b"mem"));
                }
            }
            let rounds = pair.rng.next_u32() % 60;
            disk.run(&mut pair, rounds);
            disk.restart(&mut pair, 0);
        }
        disk.run(&mut pair, 20_000 / 2);
        assert!(disk.stored.is_empty(), "seed {seed}: {} are left", disk.stored.len());
        let got: Vec<_> = pair.bodies(1).into_iter().filter(is_durable).collect();
        // A message whose sync was interrupted is there or not, and is not among the accepted ones if it is not.
        assert!(got == disk.accepted, "seed {seed}: {} of {}", got.len(), disk.accepted.len());
    }
}

#[test]
fn nothing_leaves_before_it_is_stored_or_its_sequence_is_reserved() {
    let (mut pair, mut disk) = begin(1, CLEAN);
    disk.put(&mut pair, 7);
    let now = pair.now;
    pair.sides[0].conversation.send(now, Timestamp(0), DAY, Bytes::from_static(b"mem")).unwrap();
    pair.run(Duration::from_secs(1), |_| false);
    assert!(pair.sides[1].inbox.is_empty());
    disk.sync(pair.now, &mut pair.sides[0].conversation);
    pair.run(Duration::from_secs(1), |_| false);
    assert_eq!(pair.sides[1].inbox.len(), 1, "the other one waits for a reservation");
    disk.gather(&mut pair.sides[0].conversation);
    disk.sync(pair.now, &mut pair.sides[0].conversation);
    pair.run(Duration::from_secs(1), |_| false);
    assert_eq!(pair.sides[1].inbox.len(), 2);
}

#[test]
fn a_message_that_is_refused_holds_up_no_other() {
    let (mut pair, mut disk) = begin(1, CLEAN);
    (0..5).for_each(|number| disk.put(&mut pair, number));
    let Operation::Put(refused, _) = disk.pending.remove(2) else { unreachable!() };
    pair.sides[0].conversation.on_refused(&refused);
    disk.run(&mut pair, 200);
    let got: Vec<_> = pair.bodies(1).iter().map(|body| body[3]).collect();
    assert_eq!(got, [0, 1, 3, 4]);
}

#[test]
fn a_message_that_expires_on_the_disk_is_reported_and_passed() {
    let (mut pair, mut disk) = begin(1, CLEAN);
    pair.sides[0].conversation.set_reachable(pair.now, false);
    (0..60).for_each(|number| disk.put(&mut pair, number));
    disk.sync(pair.now, &mut pair.sides[0].conversation);
    disk.stored.remove(&40);
    pair.sides[0].conversation.on_stored_expired(40);
    pair.sides[0].conversation.set_reachable(pair.now, true);
    disk.run(&mut pair, 2000);
    assert_eq!(pair.expired(0).len(), 1);
    assert_eq!(pair.sides[1].inbox.len(), 59);
    assert!(disk.stored.is_empty());
}

#[test]
fn an_older_copy_of_the_journal_is_detected_and_swallows_no_message() {
    for seed in 0..10 {
        let (mut pair, mut disk) = begin(seed, CLEAN);
        (0..10).for_each(|number| disk.put(&mut pair, number));
        disk.run(&mut pair, 500);
        let copy = (disk.stored.clone(), disk.next);
        (10..30).for_each(|number| disk.put(&mut pair, number));
        disk.run(&mut pair, 500);
        assert_eq!(pair.sides[1].inbox.len(), 30);
        (disk.stored, disk.next) = copy;
        disk.restart(&mut pair, 0);
        (100..110).for_each(|number| disk.put(&mut pair, number));
        disk.run(&mut pair, 500);
        let conversation = &mut pair.sides[0].conversation;
        assert!(conversation.is_rolled_back());
        assert_eq!(pair.sides[1].inbox.len(), 30, "nothing leaves that the recipient would drop");
        disk.incarnation = 101;
        conversation.renew(101);
        pair.meet();
        disk.run(&mut pair, 500);
        assert_eq!(pair.sides[1].inbox.len(), 40);
        assert!(pair.bodies(1)[30..].iter().map(|body| body[3]).eq(100..110));
    }
}

#[test]
fn an_identifier_from_before_a_new_incarnation_still_names_its_message() {
    let (mut pair, mut disk) = begin(1, CLEAN);
    disk.put(&mut pair, 1);
    let Some(Operation::Put(id, _)) = disk.pending.first() else { unreachable!() };
    let id = *id;
    let conversation = &mut pair.sides[0].conversation;
    conversation.renew(101);
    assert!(conversation.is_pending(&id));
    assert_eq!(conversation.present_id(&id), message_id(101, 0));
}

#[test]
fn many_messages_on_the_disk_occupy_little_memory() {
    let (mut pair, mut disk) = begin(1, CLEAN);
    (0..2000).for_each(|number| disk.put(&mut pair, number));
    disk.sync(pair.now, &mut pair.sides[0].conversation);
    assert!(pair.sides[0].conversation.waiting().messages <= 16);
    let mut most = 0;
    while pair.sides[1].inbox.len() < 2000 {
        disk.gather(&mut pair.sides[0].conversation);
        disk.sync(pair.now, &mut pair.sides[0].conversation);
        pair.run(ms(1), |_| false);
        most = most.max(pair.sides[0].conversation.waiting().messages);
    }
    assert!(most <= 16, "{most} at once");
    disk.run(&mut pair, 100);
    assert!(!pair.sides[0].conversation.has_waiting());
}
