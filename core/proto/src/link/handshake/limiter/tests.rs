//! Admission of initiations and sessions by endpoint, host, group and address.

use rand_core::SeedableRng;

use super::*;
use crate::endpoint::Endpoint;
use crate::rate_limit::MAX_KEYS;

fn guard() -> (HandshakeLimiter, ChaCha20Rng) {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    (HandshakeLimiter::new(&LinkConfig::default(), &mut rng), rng)
}

fn path(n: u32) -> Path {
    Path { netmod: 0, endpoint: Endpoint::new(&n.to_be_bytes()).unwrap() }
}

const NONE: [u8; COOKIE_LEN] = [0; COOKIE_LEN];

fn claim(path: Path, source: Source, ephemeral: [u8; KEY_LEN], cookie: [u8; COOKIE_LEN]) -> InitiationClaim {
    InitiationClaim { path, source, ephemeral, cookie }
}

#[test]
fn one_endpoint_may_begin_five_a_second() {
    let (mut guard, mut rng) = guard();
    let mut admitted = 0;
    let mut asked = 0;
    for step in 0..400 {
        let now = Time::from_millis(step * 25);
        let verdict = guard.admit(now, &claim(path(1), Source::default(), [step as u8; 32], NONE), &mut rng);
        admitted += u32::from(verdict == Admission::Admit);
        asked += u32::from(matches!(verdict, Admission::RequireCookie(_)));
    }
    assert_eq!(asked, 400 - 54, "the others have to show a cookie");
    assert_eq!(admitted, 5 + 49, "five at once and five a second for ten seconds");
}

#[test]
fn a_node_that_forges_an_endpoint_does_not_lock_it_out() {
    let (mut guard, mut rng) = guard();
    let mut locked_out = 0;
    for step in 0..100 {
        let now = Time::from_millis(step * 40);
        let forged = guard.admit(now, &claim(path(1), Source::default(), [step as u8; 32], NONE), &mut rng);
        locked_out += u32::from(matches!(forged, Admission::RequireCookie(_)));
    }
    assert!(locked_out > 50, "25 a second are too many");
    let (now, key) = (Time::from_millis(4000), [200; 32]);
    guard.admit(now, &claim(path(1), Source::default(), [201; 32], NONE), &mut rng);
    let Admission::RequireCookie(cookie) =
        guard.admit(now, &claim(path(1), Source::default(), key, NONE), &mut rng)
    else {
        panic!("the rate is used up")
    };
    assert_eq!(guard.admit(now, &claim(path(1), Source::default(), key, cookie), &mut rng), Admission::Admit);
    let proved = |key: u8, guard: &mut HandshakeLimiter, rng: &mut ChaCha20Rng| {
        let cookie = cookie_of(&guard.secret, &path(1), &[key; 32]);
        guard.admit(now, &claim(path(1), Source::default(), [key; 32], cookie), rng)
    };
    let admitted = (0..20).filter(|key| proved(*key, &mut guard, &mut rng) == Admission::Admit).count();
    assert_eq!(admitted, 4, "endpoints with a cookie have a rate too");
}

#[test]
fn under_load_a_cookie_is_required_and_is_valid_for_one_endpoint_and_key_only() {
    let (mut guard, mut rng) = guard();
    let mut now = Time::from_millis(1);
    let mut asked = None;
    for n in 0..60 {
        match guard.admit(now, &claim(path(n), Source::isolated(n.into()), [n as u8; 32], NONE), &mut rng) {
            Admission::RequireCookie(cookie) => asked = Some((n, cookie)),
            verdict => assert_eq!(verdict, Admission::Admit),
        }
    }
    let (n, cookie) = asked.expect("sixty in a second are a load");
    let key = [n as u8; 32];
    let other = guard.admit(now, &claim(path(n), Source::default(), [0xff; 32], cookie), &mut rng);
    assert!(matches!(other, Admission::RequireCookie(_)));
    let elsewhere = guard.admit(now, &claim(path(n + 1), Source::default(), key, cookie), &mut rng);
    assert!(matches!(elsewhere, Admission::RequireCookie(_)));
    assert_eq!(guard.admit(now, &claim(path(n), Source::default(), key, cookie), &mut rng), Admission::Admit);
    now = Time::from_millis(5_000);
    assert_eq!(
        guard.admit(now, &claim(path(500), Source::default(), key, NONE), &mut rng),
        Admission::Admit,
        "the load is over"
    );
}

#[test]
fn a_cookie_expires() {
    let (mut guard, mut rng) = guard();
    let key = [9; 32];
    let load = |guard: &mut HandshakeLimiter, rng: &mut ChaCha20Rng, at: u64, cookie: &[u8; COOKIE_LEN]| {
        let now = Time::from_millis(at);
        for n in 1000..1060 {
            guard.admit(now, &claim(path(n), Source::isolated(n.into()), [n as u8; 32], NONE), rng);
        }
        guard.admit(now, &claim(path(1), Source::isolated(1), key, *cookie), rng)
    };
    let Admission::RequireCookie(cookie) = load(&mut guard, &mut rng, 1, &NONE) else { panic!("no load") };
    assert_eq!(load(&mut guard, &mut rng, 119_000, &cookie), Admission::Admit);
    assert_eq!(load(&mut guard, &mut rng, 130_000, &cookie), Admission::Admit);
    assert!(matches!(load(&mut guard, &mut rng, 260_000, &cookie), Admission::RequireCookie(_)));
}

/// Sends an initiation, and again with the cookie if one is required. Returns whether it is admitted.
fn knock(guard: &mut HandshakeLimiter, rng: &mut ChaCha20Rng, now: Time, n: u32, source: Source) -> bool {
    let key = blake3::hash(&[n.to_le_bytes(), (now.as_micros() as u32).to_le_bytes()].concat());
    let key = key.as_bytes();
    match guard.admit(now, &claim(path(n), source, *key, NONE), rng) {
        Admission::RequireCookie(cookie) => {
            guard.admit(now, &claim(path(n), source, *key, cookie), rng) == Admission::Admit
        }
        verdict => verdict == Admission::Admit,
    }
}

/// The number of handshakes that are admitted under load, of a thousand that `hosts` of one network begin within five
/// seconds. The first fifty are not counted, because the load begins with them.
fn admitted(hosts: u64) -> usize {
    let (mut guard, mut rng) = guard();
    let mut admitted = 0;
    for n in 0..1000u32 {
        let source = Source { host: u64::from(n) % hosts, group: 7 };
        let now = Time::from_millis(u64::from(n) * 5);
        let in_time = knock(&mut guard, &mut rng, now, n, source);
        admitted += usize::from(in_time && n >= 50);
    }
    admitted
}

#[test]
fn under_load_a_host_may_begin_five_a_second_and_a_network_of_many_hosts_twenty_five() {
    assert!((25..=30).contains(&admitted(1)), "{}", admitted(1));
    assert!((125..=150).contains(&admitted(200)), "{}", admitted(200));
}

#[test]
fn under_load_a_host_does_not_lock_out_another_one_of_its_network() {
    let (mut guard, mut rng) = guard();
    // The attacker has one address and many ports, and returns each cookie.
    for n in 0..2000u32 {
        let now = Time::from_millis(u64::from(n) * 5);
        knock(&mut guard, &mut rng, now, n, Source { host: 1, group: 7 });
        if n > 50 && n % 50 == 0 {
            let newcomer = Source { host: u64::from(n), group: 7 };
            assert!(knock(&mut guard, &mut rng, now, 10_000 + n, newcomer), "after {n}");
        }
    }
    assert!(guard.hosts.len() <= 50 && guard.proved.len() < 100);
}

#[test]
fn sessions_have_a_rate_for_each_address_and_for_each_host() {
    let (mut guard, _) = guard();
    let address = |n: u8| Address::from_bytes([n; 32]);
    let now = |n: u64| Time::from_millis(n * 25);
    let host = |host| Source { host, group: 7 };
    // One identity begins forty sessions a second from nine hosts.
    let admitted = (0..400).filter(|n| guard.admit_session(now(*n), 0, host(n % 9), &address(1))).count();
    assert_eq!(admitted, 10 + 9, "ten at once, and one a second for ten seconds");
    assert!(guard.admit_session(now(400), 0, host(1), &address(2)), "other identities are not affected");
    // One host begins four hundred sessions a second, each with another identity.
    let identity = |n: u64| Address::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes());
    let admitted = (0..4000).filter(|n| guard.admit_session(now(n / 10), 1, host(1), &identity(*n))).count();
    assert_eq!(admitted, 64 + 99, "sixty-four at once, and ten a second for ten seconds");
    assert!(!guard.has_session(now(399), 1, host(1)) && guard.has_session(now(399), 1, host(2)));
}

#[test]
fn the_tables_are_bounded() {
    let (mut guard, mut rng) = guard();
    guard.load = u32::MAX;
    for n in 0..5000 {
        guard.admit(Time::from_millis(1), &claim(path(n), Source::default(), [0; 32], NONE), &mut rng);
    }
    assert_eq!(guard.endpoints.len(), MAX_KEYS);
    let later = Time::from_millis(3000);
    assert_eq!(
        guard.admit(later, &claim(path(9999), Source::default(), [0; 32], NONE), &mut rng),
        Admission::Admit
    );
    assert_eq!(guard.endpoints.len(), 1);
}
