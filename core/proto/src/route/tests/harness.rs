//! One router whose neighbours are played by the test, so that each rule can be tested alone.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::address::Address;
use crate::identity::Identity;
use crate::route::{FibEntry, LinkProperties, NeighbourId, Router, RouterConfig, RouterOutput, VerifyJob};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::route::{Chain, LINKS, Record, RouteAttributes, SignedAnnounce, Update, advance, key_hash};

/// The router's own address is that of identity 0.
pub(super) struct RouterHarness {
    pub(super) router: Router,
    pub(super) now: Time,
    /// The records that were sent, with their times and receivers.
    pub(super) sent: Vec<(Time, NeighbourId, Record)>,
    pub(super) fib: BTreeMap<Address, FibEntry>,
    pub(super) events: Vec<RouterOutput>,
    /// The verification jobs, if the test runs them itself.
    pub(super) jobs: Option<Vec<VerifyJob>>,
}

/// The identity with this number.
pub(super) fn identity(number: usize) -> Identity {
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Identity::from_seed(&seed)
}

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn address(number: usize) -> Address {
    identity(number).address()
}

/// The identities that have signed an announce in a test, by key hash, so that their chain values can be computed.
static SIGNERS: Mutex<BTreeMap<u64, Identity>> = Mutex::new(BTreeMap::new());

pub(super) fn announce_by(identity: &Identity, seq: u64) -> SignedAnnounce {
    let dst = identity.address();
    SIGNERS.lock().unwrap().insert(key_hash(&dst), identity.clone());
    let anchor = advance(&dst, seq, identity.chain_seed(seq), LINKS);
    let mut announce =
        SignedAnnounce { dst, seq, lifetime: 5400, caps: 0, anchor, signature: [0; 64], optional: None };
    announce.signature = identity.sign(&announce.signed().unwrap());
    announce
}

/// The chain value that proves that many hops.
pub(super) fn chain(key_hash: u64, seq: u64, hops: u8) -> Chain {
    let signers = SIGNERS.lock().unwrap();
    let Some(identity) = signers.get(&key_hash) else { return [0; 16] };
    advance(&identity.address(), seq, identity.chain_seed(seq), hops)
}

/// The record with its genuine chain value, unless the test has set one.
fn honest(record: &Record) -> Record {
    let mut record = record.clone();
    let (hash, seq, attributes) = match &mut record {
        Record::Announce(announce, attributes) => (key_hash(&announce.dst), announce.seq, attributes),
        Record::Offer { key_hash, seq, attributes } => (*key_hash, *seq, attributes),
        _ => return record,
    };
    if attributes.chain == [0; 16] {
        attributes.chain = chain(hash, seq, attributes.hops);
    }
    record
}

pub(super) fn signed_announce(number: usize, seq: u64) -> SignedAnnounce {
    announce_by(&identity(number), seq)
}

pub(super) fn attributes(idx: u32, metric: u16, hops: u8) -> RouteAttributes {
    RouteAttributes { idx, metric, hops, mtu: 1200, remaining: 5400, chain: [0; 16] }
}

pub(super) fn bytes_of(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    records.iter().for_each(|record| honest(record).encode(&mut bytes).unwrap());
    bytes
}

impl RouterHarness {
    /// A router with neighbours 1 to `neighbours`, each at a cost of 40.
    pub(super) fn new(neighbours: u32) -> Self {
        Self::with(neighbours, RouterConfig::default())
    }

    pub(super) fn with(neighbours: u32, config: RouterConfig) -> Self {
        let now = Time::from_millis(1_000_000);
        let router = Router::new(now, config, [7; 32]);
        let mut harness = RouterHarness {
            router,
            now,
            sent: Vec::new(),
            fib: BTreeMap::new(),
            events: Vec::new(),
            jobs: None,
        };
        harness.router.add_origin(now, identity(0), 1000);
        for id in 1..=neighbours {
            harness.router.neighbour_up(
                now,
                id,
                LinkProperties::new(address(900 + id as usize), 40, 1400, true),
            );
        }
        harness.wait(Duration::from_secs(5));
        harness.sent.clear();
        harness.events.clear();
        harness
    }

    pub(super) fn drain_outputs(&mut self) {
        while let Some(output) = self.router.poll_output(self.now) {
            match output {
                RouterOutput::Send { neighbour, message } => {
                    let mut rest = &message[..];
                    while !rest.is_empty() {
                        let (record, left) = Record::decode(rest).unwrap();
                        self.sent.push((self.now, neighbour, record));
                        rest = left;
                    }
                }
                RouterOutput::Fib(address, Some(entry)) => {
                    self.fib.insert(address, entry);
                }
                RouterOutput::Fib(address, None) => {
                    self.fib.remove(&address);
                }
                RouterOutput::Verify(job) => match &mut self.jobs {
                    Some(jobs) => jobs.push(job),
                    None => self.router.verified(self.now, job.run()),
                },
                event => self.events.push(event),
            }
        }
    }

    /// Runs all verification jobs, and those that follow.
    pub(super) fn verify(&mut self) {
        while let Some(job) = self.jobs.as_mut().filter(|jobs| !jobs.is_empty()).map(|jobs| jobs.remove(0)) {
            self.router.verified(self.now, job.run());
            self.drain_outputs();
        }
    }

    /// Advances the clock and serves all timers on the way.
    pub(super) fn wait(&mut self, span: Duration) {
        let until = self.now + span;
        self.drain_outputs();
        while let Some(at) = self.router.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.router.handle_timeout(self.now);
            self.drain_outputs();
        }
        self.now = until;
    }

    pub(super) fn receive(&mut self, from: NeighbourId, records: &[Record]) -> Result<(), DropCause> {
        self.receive_bytes(from, &bytes_of(records))
    }

    pub(super) fn receive_bytes(&mut self, from: NeighbourId, bytes: &[u8]) -> Result<(), DropCause> {
        let result = self.router.handle(self.now, from, bytes);
        let before = self.events.len();
        self.drain_outputs();
        // A bad signature is reported later than other refusals. A test treats both alike, so it is returned here.
        let late =
            self.events.iter_mut().skip(before).find(|event| matches!(event, RouterOutput::Dropped(..)));
        match (result, late) {
            (Ok(()), Some(RouterOutput::Dropped(cause, count))) => {
                let cause = *cause;
                *count -= 1;
                self.events.retain(|event| !matches!(event, RouterOutput::Dropped(_, 0)));
                Err(cause)
            }
            (result, _) => result,
        }
    }

    /// Receives an ANNOUNCE of the destination `number`, which is also the neighbour's idx for it.
    pub(super) fn announce(
        &mut self,
        from: NeighbourId,
        number: usize,
        seq: u64,
        metric: u16,
        hops: u8,
    ) -> Result<(), DropCause> {
        let attributes = attributes(u32::try_from(number).unwrap(), metric, hops);
        self.receive(from, &[Record::Announce(signed_announce(number, seq), attributes)])
    }

    pub(super) fn update(
        &mut self,
        from: NeighbourId,
        number: usize,
        metric: u16,
        hops: u8,
    ) -> Result<(), DropCause> {
        let idx = u32::try_from(number).unwrap();
        self.receive(from, &[Record::Update(Update { idx, metric, hops, chain: None })])
    }

    pub(super) fn next(&self, number: usize) -> Option<NeighbourId> {
        self.fib.get(&address(number)).map(|entry| entry.next)
    }

    /// Takes the records that this neighbour was sent since the last call, and drops those for others.
    pub(super) fn take_sent_to(&mut self, by: NeighbourId) -> Vec<Record> {
        let sent = std::mem::take(&mut self.sent);
        sent.into_iter().filter(|(_, to, _)| *to == by).map(|(_, _, record)| record).collect()
    }

    /// The metrics of a destination that a neighbour was sent, with their times.
    pub(super) fn advertised_to(&self, to: NeighbourId, number: usize) -> Vec<(Time, u16)> {
        let mut idx = None;
        let mut advertised = Vec::new();
        for (at, id, record) in self.sent.iter().filter(|(_, id, _)| *id == to) {
            let _ = id;
            match record {
                Record::Announce(announce, attributes) if announce.dst == address(number) => {
                    idx = Some(attributes.idx);
                    advertised.push((*at, attributes.metric));
                }
                Record::Offer { key_hash: hash, attributes, .. } if *hash == key_hash(&address(number)) => {
                    idx = Some(attributes.idx);
                    advertised.push((*at, attributes.metric));
                }
                Record::Update(update) if Some(update.idx) == idx => advertised.push((*at, update.metric)),
                _ => {}
            }
        }
        advertised
    }
}
