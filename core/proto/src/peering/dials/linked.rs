//! The effects of links on the dial list: their start, their end, and the reasons to keep them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Dials;
use super::peers::{RefusedPeer, SilentLink};
use crate::address::Address;
use crate::link::Path;
use crate::peering::dials::backoff::{Backoff, LAST_REST};
use crate::time::Time;
use crate::types::RemovedPeer;

/// The pause after which a configured peer that has sent a goodbye is dialled again. It may be restarting without a
/// peer to dial itself, and its restart is noticed only by dialling.
pub(super) const GOODBYE_REST: Duration = Duration::from_millis(250);

impl Dials {
    /// Records that a link over this path, to this address, is in service.
    pub(crate) fn in_service(&mut self, now: Time, path: &Path, address: &Address) {
        for target in self.targets.values_mut().filter(|target| target.is_at(path, address)) {
            target.last_error = None;
            target.since = now;
        }
        // A link in service has a place at the neighbour, so the refusal is over.
        for known in self.heard.values_mut().filter(|known| known.is_at(path, address)) {
            known.refusal = None;
        }
    }

    /// Records that the link over this path failed before it was in service.
    pub(crate) fn never_served(&mut self, now: Time, path: &Path, address: &Address, reason: &str) {
        for target in self.targets.values_mut().filter(|target| target.is_at(path, address)) {
            target.failed(now, reason.to_owned());
        }
    }

    /// Records that the link to this address has followed the neighbour to another path.
    pub(crate) fn moved(&mut self, from: &Path, to: &Path, address: &Address) {
        for ((medium, _), known) in &mut self.heard {
            if *medium == from.netmod && known.address == Some(*address) {
                known.moved(from, to);
            }
        }
    }

    /// Records that the link to this address has ended for silence.
    pub(crate) fn silenced(&mut self, link: SilentLink, address: &Address) {
        // The link is remembered, because beacons from elsewhere after it show that the node has moved.
        let medium = link.path.netmod;
        for ((on, _), known) in self.heard.iter_mut() {
            if *on == medium && known.address == Some(*address) {
                known.silenced = Some(link);
            }
        }
    }

    /// Records that the node with this address refuses a link, on any path. Returns the pause until the next dial.
    pub(crate) fn refused(&mut self, now: Time, path: &Path, address: &Address, reason: &str) -> Duration {
        let mut rest = Duration::ZERO;
        for target in self.targets.values_mut().filter(|target| target.is_at(path, address)) {
            rest = rest.max(target.backoff.refused(now));
            // The node has no place over any path, so the others are not tried.
            target.attempts.stop();
            target.last_error = Some(reason.to_owned());
            target.since = now;
        }
        for known in self.heard.values_mut().filter(|known| known.is_at(path, address)) {
            rest = rest.max(known.backoff.refused(now));
            known.attempts.stop();
            known.refusal = Some((reason.to_owned(), now));
        }
        rest
    }

    /// Records that the node with this address was refused by this node, and is not any more. Returns whether it is configured
    /// or was discovered, and is therefore dialled now.
    pub(crate) fn readmitted(&mut self, now: Time, path: &Path, address: &Address) -> bool {
        let mut is_known = false;
        for target in self.targets.values_mut().filter(|target| target.is_at(path, address)) {
            (target.backoff, target.last_error, is_known) = (Backoff::now(now), None, true);
        }
        for known in self.heard.values_mut().filter(|known| known.is_at(path, address)) {
            (known.backoff, known.refusal, is_known) = (Backoff::now(now), None, true);
        }
        is_known
    }

    /// The discovered nodes that have refused a link, once for each address.
    pub(crate) fn refusals(&self) -> Vec<RefusedPeer> {
        // By address, since one node may be discovered on several media.
        let mut all: BTreeMap<Address, RefusedPeer> = BTreeMap::new();
        for known in self.heard.values() {
            let (Some((reason, since)), Some(address), Some(path)) =
                (&known.refusal, known.address, known.paths.first())
            else {
                continue;
            };
            all.entry(address).or_insert_with(|| RefusedPeer {
                path: *path,
                address,
                reason: reason.clone(),
                since: *since,
            });
        }
        all.into_values().collect()
    }

    /// Records that the neighbour on this path has sent a goodbye. It does not answer now; after a restart its beacon
    /// has another instance, which is dialled at once.
    pub(crate) fn left(&mut self, now: Time, path: &Path, address: &Address) {
        let targets = self.targets.values_mut();
        for target in targets.filter(|target| target.address == Some(*address)) {
            target.backoff.rest(now + GOODBYE_REST);
            target.last_error = Some("the neighbour closed the link".to_owned());
            target.since = now;
        }
        for ((medium, _), known) in &mut self.heard {
            if *medium != path.netmod || !known.is_at(path, address) {
                continue;
            }
            known.backoff.rest(now + LAST_REST);
        }
    }

    /// Whether a node with this path or address is dialled anyway, because it is configured or was discovered.
    pub(crate) fn is_known(&self, path: &Path, address: &Address) -> bool {
        let mut heard = self.heard.iter().filter(|((medium, _), _)| *medium == path.netmod);
        self.is_configured(path, address) || heard.any(|(_, known)| known.is_at(path, address))
    }

    /// The effect of removing a peer on its link, which ends if there is no other reason for it.
    pub(crate) fn why_linked(&self, path: &Path, address: &Address, initiator: bool) -> RemovedPeer {
        if self.is_configured(path, address) {
            RemovedPeer::DialledOtherwise
        } else if !initiator {
            // The neighbour wants the link, so it stays whatever is configured here.
            RemovedPeer::DialledHere
        } else if self.is_known(path, address) {
            RemovedPeer::Found
        } else {
            RemovedPeer::Ended
        }
    }
}
