//! Hosts and cables: each host is a network namespace, each cable a bridge of its own that two hosts are plugged into, so that
//! exactly the hosts with a cable between them receive each other's frames, and a cable can fail in more than one way.

use std::str::FromStr;

use crate::namespace::Namespace;

/// The cables of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Each host has a cable to the next.
    Line(usize),
    /// The same, and a cable from the last host to the first.
    Ring(usize),
    /// A square with so many hosts to a side.
    Grid(usize),
}

impl Topology {
    /// How many hosts it has.
    pub fn hosts(self) -> usize {
        match self {
            Topology::Line(hosts) | Topology::Ring(hosts) => hosts,
            Topology::Grid(side) => side * side,
        }
    }

    /// Whether every host still has a path to every other when one cable or one host has failed.
    pub fn survives(self) -> bool {
        !matches!(self, Topology::Line(_))
    }

    /// Its cables: the two hosts at their ends, counted from 0.
    pub fn cables(self) -> Vec<(usize, usize)> {
        match self {
            Topology::Line(hosts) => (1..hosts).map(|n| (n - 1, n)).collect(),
            Topology::Ring(hosts) => (0..hosts).map(|n| (n, (n + 1) % hosts)).collect(),
            Topology::Grid(side) => {
                let across = (0..side * side).filter(|n| n % side + 1 < side).map(|n| (n, n + 1));
                let down = (0..side * (side - 1)).map(|n| (n, n + side));
                across.chain(down).collect()
            }
        }
    }
}

impl FromStr for Topology {
    type Err = String;

    /// `line`, `ring` or `grid` with the usual size, or with another: `ring:12`, `grid:5`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (shape, size) = text.split_once(':').map_or((text, None), |(shape, size)| (shape, Some(size)));
        let size = size.map(|size| size.parse::<usize>().map_err(|error| format!("{size}: {error}")));
        let size = size.transpose()?;
        let (topology, least, most) = match shape {
            "line" => (Topology::Line(size.unwrap_or(8)), 2, 30),
            "ring" => (Topology::Ring(size.unwrap_or(6)), 3, 30),
            "grid" => (Topology::Grid(size.unwrap_or(4)), 2, 5),
            _ => return Err("a topology is line, ring or grid, or with a size ring:12".to_owned()),
        };
        let size = match topology {
            Topology::Line(size) | Topology::Ring(size) | Topology::Grid(size) => size,
        };
        if (least..=most).contains(&size) {
            Ok(topology)
        } else {
            Err(format!("a {shape} has from {least} to {most}"))
        }
    }
}

/// How a cable fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The interface at its first end is set down: the host there sees it, the one at the other end sees nothing.
    OneEnd,
    /// Both plugs are out: both hosts see that the carrier is gone.
    BothEnds,
    /// The bridge between the plugs is down while every interface stays up, so that only timers detect the failure.
    Silent,
}

/// Hosts with cables between them.
pub struct Cables {
    hosts: Vec<Namespace>,
    middle: Namespace,
    ends: Vec<(usize, usize)>,
}

impl Cables {
    /// Lays them. Each interface has an IPv6 link-local address and nothing else, usable at once.
    ///
    /// # Panics
    /// When the system does not let it be made; see [`may_make_namespaces`](crate::may_make_namespaces).
    pub fn new(topology: Topology) -> Self {
        let middle = Namespace::new("middle");
        let hosts: Vec<Namespace> = (0..topology.hosts()).map(|_| Namespace::new("host")).collect();
        for host in &hosts {
            // The addresses are unique here, so duplicate address detection would only cost time.
            host.set("net/ipv6/conf/default/accept_dad", "0");
            host.ip(&["link", "set", "lo", "up"]);
        }
        let cables = Cables { hosts, middle, ends: topology.cables() };
        for (cable, &(one, other)) in cables.ends.iter().enumerate() {
            let bridge = format!("bridge{cable}");
            cables.middle.ip(&["link", "add", &bridge, "type", "bridge", "mcast_snooping", "0"]);
            cables.middle.ip(&["link", "set", &bridge, "up"]);
            for host in [one, other] {
                let (plug, interface) = (plug(cable, host), format!("cable{cable}"));
                let namespace = cables.hosts[host].name();
                cables.middle.ip(&[
                    "link", "add", &plug, "type", "veth", "peer", "name", &interface, "netns", namespace,
                ]);
                cables.middle.ip(&["link", "set", &plug, "master", &bridge, "up"]);
                cables.hosts[host].ip(&["link", "set", &interface, "up"]);
            }
        }
        cables
    }

    /// The namespace of host `n`, counted from 0.
    pub fn host(&self, n: usize) -> &str {
        self.hosts[n].name()
    }

    /// How many hosts there are.
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// The number of the cable between two hosts.
    pub fn between(&self, one: usize, other: usize) -> Option<usize> {
        self.ends.iter().position(|&ends| ends == (one, other) || ends == (other, one))
    }

    /// The namespace of all bridges, through which all frames pass.
    pub fn middle(&self) -> &Namespace {
        &self.middle
    }

    /// Lets cable `n` fail.
    pub fn cut(&self, n: usize, cut: Cut) {
        self.switch(n, cut, "down");
    }

    /// Undoes [`Cables::cut`].
    pub fn mend(&self, n: usize, cut: Cut) {
        self.switch(n, cut, "up");
    }

    fn switch(&self, n: usize, cut: Cut, state: &str) {
        let (one, other) = self.ends[n];
        match cut {
            Cut::OneEnd => self.hosts[one].ip(&["link", "set", &format!("cable{n}"), state]),
            Cut::BothEnds => {
                for host in [one, other] {
                    self.middle.ip(&["link", "set", &plug(n, host), state]);
                }
            }
            // The ports of a bridge that is down forward nothing, and keep their carrier.
            Cut::Silent => self.middle.ip(&["link", "set", &format!("bridge{n}"), state]),
        }
    }
}

fn plug(cable: usize, host: usize) -> String {
    format!("plug{cable}-{host}")
}
