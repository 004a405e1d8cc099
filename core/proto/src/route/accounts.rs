//! Accounts of the work that neighbours cause, kept by identity and not by link.
//!
//! A neighbour has an account under its address. An unconfigured neighbour (a *stranger*) draws on two more, because
//! it may create any number of identities: the account of its host, with four times the allowance, and that of its
//! host's network, with eight times the allowance. Accounts outlive links, so that a new session does not begin with a
//! new allowance. A full account equals a new one and is removed.
//!
//! One stranger would otherwise be able to use up what all neighbours of its host or network share. Therefore each
//! link of a stranger has a [`Reserve`] of its own, which pays when only the shared accounts are empty. It begins
//! empty and fills with the age of the link, so that new identities gain nothing by it, and it is so small that all
//! links together have no more than one network. The shared accounts are charged for it as well, because it is a share
//! of what they grant and not an addition.

use std::collections::BTreeMap;

use crate::address::Address;
use crate::rate_limit::{Rate, RateLimiter};
use crate::time::Time;

/// Signatures that are verified for one neighbour. One that does not hold counts as [`FORGED`], so that a forger has
/// about 30 a second verified.
pub(super) const SIGNATURES: Rate = Rate::each_second(2000, 4096);

/// Bound of the accounts that are not full. Strangers beyond it share one account, so that new addresses cannot fill
/// memory.
pub(super) const MAX_ACCOUNTS: usize = 1024;
/// Allowance of a host of strangers and of their network, in allowances of one neighbour. Both are small, because
/// addresses of one network are cheap to obtain.
pub(super) const HOST: u32 = 4;
pub(super) const NETWORK: u32 = 8;
/// Part of a neighbour's allowance that the link of a stranger has in reserve: 256 links have the allowance of one
/// network.
pub(super) const RESERVE: u32 = 32;

/// The place of an unconfigured neighbour in the network, which decides whose accounts it shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The host: for IP the address.
    pub host: u64,
    /// The network that the host shares with others: for IP the /24 or /64, because one customer usually controls a
    /// whole /64.
    pub network: u64,
}

impl Location {
    /// A location of its own, for a neighbour whose medium gives none.
    pub(super) fn of(address: &Address) -> Self {
        let alone = crate::wire::route::key_hash(address);
        Location { host: alone, network: alone }
    }
}

/// The accounts that pay for the work of one neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChargedAccounts {
    pub(super) address: Address,
    /// Location and reserve of the link; `None` if the user configured the neighbour.
    pub(super) stranger: Option<(Location, Reserve)>,
}

/// The kinds of work that accounts limit. Each has a bucket of its own, so that a neighbour that introduces many
/// destinations can still have proofs verified.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resource {
    /// Destinations that were not in the table.
    New = 0,
    /// Verified signatures.
    Signatures = 1,
    /// Rounds of hop chains.
    Hashes = 2,
    /// Microseconds of the router's time.
    Time = 3,
}

/// Rounds of hop chains: about 1 % of a processor, after a burst that verifies a table of 32 768 destinations, because
/// a neighbour sends its whole table when its link comes up.
pub(super) const HASHES: Rate = Rate::each_second(1 << 17, 1 << 21);
/// Rounds that a proof counts for when it does not hold. A neighbour that sends false proofs has 32 a second verified,
/// so that guessing a chain value costs more than it can gain.
pub(super) const FALSE_PROOF: u32 = HASHES.tokens / 32;
/// Router time of a stranger: 5 % of a processor, after half a second of it.
pub(super) const TIME: Rate = Rate::each_second(50_000, 500_000);
/// Router time of a configured neighbour, in times of a stranger. It is larger because the user has chosen the
/// neighbour.
pub(super) const CONFIGURED_TIME: u32 = 4;

/// A number of tokens of a resource, of which a neighbour gets new ones at a rate.
#[derive(Clone, Copy)]
pub(super) struct ResourceTokens {
    resource: Resource,
    allowance: Rate,
    tokens: u32,
}

impl Resource {
    /// So many tokens of it, by this allowance of one neighbour.
    pub(super) fn tokens(self, allowance: Rate, tokens: u32) -> ResourceTokens {
        ResourceTokens { resource: self, allowance, tokens }
    }
}

/// The part of its allowance that one link of a stranger shares with no other.
///
/// Reserves of destinations are unused, because new destinations of strangers take turns (see `quota`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserve([RateLimiter; 4]);

impl Reserve {
    /// The reserve of a new link. It is empty, because otherwise a stranger would refill it by reconnecting.
    pub(super) fn new(now: Time) -> Self {
        let mut reserve = Reserve([RateLimiter::default(); 4]);
        for (resource, allowance) in
            [(Resource::Signatures, SIGNATURES), (Resource::Hashes, HASHES), (Resource::Time, TIME)]
        {
            reserve.spend(now, resource.tokens(allowance, part(allowance).burst));
        }
        reserve
    }

    fn bucket(&self, resource: Resource) -> RateLimiter {
        self.0.get(resource as usize).copied().unwrap_or_default()
    }

    fn has(&self, now: Time, amount: ResourceTokens) -> bool {
        self.bucket(amount.resource).has(now, part(amount.allowance), amount.tokens)
    }

    pub(super) fn spend(&mut self, now: Time, amount: ResourceTokens) {
        if let Some(bucket) = self.0.get_mut(amount.resource as usize) {
            bucket.spend(now, part(amount.allowance), amount.tokens);
        }
    }
}

/// The part of an allowance that a link has in reserve.
fn part(rate: Rate) -> Rate {
    rate.part(RESERVE)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
/// The identity of an account.
enum AccountKey {
    Neighbour(Address),
    Host(u64),
    Network(u64),
    /// The account of all strangers for which the table had no room.
    Others,
}

/// The buckets of one account, by [`Resource`].
type Account = [RateLimiter; 4];

fn is_settled(account: &Account, now: Time) -> bool {
    account.iter().all(|bucket| bucket.is_full(now))
}

/// All accounts that are not full. Full ones are absent because they equal new ones.
#[derive(Default)]
pub(super) struct Accounts(BTreeMap<AccountKey, Account>);

/// The accounts that a neighbour draws on, each with its allowance in allowances of one neighbour.
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

impl Accounts {
    /// The account under this key, or the common one of all strangers without room. A configured neighbour always has
    /// an account of its own: the number of those is bounded by that of the neighbours, and strangers that fill the
    /// table would otherwise take from its allowance.
    fn find(&self, charged: ChargedAccounts, key: AccountKey, share: u32) -> (AccountKey, u32) {
        let is_kept = charged.stranger.is_none() || self.0.contains_key(&key) || self.0.len() < MAX_ACCOUNTS;
        if is_kept { (key, share) } else { (AccountKey::Others, HOST) }
    }

    fn bucket(&self, key: AccountKey, resource: Resource) -> RateLimiter {
        let account = self.0.get(&key);
        account.and_then(|account| account.get(resource as usize)).copied().unwrap_or_default()
    }

    /// Whether all accounts that `counts` selects have that many tokens left.
    fn all_have(
        &self,
        now: Time,
        charged: ChargedAccounts,
        amount: ResourceTokens,
        counts: impl Fn(AccountKey) -> bool,
    ) -> bool {
        let ResourceTokens { resource, allowance, tokens } = amount;
        account_keys(charged, resource).map(|(key, share)| self.find(charged, key, share)).all(
            |(key, share)| {
                !counts(key) || self.bucket(key, resource).has(now, allowance.times(share), tokens)
            },
        )
    }

    /// Whether the accounts that a neighbour shares with others have that much left.
    pub(super) fn others_left(&self, now: Time, charged: ChargedAccounts, amount: ResourceTokens) -> bool {
        self.all_have(now, charged, amount, |key| !matches!(key, AccountKey::Neighbour(_)))
    }

    /// Whether a neighbour's own account has that much left, and so have the accounts that it shares or else its
    /// reserve.
    pub(super) fn has(&self, now: Time, charged: ChargedAccounts, amount: ResourceTokens) -> bool {
        let reserve = charged.stranger.map(|(_, reserve)| reserve);
        self.all_have(now, charged, amount, |key| matches!(key, AccountKey::Neighbour(_)))
            && (self.others_left(now, charged, amount)
                || reserve.is_some_and(|reserve| reserve.has(now, amount)))
    }

    /// Takes the tokens whether they are available or not, because the work is already done.
    pub(super) fn spend(&mut self, now: Time, charged: ChargedAccounts, amount: ResourceTokens) {
        let ResourceTokens { resource, allowance, tokens } = amount;
        for (key, share) in account_keys(charged, resource) {
            if self.0.len() >= MAX_ACCOUNTS && !self.0.contains_key(&key) {
                self.sweep(now);
            }
            let (key, share) = self.find(charged, key, share);
            let account = self.0.entry(key).or_default();
            if let Some(bucket) = account.get_mut(resource as usize) {
                bucket.spend(now, allowance.times(share), tokens);
            }
        }
    }

    /// The time at which the work that a neighbour has caused is paid for, by its own account and by the accounts that it
    /// shares or else its reserve.
    pub(super) fn time_settled_at(&self, charged: ChargedAccounts) -> Time {
        let (mut own, mut shared) = (Time::ZERO, Time::ZERO);
        for (key, share) in account_keys(charged, Resource::Time) {
            let (key, share) = self.find(charged, key, share);
            let settled = self.bucket(key, Resource::Time).settled_at(TIME.times(share));
            let until = if matches!(key, AccountKey::Neighbour(_)) { &mut own } else { &mut shared };
            *until = settled.max(*until);
        }
        if let Some((_, reserve)) = charged.stranger {
            shared = shared.min(reserve.bucket(Resource::Time).settled_at(part(TIME)));
        }
        own.max(shared)
    }

    /// Removes full accounts.
    pub(super) fn sweep(&mut self, now: Time) {
        self.0.retain(|_, account| !is_settled(account, now));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn accounts_are_bounded_and_those_that_owe_nothing_go_first() {
        let (mut accounts, now) = (Accounts::default(), Time::from_millis(5_000));
        let allowance = Rate::each_second(10, 10);
        let charged = |n: u64| {
            let mut address = [0; 32];
            address[..8].copy_from_slice(&n.to_le_bytes());
            let stranger = Some((Location { host: n, network: n }, Reserve::new(now)));
            ChargedAccounts { address: Address::from_bytes(address), stranger }
        };
        for n in 0..10_000 {
            accounts.spend(now, charged(n), Resource::New.tokens(allowance, 80));
            assert!(accounts.len() <= MAX_ACCOUNTS + 1);
        }
        let configured = ChargedAccounts { stranger: None, ..charged(20_000) };
        assert!(
            accounts.has(now, configured, Resource::New.tokens(allowance, 10)),
            "strangers take nothing from it"
        );
        assert!(
            !accounts.has(now, charged(0), Resource::New.tokens(allowance, 1)),
            "what is owed is not forgotten"
        );
        assert!(
            !accounts.has(now, charged(20_000), Resource::New.tokens(allowance, 1)),
            "a late comer shares"
        );
        let later = now + Duration::from_secs(60);
        accounts.spend(later, charged(20_000), Resource::New.tokens(allowance, 1));
        assert_eq!(accounts.len(), 3, "its own, that of its host, that of its network");
        assert!(accounts.has(later, charged(20_000), Resource::New.tokens(allowance, 9)));
        assert!(!accounts.has(later, charged(20_000), Resource::New.tokens(allowance, 10)));
    }
}
