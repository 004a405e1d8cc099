//! Discovery of neighbours: beacons are sent and received on each selected interface, and interfaces that appear or go
//! are followed.
//!
//! Discovery has no task of its own: the worker polls it inside `recv`. A failure here becomes a note rather than an
//! error, because a netmod that cannot be found can still dial and be dialled.

pub(crate) mod beacon;
#[cfg(target_os = "linux")]
mod carrier;
pub(crate) mod interfaces;
mod listener;
pub(crate) mod recent;
pub(crate) mod schedule;
mod senders;

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_io::Timer;
use if_watch::smol::IfWatcher;
use rouse_core::netmod::{Endpoint, Heard, Received};
use zeroize::Zeroizing;

use crate::config::UdpConfig;
use crate::counters::Counters;
use crate::interface_states::{InterfaceChange, SharedInterfaceStates};
use crate::notes::{NotesByTopic, Topic};
use crate::resolve;
use crate::socket::Sockets;

use beacon::BeaconError;
#[cfg(target_os = "linux")]
use carrier::CarrierMonitor;
use interfaces::{Interface, InterfaceListing, InterfaceSelection, MAX_INTERFACES};
use listener::{Group, MulticastListener};
use recent::{RecentBeacons, Verdict};
use senders::BeaconSenders;

/// The most datagrams of one listener, and events of the watcher, that one poll handles, so that a flood on one does
/// not starve the others.
const MAX_EVENTS: usize = 32;

/// The longest time between two listings of the interfaces, since the report of a change may have been lost.
const LIST_INTERVAL: Duration = Duration::from_secs(30);

/// The time after which a watcher that failed is opened again. Until then changes are noticed when the interfaces are
/// listed next.
const WATCH_RETRY: Duration = Duration::from_secs(60);

/// The discovery of neighbours by an open netmod.
pub(crate) struct Discovery {
    instance: u64,
    key: Option<Zeroizing<[u8; 32]>>,
    group: Group,
    selection: InterfaceSelection,
    senders: BeaconSenders,
    listeners: Vec<MulticastListener>,
    /// The time at which the interfaces are listed again, changed or not.
    list_at: Instant,
    recent: RecentBeacons,
    timer: Timer,
    /// The time that the timer is set to.
    armed: Instant,
    /// The watcher of addresses, or the time at which it is opened again.
    watcher: Result<IfWatcher, Instant>,
    /// Without the monitor a lost carrier is noticed when the interfaces are listed next.
    #[cfg(target_os = "linux")]
    carrier: Option<CarrierMonitor>,
    interface_states: Arc<SharedInterfaceStates>,
    /// Whether an interface has changed since they were listed.
    changed: bool,
    notes: Arc<NotesByTopic>,
    counters: Arc<Counters>,
}

/// The places where discovery reports to the rest of the netmod.
pub(crate) struct DiscoveryReports {
    pub(crate) interface_states: Arc<SharedInterfaceStates>,
    pub(crate) notes: Arc<NotesByTopic>,
    pub(crate) counters: Arc<Counters>,
}

impl Discovery {
    pub(crate) fn new(
        config: &UdpConfig,
        instance: u64,
        sockets: &Sockets,
        reports: DiscoveryReports,
    ) -> Self {
        let DiscoveryReports { interface_states, notes, counters } = reports;
        let now = Instant::now();
        let fixed = sockets.list.iter().find(|socket| socket.is_fixed());
        let mut discovery = Discovery {
            instance,
            key: config.mesh_key.clone(),
            group: Group { v4: config.group_v4, v6: config.group_v6, port: config.group_port },
            selection: InterfaceSelection {
                patterns: config.interfaces.clone(),
                bound_to: fixed.map(|socket| socket.local.ip()),
                v4: sockets.list.iter().any(|socket| socket.local.is_ipv4()),
                v6: sockets.list.iter().any(|socket| socket.local.is_ipv6()),
            },
            senders: BeaconSenders::new(instance),
            listeners: Vec::new(),
            list_at: now,
            recent: RecentBeacons::new(now),
            timer: Timer::at(now),
            armed: now,
            watcher: Err(now),
            #[cfg(target_os = "linux")]
            carrier: None,
            interface_states,
            changed: true,
            notes,
            counters,
        };
        discovery.watch(now);
        discovery
    }

    /// Sends and receives what is due. Appends the beacons that were received to `received`, and sets `received.cut`
    /// when an interface stopped running and `received.restored` when one started. The task is woken when there is more
    /// to do.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, sockets: &Sockets, received: &mut Received) {
        loop {
            let now = Instant::now();
            self.poll_watcher(cx, now);
            if self.changed || self.list_at <= now {
                let change = self.list_interfaces(now);
                received.cut |= change.stopped;
                received.restored |= change.started;
            }
            // A change of interfaces may have made beacons due.
            if self.senders.due().is_some_and(|due| due <= now) {
                self.send_due(sockets, now);
            }
            self.receive_beacons(cx, now, &mut received.heard);
            let due = self.senders.due().map_or(self.list_at, |due| due.min(self.list_at));
            if self.armed != due {
                self.armed = due;
                self.timer.set_at(due);
            }
            if Pin::new(&mut self.timer).poll(cx).is_pending() {
                return;
            }
        }
    }

    fn watch(&mut self, now: Instant) {
        #[cfg(target_os = "linux")]
        if self.carrier.is_none() {
            self.carrier = CarrierMonitor::open()
                .inspect_err(|error| tracing::debug!(%error, "lost carriers are not reported: noticed up to 30 s late"))
                .ok();
        }
        match IfWatcher::new() {
            Ok(watcher) => {
                self.watcher = Ok(watcher);
                self.notes.clear(Topic::Watch);
            }
            Err(error) => self.lose_watcher(&error, now),
        }
    }

    fn lose_watcher(&mut self, error: &io::Error, now: Instant) {
        self.watcher = Err(now + WATCH_RETRY);
        self.notes.set(
            Topic::Watch,
            format!(
                "the kernel reports no changes of interfaces ({error}): they are noticed up to half a minute late"
            ),
            "in a service with RestrictAddressFamilies, allow AF_NETLINK",
        );
    }

    fn poll_watcher(&mut self, cx: &mut Context<'_>, now: Instant) {
        if let Err(again) = &self.watcher
            && *again <= now
        {
            self.watch(now);
        }
        #[cfg(target_os = "linux")]
        if let Some(carrier) = &mut self.carrier {
            match carrier.poll_changed(cx) {
                Poll::Ready(Ok(())) => {
                    self.changed = true;
                    cx.waker().wake_by_ref();
                }
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "lost carriers are no longer reported: noticed up to 30 s late");
                    self.carrier = None;
                }
                Poll::Pending => {}
            }
        }
        for _ in 0..MAX_EVENTS {
            let Ok(watcher) = &mut self.watcher else { return };
            match watcher.poll_if_event(cx) {
                Poll::Ready(Ok(_)) => self.changed = true,
                Poll::Ready(Err(error)) => self.lose_watcher(&error, now),
                Poll::Pending => return,
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Lists the interfaces again and listens on the selected ones. Returns which interfaces changed.
    fn list_interfaces(&mut self, now: Instant) -> InterfaceChange {
        self.changed = false;
        self.list_at = now + LIST_INTERVAL;
        let InterfaceListing { chosen: found, more, states } = match interfaces::list(&self.selection) {
            Ok(found) => found,
            Err(error) => {
                let text = format!("the interfaces of this host cannot be listed: {error}");
                self.notes.set(
                    Topic::Interfaces,
                    text,
                    "discovery continues on the interfaces known so far; dial other nodes with --peer",
                );
                return InterfaceChange::default();
            }
        };
        if found.is_empty() {
            self.notes.set(
                Topic::Interfaces,
                "no interface to find other nodes on",
                "listen on [::], choose interfaces that this host has, or name peers; there is no IPv6 multicast on loopback",
            );
        } else if more > 0 {
            let text = format!(
                "{more} interfaces are left out of discovery, which uses {MAX_INTERFACES} at most: first those that are down, \
                 have link-local addresses alone, or have no device"
            );
            self.notes.set(
                Topic::Interfaces,
                text,
                "exclude some by their names, as in interfaces = [\"!veth*\"]",
            );
        } else {
            self.notes.clear(Topic::Interfaces);
        }
        self.senders.update(found, now);
        self.update_listeners();
        self.interface_states.set(states)
    }

    /// Opens the listeners that are missing and closes those without an interface.
    fn update_listeners(&mut self) {
        let families =
            |interface: &Interface| interface.families().map(|v6| (interface.index, v6)).collect::<Vec<_>>();
        let wanted: BTreeSet<(u32, bool)> = self.senders.interfaces().flat_map(families).collect();
        self.listeners.retain(|listener| wanted.contains(&(listener.index, listener.v6)));
        let mut failed = None;
        for (index, v6) in wanted {
            if self.listeners.iter().any(|listener| (listener.index, listener.v6) == (index, v6)) {
                continue;
            }
            match MulticastListener::open(&self.group, index, v6) {
                Ok(listener) => self.listeners.push(listener),
                Err(error) => failed = Some((index, v6, error)),
            }
        }
        match failed {
            None => self.notes.clear(Topic::Listening),
            Some((index, v6, error)) => {
                let name = self.senders.interfaces().find(|interface| interface.index == index);
                let name = name.map_or("?", |interface| interface.name.as_str());
                let group = self.group.address(0, v6);
                self.notes.set(
                    Topic::Listening,
                    format!("beacons to {group} are not received on {name}: {error}"),
                    "another program may have bound that port exclusively; nodes that receive this node's beacons still find it",
                );
            }
        }
    }

    /// Sends the beacons that are due, one from each address of an interface. They are sent from the unicast socket,
    /// because a beacon is dialled at its source address and port.
    fn send_due(&mut self, sockets: &Sockets, now: Instant) {
        if sockets.is_silent() {
            return self.senders.send_due(now, |_| (0, None));
        }
        let beacon = beacon::encode(self.instance, self.key.as_deref());
        let (group, counters) = (self.group, &self.counters);
        self.senders.send_due(now, |interface| {
            let (mut sent, mut failed) = (0, None);
            let v6 = interface.v6.then_some(None);
            for v4 in v6.into_iter().chain(interface.v4.iter().copied().map(Some)) {
                match send_beacon(sockets, &group, interface.index, v4, &beacon) {
                    Ok(()) => {
                        sent += 1;
                        Counters::add(&counters.beacons_sent);
                    }
                    Err(error) => {
                        tracing::debug!(interface = %interface.name, ?v4, %error, "beacon not sent");
                        failed = Some(error.to_string());
                    }
                }
            }
            (sent, failed)
        });
        match self.senders.failure() {
            Some((name, error)) => self.notes.set(
                Topic::Beacons,
                format!("no beacon could be sent on any interface; on {name}: {error}"),
                "a firewall may forbid multicast: allow it, or name peers",
            ),
            None => self.notes.clear(Topic::Beacons),
        }
    }

    /// Receives the beacons of all listeners.
    fn receive_beacons(&mut self, cx: &mut Context<'_>, now: Instant, heard: &mut Vec<Heard>) {
        // Twice the length of a beacon, so that one of a later version that is longer is truncated but still read.
        let mut buffer = [0; 2 * beacon::LENGTH];
        let mut at = 0;
        while at < self.listeners.len() {
            let mut failed = None;
            for turn in 0..=MAX_EVENTS {
                if turn == MAX_EVENTS {
                    cx.waker().wake_by_ref();
                    break;
                }
                match self.listeners[at].poll_recv(cx, &mut buffer) {
                    Poll::Ready(Ok((length, source))) => {
                        let index = self.listeners[at].index;
                        self.handle_beacon(&buffer[..length], source, index, now, heard);
                    }
                    Poll::Ready(Err(error)) => {
                        failed = Some(error);
                        break;
                    }
                    Poll::Pending => break,
                }
            }
            match failed {
                // The listener is opened again when the interfaces are listed next.
                Some(error) => {
                    tracing::debug!(%error, "multicast listener closed");
                    self.listeners.swap_remove(at);
                }
                None => at += 1,
            }
        }
    }

    fn handle_beacon(
        &mut self,
        bytes: &[u8],
        source: SocketAddr,
        index: u32,
        now: Instant,
        heard: &mut Vec<Heard>,
    ) {
        let counters = &self.counters;
        let instance = match beacon::decode(bytes, self.key.as_deref()) {
            Ok(instance) if resolve::check(&source).is_ok() => instance,
            Ok(_) | Err(BeaconError::Malformed) => return Counters::add(&counters.beacons_malformed),
            Err(BeaconError::Foreign) => return Counters::add(&counters.beacons_foreign),
        };
        if instance == self.instance {
            return Counters::add(&counters.beacons_own);
        }
        let beacon = Heard { endpoint: Endpoint::from(source), instance };
        match self.recent.record(beacon, index, now) {
            Verdict::Limited => return Counters::add(&counters.beacons_limited),
            Verdict::New => self.senders.answer(index, now),
            Verdict::Known => {}
        }
        Counters::add(&counters.beacons_heard);
        heard.push(beacon);
    }
}

/// Sends one beacon on the interface with this number, over IPv6 or from one of its IPv4 addresses. It does not wait
/// for room in the socket, since a beacon that is lost is followed by another.
fn send_beacon(
    sockets: &Sockets,
    group: &Group,
    index: u32,
    v4: Option<Ipv4Addr>,
    beacon: &[u8],
) -> io::Result<()> {
    let address = group.address(index, v4.is_none());
    let socket = sockets.for_address(&address).ok_or(io::ErrorKind::Unsupported)?;
    if let Some(v4) = v4 {
        // This selects the interface and the source address. Over IPv6 the destination names the interface. No other
        // code sends multicast from this socket, so the option need not be restored.
        socket2::SockRef::from(&socket.io).set_multicast_if_v4(&v4)?;
    }
    socket.io.get_ref().send_to(beacon, address).map(drop)
}
