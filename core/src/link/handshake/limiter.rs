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
mod tests;
