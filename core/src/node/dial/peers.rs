//! The peers that may be dialled: those configured, and those heard; and what has to be known of the links that live.

use super::attempts::Attempts;
use super::backoff::Backoff;
use super::{ANSWER, FORGET};
use crate::address::Address;
use crate::link::Path;
use crate::time::Time;
use crate::types::Timestamp;

/// Endpoints kept for one instance: IPv4 and IPv6 on two interfaces.
pub(super) const ENDPOINTS: usize = 4;

/// A peer that was configured.
pub(crate) struct Target {
    pub(super) paths: Vec<Path>,
    /// Known from the first handshake on.
    pub(super) address: Option<Address>,
    pub(super) backoff: Backoff,
    /// Whether its paths are being looked up.
    pub(super) resolving: bool,
    pub(super) attempts: Attempts,
    pub(crate) last_error: Option<String>,
    pub(crate) since: Timestamp,
}

pub(super) struct Candidate {
    /// In the order in which to dial them.
    pub(super) paths: Vec<Path>,
    /// When it was heard last on each of them.
    pub(super) heard_on: Vec<(Path, Time)>,
    pub(super) address: Option<Address>,
    pub(super) heard: Time,
    pub(super) backoff: Backoff,
    pub(super) attempts: Attempts,
    /// Dials in a row that came to nothing.
    pub(super) failures: u32,
    /// Whether the last of the paths has failed, and may give its place to another.
    pub(super) spare: bool,
    /// Why it does not want a link, and since when.
    pub(super) refusal: Option<(String, Timestamp)>,
}

/// A node that was heard and has refused a link.
pub(crate) struct Refusal {
    pub(crate) path: Path,
    pub(crate) address: Address,
    pub(crate) reason: String,
    pub(crate) since: Timestamp,
}

/// Tells which links live: by path, and by address. A link that is [away](super::neighbour::Neighbour::is_away) lives only as
/// [`LiveLinks::is_away`] says: the neighbour may be reached elsewhere.
pub(crate) trait LiveLinks {
    fn path(&self, path: &Path) -> bool;
    fn address(&self, address: &Address) -> bool;
    fn address_on(&self, medium: u32, address: &Address) -> bool;
    /// Whether there is a link over this path whose medium says that it is cut, and that comes back by itself.
    fn is_away(&self, path: &Path) -> bool;
    /// The link over this medium to this address, if it is suspect.
    fn silent(&self, medium: u32, address: &Address) -> Option<SilentLink>;
    /// Whether the medium says that nothing arrives there.
    fn is_cut(&self, path: &Path) -> bool;
    /// How many more neighbours there may be.
    fn room(&self) -> usize;
}

/// A link that is suspect.
#[derive(Clone, Copy)]
pub(crate) struct SilentLink {
    /// Its path.
    pub(crate) path: Path,
    /// When the neighbour was heard over it last.
    pub(crate) heard: Time,
}

pub(super) fn lives(alive: &impl LiveLinks, paths: &[Path], address: Option<&Address>) -> bool {
    address.is_some_and(|address| alive.address(address)) || has_link(alive, paths)
}

/// Whether one of the paths has a link; or whether all have one that is away, so that there is nothing else to dial.
fn has_link(alive: &impl LiveLinks, paths: &[Path]) -> bool {
    let all_away = !paths.is_empty() && paths.iter().all(|path| alive.is_away(path));
    all_away || paths.iter().any(|path| alive.path(path))
}

/// Whether there is a link over one of the paths that its medium reports as cut.
pub(super) fn is_cut_off(alive: &impl LiveLinks, paths: &[Path]) -> bool {
    paths.iter().any(|path| alive.is_away(path))
}

/// The paths in the order in which to dial them: those last that are cut as far as the medium knows. A link that is away comes
/// back by itself.
pub(super) fn in_order(alive: &impl LiveLinks, paths: &[Path]) -> Vec<Path> {
    let (cut, open): (Vec<Path>, Vec<Path>) =
        paths.iter().filter(|path| !alive.is_away(path)).partition(|path| alive.is_cut(path));
    open.into_iter().chain(cut).collect()
}

impl Candidate {
    /// It was heard at an endpoint. A new one is dialled first: the node may have moved, and then nothing comes of the others. Of
    /// more than there is room for it takes the place of one where the node is not heard any more, or of one that failed: anybody
    /// can send its beacon from elsewhere.
    pub(super) fn found_at(&mut self, now: Time, path: Path) {
        self.heard_on.retain(|(other, _)| *other != path && self.paths.contains(other));
        self.heard_on.push((path, now));
        if self.paths.contains(&path) {
            return;
        }
        if self.paths.len() >= ENDPOINTS {
            let left =
                self.heard_on.iter().find(|(_, heard)| now.since(*heard) >= FORGET).map(|(left, _)| *left);
            match left {
                Some(left) => self.paths.retain(|other| *other != left),
                None if std::mem::take(&mut self.spare) => _ = self.paths.pop(),
                None => return,
            }
        }
        self.paths.insert(0, path);
        // It need not wait until the dials to endpoints that may be no more have come to nothing, which takes seconds.
        if !self.attempts.are_over() && !self.is_doubtful() {
            self.attempts.add(path);
        }
    }

    /// Whether it has failed and has never answered, so that it may have been invented.
    fn is_doubtful(&self) -> bool {
        self.failures > 0 && self.address.is_none()
    }

    /// The paths on which it was heard after its link has fallen silent: it has other addresses now, and need not be waited for
    /// until the link is down.
    fn heard_elsewhere(&self, medium: u32, alive: &impl LiveLinks) -> Vec<Path> {
        let silent = self.address.and_then(|address| alive.silent(medium, &address));
        let elsewhere = silent.into_iter().flat_map(|silent| {
            let later = move |(path, heard): &&(Path, Time)| *path != silent.path && *heard > silent.heard;
            self.heard_on.iter().filter(later).map(|(path, _)| *path)
        });
        elsewhere.collect()
    }

    /// A link over another medium is another link: each is there when the other fails.
    pub(super) fn lives(&self, medium: u32, alive: &impl LiveLinks) -> bool {
        let linked = self.address.is_some_and(|address| alive.address_on(medium, &address));
        (linked || has_link(alive, &self.paths)) && self.heard_elsewhere(medium, alive).is_empty()
    }

    pub(super) fn is_at(&self, path: &Path, address: &Address) -> bool {
        self.address == Some(*address) || self.paths.contains(path)
    }

    /// The earliest time of the next dial.
    pub(super) fn next_dial(&self, alive: &impl LiveLinks) -> Time {
        self.backoff.next(is_cut_off(alive, &self.paths))
    }

    /// Until when it holds a place because an answer may come, if it was dialled so lately.
    pub(super) fn answering(&self, now: Time) -> Option<Time> {
        self.attempts.since().map(|since| since + ANSWER).filter(|until| *until > now)
    }

    /// The paths to dial: one at a time of a node that may have been invented.
    pub(super) fn to_dial(&self, medium: u32, alive: &impl LiveLinks) -> Vec<Path> {
        let elsewhere = self.heard_elsewhere(medium, alive);
        if !elsewhere.is_empty() {
            return in_order(alive, &elsewhere);
        }
        let mut paths = in_order(alive, &self.paths);
        if self.is_doubtful() {
            paths.truncate(1);
        }
        paths
    }
}

impl Target {
    pub(super) fn is_idle(&self) -> bool {
        !self.resolving && self.attempts.are_over()
    }

    /// The earliest time of the next dial.
    pub(super) fn next_dial(&self, alive: &impl LiveLinks) -> Time {
        self.backoff.next(is_cut_off(alive, &self.paths))
    }

    pub(super) fn is_at(&self, path: &Path, address: &Address) -> bool {
        self.address == Some(*address) || self.paths.contains(path)
    }

    pub(super) fn failed(&mut self, now: Time, error: String) {
        self.backoff.failed(now);
        self.last_error = Some(error);
        self.since = Timestamp::now();
    }
}
