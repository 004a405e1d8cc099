//! Attacks of whoever can send a datagram: on the handshakes, and on what is answered to strangers.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rouse_core::internals::raw::frames::{self, ForgedInitiation};

use super::{Aim, Enemy, Report};

const BREATH: Duration = Duration::from_millis(2);
/// Sockets at once: on loopback each has an address of its own, as if it were another host.
const HOSTS: u64 = 128;
/// How many begin handshakes before the next ones do.
const VOLLEY: u64 = 64;

/// Takes what came to a socket; how many datagrams and bytes.
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

pub(super) fn half_open(aim: &Aim) -> Result<Report> {
    let (mut chance, mut clock) = (aim.chance(), aim.clock());
    let hosts: Vec<UdpSocket> = (0..HOSTS).map(|nth| aim.socket(nth)).collect::<Result<_>>()?;
    let mut last: Vec<Option<ForgedInitiation>> = vec![None; hosts.len()];
    let (mut begun, mut answered, mut cookies) = (0, 0, 0);
    while clock.tick() {
        let nth = chance.below(hosts.len());
        let opening = ForgedInitiation::new(chance.number() as u32, chance.array());
        let _ = hosts[nth].send_to(&opening.bytes(), aim.to);
        last[nth] = Some(opening);
        begun += 1;
        if begun % VOLLEY != 0 {
            continue;
        }
        thread::sleep(BREATH);
        for (host, opening) in hosts.iter().zip(&last) {
            let mut asked = None;
            take(host, |frame| match frames::requested_cookie(frame) {
                Some(cookie) => asked = Some(cookie),
                None => answered += 1,
            });
            // Every second host pretends to be honest.
            if let (Some(cookie), Some(opening), true) = (asked, opening, chance.below(2) == 0) {
                let _ = host.send_to(&ForgedInitiation { cookie, ..*opening }.bytes(), aim.to);
                cookies += 1;
            }
        }
    }
    Ok(Report::default().with("begun", begun).with("answered", answered).with("cookies_shown", cookies))
}

pub(super) fn replay(aim: &Aim) -> Result<Report> {
    let (mut clock, elsewhere) = (aim.clock(), aim.socket(0)?);
    let enemy = aim.link(0)?;
    let shaken: Vec<Vec<u8>> = enemy
        .sent()
        .into_iter()
        .filter(|frame| frame.first().is_some_and(|kind| *kind <= frames::HANDSHAKES))
        .collect();
    let (mut replayed, mut answered) = (0, 0);
    while clock.tick() {
        for frame in &shaken {
            enemy.send(frame);
            let _ = elsewhere.send_to(frame, aim.to);
            replayed += 2;
        }
        answered += take(&elsewhere, |_| {}).0;
        thread::sleep(BREATH);
    }
    let lost = u64::from(enemy.end().is_some());
    Ok(Report::default().with("replayed", replayed).with("answered", answered).with("link_lost", lost))
}

/// As many as an enemy can be at once.
const CROWD: u64 = 64;

pub(super) fn crowd(aim: &Aim) -> Result<Report> {
    let mut clock = aim.clock();
    let mut crowd = Vec::new();
    for nth in 0..aim.count.min(CROWD) {
        let from = aim.socket(nth)?.local_addr()?.ip();
        crowd.push(Enemy::dial_from(from, aim.to, &aim.identity(100 + nth), aim.mesh_key)?);
    }
    while Instant::now() < clock.end && clock.left > 0 {
        thread::sleep(BREATH);
        // Whoever was sent away comes again, as somebody else.
        for (enemy, nth) in crowd.iter_mut().zip(0..) {
            if enemy.end().is_some() {
                let from = aim.socket(nth)?.local_addr()?.ip();
                *enemy = Enemy::dial_from(from, aim.to, &aim.identity(1000 + clock.left), aim.mesh_key)?;
                clock.left -= 1;
            }
        }
    }
    let linked = crowd.iter().filter(|enemy| enemy.is_linked()).count();
    Ok(Report::default().with("links", linked as u64))
}

pub(super) fn amplify(aim: &Aim) -> Result<Report> {
    let (mut chance, mut clock) = (aim.chance(), aim.clock());
    let hosts: Vec<UdpSocket> = (0..HOSTS).map(|nth| aim.socket(nth)).collect::<Result<_>>()?;
    let (mut sent, mut out, mut back) = (0u64, 0u64, 0u64);
    let mut worst = 0;
    while clock.tick() {
        let mut opening = ForgedInitiation::new(chance.number() as u32, chance.array());
        match chance.below(5) {
            0 => opening.version = chance.number() as u8,
            1 => opening.flags = chance.number() as u8,
            2 => opening.length = chance.below(frames::INITIATION_BYTES + 200),
            3 => opening.cookie = chance.array(),
            _ => {}
        }
        let mut bytes = opening.bytes();
        match chance.below(6) {
            0 => bytes.iter_mut().take(1).for_each(|kind| *kind = 1 + (chance.number() % 5) as u8),
            1 => bytes = chance.some(0, 600),
            2 => bytes = frames::forged(chance.number() as u32, chance.number(), &chance.some(0, 1200)),
            _ => {}
        }
        let host = &hosts[chance.below(hosts.len())];
        if host.send_to(&bytes, aim.to).is_ok() {
            sent += 1;
            out += bytes.len() as u64;
        }
        if sent.is_multiple_of(VOLLEY) {
            thread::sleep(BREATH);
            for host in &hosts {
                let mut longest = 0;
                back += take(host, |frame| longest = longest.max(frame.len() as u64)).1;
                worst = worst.max(longest);
            }
        }
    }
    // What is still on its way.
    thread::sleep(Duration::from_millis(50));
    back += hosts.iter().map(|host| take(host, |_| {}).1).sum::<u64>();
    let percent = (back * 100).checked_div(out).unwrap_or(0);
    let report =
        Report::default().with("datagrams", sent).with("bytes_sent", out).with("bytes_returned", back);
    Ok(report.with("percent_returned", percent).with("longest_returned", worst))
}
