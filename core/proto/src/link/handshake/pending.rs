//! The handshakes that are under way, and the times for which they are kept.

use std::time::Duration;

use zeroize::Zeroizing;

use super::session::{DialError, Session};
use crate::address::Address;
use crate::link::noise::NoiseHandshake;
use crate::link::{Path, Source};
use crate::time::Time;

/// The time for which the side with the higher address holds its finish back while the other side's handshake is under
/// way. It covers the repetitions of the other side's finish, which are sent 0.25, 0.75 and 1.75 s after the first.
pub(in crate::link) const HOLD_FINISH: Duration = Duration::from_secs(2);
/// The same when that handshake comes from another endpoint than the one dialled. It is short, because the instance may
/// be forged; it covers one repetition of the finish.
pub(in crate::link) const HOLD_FINISH_ELSEWHERE: Duration = Duration::from_millis(300);
/// The time for which a finish is kept to be repeated. It is longer than [`HOLD_FINISH`], so that a neighbour that
/// holds its own finish back still receives this one.
pub(in crate::link) const FINISH_LIFE: Duration = Duration::from_secs(3);
/// The time for which a responder waits for the finish, and then keeps the handshake so that a repeated finish is
/// recognized. It is longer than the 8 s in which a dialler repeats its initiation.
pub(in crate::link) const INBOUND_LIFE: Duration = Duration::from_secs(10);

/// The times at which the finish is repeated after its first transmission, unless a frame of the session has been
/// opened: that proves that the finish has arrived.
pub(in crate::link) const REPEATS: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(750), Duration::from_millis(1750)];

/// A dial that is under way.
pub(super) struct Dial {
    pub(super) path: Path,
    pub(super) mtu: usize,
    pub(super) started: Time,
    pub(super) noise: NoiseHandshake,
    /// The initiation as it is sent, with the cookie once the responder has required one.
    pub(super) initiation: Vec<u8>,
    pub(super) tries: u32,
    pub(super) delay: Duration,
    pub(super) deadline: Time,
    /// The number of responses since the last initiation that did not verify.
    pub(super) bad: u32,
    /// Whether a cookie was used since the last initiation.
    pub(super) cookie_obeyed: bool,
    /// The cause to report instead of a time-out. It comes from unauthenticated frames, so it cannot end the dial.
    pub(super) hint: Option<DialError>,
    /// The session, while its finish is held back because the other side's own handshake takes precedence.
    pub(super) held: Option<HeldSession>,
}

/// A session that waits to send its finish. It begins when the other side's handshake does not complete in time.
pub(super) struct HeldSession {
    pub(super) session: Box<Session>,
    pub(super) finish: Vec<u8>,
}

/// A completed dial, kept for as long as its finish may have to be repeated.
pub(super) struct CompletedDial {
    pub(super) peer: Address,
    pub(super) instance: u64,
    pub(super) path: Path,
    pub(super) finish: Vec<u8>,
    pub(super) since: Time,
    /// The time of the first frame of the session that was opened.
    pub(super) confirmed: Option<Time>,
    /// Whether the finish was repeated for an initiation from another endpoint, which is done once only.
    pub(super) reminded: bool,
    /// The number of timed repetitions so far.
    pub(super) repeats: usize,
}

impl CompletedDial {
    /// The time of the next repetition, or of the end.
    pub(super) fn deadline(&self) -> Time {
        let repeat = REPEATS.get(self.repeats).filter(|_| self.confirmed.is_none());
        self.since + *repeat.unwrap_or(&FINISH_LIFE)
    }
}

/// A handshake that another node began.
pub(super) struct InboundHandshake {
    pub(super) path: Path,
    pub(super) source: Source,
    pub(super) mtu: usize,
    /// The hash of the initiation without its cookie, by which a repetition is recognized.
    pub(super) id: [u8; 32],
    /// The instance that the initiation claims. Only the finish proves it.
    pub(super) instance: u64,
    pub(super) peer_index: u32,
    pub(super) since: Time,
    pub(super) until: Time,
    pub(super) stage: InboundStage,
    /// Whether a session with the same run of the neighbour has begun since, or had just begun when the initiation arrived.
    /// The neighbour then refuses the response, so that no finish follows.
    pub(super) superseded: bool,
}

/// The progress of an inbound handshake.
pub(super) enum InboundStage {
    /// The response was sent, and the finish is awaited.
    AwaitingFinish(Box<AwaitedFinish>),
    /// The finish has arrived. If the session was declined, the frame with the reason is kept, so that it can be
    /// repeated: if it was lost, the finish arrives again.
    Completed { peer: Address, at: Time, declined: Option<Vec<u8>> },
}

/// The state of a handshake that awaits its finish.
pub(super) struct AwaitedFinish {
    pub(super) noise: NoiseHandshake,
    /// The seed and the initiation, from which the state is restored after a finish that did not verify.
    pub(super) seed: Zeroizing<[u8; 32]>,
    pub(super) message: Vec<u8>,
    pub(super) response: Vec<u8>,
    pub(super) bad: u32,
}

impl InboundHandshake {
    /// The path on which a finish from this run of a neighbour may still arrive. The instance is only claimed, so the
    /// caller must not wait long for it.
    pub(super) fn waits_for(&self, netmod: u32, instance: u64) -> Option<Path> {
        let waits = self.path.netmod == netmod
            && self.instance == instance
            && !self.superseded
            && matches!(self.stage, InboundStage::AwaitingFinish(_));
        waits.then_some(self.path)
    }

    /// Whether the finish of this neighbour's run arrived at `time` or later.
    pub(super) fn completed_since(&self, netmod: u32, peer: &Address, instance: u64, time: Time) -> bool {
        let InboundStage::Completed { peer: completed, at, .. } = &self.stage else { return false };
        self.path.netmod == netmod && completed == peer && self.instance == instance && *at >= time
    }
}
