//! Every attack of an ordinary member of an open mesh at once, each in a thread of its own and at a fixed rate, because the subject
//! is the cost of an input for the victim and not the speed of the attacker.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rouse_adversary::raw::control_messages::{RawAnnounce, RawAttributes, RawRecord, chain};
use rouse_adversary::raw::frames::{self, ForgedInitiation};
use rouse_core::Address;

use super::link::HostileLink;
use super::random::Random;
use super::target::{Report, Target};

/// The packets of one attack in a second, which are 200 kB/s where the packets are long.
const RATE: u32 = 200;
/// The identities that dial from one address.
const IDENTITIES: u64 = 31;
/// The destinations that are announced before false distances are claimed for them.
const ANNOUNCED: u32 = 1000;

/// A steady rate, up to an end.
struct Pace {
    next: Instant,
    end: Instant,
    pause: Duration,
}

impl Pace {
    fn new(target: &Target, rate: u32) -> Self {
        let now = Instant::now();
        Pace { next: now, end: now + target.time, pause: Duration::from_secs(1) / rate }
    }

    /// Waits until the next input is due; `false` at the end.
    fn tick(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.end {
            return false;
        }
        thread::sleep(self.next.saturating_duration_since(now));
        // Inputs that were missed are not made up for, so that the rate stays bounded.
        self.next = self.next.max(now) + self.pause;
        true
    }
}

/// A message packet with any source.
fn message(source: &Address, from: u64, number: u64, floor: u64, frames: &[u8]) -> Vec<u8> {
    let mut payload = vec![1];
    payload.extend_from_slice(source.as_bytes());
    for field in [from, 0, number] {
        payload.extend_from_slice(&field.to_le_bytes());
    }
    payload.extend_from_slice(&0u32.to_le_bytes());
    payload.extend_from_slice(&floor.to_le_bytes());
    payload.extend_from_slice(frames);
    payload
}

/// A message of one byte at the end of the window, which is the floor and 4095.
fn one_byte_message() -> Vec<u8> {
    let mut frame = vec![3];
    frame.extend_from_slice(&4095u16.to_le_bytes());
    frame.extend_from_slice(&7u64.to_le_bytes());
    frame.extend_from_slice(&1u16.to_le_bytes());
    frame.extend_from_slice(&[0, 0, 1, 0, 0xaa]);
    frame
}

fn fragments(nth: u32) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in 0..45 {
        all.push(4);
        all.extend_from_slice(&1u16.to_le_bytes());
        all.extend_from_slice(&7u64.to_le_bytes());
        all.extend_from_slice(&(16u32 << 20).to_le_bytes());
        all.extend_from_slice(&((8 << 20) - 2 * (nth * 45 + piece)).to_le_bytes());
        all.extend_from_slice(&[1, 0, 0xaa]);
    }
    all
}

/// Packets for the victim, or through it for another node.
fn flood(
    target: &Target,
    nth: u64,
    mut payload: impl FnMut(&mut Random, u64, &Address) -> (Address, Vec<u8>),
) -> Result<u64> {
    let (mut random, mut pace, mut sent) = (target.random(), Pace::new(target, RATE), 0);
    let mut previous = None;
    while pace.tick() {
        // A link that the victim has ended is replaced.
        let link = match previous.take().filter(HostileLink::is_linked) {
            Some(link) => link,
            None => target.link(nth)?,
        };
        if let Ok(victim) = link.linked() {
            let (to, payload) = payload(&mut random, sent, &victim);
            link.seal(&frames::packet(&to, 0, 64, &payload));
            sent += 1;
        }
        previous = Some(link);
    }
    Ok(sent)
}

fn skips(target: &Target, behind: Address) -> Result<u64> {
    let source = Address::from_bytes([0x5c; 32]);
    flood(target, 1, |_, nth, _| {
        let floor = if nth == 0 { 1_000_000 } else { 0 };
        let frames = [5, 0, 0, 0xff, 0xff].repeat(if nth == 0 { 0 } else { 200 });
        (behind, message(&source, 7, nth, floor, &frames))
    })
}

fn invented(target: &Target) -> Result<u64> {
    flood(target, 2, |random, _, victim| {
        let source = Address::from_bytes(random.array());
        (*victim, message(&source, 7, 0, 0, &one_byte_message()))
    })
}

fn small_pieces(target: &Target) -> Result<u64> {
    let source = Address::from_bytes([0x5d; 32]);
    flood(target, 3, |_, nth, victim| (*victim, message(&source, 7, nth, 0, &fragments(nth as u32))))
}

fn claimants(target: &Target, neighbour: Address) -> Result<u64> {
    flood(target, 4, |random, _, victim| {
        let from = random.number() | 1;
        (*victim, message(&neighbour, from, 0, 0, &one_byte_message()))
    })
}

/// Announces a thousand destinations, and claims false distances of them.
fn false_proofs(target: &Target) -> Result<u64> {
    let link = target.link(5)?;
    let (mut random, mut pace, mut forged) = (target.random(), Pace::new(target, RATE), 0u32);
    let records: Vec<RawRecord> = (0..ANNOUNCED)
        .map(|idx| {
            let secret = random.array();
            let announce = RawAnnounce::new(&target.identity(100_000 + u64::from(idx)), 1, 5400, secret);
            let chain = chain(&announce.dst, announce.seq, secret, 63);
            let attributes = RawAttributes { idx, metric: 4000, hops: 63, mtu: 1100, remaining: 5400, chain };
            RawRecord::Announce(announce, attributes)
        })
        .collect();
    link.send_records(&records);
    while pace.tick() && link.end().is_none() {
        let claim = |nth: u32| RawRecord::Update((forged + nth) % ANNOUNCED, 64, 1, Some([0xfa; 16]));
        let records: Vec<RawRecord> = (0..36).map(claim).collect();
        forged += 36;
        // A message that the link does not take at once is dropped, since a wait would change the rate.
        let message: Vec<u8> = records.iter().flat_map(RawRecord::bytes).collect();
        link.with(|link| link.send_control(&message));
    }
    Ok(forged.into())
}

/// One identity that dials from a new port each time, and then sends forged announces.
fn reconnect(target: &Target) -> Result<u64> {
    let (mut random, mut pace, mut sessions) = (target.random(), Pace::new(target, 20), 0);
    let forged: Vec<RawRecord> = (0..64)
        .map(|idx| {
            let mut announce = RawAnnounce::new(&target.identity(200_000 + u64::from(idx)), 1, 5400, [7; 16]);
            announce.signature = [0x5a; 64];
            let attributes =
                RawAttributes { idx, metric: 64, hops: 1, mtu: 1100, remaining: 5400, chain: random.array() };
            RawRecord::Announce(announce, attributes)
        })
        .collect();
    while pace.tick() {
        let link = HostileLink::dial(target.to, &target.identity(6), target.mesh_key)?;
        let deadline = Instant::now() + Duration::from_millis(200);
        while !link.is_linked() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        if link.is_linked() {
            link.send_records(&forged);
            sessions += 1;
        }
    }
    Ok(sessions)
}

/// Handshake initiations from one address that are never completed.
fn initiations(target: &Target) -> Result<u64> {
    let (mut random, mut pace, mut begun) = (target.random(), Pace::new(target, RATE), 0);
    let socket: UdpSocket = target.socket(0)?;
    while pace.tick() {
        let opening = ForgedInitiation::new(random.number() as u32, random.array());
        let _ = socket.send_to(&opening.bytes(), target.to);
        begun += 1;
    }
    Ok(begun)
}

/// As many identities as there are neighbour slots, all from one address.
fn crowd(target: &Target) -> Result<u64> {
    let mut pace = Pace::new(target, 5);
    let dial = |nth: u64| HostileLink::dial(target.to, &target.identity(300 + nth), target.mesh_key);
    let mut crowd = (0..IDENTITIES).map(dial).collect::<Result<Vec<_>>>()?;
    let mut most = 0;
    while pace.tick() {
        let gone = crowd.iter_mut().zip(0..).find(|(link, _)| link.end().is_some());
        if let Some((link, nth)) = gone {
            *link = dial(nth)?;
        }
        most = most.max(crowd.iter().filter(|link| link.is_linked()).count() as u64);
    }
    Ok(most)
}

/// The address of the node that listens at `at`.
fn address_of(target: &Target, at: SocketAddr) -> Result<Address> {
    let link = HostileLink::dial(at, &target.identity(0), target.mesh_key)?;
    link.linked()
}

pub(super) fn everything(target: &Target) -> Result<Report> {
    let behind = match target.also {
        Some(also) => address_of(target, also)?,
        None => Address::from_bytes([0x77; 32]),
    };
    let names = [
        "skips",
        "invented_sources",
        "small_fragments",
        "claimants",
        "false_proofs",
        "sessions",
        "initiations",
        "crowd",
    ];
    let counts = names.map(|_| AtomicU64::new(0));
    let run = |nth: usize| match nth {
        0 => skips(target, behind),
        1 => invented(target),
        2 => small_pieces(target),
        3 => claimants(target, behind),
        4 => false_proofs(target),
        5 => reconnect(target),
        6 => initiations(target),
        _ => crowd(target),
    };
    thread::scope(|scope| {
        for (nth, count) in counts.iter().enumerate() {
            // An attack that gets no link any more has been repelled, which is no error.
            scope.spawn(move || count.store(run(nth).unwrap_or(0), Relaxed));
        }
    });
    let with =
        |report: Report, (name, count): (&'static str, &AtomicU64)| report.with(name, count.load(Relaxed));
    Ok(names.into_iter().zip(&counts).fold(Report::default(), with))
}
