//! Attacks inside a link, and on sealed frames: what a neighbour may put under its seal, and what others may make of
//! it on the wire.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rouse_core::internals::raw::control_messages::{
    MAX_IDX, MAX_MESSAGE, RawAnnounce, RawAttributes, RawRecord,
};
use rouse_core::internals::raw::frames::{self, ACK, CONTROL, KINDS};

use super::routes::own_address;
use super::{Aim, Chance, Clock, Enemy, Report};

const BREATH: Duration = Duration::from_millis(5);

fn data(enemy: &Enemy) -> Vec<Vec<u8>> {
    enemy.sent().into_iter().filter(|frame| frame.first() == Some(&0x10)).collect()
}

pub(super) fn replay(aim: &Aim) -> Result<Report> {
    let (mut clock, elsewhere) = (aim.clock(), aim.socket(0)?);
    let enemy = aim.link(0)?;
    let peer = own_address(&enemy)?;
    for nonce in 0..32 {
        let ping = frames::probe(frames::PING, peer, nonce, frames::HOP_LIMIT);
        enemy.seal(&frames::packet(&peer, 0, frames::HOP_LIMIT, &ping));
        enemy.say(&[RawRecord::SeqnoRequest(peer, 1, 1, nonce as u32)]);
    }
    enemy.said();
    let old = data(&enemy);
    let mut replayed = 0;
    let mut volley = |enemy: &Enemy, clock: &mut Clock, until: Instant| {
        while Instant::now() < until && clock.tick() {
            for frame in &old {
                enemy.send(frame);
                let _ = elsewhere.send_to(frame, aim.to);
            }
            replayed += 2 * old.len() as u64;
            thread::sleep(BREATH);
        }
    };
    let half = Instant::now() + aim.time / 2;
    volley(&enemy, &mut clock, half);
    drop(enemy);
    // And into a later session of the very same identity.
    let later = aim.link(0)?;
    volley(&later, &mut clock, clock_end(aim, half));
    Ok(Report::default().with("replayed", replayed))
}

fn clock_end(aim: &Aim, half: Instant) -> Instant {
    half + aim.time / 2
}

/// Messages that no honest router sends.
fn nonsense(chance: &mut Chance, aim: &Aim) -> Vec<u8> {
    let announce = RawAnnounce::new(&aim.identity(7), 1 + chance.number() % 9, 60, [1; 16]);
    let mut long = announce.clone();
    long.extensions = vec![0xee; 256];
    let attributes =
        RawAttributes { idx: MAX_IDX - 1, metric: 32, hops: 1, mtu: 0, remaining: 60, chain: chance.array() };
    let words = [
        RawRecord::Announce(announce.clone(), attributes),
        RawRecord::Announce(long, attributes),
        RawRecord::Announce(announce.clone(), RawAttributes { idx: MAX_IDX, ..attributes }),
        RawRecord::Offer(announce.dst, announce.seq, RawAttributes { idx: u32::MAX, ..attributes }),
        RawRecord::Offer(announce.dst, u64::MAX, attributes),
        RawRecord::Want(chance.number() as u32),
        RawRecord::Update(
            chance.number() as u32,
            chance.number() as u16,
            chance.number() as u8,
            Some([1; 16]),
        ),
        RawRecord::Update(3, chance.number() as u16, chance.number() as u8, None),
        RawRecord::SeqnoRequest(announce.dst, chance.number(), chance.number() as u8, 1),
        RawRecord::YourHighest(announce),
    ];
    let mut bytes = words[chance.below(words.len())].bytes();
    match chance.below(8) {
        0 => bytes.truncate(chance.below(bytes.len()).max(1)),
        1 => bytes.extend(chance.some(1, 300)),
        2 => bytes[0] = chance.number() as u8,
        3 => {
            let kind = bytes[0];
            bytes = chance.some(1, MAX_MESSAGE);
            bytes[0] = kind;
        }
        4 => bytes = chance.some(1, 64),
        5 => bytes = bytes.repeat(MAX_MESSAGE / bytes.len()),
        6 => {
            let at = chance.below(bytes.len());
            bytes[at] ^= 1 << chance.below(8);
        }
        _ => {}
    }
    bytes
}

/// How many messages there are for each link that is broken.
const ROUND: u64 = 500;

pub(super) fn control(aim: &Aim) -> Result<Report> {
    let (enemy, mut chance, mut clock) = (aim.link(0)?, aim.chance(), aim.clock());
    let (mut said, mut broken) = (0, 0);
    while clock.tick() {
        enemy.say_bytes(&nonsense(&mut chance, aim));
        said += 1;
        if said % ROUND == ROUND - 1 {
            broken += u64::from(break_stream(aim, &mut chance)?);
        }
    }
    enemy.said();
    let lost = u64::from(enemy.end().is_some());
    Ok(Report::default().with("said", said).with("broken", broken).with("link_lost", lost))
}

/// A message of no length, or too long: nobody knows any more where the next begins. Whether the link was ended by it.
fn break_stream(aim: &Aim, chance: &mut Chance) -> Result<bool> {
    let enemy = aim.link(1)?;
    let length: u16 = if chance.below(2) == 0 { 0 } else { 4097 };
    enemy.seal(&frames::segment(0, (0, 0), &length.to_le_bytes()));
    let deadline = Instant::now() + Duration::from_secs(5);
    while enemy.end().is_none() && Instant::now() < deadline {
        thread::sleep(BREATH);
    }
    Ok(enemy.end().is_some())
}

pub(super) fn packets(aim: &Aim) -> Result<Report> {
    let (enemy, mut chance, mut clock) = (aim.link(0)?, aim.chance(), aim.clock());
    let peer = own_address(&enemy)?;
    let mut sent = 0u64;
    while clock.tick() {
        let nobody = rouse_core::Address::from_bytes(chance.array());
        let to = if chance.below(3) == 0 { nobody } else { peer };
        let mut payload = chance.some(0, 200);
        if let Some(kind) = payload.first_mut().filter(|_| chance.below(4) > 0) {
            *kind = 1 + (chance.number() % 5) as u8;
        }
        let hops = [0, 1, 2, 64, 255][chance.below(5)];
        let mut bytes = frames::packet(&to, chance.number() as u8, hops, &payload);
        match chance.below(6) {
            0 => bytes.truncate(chance.below(bytes.len())),
            1 => bytes[1] = chance.number() as u8,
            // A plaintext of another kind; but not the goodbye, by which the link would end.
            2 => {
                bytes = chance.some(1, 60);
                bytes[0] = (chance.number() % 250) as u8;
                if bytes[0] == frames::GOODBYE || bytes[0] == CONTROL || bytes[0] == ACK {
                    bytes[0] = KINDS;
                }
            }
            3 => bytes = Vec::new(),
            _ => {}
        }
        enemy.seal(&bytes);
        sent += 1;
        if sent.is_multiple_of(64) {
            thread::sleep(BREATH);
        }
    }
    Ok(Report::default().with("sent", sent).with("link_lost", u64::from(enemy.end().is_some())))
}

pub(super) fn slow_loris(aim: &Aim) -> Result<Report> {
    let (enemy, mut clock) = (aim.link(0)?, aim.clock());
    enemy.with(|link| link.withhold(&[CONTROL, ACK]));
    let body = vec![0xaa; 1100];
    let mut sent = 0u64;
    while clock.tick() && enemy.end().is_none() {
        // Never the first: it all has to be kept. And all of it again, as if nothing had come.
        for sequence in 1..64 {
            enemy.seal(&frames::segment(sequence, (0, 0), &body));
        }
        sent += 63;
        thread::sleep(BREATH);
    }
    Ok(Report::default().with("segments", sent).with("link_lost", u64::from(enemy.end().is_some())))
}

pub(super) fn huge_stream(aim: &Aim) -> Result<Report> {
    let (enemy, mut chance, mut clock) = (aim.link(0)?, aim.chance(), aim.clock());
    let nobody = rouse_core::Address::from_bytes(chance.array());
    let mut bytes = 0;
    while clock.tick() && enemy.end().is_none() {
        let one = RawRecord::SeqnoRequest(nobody, chance.number(), 255, chance.number() as u32).bytes();
        let message = one.repeat(MAX_MESSAGE / one.len());
        bytes += message.len() as u64;
        enemy.say_bytes(&message);
    }
    Ok(Report::default().with("bytes", bytes).with("link_lost", u64::from(enemy.end().is_some())))
}

pub(super) fn reflect(aim: &Aim) -> Result<Report> {
    let (enemy, mut chance, mut clock) = (aim.link(0)?, aim.chance(), aim.clock());
    let peer = own_address(&enemy)?;
    let victim = enemy.hear(|word| match word {
        RawRecord::Announce(announce, _) if announce.dst != peer => Some(announce.dst),
        _ => None,
    });
    // With nobody else there the answers go nowhere.
    let victim = victim.unwrap_or(rouse_core::Address::from_bytes(chance.array()));
    let mut asked = 0u64;
    while clock.tick() {
        let (kind, hops, flags) = match chance.below(2) {
            0 => (frames::PING, frames::HOP_LIMIT, 0),
            _ => (frames::TRACE, 1, frames::FLAG_TRACE),
        };
        let probe = frames::probe(kind, victim, chance.number(), hops);
        let to = if kind == frames::TRACE { victim } else { peer };
        enemy.seal(&frames::packet(&to, flags, hops, &probe));
        asked += 1;
        if asked.is_multiple_of(64) {
            thread::sleep(BREATH);
        }
    }
    Ok(Report::default().with("asked", asked))
}

pub(super) fn goodbye(aim: &Aim) -> Result<Report> {
    let (enemy, other, elsewhere) = (aim.link(0)?, aim.link(1)?, aim.socket(0)?);
    let (mut chance, mut clock, mut forged) = (aim.chance(), aim.clock(), 0u64);
    enemy.seal(&frames::packet(&own_address(&enemy)?, 0, 1, &[]));
    let index = data(&enemy).first().and_then(|frame| frame.get(2..6)?.try_into().ok()).unwrap_or([0; 4]);
    while clock.tick() {
        // Under the index of one session with the seal of another, with none, and from elsewhere.
        let mut frame = other.with(|link| link.seal(&[frames::GOODBYE, 1])).unwrap_or_default();
        if let Some(to) = frame.get_mut(2..6) {
            to.copy_from_slice(&index);
        }
        enemy.send(&frame);
        let _ = elsewhere.send_to(&frame, aim.to);
        let counter = chance.number() % 100_000;
        enemy.send(&frames::forged(u32::from_le_bytes(index), counter, &chance.bytes(18)));
        enemy.send(&frames::forged(chance.number() as u32, 0, &chance.bytes(18)));
        forged += 4;
        if forged.is_multiple_of(64) {
            thread::sleep(BREATH);
        }
    }
    let lost = u64::from(enemy.end().is_some()) + u64::from(other.end().is_some());
    Ok(Report::default().with("forged", forged).with("links_lost", lost))
}
