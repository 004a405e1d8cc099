//! Whom to dial, and when: the peers that were configured, and those heard on a medium. Without I/O: the
//! [link task](super::links) acts on what this decides.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::address::Address;
use crate::link::Path;
use crate::netmod::Heard;
use crate::time::Time;
use crate::types::{PeerState, Timestamp};

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// A link that lived so long is dialled again at once when it ends. One that comes and goes faster is made anew less and less
/// often, since each time costs a handshake, and what is told over a new link.
pub(crate) const LIVED: Duration = Duration::from_secs(10);
/// A configured peer that said goodbye is dialled again after this time: it may be starting again, and may know nobody to
/// dial itself. That it stops is not seen sooner.
const GOODBYE_REST: Duration = Duration::from_millis(250);
/// The longest wait before a link that does not live long is dialled again.
pub(crate) const LAST_REST: Duration = Duration::from_secs(5);
/// How many of those heard on one medium a node has links to, or is dialling: enough that a random graph of them is connected.
/// A place is held by a link; a dial has it for [`ANSWER`], and then leaves it to the next while it goes on.
const DIAL_ON_MEDIUM: usize = 16;
/// In so long an answer comes on most media. With every place free, more are dialled in a second than a netmod passes on of a
/// flood of beacons.
const ANSWER: Duration = Duration::from_millis(150);
/// How long the order holds in which those heard are dialled, in microseconds. When there are more than places, all have their
/// turn in time.
const ORDER: u64 = 5_000_000;
/// How many unconfigured neighbours one medium may have: those dialled, and as many who dialled us.
pub(crate) const NEIGHBOURS_ON_MEDIUM: usize = 32;
/// How many of those heard are remembered, on all media together.
const HEARD: usize = 1024;
/// Who was not heard for so long is forgotten: three of the longest beacon intervals.
const FORGET: Duration = Duration::from_secs(100);
/// Endpoints kept for one instance: IPv4 and IPv6 on two interfaces.
const ENDPOINTS: usize = 4;

/// When something may be tried next.
#[derive(Clone, Copy)]
struct Backoff {
    next: Time,
    wait: Duration,
    /// When a link began last, and how long one is not to be made anew if it does not live long.
    begun: Option<Time>,
    rest: Duration,
}

impl Backoff {
    fn now(now: Time) -> Self {
        Backoff { next: now, wait: FIRST_RETRY, begun: None, rest: Duration::ZERO }
    }

    fn failed(&mut self, now: Time) {
        self.next = now + self.wait;
        self.wait = (self.wait * 2).min(LAST_RETRY);
    }

    fn rest(&mut self, until: Time) {
        self.next = self.next.max(until);
    }

    fn established(&mut self, now: Time) {
        let again = self.begun.is_some_and(|begun| now.since(begun) < LIVED);
        self.rest = if again { (self.rest * 2).clamp(FIRST_RETRY, LAST_REST) } else { Duration::ZERO };
        (self.next, self.wait, self.begun) = (now + self.rest, FIRST_RETRY, Some(now));
    }
}

/// A peer that somebody configured.
pub(crate) struct Target {
    paths: Vec<Path>,
    /// Known from the first handshake on.
    address: Option<Address>,
    backoff: Backoff,
    /// Being resolved or dialled.
    busy: bool,
    pub(crate) last_error: Option<String>,
    pub(crate) since: Timestamp,
}

struct Candidate {
    paths: Vec<Path>,
    address: Option<Address>,
    heard: Time,
    backoff: Backoff,
    /// Since when it is being dialled.
    dialled: Option<Time>,
    /// Dials in a row that came to nothing.
    failures: u32,
    /// Whether the last of the paths has failed, and may give its place to another.
    spare: bool,
}

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

/// Tells which links live: by path, and by address.
pub(crate) trait Alive {
    fn path(&self, path: &Path) -> bool;
    fn address(&self, address: &Address) -> bool;
    fn address_on(&self, medium: u32, address: &Address) -> bool;
}

fn lives(alive: &impl Alive, paths: &[Path], address: Option<&Address>) -> bool {
    address.is_some_and(|address| alive.address(address)) || paths.iter().any(|path| alive.path(path))
}

impl Candidate {
    /// It was heard at an endpoint. Of more than there is room for, a new one takes the place of one that failed, and is tried
    /// next: the node may have moved, and anybody can send its beacon from elsewhere.
    fn found_at(&mut self, path: Path) {
        if self.paths.contains(&path) {
            return;
        }
        if self.paths.len() < ENDPOINTS {
            self.paths.push(path);
        } else if std::mem::take(&mut self.spare) {
            self.paths.pop();
            self.paths.insert(0, path);
        }
    }

    /// A link over another medium is another link: each is there when the other fails.
    fn lives(&self, medium: u32, alive: &impl Alive) -> bool {
        self.address.is_some_and(|address| alive.address_on(medium, &address))
            || self.paths.iter().any(|path| alive.path(path))
    }
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
            busy: false,
            last_error: None,
            since: Timestamp::now(),
        };
        self.targets.insert(uri.to_owned(), target);
        true
    }

    /// Removes a configured peer; returns the paths it was dialled on.
    pub(crate) fn remove(&mut self, uri: &str) -> Option<Vec<Path>> {
        self.targets.remove(uri).map(|target| target.paths)
    }

    /// The configured peers and how they stand.
    pub(crate) fn targets<'a>(
        &'a self,
        alive: &'a impl Alive,
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
            known.found_at(path);
            return;
        }
        self.heard.retain(|_, known| now.since(known.heard) < FORGET);
        if self.heard.len() >= HEARD {
            self.make_room();
        }
        if self.heard.len() < HEARD {
            let candidate = Candidate {
                paths: vec![path],
                address: None,
                heard: now,
                backoff: Backoff::now(now),
                dialled: None,
                failures: 0,
                spare: false,
            };
            self.heard.insert((medium, heard.instance), candidate);
        }
    }

    /// Forgets who has failed most often, of those without a link the one heard longest ago. Anybody may say that there are many;
    /// those who have answered stay.
    fn make_room(&mut self) {
        let idle = self.heard.iter().filter(|(_, known)| known.dialled.is_none() && known.address.is_none());
        let least = idle.max_by_key(|(key, known)| (known.failures, Reverse(known.heard), **key));
        if let Some(key) = least.map(|(key, _)| *key) {
            self.heard.remove(&key);
        }
    }

    /// The configured peers that are to be resolved and dialled now. They count as being dialled from here on.
    pub(crate) fn due(&mut self, now: Time, alive: &impl Alive) -> Vec<String> {
        let mut due = Vec::new();
        for (uri, target) in &mut self.targets {
            if !target.busy
                && target.backoff.next <= now
                && !lives(alive, &target.paths, target.address.as_ref())
            {
                target.busy = true;
                due.push(uri.clone());
            }
        }
        due
    }

    /// How each medium stands.
    fn places(&self, now: Time, alive: &impl Alive) -> BTreeMap<u32, Places<'_>> {
        let mut media: BTreeMap<u32, Places> = BTreeMap::new();
        for ((medium, instance), known) in &self.heard {
            let places = media.entry(*medium).or_default();
            let held = known.dialled.map(|since| since + ANSWER).filter(|until| *until > now);
            if known.lives(*medium, alive) {
                places.taken += 1;
            } else if let Some(until) = held {
                places.taken += 1;
                places.next = places.next.into_iter().chain([until]).min();
            } else if known.dialled.is_none()
                && known.backoff.next < known.heard + FORGET
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
    pub(crate) fn due_heard(&mut self, now: Time, own: &Address, alive: &impl Alive) -> Vec<Path> {
        let order = now.as_micros().checked_div(ORDER).unwrap_or_default().to_le_bytes();
        let mut chosen = Vec::new();
        for (medium, places) in self.places(now, alive) {
            let free = DIAL_ON_MEDIUM.saturating_sub(places.taken);
            let due = places.waiting.into_iter().filter(|(_, known)| known.backoff.next <= now);
            let mut ranked: Vec<(u32, Reverse<[u8; 32]>, u64)> = due
                .map(|(instance, known)| {
                    let rank = blake3::keyed_hash(own.as_bytes(), &[instance.to_le_bytes(), order].concat());
                    (known.failures, Reverse(*rank.as_bytes()), instance)
                })
                .collect();
            ranked.sort_unstable();
            chosen.extend(ranked.into_iter().take(free).map(|(_, _, instance)| (medium, instance)));
        }
        let mut due = Vec::new();
        for key in chosen {
            if let Some(known) = self.heard.get_mut(&key) {
                known.dialled = Some(now);
                due.extend(known.paths.first());
            }
        }
        due
    }

    /// A configured peer was resolved, or could not be. Returns the paths to dial.
    pub(crate) fn resolved(&mut self, now: Time, uri: &str, result: Result<Vec<Path>, String>) -> Vec<Path> {
        let Some(target) = self.targets.get_mut(uri) else { return Vec::new() };
        match result {
            Ok(paths) => {
                target.paths.clone_from(&paths);
                paths
            }
            Err(error) => {
                target.failed(now, error);
                Vec::new()
            }
        }
    }

    /// A handshake failed.
    pub(crate) fn failed(&mut self, now: Time, path: &Path, reason: &str) {
        for target in self.targets.values_mut().filter(|target| target.paths.contains(path)) {
            target.failed(now, reason.to_owned());
        }
        for known in
            self.heard.values_mut().filter(|known| known.dialled.is_some() && known.paths.contains(path))
        {
            known.dialled = None;
            known.backoff.failed(now);
            known.failures = known.failures.saturating_add(1);
            // Perhaps it can be reached at another of its endpoints.
            known.paths.retain(|other| other != path);
            known.paths.push(*path);
            known.spare = true;
        }
    }

    /// The neighbour on this path has said goodbye. It does not answer at the moment. When it starts again, it is heard under
    /// another instance, which is dialled at once.
    pub(crate) fn left(&mut self, now: Time, path: &Path, address: &Address) {
        let targets = self.targets.values_mut();
        for target in targets.filter(|target| target.address == Some(*address)) {
            target.backoff.rest(now + GOODBYE_REST);
            target.last_error = Some("the neighbour said goodbye".to_owned());
            target.since = Timestamp::now();
        }
        for (_, known) in self.heard.iter_mut().filter(|((medium, _), known)| {
            *medium == path.netmod && (known.address == Some(*address) || known.paths.contains(path))
        }) {
            known.backoff.rest(now + LAST_REST);
        }
    }

    /// A handshake succeeded on this path, with this address.
    pub(crate) fn established(&mut self, now: Time, path: &Path, address: &Address) {
        for target in self.targets.values_mut().filter(|target| target.paths.contains(path)) {
            target.address = Some(*address);
            target.busy = false;
            target.last_error = None;
            target.backoff.established(now);
            target.since = Timestamp::now();
        }
        for known in self.heard.values_mut().filter(|known| known.paths.contains(path)) {
            known.address = Some(*address);
            known.dialled = None;
            known.failures = 0;
            known.backoff.established(now);
        }
    }

    /// When something may fall due next. Only what will be dialled then counts, or nobody would rest.
    pub(crate) fn next_deadline(&self, now: Time, alive: &impl Alive) -> Option<Time> {
        let targets = self
            .targets
            .values()
            .filter(|target| !target.busy && !lives(alive, &target.paths, target.address.as_ref()))
            .map(|target| target.backoff.next);
        let heard = self.places(now, alive).into_values().filter_map(|places| {
            let due = places.waiting.iter().map(|(_, known)| known.backoff.next).min()?;
            // Without a place, when the next one may be free.
            if places.taken < DIAL_ON_MEDIUM { Some(due) } else { Some(due.max(places.next?)) }
        });
        targets.chain(heard).min()
    }
}

impl Target {
    fn failed(&mut self, now: Time, error: String) {
        self.busy = false;
        self.backoff.failed(now);
        self.last_error = Some(error);
        self.since = Timestamp::now();
    }
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
