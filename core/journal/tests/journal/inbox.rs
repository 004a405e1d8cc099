//! The inbox: windows, leases, turns, dead letters.

use rouse_journal::{
    Arrival, InboxKey, InboxMessage, InboxPart, Journal, Lease, LeaseLimit, MAX_DELIVERIES, MailboxName,
    Reception, Service,
};

use crate::setup::{Rig, address, arrival, incoming, mailbox, pair};

/// The keys of messages that were stored.
fn stored(receptions: &[Reception]) -> Vec<InboxKey> {
    receptions
        .iter()
        .filter_map(|one| if let Reception::Stored(key) = one { Some(*key) } else { None })
        .collect()
}

fn keys(leases: &[Lease]) -> Vec<InboxKey> {
    leases.iter().map(|lease| lease.key).collect()
}

/// The senders and sequences of messages.
fn names(leases: &[Lease]) -> Vec<(u8, u64)> {
    leases.iter().map(|lease| (lease.pair.peer.as_bytes()[0], lease.message.seq)).collect()
}

/// A journal with conversations with the peers 1 to 4.
fn rig() -> Rig {
    let mut rig = Rig::new(1);
    (1..5).for_each(|peer| _ = rig.open_pair(pair(peer)));
    rig
}

#[test]
fn a_message_is_received_once_also_after_a_restart_and_after_it_is_gone() {
    let mut rig = rig();
    let first = arrival(1, 7, vec![incoming(0, "a"), incoming(2, "c"), incoming(2, "c")]);
    let receptions = rig.receive(first.clone());
    assert_eq!((stored(&receptions).len(), &receptions[2]), (2, &Reception::Duplicate));
    rig.power_cut();
    assert!(rig.receive(first.clone()).iter().all(|one| *one == Reception::Duplicate));
    let leases = rig.lease(9);
    rig.run(|journal| journal.acknowledge(keys(&leases)));
    rig.power_cut();
    assert!(rig.receive(first).iter().all(|one| *one == Reception::Duplicate));
    let state = rig.open_pair(pair(1));
    let standing = state.standing();
    assert_eq!((standing.peer_incarnation, standing.taken), (7, 1));
    let again = rig.receive(arrival(1, 8, vec![incoming(0, "a")]));
    assert_eq!(stored(&again).len(), 1, "another incarnation");
}

#[test]
fn withdrawn_sequences_and_those_below_the_senders_floor_are_settled_without_a_message() {
    let mut rig = rig();
    let news = Arrival {
        floor: 3,
        withdrawn: vec![4..6, 0..u64::MAX / 2],
        ..arrival(1, 7, vec![incoming(2, "late")])
    };
    let receptions = rig.receive(Arrival { withdrawn: vec![4..6], ..news.clone() });
    assert_eq!(stored(&receptions).len(), 1, "the floor was raised by the packet that carried it");
    rig.power_cut();
    let window = rig.open_pair(pair(1)).window.unwrap();
    assert_eq!((window.floor(), window.above()), (3, &[4..6][..]));
    rig.receive(news);
    assert_eq!(rig.open_pair(pair(1)).window.unwrap().floor(), u64::MAX / 2, "an absurd range costs no time");
}

#[test]
fn a_message_is_lent_with_all_its_fields_to_readers_of_its_service_and_of_its_sender() {
    let mut rig = rig();
    let chat = Service::new("chat").unwrap();
    let message = InboxMessage { service: chat.clone(), ..incoming(0, "to chat") };
    rig.receive(arrival(1, 7, vec![message.clone(), incoming(1, "to all")]));
    rig.receive(arrival(2, 7, vec![incoming(0, "of another")]));
    let limit = LeaseLimit { messages: 9, bytes: usize::MAX };
    let name = MailboxName { local: address(200), service: chat };
    let lent = rig.run(|journal| journal.lease(name.clone(), None, limit));
    assert_eq!(lent.len(), 1);
    assert_eq!((&lent[0].message, lent[0].deliveries, lent[0].pair), (&message, 1, pair(1)));
    let of_second = rig.run(|journal| journal.lease(mailbox(), Some(address(2)), limit));
    assert_eq!(names(&of_second), [(2, 0)]);
    let of_unknown = rig.run(|journal| journal.lease(mailbox(), Some(address(9)), limit));
    assert_eq!(names(&of_unknown), []);
    assert_eq!(names(&rig.lease(9)), [(1, 1)]);
}

#[test]
fn senders_take_turns_whatever_the_length_of_their_queues_and_messages() {
    let mut rig = rig();
    rig.receive(arrival(1, 7, (0..50).map(|seq| incoming(seq, "x")).collect()));
    rig.receive(arrival(2, 7, vec![incoming(0, vec![0; 5000]), incoming(1, "x")]));
    rig.receive(arrival(3, 7, vec![incoming(0, "x")]));
    assert_eq!(names(&rig.lease(5)), [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1)]);

    rig.receive(arrival(2, 7, vec![incoming(2, vec![0; 5000])]));
    let mut taken = Vec::new();
    for _ in 0..3 {
        let limit = LeaseLimit { messages: 4, bytes: 1000 };
        taken.extend(names(&rig.run(|journal| journal.lease(mailbox(), None, limit))));
    }
    assert!(taken.contains(&(2, 2)), "a long message is not passed over for ever: {taken:?}");
}

#[test]
fn what_is_given_back_comes_first_again_and_what_is_lent_comes_to_no_other_reader() {
    let mut rig = rig();
    rig.receive(arrival(1, 7, (0..6).map(|seq| incoming(seq, "x")).collect()));
    let first = rig.lease(4);
    assert_eq!(names(&rig.lease(9)), [(1, 4), (1, 5)]);
    assert_eq!(rig.run(|journal| journal.give_back(keys(&first[1..3]))), 2);
    assert_eq!(rig.run(|journal| journal.give_back(keys(&first[1..3]))), 0);
    let again = rig.lease(9);
    assert_eq!(names(&again), [(1, 1), (1, 2)]);
    assert!(again.iter().all(|lease| lease.deliveries == 2));
    rig.run(|journal| journal.acknowledge(keys(&first)));
    assert_eq!(rig.journal.status().inbox.messages, 2);
}

#[test]
fn the_leases_of_a_process_end_with_it() {
    let mut rig = rig();
    rig.receive(arrival(1, 7, (0..3).map(|seq| incoming(seq, "x")).collect()));
    assert_eq!(rig.lease(9).len(), 3);
    rig.power_cut();
    assert_eq!(names(&rig.lease(9)), [(1, 0), (1, 1), (1, 2)]);
}

#[test]
fn a_message_on_which_each_reader_fails_becomes_a_dead_letter_after_sixteen_deliveries_and_the_others_go_on()
{
    let mut rig = rig();
    rig.receive(arrival(1, 7, vec![incoming(0, "poison"), incoming(1, "good")]));
    for delivery in 1..=MAX_DELIVERIES {
        let limit = LeaseLimit { messages: 1, bytes: usize::MAX };
        let lease = rig.run(|journal| journal.lease(mailbox(), None, limit));
        assert_eq!((names(&lease), lease[0].deliveries), (vec![(1, 0)], delivery));
        rig.run(|journal| journal.give_back(keys(&lease)));
    }
    let rest = rig.lease(9);
    assert_eq!(names(&rest), [(1, 1)]);
    rig.power_cut();
    let dead = rig.run(|journal| journal.inbox(InboxPart::DeadLetters, None, 9));
    assert_eq!((dead.len(), dead[0].deliveries, dead[0].message.seq), (1, MAX_DELIVERIES, 0));
    let peeked = rig.run(|journal| journal.peek(dead[0].key)).unwrap();
    assert_eq!((peeked.0, peeked.1.body), (pair(1), "poison".into()));
    let status = rig.journal.status();
    assert_eq!((status.dead.messages, status.inbox.messages), (1, 1));

    assert!(rig.run(|journal| journal.revive(dead[0].key)));
    assert!(!rig.run(|journal| journal.revive(dead[0].key)));
    let revived = rig.lease(1);
    assert_eq!((names(&revived), revived[0].deliveries), (vec![(1, 0)], 1));
}

#[test]
fn a_revived_message_is_found_although_later_ones_are_lent() {
    let mut rig = rig();
    rig.receive(arrival(1, 7, vec![incoming(0, "poison"), incoming(1, "good")]));
    let mut key = None;
    for _ in 0..MAX_DELIVERIES {
        let lease = rig.lease(1);
        key = Some(lease[0].key);
        rig.run(|journal| journal.give_back(keys(&lease)));
    }
    assert_eq!(names(&rig.lease(9)), [(1, 1)]);
    assert!(rig.run(|journal| journal.revive(key.unwrap())));
    assert_eq!(names(&rig.lease(9)), [(1, 0)]);
}

#[test]
fn a_message_that_ends_each_process_at_once_becomes_a_dead_letter() {
    let mut rig = rig();
    rig.receive(arrival(1, 7, vec![incoming(0, "poison")]));
    let mut processes = 0;
    while !rig.lease(1).is_empty() {
        processes += 1;
        assert!(processes < 20, "it is delivered for ever");
        rig.power_cut();
    }
    // The first delivery of a message that has just arrived is written only when it is given back.
    assert_eq!(processes, u64::from(MAX_DELIVERIES) + 1);
    assert_eq!(rig.journal.status().dead.messages, 1);
}

#[test]
fn a_message_that_has_just_arrived_is_lent_without_a_commit() {
    let mut rig = rig();
    rig.receive(arrival(1, 7, vec![incoming(0, "x")]));
    let syncs = rig.disk.syncs();
    assert_eq!(rig.lease(1).len(), 1);
    assert_eq!(rig.disk.syncs(), syncs);
}

#[test]
fn messages_that_no_application_has_seen_are_given_back_without_an_attempt_also_after_a_restart() {
    let mut rig = rig();
    rig.receive(arrival(1, 7, vec![incoming(0, "a"), incoming(1, "b")]));
    for restart in [false, true, true] {
        if restart {
            rig.power_cut();
        }
        for _ in 0..2 {
            let leases = rig.lease(9);
            assert_eq!(leases.iter().map(|lease| lease.deliveries).collect::<Vec<_>>(), [1, 1]);
            assert_eq!(rig.run(|journal| journal.release(keys(&leases))), 2);
        }
    }
    let leases = rig.lease(1);
    rig.run(|journal| journal.give_back(keys(&leases)));
    let leases = rig.lease(9);
    assert_eq!(names(&leases), [(1, 0), (1, 1)], "in their order");
    assert_eq!(leases.iter().map(|lease| lease.deliveries).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn after_a_message_that_is_refused_none_of_the_same_service_overtakes_it() {
    let limits = rouse_journal::JournalLimits { bytes: 2 << 20, ..Default::default() };
    let mut rig = Rig::with(rouse_sim::SimDisk::new(1), limits);
    rig.open_pair(pair(1));
    rig.receive(arrival(1, 7, vec![incoming(0, vec![0; 100_000])]));
    let other = InboxMessage { service: Service::new("other").unwrap(), ..incoming(3, "short") };
    let news = vec![incoming(1, vec![0; 500_000]), incoming(2, "short"), other];
    let receptions = rig.receive(arrival(1, 7, news));
    assert!(matches!(receptions[0], Reception::Refused(_)), "{receptions:?}");
    assert_eq!(receptions[0], receptions[1]);
    assert!(matches!(receptions[2], Reception::Stored(_)), "another service goes on");
}
