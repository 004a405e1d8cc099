//! Packets under the keys of a session.

use super::Sessions;
use super::epoch::RekeyStage;
use super::event::{EndReason, PathChoice, SessionOutput};
use super::pair::{AnsweredRequest, InboundSession, PairState, RequestStage, Selected};
use super::rekey::RekeyContext;
use super::repetition::Repetition;
use crate::address::Address;
use crate::link::Exhausted;
use crate::stats::DropCause;
use crate::time::Time;
use crate::types::Ends;
use crate::wire::codec;
use crate::wire::session::{
    CONTENT_CONFIRM, CONTENT_CONFIRMED, CONTENT_REKEY, CONTENT_REKEYED, ProvedStanding, SessionRekey,
    read_session_header, rekey_content,
};

/// A packet that has opened.
#[derive(Debug)]
pub struct Opened<'a> {
    /// The address that sealed it.
    pub peer: Address,
    /// The session under whose keys it was sealed.
    pub proved: ProvedStanding,
    /// The content for the layer above; `None` when it was one of the session's own.
    pub content: Option<&'a mut [u8]>,
}

/// There is no session with the peer: [`SessionInput::Connect`](super::SessionInput::Connect) begins one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no session with the peer yet")]
pub struct NoSession;

impl Sessions {
    /// Appends a payload for the peer to `out`: the bytes that `content` appends, sealed in place. The first of them is
    /// the kind of the content, which must not be one of the session's own (`10` to `1f`). `content` returns whether it
    /// has appended something, and so does this function: if not, `out` and the session are unchanged.
    ///
    /// # Errors
    /// [`NoSession`]; `out` is unchanged then.
    pub fn seal(
        &mut self,
        now: Time,
        pair: &Ends,
        content: impl FnOnce(&mut Vec<u8>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<bool, NoSession> {
        let state = self.peers.get_mut(pair).ok_or(NoSession)?;
        let epoch = state.current.as_mut().ok_or(NoSession)?;
        match epoch.keys.sealer.seal(content, out) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(Exhausted) => {
                self.end(*pair, EndReason::Exhausted);
                return Err(NoSession);
            }
        }
        state.used = now;
        let is_first = !std::mem::replace(&mut epoch.used, true);
        if is_first || epoch.is_worn() && matches!(epoch.rekey, RekeyStage::Idle(_)) {
            self.change(*pair, |_| {});
        }
        Ok(true)
    }

    /// Opens the payload of a packet for `local` in place.
    ///
    /// # Errors
    /// [`DropCause::MalformedPacket`], [`DropCause::UnknownSession`], [`DropCause::Replay`] or [`DropCause::BadSeal`].
    /// A content of the session's own that makes no sense is [`DropCause::MalformedPacket`], or
    /// [`DropCause::HandshakeLimit`] when it comes too early.
    pub fn open<'a>(
        &mut self,
        now: Time,
        local: &Address,
        payload: &'a mut [u8],
    ) -> Result<Opened<'a>, DropCause> {
        let (index, _) = read_session_header(payload).ok_or(DropCause::MalformedPacket)?;
        let pair = self.by_index.get(&index).copied().filter(|pair| pair.local == *local);
        let pair = pair.ok_or(DropCause::UnknownSession)?;
        let state = self.peers.get_mut(&pair).ok_or(DropCause::UnknownSession)?;
        let selected = state.select(index).ok_or(DropCause::UnknownSession)?;
        let content = state.opener(selected).ok_or(DropCause::UnknownSession)?.open(payload)?;
        let peer = pair.peer;
        let is_own = matches!(content.first(), None | Some(CONTENT_CONFIRM..=CONTENT_REKEYED));
        if !is_own
            && selected == Selected::Current
            && state.is_settled()
            && let Some(epoch) = &state.current
        {
            // Nearly all packets are of this kind, so they take no other steps.
            state.used = now;
            return Ok(Opened { peer, proved: epoch.proved, content: Some(content) });
        }
        self.on_opened(now, pair, selected);
        if content.is_empty() {
            return Err(DropCause::MalformedPacket);
        }
        // There is none when a session that the packet would confirm has no place.
        let proved = self.peers.get(&pair).and_then(|state| match selected {
            Selected::Previous => state.previous.as_ref().map(|old| old.proved),
            _ => state.current.as_ref().map(|epoch| epoch.proved),
        });
        let proved = proved.ok_or(DropCause::HandshakeLimit)?;
        if !is_own {
            self.note_use(now, pair);
            return Ok(Opened { peer, proved, content: Some(content) });
        }
        // The keys of before seal nothing any more, so their own contents are late.
        if selected != Selected::Previous {
            self.on_own_content(now, pair, content)?;
        }
        Ok(Opened { peer, proved, content: None })
    }

    /// Notes that a packet of the layer above was opened. Contents of the session's own are no use, since otherwise a
    /// renewal would be the cause of the next one.
    fn note_use(&mut self, now: Time, pair: Ends) {
        let Some(state) = self.peers.get_mut(&pair) else { return };
        state.used = now;
        let is_first = state.current.as_mut().is_some_and(|epoch| !std::mem::replace(&mut epoch.used, true));
        if is_first {
            self.change(pair, |_| {});
        }
    }

    /// Puts the keys under which a packet has opened into use, if they are not in use yet.
    fn on_opened(&mut self, now: Time, pair: Ends, selected: Selected) {
        match selected {
            Selected::Current => {
                let Some(epoch) = self.peers.get_mut(&pair).and_then(|state| state.current.as_mut()) else {
                    return;
                };
                let is_confirmed = epoch.confirm.take().is_some();
                if is_confirmed || epoch.is_worn() && matches!(epoch.rekey, RekeyStage::Idle(_)) {
                    self.change(pair, |_| {});
                }
            }
            Selected::Previous => {}
            Selected::Next => {
                let epoch = self.peers.get_mut(&pair).and_then(|state| state.current.as_mut());
                let Some(stage) =
                    epoch.map(|epoch| std::mem::replace(&mut epoch.rekey, RekeyStage::Idle(now)))
                else {
                    return;
                };
                if let RekeyStage::Responded(responded) = stage {
                    let mut next = responded.next;
                    next.since = now;
                    self.install(now, pair, next);
                }
            }
            Selected::Inbound(nth) => self.confirm_inbound(now, pair, nth),
        }
    }

    /// Puts the keys of a peer's handshake into use.
    fn confirm_inbound(&mut self, now: Time, pair: Ends, nth: usize) {
        let taken = self.change(pair, |state| (nth < state.inbound.len()).then(|| state.inbound.remove(nth)));
        let Some(Some(InboundSession { hop, stage: RequestStage::Answered(answered), .. })) = taken else {
            return;
        };
        // A newcomer without a place is dropped with its session.
        if !self.take_place(now, pair, hop) {
            return;
        }
        let AnsweredRequest { epoch, .. } = *answered;
        self.peers.entry(pair).or_insert_with(|| PairState::new(now));
        self.install(now, pair, epoch);
    }

    /// Handles a content of the session's own.
    fn on_own_content(&mut self, now: Time, pair: Ends, content: &[u8]) -> Result<(), DropCause> {
        match content {
            [CONTENT_CONFIRM] => self.transmit_sealed(pair, &[CONTENT_CONFIRMED]),
            [CONTENT_CONFIRMED] => {}
            [CONTENT_REKEY, fields @ ..] => {
                let request: SessionRekey = codec::decode(fields).map_err(|_| DropCause::MalformedPacket)?;
                self.on_rekey(now, pair, request)?;
            }
            [CONTENT_REKEYED, fields @ ..] => {
                let answer: SessionRekey = codec::decode(fields).map_err(|_| DropCause::MalformedPacket)?;
                self.on_rekeyed(now, pair, answer)?;
            }
            _ => return Err(DropCause::MalformedPacket),
        }
        Ok(())
    }

    fn on_rekey(&mut self, now: Time, pair: Ends, request: SessionRekey) -> Result<(), DropCause> {
        let keys = self.locals.get(&pair.local).cloned().ok_or(DropCause::UnknownSession)?;
        let (seed, index) = (self.seed(), self.draw_index());
        let answer = self.change(pair, |state| {
            let may_renew = state.previous.is_none();
            let step = RekeyContext { now, keys: &keys, peer: &pair.peer, seed, index };
            state.current.as_mut().map_or(Ok(None), |epoch| epoch.on_rekey(request, may_renew, &step))
        });
        if let Some(answer) = answer.unwrap_or(Ok(None))? {
            self.transmit_sealed(pair, &rekey_content(CONTENT_REKEYED, &answer));
        }
        Ok(())
    }

    fn on_rekeyed(&mut self, now: Time, pair: Ends, answer: SessionRekey) -> Result<(), DropCause> {
        let next = self.change(pair, |state| {
            state.current.as_mut().map_or(Ok(None), |epoch| epoch.on_rekeyed(now, answer))
        });
        if let Some(mut next) = next.unwrap_or(Ok(None))? {
            next.confirm = Some(Repetition::starting(now));
            self.install(now, pair, next);
            self.confirm_timeout(now, pair);
        }
        Ok(())
    }

    /// Sends a content of the session's own.
    pub(super) fn transmit_sealed(&mut self, pair: Ends, content: &[u8]) {
        let Some(epoch) = self.peers.get_mut(&pair).and_then(|state| state.current.as_mut()) else { return };
        let mut payload = Vec::with_capacity(content.len().saturating_add(super::SEAL_OVERHEAD));
        let content = |out: &mut Vec<u8>| {
            out.extend_from_slice(content);
            true
        };
        match epoch.keys.sealer.seal(content, &mut payload) {
            Ok(_) => self.output.push_back(SessionOutput::Transmit { pair, payload, path: PathChoice::Best }),
            Err(Exhausted) => self.end(pair, EndReason::Exhausted),
        }
    }
}
