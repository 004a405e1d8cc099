//! Beacons of a neighbour that another node sends from its own endpoints.

use super::*;

/// A dial list with a node that has answered on its first path, and has been heard elsewhere since.
fn heard_elsewhere(peer: &Address) -> Dials {
    let mut dials = Dials::default();
    hear(&mut dials, at(0), 1);
    dials.due_heard(at(0), &own(), &NONE);
    dials.established(at(1), &path(1), peer, &NONE);
    hear(&mut dials, at(20_010), 3);
    dials
}

#[test]
fn a_node_that_answers_a_dial_to_another_does_not_take_its_place() {
    let (peer, other) = (address_of(&path(1)), address_of(&path(3)));
    let mut dials = heard_elsewhere(&peer);
    let silent = Some(SilentLink { path: path(1), heard: at(20_000) });
    let suspect = Links { paths: vec![path(1)], silent, ..NONE };
    assert_eq!(dialled(&mut dials, 20_020, 20_030, &suspect), [(20_020, path(3))]);
    dials.established(at(20_030), &path(3), &other, &suspect);
    // Its refusal, its goodbye and its link do not keep the neighbour from being dialled either.
    hear(&mut dials, at(20_040), 3);
    dials.refused(at(20_050), &path(3), &other, "full");
    dials.left(at(20_050), &path(3), &other);
    let of_other = Links { paths: vec![path(3)], ..NONE };
    assert_eq!(dialled(&mut dials, 20_060, 28_000, &of_other), [(20_530, path(1))], "and only there");
    dials.established(at(28_000), &path(1), &peer, &of_other);
    let both = Links { paths: vec![path(1), path(3)], ..NONE };
    assert_eq!(dialled(&mut dials, 28_001, 60_000, &both), []);
}

/// The count of dials to the endpoint where a node has answered, within 280 s in which nothing answers.
fn count_of_dials(attacked: bool) -> usize {
    let mut dials = heard_elsewhere(&address_of(&path(1)));
    let (mut pending, mut next, mut count) = (Vec::new(), 100, 0);
    for ms in (20_020..300_000_u64).step_by(10) {
        let failed: Vec<(u64, Path)> = pending.extract_if(.., |(over, _)| *over <= ms).collect();
        failed.iter().for_each(|(_, path)| dials.failed(at(ms), path, "timed out"));
        // The beacon from a new endpoint comes first when a place is free for one.
        if attacked && (!failed.is_empty() || ms % 1000 == 0) {
            hear(&mut dials, at(ms), next);
            next += 1;
        }
        if ms % 5000 == 10 {
            hear(&mut dials, at(ms), 1);
        }
        for (_, dialled) in dialled(&mut dials, ms, ms + 1, &NONE) {
            count += usize::from(dialled == path(1));
            pending.push((ms + 8_000, dialled));
        }
    }
    count
}

#[test]
fn beacons_from_ever_new_endpoints_do_not_keep_the_one_that_answered_from_being_dialled() {
    let (left_alone, attacked) = (count_of_dials(false), count_of_dials(true));
    assert!(left_alone >= 10, "{left_alone}");
    assert!(attacked + 1 >= left_alone, "{attacked} dials instead of {left_alone}");
}
