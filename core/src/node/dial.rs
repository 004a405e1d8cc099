//! Whom to dial, and when: the peers that were configured, and those heard on a medium. Without I/O: the
//! [link task](super::tasks::peering) acts on what this decides.

mod attempts;
mod backoff;
mod linked;
mod peers;
#[cfg(test)]
mod specification;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use self::attempts::{Attempts, STAGGER};
use self::backoff::Backoff;
#[cfg(test)]
use self::backoff::LIVED;
use self::peers::{Candidate, in_order, is_cut_off, lives};
pub(crate) use self::peers::{LiveLinks, Refusal, SilentLink, Target};
use crate::address::Address;
use crate::link::Path;
use crate::netmod::Heard;
use crate::time::Time;
use crate::types::{PeerState, Timestamp};

/// How many of those heard on one medium a node has links to, or is dialling: enough that a random graph of them is connected.
/// A place is held by a link; a dial has it for [`ANSWER`], and then leaves it to the next while it goes on.
const DIAL_ON_MEDIUM: usize = 16;
/// In so long an answer comes on most media. With every place free, more are dialled in a second than a netmod passes on of a
/// flood of beacons.
const ANSWER: Duration = STAGGER;
/// How long the order holds in which those heard are dialled, in microseconds. When there are more than places, all have their
/// turn in time.
const ORDER: u64 = 5_000_000;
/// How many of those heard are remembered, on all media together.
const HEARD: usize = 1024;
/// Who was not heard for so long is forgotten: three of the longest beacon intervals.
const FORGET: Duration = Duration::from_secs(100);

/// Whom to dial, and when.
#[derive(Default)]
pub(crate) struct Dials {
    targets: BTreeMap<String, Target>,
    /// By medium and instance.
    heard: BTreeMap<(u32, u64), Candidate>,
}

/// How the places of a medium stand.
#[derive(Default)]
struct Places<'a> {
    /// How many are held, and when the first that a dial has comes free.
    taken: usize,
    next: Option<Time>,
    /// Who may have one, now or later, by instance.
    waiting: Vec<(u64, &'a Candidate)>,
}

impl Dials {
    /// Adds a configured peer. Returns whether it is new.
    pub(crate) fn add(&mut self, now: Time, uri: &str) -> bool {
        if self.targets.contains_key(uri) {
            return false;
        }
        let target = Target {
            paths: Vec::new(),
            address: None,
            backoff: Backoff::now(now),
            resolving: false,
            attempts: Attempts::default(),
            last_error: None,
            since: Timestamp::now(),
        };
        self.targets.insert(uri.to_owned(), target);
        true
    }

    /// Removes a configured peer; returns the paths it was dialled on, and its address as far as it is known.
    pub(crate) fn remove(&mut self, uri: &str) -> Option<(Vec<Path>, Option<Address>)> {
        self.targets.remove(uri).map(|target| (target.paths, target.address))
    }

    /// The configured peers and how they stand.
    pub(crate) fn targets<'a>(
        &'a self,
        alive: &'a impl LiveLinks,
    ) -> impl Iterator<Item = (&'a str, PeerState, &'a Target)> {
        self.targets.iter().map(move |(uri, target)| {
            let state = match (lives(alive, &target.paths, target.address.as_ref()), &target.last_error) {
                (true, _) => PeerState::Up,
                (false, None) => PeerState::Connecting,
                (false, Some(_)) => PeerState::Down,
            };
            (uri.as_str(), state, target)
        })
    }

    /// Whether a link on this path, to this address, was asked for by name.
    pub(crate) fn is_configured(&self, path: &Path, address: &Address) -> bool {
        self.targets.values().any(|target| target.address == Some(*address) || target.paths.contains(path))
    }

    /// Somebody was heard on a medium.
    pub(crate) fn heard(&mut self, now: Time, medium: u32, heard: Heard) {
        let path = Path { netmod: medium, endpoint: heard.endpoint };
        if let Some(known) = self.heard.get_mut(&(medium, heard.instance)) {
            known.heard = now;
            known.found_at(now, path);
            return;
        }
        self.heard.retain(|_, known| now.since(known.heard) < FORGET);
        if self.heard.len() >= HEARD {
            self.make_room();
        }
        if self.heard.len() < HEARD {
            let candidate = Candidate {
                paths: vec![path],
                heard_on: vec![(path, now)],
                address: None,
                heard: now,
                backoff: Backoff::now(now),
                attempts: Attempts::default(),
                failures: 0,
                spare: false,
                refusal: None,
            };
            self.heard.insert((medium, heard.instance), candidate);
        }
    }

    /// Forgets who has failed most often, of those without a link the one heard longest ago. Anybody may say that there are many;
    /// those who have answered stay.
    fn make_room(&mut self) {
        let idle =
            self.heard.iter().filter(|(_, known)| known.attempts.are_over() && known.address.is_none());
        let least = idle.max_by_key(|(key, known)| (known.failures, Reverse(known.heard), **key));
        if let Some(key) = least.map(|(key, _)| *key) {
            self.heard.remove(&key);
        }
    }

    /// The configured peers that are to be resolved and dialled now. They count as being dialled from here on.
    pub(crate) fn due(&mut self, now: Time, alive: &impl LiveLinks) -> Vec<String> {
        let mut due = Vec::new();
        for (uri, target) in &mut self.targets {
            if target.is_idle()
                && target.next_dial(alive) <= now
                && !lives(alive, &target.paths, target.address.as_ref())
            {
                target.resolving = true;
                due.push(uri.clone());
            }
        }
        due
    }

    /// How each medium stands.
    fn places(&self, now: Time, alive: &impl LiveLinks) -> BTreeMap<u32, Places<'_>> {
        let mut media: BTreeMap<u32, Places> = BTreeMap::new();
        for ((medium, instance), known) in &self.heard {
            let places = media.entry(*medium).or_default();
            let held = known.answering(now);
            if known.lives(*medium, alive) {
                places.taken += 1;
            } else if let Some(until) = held {
                places.taken += 1;
                places.next = places.next.into_iter().chain([until]).min();
            } else if known.attempts.are_over()
                && known.next_dial(alive) < known.heard + FORGET
                && now.since(known.heard) < FORGET
            {
                places.waiting.push((*instance, known));
            }
        }
        media
    }

    /// The endpoints to dial now among those heard: as many as there are places. Who has failed less often comes first; of many
    /// who have not, each node picks those whose rendezvous hash with itself and the time is highest, so that every node picks
    /// others, and none is passed over for ever.
    pub(crate) fn due_heard(&mut self, now: Time, own: &Address, alive: &impl LiveLinks) -> Vec<Path> {
        let order = now.as_micros().checked_div(ORDER).unwrap_or_default().to_le_bytes();
        let mut chosen = Vec::new();
        let mut room = alive.room().saturating_sub(self.answering(now).count());
        for (medium, places) in self.places(now, alive) {
            let free = DIAL_ON_MEDIUM.saturating_sub(places.taken).min(room);
            let due = places.waiting.into_iter().filter(|(_, known)| known.next_dial(alive) <= now);
            let mut ranked: Vec<(u32, Reverse<[u8; 32]>, u64)> = due
                .map(|(instance, known)| {
                    let rank = blake3::keyed_hash(own.as_bytes(), &[instance.to_le_bytes(), order].concat());
                    (known.failures, Reverse(*rank.as_bytes()), instance)
                })
                .collect();
            ranked.sort_unstable();
            room = room.saturating_sub(ranked.len().min(free));
            chosen.extend(ranked.into_iter().take(free).map(|(_, _, instance)| (medium, instance)));
        }
        let mut due = Vec::new();
        for key in chosen {
            if let Some(known) = self.heard.get_mut(&key) {
                known.attempts.begin(now, known.to_dial(key.0, alive));
                due.extend(known.attempts.due(now));
            }
        }
        due
    }

    /// Until when each of those heard holds room for a link that has been dialled so lately that an answer may come.
    fn answering(&self, now: Time) -> impl Iterator<Item = Time> + '_ {
        self.heard.values().filter_map(move |known| known.answering(now))
    }

    /// The further paths to dial now, of the peers whose paths before have not answered yet.
    pub(crate) fn due_later(&mut self, now: Time, alive: &impl LiveLinks) -> Vec<Path> {
        let mut due = Vec::new();
        for target in self.targets.values_mut() {
            if target.attempts.deadline().is_some_and(|next| next <= now) {
                match lives(alive, &target.paths, target.address.as_ref()) {
                    true => target.attempts.stop(),
                    false => due.extend(target.attempts.due(now)),
                }
            }
        }
        for ((medium, _), known) in &mut self.heard {
            if known.attempts.deadline().is_some_and(|next| next <= now) {
                match known.lives(*medium, alive) {
                    true => known.attempts.stop(),
                    false => due.extend(known.attempts.due(now)),
                }
            }
        }
        due
    }

    /// A configured peer was resolved, or could not be. Returns the paths to dial first.
    pub(crate) fn resolved(
        &mut self,
        now: Time,
        uri: &str,
        result: Result<Vec<Path>, String>,
        alive: &impl LiveLinks,
    ) -> Vec<Path> {
        let Some(target) = self.targets.get_mut(uri) else { return Vec::new() };
        target.resolving = false;
        match result {
            Ok(paths) => {
                let order = in_order(alive, &paths);
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

    /// A handshake failed.
    pub(crate) fn failed(&mut self, now: Time, path: &Path, reason: &str) {
        for target in self.targets.values_mut() {
            if let Some(reason) = target.attempts.failed(now, path, reason) {
                target.failed(now, reason);
            }
        }
        // What counts is which path was dialled: by now another may have its place among the endpoints.
        for known in self.heard.values_mut().filter(|known| known.attempts.awaits(path)) {
            let over = known.attempts.failed(now, path, reason).is_some();
            if known.paths.contains(path) {
                // It is dialled later than its other endpoints.
                known.paths.retain(|other| other != path);
                known.paths.push(*path);
                known.spare = true;
            }
            if over {
                known.backoff.failed(now);
                known.failures = known.failures.saturating_add(1);
            }
        }
    }

    /// A handshake succeeded on this path, with this address. `alive` has the links before it.
    pub(crate) fn established(&mut self, now: Time, path: &Path, address: &Address, alive: &impl LiveLinks) {
        for target in self.targets.values_mut().filter(|target| target.paths.contains(path)) {
            target.address = Some(*address);
            target.attempts.stop();
            target.backoff.established(now, is_cut_off(alive, &target.paths));
        }
        let of_path = |known: &&mut Candidate| known.paths.contains(path) || known.attempts.awaits(path);
        for known in self.heard.values_mut().filter(of_path) {
            known.address = Some(*address);
            known.attempts.stop();
            known.failures = 0;
            known.backoff.established(now, is_cut_off(alive, &known.paths));
        }
    }

    /// When something may fall due next. Only what will be dialled then counts, or nobody would rest.
    pub(crate) fn next_deadline(&self, now: Time, alive: &impl LiveLinks) -> Option<Time> {
        let targets = self
            .targets
            .values()
            .filter(|target| target.is_idle() && !lives(alive, &target.paths, target.address.as_ref()))
            .map(|target| target.next_dial(alive));
        let attempts = self.targets.values().map(|target| &target.attempts);
        let attempts = attempts.chain(self.heard.values().map(|known| &known.attempts));
        let later = attempts.filter_map(Attempts::deadline);
        let room = alive.room();
        let holding = self.answering(now).count();
        let room_again = if holding < room { None } else { self.answering(now).min() };
        let heard = self.places(now, alive).into_values().filter_map(|places| {
            let due = places.waiting.iter().map(|(_, known)| known.next_dial(alive)).min()?;
            // Without a place, when the next one may be free. Dials on any medium hold room.
            let place = if places.taken < DIAL_ON_MEDIUM { due } else { places.next? };
            Some(due.max(place).max(room_again.unwrap_or(due)))
        });
        targets.chain(later).chain(heard.filter(|_| room > 0)).min()
    }
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
