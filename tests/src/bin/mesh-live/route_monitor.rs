//! The routes of all hosts during a run, and the time since when every pair of hosts has a working path: the next hops are
//! followed, and a path over a failed cable or host does not count.

use std::collections::HashMap;
use std::time::Instant;

use rouse_core::Address;

/// The element of the network that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    Cable(usize, usize),
    Host(usize),
}

/// The next hops of all hosts, and the paths that follow from them.
pub(crate) struct RouteMonitor {
    addresses: Vec<Address>,
    numbers: HashMap<Address, usize>,
    /// The next hop for each host and each destination.
    next: Vec<Vec<Option<usize>>>,
    failed: Option<Failed>,
    /// The time since when every pair has a path.
    complete: Option<Instant>,
}

impl RouteMonitor {
    pub(crate) fn new(addresses: Vec<Address>) -> Self {
        let hosts = addresses.len();
        RouteMonitor {
            numbers: addresses.iter().enumerate().map(|(number, address)| (*address, number)).collect(),
            addresses,
            next: vec![vec![None; hosts]; hosts],
            failed: None,
            complete: None,
        }
    }

    /// The address of a host.
    pub(crate) fn address(&self, host: usize) -> Address {
        self.addresses[host]
    }

    /// Records the next hop of `host` to a destination.
    pub(crate) fn record(&mut self, host: usize, to: Address, next: Option<Address>) {
        let Some(&to) = self.numbers.get(&to) else { return };
        self.next[host][to] = next.and_then(|next| self.numbers.get(&next).copied());
        self.update();
    }

    /// Records that an element of the network fails now.
    pub(crate) fn fail(&mut self, failed: Failed) {
        self.failed = Some(failed);
        self.update();
    }

    /// The time since when every pair has a path, if every pair has one.
    pub(crate) fn complete_since(&self) -> Option<Instant> {
        self.complete
    }

    /// The hosts on the path, both ends included; `None` when the next hops do not lead there.
    pub(crate) fn path(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let mut path = vec![from];
        let mut at = from;
        while at != to {
            let next = self.next[at][to]?;
            let cut = match self.failed {
                Some(Failed::Cable(one, other)) => (at, next) == (one, other) || (next, at) == (one, other),
                Some(Failed::Host(host)) => next == host,
                None => false,
            };
            if cut || path.contains(&next) {
                return None;
            }
            path.push(next);
            at = next;
        }
        Some(path)
    }

    /// The pairs without a path.
    pub(crate) fn missing(&self) -> Vec<(usize, usize)> {
        let gone = |host: usize| self.failed == Some(Failed::Host(host));
        let hosts = 0..self.addresses.len();
        let pairs = hosts.clone().flat_map(|from| hosts.clone().map(move |to| (from, to)));
        pairs
            .filter(|&(from, to)| from != to && !gone(from) && !gone(to) && self.path(from, to).is_none())
            .collect()
    }

    fn update(&mut self) {
        if !self.missing().is_empty() {
            self.complete = None;
        } else if self.complete.is_none() {
            self.complete = Some(Instant::now());
        }
    }
}
