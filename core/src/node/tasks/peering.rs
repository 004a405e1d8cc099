//! The peering task: it reports what happens around links to the node's [`Peering`], and carries out the outputs. One task
//! does this for all media, so that outputs are carried out in their order.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};

use crate::egress::Egress;
use crate::link::{Link, Path, Source};
use crate::netmod::Train;
use crate::node::reply::ReplySender;
use crate::node::state::NodeState;
use crate::node::state::link_event::LinkEvent;
use crate::node::state::locks::{lock, read};
use crate::node::state::medium::Medium;
use crate::node::state::neighbour::{Neighbour, NeighbourParts};
use crate::peering::{Input, Media, NewLink, Output, PeeringEvent, Retirement};
use crate::rt;
use crate::rt::Alarm;
use crate::stats::{Counter, DropCause};

mod resolve;

const BATCH: usize = 64;
/// The time that a medium may take to send a handshake frame. It is short, because all media wait for it.
const SEND: Duration = Duration::from_millis(20);

impl Media for NodeState {
    fn max_mtu(&self, netmod: u32) -> Option<usize> {
        self.medium(netmod).map(|medium| medium.netmod.max_mtu())
    }

    fn source(&self, path: &Path) -> Source {
        self.medium(path.netmod).map_or_else(Source::default, |medium| medium.source(&path.endpoint))
    }

    fn is_cut(&self, path: &Path) -> bool {
        self.medium(path.netmod).is_some_and(|medium| medium.netmod.is_cut(&path.endpoint))
    }
}

impl NodeState {
    fn medium(&self, netmod: u32) -> Option<Arc<Medium>> {
        read(&self.media).get(&netmod).cloned()
    }

    /// Reports an event to the peering at once, so that what the node shows next takes it into account. The peering task
    /// carries out the outputs.
    pub(crate) fn report_to_peering(&self, input: Input) {
        lock(&self.peering).handle(self.now(), input, self);
        // A full queue wakes the task anyway.
        let _ = self.link_events.try_push(LinkEvent::Wake);
    }
}

/// Runs the peering task until the node ends.
pub(crate) async fn run(shared: Arc<NodeState>) {
    let mut events = Vec::new();
    let mut leaving: Vec<ReplySender<()>> = Vec::new();
    let mut alarm = Alarm::default();
    loop {
        lock(&shared.peering).handle_timeout(shared.now(), &*shared);
        carry_out_all(&shared).await;
        leaving.drain(..).for_each(|done| done.send(()));
        let deadline = lock(&shared.peering).next_deadline(shared.now(), &*shared);
        alarm.set(deadline.map(|time| shared.instant(time)));
        {
            let incoming = std::pin::pin!(shared.link_events.recv_batch_into(&mut events, BATCH));
            if let Either::Left((Err(_), _)) = select(incoming, alarm.wait()).await {
                return;
            }
        }
        for event in events.drain(..) {
            match event {
                LinkEvent::Input(input) => lock(&shared.peering).handle(shared.now(), input, &*shared),
                LinkEvent::Wake => {}
                LinkEvent::Leave { done } => leaving.push(done),
                #[cfg(test)]
                LinkEvent::Panic => panic!("a fault of the test"),
            }
        }
    }
}

async fn carry_out_all(shared: &Arc<NodeState>) {
    loop {
        // Taken in a statement of its own, so that the lock is released before the output is carried out.
        let output = lock(&shared.peering).poll_output();
        let Some(output) = output else { return };
        carry_out(shared, output).await;
    }
}

async fn carry_out(shared: &Arc<NodeState>, output: Output) {
    let neighbour = |id: u32| read(&shared.neighbours).get(&id).cloned();
    match output {
        Output::Transmit { path, frame } => transmit(shared, path, &frame).await,
        Output::Resolve { uri } => resolve::later(shared, uri),
        Output::StartLink(link) => start_link(shared, *link).await,
        Output::RetireLink { id, retirement } => {
            if let Some(neighbour) = neighbour(id) {
                retire(shared, &neighbour, retirement).await;
            }
        }
        Output::SetConfigured { id, configured } => {
            if let Some(neighbour) = neighbour(id) {
                neighbour.set_configured(shared, configured).await;
            }
        }
        Output::Deliver { id, frame } => {
            match neighbour(id).map(|neighbour| neighbour.inbox.try_push(frame).is_ok()) {
                Some(true) => {}
                Some(false) => shared.stats.drop(DropCause::InboxFull),
                None => shared.stats.drop(DropCause::UnknownSession),
            }
        }
        Output::Event(event) => record(shared, event),
    }
}

async fn transmit(shared: &NodeState, path: Path, frame: &[u8]) {
    let Some(medium) = shared.medium(path.netmod) else { return };
    match rt::timeout(SEND, medium.netmod.send(&path.endpoint, Train::single(frame))).await {
        Some(Ok(())) => medium.count_sent(shared, 1, frame.len() as u64),
        // The handshake repeats the frame; waiting longer would delay the other media.
        None => shared.stats.drop(DropCause::SendFailed),
        Some(Err(error)) => {
            tracing::debug!(endpoint = %medium.netmod.describe(&path.endpoint), %error, "handshake not sent");
            medium.note_send_error(&error);
            let not_sent = Input::NotSent { path, error: error.to_string() };
            lock(&shared.peering).handle(shared.now(), not_sent, shared);
            shared.stats.drop(DropCause::SendFailed);
        }
    }
}

async fn retire(shared: &NodeState, neighbour: &Neighbour, retirement: Retirement) {
    match retirement {
        Retirement::Replaced => {
            if neighbour.retire(shared) {
                neighbour.announce_end(shared, "replaced by a new session").await;
            }
        }
        Retirement::Evicted(reason) => neighbour.dismiss(shared, reason).await,
        Retirement::PeerRemoved => neighbour.leave(),
    }
}

/// Puts a session into service as a neighbour with a task of its own.
async fn start_link(shared: &Arc<NodeState>, link: NewLink) {
    let NewLink { id, session, configured, seed } = link;
    let now = shared.now();
    let (path, address, most) = (session.path, session.peer, session.mtu);
    let Some(medium) = shared.medium(path.netmod) else {
        return shared.report_to_peering(Input::LinkLost { id, reason: None });
    };
    // Longer frames are probed later, so that a path that does not carry them works from the start.
    let mtu = most.min(medium.netmod.properties().mtu);
    let floor = medium.netmod.min_mtu();
    let (suite, capabilities) = (session.suite, session.peer_capabilities);
    let egress = Egress::new(medium.netmod.clone(), path.endpoint, session.sealer);
    let mut link = Link::new(now, session.peer, session.opener, mtu, *seed)
        .with_renewal(now, session.renewal)
        .with_handshake_rtt(session.rtt)
        .with_capabilities(capabilities)
        .with_path_mtu(floor, mtu, most);
    let neighbour = Arc::new(Neighbour::new(
        NeighbourParts {
            id,
            address,
            path,
            initiator: session.initiator,
            local_index: session.local_index,
            mtu,
            configured,
            egress,
            metrics: link.metrics(),
            medium,
        },
        shared.limits().inbox_frames,
    ));
    if !shared.put_into_service(&neighbour) {
        shared.report_to_peering(Input::LinkLost { id, reason: None });
        return neighbour.send_goodbye(shared, &mut link).await;
    }
    tracing::debug!(neighbour = ?address, ?suite, capabilities, mtu, most, "session");
    // The initiator waits for the first frame of the responder, since that proves that the finish has arrived.
    if !neighbour.initiator {
        neighbour.enter_service(shared).await;
    }
    neighbour.start(shared, link);
}

/// Counts and logs an event. The pure layer does neither, so that a simulation of many nodes stays quiet.
fn record(shared: &NodeState, event: PeeringEvent) {
    let endpoint = |path: &Path| match shared.medium(path.netmod) {
        Some(medium) => medium.netmod.describe(&path.endpoint),
        None => "a netmod that was removed".to_owned(),
    };
    match event {
        PeeringEvent::HandshakeStarted => shared.stats.count(Counter::HandshakesStarted, 1),
        PeeringEvent::HandshakeDone => shared.stats.count(Counter::HandshakesDone, 1),
        PeeringEvent::Dropped { cause, count } => shared.stats.drop_n(cause, count),
        PeeringEvent::DialFailed { path, reason } => {
            tracing::debug!(endpoint = endpoint(&path), reason, "no link");
        }
        PeeringEvent::IdentityInUse => shared.in_use_elsewhere(shared.identity.address()),
        PeeringEvent::Declined { peer, reason } => {
            tracing::debug!(neighbour = ?peer, reason = reason.on_this_side(), "a session is declined");
        }
        PeeringEvent::Refused { peer, path, reason, again_in } => {
            let endpoint = endpoint(&path);
            tracing::warn!(neighbour = %peer, endpoint, %reason, ?again_in, "no link");
        }
    }
}
