use super::*;
use crate::identity::Identity;
use crate::netmod::Endpoint;

#[derive(Default)]
struct Links {
    paths: Vec<Path>,
    addresses: Vec<Address>,
}

impl Alive for Links {
    fn path(&self, path: &Path) -> bool {
        self.paths.contains(path)
    }
    fn address(&self, address: &Address) -> bool {
        self.addresses.contains(address)
    }
    fn address_on(&self, medium: u32, address: &Address) -> bool {
        medium == 0 && self.addresses.contains(address)
    }
}

const NONE: Links = Links { paths: Vec::new(), addresses: Vec::new() };

fn endpoint(n: u64) -> Endpoint {
    Endpoint::new(&n.to_le_bytes()).unwrap()
}

fn path(n: u64) -> Path {
    Path { netmod: 0, endpoint: endpoint(n) }
}

/// Somebody, another one for each path.
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
fn a_configured_peer_that_fails_is_resolved_again_later_and_later() {
    let mut dials = Dials::default();
    assert!(dials.add(at(0), "udp:a"));
    assert!(!dials.add(at(0), "udp:a"), "the same peer twice is one");
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..10 {
        assert_eq!(dials.due(now, &NONE), ["udp:a"]);
        assert!(dials.due(now, &NONE).is_empty(), "not while it is being dialled");
        assert_eq!(dials.resolved(now, "udp:a", Ok(vec![path(1)])), [path(1)]);
        dials.failed(now, &path(1), "timed out");
        let next = dials.next_deadline(now, &NONE).unwrap();
        waits.push(next.since(now).as_millis());
        now = next;
    }
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000, 30000]);
}

#[test]
fn who_said_goodbye_is_dialled_again_a_little_later_and_at_once_as_another_instance() {
    let mut dials = Dials::default();
    dials.add(at(0), "udp:a");
    dials.due(at(0), &NONE);
    dials.resolved(at(0), "udp:a", Ok(vec![path(1)]));
    dials.heard(at(0), 0, Heard { endpoint: endpoint(2), instance: 2 });
    assert_eq!(dials.due_heard(at(0), &own(), &NONE), [path(2)]);
    for n in [1, 2] {
        dials.established(at(1), &path(n), &address_of(&path(n)));
        dials.left(at(20_000), &path(n), &address_of(&path(n)));
    }
    assert!(dials.due(at(20_249), &NONE).is_empty());
    assert_eq!(dials.due(at(20_250), &NONE), ["udp:a"], "it may be starting again, and know nobody");
    let error = dials.targets(&NONE).next().and_then(|(_, _, target)| target.last_error.clone());
    assert_eq!(error.as_deref(), Some("the neighbour said goodbye"));
    // A beacon that was on its way when it left.
    dials.heard(at(20_100), 0, Heard { endpoint: endpoint(2), instance: 2 });
    assert!(dials.due_heard(at(20_100), &own(), &NONE).is_empty());
    dials.heard(at(20_200), 0, Heard { endpoint: endpoint(2), instance: 3 });
    assert_eq!(dials.due_heard(at(20_200), &own(), &NONE), [path(2)]);
}

#[test]
fn a_peer_that_lives_is_not_dialled_and_one_that_died_is_at_once() {
    let mut dials = Dials::default();
    dials.add(at(0), "udp:a");
    dials.due(at(0), &NONE);
    dials.resolved(at(0), "udp:a", Ok(vec![path(1)]));
    let peer = Address::from_bytes([1; 32]);
    dials.established(at(1), &path(1), &peer);
    // It may live on another path than the one that was dialled.
    let alive = Links { paths: vec![], addresses: vec![peer] };
    assert!(dials.due(at(2), &alive).is_empty());
    assert_eq!(dials.next_deadline(at(0), &alive), None);
    assert_eq!(dials.due(at(3), &NONE), ["udp:a"]);
}

#[test]
fn an_instance_heard_at_two_endpoints_is_dialled_once() {
    let mut dials = Dials::default();
    let own = Address::from_bytes([9; 32]);
    dials.heard(at(0), 0, Heard { endpoint: endpoint(1), instance: 7 });
    dials.heard(at(0), 0, Heard { endpoint: endpoint(2), instance: 7 });
    assert_eq!(dials.due_heard(at(0), &own, &NONE), [path(1)]);
    dials.failed(at(1), &path(1), "timed out");
    assert_eq!(dials.due_heard(at(600), &own, &NONE), [path(2)], "then at the other endpoint");
}

#[test]
fn an_endpoint_heard_later_takes_the_place_of_one_that_failed() {
    let (own, mut dials) = (own(), Dials::default());
    let hear = |dials: &mut Dials, at: Time, n: u64| {
        dials.heard(at, 0, Heard { endpoint: endpoint(n), instance: 7 });
    };
    // It was elsewhere before, or somebody has sent copies of its beacon.
    (1..=4).for_each(|n| hear(&mut dials, at(0), n));
    hear(&mut dials, at(1), 5);
    assert_eq!(dials.due_heard(at(2), &own, &NONE), [path(1)]);
    dials.failed(at(8000), &path(1), "timed out");
    // One place for each failure: of a flood of copies none drives out all others.
    (5..=50).for_each(|n| hear(&mut dials, at(8001), n));
    assert_eq!(dials.due_heard(at(9000), &own, &NONE), [path(5)]);
    dials.failed(at(17_000), &path(5), "timed out");
    assert_eq!(dials.due_heard(at(20_000), &own, &NONE), [path(2)]);
}

#[test]
fn of_many_on_one_medium_sixteen_are_dialled_and_not_the_same_by_all() {
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
fn who_was_heard_is_forgotten_and_the_table_is_bounded() {
    let mut dials = Dials::default();
    for n in 0..5000 {
        dials.heard(at(0), 0, Heard { endpoint: endpoint(n), instance: n });
    }
    assert_eq!(dials.heard.len(), HEARD);
    dials.heard(at(200_000), 0, Heard { endpoint: endpoint(1), instance: 9999 });
    assert_eq!(dials.heard.len(), 1);
}

#[test]
fn nobody_is_woken_for_those_heard_who_will_not_be_dialled() {
    let (own, mut dials) = (own(), Dials::default());
    (0..40).for_each(|n| dials.heard(at(0), 0, Heard { endpoint: endpoint(n), instance: n }));
    let due = dials.due_heard(at(0), &own, &NONE);
    assert_eq!(due.len(), DIAL_ON_MEDIUM);
    assert_eq!(
        dials.next_deadline(at(0), &NONE),
        Some(at(0) + ANSWER),
        "all that are chosen are being dialled"
    );
    due.iter().for_each(|path| dials.established(at(0), path, &address_of(path)));
    let all = Links { paths: due, ..Links::default() };
    assert_eq!(dials.next_deadline(at(1), &all), None, "every place is taken");
    assert_eq!(dials.next_deadline(at(100_000), &NONE), None, "they have not been heard for too long");
}

#[test]
fn who_does_not_answer_leaves_its_place_to_the_next() {
    let (own, mut dials) = (own(), Dials::default());
    (0..100).for_each(|n| dials.heard(at(0), 0, Heard { endpoint: endpoint(n), instance: n }));
    let first = dials.due_heard(at(0), &own, &NONE);
    assert_eq!(dials.next_deadline(at(1), &NONE), Some(at(0) + ANSWER), "until then every place is taken");
    assert_eq!(dials.due_heard(at(0) + ANSWER, &own, &NONE).len(), DIAL_ON_MEDIUM);
    first.iter().for_each(|path| dials.failed(at(1000), path, "no answer"));
    assert!(dials.next_deadline(at(1000), &NONE) <= Some(at(1000)), "others are due already");
    let second = dials.due_heard(at(1500), &own, &NONE);
    assert_eq!(second.len(), DIAL_ON_MEDIUM);
    assert!(second.iter().all(|path| !first.contains(path)), "who has failed comes after who was not tried");
}

#[test]
fn invented_neighbours_do_not_keep_real_ones_out() {
    let real = || 1_000_000..1_000_010_u64;
    let (own, mut dials) = (own(), Dials::default());
    let (mut links, mut invented) = (Links::default(), 0);
    // Each second 64 are invented, as many as a netmod passes on, and the real ones are heard every five seconds; a dial
    // takes eight seconds to come to nothing.
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
                dials.established(now, &path, &address_of(&path));
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
fn who_is_heard_on_two_media_is_dialled_on_each() {
    let (own, other) = (own(), Identity::from_seed(&[2; 32]).address());
    let mut dials = Dials::default();
    for medium in 0..2 {
        dials.heard(at(0), medium, Heard { endpoint: endpoint(7), instance: 7 });
    }
    let due = dials.due_heard(at(0), &own, &NONE);
    assert_eq!(due.iter().map(|path| path.netmod).collect::<Vec<_>>(), [0, 1]);
    due.iter().for_each(|path| dials.established(at(0), path, &other));
    let first_lives = Links { addresses: vec![other], ..Links::default() };
    let due = dials.due_heard(at(0), &own, &first_lives);
    assert_eq!(due.iter().map(|path| path.netmod).collect::<Vec<_>>(), [1], "its link there has ended");
}

#[test]
fn a_link_that_does_not_live_long_is_dialled_again_less_and_less_often() {
    let mut dials = Dials::default();
    dials.add(at(0), "udp:a");
    let mut now = at(0);
    let mut rests = Vec::new();
    for _ in 0..6 {
        assert_eq!(dials.due(now, &NONE), ["udp:a"]);
        dials.resolved(now, "udp:a", Ok(vec![path(1)]));
        dials.established(now, &path(1), &address_of(&path(1)));
        let next = dials.next_deadline(now, &NONE).unwrap();
        rests.push(next.since(now).as_millis());
        now = next + Duration::from_millis(300);
    }
    assert_eq!(rests, [0, 500, 1000, 2000, 4000, 5000]);
    now = now + LIVED;
    assert_eq!(dials.due(now, &NONE), ["udp:a"]);
    dials.resolved(now, "udp:a", Ok(vec![path(1)]));
    dials.established(now, &path(1), &address_of(&path(1)));
    assert_eq!(dials.next_deadline(now, &NONE), Some(now), "one that has lived is dialled at once");
}
