//! A hostile node: a link over a real socket that is kept alive like any other, and over which anything can be said.
//!
//! [`Enemy`] is one link of it. The attacks stand in [`ATTACKS`], one function each; `cargo run -p rouse-tests --bin hostile`
//! runs them one at a time, the tests of enemies run them against daemons and say what must not come of it.

mod all;
mod chance;
mod enemy;
mod frames;
mod handshakes;
mod routes;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rouse_core::Identity;

pub use chance::Chance;
pub use enemy::Enemy;
pub use routes::Hole;

/// Whom an attack is against, and how much of it there is.
#[derive(Clone, Debug)]
pub struct Aim {
    /// Where the victim listens.
    pub to: SocketAddr,
    /// Where another node listens, for attacks that need two.
    pub also: Option<SocketAddr>,
    /// It ends after this.
    pub time: Duration,
    /// Identities, handshakes, datagrams: whatever the attack counts in. It ends after so many.
    pub count: u64,
    /// The mesh key, if the enemy has it.
    pub mesh_key: Option<[u8; 32]>,
    /// From which all randomness comes.
    pub seed: u64,
}

impl Aim {
    /// Against whoever listens there, for a second.
    pub fn at(to: SocketAddr) -> Self {
        Aim { to, also: None, time: Duration::from_secs(1), count: 10_000, mesh_key: None, seed: 1 }
    }

    fn chance(&self) -> Chance {
        Chance::new(self.seed)
    }

    fn clock(&self) -> Clock {
        Clock { end: Instant::now() + self.time, left: self.count }
    }

    /// One more link to the victim, under the `nth` of the enemy's identities.
    fn link(&self, nth: u64) -> Result<Enemy> {
        let enemy = Enemy::dial(self.to, &self.identity(nth), self.mesh_key)?;
        enemy.linked()?;
        Ok(enemy)
    }

    /// The enemy's identities.
    pub fn identity(&self, nth: u64) -> Identity {
        let mut seed = [0xe0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&nth.to_le_bytes());
        Identity::from_seed(&seed)
    }

    /// A socket that can send to the victim; on loopback each has an address of its own.
    fn socket(&self, nth: u64) -> Result<UdpSocket> {
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

/// When an attack ends.
struct Clock {
    end: Instant,
    left: u64,
}

impl Clock {
    /// Whether there is one more to be done.
    fn tick(&mut self) -> bool {
        let more = self.left > 0 && Instant::now() < self.end;
        self.left = self.left.saturating_sub(1);
        more
    }
}

/// What an attack did, and what came back.
#[derive(Clone, Debug, Default)]
pub struct Report(Vec<(&'static str, u64)>);

impl Report {
    fn with(mut self, name: &'static str, value: u64) -> Self {
        self.0.push((name, value));
        self
    }

    /// One of its numbers; 0 when there is none.
    pub fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| writeln!(f, "{name:<24}{value:>12}"))
    }
}

/// One attack.
#[derive(Clone, Copy)]
pub struct Attack {
    /// How it is called.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    run: fn(&Aim) -> Result<Report>,
}

impl Attack {
    /// The attack of this name.
    pub fn named(name: &str) -> Option<&'static Attack> {
        ATTACKS.iter().find(|attack| attack.name == name)
    }

    /// Does it, to its end.
    ///
    /// # Errors
    /// When there is nobody to attack, or not enough of what it needs.
    pub fn run(&self, aim: &Aim) -> Result<Report> {
        (self.run)(aim).with_context(|| format!("{} against {}", self.name, aim.to))
    }
}

const fn attack(name: &'static str, run: fn(&Aim) -> Result<Report>, about: &'static str) -> Attack {
    Attack { name, about, run }
}

/// All of them.
pub const ATTACKS: &[Attack] = &[
    attack("lie-metric", routes::lie_metric, "claims distances that cannot be, and hops without their proof"),
    attack("lie-origin", routes::lie_origin, "announces others with fields that they did not sign"),
    attack("replay-announce", routes::replay_announce, "says again what origins said long ago"),
    attack(
        "replay-frames",
        frames::replay,
        "sends sealed frames again, from elsewhere and in a later session",
    ),
    attack("replay-handshake", handshakes::replay, "sends the frames of a handshake again"),
    attack("invent", routes::invent, "announces --count identities, all duly signed"),
    attack("flap", routes::flap, "has a thousand destinations come and go without end"),
    attack("half-open", handshakes::half_open, "begins --count handshakes and finishes none"),
    attack("crowd", handshakes::crowd, "takes as many places of neighbours as it gets"),
    attack("malformed-control", frames::control, "control messages of every kind, damaged in every way"),
    attack("malformed-packets", frames::packets, "packets and plaintexts that make no sense"),
    attack(
        "false-proofs",
        routes::false_proofs,
        "claims to be nearer without end, with proofs that are dear to refute",
    ),
    attack("want", routes::want, "asks without end for announces"),
    attack("offer", routes::offer, "offers without end what nobody has heard of"),
    attack("black-hole", routes::black_hole, "offers the way to --also, and swallows what comes"),
    attack("slow-loris", frames::slow_loris, "leaves gaps in the control stream and acknowledges nothing"),
    attack("huge-stream", frames::huge_stream, "says as much as the control channel takes"),
    attack("seq-req", routes::seq_req, "asks without end for newer sequence numbers"),
    attack("your-highest", routes::your_highest, "tells origins of announces that they never made"),
    attack("reflect", frames::reflect, "pings and traces in the name of somebody else"),
    attack("amplify", handshakes::amplify, "whatever a stranger may send: counts what comes back"),
    attack(
        "everything",
        all::everything,
        "all that a member can do at once, against --to and through it --also",
    ),
    attack("goodbye", frames::goodbye, "ends links that are not its own"),
];
