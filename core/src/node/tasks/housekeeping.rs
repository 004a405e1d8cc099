//! The housekeeping task: it reports drops to subscribers, and removes conversations, mailboxes and conflicts that are
//! over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::node::state::NodeState;
use crate::node::state::locks::{lock, read};
use crate::node::state::router_inputs::RouterHint;
use crate::rt::{self, Alarm};
use crate::types::Event;

/// The period of the reports of drops to subscribers. Drops are summed up, since a flood of them would otherwise become a
/// flood of events.
const REPORT: Duration = Duration::from_secs(1);
/// The period of the search for conversations that are over.
const FORGET: Duration = Duration::from_secs(5);
/// The period of the sweep through mailboxes and conflicts.
const SWEEP: Duration = Duration::from_secs(60);
/// The time for which an identity counts as in use elsewhere after the last evidence: as long as the router gives way,
/// and a little more.
const CONFLICT: Duration = Duration::from_secs(660);

/// Runs the housekeeping until the node ends.
pub(crate) async fn run(shared: Arc<NodeState>) {
    let mut before: BTreeMap<String, u64> = shared.stats.drops();
    let (mut swept, mut forgot) = (rt::now(), rt::now());
    let mut alarm = Alarm::default();
    loop {
        // Without a subscriber there is nothing to report, so the task sleeps until the next sweep.
        let rest = SWEEP.saturating_sub(rt::elapsed(swept)).min(FORGET.saturating_sub(rt::elapsed(forgot)));
        if rt::timeout(rest, shared.event_bus.subscriber()).await.is_some() {
            alarm.set_after(REPORT);
            alarm.wait().await;
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
        if rt::elapsed(forgot) >= FORGET {
            forgot = rt::now();
            shared.conversations.sweep(&shared);
        }
        if rt::elapsed(swept) >= SWEEP {
            swept = rt::now();
            let now = shared.now();
            lock(&shared.conflicts).retain(|_, seen| now.since(*seen) < CONFLICT);
            // Destinations with an open conversation stay pinned in the routing table, since messages may be sent there
            // at any time.
            for destination in shared.conversations.peers() {
                shared.router.hint(RouterHint::Want { destination });
            }
            forget_senders(&shared);
        }
    }
}

/// Removes the empty inboxes of senders without a conversation, because any node can make this one create an inbox.
pub(crate) fn forget_senders(shared: &NodeState) {
    let mailboxes = read(&shared.mailboxes).clone();
    for (address, mailbox) in &mailboxes {
        // Collected before the mailbox is locked: making room for a conversation takes the two locks in this order.
        let peers = shared.conversations.peers_of(address);
        mailbox.forget(|sender| peers.contains(sender));
    }
}
