//! The interfaces of this host: the selection of those that beacons are sent on, and their names and numbers.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use crate::interface_states::InterfaceStates;

/// The most interfaces that beacons are sent on. The bound exists because each costs up to two sockets.
pub(crate) const MAX_INTERFACES: usize = 64;

/// The most IPv4 addresses of one interface that beacons are sent from, one for each network.
pub(crate) const MAX_ADDRESSES: usize = 8;

/// An interface that beacons are sent on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// One IPv4 address for each network of the interface; empty when beacons are not sent over IPv4.
    pub(crate) v4: Vec<Ipv4Addr>,
    /// Whether beacons are sent over IPv6.
    pub(crate) v6: bool,
    /// Whether the interface is up and has a carrier.
    pub(crate) running: bool,
    pub(crate) loopback: bool,
    /// Whether the interface has an address that is not link-local.
    pub(crate) addressed: bool,
}

impl Interface {
    /// The address families that beacons are sent over: true is IPv6, which comes first, false IPv4.
    pub(crate) fn families(&self) -> impl Iterator<Item = bool> + use<> {
        let there = [(true, self.v6), (false, !self.v4.is_empty())];
        there.into_iter().filter_map(|(v6, there)| there.then_some(v6))
    }

    /// Whether beacons can now be sent over a family, from an address or at all where they could not `before`.
    pub(crate) fn has_more_than(&self, before: &Interface) -> bool {
        (self.v6 && !before.v6)
            || (self.running && !before.running)
            || self.v4.iter().any(|v4| !before.v4.contains(v4))
    }
}

/// The rule by which interfaces are selected for beacons.
#[derive(Clone, Debug)]
pub(crate) struct InterfaceSelection {
    /// Patterns of interface names; one that begins with `!` excludes.
    pub(crate) patterns: Vec<String>,
    /// The address that the sockets are bound to, unless that is the wildcard address. Only interfaces that have this
    /// address are selected, because a beacon is dialled at its source address.
    pub(crate) bound_to: Option<IpAddr>,
    /// The address families for which there is a socket.
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

/// The result of listing the interfaces.
pub(crate) struct InterfaceListing {
    /// The selected interfaces, ordered by number.
    pub(crate) chosen: Vec<Interface>,
    /// The number of interfaces that were left out because of [`MAX_INTERFACES`].
    pub(crate) more: usize,
    /// The operational states of all interfaces, selected or not.
    pub(crate) states: InterfaceStates,
}

/// Lists the interfaces of this host and selects those for beacons.
pub(crate) fn list(selection: &InterfaceSelection) -> io::Result<InterfaceListing> {
    let addresses = if_addrs::get_if_addrs()?;
    let states = InterfaceStates::of(&addresses);
    let mut chosen = choose(addresses, selection);
    let more = chosen.len().saturating_sub(MAX_INTERFACES);
    if more > 0 {
        keep_best(&mut chosen, is_virtual);
    }
    Ok(InterfaceListing { chosen, more, states })
}

/// Removes the interfaces on which a neighbour is the least likely: those that are down, those with link-local
/// addresses alone, such as the host ends of containers' cables, and those without a device.
fn keep_best(chosen: &mut Vec<Interface>, is_virtual: impl Fn(&str) -> bool) {
    chosen.sort_by_cached_key(|interface| {
        let Interface { index, running, loopback, addressed, .. } = *interface;
        Reverse((loopback, running, addressed, !is_virtual(&interface.name), Reverse(index)))
    });
    chosen.truncate(MAX_INTERFACES);
    chosen.sort_by_key(|interface| interface.index);
}

/// Whether an interface has no device of the machine. Where the system has no such information, the answer is no.
fn is_virtual(name: &str) -> bool {
    let of_class = std::path::Path::new("/sys/class/net").join(name);
    of_class.exists() && !of_class.join("device").exists()
}

/// Whether an interface of this name is selected: by a pattern, unless another excludes it. Where all patterns exclude,
/// every other interface is selected.
fn is_named(patterns: &[String], name: &str) -> bool {
    let excludes = |pattern: &String| pattern.starts_with('!');
    let matches = |pattern: &String| matches(pattern.trim_start_matches('!'), name);
    let (exclude, include): (Vec<_>, Vec<_>) = patterns.iter().partition(|pattern| excludes(pattern));
    let all = include.is_empty() && !exclude.is_empty();
    (all || include.into_iter().any(matches)) && !exclude.into_iter().any(matches)
}

/// Whether an address is valid on one link only.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn choose(addresses: Vec<if_addrs::Interface>, selection: &InterfaceSelection) -> Vec<Interface> {
    let mut by_index = BTreeMap::<u32, Interface>::new();
    let mut networks = std::collections::BTreeSet::new();
    for address in addresses {
        let Some(index) = address.index else { continue };
        let ip = address.ip();
        let usable = match ip {
            IpAddr::V4(_) => selection.v4,
            // The kernel has no route for IPv6 multicast on the loopback interface, so such beacons would fail.
            IpAddr::V6(_) => selection.v6 && !address.is_loopback(),
        };
        let named = is_named(&selection.patterns, &address.name);
        if !usable || !named || selection.bound_to.is_some_and(|bound_to| bound_to != ip) {
            continue;
        }
        let running = address.is_oper_up();
        let interface = by_index.entry(index).or_insert_with(|| Interface {
            index,
            name: address.name.clone(),
            v4: Vec::new(),
            v6: false,
            running,
            loopback: address.is_loopback(),
            addressed: false,
        });
        interface.addressed |= !is_link_local(ip);
        match &address.addr {
            if_addrs::IfAddr::V4(v4) => {
                let network = (index, v4.ip & v4.netmask, v4.netmask);
                if interface.v4.len() < MAX_ADDRESSES && networks.insert(network) {
                    interface.v4.push(v4.ip);
                }
            }
            if_addrs::IfAddr::V6(_) => interface.v6 = true,
        }
    }
    by_index.into_values().collect()
}

/// The number of the interface called `zone`. A zone that is a number already is returned as it is.
pub(crate) fn index_of(zone: &str) -> Result<u32, String> {
    if let Ok(index) = zone.parse() {
        return Ok(index);
    }
    let found = if_addrs::get_if_addrs().map_err(|error| format!("cannot list the interfaces: {error}"))?;
    let index =
        found.into_iter().find(|interface| interface.name == zone).and_then(|interface| interface.index);
    index.ok_or_else(|| format!("there is no interface \"{zone}\""))
}

/// The name of the interface with this number.
pub(crate) fn name_of(index: u32) -> Option<String> {
    let found = if_addrs::get_if_addrs().ok()?;
    found.into_iter().find(|interface| interface.index == Some(index)).map(|interface| interface.name)
}

/// Whether `name` matches `pattern`, where `*` stands for any run of letters and `?` for one letter. Backtracking to
/// the last `*` is enough, because an earlier `*` could not make more of the name match; so the time is bounded by the
/// product of both lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&letter) if letter == '?' || letter == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&letter| letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use if_addrs::{IfAddr, IfOperStatus, Ifv4Addr, Ifv6Addr};

    #[test]
    fn patterns_choose_interfaces_by_name() {
        for (pattern, name, expected) in [
            ("*", "eth0", true),
            ("eth*", "eth0", true),
            ("eth*", "eth", true),
            ("eth*", "wlan0", false),
            ("eth?", "eth0", true),
            ("eth?", "eth10", false),
            ("*0", "eth0", true),
            ("*0", "eth01", false),
            ("e*h*0", "ethh10", true),
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("", "eth0", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_may_exclude() {
        for (patterns, name, expected) in [
            (&["!veth*"][..], "eth0", true),
            (&["!veth*"], "veth0", false),
            (&["!veth*", "!docker0"], "docker0", false),
            (&["eth*", "!eth1"], "eth0", true),
            (&["!eth1", "eth*"], "eth1", false),
            (&["eth*", "!veth*"], "wlan0", false),
            (&[], "eth0", false),
        ] {
            let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
            assert_eq!(is_named(&patterns, name), expected, "{patterns:?} {name}");
        }
    }

    #[test]
    fn of_too_many_interfaces_those_with_a_device_stay_whatever_their_number() {
        let mut host: Vec<_> = (10..90).map(|n| address(n, &format!("veth{n}"), "fe80::1")).collect();
        host.push(address(1, "lo", "127.0.0.1"));
        host.push(address(95, "docker0", "172.17.0.1"));
        host.push(address(99, "wlan0", "fe80::9"));
        host.push(address(98, "eth0", "192.0.2.1"));
        host[79].oper_status = IfOperStatus::Down;
        let selection =
            InterfaceSelection { patterns: vec!["*".to_owned()], bound_to: None, v4: true, v6: true };
        let mut chosen = choose(host, &selection);
        keep_best(&mut chosen, |name| name != "eth0" && name != "wlan0");
        let names: Vec<_> = chosen.iter().map(|interface| interface.name.as_str()).collect();
        assert_eq!(names.len(), MAX_INTERFACES);
        for name in ["lo", "docker0", "wlan0", "eth0", "veth10", "veth69"] {
            assert!(names.contains(&name), "{name} of {names:?}");
        }
        assert!(!names.contains(&"veth70") && !names.contains(&"veth89"), "{names:?}");
        assert!(chosen.is_sorted_by_key(|interface| interface.index));
    }

    fn address(index: u32, name: &str, ip: &str) -> if_addrs::Interface {
        let addr = match ip.parse().unwrap() {
            IpAddr::V4(ip) => {
                let netmask = Ipv4Addr::new(255, 255, 255, 0);
                IfAddr::V4(Ifv4Addr { ip, netmask, prefixlen: 24, broadcast: None })
            }
            IpAddr::V6(ip) => IfAddr::V6(Ifv6Addr {
                ip,
                netmask: std::net::Ipv6Addr::UNSPECIFIED,
                prefixlen: 64,
                broadcast: None,
            }),
        };
        if_addrs::Interface {
            name: name.to_owned(),
            addr,
            index: Some(index),
            oper_status: IfOperStatus::Up,
            is_p2p: false,
        }
    }

    fn host() -> Vec<if_addrs::Interface> {
        vec![
            address(1, "lo", "127.0.0.1"),
            address(1, "lo", "::1"),
            address(2, "eth0", "192.0.2.1"),
            address(2, "eth0", "192.0.2.2"),
            address(2, "eth0", "198.51.100.7"),
            address(2, "eth0", "fe80::1"),
            address(3, "wlan0", "fe80::2"),
        ]
    }

    fn chosen(
        patterns: &[&str],
        bound_to: Option<&str>,
        v4: bool,
        v6: bool,
    ) -> Vec<(String, Vec<String>, bool)> {
        let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let selection =
            InterfaceSelection { patterns, bound_to: bound_to.map(|ip| ip.parse().unwrap()), v4, v6 };
        choose(host(), &selection)
            .into_iter()
            .map(|i| (i.name, i.v4.iter().map(ToString::to_string).collect(), i.v6))
            .collect()
    }

    #[test]
    fn each_interface_comes_once_with_its_families() {
        let (lo, eth0) =
            (vec!["127.0.0.1".to_owned()], vec!["192.0.2.1".to_owned(), "198.51.100.7".to_owned()]);
        assert_eq!(
            chosen(&["*"], None, true, true),
            [("lo".into(), lo, false), ("eth0".into(), eth0, true), ("wlan0".into(), vec![], true)]
        );
        assert_eq!(chosen(&["eth*"], None, false, true), [("eth0".into(), vec![], true)]);
        assert_eq!(chosen(&["no"], None, true, true), []);
    }

    #[test]
    fn a_fixed_listen_address_selects_its_own_interface_alone() {
        let second = vec!["192.0.2.2".to_owned()];
        assert_eq!(chosen(&["*"], Some("192.0.2.2"), true, false), [("eth0".into(), second, false)]);
        assert_eq!(chosen(&["*"], Some("::1"), false, true), []);
    }
}
