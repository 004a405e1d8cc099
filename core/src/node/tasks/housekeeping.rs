//! The housekeeping task: reports drops to subscribers, and forgets conversations, mailboxes and conflicts that are over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::router::RouterHint;
use crate::node::state::{NodeState, lock, read};
use crate::rt;
use crate::types::Event;

/// How often drops are reported to subscribers.
const REPORT: Duration = Duration::from_secs(1);
/// How often conversations are looked for that nothing comes of any more.
const FORGET: Duration = Duration::from_secs(5);
/// How often the mailboxes are swept.
const SWEEP: Duration = Duration::from_secs(60);
/// An identity that was in use elsewhere is thought to be so this long after the last sign of it: as long as the router
/// gives way, and a little more.
const CONFLICT: Duration = Duration::from_secs(660);

/// The housekeeping task: tells subscribers of drops, forgets mailboxes of senders that are gone.
pub(crate) async fn run(shared: Arc<NodeState>) {
    let mut before: BTreeMap<String, u64> = shared.stats.drops();
    let (mut swept, mut forgot) = (Instant::now(), Instant::now());
    loop {
        // While nobody listens there is nothing to report.
        let rest = SWEEP.saturating_sub(swept.elapsed()).min(FORGET.saturating_sub(forgot.elapsed()));
        if rt::timeout(rest, shared.event_bus.subscriber()).await.is_some() {
            rt::sleep(REPORT).await;
        }
        if shared.event_bus.has_subscriber() {
            let now = shared.stats.drops();
            for (cause, count) in &now {
                let new = count.saturating_sub(before.get(cause).copied().unwrap_or(0));
                if new > 0 {
                    shared.publish(Event::Drop { cause: cause.clone(), count: new });
                }
            }
            before = now;
        }
        if forgot.elapsed() >= FORGET {
            forgot = Instant::now();
            shared.conversations.sweep(&shared);
        }
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            let now = shared.now();
            lock(&shared.conflicts).retain(|_, seen| now.since(*seen) < CONFLICT);
            // Who is talked to keeps its place in the routing table.
            for destination in shared.conversations.peers() {
                shared.router.hint(RouterHint::Want { destination });
            }
            forget_senders(&shared);
        }
    }
}

/// Forgets the empty inboxes of senders that there is no conversation with any more.
pub(crate) fn forget_senders(shared: &NodeState) {
    let mailboxes = read(&shared.mailboxes).clone();
    for (address, mailbox) in &mailboxes {
        // Known beforehand: making room for a conversation locks them all and then looks at mailboxes.
        let peers = shared.conversations.peers_of(address);
        mailbox.forget(|sender| peers.contains(sender));
    }
}
