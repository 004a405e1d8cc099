//! A daemon whose port is flooded with random datagrams and with mutated copies of real ones: it serves on.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use rouse_tests::{Daemon, Relay, programs, until, usage, wait_until_read};
use serde_json::Value;

/// The number of datagrams, unless `ROUSE_DATAGRAMS` sets another.
const DATAGRAMS: usize = 1_000_000;
/// The datagrams that are sent before the daemon has to read them, so that the kernel's buffer holds them all.
const BATCH: usize = 128;
/// After so many datagrams every allocation that happens once has happened.
const WARM: usize = 100_000;
/// The growth of memory that is allowed afterwards, in bytes. It is the leeway of an allocator; a few bytes for each datagram
/// would be more.
const LEEWAY: u64 = 4 << 20;

/// xorshift64* (Vigna 2016), so that every run sends the same datagrams.
struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() % limit
    }

    fn fill(&mut self, bytes: &mut Vec<u8>, length: usize) {
        bytes.clear();
        bytes.extend(std::iter::repeat_with(|| self.next() as u8).take(length));
    }
}

/// The next hostile datagram.
fn hostile_datagram(random: &mut Random, real: &[Vec<u8>], out: &mut Vec<u8>) {
    if random.below(4) == 0 {
        let longest = if random.below(16) == 0 { 9000 } else { 200 };
        let length = random.below(longest);
        return random.fill(out, length);
    }
    out.clear();
    out.extend_from_slice(&real[random.below(real.len())]);
    match random.below(6) {
        // An unchanged copy, which is a replay.
        0 => {}
        1 => out.truncate(random.below(out.len() + 1)),
        2 => out.extend_from_within(..random.below(out.len() + 1)),
        3 => {
            // The head of one on the body of another.
            let other = &real[random.below(real.len())];
            let cut = random.below(out.len().min(other.len()) + 1);
            out[..cut].copy_from_slice(&other[..cut]);
        }
        _ => {
            for _ in 0..=random.below(8) {
                // The first bytes are changed more often, because the parser decides by them.
                let reach = if random.below(2) == 0 { 16 } else { out.len() };
                let at = random.below(reach.min(out.len()).max(1));
                if let Some(byte) = out.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
}

/// The numbers of frames that the daemon has dropped and sent so far.
fn counts(daemon: &Daemon) -> (u64, u64) {
    let status = daemon.json(&["status"]);
    let drops = status["drops"].as_object().unwrap().values();
    (drops.filter_map(Value::as_u64).sum(), status["counters"]["frames_out"].as_u64().unwrap())
}

fn talk(from: &Daemon, to: &Daemon, text: &str) {
    from.talk(to, text);
}

#[test]
fn a_million_hostile_datagrams_change_nothing_but_counters() {
    let programs = programs!();
    let daemon = programs.daemon().start();
    let cable = Relay::new(&daemon.uri());
    let friend = programs.daemon().peer(&cable.uri()).start();
    friend.route_to(daemon.address());
    talk(&friend, &daemon, "before");
    let real = until("the frames of handshake, hellos, routes and message", || {
        Some(cable.captured()).filter(|captured| captured.len() >= 20)
    });

    let port: SocketAddr = daemon.uri().trim_start_matches("udp:").parse().unwrap();
    let strangers: Vec<UdpSocket> =
        (1..=8u8).map(|n| UdpSocket::bind((Ipv4Addr::new(127, 0, 1, n), 0)).unwrap()).collect();
    let before = counts(&daemon);
    let (mut random, mut bytes) = (Random(0x726f_7573_6521), Vec::new());
    let mut warm = None;
    let mut lost_in_kernel = 0;
    let datagrams = match std::env::var("ROUSE_DATAGRAMS") {
        Ok(number) => number.parse().expect("ROUSE_DATAGRAMS is a number"),
        Err(_) => DATAGRAMS,
    };
    for n in 0..datagrams {
        hostile_datagram(&mut random, &real, &mut bytes);
        // Each ninth has the neighbour's own source address. A datagram too long for the system is not sent.
        match n % 9 {
            8 => drop(cable.inject(&bytes)),
            n => drop(strangers[n].send_to(&bytes, port)),
        }
        if n % BATCH == 0 {
            lost_in_kernel = wait_until_read(port);
        }
        if n == WARM {
            warm = Some(usage(daemon.pid()).rss);
        }
    }
    wait_until_read(port);
    let (warm, after) = (warm.unwrap(), usage(daemon.pid()).rss);
    println!(
        "resident: {} KiB warm, {} KiB after; {lost_in_kernel} lost in the kernel",
        warm >> 10,
        after >> 10
    );
    assert!(after <= warm + LEEWAY, "memory grew from {warm} to {after} bytes");

    let (dropped, answered) = counts(&daemon);
    let (dropped, answered) = (dropped - before.0, answered - before.1);
    println!("{dropped} dropped with a cause, {answered} answered");
    // A replayed first handshake message cannot be recognised, so it is answered, within quotas.
    assert!(dropped + answered + lost_in_kernel >= datagrams as u64 * 99 / 100);
    assert!(answered < datagrams as u64 / 10, "{answered} datagrams were answered");
    talk(&friend, &daemon, "after");
    talk(&daemon, &friend, "and back");
    assert_eq!(daemon.rouse(&["recv", "--timeout", "1ms"]).exits(4).text(), "", "no message was invented");
}

/// The time without file descriptors: a warning for each attempt would be ten in that time.
const LACK: Duration = Duration::from_secs(1);

#[test]
fn a_daemon_without_file_descriptors_warns_once_and_serves_again() {
    let mut daemon = programs!().daemon().start();
    let pid = i32::try_from(daemon.pid()).ok().and_then(Pid::from_raw).unwrap();
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count() as u64;
    let lack = Rlimit { current: Some(open + 4), maximum: Some(open + 4) };
    prlimit(Some(pid), Resource::Nofile, lack).unwrap();
    let crowd: Vec<_> = (0..20).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect();
    std::thread::sleep(LACK);
    drop(crowd);
    daemon.json(&["status"]);
    let complaints = daemon.process().complaints();
    let warnings = complaints.lines().filter(|line| line.contains("accept failed"));
    assert_eq!(warnings.count(), 1, "{complaints}");
}
