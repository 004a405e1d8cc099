//! Hop anchors: no node can claim fewer hops than were proved to it, because a chain value cannot be inverted.

use super::harness::{RouterHarness, address, attributes, chain, identity, ms, signed_announce};
use crate::route::LinkProperties;
use crate::stats::DropCause;
use crate::wire::route::{
    Chain, LINKS, Record, RouteAttributes, SignedAnnounce, Update, advance, key_hash, leads_to,
};

const SEQ: u64 = 5 << 32;

fn value(number: usize, seq: u64, hops: u8) -> Chain {
    chain(key_hash(&address(number)), seq, hops)
}

#[test]
fn another_announce_of_the_same_seq_spoils_no_proof_of_the_first() {
    let mut harness = RouterHarness::new(4);
    harness.announce(1, 7, SEQ, 120, 3).unwrap();
    // Another node with the same identity has signed it, with a chain of its own.
    let mut other =
        SignedAnnounce { anchor: advance(&address(7), SEQ, [1; 16], LINKS), ..signed_announce(7, SEQ) };
    other.signature = identity(7).sign(&other.signed().unwrap());
    let attributes = RouteAttributes { chain: advance(&address(7), SEQ, [1; 16], 1), ..attributes(9, 40, 1) };
    assert_eq!(harness.receive(2, &[Record::Announce(other, attributes)]), Err(DropCause::BadAnnounce));
    assert_eq!(harness.next(7), Some(1));
    harness.sent.clear();
    harness.announce(3, 7, SEQ, 64, 2).unwrap();
    harness.wait(std::time::Duration::from_secs(3));
    assert_eq!(harness.next(7), Some(3));
    let proofs: Vec<_> = harness
        .take_sent_to(4)
        .into_iter()
        .filter_map(|record| match record {
            Record::Update(Update { hops, chain: Some(chain), .. }) => Some((hops, chain)),
            _ => None,
        })
        .collect();
    assert_eq!(proofs, [(3, value(7, SEQ, 3))]);
}

fn announce(seq: u64, (metric, hops): (u16, u8), chain: Chain) -> Record {
    Record::Announce(signed_announce(7, seq), RouteAttributes { chain, ..attributes(7, metric, hops) })
}

#[test]
fn fewer_hops_than_were_proved_are_refused_in_every_record() {
    let mut harness = RouterHarness::new(3);
    signed_announce(7, SEQ);
    // A neighbour four hops away that claims fewer, both in its first record and in a later one.
    let lie = |hops| announce(SEQ, (200, hops), value(7, SEQ, 4));
    assert_eq!(harness.receive(1, &[lie(3)]), Err(DropCause::BadAnnounce));
    assert_eq!(harness.receive(1, &[lie(0)]), Err(DropCause::BadAnnounce));
    assert_eq!(harness.next(7), None);
    harness.receive(1, &[lie(4)]).unwrap();
    assert_eq!(harness.next(7), Some(1));
    let nearer = |hops, chain| Record::Update(Update { idx: 7, metric: 150, hops, chain });
    assert_eq!(harness.receive(1, &[nearer(3, None)]), Err(DropCause::BadAnnounce));
    assert_eq!(harness.next(7), None, "a false proof retracts the route");
    harness.receive(1, &[nearer(4, None)]).unwrap();
    assert_eq!(harness.receive(1, &[nearer(3, Some(value(7, SEQ, 4)))]), Err(DropCause::BadAnnounce));
    harness.receive(1, &[nearer(3, Some(value(7, SEQ, 3)))]).unwrap();
    assert_eq!(harness.fib[&address(7)].hops, 4);
    harness.receive(1, &[nearer(3, None)]).unwrap();
    // A proof for one seq does not hold for another, because each seq has a chain of its own.
    assert_eq!(
        harness.receive(2, &[announce(SEQ + 1, (64, 2), value(7, SEQ, 2))]),
        Err(DropCause::BadAnnounce)
    );
    let offer = Record::Offer {
        key_hash: key_hash(&address(7)),
        seq: SEQ,
        attributes: RouteAttributes { chain: value(7, SEQ, 4), ..attributes(9, 64, 2) },
    };
    assert_eq!(harness.receive(3, &[offer]), Err(DropCause::BadAnnounce));
}

#[test]
fn each_hop_passes_on_a_proof_of_its_own_and_only_as_often_as_it_is_needed() {
    let mut harness = RouterHarness::new(2);
    harness.announce(1, 7, SEQ, 300, 5).unwrap();
    harness.wait(ms(20));
    let (idx, advertised) = harness
        .take_sent_to(2)
        .into_iter()
        .find_map(|record| match record {
            Record::Announce(announce, attributes) if announce.dst == address(7) => {
                Some((attributes.idx, (attributes.hops, attributes.chain)))
            }
            _ => None,
        })
        .unwrap();
    assert_eq!(advertised, (6, value(7, SEQ, 6)));
    let update = |harness: &mut RouterHarness| {
        harness.wait(std::time::Duration::from_secs(10));
        harness.take_sent_to(2).into_iter().find_map(|record| match record {
            Record::Update(update) if update.idx == idx => Some((update.hops, update.chain)),
            _ => None,
        })
    };
    harness.update(1, 7, 400, 6).unwrap();
    assert_eq!(update(&mut harness), Some((7, None)), "more hops need no proof");
    let nearer = Update { idx: 7, metric: 200, hops: 2, chain: Some(value(7, SEQ, 2)) };
    harness.receive(1, &[Record::Update(nearer)]).unwrap();
    assert_eq!(update(&mut harness), Some((3, Some(value(7, SEQ, 3)))));
    harness.update(1, 7, 300, 2).unwrap();
    assert_eq!(update(&mut harness), Some((3, None)), "proved once is proved");
}

#[test]
fn an_origin_anchors_each_seq_and_gives_its_neighbours_the_first_chain_value() {
    let mut harness = RouterHarness::new(1);
    harness.wait(std::time::Duration::from_secs(3600));
    harness.router.neighbour_up(harness.now, 9, LinkProperties::new(address(909), 40, 1400, true));
    harness.drain_outputs();
    let idx = match &harness.take_sent_to(9)[..] {
        [Record::Offer { attributes, .. }] => attributes.idx,
        other => panic!("{other:?}"),
    };
    harness.receive(9, &[Record::Want { idx }]).unwrap();
    harness.wait(ms(20));
    let heard = harness.take_sent_to(9);
    let Some(Record::Announce(announce, attributes)) = heard.last() else { panic!("{heard:?}") };
    assert_eq!(attributes.hops, 0);
    assert!(leads_to(&announce.dst, announce.seq, (0, attributes.chain), &announce.anchor));
    assert_ne!(attributes.chain, identity(0).chain_seed(announce.seq - 1));
    assert_eq!(advance(&announce.dst, announce.seq, attributes.chain, LINKS), announce.anchor);
}

#[test]
fn an_update_for_an_older_seq_has_a_chain_of_that_seq_or_the_announce_is_sent() {
    let hash = key_hash(&address(7));
    let advertised = |harness: &mut RouterHarness| {
        harness.wait(ms(5_000));
        let mut advertised = harness.take_sent_to(2);
        assert_eq!(advertised.len(), 1, "{advertised:?}");
        harness.sent.clear();
        advertised.remove(0)
    };
    let mut harness = RouterHarness::new(2);
    harness.announce(1, 7, SEQ, 400, 5).unwrap();
    advertised(&mut harness);
    // No fewer hops than before, so that no proof is needed.
    harness.announce(1, 7, SEQ + 1, 300, 5).unwrap();
    let update = advertised(&mut harness);
    let Record::Update(Update { metric: 340, hops: 6, chain: None, .. }) = update else {
        panic!("{update:?}")
    };
    // One link fewer: the neighbour's own proof for the advertised seq has exactly that many hops, so it suffices.
    let nearer = Update { idx: 7, metric: 280, hops: 4, chain: Some(chain(hash, SEQ + 1, 4)) };
    harness.receive(1, &[Record::Update(nearer)]).unwrap();
    let update = advertised(&mut harness);
    let Record::Update(Update { metric: 320, hops: 5, chain: Some(proof), .. }) = update else {
        panic!("{update:?}")
    };
    assert_eq!(proof, chain(hash, SEQ, 5), "of the seq that was advertised, not of the newest");
    // Still fewer links: there is no proof for that seq, so the announce has to be sent.
    let nearer = Update { idx: 7, metric: 260, hops: 3, chain: Some(chain(hash, SEQ + 1, 3)) };
    harness.receive(1, &[Record::Update(nearer)]).unwrap();
    let offer = advertised(&mut harness);
    let Record::Offer { seq, attributes, .. } = offer else { panic!("{offer:?}") };
    assert_eq!((seq, attributes.hops, attributes.chain), (SEQ + 1, 4, chain(hash, SEQ + 1, 4)));
}
