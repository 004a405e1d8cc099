//! All handshakes of one node that are under way, with whoever it may be.
//!
//! A dialler sends an initiation and repeats it until a response comes; the response tells it who answers, and it sends
//! the finish, which tells the responder who dialled. For the dialler the session begins with the finish, for
//! the responder when the finish has come. Lost messages: an initiation that comes again is answered with the
//! very same response; the finish is repeated a few times, and whenever the response comes again.
//!
//! # When both dial at once
//!
//! Exactly one session comes of it, on both sides the same: the one that the lower address began. The side with
//! the lower address completes its own handshake as soon as it can and does not let the other's complete. The
//! side with the higher address, when the response to its own initiation comes while it has answered one from the same
//! neighbour (known by the instance number in it), holds its finish back for [`HOLD_FINISH`]; and when it has sent its
//! finish already, it does not answer an initiation of the same instance but repeats the finish. Nobody has proved an
//! instance yet: so from another endpoint the one holds for [`HOLD_FINISH_ELSEWHERE`] only, and the other once.
//! Only if frames are lost for longer than [`HOLD_FINISH`] can the side with the higher address report two sessions, one after the
//! other; the last one is then the one that both have.
//!
//! # Limits
//!
//! [`HandshakeLimiter`] bounds how many handshakes others may begin, [`LinkConfig`] how many may be under way. No answer is longer than
//! what it answers.

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

/// How long the side with the higher address holds its finish back while the other side's handshake is under way.
pub(crate) const HOLD_FINISH: Duration = Duration::from_secs(2);
/// The same when that handshake comes from another endpoint than the one dialled.
pub(super) const HOLD_FINISH_ELSEWHERE: Duration = Duration::from_millis(300);
/// How long a finish is kept to be repeated. Longer than [`HOLD_FINISH`].
pub(super) const FINISH_LIFE: Duration = Duration::from_secs(3);
/// How long a responder waits for the finish, and remembers that it came.
pub(super) const INBOUND_LIFE: Duration = Duration::from_secs(10);

/// What [`Handshakes`] wants done.
#[derive(Debug)]
pub(crate) enum HandshakeOutput {
    /// Send this frame.
    Transmit {
        /// Where to.
        path: Path,
        /// The frame.
        frame: Vec<u8>,
    },
    /// A session with a neighbour. It replaces an older one with the same neighbour over the same netmod.
    Established(Box<Session>),
    /// A dial has come to nothing. Every dial ends in this, in a session on the same path, or is cancelled.
    Failed {
        /// The path that was dialled.
        path: Path,
        /// Why.
        reason: DialError,
    },
}

/// Why a dial came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DialError {
    /// No answer, or none that was meant for us.
    #[error("no answer: nobody there, a firewall in between, or a mesh with another key")]
    Timeout,
    /// We dialled ourselves.
    #[error("this is ourselves")]
    Oneself,
    /// Somebody else answered with our own address.
    #[error("this identity is in use elsewhere")]
    IdentityInUse,
    /// It does not have our mesh key.
    #[error("it belongs to another mesh: the mesh keys differ")]
    WrongMesh,
    /// It speaks another version of the protocol.
    #[error("it speaks another version of the protocol")]
    Version,
    /// What it said of itself does not hold: the address is not that of its key, or it offers no cipher of ours.
    #[error("it broke the protocol")]
    Protocol,
    /// It is a neighbour that we reached over another path of the same netmod meanwhile.
    #[error("already reached over another path")]
    Duplicate,
    /// Sessions with it begin too often.
    #[error("links to it begin too often: it may run twice, or lose its links at once")]
    TooOften,
    /// Too many dials are under way.
    #[error("too many dials are under way")]
    TooMany,
}

/// A session that a handshake gave.
#[derive(Debug)]
pub(crate) struct Session {
    /// Who is on the other side: proved.
    pub peer: Address,
    /// The way to it.
    pub path: Path,
    /// Whether we dialled.
    pub initiator: bool,
    /// The index in the frames that come.
    pub local_index: u32,
    /// The longest frame that both sides take, in bytes.
    pub mtu: usize,
    /// The random number that the neighbour drew at its start: another one means that it was started again.
    pub peer_instance: u64,
    /// What else the neighbour said it can do.
    pub peer_capabilities: u32,
    /// The cipher in use.
    pub suite: Suite,
    /// For what leaves.
    pub sealer: Sealer,
    /// For what comes.
    pub opener: Opener,
    /// For the keys after these.
    pub renewal: Renewal,
    /// From this side's first message to what answers it: the round trip, or more if frames were lost or held back.
    pub rtt: Duration,
}

/// All handshakes of one node that are under way. See the [module's page](self).
pub(crate) struct Handshakes {
    keys: Arc<StaticKeys>,
    address: Address,
    instance: u64,
    config: LinkConfig,
    rng: ChaCha20Rng,
    indices: Indices,
    limiter: HandshakeLimiter,
    /// Ours, by our index.
    dials: BTreeMap<u32, Dial>,
    /// Completed dials whose finish may have to be repeated, by our index.
    completed_dials: BTreeMap<u32, CompletedDial>,
    /// Those of others, by our index.
    inbound: BTreeMap<u32, InboundHandshake>,
    output: VecDeque<HandshakeOutput>,
}

impl Handshakes {
    /// None yet. All randomness comes from `seed`, which must never be used twice.
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

    /// The random number that stands for this run of the node.
    #[cfg(test)]
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// A frame that [`peek`](crate::wire::link::peek) calls a handshake came over `path`, whose own limit is `mtu` bytes.
    ///
    /// # Errors
    /// Why it was dropped, to be counted. What came before and is answered or passed over again is no error.
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

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<HandshakeOutput> {
        self.output.pop_front()
    }

    /// When [`Handshakes::handle_timeout`] is due.
    pub fn next_deadline(&self) -> Option<Time> {
        let dials = self.dials.values().map(|dial| dial.deadline);
        let kept = self.completed_dials.values().map(CompletedDial::deadline);
        let answers = self.inbound.values().map(|answer| answer.until);
        dials.chain(kept).chain(answers).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.inbound.retain(|_, answer| answer.until > now);
        self.dials_timeout(now);
        self.kept_timeout(now);
    }

    /// Bounds hold: for tests.
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

    /// What we say of ourselves in messages 2 and 3.
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

/// What both ends of a handshake have when it is complete.
struct SessionKeys {
    sealer: Sealer,
    opener: Opener,
    renewal: Renewal,
}

impl SessionKeys {
    /// `index` is the one that the other side gave.
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

/// What the other side said of itself, if it holds: the key that it proved is that of its address, and it
/// takes frames of the length that every netmod must take.
fn introduced(payload: &[u8], noise: &NoiseHandshake) -> Option<Introduction> {
    let (introduction, _) = split::<Introduction>(payload).ok()?;
    let key = x25519_public(&introduction.address)?;
    let proved = noise.remote_static() == Some(key.as_slice());
    (proved && usize::from(introduction.mtu) >= crate::netmod::MIN_MTU).then_some(introduction)
}

/// Session indices: each is given once in 2³² handshakes, and nobody can guess the next.
///
/// A counter through a four-round Feistel network over its two halves, which is a permutation whatever the round
/// function.
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
