//! The rest of a peer whose links do not live long.

use std::time::Duration;

use super::backoff::CUT_REST;
use super::*;

#[test]
fn a_short_lived_link_is_dialled_again_after_growing_pauses() {
    let mut dials = Dials::default();
    dials.add(at(0), "udp:a");
    let mut now = at(0);
    let mut rests = Vec::new();
    for _ in 0..6 {
        assert_eq!(dials.due(now, &NONE), ["udp:a"]);
        dials.resolved(now, "udp:a", Ok(vec![path(1)]), &NONE);
        dials.established(now, &path(1), &address_of(&path(1)), &NONE);
        let next = dials.next_deadline(now, &NONE).unwrap();
        rests.push(next.since(now).as_millis());
        now = next + Duration::from_millis(300);
    }
    assert_eq!(rests, [0, 500, 1000, 2000, 4000, 5000]);
    now = now + LIVED;
    assert_eq!(dials.due(now, &NONE), ["udp:a"]);
    dials.resolved(now, "udp:a", Ok(vec![path(1)]), &NONE);
    dials.established(now, &path(1), &address_of(&path(1)), &NONE);
    assert_eq!(dials.next_deadline(now, &NONE), Some(now), "one that has lived is dialled at once");
}

/// Two paths to one peer. The link is on the first one in the list, and its medium reports that it is cut.
fn cut_off(paths: [u64; 2]) -> Links {
    let link = path(paths[0]);
    Links { away: vec![link], cut: vec![link], ..NONE }
}

#[test]
fn a_link_whose_path_is_cut_again_and_again_is_replaced_at_once_each_time() {
    for configured in [false, true] {
        let (mut dials, peer) = (Dials::default(), address_of(&path(1)));
        if configured {
            dials.add(at(0), "udp:a");
        } else {
            (1..=2).rev().for_each(|n| hear(&mut dials, at(0), n));
        }
        let dial = |dials: &mut Dials, ms: u64, links: &Links| match dials.due(at(ms), links).pop() {
            Some(uri) => dials.resolved(at(ms), &uri, Ok(vec![path(1), path(2)]), links),
            None => dials.due_heard(at(ms), &own(), links),
        };
        assert_eq!(dial(&mut dials, 0, &NONE), [path(1)]);
        dials.established(at(10), &path(1), &peer, &NONE);
        let (mut link, mut other) = (1, 2);
        for pull in 1..12 {
            let (now, links) = (pull * 1500, cut_off([link, other]));
            assert_eq!(dials.next_deadline(at(now), &links).map(|next| next <= at(now)), Some(true));
            assert_eq!(dial(&mut dials, now, &links), [path(other)], "pull {pull}, configured {configured}");
            dials.established(at(now + 10), &path(other), &peer, &links);
            (link, other) = (other, link);
        }
        // Loose plugs do not cause one handshake after the other.
        let (begun, links) = (at(11 * 1500 + 10), cut_off([link, other]));
        assert_eq!(dials.next_deadline(begun, &links), Some(begun + CUT_REST));
        assert_eq!(dial(&mut dials, 11 * 1500 + 11, &links), []);
    }
}

#[test]
fn a_link_that_ends_by_itself_rests_as_long_as_before_the_cuts_between() {
    let (mut dials, peer) = (Dials::default(), address_of(&path(1)));
    (1..=2).rev().for_each(|n| hear(&mut dials, at(0), n));
    let mut now = at(0);
    for _ in 0..4 {
        dials.due_heard(now, &own(), &NONE);
        dials.established(now, &path(1), &peer, &NONE);
        now = dials.next_deadline(now, &NONE).unwrap() + Duration::from_millis(300);
    }
    let links = cut_off([1, 2]);
    assert_eq!(dials.due_heard(now, &own(), &links), [path(2)]);
    dials.established(now, &path(2), &peer, &links);
    assert_eq!(dials.next_deadline(now, &NONE), Some(now + Duration::from_secs(2)));
}

/// A link to the peer over the path `n` that has been silent since `heard`.
fn silent_on(n: u64, heard: u64, peer: Address) -> Links {
    let silent = Some(SilentLink { path: path(n), heard: at(heard) });
    Links { paths: vec![path(n)], addresses: vec![peer], silent, ..NONE }
}

#[test]
fn a_neighbour_that_moves_again_and_again_is_dialled_at_once_where_it_is_heard() {
    for has_ended in [false, true] {
        let (mut dials, peer) = (Dials::default(), address_of(&path(1)));
        hear(&mut dials, at(0), 1);
        assert_eq!(dials.due_heard(at(0), &own(), &NONE), [path(1)]);
        dials.established(at(10), &path(1), &peer, &NONE);
        for place in 2..12 {
            // The neighbour moves every 0.6 s.
            let (last, moved) = (place - 1, (place - 1) * 600);
            let silent = silent_on(last, moved, peer);
            hear(&mut dials, at(moved + 20), place);
            if has_ended {
                dials.silenced(silent.silent.unwrap(), &peer);
            }
            let (now, links) = (at(moved + 200), if has_ended { &NONE } else { &silent });
            assert_eq!(
                dials.next_deadline(now, links).map(|next| next <= now),
                Some(true),
                "{place} {has_ended}"
            );
            assert_eq!(dials.due_heard(now, &own(), links).first(), Some(&path(place)), "{has_ended}");
            dials.established(at(moved + 210), &path(place), &peer, links);
        }
    }
}

#[test]
fn a_neighbour_that_is_heard_elsewhere_at_once_is_dialled_after_the_rest_of_a_cut() {
    let (mut dials, peer) = (Dials::default(), address_of(&path(1)));
    hear(&mut dials, at(0), 1);
    for begun in [0, 300] {
        dials.due_heard(at(begun), &own(), &NONE);
        dials.established(at(begun), &path(1), &peer, &NONE);
    }
    let links = silent_on(1, 310, peer);
    hear(&mut dials, at(320), 2);
    assert_eq!(dials.next_deadline(at(330), &links), Some(at(300) + CUT_REST));
    // A beacon before the last frame is no reason.
    let (later, rest) = (silent_on(1, 330, peer), Duration::from_millis(500));
    assert_eq!(dials.next_deadline(at(340), &later), None);
    dials.silenced(later.silent.unwrap(), &peer);
    assert_eq!(dials.next_deadline(at(340), &NONE), Some(at(300) + rest));
}

#[test]
fn sessions_that_replace_a_link_while_it_is_up_are_no_reason_to_rest() {
    for configured in [false, true] {
        let (mut dials, peer) = (Dials::default(), address_of(&path(1)));
        if configured {
            dials.add(at(0), "udp:a");
            dials.due(at(0), &NONE);
            dials.resolved(at(0), "udp:a", Ok(vec![path(1)]), &NONE);
        } else {
            hear(&mut dials, at(0), 1);
            dials.due_heard(at(0), &own(), &NONE);
        }
        dials.established(at(0), &path(1), &peer, &NONE);
        let up = Links { paths: vec![path(1)], addresses: vec![peer], ..NONE };
        (1..5).for_each(|n| dials.established(at(n * 100), &path(1), &peer, &up));
        assert_eq!(dials.next_deadline(at(500), &NONE), Some(at(400) + CUT_REST), "configured {configured}");
    }
}
