//! A node: the asynchronous shell in which sockets, timers, tasks and the pure protocol parts meet, and the interface
//! of the library.
//!
//! [`Node::builder`] sets one up. A node runs tasks of its own, so that its methods work on any executor; their futures
//! may be dropped at any time without losing a message.

use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;

use crate::address::Address;
use crate::identity::Identity;
use crate::netmod::Netmod;
use crate::peering::Input;
use crate::types::{
    Body, Dialled, Hop, Message, Outgoing, Peer, PeerState, PingError, Pong, Route, SendError, Status,
};

mod builder;
mod config;
mod conversations;
mod data_path;
mod epoch;
mod events;
mod folder;
mod guarded_netmod;
mod health;
mod inbox;
mod leaving;
mod mailbox;
mod medium;
mod neighbour;
mod outbox;
mod panics;
mod peers;
mod reply;
mod request;
mod send;
mod state;
mod stopping;
mod tasks;

pub use builder::{NodeBuilder, StartError};
pub(crate) use config::NodeConfig;
pub use config::{Limits, PeerError};
pub use events::Events;
pub use folder::OpenError;
pub use mailbox::{Mailbox, Messages, Stopped};
pub use send::Sent;
pub use state::running_tasks::NodeFailure;

pub use crate::peering::NeighbourFilter;
pub use crate::types::RemovedPeer;

use crate::stats::Counter;
use state::NodeState;
use state::journal::JournalRequest;
use state::link_event::LinkEvent;
use state::locks::{lock, read, write};
use state::medium::Medium;
use state::router_inputs::RouterEvent;

/// A running node. Clones are cheap and share it; the node stops when [`Node::stop`] is called or the last clone is
/// dropped.
#[derive(Clone)]
pub struct Node {
    shared: Arc<NodeState>,
    _owner: Arc<StopOnDrop>,
}

/// Ends the node's tasks when the last handle is dropped. Since tasks hold the state too, the state's own drop would
/// never run.
struct StopOnDrop(Arc<NodeState>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Node {
    /// The first address of the node.
    pub fn address(&self) -> Address {
        self.shared.identity.address()
    }

    /// All addresses of the node, in ascending order.
    pub fn addresses(&self) -> Vec<Address> {
        read(&self.shared.mailboxes).keys().copied().collect()
    }

    /// Sends a message; waits while the queue to this recipient is full. A recipient that is not reachable is no error,
    /// since the message waits for it until its time to live has run out.
    ///
    /// # Errors
    /// [`SendError`]: the message is too long, there are too many recipients at once, or the node is stopping.
    pub async fn send(&self, to: &Address, body: impl Into<Body>) -> Result<Sent, SendError> {
        self.submit(Outgoing::new(*to, body)).await
    }

    /// Sends a message with options: its sender and its time to live.
    ///
    /// # Errors
    /// As [`Node::send`], and when its sender is not an address of this node.
    pub async fn submit(&self, message: Outgoing) -> Result<Sent, SendError> {
        send::submit(&self.shared, message).await
    }

    /// Sends a message if there is room for it now. A message that cannot be sent at once leaves within the next
    /// millisecond.
    ///
    /// # Errors
    /// As [`Node::submit`], and [`SendError::Full`].
    pub fn try_send(&self, message: Outgoing) -> Result<Sent, SendError> {
        send::try_send(&self.shared, message)
    }

    /// Sends many messages at once; waits while a queue is full.
    ///
    /// # Errors
    /// The first error; the messages before it are sent, those after it are not.
    pub async fn send_batch(&self, batch: Vec<Outgoing>) -> Result<Vec<Sent>, SendError> {
        send::send_batch(&self.shared, batch).await
    }

    fn own_mailbox(&self) -> Result<Mailbox, Stopped> {
        self.mailbox(&self.address()).ok_or(Stopped)
    }

    /// The mailbox of one of the node's addresses; `None` for an address that the node does not have.
    pub fn mailbox(&self, address: &Address) -> Option<Mailbox> {
        read(&self.shared.mailboxes).get(address).cloned()
    }

    /// The next message for the node's first address, from any sender. Senders take turns, so that a busy one delays no
    /// other.
    ///
    /// # Errors
    /// [`Stopped`] when the node is stopped and nothing is left.
    pub async fn recv(&self) -> Result<Message, Stopped> {
        self.own_mailbox()?.recv().await
    }

    /// The next messages: waits for one, then takes up to `limit` of those that are there.
    ///
    /// # Errors
    /// As [`Node::recv`].
    pub async fn recv_batch(&self, limit: usize) -> Result<Vec<Message>, Stopped> {
        self.own_mailbox()?.recv_batch(limit).await
    }

    /// The next message from `peer`. It wakes as soon as the message is written.
    ///
    /// # Errors
    /// As [`Node::recv`].
    pub async fn recv_from(&self, peer: &Address) -> Result<Message, Stopped> {
        self.own_mailbox()?.recv_from(peer).await
    }

    /// Returns a message that was received to the head of its sender's inbox. Unless its receipt has been sent already,
    /// none is sent before the message is received again.
    pub fn unrecv(&self, message: Message) {
        if let Some(mailbox) = self.mailbox(&message.to) {
            mailbox.unrecv(message);
        }
    }

    /// All messages for the node's first address, as a stream that ends when the node stops.
    pub fn messages(&self) -> Messages {
        let mailbox = self.own_mailbox().unwrap_or_else(|_| unreachable_mailbox(&self.shared));
        mailbox.messages()
    }

    /// All events from now on, as a stream that ends when the node stops.
    pub fn events(&self) -> Events {
        self.shared.event_bus.subscribe()
    }

    /// The status of the node.
    pub async fn status(&self) -> Status {
        let routes = self.routes().await;
        let outbox = health::queued(&self.shared).await;
        let inbox = health::unread(&self.shared).await;
        health::status(&self.shared, &routes, inbox, outbox)
    }

    /// The neighbours, and the dialled peers that have no link.
    pub async fn peers(&self) -> Vec<Peer> {
        let neighbours: Vec<_> = read(&self.shared.neighbours).values().cloned().collect();
        let mut peers: Vec<Peer> = neighbours.iter().map(|neighbour| neighbour.peer()).collect();
        peers.extend(health::refused(&self.shared));
        for (uri, state, target) in lock(&self.shared.peering).configured_peers() {
            if state != PeerState::Up {
                peers.push(health::peer_without_link(&self.shared, uri, state, target));
            }
        }
        peers
    }

    /// All routes, active or not. The node's own addresses are not listed.
    pub async fn routes(&self) -> Vec<Route> {
        self.list_routes(None).await
    }

    /// The routes to one destination, active or not; none to an address of the node itself.
    pub async fn routes_to(&self, destination: &Address) -> Vec<Route> {
        self.list_routes(Some(*destination)).await
    }

    async fn list_routes(&self, to: Option<Address>) -> Vec<Route> {
        self.shared.router.query_routes(to).await
    }

    /// The dialled peers and their states.
    pub async fn dialled(&self) -> Vec<Dialled> {
        let peering = lock(&self.shared.peering);
        let peers = peering.configured_peers().into_iter();
        peers.map(|(uri, state, _)| Dialled { uri: uri.to_owned(), state }).collect()
    }

    /// Measures a round trip to the node of `peer`.
    ///
    /// # Errors
    /// [`PingError`]: no route, or no reply within `timeout`.
    pub async fn ping(&self, peer: &Address, timeout: Duration) -> Result<Pong, PingError> {
        data_path::probe::ping(&self.shared, peer, timeout).await
    }

    /// The nodes on the route to `peer`, in their order, the node of `peer` last. A hop that does not answer within
    /// `timeout_per_hop` is an error in the stream, which continues. Every node on the route learns the address of this
    /// node, since the replies are sent there.
    pub async fn trace(
        &self,
        peer: &Address,
        max_hops: u8,
        timeout_per_hop: Duration,
    ) -> impl Stream<Item = Result<Hop, PingError>> + Send + use<> {
        let (shared, peer) = (self.shared.clone(), *peer);
        futures::stream::unfold(Some(1u8), move |hop| {
            let shared = shared.clone();
            async move {
                let hop = hop.filter(|hop| *hop <= max_hops)?;
                let result = data_path::probe::trace(&shared, &peer, hop, timeout_per_hop).await;
                let arrived = result.as_ref().is_ok_and(|hop| hop.address == peer);
                let hopeless = matches!(result, Err(PingError::NoRoute(_) | PingError::Stopped));
                let next = if arrived || hopeless { None } else { hop.checked_add(1) };
                Some((result, next))
            }
        })
    }

    /// Adds an address to the node. An address that the node has already changes nothing.
    pub fn add_identity(&self, identity: Identity) {
        let address = identity.address();
        let shared = &self.shared;
        let mailbox_changes = shared.conversations.mailbox_changes.clone();
        let lending = shared.journal.as_ref().map(|journal| journal.lending.clone());
        let per_sender = shared.limits().inbox_messages;
        let mailbox = Mailbox::beside(lending, address, per_sender, mailbox_changes);
        match write(&shared.mailboxes).entry(address) {
            // Its router has the origin already: a second one would announce with another sequence number.
            Entry::Occupied(_) => return,
            Entry::Vacant(place) => place.insert(mailbox),
        };
        let ((), _) = shared.conversations.sessions.with(|sessions| sessions.add_local(&identity));
        if let Some(journal) = &shared.journal {
            // Messages of this address may wait since an earlier run.
            journal.request([JournalRequest::Scan]);
        }
        self.notify_router(RouterEvent::AddOrigin { identity });
    }

    /// Removes an address of the node with the messages that wait for it. The first address stays, because the links
    /// are made with it. Returns whether the node had the address and it was removed.
    pub fn remove_identity(&self, address: &Address) -> bool {
        if *address == self.address() {
            return false;
        }
        let Some(mailbox) = write(&self.shared.mailboxes).remove(address) else { return false };
        mailbox.close();
        self.shared.conversations.forget(address);
        self.notify_router(RouterEvent::RemoveOrigin { address: *address });
        true
    }

    /// Counts an event outside of the node's tasks.
    pub(crate) fn count(&self, counter: Counter) {
        self.shared.stats.count(counter, 1);
    }

    /// Sends an event to the router from a method that cannot wait: a task of its own waits for room, so that the event
    /// is not lost.
    fn notify_router(&self, event: RouterEvent) {
        let shared = self.shared.clone();
        self.shared.spawn_vital("task that instructs the router", async move {
            shared.router.notify(event).await;
        });
    }

    /// Adds a netmod while the node runs. When it cannot be opened, the node tries again until it can.
    pub async fn add_netmod(&self, netmod: Arc<dyn Netmod>) {
        Medium::add(&self.shared, netmod);
        let _ = self.shared.link_events.push(LinkEvent::Wake).await;
    }

    /// Removes the netmod with this URI and the links over it. Returns whether there was one.
    pub async fn remove_netmod(&self, uri: &str) -> bool {
        let shared = &self.shared;
        let found = read(&shared.media).values().find(|medium| medium.netmod.uri() == uri).cloned();
        let Some(medium) = found else { return false };
        write(&shared.media).remove(&medium.id);
        medium.netmod.stop_announcing();
        leaving::send_goodbye(shared, |neighbour| neighbour.path().netmod == medium.id).await;
        medium.remove(shared).await;
        // A peer that was reached over it may be reachable over another.
        shared.report_to_peering(Input::MediumGone { netmod: medium.id });
        true
    }
}

/// A closed mailbox, so that the stream of a node without its first mailbox ends at once.
fn unreachable_mailbox(shared: &NodeState) -> Mailbox {
    let mailbox = Mailbox::new(shared.identity.address(), 1, shared.conversations.mailbox_changes.clone());
    mailbox.close();
    mailbox
}
