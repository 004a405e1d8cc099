//! Who may begin a handshake with us, and how often.
//!
//! Each endpoint has a rate. Who is above it has to show, by bringing back a cookie, that it receives what is sent to its
//! endpoint, and has a rate of its own then: whoever forges the endpoint of another does not lock it out. Above a
//! number of handshakes a second from all sides the node is under load: then everybody has to show a cookie, before which an
//! initiation costs no more than a keyed hash, and each host has a rate too, and each quota group one that a single host cannot
//! use up. A cookie is a keyed BLAKE3 of the endpoint and the ephemeral key, so that nothing has to be remembered for it.
//!
//! Sessions have rates of their own, which outlive them: by the address that the finish proves, and by the host that it comes
//! from. So a neighbour that begins one session after the other costs no more than one that keeps its session.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use zeroize::Zeroizing;

use super::buckets::{Rate, TokenBuckets};
use crate::address::Address;
use crate::link::{LinkConfig, Path, Source};
use crate::time::Time;
use crate::wire::link::{COOKIE_LEN, KEY_LEN};

/// Under load a quota group may begin so many times what one of its hosts may.
pub(in crate::link) const HOSTS_OF_GROUP: u32 = 5;
/// Sessions of one address: this many at once, and one in each second after that. Two that dial at once over two media, and a
/// restart or a change of network meanwhile, need fewer.
pub(in crate::link) const ADDRESS_SESSIONS: Rate = Rate::new(1, 10);
/// Sessions that one host may begin: many nodes may run there, and start at once.
pub(in crate::link) const HOST_SESSIONS: Rate = Rate::new(10, 64);
/// How long a cookie secret is used to make cookies; those made with the one before are still good.
pub(in crate::link) const SECRET_LIFE: Duration = Duration::from_secs(120);

/// What to do with an initiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Go on.
    Admit,
    /// Ask for this cookie.
    RequireCookie([u8; COOKIE_LEN]),
    /// Too many.
    Refuse,
}

/// See the [module's page](self).
pub(super) struct HandshakeLimiter {
    /// For an endpoint, or a host under load.
    rate: Rate,
    group_rate: Rate,
    load: u32,
    second: Time,
    in_second: u32,
    in_last_second: u32,
    secret: Zeroizing<[u8; 32]>,
    old_secret: Zeroizing<[u8; 32]>,
    drawn: Time,
    endpoints: TokenBuckets<Path>,
    /// The same for those that have shown a cookie.
    proved: TokenBuckets<Path>,
    /// Under load.
    hosts: TokenBuckets<(u32, u64)>,
    groups: TokenBuckets<(u32, u64)>,
    /// Of sessions.
    sessions: TokenBuckets<Address>,
    session_hosts: TokenBuckets<(u32, u64)>,
}

impl HandshakeLimiter {
    pub(super) fn new(config: &LinkConfig, rng: &mut ChaCha20Rng) -> Self {
        let mut guard = HandshakeLimiter {
            rate: Rate::new(config.rate.max(1), config.rate.max(1)),
            group_rate: {
                let rate = config.rate.max(1).saturating_mul(HOSTS_OF_GROUP);
                Rate::new(rate, rate)
            },
            load: config.load,
            second: Time::ZERO,
            in_second: 0,
            in_last_second: 0,
            secret: Zeroizing::new([0; 32]),
            old_secret: Zeroizing::new([0; 32]),
            drawn: Time::ZERO,
            endpoints: TokenBuckets::default(),
            proved: TokenBuckets::default(),
            hosts: TokenBuckets::default(),
            groups: TokenBuckets::default(),
            sessions: TokenBuckets::default(),
            session_hosts: TokenBuckets::default(),
        };
        rng.fill_bytes(guard.secret.as_mut());
        rng.fill_bytes(guard.old_secret.as_mut());
        guard
    }

    pub(super) fn admit(
        &mut self,
        now: Time,
        path: &Path,
        source: Source,
        ephemeral: &[u8; KEY_LEN],
        cookie: &[u8; COOKIE_LEN],
        rng: &mut ChaCha20Rng,
    ) -> Admission {
        let under_load = self.under_load(now);
        if !under_load && self.endpoints.take_token(now, *path, self.rate) {
            return Admission::Admit;
        }
        self.renew(now, rng);
        let ours = cookie_of(&self.secret, path, ephemeral);
        let older = cookie_of(&self.old_secret, path, ephemeral);
        // Both are compared in full, whatever the first says.
        if !(same(&ours, cookie) | same(&older, cookie)) {
            return Admission::RequireCookie(ours);
        }
        if under_load && !self.take_share(now, path.netmod, source) {
            return Admission::Refuse;
        }
        match self.proved.take_token(now, *path, self.rate) {
            true => Admission::Admit,
            false => Admission::Refuse,
        }
    }

    /// Takes a handshake from what a host has, and from what its group has. A host beyond its share takes nothing from its group,
    /// and none of a group beyond its share is remembered.
    fn take_share(&mut self, now: Time, netmod: u32, source: Source) -> bool {
        let group = (netmod, source.group);
        self.groups.has_token(now, group, self.group_rate)
            && self.hosts.take_token(now, (netmod, source.host), self.rate)
            && self.groups.take_token(now, group, self.group_rate)
    }

    /// Whether a host may have one more session; forged finishes in its name use nothing up.
    pub(super) fn has_session(&self, now: Time, netmod: u32, source: Source) -> bool {
        self.session_hosts.has_token(now, (netmod, source.host), HOST_SESSIONS)
    }

    /// Takes one more session from what an address has, and from what the host has where it began it.
    pub(super) fn admit_session(&mut self, now: Time, netmod: u32, source: Source, peer: &Address) -> bool {
        self.session_hosts.take_token(now, (netmod, source.host), HOST_SESSIONS) && self.admit_own(now, peer)
    }

    /// Takes one more session from what an address has; this node began it.
    pub(super) fn admit_own(&mut self, now: Time, peer: &Address) -> bool {
        self.sessions.take_token(now, *peer, ADDRESS_SESSIONS)
    }

    /// Counts one initiation.
    fn under_load(&mut self, now: Time) -> bool {
        let elapsed = now.since(self.second);
        if elapsed >= Duration::from_secs(1) {
            let just_over = elapsed < Duration::from_secs(2);
            self.in_last_second = if just_over { self.in_second } else { 0 };
            self.in_second = 0;
            self.second = now;
        }
        self.in_second = self.in_second.saturating_add(1);
        self.in_second.max(self.in_last_second) > self.load
    }

    fn renew(&mut self, now: Time, rng: &mut ChaCha20Rng) {
        let age = now.since(self.drawn);
        if age < SECRET_LIFE {
            return;
        }
        self.old_secret = self.secret.clone();
        rng.fill_bytes(self.secret.as_mut());
        if age >= SECRET_LIFE.saturating_mul(2) {
            rng.fill_bytes(self.old_secret.as_mut());
        }
        self.drawn = now;
    }
}

fn cookie_of(secret: &[u8; 32], path: &Path, ephemeral: &[u8; KEY_LEN]) -> [u8; COOKIE_LEN] {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher.update(ephemeral);
    hasher.update(&path.netmod.to_le_bytes());
    hasher.update(path.endpoint.as_bytes());
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Compares in a time that does not depend on where they differ.
fn same(a: &[u8; COOKIE_LEN], b: &[u8; COOKIE_LEN]) -> bool {
    a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::link::handshake::buckets::MAX_BUCKETS;
    use crate::netmod::Endpoint;

    fn guard() -> (HandshakeLimiter, ChaCha20Rng) {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        (HandshakeLimiter::new(&LinkConfig::default(), &mut rng), rng)
    }

    fn path(n: u32) -> Path {
        Path { netmod: 0, endpoint: Endpoint::new(&n.to_be_bytes()).unwrap() }
    }

    const NONE: [u8; COOKIE_LEN] = [0; COOKIE_LEN];

    #[test]
    fn one_endpoint_may_begin_five_a_second() {
        let (mut guard, mut rng) = guard();
        let mut admitted = 0;
        let mut asked = 0;
        for step in 0..400 {
            let now = Time::from_millis(step * 25);
            let verdict = guard.admit(now, &path(1), Source::default(), &[step as u8; 32], &NONE, &mut rng);
            admitted += u32::from(verdict == Admission::Admit);
            asked += u32::from(matches!(verdict, Admission::RequireCookie(_)));
        }
        assert_eq!(asked, 400 - 54, "the others have to show a cookie");
        assert_eq!(admitted, 5 + 49, "five at once and five a second for ten seconds");
    }

    #[test]
    fn whoever_forges_an_endpoint_does_not_lock_it_out() {
        let (mut guard, mut rng) = guard();
        let mut locked_out = 0;
        for step in 0..100 {
            let now = Time::from_millis(step * 40);
            let forged = guard.admit(now, &path(1), Source::default(), &[step as u8; 32], &NONE, &mut rng);
            locked_out += u32::from(matches!(forged, Admission::RequireCookie(_)));
        }
        assert!(locked_out > 50, "25 a second are too many");
        let (now, key) = (Time::from_millis(4000), [200; 32]);
        guard.admit(now, &path(1), Source::default(), &[201; 32], &NONE, &mut rng);
        let Admission::RequireCookie(cookie) =
            guard.admit(now, &path(1), Source::default(), &key, &NONE, &mut rng)
        else {
            panic!("the rate is used up")
        };
        assert_eq!(guard.admit(now, &path(1), Source::default(), &key, &cookie, &mut rng), Admission::Admit);
        let proved = |key: u8, guard: &mut HandshakeLimiter, rng: &mut ChaCha20Rng| {
            let cookie = cookie_of(&guard.secret, &path(1), &[key; 32]);
            guard.admit(now, &path(1), Source::default(), &[key; 32], &cookie, rng)
        };
        let admitted = (0..20).filter(|key| proved(*key, &mut guard, &mut rng) == Admission::Admit).count();
        assert_eq!(admitted, 4, "who has shown a cookie has a rate too");
    }

    #[test]
    fn under_load_a_cookie_is_asked_for_and_holds_for_one_endpoint_and_key_only() {
        let (mut guard, mut rng) = guard();
        let mut now = Time::from_millis(1);
        let mut asked = None;
        for n in 0..60 {
            match guard.admit(now, &path(n), Source::isolated(n.into()), &[n as u8; 32], &NONE, &mut rng) {
                Admission::RequireCookie(cookie) => asked = Some((n, cookie)),
                verdict => assert_eq!(verdict, Admission::Admit),
            }
        }
        let (n, cookie) = asked.expect("sixty in a second are a load");
        let key = [n as u8; 32];
        let other = guard.admit(now, &path(n), Source::default(), &[0xff; 32], &cookie, &mut rng);
        assert!(matches!(other, Admission::RequireCookie(_)));
        let elsewhere = guard.admit(now, &path(n + 1), Source::default(), &key, &cookie, &mut rng);
        assert!(matches!(elsewhere, Admission::RequireCookie(_)));
        assert_eq!(guard.admit(now, &path(n), Source::default(), &key, &cookie, &mut rng), Admission::Admit);
        now = Time::from_millis(5_000);
        assert_eq!(
            guard.admit(now, &path(500), Source::default(), &key, &NONE, &mut rng),
            Admission::Admit,
            "the load is over"
        );
    }

    #[test]
    fn a_cookie_grows_old() {
        let (mut guard, mut rng) = guard();
        let key = [9; 32];
        let load =
            |guard: &mut HandshakeLimiter, rng: &mut ChaCha20Rng, at: u64, cookie: &[u8; COOKIE_LEN]| {
                let now = Time::from_millis(at);
                for n in 1000..1060 {
                    guard.admit(now, &path(n), Source::isolated(n.into()), &[n as u8; 32], &NONE, rng);
                }
                guard.admit(now, &path(1), Source::isolated(1), &key, cookie, rng)
            };
        let Admission::RequireCookie(cookie) = load(&mut guard, &mut rng, 1, &NONE) else {
            panic!("no load")
        };
        assert_eq!(load(&mut guard, &mut rng, 119_000, &cookie), Admission::Admit);
        assert_eq!(load(&mut guard, &mut rng, 130_000, &cookie), Admission::Admit);
        assert!(matches!(load(&mut guard, &mut rng, 260_000, &cookie), Admission::RequireCookie(_)));
    }

    /// An initiation that brings the cookie back which it was asked for.
    fn knock(guard: &mut HandshakeLimiter, rng: &mut ChaCha20Rng, now: Time, n: u32, source: Source) -> bool {
        let key = blake3::hash(&[n.to_le_bytes(), (now.as_micros() as u32).to_le_bytes()].concat());
        let key = key.as_bytes();
        match guard.admit(now, &path(n), source, key, &NONE, rng) {
            Admission::RequireCookie(cookie) => {
                guard.admit(now, &path(n), source, key, &cookie, rng) == Admission::Admit
            }
            verdict => verdict == Admission::Admit,
        }
    }

    /// How many of a thousand handshakes that `hosts` of one network begin within five seconds are admitted under load, after
    /// those that it takes to be under load.
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
        // An address that has many ports and answers each cookie.
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
        // Forty a second of one identity, from as many hosts as it likes.
        let admitted = (0..400).filter(|n| guard.admit_session(now(*n), 0, host(n % 9), &address(1))).count();
        assert_eq!(admitted, 10 + 9, "ten at once, and one a second for ten seconds");
        assert!(guard.admit_session(now(400), 0, host(1), &address(2)), "others are not concerned");
        // Four hundred a second of one host, each of another identity.
        let identity = |n: u64| Address::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes());
        let admitted =
            (0..4000).filter(|n| guard.admit_session(now(n / 10), 1, host(1), &identity(*n))).count();
        assert_eq!(admitted, 64 + 99, "sixty-four at once, and ten a second for ten seconds");
        assert!(!guard.has_session(now(399), 1, host(1)) && guard.has_session(now(399), 1, host(2)));
    }

    #[test]
    fn the_tables_are_bounded() {
        let (mut guard, mut rng) = guard();
        guard.load = u32::MAX;
        for n in 0..5000 {
            guard.admit(Time::from_millis(1), &path(n), Source::default(), &[0; 32], &NONE, &mut rng);
        }
        assert_eq!(guard.endpoints.len(), MAX_BUCKETS);
        let later = Time::from_millis(3000);
        assert_eq!(
            guard.admit(later, &path(9999), Source::default(), &[0; 32], &NONE, &mut rng),
            Admission::Admit
        );
        assert_eq!(guard.endpoints.len(), 1);
    }
}
