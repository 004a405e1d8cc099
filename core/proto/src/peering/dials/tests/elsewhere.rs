//! Tests with nodes that send beacons, or answer, from other endpoints than the dialled one.

use super::*;

#[test]
fn an_endpoint_discovered_while_all_others_are_dialled_delays_no_later_dial() {
    let mut dials = Dials::default();
    let peer = address_of(&path(1));
    (1..=4).for_each(|n| hear(&mut dials, at(0), n));
    let first = dialled(&mut dials, 0, 1000, &NONE);
    first[..3].iter().for_each(|(_, path)| dials.failed(at(2000), path, "timed out"));
    dials.established(at(3000), &first[3].1, &peer, &NONE);
    // The link has ended, and the node has other addresses now.
    let again = dialled(&mut dials, 20_000, 21_000, &NONE);
    assert_eq!(again.len(), 4);
    hear(&mut dials, at(21_000), 5);
    again.iter().for_each(|(_, path)| dials.failed(at(28_000), path, "timed out"));
    let third = dialled(&mut dials, 28_000, 30_000, &NONE);
    assert!(third.iter().any(|(_, dialled)| *dialled == path(5)), "{third:?}");
}

#[test]
fn a_node_that_answers_on_a_replaced_endpoint_is_identified_by_its_address() {
    let mut dials = Dials::default();
    (1..=4).for_each(|n| hear(&mut dials, at(0), n));
    let first = dialled(&mut dials, 0, 1000, &NONE);
    first[..3].iter().for_each(|(_, path)| dials.failed(at(2000), path, "timed out"));
    let peer = address_of(&path(1));
    dials.established(at(3000), &first[3].1, &peer, &NONE);
    let again = dialled(&mut dials, 20_000, 21_000, &NONE);
    // An attacker sends a copy of the beacon from another endpoint.
    hear(&mut dials, at(21_000), 5);
    let answers = again[3].1;
    dials.established(at(21_001), &answers, &peer, &NONE);
    assert_eq!(dials.next_deadline(at(21_001), &Links { addresses: vec![peer], ..NONE }), None);
    assert!(!dialled(&mut dials, 21_001, 27_000, &NONE).is_empty(), "it is dialled when that link has ended");
}

#[test]
fn a_node_that_dials_here_from_elsewhere_while_it_is_dialled_is_dialled_again_when_that_link_has_ended() {
    let mut dials = Dials::default();
    let peer = address_of(&path(1));
    (1..=3).for_each(|n| hear(&mut dials, at(0), n));
    dials.due_heard(at(0), &own(), &NONE);
    dials.established(at(1), &path(1), &peer, &NONE);
    assert_eq!(dials.due_heard(at(20_000), &own(), &NONE).len(), 1);
    let from_elsewhere = Links { addresses: vec![peer], ..NONE };
    dials.established(at(20_010), &path(9), &peer, &NONE);
    assert_eq!(dialled(&mut dials, 20_010, 21_000, &from_elsewhere), []);
    assert!(!dialled(&mut dials, 21_000, 30_000, &NONE).is_empty());
}

#[test]
fn a_node_discovered_elsewhere_while_its_link_is_suspect_is_dialled_there_at_once() {
    let mut dials = Dials::default();
    let peer = address_of(&path(1));
    (1..=2).rev().for_each(|n| hear(&mut dials, at(0), n));
    assert_eq!(dials.due_heard(at(0), &own(), &NONE), [path(1)]);
    dials.established(at(1), &path(1), &peer, &NONE);
    let up = Links { addresses: vec![peer], paths: vec![path(1)], ..NONE };
    hear(&mut dials, at(20_010), 3);
    assert_eq!(dialled(&mut dials, 20_010, 20_200, &up), [], "the link is as it should be");
    let suspect = |heard| Links {
        addresses: vec![peer],
        paths: vec![path(1)],
        silent: Some(SilentLink { path: path(1), heard: at(heard) }),
        ..NONE
    };
    let later = suspect(20_020);
    assert_eq!(dialled(&mut dials, 20_200, 20_300, &later), [], "the link was heard since");
    assert_eq!(dials.next_deadline(at(20_300), &later), None);
    assert_eq!(dialled(&mut dials, 20_300, 21_000, &suspect(20_000)), [(20_300, path(3))], "and only there");
    // Beacons on the path of the link itself prove nothing.
    let mut dials = Dials::default();
    hear(&mut dials, at(0), 1);
    dials.due_heard(at(0), &own(), &NONE);
    dials.established(at(1), &path(1), &peer, &NONE);
    hear(&mut dials, at(20_010), 1);
    assert_eq!(dialled(&mut dials, 20_100, 21_000, &suspect(20_000)), []);
}

#[test]
fn an_endpoint_discovered_during_a_dial_is_dialled_beside_the_others() {
    let mut dials = Dials::default();
    (1..=2).rev().for_each(|n| hear(&mut dials, at(0), n));
    assert_eq!(dialled(&mut dials, 0, 1000, &NONE), [(0, path(1)), (150, path(2))]);
    hear(&mut dials, at(1000), 3);
    assert_eq!(dials.next_deadline(at(1000), &NONE), Some(at(300)), "it is due");
    assert_eq!(dialled(&mut dials, 1000, 2000, &NONE), [(1000, path(3))]);
    // A node that may be invented is dialled on one path at a time.
    (1..=3).for_each(|n| dials.failed(at(8_000), &path(n), "timed out"));
    assert_eq!(dialled(&mut dials, 8_000, 9_000, &NONE).len(), 1);
    hear(&mut dials, at(9_000), 4);
    assert_eq!(dialled(&mut dials, 9_000, 10_000, &NONE), []);
}

#[test]
fn a_node_whose_link_has_followed_it_to_many_places_is_dialled_where_it_is_heard() {
    let away = Links { away: vec![path(10)], cut: vec![path(10)], ..NONE };
    for links in [NONE, away] {
        let (mut dials, peer) = (Dials::default(), address_of(&path(1)));
        hear(&mut dials, at(0), 1);
        dials.due_heard(at(0), &own(), &NONE);
        dials.established(at(1), &path(1), &peer, &NONE);
        for place in 1..10 {
            // The beacon from the new place comes before or after the link has followed.
            if place % 2 == 0 {
                hear(&mut dials, at(place * 1000), place + 1);
            }
            dials.moved(&path(place), &path(place + 1), &peer);
            hear(&mut dials, at(place * 1000 + 10), place + 1);
        }
        // It moves once more, and its link does not follow.
        hear(&mut dials, at(20_000), 11);
        assert_eq!(dialled(&mut dials, 20_000, 20_100, &links), [(20_000, path(11))], "{:?}", links.away);
    }
}

#[test]
fn a_path_that_a_node_has_left_is_dialled_as_long_as_no_other_takes_its_place() {
    let (mut dials, peer) = (Dials::default(), address_of(&path(1)));
    hear(&mut dials, at(0), 1);
    dials.due_heard(at(0), &own(), &NONE);
    dials.established(at(1), &path(1), &peer, &NONE);
    let silent = Some(SilentLink { path: path(1), heard: at(20_000) });
    let links = Links { paths: vec![path(1)], addresses: vec![peer], silent, ..NONE };
    hear(&mut dials, at(20_010), 2);
    assert_eq!(dialled(&mut dials, 20_020, 20_030, &links), [(20_020, path(2))]);
    dials.established(at(20_030), &path(2), &peer, &links);
    // A node with two cables may be on the first one again when the second one fails.
    assert_eq!(dialled(&mut dials, 40_000, 41_000, &NONE), [(40_000, path(2)), (40_150, path(1))]);
}

/// All ways in which each of four bits can be set.
fn subsets() -> impl Iterator<Item = Vec<Path>> {
    (0..16_u64).map(|bits| (1..=4).filter(|n| bits >> (n - 1) & 1 == 1).map(path).collect())
}

/// Asks for all that is due at this time, until nothing is.
fn dial_all_due(dials: &mut Dials, now: Time, links: &Links) {
    for _ in 0..10 {
        let mut due = dials.due_later(now, links);
        due.extend(dials.due_heard(now, &own(), links));
        if due.is_empty() {
            return;
        }
    }
    panic!("there is always more to dial");
}

#[test]
fn when_nothing_is_due_the_next_deadline_is_later_whatever_the_links_are() {
    let (peer, now) = (address_of(&path(1)), at(20_100));
    for (away, live) in subsets().flat_map(|away| subsets().map(move |live| (away.clone(), live))) {
        for (cut, taken) in [(Vec::new(), 0), (vec![path(3)], 0), (Vec::new(), 256)] {
            for (addresses, silent) in [(vec![], false), (vec![peer], false), (vec![peer], true)] {
                let mut dials = Dials::default();
                (1..=2).rev().for_each(|n| hear(&mut dials, at(0), n));
                dials.due_heard(at(0), &own(), &NONE);
                dials.established(at(1), &path(1), &peer, &NONE);
                hear(&mut dials, at(20_010), 3);
                let silent = silent.then_some(SilentLink { path: path(1), heard: at(20_000) });
                let (paths, cut) = (live.clone(), cut.clone());
                let links = Links { paths, addresses, away: away.clone(), cut, silent, taken };
                dial_all_due(&mut dials, now, &links);
                let next = dials.next_deadline(now, &links);
                let state = (&links.paths, &links.addresses, &links.away, &links.cut, taken);
                assert!(next.is_none_or(|next| next > now), "{next:?} {state:?} {}", links.silent.is_some());
            }
        }
    }
}
