//! Attacks inside a link and on sealed frames: plaintexts that a neighbour may seal, and frames that others may replay or
//! forge.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rouse_adversary::raw::control_messages::{MAX_IDX, MAX_MESSAGE, RawAnnounce, RawAttributes, RawRecord};
use rouse_adversary::raw::frames::{self, ACK, CONTROL, KINDS};

use super::link::HostileLink;
use super::random::Random;
use super::target::{Budget, Report, Target};

const PAUSE: Duration = Duration::from_millis(5);

fn data(link: &HostileLink) -> Vec<Vec<u8>> {
    link.sent().into_iter().filter(|frame| frame.first() == Some(&0x10)).collect()
}

pub(super) fn replay(target: &Target) -> Result<Report> {
    let (mut budget, elsewhere) = (target.budget(), target.socket(0)?);
    let link = target.link(0)?;
    let peer = link.peer()?;
    for nonce in 0..32 {
        let ping = frames::probe(frames::PING, peer, nonce, frames::HOP_LIMIT);
        link.seal(&frames::packet(&peer, 0, frames::HOP_LIMIT, &ping));
        link.send_records(&[RawRecord::SeqnoRequest(peer, 1, 1, nonce as u32)]);
    }
    link.wait_for_acknowledgement();
    let old = data(&link);
    let mut replayed = 0;
    let mut volley = |link: &HostileLink, budget: &mut Budget, until: Instant| {
        while Instant::now() < until && budget.tick() {
            for frame in &old {
                link.send(frame);
                let _ = elsewhere.send_to(frame, target.to);
            }
            replayed += 2 * old.len() as u64;
            thread::sleep(PAUSE);
        }
    };
    let half = Instant::now() + target.time / 2;
    volley(&link, &mut budget, half);
    drop(link);
    // The second half is sent into a later session of the same identity.
    let later = target.link(0)?;
    volley(&later, &mut budget, half_end(target, half));
    Ok(Report::default().with("replayed", replayed))
}

fn half_end(target: &Target, half: Instant) -> Instant {
    half + target.time / 2
}

/// Messages that no honest router sends.
fn nonsense(random: &mut Random, target: &Target) -> Vec<u8> {
    let announce = RawAnnounce::new(&target.identity(7), 1 + random.number() % 9, 60, [1; 16]);
    let mut long = announce.clone();
    long.extensions = vec![0xee; 256];
    let attributes =
        RawAttributes { idx: MAX_IDX - 1, metric: 32, hops: 1, mtu: 0, remaining: 60, chain: random.array() };
    let records = [
        RawRecord::Announce(announce.clone(), attributes),
        RawRecord::Announce(long, attributes),
        RawRecord::Announce(announce.clone(), RawAttributes { idx: MAX_IDX, ..attributes }),
        RawRecord::Offer(announce.dst, announce.seq, RawAttributes { idx: u32::MAX, ..attributes }),
        RawRecord::Offer(announce.dst, u64::MAX, attributes),
        RawRecord::Want(random.number() as u32),
        RawRecord::Update(
            random.number() as u32,
            random.number() as u16,
            random.number() as u8,
            Some([1; 16]),
        ),
        RawRecord::Update(3, random.number() as u16, random.number() as u8, None),
        RawRecord::SeqnoRequest(announce.dst, random.number(), random.number() as u8, 1),
        RawRecord::YourHighest(announce),
    ];
    let mut bytes = records[random.below(records.len())].bytes();
    match random.below(8) {
        0 => bytes.truncate(random.below(bytes.len()).max(1)),
        1 => bytes.extend(random.some(1, 300)),
        2 => bytes[0] = random.number() as u8,
        3 => {
            let kind = bytes[0];
            bytes = random.some(1, MAX_MESSAGE);
            bytes[0] = kind;
        }
        4 => bytes = random.some(1, 64),
        5 => bytes = bytes.repeat(MAX_MESSAGE / bytes.len()),
        6 => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        _ => {}
    }
    bytes
}

/// The messages that are sent for each link that is broken.
const ROUND: u64 = 500;

pub(super) fn control(target: &Target) -> Result<Report> {
    let (link, mut random, mut budget) = (target.link(0)?, target.random(), target.budget());
    let (mut sent, mut broken) = (0, 0);
    while budget.tick() {
        link.send_control(&nonsense(&mut random, target));
        sent += 1;
        if sent % ROUND == ROUND - 1 {
            broken += u64::from(break_stream(target, &mut random)?);
        }
    }
    link.wait_for_acknowledgement();
    let lost = u64::from(link.end().is_some());
    Ok(Report::default().with("sent", sent).with("broken", broken).with("link_lost", lost))
}

/// Sends a message of length 0 or of too great a length, after which the beginning of the next one is unknown. Returns whether
/// the victim has ended the link.
fn break_stream(target: &Target, random: &mut Random) -> Result<bool> {
    let link = target.link(1)?;
    let length: u16 = if random.below(2) == 0 { 0 } else { 4097 };
    link.seal(&frames::segment(0, (0, 0), &length.to_le_bytes()));
    let deadline = Instant::now() + Duration::from_secs(5);
    while link.end().is_none() && Instant::now() < deadline {
        thread::sleep(PAUSE);
    }
    Ok(link.end().is_some())
}

pub(super) fn packets(target: &Target) -> Result<Report> {
    let (link, mut random, mut budget) = (target.link(0)?, target.random(), target.budget());
    let peer = link.peer()?;
    let mut sent = 0u64;
    while budget.tick() {
        let absent = rouse_core::Address::from_bytes(random.array());
        let to = if random.below(3) == 0 { absent } else { peer };
        let mut payload = random.some(0, 200);
        if let Some(kind) = payload.first_mut().filter(|_| random.below(4) > 0) {
            *kind = 1 + (random.number() % 5) as u8;
        }
        let hops = [0, 1, 2, 64, 255][random.below(5)];
        let mut bytes = frames::packet(&to, random.number() as u8, hops, &payload);
        match random.below(6) {
            0 => bytes.truncate(random.below(bytes.len())),
            1 => bytes[1] = random.number() as u8,
            // A plaintext of another kind, except the goodbye, because that would end the link.
            2 => {
                bytes = random.some(1, 60);
                bytes[0] = (random.number() % 250) as u8;
                if bytes[0] == frames::GOODBYE || bytes[0] == CONTROL || bytes[0] == ACK {
                    bytes[0] = KINDS;
                }
            }
            3 => bytes = Vec::new(),
            _ => {}
        }
        link.seal(&bytes);
        sent += 1;
        if sent.is_multiple_of(64) {
            thread::sleep(PAUSE);
        }
    }
    Ok(Report::default().with("sent", sent).with("link_lost", u64::from(link.end().is_some())))
}

pub(super) fn slow_loris(target: &Target) -> Result<Report> {
    let (link, mut budget) = (target.link(0)?, target.budget());
    link.with(|link| link.withhold(&[CONTROL, ACK]));
    let body = vec![0xaa; 1100];
    let mut sent = 0u64;
    while budget.tick() && link.end().is_none() {
        // The first segment is missing, so that the victim has to keep all others. They are sent again as if none had arrived.
        for sequence in 1..64 {
            link.seal(&frames::segment(sequence, (0, 0), &body));
        }
        sent += 63;
        thread::sleep(PAUSE);
    }
    Ok(Report::default().with("segments", sent).with("link_lost", u64::from(link.end().is_some())))
}

pub(super) fn huge_stream(target: &Target) -> Result<Report> {
    let (link, mut random, mut budget) = (target.link(0)?, target.random(), target.budget());
    let absent = rouse_core::Address::from_bytes(random.array());
    let mut bytes = 0;
    while budget.tick() && link.end().is_none() {
        let one = RawRecord::SeqnoRequest(absent, random.number(), 255, random.number() as u32).bytes();
        let message = one.repeat(MAX_MESSAGE / one.len());
        bytes += message.len() as u64;
        link.send_control(&message);
    }
    Ok(Report::default().with("bytes", bytes).with("link_lost", u64::from(link.end().is_some())))
}

pub(super) fn reflect(target: &Target) -> Result<Report> {
    let (link, mut random, mut budget) = (target.link(0)?, target.random(), target.budget());
    let peer = link.peer()?;
    let victim = link.receive(|record| match record {
        RawRecord::Announce(announce, _) if announce.dst != peer => Some(announce.dst),
        _ => None,
    });
    // Without a third node the replies have no destination.
    let victim = victim.unwrap_or(rouse_core::Address::from_bytes(random.array()));
    let mut requested = 0u64;
    while budget.tick() {
        let (kind, hops, flags) = match random.below(2) {
            0 => (frames::PING, frames::HOP_LIMIT, 0),
            _ => (frames::TRACE, 1, frames::FLAG_TRACE),
        };
        let probe = frames::probe(kind, victim, random.number(), hops);
        let to = if kind == frames::TRACE { victim } else { peer };
        link.seal(&frames::packet(&to, flags, hops, &probe));
        requested += 1;
        if requested.is_multiple_of(64) {
            thread::sleep(PAUSE);
        }
    }
    Ok(Report::default().with("requested", requested))
}

pub(super) fn goodbye(target: &Target) -> Result<Report> {
    let (link, other, elsewhere) = (target.link(0)?, target.link(1)?, target.socket(0)?);
    let (mut random, mut budget, mut forged) = (target.random(), target.budget(), 0u64);
    link.seal(&frames::packet(&link.peer()?, 0, 1, &[]));
    let index = data(&link).first().and_then(|frame| frame.get(2..6)?.try_into().ok()).unwrap_or([0; 4]);
    while budget.tick() {
        // Goodbyes with the index of one session and the seal of another, with no valid seal, and from another address.
        let mut frame = other.with(|link| link.seal(&[frames::GOODBYE, 1])).unwrap_or_default();
        if let Some(to) = frame.get_mut(2..6) {
            to.copy_from_slice(&index);
        }
        link.send(&frame);
        let _ = elsewhere.send_to(&frame, target.to);
        let counter = random.number() % 100_000;
        link.send(&frames::forged(u32::from_le_bytes(index), counter, &random.bytes(18)));
        link.send(&frames::forged(random.number() as u32, 0, &random.bytes(18)));
        forged += 4;
        if forged.is_multiple_of(64) {
            thread::sleep(PAUSE);
        }
    }
    let lost = u64::from(link.end().is_some()) + u64::from(other.end().is_some());
    Ok(Report::default().with("forged", forged).with("links_lost", lost))
}
