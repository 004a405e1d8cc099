//! Attacks on the routes: false records that a neighbour can send about other nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rouse_adversary::raw::control_messages::{
    INFINITY, MAX_IDX, RawAnnounce, RawAttributes, RawRecord, chain,
};
use rouse_adversary::raw::{RawLink, RawLinkEvent};
use rouse_core::{Address, Identity};

use super::link::HostileLink;
use super::target::{Report, Target};

/// A pause between volleys, so that the cost is that of the attack and not of the attacker's speed.
const PAUSE: Duration = Duration::from_millis(10);

fn honest(announce: &RawAnnounce, idx: u32, secret: [u8; 16], hops: u8) -> RawAttributes {
    let chain = chain(&announce.dst, announce.seq, secret, hops);
    let (metric, remaining) = (32 * u16::from(hops), announce.lifetime);
    RawAttributes { idx, metric, hops, mtu: 1100, remaining, chain }
}

/// The announces of the victim, with the distances that it advertised.
fn announced(link: &HostileLink) -> Vec<(RawAnnounce, RawAttributes)> {
    let heard = link.received().into_iter();
    heard
        .filter_map(|record| {
            if let RawRecord::Announce(announce, route) = record { Some((announce, route)) } else { None }
        })
        .collect()
}

pub(super) fn forge_metric(target: &Target) -> Result<Report> {
    let (link, mut random, mut budget) = (target.link(0)?, target.random(), target.budget());
    link.receive(|record| matches!(record, RawRecord::Announce(..)).then_some(()))?;
    let mut forged = 0;
    let mut idx = 0;
    while budget.tick() {
        let mut records = Vec::new();
        for (announce, route) in announced(&link).into_iter().rev().take(32) {
            idx = (idx + 1) % MAX_IDX;
            let own = RawAttributes { idx, ..route };
            // A distance of 0 with the proof of a greater one or with none, and a greater one at less than its cost.
            records.push(RawRecord::Announce(announce.clone(), RawAttributes { metric: 0, hops: 0, ..own }));
            records.push(RawRecord::Announce(
                announce.clone(),
                RawAttributes { metric: 0, hops: 0, chain: random.array(), ..own },
            ));
            records.push(RawRecord::Announce(announce.clone(), RawAttributes { metric: 1, hops: 2, ..own }));
            records.push(RawRecord::Offer(
                announce.dst,
                announce.seq,
                RawAttributes { metric: 0, hops: 0, ..own },
            ));
            records.push(RawRecord::Update(idx, 0, 0, Some(route.chain)));
            records.push(RawRecord::Update(idx, 31, 1, None));
        }
        // An identity of the attacker's own, since it has the proofs to distort.
        let identity = target.identity(1000 + random.number() % 8);
        let secret = random.array();
        let announce = RawAnnounce::new(&identity, 1 + random.number() % 1_000_000, 60, secret);
        idx = (idx + 1) % MAX_IDX;
        let fair = honest(&announce, idx, secret, 2);
        for (metric, hops, remaining) in
            [(63, 2, 60), (64, 64, 60), (64, 255, 60), (64, 2, 61), (64, 2, 0), (INFINITY, 2, 60)]
        {
            records.push(RawRecord::Announce(
                announce.clone(),
                RawAttributes { metric, hops, remaining, ..fair },
            ));
        }
        records.push(RawRecord::Announce(announce.clone(), RawAttributes { hops: 1, metric: 32, ..fair }));
        records.push(RawRecord::Announce(announce.clone(), fair));
        records.push(RawRecord::Update(idx, 32, 1, None));
        records.push(RawRecord::Update(idx, 32, 1, Some(random.array())));
        records.push(RawRecord::Announce(announce, RawAttributes { mtu: 0, ..fair }));
        forged += records.len() as u64;
        link.send_records(&records);
        thread::sleep(PAUSE);
    }
    link.wait_for_acknowledgement();
    Ok(Report::default().with("forged", forged).with("link_lost", u64::from(link.end().is_some())))
}

/// Copies of an announce with changes that the signature does not cover.
fn tampered(announce: &RawAnnounce, other: &Identity) -> Vec<RawAnnounce> {
    let change = |change: fn(&mut RawAnnounce)| {
        let mut announce = announce.clone();
        change(&mut announce);
        announce
    };
    vec![
        change(|announce| announce.seq += 1),
        change(|announce| announce.seq = u64::MAX),
        change(|announce| announce.lifetime = u16::MAX),
        change(|announce| announce.lifetime = announce.lifetime.saturating_sub(1)),
        change(|announce| announce.caps ^= 1),
        change(|announce| announce.anchor[3] ^= 1),
        change(|announce| announce.extensions = vec![1, 1, 0]),
        change(|announce| announce.signature[0] ^= 1),
        change(|announce| announce.signature = [0; 64]),
        change(|announce| announce.seq += 2).signed_by(other),
        change(|announce| (announce.seq, announce.anchor) = (u64::MAX - 1, [0; 16])).signed_by(other),
    ]
}

pub(super) fn forge_origin(target: &Target) -> Result<Report> {
    let (link, mut budget) = (target.link(0)?, target.budget());
    link.receive(|record| matches!(record, RawRecord::Announce(..)).then_some(()))?;
    let mut forged = 0;
    let mut idx = 0;
    while budget.tick() {
        let mut records = Vec::new();
        for (announce, route) in announced(&link).into_iter().rev().take(8) {
            for announce in tampered(&announce, &target.identity(0)) {
                idx = (idx + 1) % MAX_IDX;
                let route =
                    RawAttributes { idx, metric: 0, hops: 0, remaining: announce.lifetime.max(1), ..route };
                records.push(RawRecord::Announce(announce.clone(), route));
                records.push(RawRecord::YourHighest(announce));
            }
        }
        // Addresses that are no valid keys, or keys of no node.
        for dst in [[0; 32], [0xff; 32], [1; 32]] {
            idx = (idx + 1) % MAX_IDX;
            let announce = RawAnnounce {
                dst: Address::from_bytes(dst),
                ..RawAnnounce::new(&target.identity(0), 5, 60, [1; 16])
            };
            let route = honest(&announce, idx, [1; 16], 1);
            records.push(RawRecord::Announce(announce, route));
        }
        forged += records.len() as u64;
        link.send_records(&records);
        thread::sleep(PAUSE);
    }
    link.wait_for_acknowledgement();
    Ok(Report::default().with("forged", forged).with("link_lost", u64::from(link.end().is_some())))
}

/// Replays the announces of the victim, and former announces of an identity of the attacker's own, through the same link and
/// through another.
pub(super) fn replay_announce(target: &Target) -> Result<Report> {
    let (first, second, mut budget) = (target.link(0)?, target.link(1)?, target.budget());
    first.receive(|record| matches!(record, RawRecord::Announce(..)).then_some(()))?;
    let own = target.identity(2);
    let (mut old, mut replayed, mut idx) = (Vec::new(), 0, 0);
    for seq in 1..=16 {
        let announce = RawAnnounce::new(&own, seq << 32, 5400, [seq as u8; 16]);
        let route = honest(&announce, 0, [seq as u8; 16], 1);
        first.send_records(&[RawRecord::Announce(announce.clone(), route)]);
        old.push((announce, route));
    }
    first.wait_for_acknowledgement();
    while budget.tick() {
        let records: Vec<RawRecord> = announced(&first)
            .into_iter()
            .chain(old.iter().cloned())
            .rev()
            .take(64)
            .flat_map(|(announce, route)| {
                idx = (idx + 1) % MAX_IDX;
                let route = RawAttributes { idx, ..route };
                [
                    RawRecord::Announce(announce, route),
                    RawRecord::Update(idx, INFINITY, 0, None),
                    RawRecord::Update(idx, route.metric, route.hops, None),
                ]
            })
            .collect();
        replayed += 2 * records.len() as u64;
        first.send_records(&records);
        second.send_records(&records);
        thread::sleep(PAUSE);
    }
    first.wait_for_acknowledgement();
    second.wait_for_acknowledgement();
    Ok(Report::default().with("replayed", replayed))
}

pub(super) fn invent(target: &Target) -> Result<Report> {
    let (link, budget) = (target.link(0)?, target.budget());
    let (mut invented, mut records) = (0u64, Vec::new());
    // The count makes the attack, so that all of it is sent even where that takes longer than the time, as on a busy machine.
    let patience = budget.end + 10 * target.time;
    while invented < target.count && link.end().is_none() && Instant::now() < patience {
        let identity = target.identity(1_000_000 + invented);
        let secret = [invented as u8; 16];
        let announce = RawAnnounce::new(&identity, 1, 5400, secret);
        let route = honest(&announce, u32::try_from(invented)? % MAX_IDX, secret, 1);
        records.push(RawRecord::Announce(announce, route));
        invented += 1;
        if records.len() == 64 {
            link.send_records(&std::mem::take(&mut records));
        }
    }
    link.send_records(&records);
    link.wait_for_acknowledgement();
    // The victim requests the destinations again for which it had no room; the link stays open, because that is part of the cost.
    while Instant::now() < budget.end && link.end().is_none() {
        thread::sleep(PAUSE);
    }
    Ok(Report::default().with("invented", invented).with("link_lost", u64::from(link.end().is_some())))
}

/// The number of destinations that flap together: as many as a stranger may introduce at once.
const FLAPPING: u64 = 1024;

pub(super) fn flap(target: &Target) -> Result<Report> {
    let (link, mut budget) = (target.link(0)?, target.budget());
    let mut offers = Vec::new();
    for nth in 0..FLAPPING {
        let announce = RawAnnounce::new(&target.identity(2_000_000 + nth), 1, 5400, [7; 16]);
        let idx = u32::try_from(nth)?;
        link.send_records(&[RawRecord::Announce(announce.clone(), honest(&announce, idx, [7; 16], 1))]);
        offers.push(RawRecord::Update(idx, 32, 1, None));
    }
    let lost: Vec<RawRecord> =
        (0..u32::try_from(FLAPPING)?).map(|idx| RawRecord::Update(idx, INFINITY, 0, None)).collect();
    let mut flaps = 0;
    while budget.tick() && link.end().is_none() {
        for records in [&lost, &offers] {
            link.send_records(records);
            thread::sleep(PAUSE);
        }
        flaps += FLAPPING;
    }
    Ok(Report::default().with("flaps", flaps))
}

/// The number of destinations of the attacker's own that it then claims false distances of, or requests.
const OWN: u64 = 1000;

/// Announces destinations at the greatest distance of a route, so that a proof of a smaller one takes the most hashes.
fn far_away(target: &Target, link: &HostileLink) -> Result<()> {
    for nth in 0..OWN {
        let announce = RawAnnounce::new(&target.identity(3_000_000 + nth), 1, 5400, [9; 16]);
        link.send_records(&[RawRecord::Announce(
            announce.clone(),
            honest(&announce, u32::try_from(nth)?, [9; 16], 63),
        )]);
    }
    link.wait_for_acknowledgement();
    Ok(())
}

/// Sends records again and again, as fast as the link takes them.
fn repeat(target: &Target, link: &HostileLink, mut records: impl FnMut() -> Vec<RawRecord>) -> Report {
    let mut budget = target.budget();
    let mut sent = 0;
    while budget.tick() && link.end().is_none() {
        let records = records();
        sent += records.len() as u64;
        link.send_records(&records);
    }
    Report::default().with("sent", sent).with("link_lost", u64::from(link.end().is_some()))
}

pub(super) fn false_proofs(target: &Target) -> Result<Report> {
    let (link, mut random) = (target.link(0)?, target.random());
    far_away(target, &link)?;
    Ok(repeat(target, &link, || {
        (0..OWN as u32).map(|idx| RawRecord::Update(idx, 0, 0, Some(random.array()))).collect()
    }))
}

pub(super) fn want(target: &Target) -> Result<Report> {
    let (link, other) = (target.link(0)?, target.link(1)?);
    far_away(target, &other)?;
    Ok(repeat(target, &link, || (0..2 * OWN as u32).map(RawRecord::Want).collect()))
}

pub(super) fn offer(target: &Target) -> Result<Report> {
    let (link, mut random) = (target.link(0)?, target.random());
    let mut idx = 0;
    Ok(repeat(target, &link, || {
        let route =
            RawAttributes { idx: 0, metric: 64, hops: 2, mtu: 1100, remaining: 60, chain: random.array() };
        let offers = (0..OWN).map(|_| {
            idx = (idx + 1) % MAX_IDX;
            RawRecord::Offer(Address::from_bytes(random.array()), 1, RawAttributes { idx, ..route })
        });
        offers.collect()
    }))
}

pub(super) fn black_hole(target: &Target) -> Result<Report> {
    let also = target.also.context("it needs two nodes: --also ADDRESS:PORT")?;
    let hole = BlackHole::open(target, also)?;
    let budget = target.budget();
    while Instant::now() < budget.end {
        thread::sleep(PAUSE);
    }
    Ok(Report::default().with("dropped", hole.dropped()))
}

/// A black hole between two nodes: it advertises its true route to the second to the first, and drops the packets.
pub struct BlackHole {
    _near: Arc<HostileLink>,
    _far: HostileLink,
    dropped: Arc<AtomicU64>,
}

impl BlackHole {
    /// Opens one: it attracts what the node at `target.to` sends to the node at `far`.
    ///
    /// # Errors
    /// When one of them does not talk to it.
    pub fn open(target: &Target, far: std::net::SocketAddr) -> Result<Self> {
        let identity = target.identity(0);
        let behind = HostileLink::dial(far, &identity, target.mesh_key)?;
        let dst = behind.linked()?;
        let near = Arc::new(target.link(0)?);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = dropped.clone();
        near.on_event(move |_, happened| {
            if matches!(happened, RawLinkEvent::Packet(_)) {
                count.fetch_add(1, Relaxed);
            }
        });
        // Every announce of the far node is forwarded from now on.
        let forwarder = near.clone();
        let forward = move |_: &mut RawLink, happened: &RawLinkEvent| {
            let RawLinkEvent::Control(message) = happened else { return };
            for record in RawRecord::read(message) {
                let RawRecord::Announce(announce, route) = record else { continue };
                if announce.dst == dst && route.hops == 0 {
                    let value = chain(&dst, announce.seq, route.chain, 1);
                    let route = RawAttributes { idx: 1, metric: 32, hops: 1, chain: value, ..route };
                    let message = RawRecord::Announce(announce, route).bytes();
                    forwarder.with(|link| link.send_control(&message));
                }
            }
        };
        let first = behind.receive(|record| match record {
            RawRecord::Announce(announce, route) if announce.dst == dst && route.hops == 0 => {
                Some((announce.clone(), *route))
            }
            _ => None,
        })?;
        let message = RawRecord::Announce(first.0, first.1).bytes();
        behind.on_event(forward.clone());
        behind.with(|link| forward.clone()(link, &RawLinkEvent::Control(message)));
        Ok(BlackHole { _near: near, _far: behind, dropped })
    }

    /// The number of packets that it has dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

pub(super) fn seq_req(target: &Target) -> Result<Report> {
    let (link, mut random, mut budget) = (target.link(0)?, target.random(), target.budget());
    link.receive(|record| matches!(record, RawRecord::Announce(..)).then_some(()))?;
    let mut requested = 0;
    while budget.tick() {
        let mut records = vec![RawRecord::SeqnoRequest(Address::from_bytes(random.array()), 1, 255, 1)];
        for (announce, _) in announced(&link).into_iter().rev().take(64) {
            records.push(RawRecord::SeqnoRequest(announce.dst, u64::MAX, u8::MAX, random.number() as u32));
        }
        requested += records.len() as u64;
        link.send_records(&records);
        thread::sleep(PAUSE);
    }
    link.wait_for_acknowledgement();
    Ok(Report::default().with("requested", requested))
}

pub(super) fn your_highest(target: &Target) -> Result<Report> {
    let (link, mut budget) = (target.link(0)?, target.budget());
    link.receive(|record| matches!(record, RawRecord::Announce(..)).then_some(()))?;
    let mut sent = 0;
    while budget.tick() {
        let mut records = Vec::new();
        for (announce, _) in announced(&link).into_iter().rev().take(8) {
            // The true announce is among them, since an origin must not be outbid by its own announce.
            records.push(RawRecord::YourHighest(announce.clone()));
            records.extend(tampered(&announce, &target.identity(0)).into_iter().map(RawRecord::YourHighest));
        }
        sent += records.len() as u64;
        link.send_records(&records);
        thread::sleep(PAUSE);
    }
    link.wait_for_acknowledgement();
    Ok(Report::default().with("sent", sent))
}
