//! Finding others: beacons out on each interface, beacons in from each, interfaces that come and go.
//!
//! It has no task of its own: the worker polls it inside `recv`. Nothing that goes wrong here is an error of the
//! netmod, which can still be dialled; it becomes a note.

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
use crate::interface_states::SharedInterfaceStates;
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

/// How many datagrams of one listener, and events of the watcher, are taken before others get a turn.
const TURN: usize = 32;

/// How often the interfaces are listed at least: a change may have been missed.
const LOOK: Duration = Duration::from_secs(30);

/// How long to do without a watcher that failed. Until then changes are seen with the next beacons.
const WATCH_AGAIN: Duration = Duration::from_secs(60);

/// Discovery of an open netmod.
pub(crate) struct Discovery {
    instance: u64,
    key: Option<Zeroizing<[u8; 32]>>,
    group: Group,
    selection: InterfaceSelection,
    senders: BeaconSenders,
    listeners: Vec<MulticastListener>,
    /// When the interfaces are listed again, changed or not.
    look_at: Instant,
    recent: RecentBeacons,
    timer: Timer,
    /// When the timer goes off.
    armed: Instant,
    watcher: Result<IfWatcher, Instant>,
    /// Without it a lost carrier is seen with the next beacons, and by its silence.
    #[cfg(target_os = "linux")]
    carrier: Option<CarrierMonitor>,
    interface_states: Arc<SharedInterfaceStates>,
    /// Whether the interfaces have to be listed again.
    changed: bool,
    notes: Arc<NotesByTopic>,
    counters: Arc<Counters>,
}

impl Discovery {
    pub(crate) fn new(
        config: &UdpConfig,
        instance: u64,
        sockets: &Sockets,
        interface_states: Arc<SharedInterfaceStates>,
        notes: Arc<NotesByTopic>,
        counters: Arc<Counters>,
    ) -> Self {
        let now = Instant::now();
        let fixed = sockets.list.iter().find(|socket| socket.is_fixed());
        let mut discovery = Discovery {
            instance,
            key: config.mesh_key.clone(),
            group: Group { v4: config.group_v4, v6: config.group_v6, port: config.group_port },
            selection: InterfaceSelection {
                patterns: config.interfaces.clone(),
                only: fixed.map(|socket| socket.local.ip()),
                v4: sockets.list.iter().any(|socket| socket.local.is_ipv4()),
                v6: sockets.list.iter().any(|socket| socket.local.is_ipv6()),
            },
            senders: BeaconSenders::new(instance),
            listeners: Vec::new(),
            look_at: now,
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

    /// Does what is due and appends who was heard, and whether a way was cut. The task is woken when there is more to do.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, sockets: &Sockets, received: &mut Received) {
        loop {
            let now = Instant::now();
            self.poll_watcher(cx, now);
            if self.changed || self.look_at <= now {
                received.cut |= self.look_around(now);
            }
            // What is new may have made it due.
            if self.senders.due().is_some_and(|due| due <= now) {
                self.send_due(sockets, now);
            }
            self.listen(cx, now, &mut received.heard);
            let due = self.senders.due().map_or(self.look_at, |due| due.min(self.look_at));
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
                .inspect_err(|error| tracing::debug!(%error, "lost carriers are not announced"))
                .ok();
        }
        match IfWatcher::new() {
            Ok(watcher) => {
                self.watcher = Ok(watcher);
                self.notes.clear(Topic::Watch);
            }
            Err(error) => self.unwatched(&error, now),
        }
    }

    fn unwatched(&mut self, error: &io::Error, now: Instant) {
        self.watcher = Err(now + WATCH_AGAIN);
        self.notes.set(
            Topic::Watch,
            format!(
                "changes of interfaces are not announced ({error}): they are seen up to half a minute late"
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
                    tracing::debug!(%error, "lost carriers are no longer announced");
                    self.carrier = None;
                }
                Poll::Pending => {}
            }
        }
        for _ in 0..TURN {
            let Ok(watcher) = &mut self.watcher else { return };
            match watcher.poll_if_event(cx) {
                Poll::Ready(Ok(_)) => self.changed = true,
                Poll::Ready(Err(error)) => self.unwatched(&error, now),
                Poll::Pending => return,
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Lists the interfaces again, and listens on those that there are. Whether one carries nothing any more.
    fn look_around(&mut self, now: Instant) -> bool {
        self.changed = false;
        self.look_at = now + LOOK;
        let InterfaceListing { chosen: found, more, states } = match interfaces::list(&self.selection) {
            Ok(found) => found,
            Err(error) => {
                let text = format!("the interfaces of this host cannot be listed: {error}");
                self.notes.set(
                    Topic::Interfaces,
                    text,
                    "nodes are found where beacons already go; others by --peer",
                );
                return false;
            }
        };
        if found.is_empty() {
            self.notes.set(
                Topic::Interfaces,
                "no interface to find others on",
                "listen on [::], choose interfaces that this host has, or name peers; IPv6 has no multicast on loopback",
            );
        } else if more > 0 {
            let text = format!(
                "{more} interfaces are left out of discovery, which goes to {MAX_INTERFACES} at most: those that are down, \
                 have no address of a network, or are no cards"
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

    /// Opens the listeners that are missing and closes those whose interface is gone.
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
                    format!("beacons to {group} are not heard on {name}: {error}"),
                    "another program may have that port for itself; those who hear this node still find it",
                );
            }
        }
    }

    /// A beacon from each address of the interfaces whose turn it is, from the socket where this node is to be dialled.
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
                        tracing::debug!(interface = %interface.name, ?v4, %error, "no beacon could leave");
                        failed = Some(error.to_string());
                    }
                }
            }
            (sent, failed)
        });
        match self.senders.failure() {
            Some((name, error)) => self.notes.set(
                Topic::Beacons,
                format!("no beacon could leave, on {name} for one: {error}"),
                "a firewall may forbid multicast; name peers instead",
            ),
            None => self.notes.clear(Topic::Beacons),
        }
    }

    /// Takes in what the listeners have.
    fn listen(&mut self, cx: &mut Context<'_>, now: Instant, heard: &mut Vec<Heard>) {
        // Longer than any beacon that is known, so that one cut off at its end is still one.
        let mut buffer = [0; 2 * beacon::LENGTH];
        let mut at = 0;
        while at < self.listeners.len() {
            let mut failed = None;
            for turn in 0..=TURN {
                if turn == TURN {
                    cx.waker().wake_by_ref();
                    break;
                }
                match self.listeners[at].poll_recv(cx, &mut buffer) {
                    Poll::Ready(Ok((length, source))) => {
                        let index = self.listeners[at].index;
                        self.hear(&buffer[..length], source, index, now, heard);
                    }
                    Poll::Ready(Err(error)) => {
                        failed = Some(error);
                        break;
                    }
                    Poll::Pending => break,
                }
            }
            match failed {
                // Opened again when the interfaces are listed next, with the next beacons.
                Some(error) => {
                    tracing::debug!(%error, "an listener is closed");
                    self.listeners.swap_remove(at);
                }
                None => at += 1,
            }
        }
    }

    fn hear(&mut self, bytes: &[u8], source: SocketAddr, index: u32, now: Instant, heard: &mut Vec<Heard>) {
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
        match self.recent.hear(beacon, index, now) {
            Verdict::Limited => return Counters::add(&counters.beacons_limited),
            Verdict::New => self.senders.answer(index, now),
            Verdict::Known => {}
        }
        Counters::add(&counters.beacons_heard);
        heard.push(beacon);
    }
}

/// Sends one beacon on the interface with this number, over IPv6 or from an IPv4 address of it; it is not waited for.
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
        // Also makes it the source. IPv6 has the interface in the address. Nothing else here sends multicast.
        socket2::SockRef::from(&socket.io).set_multicast_if_v4(&v4)?;
    }
    socket.io.get_ref().send_to(beacon, address).map(drop)
}
