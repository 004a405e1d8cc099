//! Shares of the room, and the number of conversations.

use rouse_journal::{Arrival, Journal, JournalLimits, Reception, Refusal};
use rouse_sim::SimDisk;

use crate::setup::{Rig, address, arrival, incoming, outgoing, pair};

const MIB: usize = 1 << 20;

fn rig(bytes: u64) -> Rig {
    let mut rig = Rig::with(SimDisk::new(1), JournalLimits { bytes, ..JournalLimits::default() });
    (1..9).for_each(|peer| _ = rig.open_pair(pair(peer)));
    rig
}

/// Puts messages until one is refused. Returns how many were accepted, and the refusal.
fn fill(rig: &mut Rig, peer: u8, length: usize) -> (u64, Refusal) {
    for seq in 0.. {
        let outcome =
            rig.run(|journal| journal.put(vec![(pair(peer), outgoing(seq, vec![0; length]))])).remove(0);
        if let Err(refusal) = outcome {
            return (seq, refusal);
        }
    }
    unreachable!()
}

#[test]
fn a_recipient_that_is_away_holds_its_share_and_no_more_and_is_named() {
    let mut rig = rig(32 << 20);
    let (first, refusal) = fill(&mut rig, 1, MIB / 2);
    let Refusal::Full { holder, held, limit } = refusal else { panic!("{refusal}") };
    assert_eq!((first, holder, limit), (15, address(1), 16 << 20));
    assert!((7 * MIB as u64..=8 * MIB as u64).contains(&held), "{held}");
    let (second, refusal) = fill(&mut rig, 2, MIB / 2);
    assert!(matches!(refusal, Refusal::Full { holder, .. } if holder == address(2)), "{refusal}");
    assert_eq!(second, 8, "half of what is left");
}

#[test]
fn when_all_room_is_taken_the_largest_holder_is_named() {
    let mut rig = rig(32 << 20);
    fill(&mut rig, 1, MIB / 4);
    for peer in 2..8 {
        fill(&mut rig, peer, MIB / 4);
    }
    let long = outgoing(0, vec![0; 8 * MIB]);
    let outcome = rig.run(|journal| journal.put(vec![(pair(8), long)])).remove(0);
    let Err(Refusal::Full { holder, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(holder, address(1));
}

#[test]
fn a_sender_that_fills_its_share_of_the_inbox_is_refused_and_others_are_received() {
    let mut rig = rig(32 << 20);
    let mut refused = None;
    for seq in 0..40 {
        let reception = rig.receive(arrival(1, 7, vec![incoming(seq, vec![0; MIB / 2])])).remove(0);
        if let Reception::Refused(refusal) = reception {
            refused = Some((seq, refusal));
            break;
        }
    }
    let (seq, refusal) = refused.expect("a share");
    assert!(matches!(refusal, Refusal::Full { holder, .. } if holder == address(1)), "{refusal}");
    assert!(matches!(rig.receive(arrival(2, 7, vec![incoming(0, "x")]))[0], Reception::Stored(_)));
    // The window has not taken the message that was refused, so that it is received when there is room.
    let leases = rig.lease(4);
    rig.run(|journal| journal.acknowledge(leases.iter().map(|lease| lease.key).collect()));
    let again = rig.receive(arrival(1, 7, vec![incoming(seq, vec![0; MIB / 2])]));
    assert!(matches!(again[0], Reception::Stored(_)), "{again:?}");
}

#[test]
fn what_others_send_leaves_room_to_send_and_what_leaves_makes_room() {
    let mut rig = rig(4 << 20);
    for peer in 1..9 {
        for seq in 0..20 {
            rig.receive(arrival(peer, 7, vec![incoming(seq, vec![0; MIB / 8])]));
        }
    }
    let (accepted, _) = fill(&mut rig, 1, MIB / 8);
    assert!(accepted > 4, "{accepted}");
    let seen = rig.journal.status().room;
    rig.run(|journal| journal.settle(pair(1), vec![0..1]));
    assert_ne!(rig.journal.status().room, seen);
}

#[test]
fn the_conversation_that_was_not_used_for_the_longest_time_is_forgotten_unless_it_has_messages() {
    let limits = JournalLimits { pairs: 4, ..JournalLimits::default() };
    let mut rig = Rig::with(SimDisk::new(1), limits);
    for peer in 1..5 {
        rig.run(|journal| journal.open_pair(pair(peer), u64::from(peer))).unwrap();
        rig.pass(std::time::Duration::from_secs(2 * 3600));
    }
    rig.put(pair(1), outgoing(0, "waits"));
    rig.receive(arrival(2, 7, vec![incoming(0, "waits")]));
    rig.power_cut();
    rig.run(|journal| journal.open_pair(pair(5), 5)).unwrap();
    assert_eq!(rig.journal.status().evicted, 1);
    let incarnation =
        |rig: &mut Rig, peer| rig.run(|journal| journal.open_pair(pair(peer), 99)).unwrap().incarnation;
    assert_eq!([1, 2, 4, 5].map(|peer| incarnation(&mut rig, peer)), [1, 2, 4, 5]);

    for peer in [4, 5] {
        rig.put(pair(peer), outgoing(0, "waits"));
    }
    let refused = rig.run(|journal| journal.open_pair(pair(6), 6));
    assert_eq!(refused, Err(Refusal::TooManyPairs(4)));
    rig.run(|journal| journal.settle(pair(1), vec![0..1]));
    rig.pass(std::time::Duration::from_secs(2 * 3600));
    rig.run(|journal| journal.open_pair(pair(6), 6)).unwrap();
}

/// A journal with few conversations, in which the peer 1 has got a message and has none that waits.
fn small_rig() -> Rig {
    let limits = JournalLimits { pairs: 64, bytes: 8 << 20, ..JournalLimits::default() };
    let mut rig = Rig::with(SimDisk::new(1), limits);
    rig.open_pair(pair(1));
    rig.put(pair(1), outgoing(0, "an answer"));
    rig.run(|journal| journal.settle(pair(1), vec![0..1]));
    rig
}

/// Receives one message each of senders that were never answered. Returns the refusals.
fn strangers(rig: &mut Rig, peers: std::ops::Range<u8>, length: usize) -> Vec<Refusal> {
    let mut refused = Vec::new();
    for peer in peers {
        rig.run(|journal| journal.open_pair(pair(peer), 1)).unwrap();
        match rig.receive(arrival(peer, 7, vec![incoming(0, vec![0; length])])).remove(0) {
            Reception::Stored(_) => {}
            Reception::Refused(refusal) => refused.push(refusal),
            Reception::Duplicate => panic!("a duplicate of {peer}"),
        }
    }
    refused
}

#[test]
fn senders_that_were_never_answered_take_half_of_the_conversations_at_most() {
    let mut rig = small_rig();
    let refused = strangers(&mut rig, 2..200, 1);
    assert_eq!((refused.len(), &refused[0]), (198 - 32, &Refusal::TooManyUnanswered(32)));
    // The peer that has got a message keeps its conversation, and others can be sent messages.
    let known = rig.receive(arrival(1, 7, vec![incoming(0, "x")]));
    assert!(matches!(known[0], Reception::Stored(_)), "{known:?}");
    for peer in 200..231 {
        rig.run(|journal| journal.open_pair(pair(peer), 1)).unwrap();
        rig.put(pair(peer), outgoing(0, "to a new peer"));
        let answer = rig.receive(arrival(peer, 7, vec![incoming(0, "x")]));
        assert!(matches!(answer[0], Reception::Stored(_)), "{peer}: {answer:?}");
    }
    assert_eq!(rig.run(|journal| journal.open_pair(pair(250), 1)), Err(Refusal::TooManyPairs(64)));
}

#[test]
fn a_sender_that_was_never_answered_is_received_when_an_application_has_taken_messages_of_others() {
    let mut rig = small_rig();
    assert!(!strangers(&mut rig, 2..60, 1).is_empty());
    let leases = rig.lease(10);
    rig.run(|journal| journal.acknowledge(leases.iter().map(|lease| lease.key).collect()));
    rig.power_cut();
    assert_eq!(strangers(&mut rig, 100..110, 1), []);
    assert_eq!(strangers(&mut rig, 110..111, 1), [Refusal::TooManyUnanswered(32)]);
    // A peer that is answered is no longer one of them, and one of an application that has answered it never was.
    rig.put(pair(100), outgoing(0, "an answer"));
    assert_eq!(strangers(&mut rig, 111..112, 1), []);
    rig.run(|journal| journal.open_pair(pair(112), 1)).unwrap();
    let answered = Arrival { is_answered: true, ..arrival(112, 7, vec![incoming(0, "x")]) };
    assert!(matches!(rig.receive(answered)[0], Reception::Stored(_)));
    // Sequences are reserved for refusals too, which any node can have sent to it.
    rig.run(|journal| journal.open_pair(pair(113), 1)).unwrap();
    rig.run(|journal| journal.reserve(pair(113), 4096)).unwrap();
    assert_eq!(strangers(&mut rig, 113..114, 1), [Refusal::TooManyUnanswered(32)]);
}

#[test]
fn conversations_without_messages_of_peers_that_were_never_answered_are_forgotten_first() {
    let mut rig = small_rig();
    rig.pass(std::time::Duration::from_secs(2 * 3600));
    for peer in 2..250 {
        assert_eq!(strangers(&mut rig, peer..peer + 1, 1), []);
        let leases = rig.lease(1);
        rig.run(|journal| journal.acknowledge(vec![leases[0].key]));
    }
    assert_eq!(rig.journal.status().evicted, 249 - 64);
    let state = rig.run(|journal| journal.open_pair(pair(1), 99)).unwrap();
    assert_eq!((state.incarnation, state.next), (1, 1), "the peer that has got a message is known");
}

#[test]
fn all_senders_that_were_never_answered_have_half_of_the_inbox_together() {
    for restarted in [false, true] {
        let mut rig = rig(32 << 20);
        for peer in 2..9 {
            for seq in 0..40 {
                rig.receive(arrival(peer, 7, vec![incoming(seq, vec![0; MIB / 4])]));
            }
        }
        let held = rig.journal.status().inbox.bytes;
        assert!((7 << 20..=8 << 20).contains(&held), "{held} of them");
        if restarted {
            rig.power_cut();
        }
        let refused = rig.receive(arrival(8, 7, vec![incoming(100, vec![0; 2 * MIB])]));
        assert!(
            matches!(refused[0], Reception::Refused(Refusal::UnansweredFull { limit: 0x80_0000, .. })),
            "{refused:?}"
        );
        rig.put(pair(1), outgoing(0, "an answer"));
        let reception = rig.receive(arrival(1, 7, vec![incoming(0, vec![0; 3 * MIB])]));
        assert!(matches!(reception[0], Reception::Stored(_)), "{reception:?}");
        // A sender that is answered leaves its room to the others.
        rig.put(pair(2), outgoing(0, "an answer"));
        rig.open_pair(pair(9));
        let reception = rig.receive(arrival(9, 7, vec![incoming(0, vec![0; 2 * MIB])]));
        assert!(matches!(reception[0], Reception::Stored(_)), "{reception:?}");
    }
}
