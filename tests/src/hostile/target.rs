//! The target of an attack, its budget, and its report.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Result;
use rouse_core::Identity;

use super::link::HostileLink;
use super::random::Random;

/// The victim of an attack, and the limits of the attack.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where the victim listens.
    pub to: SocketAddr,
    /// Where another node listens, for attacks that need two.
    pub also: Option<SocketAddr>,
    /// The attack ends after this time.
    pub time: Duration,
    /// The attack ends after so many identities, handshakes, datagrams or rounds, whichever it counts.
    pub count: u64,
    /// The mesh key, if the attacker has it.
    pub mesh_key: Option<[u8; 32]>,
    /// The seed of all random numbers of the attack.
    pub seed: u64,
}

impl Target {
    /// The node that listens at `to`, for one second.
    pub fn at(to: SocketAddr) -> Self {
        Target { to, also: None, time: Duration::from_secs(1), count: 10_000, mesh_key: None, seed: 1 }
    }

    pub(super) fn random(&self) -> Random {
        Random::new(self.seed)
    }

    pub(super) fn budget(&self) -> Budget {
        Budget { end: Instant::now() + self.time, left: self.count }
    }

    /// One more link to the victim, under the `nth` of the attacker's identities.
    pub(super) fn link(&self, nth: u64) -> Result<HostileLink> {
        let link = HostileLink::dial(self.to, &self.identity(nth), self.mesh_key)?;
        link.linked()?;
        Ok(link)
    }

    /// The identities of the attacker, by number.
    pub fn identity(&self, nth: u64) -> Identity {
        let mut seed = [0xe0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&nth.to_le_bytes());
        Identity::from_seed(&seed)
    }

    /// A socket that can send to the victim. On loopback each has an address of its own, so that the victim takes each for
    /// another host.
    pub(super) fn socket(&self, nth: u64) -> Result<UdpSocket> {
        let from = match self.to.ip() {
            IpAddr::V4(to) if to.is_loopback() => {
                let [_, _, a, b] = u32::try_from(nth % 60_000 + 1)?.to_be_bytes();
                IpAddr::V4(Ipv4Addr::new(127, 66, a, b))
            }
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = UdpSocket::bind((from, 0))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// The time and the number of inputs that are left to an attack.
pub(super) struct Budget {
    pub(super) end: Instant,
    pub(super) left: u64,
}

impl Budget {
    /// Takes one input from the budget; `false` when it is used up.
    pub(super) fn tick(&mut self) -> bool {
        let more = self.left > 0 && Instant::now() < self.end;
        self.left = self.left.saturating_sub(1);
        more
    }
}

/// The counts of what an attack sent and what came back, by name.
#[derive(Clone, Debug, Default)]
pub struct Report(Vec<(&'static str, u64)>);

impl Report {
    pub(super) fn with(mut self, name: &'static str, value: u64) -> Self {
        self.0.push((name, value));
        self
    }

    /// The count of this name; 0 when there is none.
    pub fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| writeln!(f, "{name:<24}{value:>12}"))
    }
}
