//! The peers that may be dialled, configured or discovered, and the interface to the live links.

use super::attempts::Attempts;
use super::backoff::Backoff;
use super::limits::{ANSWER, ENDPOINTS, FORGET};
use crate::address::Address;
use crate::link::Path;
use crate::time::Time;

/// A configured peer.
pub struct ConfiguredPeer {
    pub(super) paths: Vec<Path>,
    /// The address, which is known from the first handshake on.
    pub(super) address: Option<Address>,
    pub(super) backoff: Backoff,
    /// Whether its paths are being looked up.
    pub(super) resolving: bool,
    pub(super) attempts: Attempts,
    /// The reason for which the last dial failed.
    pub last_error: Option<String>,
    /// The time from which it is in its present state.
    pub since: Time,
}

/// A node that was discovered on a medium.
pub(super) struct DiscoveredPeer {
    /// The paths in the order of dialling.
    pub(super) paths: Vec<Path>,
    /// The time of the last beacon on each path.
    pub(super) heard_on: Vec<(Path, Time)>,
    pub(super) address: Option<Address>,
    pub(super) heard: Time,
    pub(super) backoff: Backoff,
    pub(super) attempts: Attempts,
    /// Consecutive dials that failed.
    pub(super) failures: u32,
    /// The path that failed last, or that the node has left, and that may be replaced.
    pub(super) spare: Option<Path>,
    /// The path of its last answer. It is not replaced while the node is heard there, since an attacker can send copies of a
    /// beacon from elsewhere.
    pub(super) answered: Option<Path>,
    /// The reason and the time of its last refusal.
    pub(super) refusal: Option<(String, Time)>,
    /// Its last link, if that has ended for silence.
    pub(super) silenced: Option<SilentLink>,
}

/// A discovered node that has refused a link.
pub struct RefusedPeer {
    /// The path over which it was dialled.
    pub path: Path,
    /// Its address.
    pub address: Address,
    /// The reason that it gave.
    pub reason: String,
    /// The time of the refusal.
    pub since: Time,
}

/// The live links, by path and by address. A link that is [away](crate::link::LinkState::Away) counts only in
/// [`LiveLinks::is_away`], since the neighbour may be reachable on another path.
pub(crate) trait LiveLinks {
    fn path(&self, path: &Path) -> bool;
    fn address(&self, address: &Address) -> bool;
    fn address_on(&self, medium: u32, address: &Address) -> bool;
    /// Whether there is a link to this address over this medium, in whatever state. A new session replaces it.
    fn has_link(&self, medium: u32, address: &Address) -> bool;
    /// Whether there is a link over this path that its medium reports as cut, and that recovers by itself.
    fn is_away(&self, path: &Path) -> bool;
    /// The link over this medium to this address, if it is suspect.
    fn silent(&self, medium: u32, address: &Address) -> Option<SilentLink>;
    /// Whether the medium reports the path as cut.
    fn is_cut(&self, path: &Path) -> bool;
    /// The count of further neighbours that the node may have.
    fn room(&self) -> usize;
}

/// A link that is suspect.
#[derive(Clone, Copy)]
pub(crate) struct SilentLink {
    /// The path of the link.
    pub path: Path,
    /// The time of the last frame that the neighbour has sent over it.
    pub heard: Time,
}

pub(super) fn lives(links: &impl LiveLinks, paths: &[Path], address: Option<&Address>) -> bool {
    address.is_some_and(|address| links.address(address)) || has_link(links, paths)
}

/// Whether one of the paths has a link, or all have one that is away, so that there is no path left to dial.
fn has_link(links: &impl LiveLinks, paths: &[Path]) -> bool {
    are_away(links, paths) || paths.iter().any(|path| links.path(path))
}

/// Whether each of the paths has a link that is away.
fn are_away(links: &impl LiveLinks, paths: &[Path]) -> bool {
    !paths.is_empty() && paths.iter().all(|path| links.is_away(path))
}

/// Whether a path has no link. A dial over a path with a link of another node would only replace that link, and a link that
/// is away recovers by itself.
fn is_free(links: &impl LiveLinks, path: &Path) -> bool {
    !links.path(path) && !links.is_away(path)
}

/// Whether there is a link over one of the paths that its medium reports as cut.
pub(super) fn is_cut_off(links: &impl LiveLinks, paths: &[Path]) -> bool {
    paths.iter().any(|path| links.is_away(path))
}

/// Whether the link to this address over this medium is up.
pub(super) fn is_up(links: &impl LiveLinks, medium: u32, address: &Address) -> bool {
    links.address_on(medium, address) && links.silent(medium, address).is_none()
}

/// The paths in the order in which to dial them: those last that are cut as far as the medium knows. A link that is away comes
/// back by itself, so its path is left out.
pub(super) fn in_order(links: &impl LiveLinks, paths: &[Path]) -> Vec<Path> {
    let (cut, open): (Vec<Path>, Vec<Path>) =
        paths.iter().filter(|path| !links.is_away(path)).partition(|path| links.is_cut(path));
    open.into_iter().chain(cut).collect()
}

impl DiscoveredPeer {
    /// Records a beacon from an endpoint. A new endpoint is dialled first, because the node may have moved, and the
    /// others would then fail. When all places are occupied, it replaces an endpoint without recent beacons or one that
    /// failed, but no other: an attacker can send copies of a beacon from elsewhere.
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
                None => match self.spare.take() {
                    Some(spare) => self.paths.retain(|other| *other != spare),
                    None => return,
                },
            }
            if self.paths.len() >= ENDPOINTS {
                return;
            }
        }
        self.paths.insert(0, path);
        // It is added to the running attempts, because those to endpoints that are gone take seconds to fail.
        if !self.attempts.are_over() && !self.is_doubtful() {
            self.attempts.add(path);
        }
    }

    /// Whether it has failed and never answered, so that it may be invented.
    fn is_doubtful(&self) -> bool {
        self.failures > 0 && self.address.is_none()
    }

    /// The paths of its beacons after its link became silent. The node has other addresses now, so there is no need to
    /// wait for the end of the link.
    fn heard_elsewhere(&self, medium: u32, links: &impl LiveLinks) -> Vec<Path> {
        let silent = self.address.and_then(|address| links.silent(medium, &address));
        let elsewhere = silent.into_iter().flat_map(|silent| self.heard_since(silent));
        elsewhere.filter(|path| is_free(links, path)).collect()
    }

    /// The other paths of its beacons after the last frame of a link.
    fn heard_since(&self, silent: SilentLink) -> impl Iterator<Item = Path> + '_ {
        let later = move |(path, heard): &&(Path, Time)| *path != silent.path && *heard > silent.heard;
        self.heard_on.iter().filter(later).map(|(path, _)| *path)
    }

    /// Whether its last link has lost its path: the medium reports that it is cut, or the node has left it.
    fn has_lost_path(&self, medium: u32, links: &impl LiveLinks) -> bool {
        is_cut_off(links, &self.paths) || self.left_path(medium, links).is_some()
    }

    /// The path of its last link, if that became silent and the node was heard elsewhere since.
    fn left_path(&self, medium: u32, links: &impl LiveLinks) -> Option<Path> {
        let silent = self.address.and_then(|address| links.silent(medium, &address)).or(self.silenced)?;
        self.heard_since(silent).next().map(|_| silent.path)
    }

    /// Records that the node has left a path for another, where it has answered. The former is the next to be replaced: otherwise
    /// the places for paths would be full of such after a few moves, and the node would not be dialled where it is.
    pub(super) fn moved(&mut self, from: &Path, to: &Path) {
        if !self.paths.contains(to) {
            if self.paths.len() >= ENDPOINTS {
                let replaced = self.spare.take().unwrap_or(*from);
                self.paths.retain(|path| *path != replaced);
            }
            self.paths.insert(0, *to);
            self.paths.truncate(ENDPOINTS);
        }
        self.answered = Some(*to);
        self.spare = Some(*from).filter(|from| self.paths.contains(from));
    }

    /// Whether it has a link over this medium. A link over another medium does not count, so that each is there when
    /// the other fails.
    pub(super) fn lives(&self, medium: u32, links: &impl LiveLinks) -> bool {
        let linked = match self.address {
            Some(address) => links.address_on(medium, &address) || are_away(links, &self.paths),
            None => has_link(links, &self.paths),
        };
        linked && self.heard_elsewhere(medium, links).is_empty()
    }

    /// Whether a new session with it replaces a link, so that it needs no other place.
    pub(super) fn has_place(&self, medium: u32, links: &impl LiveLinks) -> bool {
        self.address.is_some_and(|address| links.has_link(medium, &address))
    }

    /// Whether the node with this address on this path is this one. The path counts only until the address is known, since
    /// a node can send the beacon of another from its own endpoint.
    pub(super) fn is_at(&self, path: &Path, address: &Address) -> bool {
        self.address.map_or_else(|| self.paths.contains(path), |known| known == *address)
    }

    /// Records an answer on one of its paths, and returns whether it is from this node. The first address that has answered
    /// for an instance stays: otherwise an attacker that sends a copy of the beacon, and answers itself, would take the
    /// place of the node.
    pub(super) fn reached(&mut self, now: Time, path: &Path, address: &Address) -> bool {
        if self.address.is_some_and(|known| known != *address) {
            self.failed(now, path, "another node answers there");
            self.paths.retain(|other| other != path);
            return false;
        }
        self.address = Some(*address);
        self.answered = Some(*path);
        self.attempts.stop();
        self.failures = 0;
        true
    }

    /// Records that a session has begun on one of its paths. `links` has the links before it.
    pub(super) fn established(&mut self, now: Time, path: &Path, address: &Address, links: &impl LiveLinks) {
        let replaces = self.has_lost_path(path.netmod, links) || is_up(links, path.netmod, address);
        let left = self.left_path(path.netmod, links).filter(|left| left != path);
        if self.reached(now, path, address) {
            self.backoff.established(now, replaces);
            self.silenced = None;
            if let Some(left) = left {
                self.moved(&left, path);
            }
        }
    }

    /// Records that the handshake on a path has failed. The dialled path counts, since by now another may have replaced it
    /// among the endpoints.
    pub(super) fn failed(&mut self, now: Time, path: &Path, reason: &str) {
        if !self.attempts.awaits(path) {
            return;
        }
        let over = self.attempts.failed(now, path, reason).is_some();
        if self.paths.contains(path) {
            // It is dialled after its other endpoints, since those may still work.
            self.paths.retain(|other| other != path);
            self.paths.push(*path);
            // One that has answered is not given up for a failure, because a copied beacon would take its place.
            if self.answered != Some(*path) {
                self.spare = Some(*path);
            }
        }
        if over {
            self.backoff.failed(now);
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// The earliest time of the next dial.
    pub(super) fn next_dial(&self, medium: u32, links: &impl LiveLinks) -> Time {
        self.backoff.next(self.has_lost_path(medium, links))
    }

    /// Until when it holds a place because an answer may come, if it was dialled so lately.
    pub(super) fn answering(&self, now: Time) -> Option<Time> {
        self.attempts.since().map(|since| since + ANSWER).filter(|until| *until > now)
    }

    /// Whether there is a path to dial.
    pub(super) fn can_be_dialled(&self, medium: u32, links: &impl LiveLinks) -> bool {
        self.paths.iter().any(|path| is_free(links, path)) || !self.heard_elsewhere(medium, links).is_empty()
    }

    /// The paths to dial. A node that may be invented is dialled on one at a time, so that a forged beacon causes few
    /// frames.
    pub(super) fn to_dial(&self, medium: u32, links: &impl LiveLinks) -> Vec<Path> {
        let elsewhere = self.heard_elsewhere(medium, links);
        if !elsewhere.is_empty() {
            return in_order(links, &elsewhere);
        }
        let mut paths = in_order(links, &self.paths);
        paths.retain(|path| is_free(links, path));
        if self.is_doubtful() {
            paths.truncate(1);
        }
        paths
    }
}

impl ConfiguredPeer {
    pub(super) fn is_idle(&self) -> bool {
        !self.resolving && self.attempts.are_over()
    }

    /// The earliest time of the next dial.
    pub(super) fn next_dial(&self, links: &impl LiveLinks) -> Time {
        self.backoff.next(is_cut_off(links, &self.paths))
    }

    pub(super) fn is_at(&self, path: &Path, address: &Address) -> bool {
        self.address == Some(*address) || self.paths.contains(path)
    }

    pub(super) fn failed(&mut self, now: Time, error: String) {
        self.backoff.failed(now);
        self.last_error = Some(error);
        self.since = now;
    }
}
