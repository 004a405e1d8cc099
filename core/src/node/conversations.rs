//! The conversations of a node at work: the pure message layer between the mailboxes of applications and the routes.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::address::Address;
use crate::message::Conversation;
use crate::node::data_path::{DeferredWork, route};
use crate::node::state::NodeState;
use crate::node::state::conversation::ConversationEntry;
use crate::node::state::conversations::Conversations;
use crate::node::state::journal::JournalRequest;
use crate::node::state::locks::{lock, read, write};
use crate::node::state::router_inputs::RouterHint;
use crate::route::Location;
use crate::rt;
use crate::session::{ProvedStanding, SessionInput};
use crate::stats::DropCause;
use crate::time::Time;
use crate::types::Ends;

mod dispatch;
mod entry;
pub(crate) mod journaled;
mod memory_budget;
mod receipts;
pub(crate) mod received;
mod retention;
#[cfg(test)]
mod send_line_tests;
mod sessions;

impl Conversations {
    /// The conversation of these two addresses, created if there is none; `None` when there are too many.
    pub(crate) fn open(
        &self,
        shared: &NodeState,
        local: &Address,
        peer: &Address,
    ) -> Option<Arc<ConversationEntry>> {
        self.open_from(shared, local, peer, None)
    }

    /// As [`Self::open`], for a packet that arrived from a neighbour with this account.
    pub(crate) fn open_from(
        &self,
        shared: &NodeState,
        local: &Address,
        peer: &Address,
        from: Option<Location>,
    ) -> Option<Arc<ConversationEntry>> {
        let (now, ends) = (shared.now(), Ends { peer: *peer, local: *local });
        {
            let conversations = read(&self.by_ends);
            if let Some(known) = conversations.get(&ends) {
                // Marked under the lock of the map, so that it is not evicted between the look-up and its use.
                lock(&known.state).used = now;
                return Some(known.clone());
            }
        }
        let mut conversations = write(&self.by_ends);
        if conversations.len() >= self.limit {
            self.make_place(shared, &mut conversations, from, now)?;
        }
        let ends = Arc::new(ends);
        let mut is_new = false;
        let entry = conversations.entry(ends.clone()).or_insert_with(|| {
            is_new = true;
            let incarnation = rt::random_u64().unwrap_or(now.as_nanos());
            let mut conversation = Conversation::between(self.config, ends.clone(), incarnation, now);
            conversation.set_reachable(now, route(shared, peer).is_some());
            Arc::new(ConversationEntry::new(ends, conversation, now, shared.journal.is_some()))
        });
        let entry = entry.clone();
        drop(conversations);
        if let Some(journal) = shared.journal.as_ref().filter(|_| is_new) {
            journal.request([JournalRequest::Open(entry.clone())]);
        }
        if let Some(from) = from {
            lock(&self.unanswered).note(from, &entry);
        }
        shared.router.hint(RouterHint::Want { destination: *peer });
        Some(entry)
    }

    /// Handles a message packet that the peer has sealed for the local address.
    pub(crate) fn handle(
        &self,
        shared: &NodeState,
        pair: &Ends,
        proved: &ProvedStanding,
        packet: &Bytes,
        work: &mut DeferredWork,
    ) {
        let now = work.now(shared);
        // A session belongs to a conversation, so one that is not there has just been removed.
        let Some(entry) = work.last_received(pair).or_else(|| self.find(&pair.local, &pair.peer)) else {
            return shared.stats.drop(DropCause::UnknownSession);
        };
        if self.budget.left(work.from) < packet.len() {
            self.make_room(shared, work.from);
        }
        let mut state = lock(&entry.state);
        if state.gone {
            // It has just been removed to make room. The sender repeats the packet, and a new conversation receives it.
            return shared.stats.drop(DropCause::ReassemblyLimit);
        }
        (state.used, state.from) = (now, work.from);
        state.conversation.set_room(self.budget.left(work.from));
        if let Err(cause) = state.conversation.handle(now, proved, packet) {
            shared.stats.drop(cause);
        }
        // Mostly the delivery charges once for the whole batch. Near the bound each packet is charged, since those of a batch
        // together could exceed it.
        if !self.budget.is_ample() {
            self.budget.charge(&mut state);
        }
        drop(state);
        work.deliver_later(&entry);
    }

    /// Handles a route to `peer` that was installed, changed or removed.
    pub(crate) fn route_changed(
        &self,
        shared: &NodeState,
        peer: &Address,
        reachable: bool,
        work: &mut DeferredWork,
    ) {
        let conversations: Vec<_> = self.with_peer(peer);
        for entry in conversations {
            let is_found = lock(&entry.state).conversation.set_reachable(shared.now(), reachable);
            if is_found {
                // A handshake that began before would otherwise be repeated seconds later.
                let found = SessionInput::RouteFound { pair: entry.pair() };
                if let (_, true) = self.sessions.handle(shared.now(), found) {
                    work.carry_out_later();
                }
            }
            work.pump_later(&entry);
        }
    }

    /// Whether a message could be sent now, or is sent and not acknowledged.
    pub(crate) fn is_under_way(&self, shared: &NodeState) -> bool {
        let all: Vec<_> = read(&self.by_ends).values().cloned().collect();
        all.iter().any(|entry| {
            lock(&entry.state).conversation.is_under_way() && route(shared, entry.peer()).is_some()
        })
    }

    /// The task of the conversations: it serves those whose deadline has come, and handles the changes of mailboxes.
    pub(crate) async fn run(shared: Arc<NodeState>) {
        let conversations = &shared.conversations;
        let mut alarm = rt::Alarm::default();
        let mut work = DeferredWork::default();
        loop {
            let next = conversations.timers.read().first().map(|(time, _)| *time);
            alarm.set(next.map(|time| shared.instant(time)));
            let earlier = |timers: &BTreeSet<(Time, Arc<Ends>)>| {
                let first = timers.first().map(|(time, _)| *time);
                (first.is_some() && (next.is_none() || first < next)).then_some(())
            };
            let any = |mailbox_changes: &BTreeSet<_>| (!mailbox_changes.is_empty()).then_some(());
            futures::select_biased! {
                () = futures::FutureExt::fuse(alarm.wait()) => {}
                () = std::pin::pin!(futures::FutureExt::fuse(conversations.timers.when(earlier))) => {}
                () = std::pin::pin!(futures::FutureExt::fuse(conversations.mailbox_changes.when(any))) => {}
            }
            // Done after every wake, so that deadlines in quick succession delay no receipt.
            for Ends { peer, local } in conversations.take_mailbox_changes() {
                conversations.handle_mailbox_change(&shared, &local, &peer, &mut work);
            }
            let now = shared.now();
            for key in conversations.take_due(now) {
                let Some(entry) = read(&conversations.by_ends).get(&key).cloned() else { continue };
                let mut state = lock(&entry.state);
                state.registered = None;
                if state.conversation.next_deadline().is_some_and(|deadline| deadline <= now) {
                    state.conversation.handle_timeout(now);
                }
                drop(state);
                work.pump_later(&entry);
            }
            work.finish(&shared);
        }
    }
}

#[cfg(test)]
mod tests;
