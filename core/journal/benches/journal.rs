//! The journal beside the database that it is built on, and its start with many messages.
//!
//! `cargo bench -p rouse-journal --bench journal -- FOLDER` uses a real disk: the temporary folder may be in memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::future::join_all;
use redb::{Database, TableDefinition};
use rouse_journal::{
    Arrival, FolderDisk, InboxMessage, Journal, JournalLimits, LeaseLimit, MailboxName, OutboxMessage, Pair,
    Service, StoredJournal,
};
use rouse_proto::address::Address;
use rouse_proto::types::Timestamp;

const TIME: Duration = Duration::from_secs(3);
const LENGTH: usize = 1024;
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bench");

fn main() {
    let folder = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let folder = tempfile::tempdir_in(folder.unwrap_or_else(std::env::temp_dir)).expect("a folder");
    println!("{:34} {:>10} {:>10} {:>7}", "1 KiB records", "journal/s", "redb/s", "ratio");
    for writers in [1, 32] {
        let (journal, store) = (puts(folder.path(), writers), store_alone(folder.path(), writers));
        println!(
            "{:34} {journal:>10.0} {store:>10.0} {:>7.2}",
            format!("{writers} writers"),
            journal / store
        );
    }
    many(folder.path());
}

fn pair() -> Pair {
    Pair { local: Address::from_bytes([1; 32]), peer: Address::from_bytes([2; 32]) }
}

fn outgoing(seq: u64) -> OutboxMessage {
    OutboxMessage {
        seq,
        sent_at: Timestamp(1),
        life: Duration::from_secs(3600),
        service: Service::default(),
        in_reply_to: None,
        body: vec![7; LENGTH].into(),
    }
}

fn incoming(seq: u64) -> InboxMessage {
    InboxMessage {
        seq,
        sent_at: Timestamp(1),
        received_at: Timestamp(2),
        service: Service::default(),
        in_reply_to: None,
        body: vec![7; LENGTH].into(),
    }
}

fn open(folder: &Path, name: &str) -> StoredJournal {
    let path = folder.join(name);
    std::fs::create_dir_all(&path).expect("a folder");
    let disk = FolderDisk::open(path).expect("a folder that is free");
    block_on(StoredJournal::open(disk, JournalLimits::default())).expect("a journal")
}

/// Messages per second that `writers` put, each waiting for one before the next.
fn puts(folder: &Path, writers: usize) -> f64 {
    let journal = open(folder, &format!("puts-{writers}"));
    let next = AtomicU64::new(0);
    let start = Instant::now();
    block_on(async {
        journal.open_pair(pair(), 1).await.expect("an open journal").expect("a pair");
        let writer = async || {
            while start.elapsed() < TIME {
                let message = outgoing(next.fetch_add(1, Relaxed));
                journal.put(vec![(pair(), message)]).await.expect("a commit")[0].as_ref().expect("room");
            }
        };
        join_all((0..writers).map(|_| writer())).await;
        journal.close().await.expect("a journal that can be closed");
    });
    next.into_inner() as f64 / start.elapsed().as_secs_f64()
}

/// Records per second of the database alone, in commits of one record for each writer.
fn store_alone(folder: &Path, group: usize) -> f64 {
    let mut builder = Database::builder();
    builder.set_cache_size(1 << 20);
    let database = builder.create(folder.join(format!("redb-{group}"))).expect("a database");
    let (start, mut next) = (Instant::now(), 0u64);
    while start.elapsed() < TIME {
        let mut transaction = database.begin_write().expect("a transaction");
        transaction.set_quick_repair(true);
        {
            let mut table = transaction.open_table(TABLE).expect("a table");
            for _ in 0..group {
                let key = [1u64.to_be_bytes(), next.to_be_bytes()].concat();
                table.insert(key.as_slice(), vec![7; LENGTH].as_slice()).expect("an insertion");
                next += 1;
            }
        }
        transaction.commit().expect("a commit");
    }
    next as f64 / start.elapsed().as_secs_f64()
}

/// Prints what 100 000 messages cost: in and out, and the start with all of them waiting.
fn many(folder: &Path) {
    const MESSAGES: u64 = 100_000;
    const GROUP: u64 = 250;
    let journal = open(folder, "many");
    let start = Instant::now();
    block_on(async {
        journal.open_pair(pair(), 1).await.expect("an open journal").expect("a pair");
        for first in (0..MESSAGES).step_by(GROUP as usize) {
            let messages = (first..first + GROUP).map(incoming).collect();
            let arrival = Arrival {
                pair: pair(),
                is_answered: false,
                incarnation: 1,
                floor: 0,
                withdrawn: Vec::new(),
                messages,
            };
            journal.receive(vec![arrival]).await.expect("a commit");
        }
    });
    println!("{:34} {:>10.2?}  RSS {} KiB", "100 000 messages in", start.elapsed(), rss());
    block_on(journal.close()).expect("a journal that can be closed");
    drop(journal);
    let start = Instant::now();
    let journal = open(folder, "many");
    println!("{:34} {:>10.2?}  RSS {} KiB", "start with 100 000 waiting", start.elapsed(), rss());
    let start = Instant::now();
    block_on(async {
        let mailbox = MailboxName { local: pair().local, service: Service::default() };
        let limit = LeaseLimit { messages: GROUP as usize, bytes: usize::MAX };
        loop {
            let leases = journal.lease(mailbox.clone(), None, limit).await.expect("an open journal");
            if leases.is_empty() {
                break;
            }
            drop(journal.acknowledge(leases.iter().map(|lease| lease.key).collect()));
        }
        journal.close().await.expect("a journal that can be closed");
    });
    println!("{:34} {:>10.2?}  RSS {} KiB", "100 000 messages out", start.elapsed(), rss());
}

/// The resident memory of this process in KiB; 0 where it is not known.
fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
