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
//! higher address holds its finish back for [`HOLD_FINISH`], when the response to its own initiation arrives while it
//! has answered an initiation of the same neighbour, recognized by its instance number. If it has sent its finish
//! already, it repeats that and does not answer such an initiation. An instance number is not proved before the finish,
//! so an attacker could claim one to delay a dial. Therefore an initiation from another endpoint delays a finish for
//! [`HOLD_FINISH_ELSEWHERE`] only, and causes one repetition only. If frames are lost for longer than [`HOLD_FINISH`],
//! the side with the higher address can report two sessions in a row; then both sides have the second one.
//!
//! # Limits
//!
//! [`HandshakeLimiter`] bounds the rate of handshakes that others begin, and [`LinkConfig`] the number under way. No
//! answer is longer than the frame that caused it, so that a node cannot be used to amplify a flood towards a forged
//! endpoint.

pub(super) mod buckets;
pub(super) mod dial;
mod inbound;
pub(super) mod limiter;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use zeroize::{Zeroize, Zeroizing};

use self::dial::{CompletedDial, Dial};
use self::inbound::InboundHandshake;
use self::limiter::HandshakeLimiter;
use super::keys::{Opener, Sealer, Suite};
use super::noise::{NoiseHandshake, StaticKeys};
use super::rekey::Renewal;
use super::seed::fresh_seed;
use super::{LinkConfig, Path, Source};
use crate::address::Address;
use crate::identity::{Identity, x25519_public};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::codec;
use crate::wire::link::{
    COOKIE, FINISH, INITIATION, Introduction, MAX_HANDSHAKE_LEN, REFUSAL, RESPONSE, VERSION, split,
};

/// The time for which the side with the higher address holds its finish back while the other side's handshake is under
/// way. It covers the repetitions of the other side's finish, which are sent 0.25, 0.75 and 1.75 s after the first.
pub(crate) const HOLD_FINISH: Duration = Duration::from_secs(2);
/// The same when that handshake comes from another endpoint than the one dialled. It is short, because the instance may
/// be forged; it covers one repetition of the finish.
pub(super) const HOLD_FINISH_ELSEWHERE: Duration = Duration::from_millis(300);
/// The time for which a finish is kept to be repeated. It is longer than [`HOLD_FINISH`], so that a neighbour that
/// holds its own finish back still receives this one.
pub(super) const FINISH_LIFE: Duration = Duration::from_secs(3);
/// The time for which a responder waits for the finish, and then keeps the handshake so that a repeated finish is
/// recognized. It is longer than the 8 s in which a dialler repeats its initiation.
pub(super) const INBOUND_LIFE: Duration = Duration::from_secs(10);

/// An action that [`Handshakes`] requests, or an event that it reports.
#[derive(Debug)]
pub(crate) enum HandshakeOutput {
    /// Send a frame.
    Transmit {
        /// The path to send it over.
        path: Path,
        /// The frame.
        frame: Vec<u8>,
    },
    /// A session has begun. It replaces an older one with the same neighbour over the same netmod.
    Established(Box<Session>),
    /// A dial has failed. Every dial ends in this, in a session on the same path, or in its cancellation.
    Failed {
        /// The path that was dialled.
        path: Path,
        /// The cause.
        reason: DialError,
    },
}

/// The cause of a failed dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DialError {
    /// There was no answer, or none that verifies.
    #[error(
        "no inbound: check that a node runs there, that no firewall blocks it, and that the mesh keys are the same"
    )]
    Timeout,
    /// The node dialled itself.
    #[error("the endpoint belongs to this node itself")]
    Oneself,
    /// Another node answered with the address of this one.
    #[error("this identity is in use elsewhere: give each node its own")]
    IdentityInUse,
    /// The other node does not have the mesh key of this one.
    #[error("the other node belongs to another mesh: the mesh keys differ")]
    WrongMesh,
    /// The other node uses another version of the protocol.
    #[error("the other node uses another version of the protocol: update the older one")]
    Version,
    /// The introduction is not valid: the address does not belong to the key, or no cipher is common.
    #[error("the other node violated the protocol")]
    Protocol,
    /// A session with the same neighbour began over another path of the same netmod meanwhile.
    #[error("the neighbour was already reached over another path")]
    Duplicate,
    /// Sessions with the other node begin too often.
    #[error("links to the other node begin too often: it may run twice, or lose its links at once")]
    TooOften,
    /// Too many dials are under way.
    #[error("too many dials are under way")]
    TooMany,
}

/// A session that a handshake has produced.
#[derive(Debug)]
pub(crate) struct Session {
    /// The address of the neighbour, which the handshake has proved.
    pub peer: Address,
    /// The path to the neighbour.
    pub path: Path,
    /// Whether this side dialled.
    pub initiator: bool,
    /// The index in frames that this side receives.
    pub local_index: u32,
    /// The maximum length of a frame that both sides accept, in bytes.
    pub mtu: usize,
    /// The random number of the neighbour's run. Another one shows that it was restarted and has lost its state.
    pub peer_instance: u64,
    /// The optional features that the neighbour announced, as bits.
    pub peer_capabilities: u32,
    /// The cipher in use.
    pub suite: Suite,
    /// The key for frames that are sent.
    pub sealer: Sealer,
    /// The key for frames that are received.
    pub opener: Opener,
    /// The renewal of these keys.
    pub renewal: Renewal,
    /// The time from this side's first message to its answer. It is an upper bound of the round trip, because frames
    /// may have been lost or held back.
    pub rtt: Duration,
}

/// All handshakes of one node that are under way. See the [module documentation](self).
pub(crate) struct Handshakes {
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
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn under_way(&self) -> (usize, usize, usize) {
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

/// The keys of a session, which both ends derive when their handshake is complete.
struct SessionKeys {
    sealer: Sealer,
    opener: Opener,
    renewal: Renewal,
}

impl SessionKeys {
    /// Derives the keys. `index` is the one that the other side chose.
    fn new(
        keys: &Arc<StaticKeys>,
        noise: &mut NoiseHandshake,
        suite: Suite,
        index: u32,
        initiator: bool,
    ) -> Option<Self> {
        let remote = *noise.remote_static()?.first_chunk()?;
        let (sealer, opener) = noise.split(suite, index)?;
        let renewal = Renewal::new(keys.clone(), remote, suite, initiator, noise.chain()?);
        Some(SessionKeys { sealer, opener, renewal })
    }
}

/// Decodes the introduction of the other side and checks it: the static key that was proved must be that of its
/// address, since otherwise any node could claim any address; and its MTU must be at least the minimum of all netmods.
fn introduced(payload: &[u8], noise: &NoiseHandshake) -> Option<Introduction> {
    let (introduction, _) = split::<Introduction>(payload).ok()?;
    let key = x25519_public(&introduction.address)?;
    let proved = noise.remote_static() == Some(key.as_slice());
    (proved && usize::from(introduction.mtu) >= crate::netmod::MIN_MTU).then_some(introduction)
}

/// Generator of session indices: each is drawn once in 2³² handshakes, and the next cannot be guessed, so that an
/// attacker that does not see the frames cannot address a handshake.
///
/// It is a counter that is encrypted by a four-round Feistel network over its two halves. Such a network is a
/// permutation whatever its round function is, so no index repeats.
struct Indices {
    key: [u8; 32],
    next: u32,
}

impl Indices {
    fn new(rng: &mut ChaCha20Rng) -> Self {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        Indices { key, next: rng.next_u32() }
    }

    fn draw(&mut self) -> u32 {
        let [a, b, c, d] = self.next.to_le_bytes();
        self.next = self.next.wrapping_add(1);
        let (mut left, mut right) = ([a, b], [c, d]);
        for round in 0..4u8 {
            let [r0, r1] = right;
            let mixed = blake3::keyed_hash(&self.key, &[round, r0, r1]);
            let &[m0, m1, ..] = mixed.as_bytes();
            let [l0, l1] = left;
            (left, right) = (right, [l0 ^ m0, l1 ^ m1]);
        }
        let ([a, b], [c, d]) = (left, right);
        u32::from_le_bytes([a, b, c, d])
    }
}

impl Drop for Indices {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}
