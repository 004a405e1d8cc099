//! Files with wrong bytes.

use rouse_journal::{Disk, Journal, JournalLimits, JournalStatus, Lease};
use rouse_sim::SimDisk;

use crate::setup::{Rig, arrival, incoming, outgoing, pair};

const MESSAGES: u64 = 60;
const FILES: u64 = 150;

fn body(peer: u8, seq: u64) -> Vec<u8> {
    vec![peer ^ seq as u8; 900]
}

/// A journal with messages in the outbox and in the inbox, which is closed.
fn filled(seed: u64) -> Rig {
    let mut rig = Rig::new(seed);
    for peer in 1..4 {
        rig.open_pair(pair(peer));
        for first in (0..MESSAGES).step_by(10) {
            let messages =
                (first..first + 10).map(|seq| (pair(peer), outgoing(seq, body(peer, seq)))).collect();
            rig.run(|journal| journal.put(messages));
            let messages = (first..first + 10).map(|seq| incoming(seq, body(peer, seq))).collect();
            rig.receive(arrival(peer, 7, messages));
        }
    }
    rig.close();
    rig
}

/// Uses everything that the journal still has, and checks that nothing of it is wrong. Returns the messages that are there.
fn use_all(rig: &mut Rig) -> u64 {
    let mut found = 0;
    for peer in 1..4 {
        rig.open_pair(pair(peer));
        for (seq, waiting) in rig.waiting(pair(peer)) {
            assert_eq!(waiting, body(peer, seq));
            found += 1;
        }
        rig.run(|journal| journal.settle(pair(peer), vec![0..MESSAGES]));
        rig.open_pair(pair(peer));
    }
    let leases = loop_leases(rig);
    for lease in &leases {
        assert_eq!(lease.message.body, body(lease.pair.peer.as_bytes()[0], lease.message.seq));
    }
    found += leases.len() as u64;
    rig.run(|journal| journal.acknowledge(leases.iter().map(|lease| lease.key).collect()));
    assert!(rig.lease(1).is_empty());
    rig.put(pair(1), outgoing(MESSAGES, "works"));
    found
}

fn loop_leases(rig: &mut Rig) -> Vec<Lease> {
    let mut all = Vec::new();
    loop {
        let leases = rig.lease(50);
        if leases.is_empty() {
            return all;
        }
        all.extend(leases);
    }
}

#[test]
fn flipped_bits_anywhere_lose_what_they_hit_and_never_return_a_wrong_message() {
    let (mut kept, mut lost, mut unreadable) = (0, 0, 0);
    for seed in 0..FILES {
        let mut rig = filled(seed);
        assert!(rig.disk.damage("journal", 1 + seed as usize % 5));
        rig.open().unwrap();
        let found = use_all(&mut rig);
        let status = rig.journal.status();
        // One that was read may be lost after that.
        assert!(
            found + status.damaged >= 6 * MESSAGES || status.unreadable > 0,
            "seed {seed}: {found} {status:?}"
        );
        (kept, lost, unreadable) = (kept + found, lost + status.damaged, unreadable + status.unreadable);
        rig.power_cut();
        assert_eq!(rig.waiting(pair(1)), [(MESSAGES, "works".into())]);
    }
    println!("{kept} messages kept, {lost} lost; {unreadable} of {FILES} files were unreadable");
    assert!(lost > 0 && unreadable > 0, "no damage was met");
    assert!(kept > 9 * lost && unreadable < FILES / 10, "{kept} kept, {lost} lost, {unreadable} unreadable");
}

#[test]
fn damage_that_is_met_at_work_leaves_the_rest_of_the_file_readable() {
    for seed in 0..FILES {
        let mut rig = filled(seed);
        assert!(rig.disk.damage("journal", 5));
        rig.open().unwrap();
        let at_start = rig.journal.status().unreadable;
        (1..4).for_each(|peer| _ = rig.open_pair(pair(peer)));
        for peer in 1..4 {
            rig.run(|journal| journal.settle(pair(peer), vec![0..MESSAGES]));
        }
        assert_eq!(rig.journal.status().unreadable, at_start, "seed {seed}");
    }
}

#[test]
fn a_file_that_is_no_journal_is_set_aside() {
    let disk = SimDisk::new(1);
    let file = disk.create("journal").unwrap();
    file.write(0, b"not a journal at all").unwrap();
    file.sync().unwrap();
    let mut rig = Rig::with(disk, JournalLimits::default());
    rig.open_pair(pair(1));
    rig.put(pair(1), outgoing(0, "works"));
    rig.power_cut();
    assert_eq!(rig.waiting(pair(1)).len(), 1);
    assert!(rig.disk.open("journal.damaged").unwrap().is_some());
}

/// Changes the length of the file of a journal that holds messages, and returns what is found after that.
fn resized(seed: u64, was_closed: bool, length: impl Fn(u64) -> u64) -> (u64, JournalStatus) {
    let mut rig = filled(seed);
    if !was_closed {
        // As a process that is killed leaves it.
        rig.open().unwrap();
        rig.put(pair(1), outgoing(MESSAGES, body(1, MESSAGES)));
        rig.run(|journal| journal.settle(pair(1), vec![MESSAGES..MESSAGES + 1]));
        rig.power_cut();
        rig.close();
    }
    let file = rig.disk.open("journal").unwrap().unwrap();
    let before = file.len().unwrap();
    let after = length(before);
    file.set_len(after).unwrap();
    if after > before {
        file.write(before, &vec![0x5a; usize::try_from(after - before).unwrap()]).unwrap();
    }
    file.sync().unwrap();
    drop(file);
    rig.open().unwrap();
    let found = use_all(&mut rig);
    (found, rig.journal.status())
}

#[test]
fn bytes_behind_the_end_of_the_file_cost_no_message() {
    for (seed, more) in [1, 100, 4095, 4096, 4097, 100_000, 1 << 20].into_iter().enumerate() {
        for was_closed in [true, false] {
            let (found, status) = resized(seed as u64, was_closed, |length| length + more);
            assert_eq!(found, 6 * MESSAGES, "{more} bytes more, {status:?}");
            assert_eq!((status.damaged, status.unreadable), (0, 0), "{more} bytes more");
        }
    }
}

#[test]
fn a_file_whose_end_is_cut_off_keeps_what_is_in_front_and_counts_what_is_lost() {
    let mut kept = 0;
    for (seed, part) in [1, 10, 30, 50, 80].into_iter().enumerate() {
        let (found, status) = resized(seed as u64, true, |length| length - length * part / 100);
        assert!(
            found + status.damaged >= 6 * MESSAGES || status.unreadable > 0,
            "{part} %: {found} {status:?}"
        );
        println!("{part} % cut off: {found} of {} messages kept, {status:?}", 6 * MESSAGES);
        kept += found;
    }
    assert!(kept > 0);
}

#[test]
fn an_emptied_file_is_damage_and_not_a_new_journal() {
    for length in [0, 1, 4096] {
        let (found, status) = resized(7, true, |_| length);
        assert_eq!((found, status.unreadable), (0, 1), "{length} bytes left");
    }
}
