//! Ping and trace: packets that request a reply.
//!
//! A trace carries the address of its source in clear to every node on the route, because each of them replies. An
//! application that must not reveal its interest in a destination must not trace.

use std::time::Duration;

use futures::future::{Either, select};

use crate::address::Address;
use crate::egress::Class;
use crate::node::data_path::{DeferredWork, awaiting_route, originate, route};
use crate::node::reply;
use crate::node::state::NodeState;
use crate::node::state::locks::lock;
use crate::node::state::probes::{PendingProbe, ProbeReply};
use crate::rt;
use crate::stats::DropCause;
use crate::types::{Hop, PingError, Pong};
use crate::wire::packet;
use crate::wire::packet::{FLAG_TRACE, HEADER, HOP_LIMIT, Header, Probe, payload};

/// The time that a probe waits for a route, because the first one after a start often comes before the announces.
const ROUTE_WAIT: Duration = Duration::from_secs(2);
/// Probes under way at the same time. Each has an entry until its time-out, so an application that loops would otherwise
/// fill memory.
const MAX_PENDING: usize = 1024;

/// Removes a probe when the future that waits for it is dropped.
struct ProbeRegistration<'a>(&'a NodeState, u64);

impl Drop for ProbeRegistration<'_> {
    fn drop(&mut self) {
        let pending = lock(&self.0.probes).take(self.1);
        // The reply wakes, and no lock is held any more.
        drop(pending);
    }
}

async fn request(
    shared: &NodeState,
    target: &Address,
    (kind, expected): (u8, u8),
    (flags, hop_limit): (u8, u8),
    timeout: Duration,
) -> Result<(ProbeReply, Duration), PingError> {
    wait_for_route(shared, target, timeout.min(ROUTE_WAIT)).await?;
    let nonce = random_nonce();
    let (answer, mut answered) = reply::reply();
    let sent = shared.now();
    {
        let mut probes = lock(&shared.probes);
        if shared.is_stopping() {
            return Err(PingError::Stopped);
        }
        if probes.pending.len() >= MAX_PENDING {
            return Err(PingError::TimedOut);
        }
        probes.pending.insert(nonce, PendingProbe { target: *target, kind: expected, answer });
    }
    let _registration = ProbeRegistration(shared, nonce);
    let probe = Probe { kind, source: shared.identity.address(), nonce, value: hop_limit };
    {
        // The work is done before the wait, so that a request that waits does not hold its memory.
        let mut work = DeferredWork::default();
        let class = Class::Interactive;
        let header = Header { class, flags, hop_limit, destination: *target };
        if !originate(shared, &header, |out| probe.write(out), &mut work) {
            return Err(PingError::NoRoute(*target));
        }
        work.finish(shared);
    }
    match rt::timeout(timeout, &mut answered).await {
        Some(Ok(answer)) => {
            let rtt = answer.at.since(sent);
            Ok((answer, rtt))
        }
        Some(Err(_)) => Err(PingError::Stopped),
        None => Err(PingError::TimedOut),
    }
}

/// Waits a little for a route, because a node that has just started has none yet.
async fn wait_for_route(shared: &NodeState, target: &Address, patience: Duration) -> Result<(), PingError> {
    let there = shared.fib_changes.when(|_| route(shared, target).map(|_| ()));
    let stopped = shared.stopped.when(|stopped| stopped.then_some(()));
    match rt::timeout(patience, select(std::pin::pin!(there), std::pin::pin!(stopped))).await {
        Some(Either::Left(_)) => Ok(()),
        Some(Either::Right(_)) => Err(PingError::Stopped),
        None => Err(PingError::NoRoute(*target)),
    }
}

/// Measures one round trip to the node of `target`.
pub(crate) async fn ping(shared: &NodeState, target: &Address, timeout: Duration) -> Result<Pong, PingError> {
    if shared.is_ours(target) {
        return Ok(Pong { rtt_us: 0, hops: 0 });
    }
    let kinds = (payload::PING, payload::PONG);
    let (answer, rtt) = request(shared, target, kinds, (0, HOP_LIMIT), timeout).await?;
    Ok(Pong { rtt_us: micros(rtt), hops: answer.value })
}

/// Finds the node `hop` links away on the route to `target`.
pub(crate) async fn trace(
    shared: &NodeState,
    target: &Address,
    hop: u8,
    timeout: Duration,
) -> Result<Hop, PingError> {
    if shared.is_ours(target) {
        return Ok(Hop { hop: 0, address: *target, rtt_us: 0 });
    }
    let kinds = (payload::TRACE, payload::HOP);
    let (answer, rtt) = request(shared, target, kinds, (FLAG_TRACE, hop), timeout).await?;
    Ok(Hop { hop, address: answer.source, rtt_us: micros(rtt) })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn random_nonce() -> u64 {
    // Without random bytes probes still work, since a nonce only distinguishes the probes of this node.
    rt::random_u64().unwrap_or_default()
}

/// Handles a probe that arrived, or the reply to one of this node.
pub(crate) fn arrived(shared: &NodeState, header: &Header, payload: &[u8], work: &mut DeferredWork) {
    let Some(probe) = Probe::read(payload) else {
        return shared.stats.drop(DropCause::MalformedPacket);
    };
    match probe.kind {
        payload::PING => {
            let hops = probe.crossed(header.hop_limit);
            let answer = Probe { kind: payload::PONG, source: header.destination, value: hops, ..probe };
            reply(shared, &probe.source, &answer, work);
        }
        payload::TRACE => {
            let answer = Probe { kind: payload::HOP, source: header.destination, ..probe };
            reply(shared, &probe.source, &answer, work);
        }
        _ => answered(shared, probe),
    }
}

/// Replies to a trace whose hop limit ends at this node.
pub(crate) fn answer_trace(shared: &NodeState, payload: &[u8], work: &mut DeferredWork) {
    match Probe::read(payload) {
        Some(probe) if probe.kind == payload::TRACE => {
            let answer = Probe { kind: payload::HOP, source: shared.identity.address(), ..probe };
            reply(shared, &probe.source, &answer, work);
        }
        _ => shared.stats.drop(DropCause::MalformedPacket),
    }
}

fn reply(shared: &NodeState, to: &Address, answer: &Probe, work: &mut DeferredWork) {
    if !lock(&shared.probes).may_reply(shared.now()) {
        return shared.stats.drop(DropCause::ReplyLimit);
    }
    let mut packet = Vec::with_capacity(HEADER.saturating_add(64));
    packet::write_header(&mut packet, Class::Interactive, 0, HOP_LIMIT, to);
    answer.write(&mut packet);
    awaiting_route::answer(shared, to, packet.into(), work);
}

fn answered(shared: &NodeState, probe: Probe) {
    let now = shared.now();
    let mut probes = lock(&shared.probes);
    let expected = probes.pending.get(&probe.nonce).is_some_and(|pending| {
        pending.kind == probe.kind && (probe.kind == payload::HOP || pending.target == probe.source)
    });
    if !expected {
        // The reply is late, or the probe was not sent by this node.
        return shared.stats.drop(DropCause::Duplicate);
    }
    let pending = probes.take(probe.nonce);
    drop(probes);
    if let Some(pending) = pending {
        pending.answer.send(ProbeReply { source: probe.source, value: probe.value, at: now });
    }
}
