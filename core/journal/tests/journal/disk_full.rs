//! A full disk.

use std::time::Duration;

use rouse_journal::{Journal, JournalError, Refusal};
use rouse_proto::types::MessageId;

use crate::setup::{Rig, arrival, incoming, outgoing, pair};

fn put(rig: &mut Rig, seq: u64) -> Result<Vec<Result<MessageId, Refusal>>, JournalError> {
    let completion = rig.journal.put(vec![(pair(1), outgoing(seq, vec![7; 60_000]))]);
    rig.attempt(completion)
}

#[test]
fn a_full_disk_refuses_messages_accepts_receipts_and_deletions_and_recovers_when_there_is_room() {
    for seed in 0..20 {
        let mut rig = Rig::new(seed);
        rig.open_pair(pair(1));
        let received = rig.receive(arrival(1, 7, (0..8).map(|seq| incoming(seq, "x")).collect()));
        assert_eq!(received.len(), 8);
        let used = rig.disk.used();
        rig.disk.set_capacity(used + 100_000 * seed);
        let (accepted, error) = (0..)
            .find_map(|seq| put(&mut rig, seq).err().map(|error| (seq, error)))
            .expect("the disk is full");
        assert_eq!(error, JournalError::DiskFull);
        assert_eq!(rig.journal.status().error, Some(JournalError::DiskFull));

        let leases = rig.lease(4);
        rig.run(|journal| journal.acknowledge(leases.iter().map(|lease| lease.key).collect()));
        rig.run(|journal| journal.settle(pair(1), vec![0..accepted / 2]));
        assert_eq!(rig.waiting(pair(1)).len() as u64, accepted - accepted / 2);
        // Operations that succeed are no sign of room.
        assert_eq!(rig.journal.status().error, Some(JournalError::DiskFull));

        rig.power_cut();
        rig.disk.set_capacity(u64::MAX);
        rig.pass(Duration::from_secs(2));
        put(&mut rig, accepted + 1).unwrap()[0].clone().unwrap();
        assert_eq!(rig.journal.status().error, None);
        assert_eq!(
            rig.waiting(pair(1)).len() as u64,
            accepted - accepted / 2 + 1,
            "the refused one is not there"
        );
    }
}

#[test]
fn messages_are_accepted_again_without_a_restart() {
    let mut rig = Rig::new(1);
    rig.open_pair(pair(1));
    let used = rig.disk.used();
    rig.disk.set_capacity(used);
    let refused = (0..).find(|seq| put(&mut rig, *seq).is_err()).unwrap();
    assert_eq!(put(&mut rig, refused + 1), Err(JournalError::DiskFull));
    rig.disk.set_capacity(u64::MAX);
    rig.pass(Duration::from_secs(2));
    assert!(put(&mut rig, refused + 2).unwrap()[0].is_ok());
    let waiting: Vec<_> = rig.waiting(pair(1)).into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(waiting, (0..refused).chain([refused + 2]).collect::<Vec<_>>());
}

#[test]
fn a_disk_with_room_again_counts_as_well_without_a_new_message() {
    let mut rig = Rig::new(2);
    rig.open_pair(pair(1));
    let used = rig.disk.used();
    rig.disk.set_capacity(used);
    assert!((0..100).any(|seq| put(&mut rig, seq).is_err()));
    rig.pass(Duration::from_secs(2));
    rig.idle();
    assert_eq!(rig.journal.status().error, Some(JournalError::DiskFull));
    rig.disk.set_capacity(u64::MAX);
    rig.pass(Duration::from_secs(2));
    rig.idle();
    assert_eq!(rig.journal.status().error, None);
}
