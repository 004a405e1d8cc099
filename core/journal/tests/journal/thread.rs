//! The journal with its thread, on a real disk.

use std::fs;

use futures::executor::block_on;
use futures::future::join_all;
use rouse_journal::{FolderDisk, Journal, JournalError, JournalLimits, MemoryDisk, StoredJournal};

use crate::setup::{arrival, incoming, outgoing, pair};

#[test]
fn a_journal_in_a_folder_keeps_its_messages_and_belongs_to_one_user_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let open = || async {
            StoredJournal::open(FolderDisk::open(folder.path()).unwrap(), JournalLimits::default())
                .await
                .unwrap()
        };
        let journal = open().await;
        journal.open_pair(pair(1), 5).await.unwrap().unwrap();
        let puts = (0..500).map(|seq| journal.put(vec![(pair(1), outgoing(seq, vec![1; 1000]))]));
        assert!(join_all(puts).await.into_iter().all(|outcome| outcome.unwrap()[0].is_ok()));
        let error = FolderDisk::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("in use"), "{error}");
        journal.close().await.unwrap();
        assert_eq!(journal.put(Vec::new()).await, Err(JournalError::Closed));
        drop(journal);

        let journal = open().await;
        assert_eq!(journal.status().outbox.messages, 500);
        assert_eq!(journal.load(pair(1), 0, usize::MAX).await.unwrap().len(), 500);
        journal.close().await.unwrap();
    });
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["journal", "journal.spare"]);
}

#[test]
fn operations_wait_for_room_in_the_queue_and_all_are_carried_out() {
    block_on(async {
        let journal = StoredJournal::open(MemoryDisk::default(), JournalLimits::default()).await.unwrap();
        journal.open_pair(pair(1), 5).await.unwrap().unwrap();
        let puts = (0..10_000).map(|seq| journal.put(vec![(pair(1), outgoing(seq, "x"))]));
        assert!(join_all(puts).await.into_iter().all(|outcome| outcome.unwrap()[0].is_ok()));
        assert_eq!(journal.status().outbox.messages, 10_000);
    });
}

#[test]
fn what_was_submitted_is_carried_out_although_its_completion_was_dropped() {
    block_on(async {
        let disk = MemoryDisk::default();
        let journal = StoredJournal::open(disk.clone(), JournalLimits::default()).await.unwrap();
        drop(journal.open_pair(pair(1), 5));
        drop(journal.put(vec![(pair(1), outgoing(0, "x"))]));
        drop(journal.receive(vec![arrival(1, 7, vec![incoming(0, "x")])]));
        journal.close().await.unwrap();
        let journal = StoredJournal::open(disk, JournalLimits::default()).await.unwrap();
        let status = journal.status();
        assert_eq!((status.outbox.messages, status.inbox.messages), (1, 1));
    });
}

#[test]
fn a_wait_for_room_ends_when_messages_leave() {
    block_on(async {
        let journal = StoredJournal::open(MemoryDisk::default(), JournalLimits::default()).await.unwrap();
        journal.open_pair(pair(1), 5).await.unwrap().unwrap();
        journal.put(vec![(pair(1), outgoing(0, "x"))]).await.unwrap()[0].clone().unwrap();
        let seen = journal.status().room;
        let (settled, room) = futures::join!(journal.settle(pair(1), vec![0..1]), journal.room_after(seen));
        assert_eq!((settled.unwrap().messages, room), (1, Ok(())));
    });
}

#[test]
fn a_folder_that_does_not_exist_is_an_error_at_once() {
    assert!(FolderDisk::open("/nonexistent/folder").is_err());
}
