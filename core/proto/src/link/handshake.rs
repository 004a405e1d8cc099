//! The handshakes of one node that are under way, its own and those of other nodes.
//!
//! A dialler sends an initiation and repeats it until a response arrives. The response proves the identity of the
//! responder. Then the dialler sends the finish, which proves its own. The session begins for the dialler with the
//! finish that it sends, and for the responder with the finish that it receives. Losses are repaired without state at
//! the responder beyond one answer: a repeated initiation receives the same response, and the finish is repeated a few
//! times, and whenever the response arrives again.
//!
//! # When both dial at once
//!
//! Exactly one session results, the same on both sides: the one that the lower address began. The side with the lower
//! address completes its own handshake as soon as it can, and does not let the other one complete. The side with the
//! higher address holds its finish back for [`HOLD_FINISH`](pending::HOLD_FINISH), when the response to its own
//! initiation arrives while it has answered an initiation of the same neighbour, recognized by its instance number. If
//! it has sent its finish already, it repeats that and does not answer such an initiation. An instance number is not
//! proved before the finish, so an attacker could claim one to delay a dial. Therefore an initiation from another
//! endpoint delays a finish for [`HOLD_FINISH_ELSEWHERE`](pending::HOLD_FINISH_ELSEWHERE) only, and causes one
//! repetition only. If frames are lost for longer than `HOLD_FINISH`, the side with the higher address can report two
//! sessions in a row; then both sides have the second one.
//!
//! # Limits
//!
//! [`HandshakeLimiter`] bounds the rate of handshakes that others begin, and [`LinkConfig`] the number under way. No
//! answer is longer than the frame that caused it, so that a node cannot be used to amplify a flood towards a forged
//! endpoint.

pub(super) mod dial;
mod inbound;
pub(super) mod indices;
pub(super) mod limiter;
mod pending;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use zeroize::Zeroizing;

use self::indices::Indices;
use self::limiter::HandshakeLimiter;
use self::pending::{CompletedDial, Dial, InboundHandshake};
#[cfg(test)]
pub(super) use self::pending::{FINISH_LIFE, HOLD_FINISH, HOLD_FINISH_ELSEWHERE, INBOUND_LIFE, REPEATS};
pub use self::session::{DialError, HandshakeOutput, Session};
use super::noise::StaticKeys;
use super::seed::fresh_seed;
use super::{LinkConfig, Path, Source};
use crate::address::Address;
use crate::identity::Identity;
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::codec;
use crate::wire::link::{
    COOKIE, FINISH, INITIATION, Introduction, MAX_HANDSHAKE_LEN, REFUSAL, RESPONSE, VERSION,
};

/// All handshakes of one node that are under way.
pub struct Handshakes {
    keys: Arc<StaticKeys>,
    address: Address,
    instance: u64,
    config: LinkConfig,
    rng: ChaCha20Rng,
    indices: Indices,
    /// The rate limits on handshakes that others begin.
    limiter: HandshakeLimiter,
    /// The dials of this node, by its index.
    dials: BTreeMap<u32, Dial>,
    /// Completed dials with a finish that may have to be repeated, by the index of this node.
    completed_dials: BTreeMap<u32, CompletedDial>,
    /// The run of each neighbour with which a session over this netmod has just begun, and the time until which a dial that
    /// reaches it leads to nothing, since its session would only replace the one in use.
    in_use: BTreeMap<(u32, Address), (u64, Time)>,
    /// The handshakes that others began, by the index of this node.
    inbound: BTreeMap<u32, InboundHandshake>,
    output: VecDeque<HandshakeOutput>,
}

impl Handshakes {
    /// Makes the state of a node without handshakes. All randomness comes from `seed`, which must never be used twice:
    /// otherwise two runs would use the same ephemeral keys.
    pub fn new(identity: &Identity, mut config: LinkConfig, seed: [u8; 32]) -> Self {
        let mesh = config.mesh_key.take();
        let mut rng = ChaCha20Rng::from_seed(seed);
        let drawn = rng.next_u64();
        let limiter = HandshakeLimiter::new(&config, &mut rng);
        Handshakes {
            keys: Arc::new(StaticKeys::new(identity, mesh)),
            address: identity.address(),
            instance: config.instance.unwrap_or(drawn),
            indices: Indices::new(&mut rng),
            limiter,
            config,
            rng,
            dials: BTreeMap::new(),
            completed_dials: BTreeMap::new(),
            in_use: BTreeMap::new(),
            inbound: BTreeMap::new(),
            output: VecDeque::new(),
        }
    }

    /// The random number of this run of the node.
    #[cfg(test)]
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// Handles a handshake frame, as [`peek`](crate::wire::link::peek) classifies it, that arrived over `path`. `mtu`
    /// is the maximum length of a frame that this side accepts, in bytes.
    ///
    /// # Errors
    /// The cause of the drop, to be counted. A repeated frame is no error, since repetitions are part of the protocol.
    pub fn handle(
        &mut self,
        now: Time,
        path: Path,
        source: Source,
        mtu: usize,
        frame: &[u8],
    ) -> Result<(), DropCause> {
        let [kind, version, ..] = *frame else { return Err(DropCause::MalformedFrame) };
        if frame.len() > MAX_HANDSHAKE_LEN {
            return Err(DropCause::MalformedFrame);
        }
        match kind {
            INITIATION => self.on_initiation(now, path, source, mtu, frame),
            REFUSAL => self.on_refusal(path, frame),
            _ if version != VERSION => Err(DropCause::BadHandshake),
            RESPONSE => self.on_response(now, path, frame),
            FINISH => self.on_finish(now, path, frame),
            COOKIE => self.on_cookie(path, frame),
            _ => Err(DropCause::MalformedFrame),
        }
    }

    /// Returns the next action or event; `None` when there is none.
    pub fn poll_output(&mut self) -> Option<HandshakeOutput> {
        self.output.pop_front()
    }

    /// The time at which [`Handshakes::handle_timeout`] is due.
    pub fn next_deadline(&self) -> Option<Time> {
        let dials = self.dials.values().map(|dial| dial.deadline);
        let kept = self.completed_dials.values().map(CompletedDial::deadline);
        let answers = self.inbound.values().map(|inbound| inbound.until);
        dials.chain(kept).chain(answers).min()
    }

    /// Handles all timers that are due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.inbound.retain(|_, inbound| inbound.until > now);
        self.dials_timeout(now);
        self.completed_dials_timeout(now);
    }

    /// The numbers of dials, completed dials and inbound handshakes, by which tests check the bounds.
    pub fn under_way(&self) -> (usize, usize, usize) {
        (self.dials.len(), self.completed_dials.len(), self.inbound.len())
    }

    fn transmit(&mut self, path: Path, frame: Vec<u8>) {
        self.output.push_back(HandshakeOutput::Transmit { path, frame });
    }

    fn fail(&mut self, path: Path, reason: DialError) {
        self.output.push_back(HandshakeOutput::Failed { path, reason });
    }

    /// The introduction of this node, the payload of messages 2 and 3.
    fn introduction(&self, index: u32, mtu: usize) -> Vec<u8> {
        let introduction = Introduction {
            address: self.address,
            index,
            instance: self.instance,
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
            suites: self.config.suites,
            capabilities: self.config.capabilities,
        };
        codec::encode(&introduction).unwrap_or_default()
    }

    fn seed(&mut self) -> Zeroizing<[u8; 32]> {
        fresh_seed(&mut self.rng)
    }
}
