//! Tests with nodes that refuse a link, with a full node, and with links whose reason is gone.

use super::*;
use crate::types::RemovedPeer;

#[test]
fn a_full_node_dials_elsewhere_when_the_new_session_would_replace_a_link() {
    let peer = address_of(&path(1));
    let heard_elsewhere = || {
        let mut dials = Dials::default();
        (1..=2).rev().for_each(|n| hear(&mut dials, at(0), n));
        dials.due_heard(at(0), &own(), &NONE);
        dials.established(at(1), &path(1), &peer, &NONE);
        // A crowd without links waits for room, and gets none.
        (20..40).for_each(|n| dials.heard(at(20_000), 0, Heard { endpoint: endpoint(n), instance: n }));
        hear(&mut dials, at(20_010), 3);
        dials
    };
    let silent = Some(SilentLink { path: path(1), heard: at(20_000) });
    let suspect = Links { paths: vec![path(1)], silent, taken: 256, ..NONE };
    let mut dials = heard_elsewhere();
    assert!(dials.next_deadline(at(20_020), &suspect).is_some_and(|next| next <= at(20_020)), "it is due");
    assert_eq!(dialled(&mut dials, 20_020, 21_000, &suspect), [(20_020, path(3))]);
    let away = Links { away: vec![path(1)], taken: 256, ..NONE };
    let mut dials = heard_elsewhere();
    assert_eq!(dialled(&mut dials, 20_020, 21_000, &away), [(20_020, path(3)), (20_170, path(2))]);
    // Other links hold all places of the medium.
    let mut dials = heard_elsewhere();
    for n in 50..70 {
        dials.heard(at(20_000), 0, Heard { endpoint: endpoint(n), instance: n });
    }
    let suspect = Links { paths: (50..70).chain([1]).map(path).collect(), ..suspect };
    assert_eq!(dialled(&mut dials, 20_020, 21_000, &suspect), [(20_020, path(3))]);
}

#[test]
fn a_peer_that_refuses_is_dialled_again_after_growing_pauses_and_shows_the_reason() {
    let mut dials = Dials::default();
    let peer = address_of(&path(1));
    dials.add(at(0), "udp:a");
    let mut now = at(0);
    let mut rests = Vec::new();
    for _ in 0..8 {
        assert_eq!(dials.due(now, &NONE), ["udp:a"]);
        dials.resolved(now, "udp:a", Ok(vec![path(1)]), &NONE);
        dials.established(now, &path(1), &peer, &NONE);
        assert_eq!(
            dials.refused(now, &path(1), &peer, "full"),
            dials.next_deadline(now, &NONE).unwrap().since(now)
        );
        let stands = |(_, state, target): (_, _, &ConfiguredPeer)| (state, target.last_error.clone());
        assert_eq!(
            dials.targets(&NONE).into_iter().next().map(stands),
            Some((PeerState::Down, Some("full".to_owned())))
        );
        let next = dials.next_deadline(now, &NONE).unwrap();
        rests.push(next.since(now).as_secs());
        now = next;
    }
    assert_eq!(rests, [10, 20, 40, 80, 160, 320, 600, 600]);
}

#[test]
fn a_discovered_node_that_refuses_is_dialled_on_none_of_its_endpoints() {
    let mut dials = Dials::default();
    let peer = address_of(&path(1));
    (1..=2).rev().for_each(|n| hear(&mut dials, at(0), n));
    dials.due_heard(at(0), &own(), &NONE);
    dials.established(at(5), &path(1), &peer, &NONE);
    dials.refused(at(6), &path(1), &peer, "full");
    assert_eq!(dialled(&mut dials, 6, 10_000, &NONE), []);
    let refusals = dials.refusals();
    assert_eq!(
        refusals.iter().map(|refusal| (refusal.address, &*refusal.reason)).collect::<Vec<_>>(),
        [(peer, "full")]
    );
    assert_eq!(dialled(&mut dials, 10_000, 10_100, &NONE), [(10_006, path(1))]);
    dials.established(at(10_100), &path(1), &peer, &NONE);
    dials.in_service(at(10_100), &path(1), &peer);
    assert!(dials.refusals().is_empty());
}

#[test]
fn no_more_nodes_are_dialled_than_may_become_neighbours() {
    let mut dials = Dials::default();
    (0..100).for_each(|n| dials.heard(at(0), 0, Heard { endpoint: endpoint(n), instance: n }));
    let nearly_full = Links { taken: 253, ..NONE };
    assert_eq!(dials.due_heard(at(0), &own(), &nearly_full).len(), 3);
    assert!(dials.due_heard(at(1), &own(), &nearly_full).is_empty());
    let full = Links { taken: 256, ..NONE };
    assert_eq!(dials.next_deadline(at(1), &full), None);
}

#[test]
fn a_dial_that_waits_for_room_starts_when_the_reservation_of_another_medium_expires() {
    let mut dials = Dials::default();
    (0..2).for_each(|n| dials.heard(at(0), n, Heard { endpoint: endpoint(n.into()), instance: n.into() }));
    let one_more = Links { taken: 255, ..NONE };
    let media = |due: Vec<Path>| due.iter().map(|path| path.netmod).collect::<Vec<_>>();
    assert_eq!(media(dials.due_heard(at(0), &own(), &one_more)), [0]);
    assert_eq!(dials.next_deadline(at(1), &one_more), Some(at(0) + ANSWER));
    assert_eq!(media(dials.due_heard(at(0) + ANSWER, &own(), &one_more)), [1]);
}

#[test]
fn a_link_whose_peer_is_removed_stays_only_for_another_reason() {
    let mut dials = Dials::default();
    let peer = address_of(&path(1));
    for uri in ["udp:a", "udp:b"] {
        dials.add(at(0), uri);
        dials.resolved(at(0), uri, Ok(vec![path(1)]), &NONE);
    }
    dials.established(at(1), &path(1), &peer, &NONE);
    assert_eq!(dials.remove("udp:a"), Some((vec![path(1)], Some(peer))));
    assert_eq!(dials.why_linked(&path(1), &peer, true), RemovedPeer::DialledOtherwise);
    dials.remove("udp:b");
    assert_eq!(dials.why_linked(&path(1), &peer, true), RemovedPeer::Ended);
    assert_eq!(dials.why_linked(&path(1), &peer, false), RemovedPeer::DialledHere);
    hear(&mut dials, at(2), 1);
    assert_eq!(dials.why_linked(&path(1), &peer, true), RemovedPeer::Found);
}
