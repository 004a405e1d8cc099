//! The memory of a journal does not grow with the messages in it.
#![allow(clippy::single_range_in_vec_init, reason = "a list of ranges often has one")]

use std::alloc::System;

use futures::executor::block_on;
use rouse_journal::{
    Arrival, FolderDisk, InboxMessage, Journal, JournalLimits, LeaseLimit, MailboxName, OutboxMessage, Pair,
    Service, StoredJournal,
};
use rouse_proto::address::Address;
use rouse_proto::types::Timestamp;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The bytes on the heap.
fn heap() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

const GROUP: u64 = 250;
const MESSAGES: u64 = 20_000;
/// The messages have 20 MB on each way.
const BOUND: usize = 6 << 20;

fn pair() -> Pair {
    Pair { local: Address::from_bytes([1; 32]), peer: Address::from_bytes([2; 32]) }
}

fn outgoing(seq: u64) -> (Pair, OutboxMessage) {
    let message = OutboxMessage {
        seq,
        sent_at: Timestamp(1),
        life: std::time::Duration::from_secs(3600),
        service: Service::default(),
        in_reply_to: None,
        body: vec![7; 1024].into(),
    };
    (pair(), message)
}

fn incoming(seq: u64) -> InboxMessage {
    InboxMessage {
        seq,
        sent_at: Timestamp(1),
        received_at: Timestamp(2),
        service: Service::default(),
        in_reply_to: None,
        body: vec![7; 1024].into(),
    }
}

#[test]
fn twenty_thousand_messages_in_and_out_leave_the_memory_flat() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let before = heap();
        let check = |stage: &str| {
            let grown = heap().saturating_sub(before);
            println!("{stage}: {grown} bytes on the heap");
            assert!(grown < BOUND, "{stage}: {grown} bytes");
        };
        let disk = FolderDisk::open(folder.path()).unwrap();
        let journal = StoredJournal::open(disk, JournalLimits::default()).await.unwrap();
        journal.open_pair(pair(), 1).await.unwrap().unwrap();
        for first in (0..MESSAGES).step_by(GROUP as usize) {
            let outcomes = journal.put((first..first + GROUP).map(outgoing).collect()).await.unwrap();
            assert!(outcomes.iter().all(Result::is_ok));
            let messages = (first..first + GROUP).map(incoming).collect();
            let arrival = Arrival {
                pair: pair(),
                is_answered: false,
                incarnation: 1,
                floor: 0,
                withdrawn: Vec::new(),
                messages,
            };
            journal.receive(vec![arrival]).await.unwrap();
        }
        check("all of them wait");
        let name = MailboxName { local: pair().local, service: Service::default() };
        let limit = LeaseLimit { messages: GROUP as usize, bytes: usize::MAX };
        for first in (0..MESSAGES).step_by(GROUP as usize) {
            let leases = journal.lease(name.clone(), None, limit).await.unwrap();
            assert_eq!(leases.len() as u64, GROUP);
            journal.acknowledge(leases.iter().map(|lease| lease.key).collect()).await.unwrap();
            journal.settle(pair(), vec![first..first + GROUP]).await.unwrap();
        }
        check("all of them are gone");
        let status = journal.status();
        assert_eq!((status.outbox.messages, status.inbox.messages), (0, 0));
        journal.close().await.unwrap();
    });
}
