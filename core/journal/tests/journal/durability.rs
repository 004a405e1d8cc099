//! The order of syncs and completions, and commits that fail.

use futures::FutureExt;
use rouse_journal::{Journal, JournalError, JournalLimits};
use rouse_sim::{DiskFault, SimDisk};

use crate::setup::{Rig, arrival, incoming, outgoing, pair};

#[test]
fn an_operation_completes_only_after_the_sync_of_its_commit() {
    let mut rig = Rig::new(1);
    rig.open_pair(pair(1));
    let syncs = rig.disk.syncs();
    let mut put = rig.journal.put(vec![(pair(1), outgoing(0, "x"))]);
    assert!((&mut put).now_or_never().is_none());
    rig.attempt(put).unwrap();
    let after = rig.disk.syncs();
    assert!(after > syncs);
    rig.receive(arrival(1, 7, vec![incoming(0, "x")]));
    assert!(rig.disk.syncs() > after);
}

#[test]
fn a_completion_never_comes_before_a_sync_that_fails() {
    for after in 0..40 {
        let mut rig = Rig::new(after);
        rig.open_pair(pair(1));
        rig.disk.fail_after(after, DiskFault::PowerCut);
        let put = rig.journal.put(vec![(pair(1), outgoing(0, "x"))]);
        let result = rig.attempt(put);
        let is_off = rig.disk.is_off();
        rig.power_cut();
        let found = rig.waiting(pair(1)).len();
        assert!(result.is_err() || found == 1, "after {after} operations: {result:?}, power off: {is_off}");
    }
}

#[test]
fn operations_that_wait_together_share_one_commit() {
    let mut rig = Rig::new(1);
    rig.open_pair(pair(1));
    let before = rig.disk.syncs();
    rig.put(pair(1), outgoing(0, "x"));
    let for_one = rig.disk.syncs() - before;
    let puts: Vec<_> = (1..101).map(|seq| rig.journal.put(vec![(pair(1), outgoing(seq, "x"))])).collect();
    let before = rig.disk.syncs();
    for put in puts {
        rig.attempt(put).unwrap();
    }
    assert_eq!(rig.disk.syncs() - before, for_one);
    assert_eq!(rig.waiting(pair(1)).len(), 101);
}

#[test]
fn a_write_or_sync_that_fails_once_costs_nothing_but_another_attempt() {
    for after in 0..30 {
        for fault in [DiskFault::Write, DiskFault::Sync] {
            let mut rig = Rig::new(after);
            rig.open_pair(pair(1));
            rig.disk.fail_after(after, fault);
            rig.put(pair(1), outgoing(0, "x"));
            rig.put(pair(1), outgoing(1, "y"));
            rig.power_cut();
            assert_eq!(rig.waiting(pair(1)).len(), 2, "{fault:?} after {after} operations");
        }
    }
}

#[test]
fn a_power_cut_after_syncs_have_failed_repeatedly_loses_nothing_that_was_completed() {
    for seed in 0..200 {
        let limits = JournalLimits { small_file: 0, ..JournalLimits::default() };
        let mut rig = Rig::with(SimDisk::new(seed), limits);
        rig.open_pair(pair(1));
        let group = (0..200).map(|seq| (pair(1), outgoing(seq, vec![1; 1500]))).collect();
        rig.run(|journal| journal.put(group));
        rig.run(|journal| journal.settle(pair(1), vec![0..200]));
        let mut completed = Vec::new();
        for seq in 200..212 {
            match seq {
                203 => rig.disk.fail_after(seed % 40, DiskFault::Syncs),
                208 => rig.disk.calm(),
                _ => {}
            }
            let put = rig.journal.put(vec![(pair(1), outgoing(seq, vec![seq as u8; 1500]))]);
            if rig.attempt(put).is_ok() {
                completed.push(seq);
            }
            rig.idle();
            if seq == 208 + seed % 4 {
                break;
            }
        }
        rig.power_cut();
        let found: Vec<_> = rig.waiting(pair(1)).into_iter().map(|(seq, _)| seq).collect();
        assert_eq!(found, completed, "seed {seed}");
    }
}

#[test]
fn a_power_cut_at_any_operation_of_the_first_start_leaves_a_journal_that_opens() {
    let mut completed = 0;
    for after in 0..200 {
        let disk = SimDisk::new(after);
        disk.fail_after(after, DiskFault::PowerCut);
        let limits = JournalLimits::default();
        let now = rouse_journal::Moment {
            running: std::time::Duration::ZERO,
            wall: rouse_proto::types::Timestamp(1),
        };
        completed += u32::from(rouse_journal::StoredJournal::driven(disk.clone(), limits, now).is_ok());
        disk.restart();
        let mut rig = Rig::with(disk, limits);
        rig.open_pair(pair(1));
        rig.put(pair(1), outgoing(0, "x"));
    }
    assert!((1..200).contains(&completed), "the cuts were before and after the end of the first start");
}

#[test]
fn operations_that_wait_at_the_end_of_the_journal_fail_and_so_do_later_ones() {
    let mut rig = Rig::new(1);
    let waiting = rig.journal.put(Vec::new());
    rig.kill();
    let late = rig.journal.put(Vec::new());
    assert_eq!(rig.attempt(waiting), Err(JournalError::Closed));
    assert_eq!(rig.attempt(late), Err(JournalError::Closed));
}

#[test]
fn the_start_reads_no_more_when_many_messages_wait() {
    let read_at_start = |messages: u64| {
        let mut rig = Rig::new(1);
        rig.open_pair(pair(1));
        for first in (0..messages).step_by(500) {
            let group = (first..first + 500).map(|seq| (pair(1), outgoing(seq, vec![1; 1000]))).collect();
            rig.run(|journal| journal.put(group));
            let group = (first..first + 500).map(|seq| incoming(seq, vec![1; 1000])).collect();
            rig.receive(arrival(1, 7, group));
        }
        rig.kill();
        rig.disk.restart();
        let before = rig.disk.bytes_read();
        rig.open().unwrap();
        assert_eq!(rig.journal.status().outbox.messages, messages);
        rig.disk.bytes_read() - before
    };
    let (few, many) = (read_at_start(500), read_at_start(10_000));
    assert!(many < few + 300_000, "{few} bytes with 500 messages, {many} with 10 000, which have 20 MB");
}

#[test]
fn a_file_that_is_mostly_unused_is_made_smaller_in_a_quiet_moment_and_keeps_its_messages() {
    let mut rig = Rig::new(1);
    rig.open_pair(pair(1));
    for first in (0..8000).step_by(500) {
        let group = (first..first + 500).map(|seq| (pair(1), outgoing(seq, vec![1; 1000]))).collect();
        rig.run(|journal| journal.put(group));
    }
    rig.idle();
    let full = rig.journal.status().file_bytes;
    assert!(full > 8 << 20, "a file in use keeps its length: {full}");
    rig.run(|journal| journal.settle(pair(1), vec![10..8000]));
    rig.idle();
    let small = rig.journal.status().file_bytes;
    assert!(small < 1 << 20, "{small} of {full} bytes");
    assert_eq!(rig.waiting(pair(1)).len(), 10);
    rig.power_cut();
    assert_eq!(rig.waiting(pair(1)).len(), 10);
}

#[test]
fn a_power_cut_while_a_file_is_made_smaller_loses_nothing() {
    let mut cuts = 0;
    for after in (0..120).step_by(4) {
        let limits = JournalLimits { small_file: 0, ..JournalLimits::default() };
        let mut rig = Rig::with(SimDisk::new(after), limits);
        rig.open_pair(pair(1));
        let group = (0..600).map(|seq| (pair(1), outgoing(seq, vec![1; 1000]))).collect();
        rig.run(|journal| journal.put(group));
        rig.run(|journal| journal.settle(pair(1), vec![20..600]));
        rig.disk.fail_after(after, DiskFault::PowerCut);
        rig.idle();
        cuts += u32::from(rig.disk.is_off());
        rig.power_cut();
        assert_eq!(rig.waiting(pair(1)).len(), 20, "a cut after {after} operations");
    }
    assert!(cuts > 5, "{cuts} cuts");
}
