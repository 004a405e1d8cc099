mod elsewhere;
mod refusals;
mod rests;
mod spoofed;

use super::*;
use crate::endpoint::Endpoint;
use crate::identity::Identity;
use crate::link::DialError;

#[derive(Default)]
struct Links {
    paths: Vec<Path>,
    addresses: Vec<Address>,
    away: Vec<Path>,
    cut: Vec<Path>,
    silent: Option<SilentLink>,
    /// Slots for neighbours that are occupied.
    taken: usize,
}

impl LiveLinks for Links {
    fn path(&self, path: &Path) -> bool {
        self.paths.contains(path)
    }
    fn address(&self, address: &Address) -> bool {
        self.addresses.contains(address) || self.paths.iter().any(|path| address_of(path) == *address)
    }
    fn address_on(&self, medium: u32, address: &Address) -> bool {
        medium == 0 && self.address(address)
    }
    fn has_link(&self, medium: u32, address: &Address) -> bool {
        let away = self.away.iter().any(|path| address_of(path) == *address);
        self.address_on(medium, address) || medium == 0 && away
    }
    fn is_away(&self, path: &Path) -> bool {
        self.away.contains(path)
    }
    fn silent(&self, medium: u32, address: &Address) -> Option<SilentLink> {
        self.silent.filter(|_| self.address_on(medium, address))
    }
    fn is_cut(&self, path: &Path) -> bool {
        self.cut.contains(path)
    }
    fn room(&self) -> usize {
        256 - self.taken
    }
}

const NONE: Links = Links {
    paths: Vec::new(),
    addresses: Vec::new(),
    away: Vec::new(),
    cut: Vec::new(),
    silent: None,
    taken: 0,
};

fn endpoint(n: u64) -> Endpoint {
    Endpoint::new(&n.to_le_bytes()).unwrap()
}

fn path(n: u64) -> Path {
    Path { netmod: 0, endpoint: endpoint(n) }
}

/// The address of a node; each path has another.
fn address_of(path: &Path) -> Address {
    Address::from_bytes(*blake3::hash(path.endpoint.as_bytes()).as_bytes())
}

fn own() -> Address {
    Identity::from_seed(&[1; 32]).address()
}

fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

#[test]
fn a_configured_peer_that_fails_is_resolved_again_after_growing_pauses() {
    let mut dials = Dials::default();
    assert!(dials.add(at(0), "udp:a"));
    assert!(!dials.add(at(0), "udp:a"), "the same peer twice is one");
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..10 {
        assert_eq!(dials.due(now, &NONE), ["udp:a"]);
        assert!(dials.due(now, &NONE).is_empty(), "not while it is being dialled");
        assert_eq!(dials.resolved(now, "udp:a", Ok(vec![path(1)]), &NONE), [path(1)]);
        dials.failed(now, &path(1), "timed out");
        let next = dials.next_deadline(now, &NONE).unwrap();
        waits.push(next.since(now).as_millis());
        now = next;
    }
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000, 30000]);
}

#[test]
fn a_peer_that_sent_a_goodbye_is_dialled_after_a_pause_and_at_once_as_another_instance() {
    let mut dials = Dials::default();
    dials.add(at(0), "udp:a");
    dials.due(at(0), &NONE);
    dials.resolved(at(0), "udp:a", Ok(vec![path(1)]), &NONE);
    dials.heard(at(0), 0, Heard { endpoint: endpoint(2), instance: 2 });
    assert_eq!(dials.due_heard(at(0), &own(), &NONE), [path(2)]);
    for n in [1, 2] {
        dials.established(at(1), &path(n), &address_of(&path(n)), &NONE);
        dials.left(at(20_000), &path(n), &address_of(&path(n)));
    }
    assert!(dials.due(at(20_249), &NONE).is_empty());
    assert_eq!(dials.due(at(20_250), &NONE), ["udp:a"], "it may be starting again, and have no peer to dial");
    let error = dials.targets(&NONE).into_iter().next().and_then(|(_, _, target)| target.last_error.clone());
    assert_eq!(error.as_deref(), Some("the neighbour closed the link"));
    // A beacon that was in flight when the node left.
    dials.heard(at(20_100), 0, Heard { endpoint: endpoint(2), instance: 2 });
    assert!(dials.due_heard(at(20_100), &own(), &NONE).is_empty());
    dials.heard(at(20_200), 0, Heard { endpoint: endpoint(2), instance: 3 });
    assert_eq!(dials.due_heard(at(20_200), &own(), &NONE), [path(2)]);
}

#[test]
fn a_linked_peer_is_not_dialled_and_one_whose_link_ended_is_at_once() {
    let mut dials = Dials::default();
    dials.add(at(0), "udp:a");
    dials.due(at(0), &NONE);
    dials.resolved(at(0), "udp:a", Ok(vec![path(1)]), &NONE);
    let peer = Address::from_bytes([1; 32]);
    dials.established(at(1), &path(1), &peer, &NONE);
    // It may live on another path than the one that was dialled.
    let links = Links { addresses: vec![peer], ..NONE };
    assert!(dials.due(at(2), &links).is_empty());
    assert_eq!(dials.next_deadline(at(0), &links), None);
    assert_eq!(dials.due(at(3), &NONE), ["udp:a"]);
}

/// The paths that are dialled from `from` to `to`, with the time of each.
fn dialled(dials: &mut Dials, from: u64, to: u64, links: &Links) -> Vec<(u64, Path)> {
    let mut all = Vec::new();
    for ms in from..to {
        all.extend(dials.due_later(at(ms), links).into_iter().map(|path| (ms, path)));
        all.extend(dials.due_heard(at(ms), &own(), links).into_iter().map(|path| (ms, path)));
    }
    all
}

fn hear(dials: &mut Dials, at: Time, n: u64) {
    dials.heard(at, 0, Heard { endpoint: endpoint(n), instance: 7 });
}

#[test]
fn all_endpoints_of_a_node_are_dialled_one_shortly_after_the_other_until_one_answers() {
    let mut dials = Dials::default();
    (1..=3).rev().for_each(|n| hear(&mut dials, at(0), n));
    assert_eq!(dials.due_heard(at(0), &own(), &NONE), [path(1)]);
    assert_eq!(dials.next_deadline(at(0), &NONE), Some(at(150)));
    assert_eq!(dialled(&mut dials, 1, 200, &NONE), [(150, path(2))]);
    dials.established(at(200), &path(2), &address_of(&path(2)), &NONE);
    let links = Links { paths: vec![path(2)], ..NONE };
    assert_eq!(dialled(&mut dials, 200, 5000, &links), []);
}

#[test]
fn cut_endpoints_of_a_node_are_dialled_last_and_one_with_a_link_that_is_away_not_at_all() {
    let mut dials = Dials::default();
    (1..=4).rev().for_each(|n| hear(&mut dials, at(0), n));
    dials.due_heard(at(0), &own(), &NONE);
    dials.established(at(1), &path(1), &address_of(&path(1)), &NONE);
    let links = Links { away: vec![path(1)], cut: vec![path(1), path(2)], ..NONE };
    let order = dialled(&mut dials, 20_000, 21_000, &links);
    assert_eq!(order, [(20_000, path(3)), (20_150, path(4)), (20_300, path(2))]);
    // A link that has no alternative recovers by itself.
    let mut dials = Dials::default();
    hear(&mut dials, at(0), 1);
    dials.due_heard(at(0), &own(), &NONE);
    dials.established(at(1), &path(1), &address_of(&path(1)), &NONE);
    assert_eq!(dialled(&mut dials, 20_000, 30_000, &links), []);
}

#[test]
fn an_endpoint_that_fails_at_once_is_followed_by_the_next() {
    let mut dials = Dials::default();
    (1..=2).rev().for_each(|n| hear(&mut dials, at(0), n));
    assert_eq!(dials.due_heard(at(0), &own(), &NONE), [path(1)]);
    dials.failed(at(10), &path(1), "refused");
    assert_eq!(dials.next_deadline(at(10), &NONE), Some(at(10)));
    assert_eq!(dials.due_later(at(10), &NONE), [path(2)]);
    dials.failed(at(8_000), &path(2), "no answer");
    assert!(
        dialled(&mut dials, 8_000, 8_500, &NONE).is_empty(),
        "all have failed: it is left alone for a while"
    );
}

#[test]
fn a_node_that_has_never_answered_is_dialled_on_one_endpoint_at_a_time() {
    let mut dials = Dials::default();
    (1..=4).rev().for_each(|n| hear(&mut dials, at(0), n));
    let first = dialled(&mut dials, 0, 1000, &NONE);
    assert_eq!(first.len(), 4);
    first.iter().for_each(|(_, path)| dials.failed(at(8_000), path, "no answer"));
    assert_eq!(dialled(&mut dials, 8_000, 9_500, &NONE), [(8_500, path(1))]);
    dials.failed(at(17_000), &path(1), "no answer");
    assert_eq!(dialled(&mut dials, 17_000, 20_000, &NONE), [(18_000, path(2))]);
}

#[test]
fn the_paths_of_a_configured_peer_are_dialled_one_shortly_after_the_other() {
    let mut dials = Dials::default();
    dials.add(at(0), "udp:a");
    dials.due(at(0), &NONE);
    let paths = vec![path(1), path(2), path(3)];
    let links = Links { cut: vec![path(1)], ..NONE };
    assert_eq!(dials.resolved(at(0), "udp:a", Ok(paths), &links), [path(2)]);
    assert_eq!(dialled(&mut dials, 1, 1000, &links), [(150, path(3)), (300, path(1))]);
    // The peer fails when its last path does, with the most specific reason.
    dials.failed(at(8_000), &path(2), &DialError::Timeout.to_string());
    dials.failed(at(8_100), &path(3), &DialError::WrongMesh.to_string());
    let error = |dials: &Dials| dials.targets(&NONE).into_iter().next().unwrap().2.last_error.clone();
    assert_eq!(error(&dials), None);
    dials.failed(at(8_200), &path(1), &DialError::Timeout.to_string());
    assert_eq!(error(&dials), Some(DialError::WrongMesh.to_string()));
    assert_eq!(dials.next_deadline(at(8_200), &NONE), Some(at(8_700)));
}

#[test]
fn an_endpoint_discovered_later_replaces_one_that_failed() {
    let mut dials = Dials::default();
    // The node moved, or an attacker has sent copies of its beacon.
    (1..=4).for_each(|n| hear(&mut dials, at(0), n));
    hear(&mut dials, at(1), 5);
    let first = dialled(&mut dials, 2, 1000, &NONE);
    assert_eq!(first.iter().map(|(_, path)| *path).collect::<Vec<_>>(), [4, 3, 2, 1].map(path));
    first.iter().for_each(|(_, path)| dials.failed(at(8000), path, "timed out"));
    // Each failure frees one place, so that a flood of copies does not replace all others.
    (5..=50).for_each(|n| hear(&mut dials, at(8001), n));
    assert_eq!(dialled(&mut dials, 8001, 9001, &NONE), [(8500, path(5))]);
    dials.failed(at(17_000), &path(5), "timed out");
    assert_eq!(dialled(&mut dials, 17_000, 20_000, &NONE), [(18_000, path(4))]);
}

#[test]
fn a_node_is_dialled_first_at_its_latest_endpoint() {
    let mut dials = Dials::default();
    // The node has changed its addresses twice.
    (1..=3).for_each(|n| hear(&mut dials, at(n), n));
    assert_eq!(dialled(&mut dials, 3, 1000, &NONE), [(3, path(3)), (153, path(2)), (303, path(1))]);
}

#[test]
fn an_endpoint_without_recent_beacons_is_replaced_by_another() {
    let mut dials = Dials::default();
    (1..=4).for_each(|n| hear(&mut dials, at(0), n));
    [1, 2, 4].into_iter().for_each(|n| hear(&mut dials, at(60_000), n));
    hear(&mut dials, at(99_999), 5);
    hear(&mut dials, at(100_000), 6);
    hear(&mut dials, at(100_001), 7);
    let paths: Vec<_> =
        dialled(&mut dials, 100_001, 101_001, &NONE).into_iter().map(|(_, path)| path).collect();
    assert_eq!(paths, [6, 4, 2, 1].map(path));
}

#[test]
fn of_many_nodes_on_a_medium_each_node_dials_another_sixteen() {
    let picks = |own: u8| {
        let mut dials = Dials::default();
        for n in 0..100 {
            dials.heard(at(0), 0, Heard { endpoint: endpoint(n), instance: n });
        }
        let mut due = dials.due_heard(at(0), &Address::from_bytes([own; 32]), &NONE);
        due.sort();
        due
    };
    assert_eq!(picks(1).len(), 16);
    assert_ne!(picks(1), picks(2));
    assert_eq!(picks(1), picks(1));
}

#[test]
fn discovered_nodes_are_forgotten_and_their_table_is_bounded() {
    let mut dials = Dials::default();
    for n in 0..5000 {
        dials.heard(at(0), 0, Heard { endpoint: endpoint(n), instance: n });
    }
    assert_eq!(dials.heard.len(), HEARD);
    dials.heard(at(200_000), 0, Heard { endpoint: endpoint(1), instance: 9999 });
    assert_eq!(dials.heard.len(), 1);
}

#[test]
fn no_deadline_is_set_for_nodes_that_will_not_be_dialled() {
    let (own, mut dials) = (own(), Dials::default());
    (0..40).for_each(|n| dials.heard(at(0), 0, Heard { endpoint: endpoint(n), instance: n }));
    let due = dials.due_heard(at(0), &own, &NONE);
    assert_eq!(due.len(), DIAL_ON_MEDIUM);
    assert_eq!(
        dials.next_deadline(at(0), &NONE),
        Some(at(0) + ANSWER),
        "all that are chosen are being dialled"
    );
    due.iter().for_each(|path| dials.established(at(0), path, &address_of(path), &NONE));
    let all = Links { paths: due, ..Links::default() };
    assert_eq!(dials.next_deadline(at(1), &all), None, "every place is taken");
    assert_eq!(dials.next_deadline(at(100_000), &NONE), None, "they have not been heard for too long");
}

#[test]
fn a_node_that_does_not_answer_frees_its_slot_for_the_next() {
    let (own, mut dials) = (own(), Dials::default());
    (0..100).for_each(|n| dials.heard(at(0), 0, Heard { endpoint: endpoint(n), instance: n }));
    let first = dials.due_heard(at(0), &own, &NONE);
    assert_eq!(dials.next_deadline(at(1), &NONE), Some(at(0) + ANSWER), "until then every place is taken");
    assert_eq!(dials.due_heard(at(0) + ANSWER, &own, &NONE).len(), DIAL_ON_MEDIUM);
    first.iter().for_each(|path| dials.failed(at(1000), path, "no answer"));
    assert!(dials.next_deadline(at(1000), &NONE) <= Some(at(1000)), "others are due already");
    let second = dials.due_heard(at(1500), &own, &NONE);
    assert_eq!(second.len(), DIAL_ON_MEDIUM);
    assert!(
        second.iter().all(|path| !first.contains(path)),
        "nodes that failed come after those that were not dialled"
    );
}

#[test]
fn invented_nodes_keep_no_real_node_out() {
    let real = || 1_000_000..1_000_010_u64;
    let (own, mut dials) = (own(), Dials::default());
    let (mut links, mut invented) = (Links::default(), 0);
    // Each second 64 nodes are invented, as many as a netmod passes on. The real ones send a beacon every five seconds,
    // and a dial takes eight seconds to fail.
    let mut dialled: Vec<(u64, Path)> = Vec::new();
    for tick in 0..1200 {
        let now = at(tick * 50);
        for _ in 0..if tick == 0 { 256 } else { 3 } {
            dials.heard(now, 0, Heard { endpoint: endpoint(invented), instance: invented });
            invented += 1;
        }
        if tick % 100 == 0 {
            real().for_each(|n| dials.heard(now, 0, Heard { endpoint: endpoint(n), instance: n }));
        }
        let over = dialled.iter().filter(|(since, _)| since + 160 <= tick);
        over.for_each(|(_, path)| dials.failed(now, path, "no answer"));
        dialled.retain(|(since, _)| since + 160 > tick);
        for path in dials.due_heard(now, &own, &links) {
            if real().any(|n| path == self::path(n)) {
                dials.established(now, &path, &address_of(&path), &NONE);
                links.paths.push(path);
            } else {
                dialled.push((tick, path));
            }
        }
    }
    let reached = real().filter(|n| links.paths.contains(&path(*n))).count();
    assert_eq!(reached, 10, "all that are real");
    assert!(dials.heard.len() <= HEARD);
}

#[test]
fn a_node_discovered_on_two_media_is_dialled_on_each() {
    let (own, other) = (own(), Identity::from_seed(&[2; 32]).address());
    let mut dials = Dials::default();
    for medium in 0..2 {
        dials.heard(at(0), medium, Heard { endpoint: endpoint(7), instance: 7 });
    }
    let due = dials.due_heard(at(0), &own, &NONE);
    assert_eq!(due.iter().map(|path| path.netmod).collect::<Vec<_>>(), [0, 1]);
    due.iter().for_each(|path| dials.established(at(0), path, &other, &NONE));
    let first_lives = Links { addresses: vec![other], ..Links::default() };
    let due = dials.due_heard(at(0), &own, &first_lives);
    assert_eq!(due.iter().map(|path| path.netmod).collect::<Vec<_>>(), [1], "its link there has ended");
}
