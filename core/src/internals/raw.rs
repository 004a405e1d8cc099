//! A link without a node behind it: whoever holds it says what it likes to its neighbour.
//!
//! [`Shaking`] is one handshake, dialled or answered with an identity; the [`RawLink`] that comes of it keeps itself alive as
//! every link does (it answers hellos, acknowledges, repeats its control messages), and besides seals whatever it is given: any
//! plaintext, any control message, any packet. [`control_messages`] makes what routers say to each other, with any fields, signed or not;
//! [`frames`] are handshake frames out of nothing. Bytes and the time go in, bytes come out; no I/O.

pub mod control_messages;
pub mod frames;

use std::collections::VecDeque;

use crate::address::Address;
use crate::identity::Identity;
use crate::link::{
    FrameContent, HandshakeOutput, Handshakes, Link, LinkConfig, LinkOutput, LinkState, Path, Sealer, Source,
};
use crate::netmod::Endpoint;
use crate::stats::DropCause;
use crate::time::Time;

/// The longest frame that a raw link says it takes, in bytes.
pub const MTU: usize = 1200;

/// How a raw node shakes hands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    /// The key of a closed mesh.
    pub mesh_key: Option<[u8; 32]>,
    /// From which all randomness comes. The same seed gives the same frames.
    pub seed: [u8; 32],
    /// The random number that stands for a run of a node; from the seed when there is none.
    pub instance: Option<u64>,
}

/// What comes of handing in frames and time.
#[derive(Debug)]
pub enum Shaken {
    /// Send this to the other side.
    Send(Vec<u8>),
    /// The handshake is complete.
    Link(Box<RawLink>),
    /// It has come to nothing; why.
    Failed(String),
}

/// A handshake with one neighbour. When the link is there it may have to be told of repeated frames for a while.
pub struct Shaking {
    handshakes: Handshakes,
    mark: u8,
}

fn path() -> Path {
    // One byte always fits.
    Path { netmod: 0, endpoint: Endpoint::new(&[1]).unwrap_or_else(|| unreachable!("one byte")) }
}

impl Shaking {
    /// Waits to be dialled.
    pub fn answer(identity: &Identity, manners: Manners) -> Self {
        let Manners { mesh_key, seed, instance } = manners;
        let config = LinkConfig {
            mesh_key: mesh_key.map(zeroize::Zeroizing::new),
            instance,
            rate: u32::MAX,
            load: u32::MAX,
            ..LinkConfig::default()
        };
        let [mark, ..] = seed;
        Shaking { handshakes: Handshakes::new(identity, config, seed), mark }
    }

    /// Dials whoever is there.
    pub fn dial(now: Time, identity: &Identity, manners: Manners) -> Self {
        let mut shaking = Shaking::answer(identity, manners);
        shaking.handshakes.dial(now, path(), MTU);
        shaking
    }

    /// A handshake frame has come.
    ///
    /// # Errors
    /// The cause for which a node would count it as dropped.
    pub fn receive(&mut self, now: Time, frame: &[u8]) -> Result<(), DropCause> {
        self.handshakes.handle(now, path(), Source::default(), MTU, frame)
    }

    /// What is to be done at this time; again and again until there is nothing more.
    pub fn poll(&mut self, now: Time) -> Option<Shaken> {
        if self.handshakes.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.handshakes.handle_timeout(now);
        }
        Some(match self.handshakes.poll_output()? {
            HandshakeOutput::Transmit { frame, .. } => Shaken::Send(frame),
            HandshakeOutput::Failed { reason, .. } => Shaken::Failed(reason.to_string()),
            HandshakeOutput::Established(session) => {
                let link = Link::new(now, session.peer, session.opener, session.mtu, [self.mark; 32]);
                Shaken::Link(Box::new(RawLink {
                    peer: session.peer,
                    local_index: session.local_index,
                    link,
                    sealer: session.sealer,
                    said: VecDeque::new(),
                    withheld: Vec::new(),
                }))
            }
        })
    }
}

/// What a raw link has to do or to tell.
#[derive(Debug)]
pub enum Happened {
    /// Send this frame to the neighbour.
    Send(Vec<u8>),
    /// The neighbour's router said this.
    Said(Vec<u8>),
    /// The neighbour sent this packet, kind byte included.
    Packet(Vec<u8>),
    /// The link is over; why.
    Down(String),
}

/// A link that says what its holder likes. See the [module's page](self).
pub struct RawLink {
    peer: Address,
    local_index: u32,
    link: Link,
    sealer: Sealer,
    said: VecDeque<Happened>,
    withheld: Vec<u8>,
}

impl RawLink {
    /// Who is on the other side.
    pub fn peer(&self) -> Address {
        self.peer
    }

    /// The index in the frames that come.
    pub fn local_index(&self) -> u32 {
        self.local_index
    }

    /// A data frame has come.
    ///
    /// # Errors
    /// The cause for which a node would count it as dropped.
    pub fn receive(&mut self, now: Time, frame: &[u8]) -> Result<(), DropCause> {
        let mut frame = frame.to_vec();
        if let FrameContent::Packet(body) = self.link.handle_frame(now, &mut frame)? {
            let mut packet = vec![crate::wire::link::KIND_PACKET];
            packet.extend_from_slice(body);
            self.said.push_back(Happened::Packet(packet));
        }
        Ok(())
    }

    /// What is to be done or known at this time; again and again until there is nothing more.
    pub fn poll(&mut self, now: Time) -> Option<Happened> {
        if let Some(said) = self.said.pop_front() {
            return Some(said);
        }
        if self.link.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.link.handle_timeout(now);
        }
        loop {
            match self.link.poll_output(now)? {
                LinkOutput::Transmit(plaintext)
                    if !plaintext.first().is_some_and(|kind| self.withheld.contains(kind)) =>
                {
                    return Some(Happened::Send(self.seal(&plaintext)));
                }
                LinkOutput::Rekeyed(key) => self.sealer.renew(*key),
                LinkOutput::Control(message) => return Some(Happened::Said(message.to_vec())),
                LinkOutput::StateChanged(LinkState::Down(reason)) => {
                    return Some(Happened::Down(reason.to_string()));
                }
                _ => {}
            }
        }
    }

    /// Seals any plaintext as the next frame, whatever it is. Empty when the session is used up.
    pub fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        // After 2³² frames only.
        let _ = self.sealer.seal(|out| out.extend_from_slice(plaintext), &mut frame);
        frame
    }

    /// Sends bytes as one control message, whatever they are: in order, and until they are acknowledged. `false` when the
    /// queue (1 MiB) is full, or when no control channel would take so many or so few bytes.
    pub fn say(&mut self, message: &[u8]) -> bool {
        self.link.send_control(message).is_ok()
    }

    /// From now on the link does not send what it would by itself of these kinds.
    pub fn withhold(&mut self, kinds: &[u8]) {
        self.withheld = kinds.to_vec();
    }

    /// Bytes of control messages that the neighbour has not acknowledged yet.
    pub fn unsaid(&self) -> usize {
        self.link.metrics().control_queued
    }

    /// The last frame of a link that ends in good order.
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
