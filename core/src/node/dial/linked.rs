//! What the dial list learns of links: that they are in service, why they ended, and whether anything still asks for
//! them.

use super::*;
use crate::node::RemovedPeer;
use crate::node::dial::backoff::LAST_REST;

/// A configured peer that said goodbye is dialled again after this time: it may be starting again, and may know nobody
/// to dial itself. That it stops is not seen sooner.
pub(super) const GOODBYE_REST: Duration = Duration::from_millis(250);

impl Dials {
    /// A link over this path, to this address, is in service.
    pub(crate) fn in_service(&mut self, path: &Path, address: &Address) {
        for target in self.targets.values_mut().filter(|target| target.is_at(path, address)) {
            target.last_error = None;
            target.since = Timestamp::now();
        }
        for known in self.heard.values_mut().filter(|known| known.is_at(path, address)) {
            known.refusal = None;
        }
    }

    /// The link over this path came to nothing before it was in service.
    pub(crate) fn never_served(&mut self, now: Time, path: &Path, address: &Address, reason: &str) {
        for target in self.targets.values_mut().filter(|target| target.is_at(path, address)) {
            target.failed(now, reason.to_owned());
        }
    }

    /// The node with this address does not want a link, neither on this path nor on another. Returns how long it is
    /// left alone.
    pub(crate) fn refused(&mut self, now: Time, path: &Path, address: &Address, reason: &str) -> Duration {
        let mut rest = Duration::ZERO;
        for target in self.targets.values_mut().filter(|target| target.is_at(path, address)) {
            rest = rest.max(target.backoff.refused(now));
            target.attempts.stop();
            target.last_error = Some(reason.to_owned());
            target.since = Timestamp::now();
        }
        for known in self.heard.values_mut().filter(|known| known.is_at(path, address)) {
            rest = rest.max(known.backoff.refused(now));
            known.attempts.stop();
            known.refusal = Some((reason.to_owned(), Timestamp::now()));
        }
        rest
    }

    /// The nodes that were heard and have refused a link, once for each address.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        let mut all: BTreeMap<Address, Refusal> = BTreeMap::new();
        for known in self.heard.values() {
            let (Some((reason, since)), Some(address), Some(path)) =
                (&known.refusal, known.address, known.paths.first())
            else {
                continue;
            };
            all.entry(address).or_insert_with(|| Refusal {
                path: *path,
                address,
                reason: reason.clone(),
                since: *since,
            });
        }
        all.into_values().collect()
    }

    /// The neighbour on this path has said goodbye. It does not answer at the moment. When it starts again, it is heard
    /// under another instance, which is dialled at once.
    pub(crate) fn left(&mut self, now: Time, path: &Path, address: &Address) {
        let targets = self.targets.values_mut();
        for target in targets.filter(|target| target.address == Some(*address)) {
            target.backoff.rest(now + GOODBYE_REST);
            target.last_error = Some("the neighbour closed the link".to_owned());
            target.since = Timestamp::now();
        }
        for (_, known) in self.heard.iter_mut().filter(|((medium, _), known)| {
            *medium == path.netmod && (known.address == Some(*address) || known.paths.contains(path))
        }) {
            known.backoff.rest(now + LAST_REST);
        }
    }

    /// What becomes of a link whose peer was removed: it ends if nothing else asks for it.
    pub(crate) fn why_linked(&self, path: &Path, address: &Address, initiator: bool) -> RemovedPeer {
        let mut heard = self.heard.iter().filter(|((medium, _), _)| *medium == path.netmod);
        if self.is_configured(path, address) {
            RemovedPeer::DialledOtherwise
        } else if !initiator {
            RemovedPeer::DialledHere
        } else if heard.any(|(_, known)| known.is_at(path, address)) {
            RemovedPeer::Found
        } else {
            RemovedPeer::Ended
        }
    }
}
