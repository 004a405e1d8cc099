//! Attacks of strangers: on the handshakes, and on the replies that a stranger can cause.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rouse_adversary::raw::frames::{self, ForgedInitiation};

use super::link::HostileLink;
use super::target::{Report, Target};

const PAUSE: Duration = Duration::from_millis(2);
/// The sockets in use at once. On loopback each has an address of its own, as if it were another host.
const HOSTS: u64 = 128;
/// The number of handshakes that begin without a pause.
const VOLLEY: u64 = 64;

/// Reads all datagrams of a socket. Returns their number and their bytes.
fn take(socket: &UdpSocket, mut each: impl FnMut(&[u8])) -> (u64, u64) {
    let mut buffer = [0; 2048];
    let (mut count, mut bytes) = (0, 0);
    while let Ok(length) = socket.recv(&mut buffer) {
        each(&buffer[..length]);
        count += 1;
        bytes += length as u64;
    }
    (count, bytes)
}

pub(super) fn half_open(target: &Target) -> Result<Report> {
    let (mut random, mut budget) = (target.random(), target.budget());
    let hosts: Vec<UdpSocket> = (0..HOSTS).map(|nth| target.socket(nth)).collect::<Result<_>>()?;
    let mut last: Vec<Option<ForgedInitiation>> = vec![None; hosts.len()];
    let (mut begun, mut answered, mut cookies) = (0, 0, 0);
    while budget.tick() {
        let nth = random.below(hosts.len());
        let opening = ForgedInitiation::new(random.number() as u32, random.array());
        let _ = hosts[nth].send_to(&opening.bytes(), target.to);
        last[nth] = Some(opening);
        begun += 1;
        if begun % VOLLEY != 0 {
            continue;
        }
        thread::sleep(PAUSE);
        for (host, opening) in hosts.iter().zip(&last) {
            let mut requested = None;
            take(host, |frame| match frames::requested_cookie(frame) {
                Some(cookie) => requested = Some(cookie),
                None => answered += 1,
            });
            // Every second host pretends to be honest.
            if let (Some(cookie), Some(opening), true) = (requested, opening, random.below(2) == 0) {
                let _ = host.send_to(&ForgedInitiation { cookie, ..*opening }.bytes(), target.to);
                cookies += 1;
            }
        }
    }
    Ok(Report::default().with("begun", begun).with("answered", answered).with("cookies_shown", cookies))
}

pub(super) fn replay(target: &Target) -> Result<Report> {
    let (mut budget, elsewhere) = (target.budget(), target.socket(0)?);
    let link = target.link(0)?;
    let shaken: Vec<Vec<u8>> = link
        .sent()
        .into_iter()
        .filter(|frame| frame.first().is_some_and(|kind| *kind <= frames::HANDSHAKES))
        .collect();
    let (mut replayed, mut answered) = (0, 0);
    while budget.tick() {
        for frame in &shaken {
            link.send(frame);
            let _ = elsewhere.send_to(frame, target.to);
            replayed += 2;
        }
        answered += take(&elsewhere, |_| {}).0;
        thread::sleep(PAUSE);
    }
    let lost = u64::from(link.end().is_some());
    Ok(Report::default().with("replayed", replayed).with("answered", answered).with("link_lost", lost))
}

/// The identities that dial at once.
const IDENTITIES: u64 = 64;

pub(super) fn crowd(target: &Target) -> Result<Report> {
    let mut budget = target.budget();
    let mut crowd = Vec::new();
    for nth in 0..target.count.min(IDENTITIES) {
        let from = target.socket(nth)?.local_addr()?.ip();
        crowd.push(HostileLink::dial_from(from, target.to, &target.identity(100 + nth), target.mesh_key)?);
    }
    while Instant::now() < budget.end && budget.left > 0 {
        thread::sleep(PAUSE);
        // A link that the victim has ended is replaced, with another identity.
        for (link, nth) in crowd.iter_mut().zip(0..) {
            if link.end().is_some() {
                let from = target.socket(nth)?.local_addr()?.ip();
                *link = HostileLink::dial_from(
                    from,
                    target.to,
                    &target.identity(1000 + budget.left),
                    target.mesh_key,
                )?;
                budget.left -= 1;
            }
        }
    }
    let linked = crowd.iter().filter(|link| link.is_linked()).count();
    Ok(Report::default().with("links", linked as u64))
}

pub(super) fn amplify(target: &Target) -> Result<Report> {
    let (mut random, mut budget) = (target.random(), target.budget());
    let hosts: Vec<UdpSocket> = (0..HOSTS).map(|nth| target.socket(nth)).collect::<Result<_>>()?;
    let (mut sent, mut out, mut back) = (0u64, 0u64, 0u64);
    let mut worst = 0;
    while budget.tick() {
        let mut opening = ForgedInitiation::new(random.number() as u32, random.array());
        match random.below(5) {
            0 => opening.version = random.number() as u8,
            1 => opening.flags = random.number() as u8,
            2 => opening.length = random.below(frames::INITIATION_BYTES + 200),
            3 => opening.cookie = random.array(),
            _ => {}
        }
        let mut bytes = opening.bytes();
        match random.below(6) {
            0 => bytes.iter_mut().take(1).for_each(|kind| *kind = 1 + (random.number() % 5) as u8),
            1 => bytes = random.some(0, 600),
            2 => bytes = frames::forged(random.number() as u32, random.number(), &random.some(0, 1200)),
            _ => {}
        }
        let host = &hosts[random.below(hosts.len())];
        if host.send_to(&bytes, target.to).is_ok() {
            sent += 1;
            out += bytes.len() as u64;
        }
        if sent.is_multiple_of(VOLLEY) {
            thread::sleep(PAUSE);
            for host in &hosts {
                let mut longest = 0;
                back += take(host, |frame| longest = longest.max(frame.len() as u64)).1;
                worst = worst.max(longest);
            }
        }
    }
    // Replies in transit are counted too.
    thread::sleep(Duration::from_millis(50));
    back += hosts.iter().map(|host| take(host, |_| {}).1).sum::<u64>();
    let percent = (back * 100).checked_div(out).unwrap_or(0);
    let report =
        Report::default().with("datagrams", sent).with("bytes_sent", out).with("bytes_returned", back);
    Ok(report.with("percent_returned", percent).with("longest_returned", worst))
}
