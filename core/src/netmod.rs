//! Network modules: a network module moves frames over one medium.
//!
//! A [`Netmod`] implements its medium (UDP, memory, a serial line) and has no notion of links, routes or messages. The
//! node drives it: it calls [`open`](Netmod::open) until that succeeds, then [`recv`](Netmod::recv) in a loop from one
//! task, and [`send`](Netmod::send) from any task. When either reports that the medium is gone
//! ([`NetmodError::Gone`]), the node opens it again with back-off; its other netmods are not affected.
//!
//! Both directions work on batches. The unit of sending is a [`Train`]: frames for one endpoint, all of one size
//! but the last, in one buffer, because that is the shape that GSO accepts. The unit of receiving is a list of
//! [`Arrival`]s, each a train in one reference-counted buffer, so that a frame reaches its neighbour's inbox without a
//! copy.

use std::io;

use async_trait::async_trait;
use bytes::BytesMut;
use serde::{Deserialize, Serialize};

pub mod mem;

pub use crate::endpoint::{Endpoint, Heard, MIN_MTU};

/// The properties of a medium. They may change when the netmod is opened again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// The longest frame that every endpoint takes, in bytes, except as stated at [`Netmod::min_mtu`]. At least
    /// [`MIN_MTU`].
    pub mtu: usize,
    /// The most frames that one [`Train`] may have.
    pub max_train: usize,
    /// Whether one frame can reach many nodes on the medium, so that they can discover each other on it.
    pub broadcast: bool,
    /// Added to the cost of every link over this medium, in the unit of the routing metric (a perfect wired link
    /// costs 32): 0 for a medium as good as a cable, more for a slow or costly one.
    pub cost: u16,
}

/// Frames for one endpoint in one buffer: each `size` bytes long but the last, which may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Train<'a> {
    /// The frames, one after the other.
    pub bytes: &'a [u8],
    /// The length of each frame but the last, in bytes; not 0.
    pub size: usize,
}

impl<'a> Train<'a> {
    /// A train of one frame.
    pub fn single(frame: &'a [u8]) -> Self {
        Train { bytes: frame, size: frame.len().max(1) }
    }

    /// The frames, one by one.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks(self.size.max(1))
    }
}

/// Frames received from one endpoint, in one buffer: each `size` bytes long but the last, which may be shorter.
#[derive(Debug)]
pub struct Arrival {
    /// The endpoint from which they were received.
    pub endpoint: Endpoint,
    /// The frames, one after the other.
    pub bytes: BytesMut,
    /// The length of each frame but the last, in bytes; not 0.
    pub size: usize,
}

/// The result of one call of [`Netmod::recv`]. The node passes the same one each time, emptied, to reuse its memory.
#[derive(Debug, Default)]
pub struct Received {
    /// The received frames.
    pub arrivals: Vec<Arrival>,
    /// The announcements received.
    pub heard: Vec<Heard>,
    /// Whether some endpoints cannot be reached any more: the node then queries [`Netmod::is_cut`] for those of its
    /// links.
    pub cut: bool,
    /// Whether some endpoints may be reached again: the node then probes those of its links that were cut and that
    /// [`Netmod::is_cut`] no longer reports.
    pub restored: bool,
}

impl Received {
    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty() && self.heard.is_empty() && !self.cut && !self.restored
    }

    /// Empties it, and keeps its memory.
    pub fn clear(&mut self) {
        self.arrivals.clear();
        self.heard.clear();
        (self.cut, self.restored) = (false, false);
    }
}

/// The failure of an operation, classified by the reaction that it requires.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetmodError {
    /// The operation may succeed when repeated: a full buffer, an interface that is just coming up.
    #[error("{0}")]
    Retry(#[source] io::Error),
    /// This endpoint cannot be reached (refused, no such host or network). Others can.
    #[error("{0}")]
    Endpoint(#[source] io::Error),
    /// A frame was longer than the path to this endpoint accepts.
    #[error("frame too long for the medium")]
    TooLong,
    /// The medium is gone, or could not be opened. It has to be opened again.
    #[error("{0}")]
    Gone(#[source] io::Error),
    /// The configuration can never work, for example because of a malformed address.
    #[error("{0}")]
    Invalid(String),
}

/// A notice of a netmod to the operator, shown in `rouse status` and `rouse doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The limitation that was found.
    pub text: String,
    /// The remedy.
    pub hint: String,
}

/// A network module. The [module's page](self) describes how the node drives it.
///
/// Futures returned by these methods may be dropped at any await: no received frame may be lost by that, and a train
/// that was being sent is either sent or not.
#[async_trait]
pub trait Netmod: Send + Sync + 'static {
    /// The scheme of its URIs: `udp`.
    fn scheme(&self) -> &str;

    /// The URI at which it listens: `udp:[::]:7700`, with the real port once it is open.
    fn uri(&self) -> String;

    /// The properties of the medium.
    fn properties(&self) -> Properties;

    /// The longest frame that every endpoint accepts for certain, in bytes: at least [`MIN_MTU`], at most
    /// [`Properties::mtu`]. A medium on which [`Properties::mtu`] holds for nearly every path returns less here; each
    /// link then probes whether longer frames get through.
    fn min_mtu(&self) -> usize {
        self.properties().mtu
    }

    /// The longest frame that some of its endpoints may accept, in bytes: at least [`Properties::mtu`]. Lengths in
    /// between are probed on each link, since a frame that is too long for a path may vanish without an error.
    fn max_mtu(&self) -> usize {
        self.properties().mtu
    }

    /// Opens the medium, or does nothing when it is open. After [`NetmodError::Gone`] it is called again.
    async fn open(&self) -> Result<(), NetmodError> {
        Ok(())
    }

    /// Waits until frames have arrived and appends them to `received`, at most a few hundred.
    /// Called from one task at a time.
    async fn recv(&self, received: &mut Received) -> Result<(), NetmodError>;

    /// Sends a train to one endpoint; waits while the medium has no room. Called from any number of tasks.
    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError>;

    /// The endpoints to which `peer` (a URI of this scheme without the scheme: `192.0.2.7:7700`) resolves, best first.
    async fn resolve(&self, peer: &str) -> Result<Vec<Endpoint>, NetmodError>;

    /// The bytes per second that a link over this medium carries, if known, so that routing traffic can be limited to a
    /// small share of it. `None` by default.
    fn rate(&self) -> Option<u64> {
        None
    }

    /// The endpoint in readable form, as a URI: `udp:192.0.2.7:7700`.
    fn describe(&self, endpoint: &Endpoint) -> String;

    /// The group with which an endpoint shares its quota of handshakes (for IP: its /24 or /64), since a host that can
    /// use one address there can use many.
    fn quota_key(&self, endpoint: &Endpoint) -> u64;

    /// The host to which an endpoint belongs (for IP: the address without the port). The nodes of one host share its
    /// fair part, so that one host cannot use up the quota of its group. By default each endpoint is a host of its own.
    fn host_key(&self, endpoint: &Endpoint) -> u64 {
        let hash = blake3::hash(endpoint.as_bytes());
        hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Whether the medium has determined that no frame to this endpoint arrives at the moment: its interface is down,
    /// or its cable is unplugged. A link over it is then suspected at once, and not only after a silence.
    fn is_cut(&self, _endpoint: &Endpoint) -> bool {
        false
    }

    /// The counters of the medium, each with the name under which `rouse status` shows it: mainly the frames it
    /// dropped.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Notices to the operator: a buffer smaller than requested, a protocol that is missing.
    fn notes(&self) -> Vec<Note> {
        Vec::new()
    }

    /// The node is about to leave the medium. From here on it is not announced any more, since others would dial it
    /// without success. Frames that it sends are still transmitted. Opening the medium again resumes the announcements.
    fn stop_announcing(&self) {}

    /// Closes the medium and frees its resources. Futures that wait on it end with [`NetmodError::Gone`].
    async fn close(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_falls_apart_into_its_frames() {
        let train = Train { bytes: b"aabbc", size: 2 };
        assert_eq!(train.frames().collect::<Vec<_>>(), [&b"aa"[..], b"bb", b"c"]);
    }
}
