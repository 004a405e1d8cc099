//! Attacks on the routes: what a neighbour may say of others, and should not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rouse_core::internals::raw::control_messages::{
    INFINITY, MAX_IDX, RawAnnounce, RawAttributes, RawRecord, chain,
};
use rouse_core::internals::raw::{RawLink, RawLinkEvent};
use rouse_core::{Address, Identity};

use super::{Aim, Enemy, Report};

/// A pause between volleys, so that what is measured is the attack and not the attacker's speed.
const BREATH: Duration = Duration::from_millis(10);

fn honest(announce: &RawAnnounce, idx: u32, secret: [u8; 16], hops: u8) -> RawAttributes {
    let chain = chain(&announce.dst, announce.seq, secret, hops);
    let (metric, remaining) = (32 * u16::from(hops), announce.lifetime);
    RawAttributes { idx, metric, hops, mtu: 1100, remaining, chain }
}

/// What the victim has announced, with the distance that it told.
fn announced(enemy: &Enemy) -> Vec<(RawAnnounce, RawAttributes)> {
    let heard = enemy.heard().into_iter();
    heard
        .filter_map(|word| {
            if let RawRecord::Announce(announce, route) = word { Some((announce, route)) } else { None }
        })
        .collect()
}

pub(super) fn lie_metric(aim: &Aim) -> Result<Report> {
    let (enemy, mut chance, mut clock) = (aim.link(0)?, aim.chance(), aim.clock());
    enemy.hear(|word| matches!(word, RawRecord::Announce(..)).then_some(()))?;
    let mut lies = 0;
    let mut idx = 0;
    while clock.tick() {
        let mut words = Vec::new();
        for (announce, route) in announced(&enemy).into_iter().rev().take(32) {
            idx = (idx + 1) % MAX_IDX;
            let said = RawAttributes { idx, ..route };
            // As near as the origin itself, with the proof of who is farther, or none; or farther for less than it costs.
            words.push(RawRecord::Announce(announce.clone(), RawAttributes { metric: 0, hops: 0, ..said }));
            words.push(RawRecord::Announce(
                announce.clone(),
                RawAttributes { metric: 0, hops: 0, chain: chance.array(), ..said },
            ));
            words.push(RawRecord::Announce(announce.clone(), RawAttributes { metric: 1, hops: 2, ..said }));
            words.push(RawRecord::Offer(
                announce.dst,
                announce.seq,
                RawAttributes { metric: 0, hops: 0, ..said },
            ));
            words.push(RawRecord::Update(idx, 0, 0, Some(route.chain)));
            words.push(RawRecord::Update(idx, 31, 1, None));
        }
        // And of somebody of its own, so that the proofs are there to be twisted.
        let identity = aim.identity(1000 + chance.number() % 8);
        let secret = chance.array();
        let announce = RawAnnounce::new(&identity, 1 + chance.number() % 1_000_000, 60, secret);
        idx = (idx + 1) % MAX_IDX;
        let fair = honest(&announce, idx, secret, 2);
        for (metric, hops, remaining) in
            [(63, 2, 60), (64, 64, 60), (64, 255, 60), (64, 2, 61), (64, 2, 0), (INFINITY, 2, 60)]
        {
            words.push(RawRecord::Announce(
                announce.clone(),
                RawAttributes { metric, hops, remaining, ..fair },
            ));
        }
        words.push(RawRecord::Announce(announce.clone(), RawAttributes { hops: 1, metric: 32, ..fair }));
        words.push(RawRecord::Announce(announce.clone(), fair));
        words.push(RawRecord::Update(idx, 32, 1, None));
        words.push(RawRecord::Update(idx, 32, 1, Some(chance.array())));
        words.push(RawRecord::Announce(announce, RawAttributes { mtu: 0, ..fair }));
        lies += words.len() as u64;
        enemy.say(&words);
        thread::sleep(BREATH);
    }
    enemy.said();
    Ok(Report::default().with("lies", lies).with("link_lost", u64::from(enemy.end().is_some())))
}

/// Copies of an announce that differ from what was signed.
fn tampered(announce: &RawAnnounce, other: &Identity) -> Vec<RawAnnounce> {
    let twist = |twist: fn(&mut RawAnnounce)| {
        let mut announce = announce.clone();
        twist(&mut announce);
        announce
    };
    vec![
        twist(|announce| announce.seq += 1),
        twist(|announce| announce.seq = u64::MAX),
        twist(|announce| announce.lifetime = u16::MAX),
        twist(|announce| announce.lifetime = announce.lifetime.saturating_sub(1)),
        twist(|announce| announce.caps ^= 1),
        twist(|announce| announce.anchor[3] ^= 1),
        twist(|announce| announce.extensions = vec![1, 1, 0]),
        twist(|announce| announce.signature[0] ^= 1),
        twist(|announce| announce.signature = [0; 64]),
        twist(|announce| announce.seq += 2).signed_by(other),
        twist(|announce| (announce.seq, announce.anchor) = (u64::MAX - 1, [0; 16])).signed_by(other),
    ]
}

pub(super) fn lie_origin(aim: &Aim) -> Result<Report> {
    let (enemy, mut clock) = (aim.link(0)?, aim.clock());
    enemy.hear(|word| matches!(word, RawRecord::Announce(..)).then_some(()))?;
    let mut forged = 0;
    let mut idx = 0;
    while clock.tick() {
        let mut words = Vec::new();
        for (announce, route) in announced(&enemy).into_iter().rev().take(8) {
            for announce in tampered(&announce, &aim.identity(0)) {
                idx = (idx + 1) % MAX_IDX;
                let route =
                    RawAttributes { idx, metric: 0, hops: 0, remaining: announce.lifetime.max(1), ..route };
                words.push(RawRecord::Announce(announce.clone(), route));
                words.push(RawRecord::YourHighest(announce));
            }
        }
        // Nobody's, and of a key that is none.
        for dst in [[0; 32], [0xff; 32], [1; 32]] {
            idx = (idx + 1) % MAX_IDX;
            let announce = RawAnnounce {
                dst: Address::from_bytes(dst),
                ..RawAnnounce::new(&aim.identity(0), 5, 60, [1; 16])
            };
            let route = honest(&announce, idx, [1; 16], 1);
            words.push(RawRecord::Announce(announce, route));
        }
        forged += words.len() as u64;
        enemy.say(&words);
        thread::sleep(BREATH);
    }
    enemy.said();
    Ok(Report::default().with("forged", forged).with("link_lost", u64::from(enemy.end().is_some())))
}

/// What is replayed is what the victim itself told, and what an identity of the enemy's own said before it said something
/// newer: through the same link and through another.
pub(super) fn replay_announce(aim: &Aim) -> Result<Report> {
    let (first, second, mut clock) = (aim.link(0)?, aim.link(1)?, aim.clock());
    first.hear(|word| matches!(word, RawRecord::Announce(..)).then_some(()))?;
    let own = aim.identity(2);
    let (mut old, mut replayed, mut idx) = (Vec::new(), 0, 0);
    for seq in 1..=16 {
        let announce = RawAnnounce::new(&own, seq << 32, 5400, [seq as u8; 16]);
        let route = honest(&announce, 0, [seq as u8; 16], 1);
        first.say(&[RawRecord::Announce(announce.clone(), route)]);
        old.push((announce, route));
    }
    first.said();
    while clock.tick() {
        let words: Vec<RawRecord> = announced(&first)
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
        replayed += 2 * words.len() as u64;
        first.say(&words);
        second.say(&words);
        thread::sleep(BREATH);
    }
    first.said();
    second.said();
    Ok(Report::default().with("replayed", replayed))
}

pub(super) fn invent(aim: &Aim) -> Result<Report> {
    let (enemy, clock) = (aim.link(0)?, aim.clock());
    let (mut invented, mut words) = (0u64, Vec::new());
    // All of them, on a busy machine too, where that takes longer than the time: the count is what makes the attack.
    let patience = clock.end + 10 * aim.time;
    while invented < aim.count && enemy.end().is_none() && Instant::now() < patience {
        let identity = aim.identity(1_000_000 + invented);
        let secret = [invented as u8; 16];
        let announce = RawAnnounce::new(&identity, 1, 5400, secret);
        let route = honest(&announce, u32::try_from(invented)? % MAX_IDX, secret, 1);
        words.push(RawRecord::Announce(announce, route));
        invented += 1;
        if words.len() == 64 {
            enemy.say(&std::mem::take(&mut words));
        }
    }
    enemy.say(&words);
    enemy.said();
    // It goes on asking for those that it had no room for: that is part of what it costs.
    while Instant::now() < clock.end && enemy.end().is_none() {
        thread::sleep(BREATH);
    }
    Ok(Report::default().with("invented", invented).with("link_lost", u64::from(enemy.end().is_some())))
}

/// How many destinations come and go together: as many as a stranger may introduce at once, and no more.
const FLAPPING: u64 = 1024;

pub(super) fn flap(aim: &Aim) -> Result<Report> {
    let (enemy, mut clock) = (aim.link(0)?, aim.clock());
    let mut offers = Vec::new();
    for nth in 0..FLAPPING {
        let announce = RawAnnounce::new(&aim.identity(2_000_000 + nth), 1, 5400, [7; 16]);
        let idx = u32::try_from(nth)?;
        enemy.say(&[RawRecord::Announce(announce.clone(), honest(&announce, idx, [7; 16], 1))]);
        offers.push(RawRecord::Update(idx, 32, 1, None));
    }
    let lost: Vec<RawRecord> =
        (0..u32::try_from(FLAPPING)?).map(|idx| RawRecord::Update(idx, INFINITY, 0, None)).collect();
    let mut flaps = 0;
    while clock.tick() && enemy.end().is_none() {
        for words in [&lost, &offers] {
            enemy.say(words);
            thread::sleep(BREATH);
        }
        flaps += FLAPPING;
    }
    Ok(Report::default().with("flaps", flaps))
}

/// Destinations of the enemy's own that it then lies about, or asks for.
const OWN: u64 = 1000;

/// Announces destinations that are as far as a route may be, so that a proof of less takes as many hashes as there can be.
fn far_away(aim: &Aim, enemy: &Enemy) -> Result<()> {
    for nth in 0..OWN {
        let announce = RawAnnounce::new(&aim.identity(3_000_000 + nth), 1, 5400, [9; 16]);
        enemy.say(&[RawRecord::Announce(
            announce.clone(),
            honest(&announce, u32::try_from(nth)?, [9; 16], 63),
        )]);
    }
    enemy.said();
    Ok(())
}

/// Says the same words again and again, as fast as the link takes them.
fn again(aim: &Aim, enemy: &Enemy, mut words: impl FnMut() -> Vec<RawRecord>) -> Report {
    let mut clock = aim.clock();
    let mut said = 0;
    while clock.tick() && enemy.end().is_none() {
        let words = words();
        said += words.len() as u64;
        enemy.say(&words);
    }
    Report::default().with("said", said).with("link_lost", u64::from(enemy.end().is_some()))
}

pub(super) fn false_proofs(aim: &Aim) -> Result<Report> {
    let (enemy, mut chance) = (aim.link(0)?, aim.chance());
    far_away(aim, &enemy)?;
    Ok(again(aim, &enemy, || {
        (0..OWN as u32).map(|idx| RawRecord::Update(idx, 0, 0, Some(chance.array()))).collect()
    }))
}

pub(super) fn want(aim: &Aim) -> Result<Report> {
    let (enemy, other) = (aim.link(0)?, aim.link(1)?);
    far_away(aim, &other)?;
    Ok(again(aim, &enemy, || (0..2 * OWN as u32).map(RawRecord::Want).collect()))
}

pub(super) fn offer(aim: &Aim) -> Result<Report> {
    let (enemy, mut chance) = (aim.link(0)?, aim.chance());
    let mut idx = 0;
    Ok(again(aim, &enemy, || {
        let route =
            RawAttributes { idx: 0, metric: 64, hops: 2, mtu: 1100, remaining: 60, chain: chance.array() };
        let offers = (0..OWN).map(|_| {
            idx = (idx + 1) % MAX_IDX;
            RawRecord::Offer(Address::from_bytes(chance.array()), 1, RawAttributes { idx, ..route })
        });
        offers.collect()
    }))
}

pub(super) fn black_hole(aim: &Aim) -> Result<Report> {
    let also = aim.also.context("it needs two nodes: --also ADDRESS:PORT")?;
    let hole = Hole::open(aim, also)?;
    let clock = aim.clock();
    while Instant::now() < clock.end {
        thread::sleep(BREATH);
    }
    Ok(Report::default().with("swallowed", hole.swallowed()))
}

/// A black hole between two nodes: it tells the first the truth about the way to the second, and swallows what comes.
pub struct Hole {
    _near: Arc<Enemy>,
    _far: Enemy,
    swallowed: Arc<AtomicU64>,
}

impl Hole {
    /// Opens one: it attracts what the node at `aim.to` sends to the node at `far`.
    ///
    /// # Errors
    /// When one of them does not talk to it.
    pub fn open(aim: &Aim, far: std::net::SocketAddr) -> Result<Self> {
        let identity = aim.identity(0);
        let behind = Enemy::dial(far, &identity, aim.mesh_key)?;
        let dst = behind.linked()?;
        let near = Arc::new(aim.link(0)?);
        let swallowed = Arc::new(AtomicU64::new(0));
        let count = swallowed.clone();
        near.react(move |_, happened| {
            if matches!(happened, RawLinkEvent::Packet(_)) {
                count.fetch_add(1, Relaxed);
            }
        });
        // Whatever the far node says of itself, from now on.
        let teller = near.clone();
        let tell = move |_: &mut RawLink, happened: &RawLinkEvent| {
            let RawLinkEvent::Control(message) = happened else { return };
            for word in RawRecord::read(message) {
                let RawRecord::Announce(announce, route) = word else { continue };
                if announce.dst == dst && route.hops == 0 {
                    let value = chain(&dst, announce.seq, route.chain, 1);
                    let route = RawAttributes { idx: 1, metric: 32, hops: 1, chain: value, ..route };
                    let message = RawRecord::Announce(announce, route).bytes();
                    teller.with(|link| link.say(&message));
                }
            }
        };
        let first = behind.hear(|word| match word {
            RawRecord::Announce(announce, route) if announce.dst == dst && route.hops == 0 => {
                Some((announce.clone(), *route))
            }
            _ => None,
        })?;
        let message = RawRecord::Announce(first.0, first.1).bytes();
        behind.react(tell.clone());
        behind.with(|link| tell.clone()(link, &RawLinkEvent::Control(message)));
        Ok(Hole { _near: near, _far: behind, swallowed })
    }

    /// Packets that went into it.
    pub fn swallowed(&self) -> u64 {
        self.swallowed.load(Relaxed)
    }
}

pub(super) fn seq_req(aim: &Aim) -> Result<Report> {
    let (enemy, mut chance, mut clock) = (aim.link(0)?, aim.chance(), aim.clock());
    enemy.hear(|word| matches!(word, RawRecord::Announce(..)).then_some(()))?;
    let mut asked = 0;
    while clock.tick() {
        let mut words = vec![RawRecord::SeqnoRequest(Address::from_bytes(chance.array()), 1, 255, 1)];
        for (announce, _) in announced(&enemy).into_iter().rev().take(64) {
            words.push(RawRecord::SeqnoRequest(announce.dst, u64::MAX, u8::MAX, chance.number() as u32));
        }
        asked += words.len() as u64;
        enemy.say(&words);
        thread::sleep(BREATH);
    }
    enemy.said();
    Ok(Report::default().with("asked", asked))
}

pub(super) fn your_highest(aim: &Aim) -> Result<Report> {
    let (enemy, mut clock) = (aim.link(0)?, aim.clock());
    enemy.hear(|word| matches!(word, RawRecord::Announce(..)).then_some(()))?;
    let mut told = 0;
    while clock.tick() {
        let mut words = Vec::new();
        for (announce, _) in announced(&enemy).into_iter().rev().take(8) {
            // What was really said, too: nobody is outbid by their own words.
            words.push(RawRecord::YourHighest(announce.clone()));
            words.extend(tampered(&announce, &aim.identity(0)).into_iter().map(RawRecord::YourHighest));
        }
        told += words.len() as u64;
        enemy.say(&words);
        thread::sleep(BREATH);
    }
    enemy.said();
    Ok(Report::default().with("told", told))
}

/// Whoever only calls a link its own must at least have one.
pub(super) fn own_address(enemy: &Enemy) -> Result<Address> {
    match enemy.with(|link| link.peer()) {
        Some(peer) => Ok(peer),
        None => bail!("no link"),
    }
}
