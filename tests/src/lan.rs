//! Networks of network namespaces: a bridge, and hosts on it. All of it is gone when it is dropped.

use crate::namespace::Namespace;

/// The address family that the hosts of a LAN use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv6 link-local addresses, and no IPv4 but loopback.
    Ipv6,
    /// IPv4, with IPv6 switched off.
    Ipv4,
}

/// Hosts on one bridge.
pub struct Lan {
    hub: Namespace,
    hosts: Vec<Namespace>,
}

impl Lan {
    /// A LAN of so many hosts, at most 200.
    ///
    /// # Panics
    /// When the system does not let it be made; see [`crate::may_make_namespaces`].
    pub fn new(hosts: u8, family: Family) -> Self {
        let mut lan = Lan { hub: Namespace::new("hub"), hosts: Vec::new() };
        lan.hub.ip(&["link", "add", "bridge", "type", "bridge", "mcast_snooping", "0"]);
        lan.hub.ip(&["link", "set", "bridge", "up"]);
        for n in 1..=hosts {
            let host = Namespace::new("host");
            let port = format!("port{n}");
            lan.hub.ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", host.name()]);
            lan.hub.ip(&["link", "set", &port, "master", "bridge", "up"]);
            match family {
                // The addresses are unique here, so duplicate address detection would only cost time.
                Family::Ipv6 => host.set("net/ipv6/conf/eth0/accept_dad", "0"),
                Family::Ipv4 => {
                    host.set("net/ipv6/conf/all/disable_ipv6", "1");
                    host.ip(&["address", "add", &format!("10.77.0.{n}/24"), "dev", "eth0"]);
                }
            }
            host.ip(&["link", "set", "lo", "up"]);
            host.ip(&["link", "set", "eth0", "up"]);
            lan.hosts.push(host);
        }
        lan
    }

    /// The namespace of host `n`, counted from 0.
    pub fn host(&self, n: usize) -> &str {
        self.hosts[n].name()
    }

    /// The namespace of the bridge, through which all frames of the hosts pass.
    pub fn hub(&self) -> &Namespace {
        &self.hub
    }

    /// Takes the plug of host `n` out of the bridge, or puts it back.
    pub fn plug(&self, n: usize, in_place: bool) {
        let state = if in_place { "up" } else { "down" };
        self.hub.ip(&["link", "set", &format!("port{}", n + 1), state]);
    }
}
