//! Finding others: beacons out on each interface, beacons in from each, interfaces that come and go.
//!
//! It has no task of its own: the worker polls it inside `recv`. Nothing that goes wrong here is an error of the
//! netmod, which can still be dialled; it becomes a note.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_io::Timer;
use if_watch::smol::IfWatcher;
use rouse_core::netmod::{Endpoint, Heard, Received};
use zeroize::Zeroizing;

use crate::beacon::{self, Refusal};
#[cfg(target_os = "linux")]
use crate::carrier::Carrier;
use crate::config::UdpConfig;
use crate::counters::Counters;
use crate::crowd::{Crowd, Verdict};
use crate::ear::{Ear, Group};
use crate::interfaces::{self, Choice, Interface, Listing, MAX_INTERFACES};
use crate::notes::{Notes, Topic};
use crate::resolve;
use crate::schedule::Schedule;
use crate::socket::Sockets;
use crate::ways::SharedWays;

/// How many datagrams of one ear, and events of the watcher, are taken before others get a turn.
const TURN: usize = 32;

/// How long to do without a watcher that failed. Until then changes are seen with the next beacons.
const WATCH_AGAIN: Duration = Duration::from_secs(60);

/// Discovery of an open netmod.
pub(crate) struct Discovery {
    instance: u64,
    key: Option<Zeroizing<[u8; 32]>>,
    group: Group,
    choice: Choice,
    interfaces: Vec<Interface>,
    ears: Vec<Ear>,
    schedule: Schedule,
    crowd: Crowd,
    timer: Timer,
    /// When the timer goes off.
    armed: Instant,
    watcher: Result<IfWatcher, Instant>,
    /// Without it a lost carrier is seen with the next beacons, and by its silence.
    #[cfg(target_os = "linux")]
    carrier: Option<Carrier>,
    ways: Arc<SharedWays>,
    /// Whether the interfaces have to be listed again.
    changed: bool,
    notes: Arc<Notes>,
    counters: Arc<Counters>,
}

impl Discovery {
    pub(crate) fn new(
        config: &UdpConfig,
        instance: u64,
        sockets: &Sockets,
        ways: Arc<SharedWays>,
        notes: Arc<Notes>,
        counters: Arc<Counters>,
    ) -> Self {
        let now = Instant::now();
        let fixed = sockets.list.iter().find(|socket| socket.is_fixed());
        let mut discovery = Discovery {
            instance,
            key: config.mesh_key.clone(),
            group: Group { v4: config.group_v4, v6: config.group_v6, port: config.group_port },
            choice: Choice {
                patterns: config.interfaces.clone(),
                only: fixed.map(|socket| socket.local.ip()),
                v4: sockets.list.iter().any(|socket| socket.local.is_ipv4()),
                v6: sockets.list.iter().any(|socket| socket.local.is_ipv6()),
            },
            interfaces: Vec::new(),
            ears: Vec::new(),
            schedule: Schedule::new(now, instance),
            crowd: Crowd::new(now),
            timer: Timer::at(now),
            armed: now,
            watcher: Err(now),
            #[cfg(target_os = "linux")]
            carrier: None,
            ways,
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
            let due = self.schedule.due() <= now;
            if self.changed || due {
                received.cut |= self.look_around(now);
            }
            // What is new may have made it due.
            if self.schedule.due() <= now {
                self.send_round(sockets, now);
            }
            self.listen(cx, now, &mut received.heard);
            if self.armed != self.schedule.due() {
                self.armed = self.schedule.due();
                self.timer.set_at(self.armed);
            }
            if Pin::new(&mut self.timer).poll(cx).is_pending() {
                return;
            }
        }
    }

    fn watch(&mut self, now: Instant) {
        #[cfg(target_os = "linux")]
        if self.carrier.is_none() {
            self.carrier = Carrier::open()
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
        let Listing { chosen: found, more, ways } = match interfaces::list(&self.choice) {
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
                "{more} interfaces are left out of discovery, which goes to {MAX_INTERFACES} at most"
            );
            self.notes.set(Topic::Interfaces, text, "choose the interfaces that others may be on");
        } else {
            self.notes.clear(Topic::Interfaces);
        }
        if found.iter().any(|interface| self.is_new(interface)) {
            self.schedule.restart(now);
        }
        self.interfaces = found;
        self.set_ears();
        self.ways.set(ways)
    }

    /// Whether beacons can go on `interface` in a way that they could not before.
    fn is_new(&self, interface: &Interface) -> bool {
        let before = self.interfaces.iter().find(|before| before.index == interface.index);
        before.is_none_or(|before| {
            (interface.v6 && !before.v6)
                || (interface.v4.is_some() && interface.v4 != before.v4)
                || (interface.running && !before.running)
        })
    }

    /// Opens the ears that are missing and closes those whose interface is gone.
    fn set_ears(&mut self) {
        let ways =
            |interface: &Interface| interface.families().map(|v6| (interface.index, v6)).collect::<Vec<_>>();
        let wanted: BTreeSet<(u32, bool)> = self.interfaces.iter().flat_map(ways).collect();
        self.ears.retain(|ear| wanted.contains(&(ear.index, ear.v6)));
        let mut failed = None;
        for (index, v6) in wanted {
            if self.ears.iter().any(|ear| (ear.index, ear.v6) == (index, v6)) {
                continue;
            }
            match Ear::open(&self.group, index, v6) {
                Ok(ear) => self.ears.push(ear),
                Err(error) => failed = Some((index, v6, error)),
            }
        }
        match failed {
            None => self.notes.clear(Topic::Listening),
            Some((index, v6, error)) => {
                let name = self.interfaces.iter().find(|interface| interface.index == index);
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

    /// A beacon on each interface, from the socket where this node is to be dialled.
    fn send_round(&mut self, sockets: &Sockets, now: Instant) {
        if sockets.is_silent() {
            return self.schedule.sent(now, true);
        }
        let beacon = beacon::encode(self.instance, self.key.as_deref());
        let (mut sent, mut failed) = (0, None);
        for interface in self.interfaces.iter().filter(|interface| interface.running) {
            for v6 in interface.families() {
                match send_beacon(sockets, &self.group, interface, v6, &beacon) {
                    Ok(()) => {
                        sent += 1;
                        Counters::add(&self.counters.beacons_sent);
                    }
                    Err(error) => {
                        tracing::debug!(interface = %interface.name, v6, %error, "no beacon could leave");
                        failed = Some((interface.name.clone(), error));
                    }
                }
            }
        }
        self.schedule.sent(now, failed.is_none());
        match failed {
            // Some interfaces never carry multicast; that is no news as long as others do.
            Some((name, error)) if sent == 0 => self.notes.set(
                Topic::Beacons,
                format!("no beacon could leave, the last one on {name}: {error}"),
                "a firewall may forbid multicast; name peers instead",
            ),
            _ => self.notes.clear(Topic::Beacons),
        }
    }

    /// Takes in what the ears have.
    fn listen(&mut self, cx: &mut Context<'_>, now: Instant, heard: &mut Vec<Heard>) {
        // Longer than any beacon that is known, so that one cut off at its end is still one.
        let mut buffer = [0; 2 * beacon::LENGTH];
        let mut at = 0;
        while at < self.ears.len() {
            let mut failed = None;
            for turn in 0..=TURN {
                if turn == TURN {
                    cx.waker().wake_by_ref();
                    break;
                }
                match self.ears[at].poll_recv(cx, &mut buffer) {
                    Poll::Ready(Ok((length, source))) => self.hear(&buffer[..length], source, now, heard),
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
                    tracing::debug!(%error, "an ear is closed");
                    self.ears.swap_remove(at);
                }
                None => at += 1,
            }
        }
    }

    fn hear(&mut self, bytes: &[u8], source: SocketAddr, now: Instant, heard: &mut Vec<Heard>) {
        let counters = &self.counters;
        let instance = match beacon::decode(bytes, self.key.as_deref()) {
            Ok(instance) if resolve::check(&source).is_ok() => instance,
            Ok(_) | Err(Refusal::Malformed) => return Counters::add(&counters.beacons_malformed),
            Err(Refusal::Foreign) => return Counters::add(&counters.beacons_foreign),
        };
        if instance == self.instance {
            return Counters::add(&counters.beacons_own);
        }
        let beacon = Heard { endpoint: Endpoint::from(source), instance };
        match self.crowd.hear(beacon, now) {
            Verdict::Limited => return Counters::add(&counters.beacons_limited),
            Verdict::New => self.schedule.answer(now),
            Verdict::Known => {}
        }
        Counters::add(&counters.beacons_heard);
        heard.push(beacon);
    }
}

/// Sends one beacon; it is not waited for.
fn send_beacon(
    sockets: &Sockets,
    group: &Group,
    interface: &Interface,
    v6: bool,
    beacon: &[u8],
) -> io::Result<()> {
    let address = group.address(interface.index, v6);
    let socket = sockets.for_address(&address).ok_or(io::ErrorKind::Unsupported)?;
    if let (false, Some(v4)) = (v6, interface.v4) {
        // Also makes it the source. IPv6 has the interface in the address. Nothing else here sends multicast.
        socket2::SockRef::from(&socket.io).set_multicast_if_v4(&v4)?;
    }
    socket.io.get_ref().send_to(beacon, address).map(drop)
}
