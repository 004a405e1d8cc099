//! The book of a run: who said when that which way leads where. From it comes since when every pair has a way that works:
//! the next hops are followed, and a way over what has failed does not count.

use std::collections::HashMap;
use std::time::Instant;

use rouse_core::Address;

/// What has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Cable(usize, usize),
    Host(usize),
}

/// See the module's page.
pub struct Book {
    addresses: Vec<Address>,
    numbers: HashMap<Address, usize>,
    /// For each host, and each destination, the next hop.
    next: Vec<Vec<Option<usize>>>,
    broken: Option<Broken>,
    /// Since when every pair has a way.
    whole: Option<Instant>,
}

impl Book {
    pub fn new(addresses: Vec<Address>) -> Self {
        let hosts = addresses.len();
        Book {
            numbers: addresses.iter().enumerate().map(|(number, address)| (*address, number)).collect(),
            addresses,
            next: vec![vec![None; hosts]; hosts],
            broken: None,
            whole: None,
        }
    }

    /// The address of a host.
    pub fn address(&self, host: usize) -> Address {
        self.addresses[host]
    }

    /// Takes down what `host` has just told: its next hop to a destination.
    pub fn note(&mut self, host: usize, to: Address, next: Option<Address>) {
        let Some(&to) = self.numbers.get(&to) else { return };
        self.next[host][to] = next.and_then(|next| self.numbers.get(&next).copied());
        self.judge();
    }

    /// From here on this has failed.
    pub fn broke(&mut self, broken: Broken) {
        self.broken = Some(broken);
        self.judge();
    }

    /// Since when every pair has a way, if it has.
    pub fn whole_since(&self) -> Option<Instant> {
        self.whole
    }

    /// The hosts on the way, both ends included; `None` when it does not lead there.
    pub fn way(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let mut way = vec![from];
        let mut at = from;
        while at != to {
            let next = self.next[at][to]?;
            let cut = match self.broken {
                Some(Broken::Cable(one, other)) => (at, next) == (one, other) || (next, at) == (one, other),
                Some(Broken::Host(host)) => next == host,
                None => false,
            };
            if cut || way.contains(&next) {
                return None;
            }
            way.push(next);
            at = next;
        }
        Some(way)
    }

    /// The pairs without a way.
    pub fn missing(&self) -> Vec<(usize, usize)> {
        let gone = |host: usize| self.broken == Some(Broken::Host(host));
        let hosts = 0..self.addresses.len();
        let pairs = hosts.clone().flat_map(|from| hosts.clone().map(move |to| (from, to)));
        pairs
            .filter(|&(from, to)| from != to && !gone(from) && !gone(to) && self.way(from, to).is_none())
            .collect()
    }

    fn judge(&mut self) {
        if !self.missing().is_empty() {
            self.whole = None;
        } else if self.whole.is_none() {
            self.whole = Some(Instant::now());
        }
    }
}
