//! The work that neighbours may cause, accounted by identity and not by the link of the moment.
//!
//! A neighbour has an account under its address. A stranger may have as many identities as it likes, so it draws on two more:
//! that of its host, which has four times as much, and that of its host's network, which has eight times as much. Accounts
//! outlive links: a new session finds what the one before has left. One that owes nothing is like a new one, and is forgotten.
//!
//! Strangers must not silence the others of their host or network by using up what all of them share. So each link of a stranger
//! has a [`Reserve`] to itself, which pays when only the shared accounts are empty. It begins empty and grows with the age of
//! the link, so that new identities bring nothing, and it is so small that all links together have no more than one network.
//! The shared accounts are charged for it as well: it is a share of what they grant, not an addition.

use std::collections::BTreeMap;
use std::time::Duration;

use super::token_bucket::{Allowance, Bucket};
use super::verify::SIGNATURES;
use super::{NeighbourId, Router};
use crate::address::Address;
use crate::time::Time;

/// Accounts that owe something, at most. Neighbours beyond that share one.
pub(super) const MAX_ACCOUNTS: usize = 1024;
/// So many times the allowance of a neighbour has a host of strangers, and so many times their network.
pub(super) const HOST: u32 = 4;
pub(super) const NETWORK: u32 = 8;
/// The link of a stranger has this part of a neighbour's allowance in reserve: 256 links have what a network has.
pub(super) const RESERVE: u32 = 32;

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

/// The accounts that pay for the work that a neighbour causes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChargedAccounts {
    address: Address,
    /// Its location and the reserve of its link, unless it was configured.
    stranger: Option<(Location, Reserve)>,
}

/// The work that accounts are kept of.
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

/// The part of its allowance that one link of a stranger shares with no other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserve([Bucket; 4]);

impl Reserve {
    /// That of a new link: empty.
    pub(super) fn new(now: Time) -> Self {
        let mut reserve = Reserve([Bucket::default(); 4]);
        for (resource, allowance) in
            [(Resource::Signatures, SIGNATURES), (Resource::Hashes, HASHES), (Resource::Time, TIME)]
        {
            reserve.spend(now, resource, allowance, part(allowance).burst);
        }
        reserve
    }

    fn bucket(&self, resource: Resource) -> Bucket {
        self.0.get(resource as usize).copied().unwrap_or_default()
    }

    fn has(&self, now: Time, resource: Resource, allowance: Allowance, tokens: u32) -> bool {
        self.bucket(resource).has(now, part(allowance), tokens)
    }

    fn spend(&mut self, now: Time, resource: Resource, allowance: Allowance, tokens: u32) {
        if let Some(bucket) = self.0.get_mut(resource as usize) {
            bucket.spend(now, part(allowance), tokens);
        }
    }
}

/// The part of an allowance that a link has in reserve.
fn part(Allowance { rate, burst }: Allowance) -> Allowance {
    Allowance { rate: rate / RESERVE, burst: burst / RESERVE }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum AccountKey {
    Neighbour(Address),
    Host(u64),
    Network(u64),
    /// All that there was no room for.
    Others,
}

/// What one holder has used up, by resource.
type Account = [Bucket; 4];

fn is_settled(account: &Account, now: Time) -> bool {
    account.iter().all(|bucket| bucket.is_full(now))
}

/// All accounts that are not settled.
#[derive(Default)]
pub(super) struct Accounts(BTreeMap<AccountKey, Account>);

/// The accounts that one draws on, and how many times the allowance each has.
fn account_keys(charged: ChargedAccounts, resource: Resource) -> impl Iterator<Item = (AccountKey, u32)> {
    let own = match (resource, charged.stranger) {
        (Resource::Time, None) => CONFIGURED_TIME,
        _ => 1,
    };
    let shared = charged.stranger.map(|(Location { host, network }, _)| {
        [(AccountKey::Host(host), HOST), (AccountKey::Network(network), NETWORK)]
    });
    std::iter::once((AccountKey::Neighbour(charged.address), own)).chain(shared.into_iter().flatten())
}

fn times(allowance: Allowance, share: u32) -> Allowance {
    let Allowance { rate, burst } = allowance;
    Allowance { rate: rate.saturating_mul(share), burst: burst.saturating_mul(share) }
}

impl Accounts {
    /// Its account, or that of all for whom there is no room. A neighbour that was configured always has its own: their number is
    /// bounded by that of the neighbours, and strangers that fill the table must not take from what it may do.
    fn find(&self, charged: ChargedAccounts, key: AccountKey, share: u32) -> (AccountKey, u32) {
        let is_kept = charged.stranger.is_none() || self.0.contains_key(&key) || self.0.len() < MAX_ACCOUNTS;
        if is_kept { (key, share) } else { (AccountKey::Others, HOST) }
    }

    fn bucket(&self, key: AccountKey, resource: Resource) -> Bucket {
        let account = self.0.get(&key);
        account.and_then(|account| account.get(resource as usize)).copied().unwrap_or_default()
    }

    /// Whether the accounts for which `counts` holds have so much left.
    fn all_have(
        &self,
        now: Time,
        charged: ChargedAccounts,
        (resource, allowance, tokens): (Resource, Allowance, u32),
        counts: impl Fn(AccountKey) -> bool,
    ) -> bool {
        account_keys(charged, resource).map(|(key, share)| self.find(charged, key, share)).all(
            |(key, share)| {
                !counts(key) || self.bucket(key, resource).has(now, times(allowance, share), tokens)
            },
        )
    }

    /// Whether so much is left of what a neighbour shares with others.
    fn others_left(&self, now: Time, charged: ChargedAccounts, amount: (Resource, Allowance, u32)) -> bool {
        self.all_have(now, charged, amount, |key| !matches!(key, AccountKey::Neighbour(_)))
    }

    /// Whether so much is left: in its own account, and in those that it shares or in its reserve.
    fn has(
        &self,
        now: Time,
        charged: ChargedAccounts,
        resource: Resource,
        allowance: Allowance,
        tokens: u32,
    ) -> bool {
        let amount = (resource, allowance, tokens);
        let reserve = charged.stranger.map(|(_, reserve)| reserve);
        self.all_have(now, charged, amount, |key| matches!(key, AccountKey::Neighbour(_)))
            && (self.others_left(now, charged, amount)
                || reserve.is_some_and(|reserve| reserve.has(now, resource, allowance, tokens)))
    }

    /// Takes so much, whether it is there or not.
    fn spend(
        &mut self,
        now: Time,
        charged: ChargedAccounts,
        resource: Resource,
        allowance: Allowance,
        tokens: u32,
    ) {
        for (key, share) in account_keys(charged, resource) {
            if self.0.len() >= MAX_ACCOUNTS && !self.0.contains_key(&key) {
                self.sweep(now);
            }
            let (key, share) = self.find(charged, key, share);
            let account = self.0.entry(key).or_default();
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
    fn charged_accounts(&self, id: NeighbourId) -> Option<ChargedAccounts> {
        let neighbour = self.neighbours.get(&id)?;
        let stranger = Some((neighbour.location, neighbour.reserve)).filter(|_| !neighbour.configured);
        Some(ChargedAccounts { address: neighbour.address, stranger })
    }

    /// The user asks for a link to this neighbour from now on, or does not any more.
    pub(crate) fn neighbour_configured(&mut self, id: NeighbourId, configured: bool) {
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            neighbour.configured = configured;
        }
    }

    /// Whether a neighbour has so many tokens left of something.
    pub(super) fn can_charge(
        &self,
        now: Time,
        id: NeighbourId,
        resource: Resource,
        allowance: Allowance,
        tokens: u32,
    ) -> bool {
        self.charged_accounts(id)
            .is_some_and(|charged| self.accounts.has(now, charged, resource, allowance, tokens))
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
        let Some(charged) = self.charged_accounts(id) else { return };
        let is_shared = self.accounts.others_left(now, charged, (resource, allowance, tokens));
        self.accounts.spend(now, charged, resource, allowance, tokens);
        if let Some(neighbour) = self.neighbours.get_mut(&id).filter(|_| !is_shared) {
            neighbour.reserve.spend(now, resource, allowance, tokens);
        }
    }

    /// Takes tokens from a neighbour that has lied. Its reserve pays, too: it is there for those that others punish.
    pub(super) fn charge_penalty(
        &mut self,
        now: Time,
        id: NeighbourId,
        resource: Resource,
        allowance: Allowance,
        tokens: u32,
    ) {
        let Some(charged) = self.charged_accounts(id) else { return };
        self.accounts.spend(now, charged, resource, allowance, tokens);
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            neighbour.reserve.spend(now, resource, allowance, tokens);
        }
    }

    /// Takes tokens from a neighbour if it has them.
    pub(super) fn try_charge(
        &mut self,
        now: Time,
        id: NeighbourId,
        resource: Resource,
        allowance: Allowance,
        tokens: u32,
    ) -> bool {
        let can_charge = self.can_charge(now, id, resource, allowance, tokens);
        if can_charge {
            self.charge(now, id, resource, allowance, tokens);
        }
        can_charge
    }

    /// A neighbour has made the shell work for so long.
    pub(crate) fn neighbour_worked(&mut self, now: Time, id: NeighbourId, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.charge(now, id, Resource::Time, TIME, micros);
    }

    /// Until when a neighbour that has made much work is not to be listened to; `None` when it may speak.
    pub(crate) fn neighbour_rests(&self, now: Time, id: NeighbourId) -> Option<Time> {
        let charged = self.charged_accounts(id)?;
        let (mut own, mut shared) = (Time::ZERO, Time::ZERO);
        for (key, share) in account_keys(charged, Resource::Time) {
            let (key, share) = self.accounts.find(charged, key, share);
            let settled = self.accounts.bucket(key, Resource::Time).settled_at(times(TIME, share));
            let until = if matches!(key, AccountKey::Neighbour(_)) { &mut own } else { &mut shared };
            *until = settled.max(*until);
        }
        if let Some((_, reserve)) = charged.stranger {
            shared = shared.min(reserve.bucket(Resource::Time).settled_at(part(TIME)));
        }
        Some(own.max(shared)).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_bounded_and_those_that_owe_nothing_go_first() {
        let (mut accounts, now) = (Accounts::default(), Time::from_millis(5_000));
        let allowance = Allowance { rate: 10, burst: 10 };
        let charged = |n: u64| {
            let mut address = [0; 32];
            address[..8].copy_from_slice(&n.to_le_bytes());
            let stranger = Some((Location { host: n, network: n }, Reserve::new(now)));
            ChargedAccounts { address: Address::from_bytes(address), stranger }
        };
        for n in 0..10_000 {
            accounts.spend(now, charged(n), Resource::New, allowance, 80);
            assert!(accounts.len() <= MAX_ACCOUNTS + 1);
        }
        let configured = ChargedAccounts { stranger: None, ..charged(20_000) };
        assert!(
            accounts.has(now, configured, Resource::New, allowance, 10),
            "strangers take nothing from it"
        );
        assert!(!accounts.has(now, charged(0), Resource::New, allowance, 1), "what is owed is not forgotten");
        assert!(!accounts.has(now, charged(20_000), Resource::New, allowance, 1), "a late comer shares");
        let later = now + Duration::from_secs(60);
        accounts.spend(later, charged(20_000), Resource::New, allowance, 1);
        assert_eq!(accounts.len(), 3, "its own, that of its host, that of its network");
        assert!(accounts.has(later, charged(20_000), Resource::New, allowance, 9));
        assert!(!accounts.has(later, charged(20_000), Resource::New, allowance, 10));
    }
}
