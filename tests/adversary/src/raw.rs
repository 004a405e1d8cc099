//! A link without a node behind it, with which a test can send anything to a neighbour.
//!
//! [`RawHandshake`] is one handshake, dialled or answered with an identity. The resulting [`RawLink`] keeps itself alive as every
//! link does: it answers probes, acknowledges, and repeats its control messages. Besides, it seals any plaintext, any control
//! message and any packet. [`control_messages`] encodes the records of routers with any fields, signed or not; [`frames`] encodes
//! forged handshake frames. The module does no I/O: the caller passes received bytes and the time, and sends the returned bytes.

pub mod control_messages;
pub mod frames;

use std::collections::VecDeque;

use rouse_proto::address::Address;
use rouse_proto::endpoint::Endpoint;
use rouse_proto::identity::Identity;
use rouse_proto::link::{
    FrameContent, HandshakeOutput, Handshakes, Link, LinkConfig, LinkOutput, LinkState, Path, Sealer, Source,
    Suite,
};
use rouse_proto::stats::DropCause;
use rouse_proto::time::Time;

/// The longest frame that a raw link offers to receive by default, in bytes.
pub const MTU: usize = 1200;

/// The parameters of a raw handshake.
#[derive(Clone, Copy, Debug)]
pub struct RawOptions {
    /// The key of a closed mesh.
    pub mesh_key: Option<[u8; 32]>,
    /// The seed of all randomness: the same seed gives the same frames.
    pub seed: [u8; 32],
    /// The random number that identifies a run of a node; derived from the seed when it is `None`.
    pub instance: Option<u64>,
    /// The longest frame that the link offers to receive, in bytes.
    pub mtu: usize,
    /// The cipher suites that it offers, as in [`Suite::offered`](rouse_proto::link::Suite::offered).
    pub suites: u8,
}

impl Default for RawOptions {
    fn default() -> Self {
        RawOptions { mesh_key: None, seed: [0; 32], instance: None, mtu: MTU, suites: Suite::offered() }
    }
}

/// A result of a raw handshake.
#[derive(Debug)]
pub enum RawHandshakeEvent {
    /// Send this to the other side.
    Send(Vec<u8>),
    /// The handshake is complete.
    Link(Box<RawLink>),
    /// The handshake failed, for this reason.
    Failed(String),
}

/// A handshake with one neighbour. After the link is established, the caller still passes repeated handshake frames to it for a
/// while, because the neighbour may have missed the last answer.
pub struct RawHandshake {
    handshakes: Handshakes,
    mark: u8,
    mtu: usize,
}

fn path() -> Path {
    // One byte always fits.
    Path { netmod: 0, endpoint: Endpoint::new(&[1]).unwrap_or_else(|| unreachable!("one byte")) }
}

impl RawHandshake {
    /// A handshake that answers a dial.
    pub fn answer(identity: &Identity, options: RawOptions) -> Self {
        let RawOptions { mesh_key, seed, instance, mtu, suites } = options;
        let config = LinkConfig {
            mesh_key: mesh_key.map(zeroize::Zeroizing::new),
            instance,
            suites,
            rate: u32::MAX,
            load: u32::MAX,
            ..LinkConfig::default()
        };
        let [mark, ..] = seed;
        RawHandshake { handshakes: Handshakes::new(identity, config, seed), mark, mtu }
    }

    /// A handshake that dials the node at the other end.
    pub fn dial(now: Time, identity: &Identity, options: RawOptions) -> Self {
        let mut handshake = RawHandshake::answer(identity, options);
        handshake.handshakes.dial(now, path(), options.mtu);
        handshake
    }

    /// Handles a received handshake frame.
    ///
    /// # Errors
    /// The cause for which a node would count it as dropped.
    pub fn receive(&mut self, now: Time, frame: &[u8]) -> Result<(), DropCause> {
        self.handshakes.handle(now, path(), Source::default(), self.mtu, frame)
    }

    /// The next result at this time. The caller repeats it until it returns `None`.
    pub fn poll(&mut self, now: Time) -> Option<RawHandshakeEvent> {
        if self.handshakes.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.handshakes.handle_timeout(now);
        }
        Some(match self.handshakes.poll_output()? {
            HandshakeOutput::Transmit { frame, .. } => RawHandshakeEvent::Send(frame),
            HandshakeOutput::Failed { reason, .. } => RawHandshakeEvent::Failed(reason.to_string()),
            HandshakeOutput::Established(session) => {
                let link = Link::new(now, session.peer, session.opener, session.mtu, [self.mark; 32]);
                RawHandshakeEvent::Link(Box::new(RawLink {
                    peer: session.peer,
                    local_index: session.local_index,
                    link,
                    sealer: session.sealer,
                    events: VecDeque::new(),
                    withheld: Vec::new(),
                }))
            }
        })
    }
}

/// An output of a raw link.
#[derive(Debug)]
pub enum RawLinkEvent {
    /// Send this frame to the neighbour.
    Send(Vec<u8>),
    /// The neighbour's router sent this control message.
    Control(Vec<u8>),
    /// The neighbour sent this packet, kind byte included.
    Packet(Vec<u8>),
    /// The link is down, for this reason.
    Down(String),
}

/// A link over which a test can send anything. See the [module's page](self).
pub struct RawLink {
    peer: Address,
    local_index: u32,
    link: Link,
    sealer: Sealer,
    events: VecDeque<RawLinkEvent>,
    withheld: Vec<u8>,
}

impl RawLink {
    /// The address of the neighbour.
    pub fn peer(&self) -> Address {
        self.peer
    }

    /// The index in the frames of the neighbour.
    pub fn local_index(&self) -> u32 {
        self.local_index
    }

    /// Handles a received data frame.
    ///
    /// # Errors
    /// The cause for which a node would count it as dropped.
    pub fn receive(&mut self, now: Time, frame: &[u8]) -> Result<(), DropCause> {
        let mut frame = frame.to_vec();
        if let FrameContent::Packet(body) = self.link.handle_frame(now, &mut frame)? {
            let mut packet = vec![rouse_proto::wire::link::KIND_PACKET];
            packet.extend_from_slice(body);
            self.events.push_back(RawLinkEvent::Packet(packet));
        }
        Ok(())
    }

    /// The next output at this time. The caller repeats it until it returns `None`.
    pub fn poll(&mut self, now: Time) -> Option<RawLinkEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if self.link.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.link.handle_timeout(now);
        }
        loop {
            match self.link.poll_output(now)? {
                LinkOutput::Transmit(plaintext)
                    if !plaintext.first().is_some_and(|kind| self.withheld.contains(kind)) =>
                {
                    return Some(RawLinkEvent::Send(self.seal(&plaintext)));
                }
                LinkOutput::Rekeyed(key) => self.sealer.renew(*key),
                LinkOutput::Control(message) => return Some(RawLinkEvent::Control(message.to_vec())),
                LinkOutput::StateChanged(LinkState::Down(reason)) => {
                    return Some(RawLinkEvent::Down(reason.to_string()));
                }
                _ => {}
            }
        }
    }

    /// The time at which [`poll`](RawLink::poll) has something to do, if nothing is received before.
    pub fn next_deadline(&self) -> Option<Time> {
        self.link.next_deadline()
    }

    /// Seals any plaintext as the next frame. The result is empty when the session's keys are exhausted.
    pub fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        // After 2³² frames only.
        let _ = self.sealer.seal(|out| out.extend_from_slice(plaintext), &mut frame);
        frame
    }

    /// Sends any bytes as one control message, in order and until they are acknowledged. Returns `false` when the queue (1 MiB) is
    /// full, or when the length is not that of a control message.
    pub fn send_control(&mut self, message: &[u8]) -> bool {
        self.link.send_control(message).is_ok()
    }

    /// Stops the link from sending plaintexts of these kinds by itself.
    pub fn withhold(&mut self, kinds: &[u8]) {
        self.withheld = kinds.to_vec();
    }

    /// Bytes of control messages that the neighbour has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.link.metrics().control_queued
    }

    /// The goodbye, the last frame of a link that ends in order.
    pub fn goodbye(&mut self) -> Vec<u8> {
        let plaintext = self.link.goodbye();
        self.seal(&plaintext)
    }
}

impl std::fmt::Debug for RawLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawLink").field("link", &self.link).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
