//! The operational states of this host's interfaces. They show at once that a neighbour is cut off when the interface
//! to it goes down, while a timer needs seconds to notice the silence.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The interfaces of this host and their states, as they were listed last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InterfaceStates {
    /// The numbers of the interfaces that are up and have a carrier.
    pub(crate) running: BTreeSet<u32>,
    /// The IPv4 networks of all interfaces: address, mask, and whether the interface is running.
    pub(crate) networks: BTreeSet<(Ipv4Addr, Ipv4Addr, bool)>,
    /// The addresses of this host, and whether an interface that has it is running.
    pub(crate) addresses: BTreeMap<IpAddr, bool>,
}

impl InterfaceStates {
    /// The states of the interfaces that have `addresses`.
    pub(crate) fn of(addresses: &[if_addrs::Interface]) -> Self {
        let mut states = InterfaceStates::default();
        for address in addresses {
            let running = address.is_oper_up();
            if let (true, Some(index)) = (running, address.index) {
                states.running.insert(index);
            }
            *states.addresses.entry(address.ip()).or_default() |= running;
            if let if_addrs::IfAddr::V4(v4) = &address.addr {
                states.networks.insert((v4.ip & v4.netmask, v4.netmask, running));
            }
        }
        states
    }

    /// Whether no frame can be sent to `address`, because the interface to its network is down. The
    /// answer for an address behind a router is no, since the interface on the path is not known.
    fn is_cut(&self, address: &SocketAddr) -> bool {
        match address {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => !self.running.contains(&v6.scope_id()),
            SocketAddr::V6(_) => false,
            SocketAddr::V4(v4) => {
                let on = |(network, mask, _): &&(Ipv4Addr, Ipv4Addr, bool)| v4.ip() & mask == *network;
                let mut networks = self.networks.iter().filter(on).peekable();
                networks.peek().is_some() && networks.all(|(_, _, running)| !running)
            }
        }
    }
}

/// The difference between two listings of the interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InterfaceChange {
    /// Whether an interface stopped running.
    pub(crate) stopped: bool,
    /// Whether an interface started running.
    pub(crate) started: bool,
}

/// The interface states that discovery sets and the netmod reads; `None` before the interfaces were first listed.
#[derive(Debug, Default)]
pub(crate) struct SharedInterfaceStates(Mutex<Option<InterfaceStates>>);

impl SharedInterfaceStates {
    /// Replaces the states and returns which changes they show. The first listing is no change.
    pub(crate) fn set(&self, states: InterfaceStates) -> InterfaceChange {
        let mut known = self.lock();
        let change = known.as_ref().map_or_else(InterfaceChange::default, |before| InterfaceChange {
            stopped: !before.running.is_subset(&states.running),
            started: !states.running.is_subset(&before.running),
        });
        *known = Some(states);
        change
    }

    /// See [`InterfaceStates::is_cut`]. Before the interfaces were listed, no address is cut off.
    pub(crate) fn is_cut(&self, address: &SocketAddr) -> bool {
        self.lock().as_ref().is_some_and(|states| states.is_cut(address))
    }

    /// Whether frames may be sent from `source`: not while its interface is down, because answers would not arrive. An
    /// address that was not listed is allowed, since it may be new, or one of many such as 127.0.0.0/8; the kernel
    /// refuses a wrong one.
    pub(crate) fn may_send_from(&self, source: &IpAddr) -> bool {
        self.lock().as_ref().and_then(|states| states.addresses.get(source)).is_none_or(|running| *running)
    }

    fn lock(&self) -> MutexGuard<'_, Option<InterfaceStates>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(running: &[u32], networks: &[(&str, &str, bool)]) -> InterfaceStates {
        let network = |&(network, mask, running): &(&str, &str, bool)| {
            (network.parse().unwrap(), mask.parse().unwrap(), running)
        };
        InterfaceStates {
            running: running.iter().copied().collect(),
            networks: networks.iter().map(network).collect(),
            ..InterfaceStates::default()
        }
    }

    fn is_cut(states: &InterfaceStates, address: &str) -> bool {
        states.is_cut(&address.parse().unwrap())
    }

    #[test]
    fn a_neighbour_is_cut_off_when_its_interface_is_not_running() {
        let states =
            states(&[1, 2], &[("10.0.0.0", "255.255.255.0", true), ("10.0.1.0", "255.255.255.0", false)]);
        for (address, cut) in [
            ("[fe80::1%2]:7700", false),
            ("[fe80::1%3]:7700", true),
            ("[2001:db8::1]:7700", false),
            ("10.0.0.7:7700", false),
            ("10.0.1.7:7700", true),
            ("192.0.2.7:7700", false),
        ] {
            assert_eq!(is_cut(&states, address), cut, "{address}");
        }
    }

    #[test]
    fn of_two_interfaces_in_one_network_one_that_is_running_is_enough() {
        let (network, mask) = ("10.0.0.0", "255.255.255.0");
        let states = states(&[1], &[(network, mask, true), (network, mask, false)]);
        assert!(!is_cut(&states, "10.0.0.7:7700"));
    }

    #[test]
    fn frames_are_not_sent_from_an_address_whose_interface_is_down() {
        let shared = SharedInterfaceStates::default();
        let [up, down, other] = [1, 2, 3].map(|n| IpAddr::from([192, 0, 2, n]));
        assert!(shared.may_send_from(&down), "the interfaces were not yet listed");
        shared.set(InterfaceStates {
            addresses: [(up, true), (down, false)].into(),
            ..InterfaceStates::default()
        });
        assert_eq!([up, down, other].map(|ip| shared.may_send_from(&ip)), [true, false, true]);
    }

    #[test]
    fn an_interface_that_stops_or_starts_running_is_reported() {
        let shared = SharedInterfaceStates::default();
        let steps: [(&[u32], (bool, bool)); 5] = [
            (&[1, 2], (false, false)),
            (&[1, 2, 3], (false, true)),
            (&[1, 3], (true, false)),
            (&[1, 3], (false, false)),
            (&[1, 2], (true, true)),
        ];
        for (running, (stopped, started)) in steps {
            assert_eq!(shared.set(states(running, &[])), InterfaceChange { stopped, started }, "{running:?}");
        }
    }
}
