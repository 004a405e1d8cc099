//! What neighbours may make this node do, by who they are and not by the link that they have at the moment.
//!
//! A neighbour has an account under its address. A stranger may have as many identities as it likes, so it draws on two more:
//! that of its host, which has four times as much, and that of its host's network, which has eight times as much. Accounts
//! outlive links: a new session finds what the one before has left. One that owes nothing is like a new one, and is forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{NeighbourId, Router};
use crate::address::Address;
use crate::time::Time;

/// Accounts that owe something, at most. Neighbours beyond that share one.
pub(super) const MAX_ACCOUNTS: usize = 1024;
/// So many times the allowance of a neighbour has a host of strangers, and so many times their network.
pub(super) const HOST: u32 = 4;
pub(super) const NETWORK: u32 = 8;

/// Where a neighbour is that is not configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    /// Its host: for IP the address.
    pub(crate) host: u64,
    /// The network that it shares with others: for IP the /24 or /64.
    pub(crate) network: u64,
}

impl Location {
    /// One to itself.
    pub(super) fn of(address: &Address) -> Self {
        let alone = crate::wire::route::key_hash(address);
        Location { host: alone, network: alone }
    }
}

/// Who pays for what a neighbour makes this node do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payer {
    address: Address,
    /// Where it is, if nobody configured it.
    stranger: Option<Location>,
}

/// So many tokens a second, after so many at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    pub(super) rate: u32,
    pub(super) burst: u32,
}

/// What an account is kept of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resource {
    /// Destinations that were not known.
    New = 0,
    /// Signatures verified.
    Signatures = 1,
    /// Rounds of hop chains.
    Hashes = 2,
    /// Microseconds of the router's time.
    Time = 3,
}

/// Rounds of hop chains: about a hundredth of a processor, after as many as a table of 32 768 destinations may need.
pub(super) const HASHES: Allowance = Allowance { rate: 1 << 17, burst: 1 << 21 };
/// A proof that does not hold counts as so many rounds, so that a liar has 32 a second looked at.
pub(super) const FALSE_PROOF: u32 = HASHES.rate / 32;
/// A twentieth of a processor, after half a second of it, for a stranger.
pub(super) const TIME: Allowance = Allowance { rate: 50_000, burst: 500_000 };
/// A configured neighbour has so many times that.
pub(super) const CONFIGURED_TIME: u32 = 4;

/// A token bucket as one moment: when it will be full again (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket(Time);

impl Bucket {
    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Time, allowance: Allowance) -> bool {
        let free = self.has(now, allowance, 1);
        if free {
            self.spend(now, allowance, 1);
        }
        free
    }

    /// Whether there are so many tokens.
    pub(super) fn has(self, now: Time, allowance: Allowance, tokens: u32) -> bool {
        let Some(each) = Duration::from_secs(1).checked_div(allowance.rate) else { return false };
        let full = self.0.max(now) + each.saturating_mul(tokens);
        full.since(now) <= each.saturating_mul(allowance.burst)
    }

    /// Takes so many tokens whether they are there or not; it never owes more than the bucket holds.
    pub(super) fn spend(&mut self, now: Time, allowance: Allowance, tokens: u32) {
        let Some(each) = Duration::from_secs(1).checked_div(allowance.rate) else { return };
        let most = now + each.saturating_mul(allowance.burst.saturating_mul(2));
        self.0 = (self.0.max(now) + each.saturating_mul(tokens)).min(most);
    }

    /// When it owes nothing any more.
    fn settled_at(self, allowance: Allowance) -> Time {
        let Some(each) = Duration::from_secs(1).checked_div(allowance.rate) else { return Time::ZERO };
        self.0 - each.saturating_mul(allowance.burst)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Neighbour(Address),
    Host(u64),
    Network(u64),
    /// All that there was no room for.
    Others,
}

/// What one holder has used up, by resource.
type Account = [Bucket; 4];

fn is_settled(account: &Account, now: Time) -> bool {
    account.iter().all(|bucket| bucket.0 <= now)
}

/// All accounts that are not settled.
#[derive(Default)]
pub(super) struct Accounts(BTreeMap<Holder, Account>);

/// The accounts that one draws on, and how many times the allowance each has.
fn holders(payer: Payer, resource: Resource) -> impl Iterator<Item = (Holder, u32)> {
    let own = match (resource, payer.stranger) {
        (Resource::Time, None) => CONFIGURED_TIME,
        _ => 1,
    };
    let shared = payer
        .stranger
        .map(|Location { host, network }| [(Holder::Host(host), HOST), (Holder::Network(network), NETWORK)]);
    std::iter::once((Holder::Neighbour(payer.address), own)).chain(shared.into_iter().flatten())
}

fn times(allowance: Allowance, share: u32) -> Allowance {
    let Allowance { rate, burst } = allowance;
    Allowance { rate: rate.saturating_mul(share), burst: burst.saturating_mul(share) }
}

impl Accounts {
    /// Its account, or that of all for whom there is no room. A neighbour that was configured always has its own: their number is
    /// bounded by that of the neighbours, and strangers that fill the table must not take from what it may do.
    fn find(&self, payer: Payer, holder: Holder, share: u32) -> (Holder, u32) {
        let is_kept = payer.stranger.is_none() || self.0.contains_key(&holder) || self.0.len() < MAX_ACCOUNTS;
        if is_kept { (holder, share) } else { (Holder::Others, HOST) }
    }

    fn bucket(&self, holder: Holder, resource: Resource) -> Bucket {
        let account = self.0.get(&holder);
        account.and_then(|account| account.get(resource as usize)).copied().unwrap_or_default()
    }

    /// Whether so much is left.
    fn has(&self, now: Time, payer: Payer, resource: Resource, allowance: Allowance, tokens: u32) -> bool {
        holders(payer, resource).all(|(holder, share)| {
            let (holder, share) = self.find(payer, holder, share);
            self.bucket(holder, resource).has(now, times(allowance, share), tokens)
        })
    }

    /// Takes so much, whether it is there or not.
    fn spend(&mut self, now: Time, payer: Payer, resource: Resource, allowance: Allowance, tokens: u32) {
        for (holder, share) in holders(payer, resource) {
            if self.0.len() >= MAX_ACCOUNTS && !self.0.contains_key(&holder) {
                self.sweep(now);
            }
            let (holder, share) = self.find(payer, holder, share);
            let account = self.0.entry(holder).or_default();
            if let Some(bucket) = account.get_mut(resource as usize) {
                bucket.spend(now, times(allowance, share), tokens);
            }
        }
    }

    /// Forgets what is settled.
    pub(super) fn sweep(&mut self, now: Time) {
        self.0.retain(|_, account| !is_settled(account, now));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Router {
    fn payer(&self, id: NeighbourId) -> Option<Payer> {
        let neighbour = self.neighbours.get(&id)?;
        let stranger = Some(neighbour.location).filter(|_| !neighbour.configured);
        Some(Payer { address: neighbour.address, stranger })
    }

    /// The user asks for a link to this neighbour from now on, or does not any more.
    pub(crate) fn neighbour_configured(&mut self, id: NeighbourId, configured: bool) {
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            neighbour.configured = configured;
        }
    }

    /// Whether a neighbour has so many tokens left of something.
    pub(super) fn affords(
        &self,
        now: Time,
        id: NeighbourId,
        resource: Resource,
        allowance: Allowance,
        tokens: u32,
    ) -> bool {
        self.payer(id).is_some_and(|payer| self.accounts.has(now, payer, resource, allowance, tokens))
    }

    /// Takes tokens from a neighbour, whether it has them or not.
    pub(super) fn charge(
        &mut self,
        now: Time,
        id: NeighbourId,
        resource: Resource,
        allowance: Allowance,
        tokens: u32,
    ) {
        if let Some(payer) = self.payer(id) {
            self.accounts.spend(now, payer, resource, allowance, tokens);
        }
    }

    /// Takes tokens from a neighbour if it has them.
    pub(super) fn pays(
        &mut self,
        now: Time,
        id: NeighbourId,
        resource: Resource,
        allowance: Allowance,
        tokens: u32,
    ) -> bool {
        let affords = self.affords(now, id, resource, allowance, tokens);
        if affords {
            self.charge(now, id, resource, allowance, tokens);
        }
        affords
    }

    /// A neighbour has made the shell work for so long.
    pub(crate) fn neighbour_worked(&mut self, now: Time, id: NeighbourId, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.charge(now, id, Resource::Time, TIME, micros);
    }

    /// Until when a neighbour that has made much work is not to be listened to; `None` when it may speak.
    pub(crate) fn neighbour_rests(&self, now: Time, id: NeighbourId) -> Option<Time> {
        let payer = self.payer(id)?;
        let until = holders(payer, Resource::Time).map(|(holder, share)| {
            let (holder, share) = self.accounts.find(payer, holder, share);
            self.accounts.bucket(holder, Resource::Time).settled_at(times(TIME, share))
        });
        until.max().filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::default();
        let (now, allowance) = (Time::from_millis(5_000), Allowance { rate: 20, burst: 30 });
        assert_eq!((0..100).filter(|_| bucket.take(now, allowance)).count(), 30);
        assert!(!bucket.take(now + Duration::from_millis(49), allowance));
        assert!(bucket.take(now + Duration::from_millis(50), allowance));
        assert!(!bucket.take(now + Duration::from_millis(50), allowance));
        let later = now + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| bucket.take(later, allowance)).count(), 30);
        let nothing = Allowance { rate: 0, burst: 30 };
        assert!(!Bucket::default().take(now, nothing), "a rate of nothing gives nothing");
    }

    #[test]
    fn accounts_are_bounded_and_those_that_owe_nothing_go_first() {
        let (mut accounts, now) = (Accounts::default(), Time::from_millis(5_000));
        let allowance = Allowance { rate: 10, burst: 10 };
        let payer = |n: u64| {
            let mut address = [0; 32];
            address[..8].copy_from_slice(&n.to_le_bytes());
            let stranger = Some(Location { host: n, network: n });
            Payer { address: Address::from_bytes(address), stranger }
        };
        for n in 0..10_000 {
            accounts.spend(now, payer(n), Resource::New, allowance, 80);
            assert!(accounts.len() <= MAX_ACCOUNTS + 1);
        }
        let configured = Payer { stranger: None, ..payer(20_000) };
        assert!(
            accounts.has(now, configured, Resource::New, allowance, 10),
            "strangers take nothing from it"
        );
        assert!(!accounts.has(now, payer(0), Resource::New, allowance, 1), "what is owed is not forgotten");
        assert!(!accounts.has(now, payer(20_000), Resource::New, allowance, 1), "who comes late shares");
        let later = now + Duration::from_secs(60);
        accounts.spend(later, payer(20_000), Resource::New, allowance, 1);
        assert_eq!(accounts.len(), 3, "its own, that of its host, that of its network");
        assert!(accounts.has(later, payer(20_000), Resource::New, allowance, 9));
        assert!(!accounts.has(later, payer(20_000), Resource::New, allowance, 10));
    }
}
