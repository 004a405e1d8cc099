//! The resources that a process uses, from `/proc`.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use crate::wait::until_every;

/// The resources that a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time, of all its threads.
    pub cpu: Duration,
    /// Memory in use, in bytes.
    pub rss: u64,
    /// The part of it that is no file: the heap and the stacks, without the pages of the program itself.
    pub anonymous: u64,
}

/// The resources that process `pid` has used so far.
///
/// # Panics
/// When there is no such process.
pub fn usage(pid: u32) -> Usage {
    // Kernel ticks are 1/100 s for user space on every Linux there is (USER_HZ).
    const TICK: Duration = Duration::from_millis(10);
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process runs");
    let stat = read("stat");
    // The name in parentheses may hold blanks; utime and stime are the 12th and 13th field behind it.
    let fields = stat.rsplit_once(')').expect("a name in parentheses").1;
    let ticks: u32 =
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u32>().unwrap()).sum();
    let status = read("status");
    let bytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a process has memory");
        line.trim_end_matches("kB").trim().parse::<u64>().expect("a number of kilobytes") * 1024
    };
    Usage { cpu: TICK * ticks, rss: bytes("VmRSS:"), anonymous: bytes("RssAnon:") }
}

/// Waits until the IPv4 UDP socket at `address` has nothing left to read. Returns how many datagrams the kernel has dropped
/// for it so far.
///
/// # Panics
/// When there is no such socket in this network namespace.
pub fn wait_until_read(address: SocketAddr) -> u64 {
    // A batch is read in less than a millisecond.
    until_every(Duration::from_micros(200), "the socket is read", || {
        let (queued, dropped) = queue_of(address);
        (queued == 0).then_some(dropped)
    })
}

fn queue_of(address: SocketAddr) -> (u64, u64) {
    let SocketAddr::V4(v4) = address else { panic!("{address} is not IPv4") };
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port());
    let table = fs::read_to_string("/proc/net/udp").expect("Linux has it");
    let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = row.into_iter().find(|row| row.get(1) == Some(&local.as_str()));
    let row = row.unwrap_or_else(|| panic!("no socket at {address}"));
    let queued = row[4].split_once(':').expect("tx and rx").1;
    (u64::from_str_radix(queued, 16).expect("hexadecimal"), row[12].parse().expect("a number"))
}
