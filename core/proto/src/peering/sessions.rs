//! From a handshake to a link: the dials, the sessions that result, and the choice among those with one neighbour.

use std::time::Duration;

use super::dials::{LiveLinks, SilentLink};
use super::early_frames::EarlyFrameAction;
use super::links::{LinkView, PeerLink};
use super::output::NewLink;
use super::slots::{SlotDecision, SlotHolder, decide};
use super::{Media, Output, Peering, PeeringEvent, Retirement};
use crate::link::{DialError, DownReason, HandshakeOutput, LinkState, Path, Session, fresh_seed};
use crate::stats::DropCause;
use crate::time::Time;
use crate::wire::link::FINISH;

/// The reason that is shown for a peer that this node has dialled and has no place for.
const NO_PLACE: &str = "this node has as many links as it may have: raise `neighbours`";
/// The reason that is shown for a peer that this node has dialled and does not admit.
const NOT_ADMITTED: &str =
    "the configuration of this node does not admit its address: see `allow` and `deny`";
/// The reason for the end of a dial over a medium that the node does not have any more.
const NO_MEDIUM: &str = "its netmod was removed";

/// The time from the begin of a link in which another session with the same run of its neighbour is not begun.
pub(super) const SETTLING: Duration = Duration::from_millis(500);

impl Peering {
    pub(super) fn handshake_arrived(&mut self, now: Time, path: Path, frame: &[u8], media: &dyn Media) {
        // The medium may have been removed since the frame arrived; it is dropped then, since no answer could be sent.
        let Some(mtu) = media.max_mtu(path.netmod) else { return };
        // After a finish the other side takes the link as established, so it is owed a goodbye.
        if self.is_leaving && frame.first() != Some(&FINISH) {
            return;
        }
        if let Err(cause) = self.handshakes.handle(now, path, media.source(&path), mtu, frame) {
            self.dropped(cause, 1);
        }
        self.serve_handshakes(now, media);
    }

    /// Begins the dials that are due.
    pub(super) fn dial_due(&mut self, now: Time, media: &dyn Media) {
        let links = LinkView::new(&self.links, self.most, media);
        let mut paths = self.dials.due_later(now, &links);
        paths.extend(self.dials.due_heard(now, &self.address, &links));
        for uri in self.dials.due(now, &links) {
            self.output.push_back(Output::Resolve { uri });
        }
        self.dial(now, paths, media);
    }

    /// Dials the nodes that were barred and may become neighbours now. They were sent the reason, and so dial this node
    /// only after a long pause.
    pub(super) fn dial_readmitted(&mut self, now: Time, media: &dyn Media) {
        for (address, path) in self.barred.take_readmitted() {
            let links = LinkView::new(&self.links, self.most, media);
            let is_dialled_anyway = self.dials.readmitted(now, &path, &address);
            if !is_dialled_anyway && !links.address_on(path.netmod, &address) {
                self.dial(now, vec![path], media);
            }
        }
    }

    pub(super) fn dial(&mut self, now: Time, paths: Vec<Path>, media: &dyn Media) {
        for path in paths {
            if let Some(mtu) = media.max_mtu(path.netmod) {
                self.report(PeeringEvent::HandshakeStarted);
                self.handshakes.dial(now, path, mtu);
            } else {
                self.dials.failed(now, &path, NO_MEDIUM);
            }
        }
    }

    /// Carries out the outputs of the handshakes.
    pub(super) fn serve_handshakes(&mut self, now: Time, media: &dyn Media) {
        while let Some(output) = self.handshakes.poll_output() {
            match output {
                // A node that leaves answers nothing, because the peer would begin a link that ends at once.
                HandshakeOutput::Transmit { .. } if self.is_leaving => {}
                HandshakeOutput::Transmit { path, frame } => {
                    self.unsent.remove(&path);
                    self.output.push_back(Output::Transmit { path, frame });
                }
                HandshakeOutput::Failed { path, reason } => self.dial_failed(now, path, reason, media),
                HandshakeOutput::Established(session) => self.established(now, *session, media),
            }
        }
    }

    fn dial_failed(&mut self, now: Time, path: Path, reason: DialError, media: &dyn Media) {
        if let DialError::Duplicate(peer) = reason {
            let links = LinkView::new(&self.links, self.most, media);
            if links.address_on(path.netmod, &peer) {
                // The path leads to a neighbour that has a link already, so the dial has reached its peer.
                self.dials.reached(now, &path, &peer);
                self.update_configured();
                return;
            }
        }
        if reason == DialError::IdentityInUse {
            self.report(PeeringEvent::IdentityInUse);
        }
        let unsent = self.unsent.remove(&path).filter(|_| reason == DialError::Timeout);
        let reason = unsent.unwrap_or_else(|| reason.to_string());
        self.dials.failed(now, &path, &reason);
        self.report(PeeringEvent::DialFailed { path, reason });
    }

    /// Makes a session a link. It replaces an older one with the same neighbour over the same medium, or else needs a
    /// free place.
    fn established(&mut self, now: Time, session: Session, media: &dyn Media) {
        let (path, address) = (session.path, session.peer);
        // The medium was removed during the handshake, so that no frame of a link could be sent.
        if media.max_mtu(path.netmod).is_none() {
            return self.dials.failed(now, &path, NO_MEDIUM);
        }
        self.report(PeeringEvent::HandshakeDone);
        // The other side has established the link, so it begins here too, and ends with a goodbye.
        if self.is_leaving {
            return self.start_link(now, session, false, media);
        }
        let links = LinkView::new(&self.links, self.most, media);
        self.dials.established(now, &path, &address, &links);
        if !self.neighbour_filter.admits(&address) {
            return self.bar(now, session);
        }
        let configured = self.dials.is_configured(&path, &address);
        if let Some(old) = self.links.of_neighbour(path.netmod, &address) {
            // Of two simultaneous dials the handshakes let one session through. A later session was started although
            // this one existed, so the neighbour was restarted or is not reachable over this one any more.
            self.remove_link(old);
            self.output.push_back(Output::RetireLink { id: old, retirement: Retirement::Replaced });
        } else if let Err(reason) = self.make_room(now, &path, configured, media) {
            return self.decline(now, session, reason);
        }
        self.start_link(now, session, configured, media);
    }

    /// Finds a place for one more neighbour. Another neighbour may be evicted for it, and is sent the reason.
    fn make_room(
        &mut self,
        now: Time,
        path: &Path,
        configured: bool,
        media: &dyn Media,
    ) -> Result<(), DownReason> {
        // A newcomer needs no number, since only the holder of a place can be evicted.
        let newcomer = SlotHolder { id: 0, configured, netmod: path.netmod, source: media.source(path) };
        let holders: Vec<SlotHolder> = self
            .links
            .iter()
            .map(|(id, link)| SlotHolder {
                id,
                configured: link.configured,
                netmod: link.path.netmod,
                source: link.source,
            })
            .collect();
        match decide(&holders, &newcomer, self.most) {
            SlotDecision::Free => Ok(()),
            SlotDecision::Refused(reason) => Err(reason),
            SlotDecision::Evict(id) => {
                self.remove_link(id);
                self.dropped(DropCause::NeighbourLimit, 1);
                // It counts like a refusal, so that the status shows that places are short.
                self.refusals.note(now);
                let retirement = Retirement::Evicted(DownReason::Crowded);
                self.output.push_back(Output::RetireLink { id, retirement });
                Ok(())
            }
        }
    }

    /// Ends a session with a node that may not become a neighbour. The node is sent the reason, so that it does not dial
    /// again and again, and its user learns why.
    fn bar(&mut self, now: Time, session: Session) {
        let (path, peer, reason) = (session.path, session.peer, DownReason::NotAllowed);
        self.dropped(DropCause::NotAllowed, 1);
        self.barred.add(peer, path);
        if session.initiator {
            self.dials.refused(now, &path, &peer, NOT_ADMITTED);
        }
        self.report(PeeringEvent::Declined { peer, reason });
        self.handshakes.decline(session, reason);
    }

    /// Ends a session for which there is no place. The neighbour is sent the reason.
    fn decline(&mut self, now: Time, session: Session, reason: DownReason) {
        let (path, peer) = (session.path, session.peer);
        self.dropped(DropCause::NeighbourLimit, 1);
        self.refusals.note(now);
        // A peer that dials this node waits by its own rules, so that only a dial of this node is put off.
        if session.initiator {
            self.dials.refused(now, &path, &peer, NO_PLACE);
        }
        self.report(PeeringEvent::Declined { peer, reason });
        self.handshakes.decline(session, reason);
    }

    fn start_link(&mut self, now: Time, session: Session, configured: bool, media: &dyn Media) {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let link = PeerLink {
            address: session.peer,
            path: session.path,
            source: media.source(&session.path),
            initiator: session.initiator,
            local_index: session.local_index,
            instance: session.peer_instance,
            configured,
            in_service: false,
            state: LinkState::Up,
            heard: now,
        };
        self.links.insert(id, link);
        self.note_use(now, id);
        let seed = fresh_seed(&mut self.seeds);
        self.output.push_back(Output::StartLink(Box::new(NewLink { id, session, configured, seed })));
    }

    /// Updates which links a configured peer is the reason for, after more became known of the peers.
    pub(super) fn update_configured(&mut self) {
        for (id, link) in self.links.iter_mut() {
            let configured = self.dials.is_configured(&link.path, &link.address);
            if std::mem::replace(&mut link.configured, configured) != configured {
                self.output.push_back(Output::SetConfigured { id, configured });
            }
        }
    }

    /// Lets the handshakes know that a link has begun, so that no session of this node's own replaces it: both ends may dial
    /// several endpoints of each other at a start. That holds for a moment only, because a neighbour that dials later may
    /// have lost a path that this end still takes for good, and waits for the session.
    fn note_use(&mut self, now: Time, id: u32) {
        if let Some(link) = self.links.get(id) {
            let until = now + SETTLING;
            self.handshakes.set_in_use(link.path.netmod, link.address, Some((link.instance, until)));
        }
    }

    /// Lets the handshakes know that a link is not in use any more. A link over a path that its medium reports as cut is
    /// not, even if a frame that arrived before the cut has just been opened.
    pub(super) fn note_disuse(&mut self, id: u32, media: &dyn Media) {
        if let Some(link) = self.links.get(id)
            && (link.state != LinkState::Up || media.is_cut(&link.path))
        {
            self.handshakes.set_in_use(link.path.netmod, link.address, None);
        }
    }

    pub(super) fn remove_link(&mut self, id: u32) -> Option<PeerLink> {
        let link = self.links.remove(id)?;
        // A new session with the neighbour is not refused any more, since there is none to keep.
        self.handshakes.set_in_use(link.path.netmod, link.address, None);
        Some(link)
    }

    /// Records the end of a link: its reason decides when the neighbour is dialled again.
    pub(super) fn link_lost(&mut self, now: Time, id: u32, reason: Option<DownReason>, media: &dyn Media) {
        let Some(link) = self.remove_link(id) else { return };
        let (path, peer) = (link.path, link.address);
        match reason {
            Some(reason) if reason.is_refusal() => {
                let again_in = self.dials.refused(now, &path, &peer, &reason.to_string());
                self.report(PeeringEvent::Refused { peer, path, reason, again_in });
            }
            Some(DownReason::Goodbye) => self.dials.left(now, &path, &peer),
            Some(reason @ (DownReason::Silent | DownReason::Unheard)) if link.in_service => {
                if reason == DownReason::Silent {
                    self.dials.silenced(SilentLink { path, heard: link.heard }, &peer);
                }
                // This node may have been stopped for long, and the neighbour dials with growing pauses by now.
                if !link.initiator && !self.is_leaving && !self.dials.is_known(&path, &peer) {
                    self.dial(now, vec![path], media);
                }
            }
            Some(reason) if !link.in_service => {
                self.dials.never_served(now, &path, &peer, &reason.to_string());
            }
            _ => {}
        }
    }

    /// Gives early frames to the links that have begun by now. A frame that has overtaken its finish waits for it.
    pub(super) fn serve_early_frames(&mut self) {
        if self.early.is_empty() {
            return;
        }
        let (links, handshakes) = (&self.links, &self.handshakes);
        let (ready, dropped) = self.early.sort(|index, path| match links.of_session(index, path) {
            Some(_) => EarlyFrameAction::Deliver,
            None if handshakes.awaits_finish(path, index) => EarlyFrameAction::Wait,
            None => EarlyFrameAction::Drop,
        });
        self.dropped(DropCause::UnknownSession, dropped);
        for (index, path, frame) in ready {
            if let Some(id) = self.links.of_session(index, &path) {
                self.output.push_back(Output::Deliver { id, frame });
            }
        }
    }
}
