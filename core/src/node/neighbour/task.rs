//! The neighbour's task: frames from its inbox to the next queue, commands of other tasks, and the deadlines of the
//! link.

use bytes::Buf;

use super::*;
use crate::node::data_path::awaiting_route;
use crate::rt;

/// The time that a medium may take to send a path challenge. It is short, because the task waits for it.
const CHALLENGE_SEND: Duration = Duration::from_millis(20);
/// The time that a medium may take, when the link ends, to send the queued packets.
const QUEUED_SEND: Duration = Duration::from_millis(250);
/// The time that it may then take to send the goodbye.
const GOODBYE_SEND: Duration = Duration::from_millis(100);

impl Neighbour {
    /// Starts the neighbour's task. A panic in it ends this link and no other.
    pub(crate) fn start(self: Arc<Self>, shared: &Arc<NodeState>, link: Link) {
        let (neighbour, theirs) = (self.clone(), shared.clone());
        shared.spawn(Box::pin(self.run(shared.clone(), link)), move |message| async move {
            let reason = format!("its task panicked: {message}");
            tracing::error!(neighbour = %neighbour.address, reason, "this is a fault of the program: please report it");
            neighbour.ended(&theirs, &reason).await;
        });
    }

    /// Runs the neighbour's task until the link ends.
    pub(crate) async fn run(self: Arc<Self>, shared: Arc<NodeState>, mut link: Link) {
        let mut frames = Vec::with_capacity(BATCH);
        let mut work = DeferredWork::of(self.origin());
        let mut alarm = Alarm::default();
        let mut note_at = None;
        // A routing message that the link had no room for yet.
        let mut held: Option<Vec<u8>> = None;
        let reason = loop {
            if let Some(reason) = self.serve_link(&shared, &mut link).await {
                break reason;
            }
            if *self.leaving.read() {
                return self.say_goodbye(&shared, &mut link).await;
            }
            if !self.flush_until_leaving(&shared).await {
                continue;
            }
            self.resume_waiting(&mut work);
            work.finish(&shared);

            let deadline = link.next_deadline().into_iter().chain(note_at).min();
            alarm.set(deadline.map(|time| shared.instant(time)));
            let mut command = None;
            {
                let incoming = std::pin::pin!(self.inbox.recv_batch_into(&mut frames, BATCH));
                let commands = std::pin::pin!(self.commands.recv());
                // While the link has no room, further routing messages stay in their queue.
                let full = held.is_some();
                let routes = std::pin::pin!(async {
                    if full { std::future::pending().await } else { self.routes.recv().await }
                });
                match select(incoming, select(commands, select(routes, alarm.wait()))).await {
                    Either::Left((Ok(_), _)) => {}
                    Either::Right((Either::Left((Ok(next), _)), _)) => command = Some(next),
                    Either::Right((Either::Right((Either::Left((Ok(message), _)), _)), _)) => {
                        held = Some(message);
                    }
                    Either::Right((Either::Right((Either::Right(_), _)), _)) => {}
                    // The inbox is closed: another task has retired the link and announced its end, or the router has
                    // closed it.
                    _ => break "the link could not keep up with the routes".to_owned(),
                }
            }
            let now = shared.now();
            self.open_frames(&shared, now, &mut link, &mut frames);
            self.confirm(&shared, &link).await;
            work.from = self.origin();
            packets_arrived(&shared, &mut frames, &mut work);
            // Commands are handled after frames too, so that a busy inbox does not delay them.
            while let Some(next) = command.take().or_else(|| self.commands.try_recv().ok()) {
                match next {
                    LinkCommand::PacketsSent => note_at = Some(now),
                    LinkCommand::Wake => {}
                    LinkCommand::MediumCut => link.on_medium_cut(now),
                    LinkCommand::SendRefused => {
                        self.refused.store(false, Relaxed);
                        link.on_send_refused(now);
                    }
                    LinkCommand::KeyWorn => link.on_key_worn(now),
                    LinkCommand::FrameTooLong(length) => link.on_frame_too_long(now, length),
                    LinkCommand::UnvalidatedFrame { endpoint, frame } => {
                        self.unvalidated_arrived(&shared, &mut link, (endpoint, frame), &mut work);
                    }
                    #[cfg(test)]
                    LinkCommand::Panic => panic!("a fault of the test"),
                }
            }
            while let Some(message) = held.take().or_else(|| self.routes.try_recv().ok()) {
                if link.send_control(&message).is_err() {
                    let LinkMetrics { state, control_queued, .. } = link.metrics();
                    if control_queued > 0 || matches!(state, LinkState::Down(_)) {
                        held = Some(message);
                        break;
                    }
                    tracing::error!(bytes = message.len(), "routing message that no link takes");
                }
            }
            if note_at.is_some_and(|at| at <= now) {
                note_at = self.note_sent(&mut link, now).then(|| now + NOTE_EVERY);
            }
            if link.next_deadline().is_some_and(|deadline| deadline <= now) {
                link.handle_timeout(now);
            }
        };
        // The goodbye of the link is sent if the medium accepts it at once.
        self.flush(&shared);
        self.ended(&shared, &reason).await;
        // A closed inbox receives nothing more, so these frames are the last to count.
        while let Ok(left) = self.inbox.try_recv_batch(&mut frames, BATCH) {
            shared.stats.drop_n(DropCause::UnknownSession, left as u64);
            frames.clear();
        }
    }

    /// Sends what is queued, up to a portion. Returns `false` when the link was asked to leave before the medium had taken that.
    async fn flush_until_leaving(&self, shared: &NodeState) -> bool {
        let leaving = std::pin::pin!(self.leaving.when(|leaving| leaving.then_some(())));
        let flush = std::pin::pin!(self.flush_wait(shared));
        matches!(select(flush, leaving).await, Either::Left(_))
    }

    /// Ends the link with a goodbye. The packets that are queued go first, since the neighbour drops those that come after it.
    /// The medium has a moment for them, and the rest is dropped: a medium that takes nothing must not delay the end.
    pub(crate) async fn say_goodbye(&self, shared: &NodeState, link: &mut Link) {
        self.egress.begin_end();
        rt::timeout(QUEUED_SEND, self.flush_all(shared)).await;
        let dropped = self.egress.push_last(link.goodbye().into());
        shared.stats.drop_n(DropCause::UnknownSession, dropped);
        rt::timeout(GOODBYE_SEND, self.flush_all(shared)).await;
        if self.retire(shared) {
            self.announce_end(shared, "goodbye sent").await;
        }
    }

    /// Sends until nothing is queued.
    async fn flush_all(&self, shared: &NodeState) {
        while !self.egress.is_empty() {
            self.flush_wait(shared).await;
            if !self.egress.is_empty() && !self.egress.is_stalled() {
                // Another task is sending, and does not report its end.
                rt::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Reports the sent packets to the link. Returns whether to report again later.
    pub(super) fn note_sent(&self, link: &mut Link, now: Time) -> bool {
        let frames = self.unnoted.swap(0, SeqCst);
        if frames > 0 {
            let bytes = self.unnoted_bytes.swap(0, Relaxed);
            let frames = u32::try_from(frames).unwrap_or(u32::MAX);
            link.note_sent(now, frames, bytes as usize);
            link.note_longest(now, frames, self.longest.swap(0, Relaxed));
            return true;
        }
        self.report_pending.store(false, SeqCst);
        // A packet sent between the two statements above found the mark still set and added no command.
        let again = self.unnoted.load(SeqCst) > 0;
        if again {
            self.report_pending.store(true, Relaxed);
        }
        again
    }

    /// Handles the frames of one batch, which arrived `now`, up to the next queue.
    #[cfg(feature = "internals")]
    pub(crate) fn frames_arrived(
        &self,
        shared: &NodeState,
        now: Time,
        link: &mut Link,
        frames: &mut Vec<BytesMut>,
        work: &mut DeferredWork,
    ) {
        self.open_frames(shared, now, link, frames);
        packets_arrived(shared, frames, work);
    }

    /// Opens the frames of one batch, which arrived `now`, and handles control. The packets are left in `frames`.
    fn open_frames(&self, shared: &NodeState, now: Time, link: &mut Link, frames: &mut Vec<BytesMut>) {
        let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
        self.rx_bytes.fetch_add(bytes, Relaxed);
        let mut opened = false;
        frames.retain_mut(|frame| match link.handle_frame(now, frame) {
            Ok(inner) => {
                opened = true;
                let FrameContent::Packet(body) = inner else { return false };
                // The kind byte stays, since the packet becomes the content of another frame.
                let content = body.len() + 1;
                frame.advance(HEADER_LEN);
                frame.truncate(content);
                true
            }
            Err(cause) => {
                shared.stats.drop(cause);
                false
            }
        });
        if opened && !self.confirmed.load(Relaxed) && !self.confirmed.swap(true, Relaxed) {
            let confirmed = LinkEvent::Confirmed { local_index: self.local_index };
            let _ = shared.link_events.try_push(confirmed);
        }
    }

    /// Handles a frame that arrived from an endpoint where the neighbour is not known to be.
    fn unvalidated_arrived(
        &self,
        shared: &NodeState,
        link: &mut Link,
        (endpoint, mut frame): (Endpoint, BytesMut),
        work: &mut DeferredWork,
    ) {
        lock(&self.unvalidated).done();
        let now = shared.now();
        // The neighbour may have moved there since the frame arrived.
        let opened = match endpoint == self.path().endpoint {
            true => link.handle_frame(now, &mut frame),
            false => link.handle_frame_from(now, endpoint, &mut frame),
        };
        match opened {
            Ok(FrameContent::Packet(body)) => {
                let content = body.len() + 1;
                self.rx_bytes.fetch_add(frame.len() as u64, Relaxed);
                frame.advance(HEADER_LEN);
                frame.truncate(content);
                packets_arrived(shared, &mut vec![frame], work);
            }
            Ok(FrameContent::Consumed) => {}
            Err(cause) => shared.stats.drop(cause),
        }
    }

    /// Moves the link to the endpoint where the neighbour has proved to be.
    fn moved(&self, shared: &NodeState, endpoint: Endpoint) {
        let before = self.endpoint();
        lock(&self.path).endpoint = endpoint;
        self.egress.redirect(endpoint);
        self.update_origin();
        tracing::info!(neighbour = %self.address, %before, endpoint = %self.endpoint(), "neighbour moved");
        shared.publish(Event::NeighbourMoved { address: self.address, endpoint: self.endpoint() });
    }

    /// Carries out the outputs of the link. Returns the reason of its end, if it has ended.
    pub(super) async fn serve_link(&self, shared: &NodeState, link: &mut Link) -> Option<String> {
        let mut changed = false;
        let mut down = None;
        link.hold_control(self.router_feed.is_full());
        while let Some(output) = link.poll_output(shared.now()) {
            changed = true;
            match output {
                LinkOutput::Transmit(content) => {
                    if self.push(shared, Class::Control, content.into()) == PushOutcome::Closed {
                        link.on_key_exhausted();
                    }
                }
                LinkOutput::TransmitTo(endpoint, content) => {
                    let sent = rt::timeout(CHALLENGE_SEND, self.egress.send_to(&endpoint, &content));
                    if !matches!(sent.await, Some(Ok(()))) {
                        shared.stats.drop(DropCause::SendFailed);
                    }
                }
                LinkOutput::Moved(endpoint) => self.moved(shared, endpoint),
                LinkOutput::MtuChanged(mtu) => {
                    tracing::debug!(neighbour = ?self.address, mtu, "longest frame");
                    self.mtu.store(mtu, Relaxed);
                    let mtu = u16::try_from(payload_mtu(mtu)).unwrap_or(u16::MAX);
                    self.router_feed.changed(&shared.router, self.id, |changes| changes.mtu = Some(mtu));
                }
                LinkOutput::Rekeyed(key) => {
                    tracing::debug!(neighbour = ?self.address, ?key, "new keys");
                    self.egress.renew(*key);
                    self.worn.store(false, Relaxed);
                }
                LinkOutput::Control(message) => {
                    link.hold_control(self.router_feed.push_message(&shared.router, self.id, message));
                }
                LinkOutput::CostChanged(cost) => {
                    self.router_feed.changed(&shared.router, self.id, |changes| changes.cost = Some(cost));
                }
                LinkOutput::StateChanged(LinkState::Down(reason)) => {
                    self.note_end(shared, reason);
                    down = Some(reason.to_string());
                }
                LinkOutput::StateChanged(state) => {
                    self.silent_since.store(link.metrics().heard.as_nanos(), Relaxed);
                    self.link_state_changed(shared, state).await;
                }
            }
        }
        if changed {
            lock(&self.status).metrics = link.metrics();
        }
        down
    }

    /// Announces that the link is up, suspect or away to the router, the dial list and subscribers.
    async fn link_state_changed(&self, shared: &NodeState, state: LinkState) {
        let (suspect, away) = (state != LinkState::Up, state == LinkState::Away);
        self.suspect.store(suspect, Relaxed);
        if !self.is_in_service() {
            self.away.store(away, Relaxed);
            return;
        }
        self.set_state(match state {
            LinkState::Up => PeerState::Up,
            LinkState::Suspect => PeerState::Suspect,
            LinkState::Away | LinkState::Down(_) => PeerState::Down,
        });
        tracing::debug!(neighbour = ?self.address, ?state, "link");
        let turned = self.away.swap(away, Relaxed) != away;
        if turned {
            self.reachability_changed(shared);
        }
        if self.router_feed.announce() {
            shared.router.notify(RouterEvent::LinkStateChanged { id: self.id }).await;
        }
        if suspect || turned {
            // The neighbour may be reachable over another path.
            let _ = shared.link_events.try_push(LinkEvent::DialCheck);
        }
        if turned {
            let (address, endpoint) = (self.address, self.endpoint());
            match away {
                true => {
                    tracing::info!(neighbour = %address, endpoint, "neighbour cut off: its session is kept for a while")
                }
                false => tracing::info!(neighbour = %address, endpoint, "neighbour back"),
            }
            match away {
                true => {
                    let reason = DownReason::Cut.to_string();
                    self.announce(shared, Turn::Cut, Event::NeighbourDown { address, endpoint, reason });
                }
                false => self.announce(shared, Turn::Up, Event::NeighbourUp { address, endpoint }),
            }
        }
    }

    pub(super) fn set_state(&self, state: PeerState) {
        let mut status = lock(&self.status);
        status.state = state;
        status.since = Timestamp::now();
    }

    /// Ends a link that has failed: takes it out of service and announces that.
    pub(super) async fn ended(&self, shared: &NodeState, reason: &str) {
        if !self.retire(shared) {
            return;
        }
        self.announce_end(shared, reason).await;
        let _ = shared.link_events.try_push(LinkEvent::DialCheck);
    }

    /// Serves the packets that wait for a route to the neighbour, since the link has entered or left service.
    pub(crate) fn reachability_changed(&self, shared: &NodeState) {
        let mut work = DeferredWork::default();
        awaiting_route::route_changed(shared, &self.address, &mut work);
        work.finish(shared);
    }

    /// Announces the end of this link to the router and to subscribers.
    pub(crate) async fn announce_end(&self, shared: &NodeState, reason: &str) {
        if !self.leave_service() {
            tracing::debug!(neighbour = %self.address, endpoint = %self.endpoint(), reason, "no link");
            return;
        }
        tracing::info!(neighbour = %self.address, endpoint = %self.endpoint(), reason, "neighbour down");
        self.reachability_changed(shared);
        shared.router.notify(RouterEvent::Down { id: self.id }).await;
        let (address, endpoint, reason) = (self.address, self.endpoint(), reason.to_owned());
        self.announce(shared, Turn::Ended, Event::NeighbourDown { address, endpoint, reason });
    }
}
