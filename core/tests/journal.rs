//! A node with a journal: what it has accepted survives crashes, and arrives once and in order.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_std::task::block_on;
use futures::FutureExt;
use futures::future::join;
use rouse_core::journal::{Disk, Journal, JournalLimits, MemoryDisk, StoredJournal};
use rouse_core::netmod::mem::{MemNet, MemNetmod};
use rouse_core::{Level, Node, NodeBuilder, Outgoing, SendError};
use rouse_sim::{DiskFault, SimDisk};

use common::{PATIENCE, node, until, within};

async fn open(disk: impl Disk) -> Arc<StoredJournal> {
    open_with(disk, JournalLimits::default()).await
}

async fn open_with(disk: impl Disk, limits: JournalLimits) -> Arc<StoredJournal> {
    Arc::new(StoredJournal::open(disk, limits).await.unwrap())
}

fn netmod(net: &MemNet, name: &str) -> MemNetmod {
    net.netmod(name)
}

async fn start(builder: NodeBuilder, journal: &Arc<StoredJournal>) -> Node {
    builder.journal(journal.clone()).start().await.unwrap()
}

/// Ends a node as a crash does: it takes no leave, and nothing is written any more.
async fn crash(node: Node, journal: Arc<StoredJournal>, disk: &SimDisk) {
    disk.fail_after(0, DiskFault::PowerCut);
    drop(node);
    let _ = within(journal.close()).await;
    drop(journal);
    disk.restart();
}

fn numbered(number: u32) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(4 + (number as usize * 131) % 1500, 7);
    body
}

fn number(body: &[u8]) -> u32 {
    u32::from_be_bytes(*body.first_chunk().unwrap())
}

#[test]
fn a_message_is_accepted_after_a_sync_and_waits_through_a_power_cut() {
    block_on(async {
        let (net, disk) = (MemNet::new(1), SimDisk::new(1));
        let b = node(2).start().await.unwrap();
        let to = b.address();
        drop(b);
        let journal = open(disk.clone()).await;
        let a = start(node(1).netmod(netmod(&net, "a")), &journal).await;
        let before = disk.syncs();
        let sent = within(a.send(&to, "hello")).await.unwrap();
        assert!(sent.durable && disk.syncs() > before, "{} syncs", disk.syncs() - before);
        let volatile = within(a.submit(Outgoing::new(to, "lost").volatile())).await.unwrap();
        assert!(!volatile.durable);
        assert_eq!(a.unfinished().waiting, 1, "only the volatile one would be lost");
        assert_eq!(a.status().await.outbox.messages, 2);
        crash(a, journal, &disk).await;

        let journal = open(disk.clone()).await;
        let a = start(node(1).netmod(netmod(&net, "a2")), &journal).await;
        let waiting = within(a.outbox(10)).await.unwrap();
        assert_eq!((waiting.len(), waiting[0].id, waiting[0].to, waiting[0].bytes), (1, sent.id, to, 5));
        let b = node(2).netmod(netmod(&net, "b")).start().await.unwrap();
        let message = within(b.recv()).await.unwrap();
        assert_eq!((&message.body[..], message.id), (&b"hello"[..], sent.id));
        until("an empty outbox", async || a.status().await.outbox.messages == 0).await;
        within(a.stop()).await;
    });
}

#[test]
fn power_cuts_of_a_sender_under_traffic_lose_and_repeat_nothing_that_was_accepted() {
    block_on(async {
        let net = MemNet::new(7);
        let b = node(2).netmod(netmod(&net, "b")).start().await.unwrap();
        let c = node(3).netmod(netmod(&net, "c")).start().await.unwrap();
        let recipients = [b.address(), c.address()];
        let disk = SimDisk::new(7);
        let (mut accepted, mut next) = ([Vec::new(), Vec::new()], 0u32);
        for round in 0..8u64 {
            let journal = open(disk.clone()).await;
            let a = start(node(1).netmod(netmod(&net, &format!("a{round}"))), &journal).await;
            // The power fails after a number of operations of the disk that differs each time.
            disk.fail_after(20 + round * 37, DiskFault::PowerCut);
            loop {
                let to = (next % 2) as usize;
                let volatile = a.try_send(Outgoing::new(recipients[to], "volatile").volatile());
                drop(volatile);
                let sent = within(a.send(&recipients[to], numbered(next))).await;
                next += 1;
                match sent {
                    Ok(sent) => accepted[to].push((next - 1, sent.durable)),
                    Err(SendError::NotStored(_)) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            crash(a, journal, &disk).await;
        }
        let journal = open(disk.clone()).await;
        let a = start(node(1).netmod(netmod(&net, "last")), &journal).await;
        until("an empty outbox", async || {
            let messages = [drain(&b).await, drain(&c).await];
            for (to, got) in messages.into_iter().enumerate() {
                RECEIVED.lock().unwrap()[to].extend(got);
            }
            a.status().await.outbox.messages == 0
        })
        .await;
        for (to, accepted) in accepted.iter().enumerate() {
            let got = RECEIVED.lock().unwrap()[to].clone();
            assert!(got.is_sorted_by(|one, next| one < next), "once and in order: {got:?}");
            let missing: Vec<_> = accepted.iter().filter(|(number, _)| !got.contains(number)).collect();
            assert!(missing.is_empty(), "{missing:?} of {}", accepted.len());
        }
        within(a.stop()).await;
    });
}

static RECEIVED: std::sync::Mutex<[Vec<u32>; 2]> = std::sync::Mutex::new([Vec::new(), Vec::new()]);

/// The numbers of the durable messages that are there.
async fn drain(node: &Node) -> Vec<u32> {
    let mut numbers = Vec::new();
    while node.unfinished().unread > 0 {
        let messages = within(node.recv_batch(100)).await.unwrap();
        let durable = messages.iter().filter(|message| &message.body[..] != b"volatile");
        numbers.extend(durable.map(|message| number(&message.body)));
    }
    numbers
}

#[test]
fn a_batch_is_stored_with_one_commit_and_stays_in_order() {
    block_on(async {
        let (net, disk) = (MemNet::new(1), SimDisk::new(1));
        let journal = open(disk.clone()).await;
        let a = start(node(1).netmod(netmod(&net, "a")), &journal).await;
        let b = node(2).netmod(netmod(&net, "b")).start().await.unwrap();
        within(a.send(&b.address(), numbered(0))).await.unwrap();
        within(b.recv()).await.unwrap();
        until("an empty outbox", async || a.status().await.outbox.messages == 0).await;
        let before = disk.syncs();
        within(a.submit(Outgoing::new(b.address(), numbered(1)))).await.unwrap();
        let for_one = disk.syncs() - before;
        until("an empty outbox", async || {
            while b.unfinished().unread > 0 {
                within(b.recv()).await.unwrap();
            }
            a.status().await.outbox.messages == 0
        })
        .await;
        let before = disk.syncs();
        let batch = (2..302).map(|number| Outgoing::new(b.address(), numbered(number))).collect();
        within(a.send_batch(batch)).await.unwrap();
        assert!(disk.syncs() - before <= 2 * for_one, "{} syncs, {for_one} for one", disk.syncs() - before);
        for expected in 2..302 {
            assert_eq!(number(&within(b.recv()).await.unwrap().body), expected);
        }
        within(a.stop()).await;
    });
}

#[test]
fn more_messages_than_the_queue_in_memory_holds_wait_on_the_disk_and_arrive_in_order() {
    const MANY: u32 = 10_000;
    block_on(async {
        let net = MemNet::new(1);
        let journal = open(MemoryDisk::default()).await;
        let a = start(node(1).netmod(netmod(&net, "a")), &journal).await;
        let b = node(2).start().await.unwrap();
        let to = b.address();
        drop(b);
        for first in (0..MANY).step_by(1000) {
            let batch = (first..first + 1000).map(|number| Outgoing::new(to, number.to_be_bytes().to_vec()));
            within(a.send_batch(batch.collect())).await.unwrap();
        }
        assert_eq!(a.status().await.journal.messages, u64::from(MANY));
        let b = node(2).netmod(netmod(&net, "b")).start().await.unwrap();
        for expected in 0..MANY {
            assert_eq!(number(&within(b.recv()).await.unwrap().body), expected);
        }
        until("an empty outbox", async || a.status().await.outbox.messages == 0).await;
        within(a.submit(Outgoing::new(to, "at last").volatile())).await.unwrap();
        assert_eq!(&within(b.recv()).await.unwrap().body[..], b"at last");
        within(a.stop()).await;
    });
}

#[test]
fn a_full_journal_names_the_holder_and_accepts_again_when_there_is_room() {
    block_on(async {
        let net = MemNet::new(1);
        let limits = JournalLimits { bytes: 1 << 20, ..JournalLimits::default() };
        let journal = open_with(MemoryDisk::default(), limits).await;
        let a = start(node(1).netmod(netmod(&net, "a")), &journal).await;
        let b = node(2).start().await.unwrap();
        let to = b.address();
        drop(b);
        let mut sent = Vec::new();
        let full = async {
            loop {
                sent.push(a.send(&to, vec![7; 50_000]).await?.id);
            }
        };
        let error: Result<(), SendError> = async_std::future::timeout(PATIENCE, full).await.unwrap();
        assert!(
            matches!(error, Err(SendError::JournalFull { holder, limit: 524_288, .. }) if holder == to),
            "{error:?}"
        );
        // A message that is cancelled makes room.
        assert!(within(a.cancel(&sent[0])).await.unwrap());
        within(a.send(&to, vec![8; 50_000])).await.unwrap();
        let b = node(2).netmod(netmod(&net, "b")).start().await.unwrap();
        let mut got = Vec::new();
        for _ in 0..sent.len() {
            got.push(within(b.recv()).await.unwrap().id);
        }
        assert_eq!(got[..got.len() - 1], sent[1..], "the cancelled one is not among them");
        within(a.stop()).await;
    });
}

#[test]
fn a_failing_disk_refuses_durable_messages_with_the_cause_and_recovers() {
    block_on(async {
        let (net, disk) = (MemNet::new(1), SimDisk::new(3));
        let journal = open(disk.clone()).await;
        let a = start(node(1).netmod(netmod(&net, "a")), &journal).await;
        let b = node(2).netmod(netmod(&net, "b")).start().await.unwrap();
        within(a.send(&b.address(), numbered(0))).await.unwrap();
        disk.fail_after(0, DiskFault::Syncs);
        let error = within(a.send(&b.address(), numbered(1))).await.unwrap_err();
        assert!(matches!(&error, SendError::NotStored(_)), "{error}");
        let health = a.status().await.health;
        assert!(
            health.iter().any(|line| line.level == Level::Error && line.text.contains("journal")),
            "{health:?}"
        );
        disk.calm();
        within(a.send(&b.address(), numbered(2))).await.unwrap();
        let numbers = [within(b.recv()).await.unwrap(), within(b.recv()).await.unwrap()];
        assert_eq!(numbers.map(|message| number(&message.body)), [0, 2]);
        within(a.stop()).await;
    });
}

#[test]
fn a_journal_that_is_set_back_to_an_older_copy_swallows_no_message_and_the_status_shows_it() {
    block_on(async {
        let net = MemNet::new(1);
        let b = node(2).netmod(netmod(&net, "b")).start().await.unwrap();
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let disk = |nth: usize| rouse_core::journal::FolderDisk::open(folders[nth].path()).unwrap();
        let mut expected = 0;
        let mut run = async |nth: usize, name: &str, numbers: std::ops::Range<u32>| {
            let journal = open(disk(nth)).await;
            let a = start(node(1).netmod(netmod(&net, name)), &journal).await;
            for number in numbers {
                within(a.send(&b.address(), numbered(number))).await.unwrap();
                assert_eq!(self::number(&within(b.recv()).await.unwrap().body), number);
                expected += 1;
            }
            until("an empty outbox", async || a.status().await.outbox.messages == 0).await;
            let health = a.status().await.health;
            within(a.stop()).await;
            health
        };
        run(0, "first", 0..3).await;
        std::fs::copy(folders[0].path().join("journal"), folders[1].path().join("journal")).unwrap();
        run(0, "second", 3..20).await;
        let health = run(1, "copy", 20..25).await;
        assert!(health.iter().any(|line| line.text.contains("older copy")), "{health:?}");
        assert_eq!(expected, 25);
    });
}

#[test]
fn messages_wait_for_an_address_that_is_added_later() {
    block_on(async {
        let net = MemNet::new(1);
        let (disk, second) = (MemoryDisk::default(), rouse_core::Identity::from_seed(&[9; 32]));
        let b = node(2).start().await.unwrap();
        let to = b.address();
        drop(b);
        let journal = open(disk.clone()).await;
        let a = start(node(1).netmod(netmod(&net, "a")), &journal).await;
        a.add_identity(rouse_core::Identity::from_seed(&[9; 32]));
        within(a.submit(Outgoing::new(to, "from the second").from(second.address()))).await.unwrap();
        within(a.stop()).await;
        let journal = open(disk).await;
        let a = start(node(1).netmod(netmod(&net, "a2")), &journal).await;
        let b = node(2).netmod(netmod(&net, "b")).start().await.unwrap();
        a.add_identity(rouse_core::Identity::from_seed(&[9; 32]));
        let message = within(b.recv()).await.unwrap();
        assert_eq!((message.from, &message.body[..]), (second.address(), &b"from the second"[..]));
        within(a.stop()).await;
    });
}

#[test]
fn a_message_that_expires_on_the_disk_is_reported_to_its_sender() {
    block_on(async {
        let net = MemNet::new(1);
        let journal = open(MemoryDisk::default()).await;
        let a = start(node(1).netmod(netmod(&net, "a")), &journal).await;
        let stranger = rouse_core::Identity::from_seed(&[9; 32]).address();
        let message = Outgoing::new(stranger, "x").ttl(Duration::from_millis(300));
        let sent = within(a.submit(message)).await.unwrap();
        assert_eq!(within(sent.delivered()).await.unwrap_err(), SendError::Expired(stranger));
        until("an empty outbox", async || a.status().await.outbox.messages == 0).await;
        within(a.stop()).await;
    });
}

#[test]
fn a_message_that_waits_for_its_conversation_is_overtaken_by_none_that_comes_later() {
    block_on(async {
        let journal = open(MemoryDisk::default()).await;
        let a = start(node(1), &journal).await;
        let to = node(2).start().await.unwrap().address();
        let mut first = Box::pin(a.send(&to, "first"));
        assert!(
            first.as_mut().now_or_never().is_none(),
            "the journal was not asked yet for the conversation"
        );
        // From now on it is open, and the first message has not looked again.
        until("the conversation is open", async || a.try_send(Outgoing::new(to, "probe").volatile()).is_ok())
            .await;
        let (second, first) = join(a.send(&to, "second"), first).await;
        let order: Vec<_> = a.outbox(10).await.unwrap().into_iter().map(|message| message.id).collect();
        assert_eq!(order, [first.unwrap().id, second.unwrap().id]);
    });
}
