//! Tests of the turns of senders, and of the cost of a message beside the inboxes of many senders.

use std::time::{Duration, Instant};

use futures::FutureExt;

use super::*;
use crate::types::{MessageId, Protection, Timestamp};

fn address(number: u64) -> Address {
    let mut bytes = [9; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Address::from_bytes(bytes)
}

fn mailbox(per_sender: usize) -> Mailbox {
    Mailbox::new(address(0), per_sender, Arc::default())
}

fn message(from: u64, number: u128, bytes: usize) -> Message {
    Message {
        id: MessageId(number.to_be_bytes()),
        from: address(from),
        to: address(0),
        sent_at: Timestamp(0),
        received_at: Timestamp(0),
        protection: Protection::EndToEnd,
        service: Default::default(),
        in_reply_to: None,
        kind: Default::default(),
        deliveries: 1,
        body: vec![7; bytes].into(),
    }
}

fn deliver(mailbox: &Mailbox, from: u64, numbers: std::ops::Range<u128>) {
    let mut batch: Vec<_> = numbers.map(|number| message(from, number, 1)).collect();
    mailbox.delivery(&address(from)).push_batch(&mut batch);
    assert!(batch.is_empty(), "there is room");
}

/// The senders and numbers of the messages of one batch.
fn batch(mailbox: &Mailbox, limit: usize) -> Vec<(Address, u128)> {
    let batch = mailbox.recv_batch(limit).now_or_never().expect("messages are there").unwrap();
    batch.iter().map(|message| (message.from, u128::from_be_bytes(message.id.0))).collect()
}

#[test]
fn a_batch_takes_all_of_one_sender_when_no_other_waits_and_turns_otherwise() {
    let mailbox = mailbox(1000);
    deliver(&mailbox, 1, 0..10);
    assert_eq!(batch(&mailbox, 4), [0, 1, 2, 3].map(|number| (address(1), number)));
    deliver(&mailbox, 2, 0..3);
    let turns = [(1, 4), (2, 0), (1, 5), (2, 1), (1, 6), (2, 2), (1, 7), (1, 8)];
    assert_eq!(batch(&mailbox, 8), turns.map(|(from, number)| (address(from), number)));
    assert_eq!(batch(&mailbox, 8), [(address(1), 9)]);
    assert!(mailbox.recv_batch(8).now_or_never().is_none(), "nothing is left");
}

/// The least time of several for messages of one sender, each taken before the next arrives, beside the empty inboxes of
/// `others`.
fn time(others: u64) -> Duration {
    let mailbox = mailbox(1000);
    for other in 1..=others {
        deliver(&mailbox, other, 0..1);
    }
    while mailbox.recv_batch(64).now_or_never().is_some() {}
    let round = |_| {
        let begin = Instant::now();
        for number in 0..200 {
            deliver(&mailbox, 1, number..number + 1);
            assert_eq!(batch(&mailbox, 64).len(), 1);
        }
        begin.elapsed()
    };
    (0..9).map(round).min().unwrap_or_default()
}

#[test]
fn a_message_costs_the_same_beside_the_inboxes_of_thousands_of_senders() {
    let (few, many) = (time(4), time(4096));
    assert!(many < 8 * few, "{many:?} beside 4096 inboxes, and {few:?} beside 4");
}

#[test]
fn all_senders_that_wait_for_the_room_of_the_mailbox_learn_of_it_once() {
    let mailbox = mailbox(1000);
    let changes = &mailbox.shared.mailbox_changes;
    for sender in 1..=20 {
        assert!(!mailbox.delivery(&address(sender)).report_room(), "nothing was requested before");
        assert!(mailbox.delivery(&address(sender)).report_room(), "it is requested already");
    }
    mailbox.forget(|sender| *sender != address(20));
    deliver(&mailbox, 21, 0..2);
    batch(&mailbox, 1);
    changes.write().clear();
    batch(&mailbox, 1);
    let resumed: Vec<_> = std::mem::take(&mut *changes.write()).into_iter().map(|ends| ends.peer).collect();
    assert_eq!(resumed.len(), 19, "the mailbox is empty: {resumed:?}");
    deliver(&mailbox, 21, 2..3);
    batch(&mailbox, 1);
    assert_eq!(changes.read().len(), 0, "no sender waits any more");
}
