//! A node with a journal as a recipient: what it has given a receipt for survives crashes, and is delivered once.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_std::task::block_on;
use rouse_core::journal::{Disk, Journal, JournalLimits, MemoryDisk, StoredJournal};
use rouse_core::netmod::mem::MemNet;
use rouse_core::{Address, Identity, Message, Node, NodeBuilder, Outgoing};
use rouse_sim::{DiskFault, SimDisk};

use common::{node, until, within};

async fn open(disk: impl Disk) -> Arc<StoredJournal> {
    open_with(disk, JournalLimits::default()).await
}

async fn open_with(disk: impl Disk, limits: JournalLimits) -> Arc<StoredJournal> {
    Arc::new(StoredJournal::open(disk, limits).await.unwrap())
}

async fn start(builder: NodeBuilder, journal: &Arc<StoredJournal>) -> Node {
    builder.journal(journal.clone()).start().await.unwrap()
}

/// A sender with a journal, on the port "a" of the network.
async fn sender(net: &MemNet) -> Node {
    start(node(1).netmod(net.netmod("a")), &open(MemoryDisk::default()).await).await
}

/// The recipient, on a port of its own.
async fn recipient(net: &MemNet, port: &str, disk: impl Disk) -> (Node, Arc<StoredJournal>) {
    let journal = open(disk).await;
    (start(node(2).netmod(net.netmod(port)), &journal).await, journal)
}

fn address(number: u8) -> Address {
    Identity::from_seed(&[number; 32]).address()
}

/// Ends a node as a crash does.
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

fn number(message: &Message) -> u32 {
    u32::from_be_bytes(*message.body.first_chunk().unwrap())
}

/// The result of a future that is ready within a moment.
async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    async_std::future::timeout(Duration::from_millis(50), future).await.ok()
}

/// The messages that wait in the inbox on the disk.
fn stored(journal: &StoredJournal) -> u64 {
    journal.status().inbox.messages
}

#[test]
fn a_receipt_means_that_the_message_is_on_the_disk_of_the_recipient() {
    block_on(async {
        let (net, disk) = (MemNet::new(1), SimDisk::new(1));
        let a = sender(&net).await;
        let (b, journal) = recipient(&net, "b", disk.clone()).await;
        let sent = within(a.send(&b.address(), "hello")).await.unwrap();
        within(sent.delivered()).await.unwrap();
        assert_eq!((stored(&journal), b.unfinished().unread, disk.syncs() > 0), (1, 0, true));
        crash(b, journal, &disk).await;

        let (b, journal) = recipient(&net, "b2", disk.clone()).await;
        let message = within(b.recv()).await.unwrap();
        assert_eq!((message.id, &message.body[..], message.deliveries), (sent.id, &b"hello"[..], 1));
        until("an acknowledged message", async || stored(&journal) == 0).await;
        crash(b, journal, &disk).await;

        let (b, journal) = recipient(&net, "b3", disk.clone()).await;
        let next = within(a.send(&b.address(), "next")).await.unwrap();
        assert_eq!(within(b.recv()).await.unwrap().id, next.id, "the first one does not come again");
        until("an acknowledged message", async || stored(&journal) == 0).await;
        within(a.stop()).await;
    });
}

#[test]
fn a_message_whose_acknowledgement_was_awaited_never_comes_again() {
    block_on(async {
        let (net, disk) = (MemNet::new(1), SimDisk::new(1));
        let a = sender(&net).await;
        for round in 0..8 {
            let (b, journal) = recipient(&net, &format!("b{round}"), disk.clone()).await;
            within(a.send(&b.address(), numbered(round))).await.unwrap();
            assert_eq!(number(&within(b.recv()).await.unwrap()), round);
            within(b.acknowledged()).await.unwrap();
            assert_eq!(stored(&journal), 0);
            crash(b, journal, &disk).await;
        }
        within(a.stop()).await;
    });
}

#[test]
fn messages_that_no_application_takes_hold_back_none_for_other_services() {
    block_on(async {
        let net = MemNet::new(1);
        let a = sender(&net).await;
        let (b, journal) = recipient(&net, "b", MemoryDisk::default()).await;
        let other = b.service("other").unwrap();
        let unread = |body: Vec<u8>| Outgoing::new(b.address(), body).service("unread");
        let mut batch: Vec<_> = (0..5000).map(|number| unread(numbered(number))).collect();
        batch.push(unread(vec![7; 6 << 20]));
        batch.push(Outgoing::new(b.address(), "for another service").service("other"));
        within(a.send_batch(batch)).await.unwrap();
        assert_eq!(&within(other.recv()).await.unwrap().body[..], b"for another service");
        until("all on the disk", async || stored(&journal) == 5001).await;
        let unread = b.service("unread").unwrap();
        for expected in 0..5000 {
            assert_eq!(number(&within(unread.recv()).await.unwrap()), expected);
        }
        assert_eq!(within(unread.recv()).await.unwrap().body.len(), 6 << 20);
        within(a.stop()).await;
    });
}

#[test]
fn power_cuts_of_a_recipient_at_any_step_lose_nothing_that_has_a_receipt_and_repeat_nothing_acknowledged() {
    block_on(async {
        let (net, disk) = (MemNet::new(7), SimDisk::new(7));
        let a = sender(&net).await;
        let to = address(2);
        let (mut next, mut acknowledged, mut received) = (0u32, BTreeSet::new(), BTreeSet::new());
        for round in 0..14u64 {
            let (b, journal) = recipient(&net, &format!("b{round}"), disk.clone()).await;
            disk.fail_after(3 + round * 11, DiskFault::PowerCut);
            let batch = (next..next + 40).map(|number| Outgoing::new(to, numbered(number)));
            within(a.send_batch(batch.collect())).await.unwrap();
            next += 40;
            let (mut last, mut taken) = (None, BTreeSet::new());
            while !disk.is_off() {
                let Some(message) = soon(b.recv()).await else {
                    if received.len() as u32 == next {
                        break;
                    }
                    continue;
                };
                let number = number(&message.unwrap());
                assert!(last.is_none_or(|last| last < number), "{number} after {last:?}");
                assert!(!acknowledged.contains(&number), "{number} was acknowledged");
                (last, _) = (Some(number), taken.insert(number));
                received.insert(number);
            }
            // The acknowledgements are on the disk when the journal has no more operations to carry out.
            if !disk.is_off() && stored(&journal) == 0 {
                acknowledged.append(&mut taken);
            }
            crash(b, journal, &disk).await;
        }
        let (b, journal) = recipient(&net, "last", disk.clone()).await;
        until("all messages", async || {
            while let Some(message) = soon(b.recv()).await {
                received.insert(number(&message.unwrap()));
            }
            received.len() as u32 == next && a.status().await.outbox.messages == 0
        })
        .await;
        until("an empty inbox", async || stored(&journal) == 0).await;
        within(a.stop()).await;
    });
}

#[test]
fn a_reader_finds_a_message_whether_it_waits_before_or_comes_after() {
    block_on(async {
        let net = MemNet::new(1);
        let a = sender(&net).await;
        let (b, _) = recipient(&net, "b", MemoryDisk::default()).await;
        for round in 0..200u32 {
            let service = b.service("jobs").unwrap();
            let send = async {
                let message = Outgoing::new(b.address(), numbered(round)).service("jobs");
                within(a.submit(message)).await.unwrap();
            };
            let read = async {
                if round % 3 == 1 {
                    async_std::task::sleep(Duration::from_micros(u64::from(round) * 20)).await;
                } else if round % 3 == 2 {
                    until("a stored message", async || a.status().await.outbox.messages == 0).await;
                }
                let message = match round % 2 {
                    0 => within(service.recv()).await,
                    _ => within(service.recv_from(&a.address())).await,
                };
                number(&message.unwrap())
            };
            let ((), got) = futures::join!(send, read);
            assert_eq!(got, round);
        }
        within(a.stop()).await;
    });
}

#[test]
fn a_message_that_no_application_acknowledges_is_given_again_and_becomes_a_dead_letter() {
    block_on(async {
        use rouse_core::journal::InboxPart;

        let net = MemNet::new(1);
        let a = sender(&net).await;
        let (b, journal) = recipient(&net, "b", MemoryDisk::default()).await;
        let ids = [within(a.send(&b.address(), "poison")).await.unwrap().id, {
            within(a.send(&b.address(), "food")).await.unwrap().id
        }];
        let mailbox = b.mailbox(&b.address()).unwrap();
        for attempt in 1..=16 {
            let message = within(mailbox.fetch_batch(1)).await.unwrap().remove(0);
            assert_eq!((message.id, message.deliveries), (ids[0], attempt));
            b.unrecv(message);
        }
        assert_eq!(within(b.recv()).await.unwrap().id, ids[1], "the others are delivered");
        let dead = within(b.inbox(InboxPart::DeadLetters, 10)).await.unwrap();
        assert_eq!((dead.len(), dead[0].id, dead[0].deliveries), (1, ids[0], 16));
        let (_, body) = within(b.inbox_message(&ids[0])).await.unwrap().unwrap();
        assert_eq!(&body[..], b"poison");
        assert!(within(b.revive(&ids[0])).await.unwrap() && !within(b.revive(&ids[1])).await.unwrap());
        let revived = within(b.recv()).await.unwrap();
        assert_eq!((revived.id, revived.deliveries), (ids[0], 1));
        until("an empty inbox", async || stored(&journal) == 0).await;
        within(a.stop()).await;
    });
}

#[test]
fn a_full_inbox_of_one_sender_leaves_others_alone_and_its_messages_arrive_when_there_is_room() {
    block_on(async {
        let net = MemNet::new(1);
        let a = sender(&net).await;
        let c = start(node(3).netmod(net.netmod("c")), &open(MemoryDisk::default()).await).await;
        let limits = JournalLimits { bytes: 2 << 20, ..JournalLimits::default() };
        let journal = open_with(MemoryDisk::default(), limits).await;
        let b = start(node(2).netmod(net.netmod("b")), &journal).await;
        let mut body = vec![7; 20_000];
        let batch = (0..40u32).map(|number| {
            body[..4].copy_from_slice(&number.to_be_bytes());
            Outgoing::new(b.address(), body.clone())
        });
        within(a.send_batch(batch.collect())).await.unwrap();
        until("a refusal", async || b.status().await.drops["not_stored"] > 0).await;
        let held = stored(&journal);
        assert!((10..40).contains(&held), "{held} are stored");
        let other = within(c.send(&b.address(), numbered(99))).await.unwrap();
        within(other.delivered()).await.unwrap();
        let mut from_a = Vec::new();
        for _ in 0..41 {
            let message = within(b.recv()).await.unwrap();
            if message.from == a.address() {
                from_a.push(number(&message));
            }
        }
        assert_eq!(from_a, (0..40).collect::<Vec<_>>());
        until("all receipts", async || a.status().await.outbox.messages == 0).await;
        within(a.stop()).await;
        within(c.stop()).await;
    });
}

#[test]
fn senders_that_were_never_answered_keep_their_messages_while_they_have_half_of_the_conversations() {
    block_on(async {
        let net = MemNet::new(1);
        let limits = JournalLimits { pairs: 8, ..JournalLimits::default() };
        let journal = open_with(MemoryDisk::default(), limits).await;
        let b = start(node(2).netmod(net.netmod("b")), &journal).await;
        let mut strangers = Vec::new();
        for number in 3..10 {
            let journal = open(MemoryDisk::default()).await;
            strangers.push(start(node(number).netmod(net.netmod(&format!("s{number}"))), &journal).await);
        }
        for stranger in &strangers {
            within(stranger.send(&b.address(), "hello")).await.unwrap();
        }
        until("four messages", async || stored(&journal) == 4).await;
        until("refusals", async || b.status().await.drops["not_stored"] >= 3).await;
        let mut waiting = 0;
        for stranger in &strangers {
            waiting += stranger.status().await.outbox.messages;
        }
        assert!(waiting >= 3, "{waiting} messages wait at their senders");
        // A peer that has got a message has its place.
        let a = sender(&net).await;
        within(within(b.send(&a.address(), "hello")).await.unwrap().delivered()).await.unwrap();
        within(within(a.send(&b.address(), "an answer")).await.unwrap().delivered()).await.unwrap();
        let mut from = BTreeSet::new();
        for _ in 0..8 {
            from.insert(within(b.recv()).await.unwrap().from);
        }
        assert_eq!(from.len(), 8, "all arrive when there is room");
        within(a.stop()).await;
        within(b.stop()).await;
    });
}

#[test]
fn a_disk_that_cannot_be_written_gives_no_receipt_and_the_messages_come_when_it_works() {
    for fault in [DiskFault::Syncs, DiskFault::Write] {
        block_on(async {
            let (net, disk) = (MemNet::new(1), SimDisk::new(5));
            let a = sender(&net).await;
            let (b, journal) = recipient(&net, "b", disk.clone()).await;
            within(within(a.send(&b.address(), numbered(0))).await.unwrap().delivered()).await.unwrap();
            disk.fail_after(0, fault);
            let sent = within(a.send(&b.address(), numbered(1))).await.unwrap();
            if fault == DiskFault::Syncs {
                until("a refusal", async || b.status().await.drops["not_stored"] > 0).await;
                until("the first one to be settled", async || a.status().await.outbox.messages == 1).await;
                assert!(soon(sent.delivered()).await.is_none(), "there is no receipt");
            }
            disk.calm();
            within(sent.delivered()).await.unwrap();
            for expected in 0..2 {
                assert_eq!(number(&within(b.recv()).await.unwrap()), expected);
            }
            until("an empty inbox", async || stored(&journal) == 0).await;
            within(a.stop()).await;
        });
    }
}

#[test]
fn a_message_of_a_node_to_itself_is_stored_before_it_is_delivered() {
    block_on(async {
        let disk = SimDisk::new(1);
        let journal = open(disk.clone()).await;
        let a = start(node(1), &journal).await;
        let batch = (0..50).map(|number| Outgoing::new(a.address(), numbered(number)).service("self"));
        let sent = within(a.send_batch(batch.collect())).await.unwrap();
        assert!(sent.iter().all(|sent| sent.durable));
        within(sent[49].delivered()).await.unwrap();
        crash(a, journal, &disk).await;
        let journal = open(disk.clone()).await;
        let a = start(node(1), &journal).await;
        let mailbox = a.service("self").unwrap();
        for (expected, sent) in (0..).zip(&sent) {
            let message = within(mailbox.recv()).await.unwrap();
            assert_eq!((number(&message), message.id), (expected, sent.id));
            assert_eq!(message.protection, rouse_core::Protection::Local);
        }
        until("an empty inbox", async || stored(&journal) == 0).await;
    });
}
