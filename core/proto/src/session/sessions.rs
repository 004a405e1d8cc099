//! All sessions of one node. See the [module documentation](super).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

use super::epoch::Epoch;
use super::event::{EndReason, SessionInput, SessionOutput};
use super::keys::EpochKeys;
use super::limiter::RequestLimiter;
use super::pair::{Attempt, OLD_SESSION_LIFE, OldEpoch, PairState};
use super::parts::PartialMessages;
use super::places::{Place, PlaceLimits, Places, PreviousHop};
use crate::address::Address;
use crate::identity::Identity;
use crate::link::{Indices, Secret, StaticKeys, Suite, fresh_seed};
use crate::stats::DropCause;
use crate::time::Time;
use crate::types::Ends;
use crate::wire::session::{ProvedStanding, Standing};

/// The bounds on handshakes of others that are not confirmed.
pub(super) const UNPROVED: PlaceLimits =
    PlaceLimits { all: 256, each_host: 128, each_neighbour: 64, turn: Duration::from_secs(1) };
/// The bounds on sessions. A neighbour may bring all of them, since a node may have only one.
pub(super) const SESSIONS: PlaceLimits =
    PlaceLimits { all: 4096, each_host: 4096, each_neighbour: 4096, turn: Duration::ZERO };
/// The time for which an attempt waits for a handshake of the peer.
pub(super) const HOLD_ATTEMPT: Duration = Duration::from_secs(2);

/// All sessions of one node. See the [module documentation](super).
pub struct Sessions {
    pub(super) locals: BTreeMap<Address, Arc<StaticKeys>>,
    pub(super) suites: u8,
    pub(super) rng: ChaCha20Rng,
    indices: Indices,
    /// The pairs by the indices of packets that this end receives.
    pub(super) by_index: BTreeMap<u32, Ends>,
    /// The pairs by the digests of the requests of their peers.
    pub(super) by_digest: BTreeMap<[u8; 32], Ends>,
    pub(super) peers: BTreeMap<Ends, PairState>,
    pub(super) timers: BTreeSet<(Time, Ends)>,
    pub(super) partial: PartialMessages,
    pub(super) limiter: RequestLimiter,
    /// The places of handshakes of others that are not confirmed.
    pub(super) unproved: Places<[u8; 32]>,
    /// The places of sessions and of attempts.
    places: Places<Ends>,
    /// The number of sessions that have come into use.
    sessions: u64,
    pub(super) output: VecDeque<SessionOutput>,
}

impl Sessions {
    /// Makes the state of a node without sessions. All randomness comes from `seed`, which must never be used twice:
    /// otherwise two runs would use the same keys.
    pub fn new(seed: [u8; 32]) -> Self {
        Self::with_suites(seed, Suite::offered())
    }

    /// A node that offers these cipher suites only, as bits of [`Suite`].
    pub fn with_suites(seed: [u8; 32], suites: u8) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        Sessions {
            locals: BTreeMap::new(),
            suites,
            indices: Indices::new(&mut rng),
            rng,
            by_index: BTreeMap::new(),
            by_digest: BTreeMap::new(),
            peers: BTreeMap::new(),
            timers: BTreeSet::new(),
            partial: PartialMessages::new(),
            limiter: RequestLimiter::default(),
            unproved: Places::new(UNPROVED),
            places: Places::new(SESSIONS),
            sessions: 0,
            output: VecDeque::new(),
        }
    }

    /// Adds an address of this node.
    pub fn add_local(&mut self, identity: &Identity) {
        self.locals.insert(identity.address(), Arc::new(StaticKeys::new(identity, None)));
    }

    /// Removes an address of this node, and erases all of its sessions.
    pub fn remove_local(&mut self, local: &Address) {
        self.locals.remove(local);
        let pairs: Vec<_> = self.peers.keys().copied().filter(|pair| pair.local == *local).collect();
        pairs.into_iter().for_each(|pair| self.remove(pair));
    }

    /// Handles an event. Then [`Sessions::poll_output`] is to be called until it returns `None`.
    ///
    /// # Errors
    /// The cause of the drop of a part, or of a request that turns out to be bad when it is accepted, to be counted.
    pub fn handle(&mut self, now: Time, input: SessionInput<'_>) -> Result<(), DropCause> {
        match input {
            SessionInput::Connect { pair, standing } => self.connect(now, pair, standing, false),
            SessionInput::Renew { pair, standing } => self.connect(now, pair, standing, true),
            SessionInput::Accept { pair, standing } => return self.accept(now, pair, standing),
            SessionInput::Refuse { pair } => self.refuse(pair),
            SessionInput::RouteFound { pair } => self.route_found(now, pair),
            SessionInput::Close { pair } => self.remove(pair),
            SessionInput::Part { local, hop, payload } => return self.on_part(now, local, hop, payload),
        }
        Ok(())
    }

    /// The next action or event; `None` when there is none.
    pub fn poll_output(&mut self) -> Option<SessionOutput> {
        self.output.pop_front()
    }

    /// The time at which [`Sessions::handle_timeout`] is due.
    pub fn next_deadline(&self) -> Option<Time> {
        let first = self.timers.first().map(|(time, _)| *time);
        first.into_iter().chain(self.partial.deadline()).min()
    }

    /// Whether [`Sessions::poll_output`] would return something.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether packets to the peer can be sealed.
    pub fn is_ready(&self, pair: &Ends) -> bool {
        self.current(pair).is_some()
    }

    /// The session under whose keys packets to the peer are sealed; `None` when there is none.
    pub fn current(&self, pair: &Ends) -> Option<ProvedStanding> {
        self.peers.get(pair)?.current.as_ref().map(|epoch| epoch.proved)
    }

    /// Whether this end began the session.
    #[cfg(test)]
    pub(super) fn is_initiator(&self, pair: &Ends) -> Option<bool> {
        Some(self.peers.get(pair)?.current.as_ref()?.initiator)
    }

    /// The number of rekeyings of the session.
    #[cfg(test)]
    pub(super) fn generation(&self, pair: &Ends) -> Option<u32> {
        Some(self.peers.get(pair)?.current.as_ref()?.generation)
    }

    /// The index that a response to this end would name.
    #[cfg(test)]
    pub(super) fn awaited_index(&self, pair: &Ends) -> Option<u32> {
        Some(self.peers.get(pair)?.attempt.as_ref()?.initiation.as_ref()?.index)
    }

    /// Skips counters, as if that many packets had been sealed.
    #[cfg(test)]
    pub(super) fn skip_counters(&mut self, pair: &Ends, packets: u64) {
        let epoch = self.peers.get_mut(pair).and_then(|state| state.current.as_mut());
        epoch.into_iter().for_each(|epoch| epoch.keys.sealer.skip(packets));
    }

    /// The numbers of pairs, of handshakes of others that are not confirmed and of handshake messages that have arrived
    /// in part, by which tests check the bounds.
    pub fn load(&self) -> (usize, usize, usize) {
        (self.peers.len(), self.unproved.len(), self.partial.len())
    }

    /// Begins a handshake unless one is under way, or a session is there and shall not be renewed.
    fn connect(&mut self, now: Time, pair: Ends, standing: Standing, renew: bool) {
        if pair.local == pair.peer || !self.locals.contains_key(&pair.local) {
            return self.output.push_back(SessionOutput::Ended { pair, reason: EndReason::Unusable });
        }
        let own = PreviousHop { neighbour: pair.local, host: u64::MAX, group: u64::MAX };
        if !self.take_place(now, pair, own) {
            return self.output.push_back(SessionOutput::Ended { pair, reason: EndReason::Evicted });
        }
        self.peers.entry(pair).or_insert_with(|| PairState::new(now));
        self.change(pair, |state| {
            state.standing = standing;
            if state.attempt.is_none() && (state.current.is_none() || renew) {
                // A handshake of the peer is likely to give a session first.
                let first = if state.inbound.is_empty() { now } else { now + HOLD_ATTEMPT };
                state.attempt = Some(Attempt::new(now, first));
            }
        });
        self.attempt_timeout(now, pair);
    }

    fn route_found(&mut self, now: Time, pair: Ends) {
        self.change(pair, |state| {
            state.attempt.iter_mut().for_each(|attempt| attempt.repetition.restart(now));
        });
        self.attempt_timeout(now, pair);
    }

    /// Takes a place for a pair, for which another one may have to end.
    pub(super) fn take_place(&mut self, now: Time, pair: Ends, hop: PreviousHop) -> bool {
        let peers = &self.peers;
        let used = |pair: &Ends| peers.get(pair).map(|state| state.used);
        match self.places.take_from(now, pair, hop, &used) {
            Place::Free => true,
            Place::Evicted(victim) => {
                self.remove(victim);
                self.output.push_back(SessionOutput::Ended { pair: victim, reason: EndReason::Evicted });
                true
            }
            Place::Refused => false,
        }
    }

    /// Puts keys into use. The keys before open packets for some time, since some may be on their way.
    ///
    /// Whatever else is under way with the peer ends with a handshake. So any two sessions of a pair follow each other
    /// in the same order at both ends, and the later one is the one that both use.
    pub(super) fn install(&mut self, now: Time, pair: Ends, mut epoch: Epoch) {
        let is_handshake = epoch.generation == 0;
        if is_handshake {
            self.sessions = self.sessions.saturating_add(1);
            epoch.proved.session = self.sessions;
        }
        let peer = epoch.proved.peer;
        self.change(pair, |state| {
            let old = state.current.replace(Box::new(epoch));
            if let Some(old) = old {
                let Epoch { keys: EpochKeys { opener, .. }, index, proved, .. } = *old;
                let until = now + OLD_SESSION_LIFE;
                state.previous = Some(Box::new(OldEpoch { opener, index, proved, until }));
            }
            if is_handshake {
                state.used = now;
                state.attempt = None;
                // Not only cleared, since most sessions never see another handshake of the peer.
                state.inbound = Vec::new();
                // A handshake that a timer begins must not name an incarnation of the peer that has gone.
                if state.standing.peer_incarnation != peer.incarnation {
                    (state.standing.peer_incarnation, state.standing.taken) = (peer.incarnation, 0);
                }
            }
        });
        if is_handshake {
            self.output.push_back(SessionOutput::Ready { pair, standing: peer });
        }
    }

    /// Ends a session and reports it.
    pub(super) fn end(&mut self, pair: Ends, reason: EndReason) {
        self.remove(pair);
        self.output.push_back(SessionOutput::Ended { pair, reason });
    }

    /// Erases everything of a pair.
    fn remove(&mut self, pair: Ends) {
        self.change(pair, |state| {
            state.current = None;
            state.previous = None;
            state.attempt = None;
            state.inbound.clear();
        });
    }

    /// Changes the state of a pair, and what is derived from it: the indices and digests that lead to the pair, the
    /// places, and the timer. A pair of which nothing is left is removed.
    pub(super) fn change<R>(&mut self, pair: Ends, change: impl FnOnce(&mut PairState) -> R) -> Option<R> {
        let state = self.peers.get_mut(&pair)?;
        let (indices, digests) = (state.indices(), state.digests());
        let result = change(state);
        for index in &indices {
            self.by_index.remove(index);
        }
        let kept = state.digests();
        for digest in digests.iter().filter(|digest| !kept.contains(digest)) {
            self.by_digest.remove(digest);
            self.unproved.release(digest);
        }
        self.by_index.extend(state.indices().into_iter().map(|index| (index, pair)));
        self.by_digest.extend(kept.into_iter().map(|digest| (digest, pair)));
        if state.current.is_none() && state.attempt.is_none() {
            self.places.release(&pair);
        }
        self.set_timer(pair);
        Some(result)
    }

    fn set_timer(&mut self, pair: Ends) {
        let Some(state) = self.peers.get_mut(&pair) else { return };
        if let Some(timer) = state.timer.take() {
            self.timers.remove(&(timer, pair));
        }
        if state.is_empty() {
            self.peers.remove(&pair);
            return;
        }
        state.timer = state.deadline();
        self.timers.extend(state.timer.map(|timer| (timer, pair)));
    }

    /// Draws an index that no keys of this node have.
    pub(super) fn draw_index(&mut self) -> u32 {
        loop {
            let index = self.indices.draw();
            if !self.by_index.contains_key(&index) {
                return index;
            }
        }
    }

    pub(super) fn seed(&mut self) -> Secret {
        fresh_seed(&mut self.rng)
    }

    /// Draws a seed of twice the length.
    pub(super) fn double_seed(&mut self) -> Zeroizing<[u8; 64]> {
        let mut both = Zeroizing::new([0; 64]);
        let (first, second) = (self.seed(), self.seed());
        for (to, from) in both.iter_mut().zip(first.iter().chain(second.iter())) {
            *to = *from;
        }
        both
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("pairs", &self.peers.len()).finish_non_exhaustive()
    }
}
