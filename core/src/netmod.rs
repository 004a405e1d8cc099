//! Network modules: what moves frames over one medium.
//!
//! A [`Netmod`] knows its medium (UDP, memory, a serial line) and nothing of links, routes or messages. The node
//! drives it: it calls [`open`](Netmod::open) until that succeeds, then [`recv`](Netmod::recv) in a loop from one
//! task, and [`send`](Netmod::send) from any task. When either reports that the medium is gone
//! ([`NetmodError::Gone`]), the node opens it again with back-off; its other netmods go on.
//!
//! Both directions work on batches. What is sent is a [`Train`]: frames for one endpoint, all of one size
//! but the last, in one buffer, which is the shape that GSO takes. What is received is a list of [`Arrival`]s, each
//! a train in one reference-counted buffer, so that a frame travels to its neighbour's inbox without a copy.

use std::io;

use async_trait::async_trait;
use bytes::BytesMut;
use serde::{Deserialize, Serialize};

mod endpoint;
pub mod mem;

pub use endpoint::Endpoint;

/// What a netmod says of itself. It may change when the netmod is opened again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// The longest frame that every endpoint takes, in bytes, but for what [`Netmod::min_mtu`] says. At least [`MIN_MTU`].
    pub mtu: usize,
    /// The most frames that one [`Train`] may have.
    pub max_train: usize,
    /// Whether the medium can reach many at once, so that nodes find each other on it.
    pub broadcast: bool,
    /// Added to the cost of every link over this medium, in the unit of the routing metric (a perfect wired link
    /// costs 32): 0 for what is as good as a cable, more for what is slow or dear.
    pub cost: u16,
}

/// The shortest MTU a netmod may have, in bytes: a handshake message has to fit.
pub const MIN_MTU: usize = 512;

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

/// Frames that came from one endpoint, in one buffer: each `size` bytes long but the last, which may be shorter.
#[derive(Debug)]
pub struct Arrival {
    /// Whom they came from.
    pub endpoint: Endpoint,
    /// The frames, one after the other.
    pub bytes: BytesMut,
    /// The length of each frame but the last, in bytes; not 0.
    pub size: usize,
}

/// Somebody was heard who can be dialled. A hint only: nothing is known of them but that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Where to dial.
    pub endpoint: Endpoint,
    /// A random number that they drew at their start; the same on every path to them.
    pub instance: u64,
}

/// What one call of [`Netmod::recv`] brought. The node hands the same one in each time, emptied.
#[derive(Debug, Default)]
pub struct Received {
    /// Frames.
    pub arrivals: Vec<Arrival>,
    /// Who was heard.
    pub heard: Vec<Heard>,
    /// Some endpoints cannot be reached any more: the node asks [`Netmod::is_cut`] of those it has links to.
    pub cut: bool,
}

impl Received {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty() && self.heard.is_empty() && !self.cut
    }

    /// Empties it; keeps its memory.
    pub fn clear(&mut self) {
        self.arrivals.clear();
        self.heard.clear();
        self.cut = false;
    }
}

/// What went wrong, and so what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetmodError {
    /// It may work if it is tried again: a full buffer, an interface that is just coming up.
    #[error("{0}")]
    Retry(#[source] io::Error),
    /// This endpoint cannot be reached (refused, no such host or network); others can.
    #[error("{0}")]
    Endpoint(#[source] io::Error),
    /// A frame was longer than the way to this endpoint takes.
    #[error("frame too long for the medium")]
    TooLong,
    /// The medium is gone, or could not be opened: it has to be opened again.
    #[error("{0}")]
    Gone(#[source] io::Error),
    /// What was configured can never work: a malformed address.
    #[error("{0}")]
    Invalid(String),
}

/// What a netmod has to say to the person who runs it, shown in `rouse status` and `rouse doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What is less than it could be.
    pub text: String,
    /// What to do about it.
    pub hint: String,
}

/// A network module. See the [module's page](self) for how the node drives it.
///
/// Futures returned by these methods may be dropped at any await: nothing that was received may be lost by that,
/// and a train that was being sent is either sent or not.
#[async_trait]
pub trait Netmod: Send + Sync + 'static {
    /// The scheme of its URIs: `udp`.
    fn scheme(&self) -> &str;

    /// Where it listens, as a URI: `udp:[::]:7700`, with the real port once it is open.
    fn uri(&self) -> String;

    /// What it can do.
    fn properties(&self) -> Properties;

    /// The longest frame that every endpoint takes for certain, in bytes: at least [`MIN_MTU`], at most [`Properties::mtu`]. A
    /// medium whose [`Properties::mtu`] holds for nearly every way names less here; each link then sees for itself whether longer
    /// frames get through.
    fn min_mtu(&self) -> usize {
        self.properties().mtu
    }

    /// The longest frame that some of its endpoints may take, in bytes: at least [`Properties::mtu`]. What lies between is tried
    /// out on each link; a frame that is too long for a way may vanish.
    fn max_mtu(&self) -> usize {
        self.properties().mtu
    }

    /// Opens the medium, or does nothing when it is open. After [`NetmodError::Gone`] it is called again.
    async fn open(&self) -> Result<(), NetmodError> {
        Ok(())
    }

    /// Waits until something has come and appends it to `received`, at most a few hundred frames.
    /// Called from one task at a time.
    async fn recv(&self, received: &mut Received) -> Result<(), NetmodError>;

    /// Sends a train to one endpoint; waits while the medium has no room. Called from any number of tasks.
    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError>;

    /// The endpoints that `peer` (a URI of this scheme without the scheme: `192.0.2.7:7700`) means, best first.
    async fn resolve(&self, peer: &str) -> Result<Vec<Endpoint>, NetmodError>;

    /// Bytes a second that a link over this medium carries, where that is known: the routes then take a small share of
    /// it. `None` by default.
    fn rate(&self) -> Option<u64> {
        None
    }

    /// An endpoint for people, as a URI: `udp:192.0.2.7:7700`.
    fn describe(&self, endpoint: &Endpoint) -> String;

    /// The group that an endpoint shares its quota of handshakes with (for IP: its /24 or /64), since who can
    /// take one address there can take many.
    fn quota_key(&self, endpoint: &Endpoint) -> u64;

    /// The host that an endpoint belongs to (for IP: the address without the port). Many nodes may run on one host, and share
    /// what is fair for it, so that one host cannot use up what its group has. By default each endpoint is a host of its own.
    fn host_key(&self, endpoint: &Endpoint) -> u64 {
        let hash = blake3::hash(endpoint.as_bytes());
        hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Whether the medium knows that nothing which is sent to this endpoint arrives at the moment: its interface is down,
    /// its plug is out. A link over it is in doubt at once, and not after a silence.
    fn is_cut(&self, _endpoint: &Endpoint) -> bool {
        false
    }

    /// What it has counted, and by which name each count is shown in `rouse status`: above all what it left aside.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// What the user should know: a buffer smaller than wished, a protocol that is missing.
    fn notes(&self) -> Vec<Note> {
        Vec::new()
    }

    /// The node is about to leave the medium: from here on it is not announced to others, who would dial it in vain. What it
    /// sends still leaves. Opening the medium again begins anew.
    fn stop_announcing(&self) {}

    /// Closes the medium and frees what it holds. Futures that wait on it end with [`NetmodError::Gone`].
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
