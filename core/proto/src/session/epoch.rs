//! One generation of a session's keys at one end, with the state that ends with it.

use super::exchange::Agreed;
use super::keys::EpochKeys;
use super::repetition::Repetition;
use crate::link::{NoiseHandshake, Suite};
use crate::time::Time;
use crate::wire::session::{ProvedStanding, SessionRekey};

/// A generation of keys.
pub(super) struct Epoch {
    pub(super) keys: EpochKeys,
    /// The index of packets that this end receives.
    pub(super) index: u32,
    pub(super) suite: Suite,
    /// Whether this end began the session.
    pub(super) initiator: bool,
    /// The two ends, as the handshake has proved them. The number of the session is set when it comes into use.
    pub(super) proved: ProvedStanding,
    /// The number of rekeyings since the handshake.
    pub(super) generation: u32,
    /// The begin of the life of these keys.
    pub(super) since: Time,
    /// The time of the handshake.
    pub(super) hybrid_since: Time,
    /// Whether a packet of the layer above was sealed or opened since. Keys that are not used are not replaced.
    pub(super) used: bool,
    /// The repetitions of the packet by which the initiator proves that it has these keys, until one of the responder
    /// has opened.
    pub(super) confirm: Option<Repetition>,
    pub(super) rekey: RekeyStage,
}

impl Epoch {
    /// The first generation of a session.
    pub(super) fn new(now: Time, index: u32, initiator: bool, agreed: Agreed) -> Self {
        let Agreed { incarnation, standing: peer, .. } = agreed;
        Epoch {
            proved: ProvedStanding { session: 0, incarnation, peer },
            keys: agreed.keys,
            index,
            suite: agreed.suite,
            initiator,
            generation: 0,
            since: now,
            hybrid_since: now,
            used: false,
            confirm: None,
            rekey: RekeyStage::Idle(now),
        }
    }

    /// The index of the next keys, if this end opens packets under them already.
    pub(super) fn next_index(&self) -> Option<u32> {
        match &self.rekey {
            RekeyStage::Responded(responded) => Some(responded.next.index),
            _ => None,
        }
    }

    /// Whether the keys have sealed or opened so many packets that they should be replaced.
    pub(super) fn is_worn(&self) -> bool {
        self.keys.sealer.is_worn() || self.keys.opener.is_worn()
    }
}

/// The progress of a renewal.
pub(super) enum RekeyStage {
    /// None is under way. A responder accepts one from this time on; an initiator begins none before.
    Idle(Time),
    /// The initiator has sent its `rekey` and waits for the answer.
    Requested(Box<RequestedRekey>),
    /// The responder has answered and waits for a packet under the next keys.
    Responded(Box<RespondedRekey>),
}

/// A renewal of the initiator that waits for its answer.
pub(super) struct RequestedRekey {
    pub(super) noise: NoiseHandshake,
    /// The message, kept because its repetitions must be the same bytes.
    pub(super) rekey: SessionRekey,
    pub(super) repetition: Repetition,
    /// The time before which no answer is verified, because the last one did not verify.
    pub(super) closed_until: Time,
}

/// A renewal that the responder has answered.
pub(super) struct RespondedRekey {
    pub(super) request: SessionRekey,
    pub(super) answer: SessionRekey,
    /// The next keys.
    pub(super) next: Epoch,
}
