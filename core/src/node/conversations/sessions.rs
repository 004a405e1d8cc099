//! The end-to-end sessions of the conversations: the seal of each packet, and what the handshakes request.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use crate::address::Address;
use crate::egress::Class;
use crate::message::{Conversation, SessionNeed};
use crate::node::data_path::{DeferredWork, originate_over, route};
use crate::node::state::NodeState;
use crate::node::state::conversation::{ConversationEntry, EntryState, UnansweredRequests};
use crate::node::state::conversations::Conversations;
use crate::node::state::locks::lock;
use crate::node::state::router_inputs::RouterHint;
use crate::route::Location;
use crate::session::{EndReason, Opened, PreviousHop, SEAL_OVERHEAD, SessionInput, SessionOutput};
use crate::stats::{Counter, DropCause};
use crate::time::Time;
use crate::types::Ends;
use crate::wire::message::CONTENT_MESSAGE;
use crate::wire::packet::{HEADER, HOP_LIMIT, Header};
use crate::wire::session::{MESSAGE_REQUEST, PartHeader, SESSION_HEADER_LEN, SESSION_TAG_LEN};

/// The requests in a row without an answer that lead to a verdict against the next hop. All but the first are sent over the
/// alternate as well, so a next hop that swallows them keeps no two ends apart, and a path that loses some is not blamed: the
/// verdict is for an alternate that swallows them, too.
const UNANSWERED: u32 = 4;
/// The same where there is no alternate, so that only a verdict makes the router look for another path, and where nothing
/// speaks for the next hop.
const UNANSWERED_ALONE: u32 = 2;
/// The lost packets that the verdict counts for: all that a score remembers.
const VERDICT: u32 = 16;

/// The time after which a request without an answer counts. It is below the time to the first repetition.
const ANSWER_TIME: std::time::Duration = std::time::Duration::from_millis(200);

/// The pause after a session could not begin or was taken away, so that a conversation does not ask again at once.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

impl Conversations {
    /// Handles a sealed packet for an address of this node, kind byte of the frame first.
    pub(crate) fn open_packet(
        &self,
        shared: &NodeState,
        local: Address,
        mut packet: BytesMut,
        work: &mut DeferredWork,
    ) {
        let now = work.now(shared);
        let (opened, has_output) = self.sessions.with(|sessions| {
            let payload = packet.get_mut(HEADER..).unwrap_or_default();
            let Opened { peer, proved, content } = sessions.open(now, &local, payload)?;
            Ok((peer, proved, content.map(|content| content.first().copied())))
        });
        if has_output {
            // Later, because a session that this packet has confirmed sends its messages together with the acks for it.
            work.carry_out_later();
        }
        let (peer, proved, content) = match opened {
            Ok((peer, proved, Some(content))) => (peer, proved, content),
            Ok((_, _, None)) => return,
            Err(cause) => return shared.stats.drop(cause),
        };
        if content != Some(CONTENT_MESSAGE) {
            return shared.stats.drop(DropCause::MalformedPacket);
        }
        // The packet was opened in place, so that messages are slices of the buffer in which it arrived.
        packet.truncate(packet.len().saturating_sub(SESSION_TAG_LEN));
        packet.advance(HEADER + SESSION_HEADER_LEN);
        let content: Bytes = packet.freeze();
        self.handle(shared, &Ends { local, peer }, &proved, &content, work);
    }

    /// Handles a part of a handshake message for an address of this node.
    pub(crate) fn handle_part(
        &self,
        shared: &NodeState,
        local: Address,
        payload: &[u8],
        work: &mut DeferredWork,
    ) {
        let part = SessionInput::Part { local, hop: work.hop(), payload };
        let (result, has_output) = self.sessions.handle(shared.now(), part);
        if let Err(cause) = result {
            shared.stats.drop(cause);
        }
        if has_output {
            work.carry_out_later();
        }
    }

    /// Carries out what the sessions request.
    pub(crate) fn carry_out(&self, shared: &NodeState, work: &mut DeferredWork) {
        for output in self.sessions.take_outputs() {
            match output {
                SessionOutput::Transmit { pair, payload, path } => {
                    let destination = pair.peer;
                    if is_request(&payload) {
                        self.score_request(shared, &pair);
                    }
                    let header =
                        Header { class: Class::Interactive, flags: 0, hop_limit: HOP_LIMIT, destination };
                    // Without a route it is lost, like a packet that is lost on its way. Handshake messages are repeated.
                    originate_over(shared, &header, path, |out| out.extend_from_slice(&payload), work);
                }
                SessionOutput::Requested { pair, hop, .. } => self.decide(shared, pair, hop, work),
                SessionOutput::Ready { pair, .. } => {
                    shared.stats.count(Counter::SessionsBegun, 1);
                    if let Some(entry) = self.find(&pair.local, &pair.peer) {
                        lock(&entry.state).requested = None;
                        work.pump_later(&entry);
                    }
                }
                SessionOutput::Ended { pair, reason } => self.session_ended(shared, pair, reason, work),
            }
        }
    }

    /// Reports to the router that several requests to this peer had no answer. Before there is a session, no
    /// acknowledgement is missing that could show a loss.
    fn score_request(&self, shared: &NodeState, pair: &Ends) {
        let Some(entry) = self.find(&pair.local, &pair.peer) else { return };
        let Some(hop) = route(shared, &pair.peer) else { return };
        let (next_hop, at) = (hop.best().id, shared.now());
        let has_credit = hop.next_hops.second().is_some() || hop.best().delivers(at);
        let most = if has_credit { UNANSWERED } else { UNANSWERED_ALONE };
        let mut state = lock(&entry.state);
        let last = state.requested.as_ref().filter(|last| last.next_hop == next_hop);
        let count = last.map_or(0, |last| last.count + u32::from(at.since(last.at) >= ANSWER_TIME));
        let is_verdict = count >= most;
        let count = if is_verdict { 0 } else { count };
        state.requested = Some(Box::new(UnansweredRequests { next_hop, at, count }));
        drop(state);
        if is_verdict {
            let destination = pair.peer;
            shared.router.hint(RouterHint::Score { destination, next_hop, delivered: 0, lost: VERDICT });
        }
    }

    /// Answers a peer that asks for a session: it gets one if there is a place for its conversation.
    ///
    /// While the state of the conversation is read from the journal, the answer waits: it names the incarnation.
    pub(super) fn decide(&self, shared: &NodeState, pair: Ends, hop: PreviousHop, work: &mut DeferredWork) {
        let from = Location { host: hop.host, network: hop.group };
        let entry = self.open_from(shared, &pair.local, &pair.peer, Some(from));
        // The conversation stays locked, so that it is not removed before its incarnation is a part of the session.
        let mut state = entry.as_ref().map(|entry| lock(&entry.state)).filter(|state| !state.gone);
        let journaled = state.as_mut().and_then(|state| state.journaled.as_mut());
        if let Some(journaled) = journaled.filter(|journaled| journaled.is_opening) {
            journaled.requested_by = Some(hop);
            return;
        }
        let answer = match &state {
            Some(state) => SessionInput::Accept { pair, standing: state.conversation.standing() },
            None => SessionInput::Refuse { pair },
        };
        if state.is_none() {
            shared.stats.drop(DropCause::SenderLimit);
        }
        let (result, has_output) = self.sessions.handle(shared.now(), answer);
        if let Err(cause) = result {
            shared.stats.drop(cause);
        }
        if has_output {
            work.carry_out_later();
        }
    }

    fn session_ended(&self, shared: &NodeState, pair: Ends, reason: EndReason, work: &mut DeferredWork) {
        let Some(entry) = self.find(&pair.local, &pair.peer) else { return };
        let mut state = lock(&entry.state);
        state.is_connecting = false;
        if !matches!(reason, EndReason::Idle) {
            state.connect_after = shared.now() + PAUSE;
        }
        drop(state);
        work.pump_later(&entry);
    }

    /// The task of the sessions: it serves their deadlines.
    pub(crate) async fn run_sessions(shared: Arc<NodeState>) {
        let sessions = &shared.conversations.sessions;
        let mut alarm = crate::rt::Alarm::default();
        let mut work = DeferredWork::default();
        loop {
            let seen = sessions.deadline_count();
            alarm.set(sessions.await_deadline().map(|time| shared.instant(time)));
            futures::select_biased! {
                () = futures::FutureExt::fuse(alarm.wait()) => {}
                () = std::pin::pin!(futures::FutureExt::fuse(sessions.earlier_than(seen))) => {}
            }
            // Read after the wait, because timers that came due meanwhile are handled in the same round.
            let now = shared.now();
            let (_, has_output) = sessions.with(|sessions| {
                if sessions.next_deadline().is_some_and(|deadline| deadline <= now) {
                    sessions.handle_timeout(now);
                }
            });
            if has_output {
                work.carry_out_later();
                work.finish(&shared);
            }
        }
    }
}

/// Whether this is the first part of a request.
fn is_request(payload: &[u8]) -> bool {
    PartHeader::read(payload).is_ok_and(|(header, _)| header.message == MESSAGE_REQUEST && header.number == 0)
}

impl ConversationEntry {
    pub(crate) fn pair(&self) -> Ends {
        Ends { local: *self.local(), peer: *self.peer() }
    }

    /// Appends the next packet of the conversation to `out`, sealed, with a payload of at most `most` bytes. Returns
    /// whether there was one.
    pub(super) fn seal_next(
        &self,
        shared: &NodeState,
        conversation: &mut Conversation,
        now: Time,
        most: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let pair = self.pair();
        let most = most.saturating_sub(SEAL_OVERHEAD);
        let (is_sealed, _) = shared.conversations.sessions.with(|sessions| {
            let proved = sessions.current(&pair)?;
            if proved.incarnation != conversation.incarnation() {
                // It belongs to a conversation that was removed, and would never end otherwise.
                let _ = sessions.handle(now, SessionInput::Close { pair });
                return None;
            }
            conversation.on_session(now, &proved);
            sessions.seal(now, &pair, |out| conversation.poll_transmit(now, most, out), out).ok()
        });
        if is_sealed.is_none() {
            conversation.on_session_end();
        }
        is_sealed.unwrap_or(false)
    }

    /// Requests a session if the conversation needs one, and ends the attempt for one that it does not need any more.
    /// Returns the time at which to look again, if that is later.
    pub(super) fn request_session(
        &self,
        shared: &NodeState,
        state: &mut EntryState,
        now: Time,
        work: &mut DeferredWork,
    ) -> Option<Time> {
        if state.is_opening() {
            return None;
        }
        let (pair, standing) = (self.pair(), state.conversation.standing());
        let input = match state.conversation.session_need() {
            Some(SessionNeed::Connect) if now < state.connect_after => return Some(state.connect_after),
            Some(SessionNeed::Connect) => {
                state.is_connecting = true;
                SessionInput::Connect { pair, standing }
            }
            Some(SessionNeed::Renew) => SessionInput::Renew { pair, standing },
            None if state.is_connecting && state.conversation.is_reachable() => {
                state.is_connecting = false;
                if state.conversation.is_connected() {
                    return None;
                }
                SessionInput::Close { pair }
            }
            None => return None,
        };
        // None of these inputs has an error, since nothing of the peer is read.
        let (_, has_output) = shared.conversations.sessions.handle(now, input);
        if has_output {
            work.carry_out_later();
        }
        None
    }
}

#[cfg(test)]
mod tests;
