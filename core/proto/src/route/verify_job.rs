//! Verification of signatures: a computation that the shell runs where it delays neither packets nor routes.

use std::sync::Arc;

use super::announce_cache::AnnounceCache;
use crate::identity;
use crate::wire::route::{Chain, SignedAnnounce, leads_to};

/// An announce of a job.
#[derive(Clone, Debug)]
pub(super) struct VerifyItem {
    pub(super) ticket: u64,
    pub(super) announce: Arc<SignedAnnounce>,
    /// The hops that its sender claims, and the chain value that proves them.
    pub(super) claim: Option<(u8, Chain)>,
}

/// Signatures to be verified: a pure computation, which is to be run where it delays neither packets nor routes.
#[derive(Clone, Debug)]
pub struct VerifyJob {
    pub(super) items: Vec<VerifyItem>,
    pub(super) cache: Option<Arc<AnnounceCache>>,
}

impl VerifyJob {
    /// The number of signatures.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }
}

impl PartialEq for VerifyJob {
    fn eq(&self, other: &Self) -> bool {
        let tickets = |job: &Self| job.items.iter().map(|item| item.ticket).collect::<Vec<_>>();
        tickets(self) == tickets(other)
    }
}

impl Eq for VerifyJob {}

/// The results of a [`VerifyJob`], for [`Router::verified`](super::Router::verified).
#[derive(Clone, Debug)]
pub struct VerifyResults(pub(super) Vec<VerifyOutcome>);

/// The result for one announce.
#[derive(Clone, Debug)]
pub(super) struct VerifyOutcome {
    pub(super) ticket: u64,
    /// The announce; `None` if its signature does not hold.
    pub(super) announce: Option<Arc<SignedAnnounce>>,
    /// The claim, if it holds.
    pub(super) proof: Option<(u8, Chain)>,
}

impl VerifyJob {
    /// Verifies all signatures as one batch, and one by one if that fails, so that exactly the bad ones are refused.
    pub fn run(self) -> VerifyResults {
        let signed: Vec<Vec<u8>> =
            self.items.iter().map(|item| item.announce.signed().unwrap_or_default()).collect();
        let all = self.items.iter().zip(&signed);
        let claims: Vec<_> =
            all.map(|(item, signed)| (&item.announce.dst, &signed[..], &item.announce.signature)).collect();
        let good = identity::verify_all(&claims);
        let outcomes = self.items.into_iter().zip(good).map(|(item, good)| {
            let VerifyItem { ticket, announce, claim } = item;
            if !good {
                return VerifyOutcome { ticket, announce: None, proof: None };
            }
            if let Some(cache) = &self.cache {
                cache.put(announce.clone());
            }
            let proof = claim.filter(|claim| leads_to(&announce.dst, announce.seq, *claim, &announce.anchor));
            VerifyOutcome { ticket, announce: Some(announce), proof }
        });
        VerifyResults(outcomes.collect())
    }
}
