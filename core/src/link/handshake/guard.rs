//! Who may begin a handshake with us, and how often.
//!
//! Each endpoint has a rate. Who is above it has to show, by bringing back a cookie, that it receives what is sent to its
//! endpoint, and has a rate of its own then: whoever forges the endpoint of another does not lock it out. Above a
//! number of handshakes a second from all sides the node is under load: then everybody has to show a cookie, before which an
//! initiation costs no more than a keyed hash, and each quota group has a rate too. A cookie is a keyed BLAKE3 of
//! the endpoint and the ephemeral key, so that nothing has to be remembered for it.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use zeroize::Zeroizing;

use crate::link::{LinkConfig, Path};
use crate::time::Time;
use crate::wire::link::{COOKIE_LEN, KEY_LEN};

/// How long a cookie secret is used to make cookies; those made with the one before are still good.
pub(in crate::link) const SECRET_LIFE: Duration = Duration::from_secs(120);
/// The most endpoints, and the most groups, whose rates are remembered.
pub(in crate::link) const MAX_BUCKETS: usize = 1024;
/// How often, at most, a full table is searched for what can be forgotten.
const SWEEP: Duration = Duration::from_millis(100);
/// A handshake's worth, in the unit of the buckets.
const ONE: u64 = 1_000_000_000;

/// What to do with an initiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on.
    Admit,
    /// Ask for this cookie.
    Ask([u8; COOKIE_LEN]),
    /// Too many.
    Refuse,
}

/// See the [module's page](self).
pub(super) struct Guard {
    rate: u64,
    load: u32,
    second: Time,
    in_second: u32,
    in_last_second: u32,
    secret: Zeroizing<[u8; 32]>,
    old_secret: Zeroizing<[u8; 32]>,
    drawn: Time,
    endpoints: Buckets<Path>,
    /// The same for those that have shown a cookie.
    proved: Buckets<Path>,
    groups: Buckets<(u32, u64)>,
}

impl Guard {
    pub(super) fn new(config: &LinkConfig, rng: &mut ChaCha20Rng) -> Self {
        let mut guard = Guard {
            rate: u64::from(config.rate.max(1)),
            load: config.load,
            second: Time::ZERO,
            in_second: 0,
            in_last_second: 0,
            secret: Zeroizing::new([0; 32]),
            old_secret: Zeroizing::new([0; 32]),
            drawn: Time::ZERO,
            endpoints: Buckets::default(),
            proved: Buckets::default(),
            groups: Buckets::default(),
        };
        rng.fill_bytes(guard.secret.as_mut());
        rng.fill_bytes(guard.old_secret.as_mut());
        guard
    }

    pub(super) fn admit(
        &mut self,
        now: Time,
        path: &Path,
        quota_key: u64,
        ephemeral: &[u8; KEY_LEN],
        cookie: &[u8; COOKIE_LEN],
        rng: &mut ChaCha20Rng,
    ) -> Verdict {
        let under_load = self.under_load(now);
        if !under_load && self.endpoints.take(now, *path, self.rate) {
            return Verdict::Admit;
        }
        self.renew(now, rng);
        let ours = cookie_of(&self.secret, path, ephemeral);
        let older = cookie_of(&self.old_secret, path, ephemeral);
        // Both are compared in full, whatever the first says.
        if !(same(&ours, cookie) | same(&older, cookie)) {
            return Verdict::Ask(ours);
        }
        if under_load && !self.groups.take(now, (path.netmod, quota_key), self.rate) {
            return Verdict::Refuse;
        }
        match self.proved.take(now, *path, self.rate) {
            true => Verdict::Admit,
            false => Verdict::Refuse,
        }
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

/// Token buckets, one for each key: `rate` a second, `rate` at once.
struct Buckets<K> {
    map: BTreeMap<K, Bucket>,
    swept: Time,
}

struct Bucket {
    tokens: u64,
    at: Time,
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Buckets { map: BTreeMap::new(), swept: Time::ZERO }
    }
}

impl<K: Ord> Buckets<K> {
    fn take(&mut self, now: Time, key: K, rate: u64) -> bool {
        let full = rate.saturating_mul(ONE);
        if !self.map.contains_key(&key) && self.map.len() >= MAX_BUCKETS && !self.sweep(now, rate) {
            return false;
        }
        let bucket = self.map.entry(key).or_insert(Bucket { tokens: full, at: now });
        bucket.tokens = bucket.after(now, rate).min(full);
        bucket.at = now;
        match bucket.tokens.checked_sub(ONE) {
            Some(rest) => {
                bucket.tokens = rest;
                true
            }
            None => false,
        }
    }

    /// Forgets whose buckets are full again; whether there is room now.
    fn sweep(&mut self, now: Time, rate: u64) -> bool {
        if now.since(self.swept) >= SWEEP {
            self.swept = now;
            let full = rate.saturating_mul(ONE);
            self.map.retain(|_, bucket| bucket.after(now, rate) < full);
        }
        self.map.len() < MAX_BUCKETS
    }
}

impl Bucket {
    fn after(&self, now: Time, rate: u64) -> u64 {
        let nanos = u64::try_from(now.since(self.at).as_nanos()).unwrap_or(u64::MAX);
        self.tokens.saturating_add(nanos.saturating_mul(rate))
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::netmod::Endpoint;

    fn guard() -> (Guard, ChaCha20Rng) {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        (Guard::new(&LinkConfig::default(), &mut rng), rng)
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
            let verdict = guard.admit(now, &path(1), 0, &[step as u8; 32], &NONE, &mut rng);
            admitted += u32::from(verdict == Verdict::Admit);
            asked += u32::from(matches!(verdict, Verdict::Ask(_)));
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
            let forged = guard.admit(now, &path(1), 0, &[step as u8; 32], &NONE, &mut rng);
            locked_out += u32::from(matches!(forged, Verdict::Ask(_)));
        }
        assert!(locked_out > 50, "25 a second are too many");
        let (now, key) = (Time::from_millis(4000), [200; 32]);
        guard.admit(now, &path(1), 0, &[201; 32], &NONE, &mut rng);
        let Verdict::Ask(cookie) = guard.admit(now, &path(1), 0, &key, &NONE, &mut rng) else {
            panic!("the rate is used up")
        };
        assert_eq!(guard.admit(now, &path(1), 0, &key, &cookie, &mut rng), Verdict::Admit);
        let proved = |key: u8, guard: &mut Guard, rng: &mut ChaCha20Rng| {
            let cookie = cookie_of(&guard.secret, &path(1), &[key; 32]);
            guard.admit(now, &path(1), 0, &[key; 32], &cookie, rng)
        };
        let admitted = (0..20).filter(|key| proved(*key, &mut guard, &mut rng) == Verdict::Admit).count();
        assert_eq!(admitted, 4, "who has shown a cookie has a rate too");
    }

    #[test]
    fn under_load_a_cookie_is_asked_for_and_holds_for_one_endpoint_and_key_only() {
        let (mut guard, mut rng) = guard();
        let mut now = Time::from_millis(1);
        let mut asked = None;
        for n in 0..60 {
            match guard.admit(now, &path(n), u64::from(n), &[n as u8; 32], &NONE, &mut rng) {
                Verdict::Ask(cookie) => asked = Some((n, cookie)),
                verdict => assert_eq!(verdict, Verdict::Admit),
            }
        }
        let (n, cookie) = asked.expect("sixty in a second are a load");
        let key = [n as u8; 32];
        let other = guard.admit(now, &path(n), 0, &[0xff; 32], &cookie, &mut rng);
        assert!(matches!(other, Verdict::Ask(_)));
        let elsewhere = guard.admit(now, &path(n + 1), 0, &key, &cookie, &mut rng);
        assert!(matches!(elsewhere, Verdict::Ask(_)));
        assert_eq!(guard.admit(now, &path(n), 0, &key, &cookie, &mut rng), Verdict::Admit);
        now = Time::from_millis(5_000);
        assert_eq!(
            guard.admit(now, &path(500), 0, &key, &NONE, &mut rng),
            Verdict::Admit,
            "the load is over"
        );
    }

    #[test]
    fn a_cookie_grows_old() {
        let (mut guard, mut rng) = guard();
        let key = [9; 32];
        let load = |guard: &mut Guard, rng: &mut ChaCha20Rng, at: u64, cookie: &[u8; COOKIE_LEN]| {
            let now = Time::from_millis(at);
            for n in 1000..1060 {
                guard.admit(now, &path(n), u64::from(n), &[n as u8; 32], &NONE, rng);
            }
            guard.admit(now, &path(1), 1, &key, cookie, rng)
        };
        let Verdict::Ask(cookie) = load(&mut guard, &mut rng, 1, &NONE) else { panic!("no load") };
        assert_eq!(load(&mut guard, &mut rng, 119_000, &cookie), Verdict::Admit);
        assert_eq!(load(&mut guard, &mut rng, 130_000, &cookie), Verdict::Admit);
        assert!(matches!(load(&mut guard, &mut rng, 260_000, &cookie), Verdict::Ask(_)));
    }

    #[test]
    fn under_load_one_group_may_begin_five_a_second() {
        let (mut guard, mut rng) = guard();
        let now = Time::from_millis(1);
        let mut admitted = 0;
        for n in 0..1000u32 {
            let key = [n as u8; 32];
            let verdict = guard.admit(now, &path(n), 7, &key, &NONE, &mut rng);
            if let Verdict::Ask(cookie) = verdict {
                let again = guard.admit(now, &path(n), 7, &key, &cookie, &mut rng);
                admitted += u32::from(again == Verdict::Admit);
            }
        }
        assert_eq!(admitted, 5);
    }

    #[test]
    fn the_tables_are_bounded() {
        let (mut guard, mut rng) = guard();
        guard.load = u32::MAX;
        for n in 0..5000 {
            guard.admit(Time::from_millis(1), &path(n), 0, &[0; 32], &NONE, &mut rng);
        }
        assert_eq!(guard.endpoints.map.len(), MAX_BUCKETS);
        let later = Time::from_millis(3000);
        assert_eq!(guard.admit(later, &path(9999), 0, &[0; 32], &NONE, &mut rng), Verdict::Admit);
        assert_eq!(guard.endpoints.map.len(), 1);
    }
}
