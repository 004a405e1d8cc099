//! The state of one pair of addresses: a session, and the handshakes that may lead to the next one.

use std::time::Duration;

use super::epoch::{Epoch, RekeyStage};
use super::event::PathChoice;
use super::exchange::{OpenRequest, SessionInitiation};
use super::keys::PacketOpener;
use super::places::PreviousHop;
use super::rekey::SESSION_KEY_LIFE;
use super::repetition::Repetition;
use crate::time::Time;
use crate::wire::session::{ProvedStanding, Standing};

/// The time after which a session begins a new hybrid handshake, if it is used. The responder waits longer, so that the
/// two ends do not begin at once.
pub(super) const HYBRID_LIFE: Duration = Duration::from_secs(3600);
/// The same for the responder.
pub(super) const RESPONDER_HYBRID_LIFE: Duration = Duration::from_secs(3960);
/// The time after which a session without packets is evicted.
pub(super) const IDLE_LIFE: Duration = Duration::from_secs(300);
/// The time for which packets under the keys before the present ones are opened.
pub(super) const OLD_SESSION_LIFE: Duration = Duration::from_secs(10);
/// The maximum number of handshakes that one peer may have under way with one address. There are several, because an
/// attacker can replay old requests of the peer, which must not displace a true one.
pub(super) const MAX_INBOUND: usize = 4;

/// A handshake that this end begins.
pub(super) struct Attempt {
    /// The first message; `None` until it is sent for the first time.
    pub(super) initiation: Option<Box<SessionInitiation>>,
    /// The time at which the first message was made.
    pub(super) started: Time,
    pub(super) repetition: Repetition,
    /// The number of responses that may still be read before the next repetition.
    pub(super) responses_left: u32,
    /// Whether it has waited for a handshake of the peer, which it does once.
    pub(super) held: bool,
}

impl Attempt {
    /// An attempt that is due at `first`.
    pub(super) fn new(now: Time, first: Time) -> Self {
        Attempt {
            initiation: None,
            started: now,
            repetition: Repetition::starting(first),
            responses_left: 0,
            held: first > now,
        }
    }
}

/// A handshake that the peer began.
pub(super) struct InboundSession {
    /// The digest of the first message, by which a repetition is recognized.
    pub(super) digest: [u8; 32],
    pub(super) hop: PreviousHop,
    pub(super) until: Time,
    pub(super) stage: RequestStage,
}

pub(super) enum RequestStage {
    /// The layer above decides on it.
    Requested(Box<OpenRequest>),
    /// The response has been sent. The keys are used when a packet of the initiator has opened under them.
    Answered(Box<AnsweredRequest>),
}

pub(super) struct AnsweredRequest {
    /// The second message, kept because its repetitions must be the same bytes.
    pub(super) message: Vec<u8>,
    /// The index of the initiator, which names the message.
    pub(super) id: u32,
    pub(super) epoch: Epoch,
    /// The path that it was last sent over.
    pub(super) path: PathChoice,
}

/// The keys before the present ones.
pub(super) struct OldEpoch {
    pub(super) opener: PacketOpener,
    pub(super) index: u32,
    pub(super) proved: ProvedStanding,
    pub(super) until: Time,
}

/// The keys that an index selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    Current,
    Previous,
    /// The next generation, which the responder has prepared.
    Next,
    /// Those of a handshake of the peer that is not confirmed yet.
    Inbound(usize),
}

/// The state of one pair.
pub(super) struct PairState {
    /// This end of the conversation, as the layer above stated it last.
    pub(super) standing: Standing,
    /// The last time at which a packet of the layer above was sealed or opened.
    pub(super) used: Time,
    /// Boxed like `previous`, since a pair whose handshake is not confirmed has neither.
    pub(super) current: Option<Box<Epoch>>,
    pub(super) previous: Option<Box<OldEpoch>>,
    pub(super) attempt: Option<Attempt>,
    pub(super) inbound: Vec<InboundSession>,
    /// The time at which the timer of this pair is set.
    pub(super) timer: Option<Time>,
}

impl PairState {
    pub(super) fn new(now: Time) -> Self {
        PairState {
            standing: Standing::default(),
            used: now,
            current: None,
            previous: None,
            attempt: None,
            inbound: Vec::new(),
            timer: None,
        }
    }

    /// Whether nothing is left to keep.
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none() && self.attempt.is_none() && self.inbound.is_empty()
    }

    /// The keys of an index.
    pub(super) fn select(&self, index: u32) -> Option<Selected> {
        if self.current.as_ref().is_some_and(|epoch| epoch.index == index) {
            return Some(Selected::Current);
        }
        if self.previous.as_ref().is_some_and(|old| old.index == index) {
            return Some(Selected::Previous);
        }
        if self.current.as_ref().and_then(|epoch| epoch.next_index()) == Some(index) {
            return Some(Selected::Next);
        }
        let answered = |one: &InboundSession| match &one.stage {
            RequestStage::Answered(answered) => answered.epoch.index == index,
            RequestStage::Requested(_) => false,
        };
        self.inbound.iter().position(answered).map(Selected::Inbound)
    }

    /// Whether a packet under the present keys changes nothing but the time of their last use.
    pub(super) fn is_settled(&self) -> bool {
        self.current.as_ref().is_some_and(|epoch| {
            let may_rekey = matches!(epoch.rekey, RekeyStage::Idle(_));
            epoch.used && epoch.confirm.is_none() && !(may_rekey && epoch.is_worn())
        })
    }

    /// The opener of the selected keys.
    pub(super) fn opener(&mut self, selected: Selected) -> Option<&mut PacketOpener> {
        match selected {
            Selected::Current => self.current.as_mut().map(|epoch| &mut epoch.keys.opener),
            Selected::Previous => self.previous.as_mut().map(|old| &mut old.opener),
            Selected::Next => match &mut self.current.as_mut()?.rekey {
                RekeyStage::Responded(responded) => Some(&mut responded.next.keys.opener),
                _ => None,
            },
            Selected::Inbound(nth) => match &mut self.inbound.get_mut(nth)?.stage {
                RequestStage::Answered(answered) => Some(&mut answered.epoch.keys.opener),
                RequestStage::Requested(_) => None,
            },
        }
    }

    /// All indices by which packets find this pair.
    pub(super) fn indices(&self) -> Vec<u32> {
        let attempt = self.attempt.iter().filter_map(|attempt| attempt.initiation.as_ref());
        let inbound = self.inbound.iter().filter_map(|one| match &one.stage {
            RequestStage::Answered(answered) => Some(answered.epoch.index),
            RequestStage::Requested(_) => None,
        });
        let current = self.current.iter().flat_map(|epoch| [Some(epoch.index), epoch.next_index()]);
        let previous = self.previous.iter().map(|old| old.index);
        attempt.map(|one| one.index).chain(inbound).chain(current.flatten()).chain(previous).collect()
    }

    /// The digests of the requests of the peer.
    pub(super) fn digests(&self) -> Vec<[u8; 32]> {
        self.inbound.iter().map(|one| one.digest).collect()
    }

    /// The time at which the session is due for a new hybrid handshake.
    pub(super) fn hybrid_due(&self) -> Option<Time> {
        let epoch = self.current.as_ref().filter(|_| self.attempt.is_none())?;
        let life = if epoch.initiator { HYBRID_LIFE } else { RESPONDER_HYBRID_LIFE };
        Some(epoch.hybrid_since + life)
    }

    /// The time at which this end sends a `rekey`.
    pub(super) fn rekey_due(&self) -> Option<Time> {
        let epoch = self.current.as_ref()?;
        match &epoch.rekey {
            RekeyStage::Requested(requested) => Some(requested.repetition.next()),
            // The keys before are kept until they expire, and there is room for one generation only.
            RekeyStage::Idle(not_before)
                if epoch.initiator && epoch.used && epoch.confirm.is_none() && self.previous.is_none() =>
            {
                let due = if epoch.is_worn() { epoch.since } else { epoch.since + SESSION_KEY_LIFE };
                Some(due.max(*not_before))
            }
            _ => None,
        }
    }

    /// The time at which the next timer is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        let attempt = self.attempt.as_ref().map(|attempt| attempt.repetition.next());
        let inbound = self.inbound.iter().map(|one| one.until).min();
        let confirm = self.current.as_ref().and_then(|epoch| epoch.confirm).map(|confirm| confirm.next());
        let previous = self.previous.as_ref().map(|old| old.until);
        let idle = self.current.as_ref().map(|_| self.used + IDLE_LIFE);
        let due = [attempt, inbound, confirm, previous, idle, self.rekey_due(), self.hybrid_due()];
        due.into_iter().flatten().min()
    }
}
