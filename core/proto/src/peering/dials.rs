//! The dial list: the peers to dial, configured or discovered on a medium, and the times to do it.

mod attempts;
mod backoff;
mod limits;
mod linked;
mod peers;
#[cfg(test)]
mod specification;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use self::attempts::Attempts;
use self::backoff::Backoff;
#[cfg(test)]
use self::backoff::LIVED;
#[cfg(test)]
use self::limits::ANSWER;
use self::limits::FORGET;
pub use self::peers::{ConfiguredPeer, RefusedPeer};
use self::peers::{DiscoveredPeer, in_order, is_cut_off, is_up, lives};
pub(super) use self::peers::{LiveLinks, SilentLink};
use crate::address::Address;
use crate::endpoint::Heard;
use crate::link::Path;
use crate::time::Time;
use crate::types::PeerState;

/// Discovered nodes on one medium to which a node has links or dials at the same time: enough that a random graph with
/// this degree is connected. A link occupies a slot; a dial occupies one for [`limits::ANSWER`] and then frees it, so that
/// nodes that do not answer delay no others.
const DIAL_ON_MEDIUM: usize = 16;
/// The period for which the order of discovered nodes stays, in microseconds. It changes so that, with more nodes than
/// slots, each has its turn.
const ORDER: u64 = 5_000_000;
/// Discovered nodes that are remembered, on all media together. The count is bounded, because any host can send beacons.
const HEARD: usize = 1024;
/// The peers to dial and their states.
#[derive(Default)]
pub(super) struct Dials {
    targets: BTreeMap<String, ConfiguredPeer>,
    /// The discovered nodes by medium and instance.
    heard: BTreeMap<(u32, u64), DiscoveredPeer>,
}

/// The slots of one medium.
#[derive(Default)]
struct DialSlots<'a> {
    /// The count of occupied slots, and the time when the first slot of a dial becomes free.
    taken: usize,
    next: Option<Time>,
    /// The nodes that may be dialled now or later, by instance.
    waiting: Vec<(u64, &'a DiscoveredPeer)>,
}

impl Dials {
    /// Adds a configured peer. Returns whether it is new.
    pub(super) fn add(&mut self, now: Time, uri: &str) -> bool {
        if self.targets.contains_key(uri) {
            return false;
        }
        let target = ConfiguredPeer {
            paths: Vec::new(),
            address: None,
            backoff: Backoff::now(now),
            resolving: false,
            attempts: Attempts::default(),
            last_error: None,
            since: now,
        };
        self.targets.insert(uri.to_owned(), target);
        true
    }

    /// Removes a configured peer; returns the paths on which it was dialled, and its address if that is known.
    pub(super) fn remove(&mut self, uri: &str) -> Option<(Vec<Path>, Option<Address>)> {
        self.targets.remove(uri).map(|target| (target.paths, target.address))
    }

    /// The configured peers and their states.
    pub(super) fn targets(&self, links: &impl LiveLinks) -> Vec<(&str, PeerState, &ConfiguredPeer)> {
        let state = |target: &ConfiguredPeer| match (
            lives(links, &target.paths, target.address.as_ref()),
            &target.last_error,
        ) {
            (true, _) => PeerState::Up,
            (false, None) => PeerState::Connecting,
            (false, Some(_)) => PeerState::Down,
        };
        self.targets.iter().map(|(uri, target)| (uri.as_str(), state(target), target)).collect()
    }

    /// Whether a configured peer is at this path or has this address.
    pub(super) fn is_configured(&self, path: &Path, address: &Address) -> bool {
        self.targets.values().any(|target| target.address == Some(*address) || target.paths.contains(path))
    }

    /// Handles the beacon of a node on a medium.
    pub(super) fn heard(&mut self, now: Time, medium: u32, heard: Heard) {
        let path = Path { netmod: medium, endpoint: heard.endpoint };
        if let Some(known) = self.heard.get_mut(&(medium, heard.instance)) {
            known.heard = now;
            known.found_at(now, path);
            return;
        }
        // Nodes without beacons are forgotten first, so that a new node takes the place of none that is still there.
        self.heard.retain(|_, known| now.since(known.heard) < FORGET);
        if self.heard.len() >= HEARD {
            self.make_room();
        }
        if self.heard.len() < HEARD {
            let candidate = DiscoveredPeer {
                paths: vec![path],
                heard_on: vec![(path, now)],
                address: None,
                heard: now,
                backoff: Backoff::now(now),
                attempts: Attempts::default(),
                failures: 0,
                spare: None,
                answered: None,
                refusal: None,
                silenced: None,
            };
            self.heard.insert((medium, heard.instance), candidate);
        }
    }

    /// Forgets one node without a link: the one with the most failures, and of several the one whose last beacon is the
    /// oldest. A beacon proves nothing, so an attacker can invent nodes; those that have answered a dial are kept.
    fn make_room(&mut self) {
        let idle =
            self.heard.iter().filter(|(_, known)| known.attempts.are_over() && known.address.is_none());
        let least = idle.max_by_key(|(key, known)| (known.failures, Reverse(known.heard), **key));
        if let Some(key) = least.map(|(key, _)| *key) {
            self.heard.remove(&key);
        }
    }

    /// Handles the removal of a medium: the nodes that were discovered on it are forgotten, and the dials of configured
    /// peers over it fail.
    pub(super) fn medium_gone(&mut self, now: Time, medium: u32) {
        self.heard.retain(|(known, _), _| *known != medium);
        // Collected first, because a failure changes the targets.
        let paths: Vec<Path> =
            self.targets.values().flat_map(|target| target.paths.iter()).copied().collect();
        for path in paths.iter().filter(|path| path.netmod == medium) {
            self.failed(now, path, "its netmod was removed");
        }
    }

    /// The configured peers to resolve and dial now. They count as being dialled from here on, so that none is looked up twice at a
    /// time.
    pub(super) fn due(&mut self, now: Time, links: &impl LiveLinks) -> Vec<String> {
        let mut due = Vec::new();
        for (uri, target) in &mut self.targets {
            if target.is_idle()
                && target.next_dial(links) <= now
                && !lives(links, &target.paths, target.address.as_ref())
            {
                target.resolving = true;
                due.push(uri.clone());
            }
        }
        due
    }

    /// The slots of each medium: first those for nodes without a link there, then those for nodes whose link a new session
    /// would replace. A replacement takes no further place of a neighbour, so it has slots of its own.
    fn places(&self, now: Time, links: &impl LiveLinks) -> BTreeMap<(u32, bool), DialSlots<'_>> {
        let mut media: BTreeMap<(u32, bool), DialSlots> = BTreeMap::new();
        for ((medium, instance), known) in &self.heard {
            let lives = known.lives(*medium, links);
            let places = media.entry((*medium, !lives && known.has_place(*medium, links))).or_default();
            let held = known.answering(now);
            if lives {
                places.taken = places.taken.saturating_add(1);
            } else if let Some(until) = held {
                places.taken = places.taken.saturating_add(1);
                places.next = places.next.into_iter().chain([until]).min();
            } else if known.attempts.are_over()
                && known.next_dial(*medium, links) < known.heard + FORGET
                && now.since(known.heard) < FORGET
                && known.can_be_dialled(*medium, links)
            {
                places.waiting.push((*instance, known));
            }
        }
        media
    }

    /// The endpoints of discovered nodes to dial now, as many as there are slots. Nodes with fewer failures come first.
    /// Among equals each node chooses those with the highest rendezvous hash of itself and the period, so that every
    /// node chooses others, and each is chosen at some time.
    pub(super) fn due_heard(&mut self, now: Time, own: &Address, links: &impl LiveLinks) -> Vec<Path> {
        let order = now.as_micros().checked_div(ORDER).unwrap_or_default().to_le_bytes();
        let mut chosen = Vec::new();
        // Room is kept for the dials that may still be answered, since each of them may become a link.
        let mut room = links.room().saturating_sub(self.answering(now, links).count());
        for ((medium, has_place), places) in self.places(now, links) {
            let free = DIAL_ON_MEDIUM.saturating_sub(places.taken);
            let free = if has_place { free } else { free.min(room) };
            let due = places.waiting.into_iter().filter(|(_, known)| known.next_dial(medium, links) <= now);
            let mut ranked: Vec<(u32, Reverse<[u8; 32]>, u64)> = due
                .map(|(instance, known)| {
                    let rank = blake3::keyed_hash(own.as_bytes(), &[instance.to_le_bytes(), order].concat());
                    (known.failures, Reverse(*rank.as_bytes()), instance)
                })
                .collect();
            ranked.sort_unstable();
            if !has_place {
                room = room.saturating_sub(ranked.len().min(free));
            }
            chosen.extend(ranked.into_iter().take(free).map(|(_, _, instance)| (medium, instance)));
        }
        let mut due = Vec::new();
        for key in chosen {
            if let Some(known) = self.heard.get_mut(&key) {
                known.attempts.begin(now, known.to_dial(key.0, links));
                due.extend(known.attempts.due(now));
            }
        }
        due
    }

    /// The times until which discovered nodes reserve room for a link, because they were dialled so recently that an
    /// answer may come.
    fn answering<'a>(&'a self, now: Time, links: &'a impl LiveLinks) -> impl Iterator<Item = Time> + 'a {
        let newcomers = self.heard.iter().filter(|((medium, _), known)| !known.has_place(*medium, links));
        newcomers.filter_map(move |(_, known)| known.answering(now))
    }

    /// The further paths to dial now, of peers whose earlier paths have not answered yet.
    pub(super) fn due_later(&mut self, now: Time, links: &impl LiveLinks) -> Vec<Path> {
        let mut due = Vec::new();
        // A peer that has been reached on one path is not dialled on the others, since the new session would replace the first.
        for target in self.targets.values_mut() {
            if target.attempts.deadline().is_some_and(|next| next <= now) {
                match lives(links, &target.paths, target.address.as_ref()) {
                    true => target.attempts.stop(),
                    false => due.extend(target.attempts.due(now)),
                }
            }
        }
        for ((medium, _), known) in &mut self.heard {
            if known.attempts.deadline().is_some_and(|next| next <= now) {
                match known.lives(*medium, links) {
                    true => known.attempts.stop(),
                    false => due.extend(known.attempts.due(now)),
                }
            }
        }
        due
    }

    /// Handles the result of a look-up. Returns the paths to dial first.
    pub(super) fn resolved(
        &mut self,
        now: Time,
        uri: &str,
        result: Result<Vec<Path>, String>,
        links: &impl LiveLinks,
    ) -> Vec<Path> {
        // The peer may have been removed during the look-up, so there is nothing to dial.
        let Some(target) = self.targets.get_mut(uri) else { return Vec::new() };
        target.resolving = false;
        match result {
            // It was discovered before, and its link is the one that it would be dialled for.
            Ok(paths) if lives(links, &paths, target.address.as_ref()) => {
                target.paths = paths;
                Vec::new()
            }
            Ok(paths) => {
                let order = in_order(links, &paths);
                target.attempts.begin(now, if order.is_empty() { paths.clone() } else { order });
                target.paths = paths;
                target.attempts.due(now).into_iter().collect()
            }
            Err(error) => {
                target.failed(now, error);
                Vec::new()
            }
        }
    }

    /// Handles a handshake that failed. Several peers may have this path, so it is noted for each.
    pub(super) fn failed(&mut self, now: Time, path: &Path, reason: &str) {
        for target in self.targets.values_mut() {
            if let Some(reason) = target.attempts.failed(now, path, reason) {
                target.failed(now, reason);
            }
        }
        self.heard.values_mut().for_each(|known| known.failed(now, path, reason));
    }

    /// Records that a medium has refused to send a handshake frame on this path. Once that is so on all paths of a peer, it is the
    /// reason why that is not reached, though it is still dialled. `unsent` has all such paths and their reasons.
    pub(super) fn not_sent(&mut self, now: Time, path: &Path, unsent: &HashMap<Path, String>) {
        let Some(error) = unsent.get(path) else { return };
        for target in self.targets.values_mut().filter(|target| target.attempts.are_unsent(path, unsent)) {
            // The time stays that of the first refusal, so that the status shows how long it has lasted.
            if target.last_error.as_ref() != Some(error) {
                (target.last_error, target.since) = (Some(error.clone()), now);
            }
        }
    }

    /// A handshake succeeded on this path, with this address. `links` has the links before it.
    pub(super) fn established(&mut self, now: Time, path: &Path, address: &Address, links: &impl LiveLinks) {
        for target in self.targets.values_mut().filter(|target| target.paths.contains(path)) {
            target.address = Some(*address);
            target.attempts.stop();
            let replaces = is_cut_off(links, &target.paths) || is_up(links, path.netmod, address);
            target.backoff.established(now, replaces);
        }
        let of_path = |known: &&mut DiscoveredPeer| known.paths.contains(path) || known.attempts.awaits(path);
        for known in self.heard.values_mut().filter(of_path) {
            known.established(now, path, address, links);
        }
    }

    /// Records that a node has answered on this path with an address to which there is a link over another path. The first
    /// address that has answered for a discovered node stays.
    pub(crate) fn reached(&mut self, now: Time, path: &Path, address: &Address) {
        for target in self.targets.values_mut().filter(|target| target.paths.contains(path)) {
            target.address = Some(*address);
            target.attempts.stop();
            if target.last_error.take().is_some() {
                target.since = now;
            }
        }
        let of_path = |known: &&mut DiscoveredPeer| known.paths.contains(path) || known.attempts.awaits(path);
        for known in self.heard.values_mut().filter(of_path) {
            known.reached(now, path, address);
        }
    }

    /// The time at which a dial may be due next. Only nodes that will be dialled then count, or else the task would
    /// wake for nothing.
    pub(super) fn next_deadline(&self, now: Time, links: &impl LiveLinks) -> Option<Time> {
        let targets = self
            .targets
            .values()
            .filter(|target| target.is_idle() && !lives(links, &target.paths, target.address.as_ref()))
            .map(|target| target.next_dial(links));
        let attempts = self.targets.values().map(|target| &target.attempts);
        let attempts = attempts.chain(self.heard.values().map(|known| &known.attempts));
        let later = attempts.filter_map(Attempts::deadline);
        let room = links.room();
        let holding = self.answering(now, links).count();
        let room_again = if holding < room { None } else { self.answering(now, links).min() };
        let heard = self.places(now, links).into_iter().filter_map(|((medium, has_place), places)| {
            let due = places.waiting.iter().map(|(_, known)| known.next_dial(medium, links)).min()?;
            // Without a place, when the next one may be free. Dials on any medium hold room.
            let place = if places.taken < DIAL_ON_MEDIUM { due } else { places.next? };
            let time = due.max(place);
            match has_place {
                true => Some(time),
                false => (room > 0).then(|| time.max(room_again.unwrap_or(time))),
            }
        });
        targets.chain(later).chain(heard).min()
    }
}

#[cfg(test)]
mod tests;
