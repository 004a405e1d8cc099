//! Rate limits on the handshakes that other nodes begin.
//!
//! Each endpoint has a rate. Above it, an initiation must carry a cookie, which proves that its sender receives at the
//! endpoint. Initiations with a cookie have a rate of their own, so that an attacker that forges the endpoint of
//! another node does not lock that node out. Above a number of handshakes a second from all sources the node is under
//! load. Then every initiation must carry a cookie, and one without it costs no more than a keyed hash. In addition
//! each host has a rate, and each quota group one that a single host cannot use up. A cookie is a keyed BLAKE3 hash of
//! the endpoint and the ephemeral key, so that the node keeps no state for it, as in WireGuard and RFC 9000, section
//! 8.1.
//!
//! Sessions have rates that outlive them, by the address that the finish proves, and by the host that it comes from. So
//! a neighbour that begins one session after the other costs no more than one that keeps its session.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use zeroize::Zeroizing;

use crate::address::Address;
use crate::link::{LinkConfig, Path, Source};
use crate::rate_limit::{KeyedRateLimiter, Rate};
use crate::time::Time;
use crate::wire::link::{COOKIE_LEN, KEY_LEN};

/// The rate of a quota group under load, in rates of a host. It is above one, so that a single host cannot use up the
/// share of its network.
pub(in crate::link) const HOSTS_OF_GROUP: u32 = 5;
/// The rate of sessions of one address: ten at once, and one a second after that. Two nodes that dial each other at
/// once over two media, with a restart or a change of network meanwhile, need fewer.
pub(in crate::link) const ADDRESS_SESSIONS: Rate = Rate::each_second(1, 10);
/// The rate of sessions of one host. It is higher than that of an address, because many nodes may run there and start
/// at once.
pub(in crate::link) const HOST_SESSIONS: Rate = Rate::each_second(10, 64);
/// The life of a secret for cookies (COOKIE_SECRET_MAX_AGE of WireGuard). Cookies of the previous secret are still
/// valid, so that a renewal invalidates none that was just sent.
pub(in crate::link) const SECRET_LIFE: Duration = Duration::from_secs(120);

/// The decision on an initiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Continue the handshake.
    Admit,
    /// Require this cookie.
    RequireCookie([u8; COOKIE_LEN]),
    /// Drop the initiation, because a rate is used up.
    Refuse,
}

/// The rate limits of one node. See the [module documentation](self).
pub(super) struct HandshakeLimiter {
    /// The rate of an endpoint, and of a host under load.
    rate: Rate,
    /// The rate of a quota group under load.
    group_rate: Rate,
    /// The number of initiations a second above which the node is under load.
    load: u32,
    /// The begin of the present second.
    second: Time,
    /// The number of initiations in the present second.
    in_second: u32,
    /// The number in the second before. Load is judged by both, so that it does not end at each border.
    in_last_second: u32,
    /// The key of new cookies.
    secret: Zeroizing<[u8; 32]>,
    /// The previous key of cookies.
    old_secret: Zeroizing<[u8; 32]>,
    /// The time at which the key of cookies was drawn.
    drawn: Time,
    /// The limiters of endpoints without a cookie.
    endpoints: KeyedRateLimiter<Path>,
    /// The limiters of endpoints that have returned a cookie.
    proved: KeyedRateLimiter<Path>,
    /// The limiters of hosts under load, by netmod and host key.
    hosts: KeyedRateLimiter<(u32, u64)>,
    /// The limiters of quota groups under load, by netmod and group key.
    groups: KeyedRateLimiter<(u32, u64)>,
    /// The limiters of sessions, by proved address.
    sessions: KeyedRateLimiter<Address>,
    /// The limiters of sessions, by netmod and host key.
    session_hosts: KeyedRateLimiter<(u32, u64)>,
}

/// The fields of an initiation that decide on its admission.
pub(super) struct InitiationClaim {
    pub(super) path: Path,
    pub(super) source: Source,
    pub(super) ephemeral: [u8; KEY_LEN],
    pub(super) cookie: [u8; COOKIE_LEN],
}

impl HandshakeLimiter {
    pub(super) fn new(config: &LinkConfig, rng: &mut ChaCha20Rng) -> Self {
        let mut guard = HandshakeLimiter {
            rate: Rate::each_second(config.rate.max(1), config.rate.max(1)),
            group_rate: {
                let rate = config.rate.max(1).saturating_mul(HOSTS_OF_GROUP);
                Rate::each_second(rate, rate)
            },
            load: config.load,
            second: Time::ZERO,
            in_second: 0,
            in_last_second: 0,
            secret: Zeroizing::new([0; 32]),
            old_secret: Zeroizing::new([0; 32]),
            drawn: Time::ZERO,
            endpoints: KeyedRateLimiter::default(),
            proved: KeyedRateLimiter::default(),
            hosts: KeyedRateLimiter::default(),
            groups: KeyedRateLimiter::default(),
            sessions: KeyedRateLimiter::default(),
            session_hosts: KeyedRateLimiter::default(),
        };
        rng.fill_bytes(guard.secret.as_mut());
        rng.fill_bytes(guard.old_secret.as_mut());
        guard
    }

    /// Decides on an initiation and counts it.
    pub(super) fn admit(&mut self, now: Time, claim: &InitiationClaim, rng: &mut ChaCha20Rng) -> Admission {
        let InitiationClaim { path, source, ephemeral, cookie } = claim;
        let under_load = self.under_load(now);
        if !under_load && self.endpoints.try_take(now, *path, self.rate) {
            return Admission::Admit;
        }
        self.renew(now, rng);
        let ours = cookie_of(&self.secret, path, ephemeral);
        let older = cookie_of(&self.old_secret, path, ephemeral);
        // Both are compared in full, so that the time does not reveal which one matches.
        if !(same(&ours, cookie) | same(&older, cookie)) {
            return Admission::RequireCookie(ours);
        }
        if under_load && !self.take_share(now, path.netmod, *source) {
            return Admission::Refuse;
        }
        match self.proved.try_take(now, *path, self.rate) {
            true => Admission::Admit,
            false => Admission::Refuse,
        }
    }

    /// Takes a token of a host and one of its group. A host beyond its rate takes none of its group, since otherwise it
    /// would lock out its network; and no bucket is made for a host of a group beyond its rate, so that such a group
    /// does not fill the table.
    fn take_share(&mut self, now: Time, netmod: u32, source: Source) -> bool {
        let group = (netmod, source.group);
        self.groups.has_token(now, group, self.group_rate)
            && self.hosts.try_take(now, (netmod, source.host), self.rate)
            && self.groups.try_take(now, group, self.group_rate)
    }

    /// Whether a host may begin one more session. No token is taken, so that forged finishes in its name do not lock it
    /// out.
    pub(super) fn has_session(&self, now: Time, netmod: u32, source: Source) -> bool {
        self.session_hosts.has_token(now, (netmod, source.host), HOST_SESSIONS)
    }

    /// Takes a token for a session that another node began, of its address and of its host.
    pub(super) fn admit_session(&mut self, now: Time, netmod: u32, source: Source, peer: &Address) -> bool {
        self.session_hosts.try_take(now, (netmod, source.host), HOST_SESSIONS) && self.admit_own(now, peer)
    }

    /// Takes a token for a session that this node began, of the address of the neighbour only.
    pub(super) fn admit_own(&mut self, now: Time, peer: &Address) -> bool {
        self.sessions.try_take(now, *peer, ADDRESS_SESSIONS)
    }

    /// Counts one initiation. Returns whether the node is under load.
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

    /// Draws a new secret for cookies when the present one is too old.
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

/// The cookie of an initiation. It depends on the ephemeral key, so that it serves one handshake only.
fn cookie_of(secret: &[u8; 32], path: &Path, ephemeral: &[u8; KEY_LEN]) -> [u8; COOKIE_LEN] {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher.update(ephemeral);
    hasher.update(&path.netmod.to_le_bytes());
    hasher.update(path.endpoint.as_bytes());
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Compares in constant time, because otherwise an attacker could find a cookie byte by byte.
fn same(a: &[u8; COOKIE_LEN], b: &[u8; COOKIE_LEN]) -> bool {
    a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
