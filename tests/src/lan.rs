//! Networks of network namespaces: a bridge, and hosts on it. All of it is gone when it is dropped.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What the hosts of a LAN speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv6 link-local addresses, and no IPv4 but loopback.
    Ipv6,
    /// IPv4, with IPv6 switched off.
    Ipv4,
}

/// Whether namespaces can be made: as root, where the kernel and its guard allow it, with `ip` of iproute2.
pub fn may_make_namespaces() -> bool {
    let name = unique("try");
    let made = quietly(&["netns", "add", &name]);
    if made {
        quietly(&["netns", "del", &name]);
    }
    made
}

/// Hosts on one bridge.
pub struct Lan {
    hub: String,
    hosts: Vec<String>,
}

impl Lan {
    /// A LAN of so many hosts, at most 200.
    ///
    /// # Panics
    /// When the system does not let it be made; see [`may_make_namespaces`].
    pub fn new(hosts: u8, family: Family) -> Self {
        let mut lan = Lan { hub: unique("hub"), hosts: Vec::new() };
        ip(&["netns", "add", &lan.hub]);
        ip(&["-n", &lan.hub, "link", "add", "bridge", "type", "bridge", "mcast_snooping", "0"]);
        ip(&["-n", &lan.hub, "link", "set", "bridge", "up"]);
        for n in 1..=hosts {
            let name = unique("host");
            ip(&["netns", "add", &name]);
            lan.hosts.push(name.clone());
            let port = format!("port{n}");
            ip(&[
                "-n", &lan.hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name,
            ]);
            ip(&["-n", &lan.hub, "link", "set", &port, "master", "bridge", "up"]);
            match family {
                // Nobody else is here: an address need not be checked for being double first.
                Family::Ipv6 => set(&name, "net/ipv6/conf/eth0/accept_dad", "0"),
                Family::Ipv4 => {
                    set(&name, "net/ipv6/conf/all/disable_ipv6", "1");
                    ip(&["-n", &name, "address", "add", &format!("10.77.0.{n}/24"), "dev", "eth0"]);
                }
            }
            ip(&["-n", &name, "link", "set", "lo", "up"]);
            ip(&["-n", &name, "link", "set", "eth0", "up"]);
        }
        lan
    }

    /// The namespace of host `n`, counted from 0.
    pub fn host(&self, n: usize) -> &str {
        &self.hosts[n]
    }

    /// Takes the plug of host `n` out of the bridge, or puts it back.
    pub fn plug(&self, n: usize, in_place: bool) {
        let state = if in_place { "up" } else { "down" };
        ip(&["-n", &self.hub, "link", "set", &format!("port{}", n + 1), state]);
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        // The veth pairs and the bridge go with their namespaces.
        for name in self.hosts.iter().chain([&self.hub]) {
            quietly(&["netns", "del", name]);
        }
    }
}

fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("rouse-{}-{what}{}", std::process::id(), COUNT.fetch_add(1, Relaxed))
}

fn set(namespace: &str, key: &str, value: &str) {
    let script = format!("echo {value} > /proc/sys/{key}");
    ip(&["netns", "exec", namespace, "sh", "-c", &script]);
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip of iproute2 is there");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn quietly(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
}
