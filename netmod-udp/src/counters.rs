//! Counters of beacons, and of datagrams that were ignored, by cause.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The counters while they are updated; [`UdpCounters`] is a copy of their values.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) malformed: AtomicU64,
    pub(crate) beacons_sent: AtomicU64,
    pub(crate) beacons_heard: AtomicU64,
    pub(crate) beacons_own: AtomicU64,
    pub(crate) beacons_malformed: AtomicU64,
    pub(crate) beacons_foreign: AtomicU64,
    pub(crate) beacons_limited: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> UdpCounters {
        UdpCounters {
            malformed: self.malformed.load(Relaxed),
            beacons_sent: self.beacons_sent.load(Relaxed),
            beacons_heard: self.beacons_heard.load(Relaxed),
            beacons_own: self.beacons_own.load(Relaxed),
            beacons_malformed: self.beacons_malformed.load(Relaxed),
            beacons_foreign: self.beacons_foreign.load(Relaxed),
            beacons_limited: self.beacons_limited.load(Relaxed),
        }
    }
}

/// The counts of a [`Udp`](crate::Udp) since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpCounters {
    /// Datagrams that hold no frame and were ignored: empty ones.
    pub malformed: u64,
    /// Beacons sent, one for each interface and family.
    pub beacons_sent: u64,
    /// Beacons of other nodes that were reported to this node.
    pub beacons_heard: u64,
    /// Beacons of this node that it received itself.
    pub beacons_own: u64,
    /// Datagrams on the port of the beacons that are none.
    pub beacons_malformed: u64,
    /// Beacons of other meshes.
    pub beacons_foreign: u64,
    /// Beacons that were dropped because they came too soon after the last one, or with too many others.
    pub beacons_limited: u64,
}

impl UdpCounters {
    /// Each count with its name in `rouse status --json`.
    pub(crate) fn named(&self) -> Vec<(&'static str, u64)> {
        let UdpCounters {
            malformed,
            beacons_sent,
            beacons_heard,
            beacons_own,
            beacons_malformed,
            beacons_foreign,
            beacons_limited,
        } = *self;
        vec![
            ("malformed", malformed),
            ("beacons_sent", beacons_sent),
            ("beacons_heard", beacons_heard),
            ("beacons_own", beacons_own),
            ("beacons_malformed", beacons_malformed),
            ("beacons_foreign", beacons_foreign),
            ("beacons_limited", beacons_limited),
        ]
    }
}
