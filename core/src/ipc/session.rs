//! The answer of the daemon to each call of a connection.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_io::Timer;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt, lock};

use crate::address::Address;
use crate::ipc::admin::{Admin, AdminError, Denial};
use crate::ipc::credit::Credit;
use crate::ipc::outbox::{Outbox, OutboxError};
use crate::ipc::protocol::{
    Call, DaemonFrame, Failure, MAX_SENT, MAX_SUBSCRIBED, Reply, SentInfo, StreamItem,
};
use crate::ipc::quotas::{QuotaPermit, ServerQuotas};
use crate::ipc::served_requests;
use crate::ipc::unconfirmed::UnconfirmedMessages;
use crate::node::{self, Node};
use crate::types::{Event, Outgoing, Peer, Receipt, Route, Status};
use open_services::OpenServices;

mod messages;
mod open_services;
mod unread_messages;

mod waiting_messages;

/// The longest pause after a list.
const LIST_PAUSE: Duration = Duration::from_millis(50);

/// The state that the calls of one connection share.
pub(super) struct ClientSession<A> {
    pub(super) node: Node,
    pub(super) admin: Arc<A>,
    pub(super) uid: u32,
    pub(super) outbox: Outbox,
    pub(super) unconfirmed: UnconfirmedMessages,
    pub(super) quotas: Arc<ServerQuotas>,
    /// The number of subscriptions of this connection.
    subscribed: Arc<AtomicUsize>,
    /// Locked by the one call of this connection that makes a list.
    listing: lock::Mutex<()>,
    receipts: Mutex<ReceiptTable>,
    services: OpenServices,
}

/// The sent messages whose receipts the client may still request, by ticket.
#[derive(Default)]
struct ReceiptTable {
    next_ticket: u64,
    by_ticket: HashMap<u64, node::Sent>,
}

impl<A: Admin> ClientSession<A> {
    pub(super) fn new(node: Node, admin: Arc<A>, uid: u32, quotas: Arc<ServerQuotas>) -> Self {
        let unconfirmed = UnconfirmedMessages::new(node.clone());
        let (outbox, subscribed, listing, receipts, services) = Default::default();
        ClientSession {
            node,
            admin,
            uid,
            outbox,
            unconfirmed,
            quotas,
            subscribed,
            listing,
            receipts,
            services,
        }
    }

    fn receipts(&self) -> MutexGuard<'_, ReceiptTable> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes sent messages whose receipts the client will not request.
    pub(super) fn forget(&self, tickets: &[u64]) {
        let mut receipts = self.receipts();
        for ticket in tickets {
            receipts.by_ticket.remove(ticket);
        }
    }

    /// Gives back what the client has fetched and not confirmed, closes its services, and lets the requests fail that it
    /// has not answered.
    pub(super) fn end(&self) {
        self.unconfirmed.return_all();
        for (address, service) in self.services.close() {
            served_requests::fail_unserved(&self.node, &address, &service);
        }
        self.unconfirmed.served.fail_all(&self.node);
    }

    /// Answers a call. The future may be dropped at any await.
    ///
    /// Each kind of call that waits has a future of its own, because thousands may wait: one that waits for a message
    /// holds no memory that only a list needs.
    pub(super) fn answer(
        self: Arc<Self>,
        id: u64,
        call: Call,
        credit: Arc<Credit>,
    ) -> BoxFuture<'static, ()> {
        match call {
            Call::Receive { to, service, from, limit } => Box::pin(async move {
                let received = self.receive(id, to, service, from, limit).await;
                self.send_result(id, received.map(|()| None)).await;
            }),
            Call::Delivered { ticket } => Box::pin(async move {
                let delivered = self.delivered(ticket).await;
                self.send_result(id, delivered.map(|receipt| Some(Reply::Receipt(receipt)))).await;
            }),
            Call::Ping { peer, timeout_us } => Box::pin(async move {
                let pong = self.node.ping(&peer, Duration::from_micros(timeout_us)).await;
                self.send_result(id, pong.map(|pong| Some(Reply::Pong(pong))).map_err(Failure::Ping)).await;
            }),
            Call::Trace { peer, max_hops, timeout_us } => Box::pin(async move {
                let hops = self.node.trace(&peer, max_hops, Duration::from_micros(timeout_us)).await;
                self.stream(id, &credit, pin!(hops.map(StreamItem::Hop))).await;
            }),
            Call::Submit { messages, wait } => Box::pin(async move {
                let sent = self.submit(messages, wait).await;
                self.send_result(id, sent.map(|sent| Some(Reply::Sent(sent)))).await;
            }),
            Call::Request { message, timeout_us } => Box::pin(async move {
                let answered = self.request(*message, Duration::from_micros(timeout_us)).await;
                self.send_result(id, answered.map(Some)).await;
            }),
            Call::Events => Box::pin(async move { self.subscribe(id, &credit).await }),
            call if call.lists() => Box::pin(async move { self.list(id, call).await }),
            call => Box::pin(async move { self.other(id, call).await }),
        }
    }

    async fn subscribe(&self, id: u64, credit: &Credit) {
        let own = QuotaPermit::take(&self.subscribed, MAX_SUBSCRIBED);
        let owner = self.admin.may_administer(self.uid);
        let Some(_subscription) = own.zip(self.quotas.subscription(owner)) else {
            return self.send_result(id, Err(Failure::Busy)).await;
        };
        let events = self.node.events();
        let events = events.filter(|(_, event)| std::future::ready(self.may_see(event)));
        self.stream(id, credit, pin!(events.map(|(at, event)| StreamItem::Event(at, event)))).await;
    }

    /// Makes a list and sends it, when it is the turn of this call.
    ///
    /// One list is made at a time on each connection and in the whole daemon, and a pause of three times its duration
    /// follows, so that lists take at most a quarter of the router's time. No list is made for a client that has not
    /// read the ones before, so that unread lists are bounded.
    async fn list(&self, id: u64, call: Call) {
        let _own_turn = self.listing.lock().await;
        let turn = loop {
            self.outbox.room().await;
            let turn = self.quotas.listing.lock().await;
            if self.outbox.has_room() {
                break turn;
            }
        };
        let begun = Instant::now();
        // The future has a box of its own, so that no call holds its memory before its turn.
        let mut reply = Box::pin(self.perform(call)).await;
        let mut unread = None;
        if matches!(&reply, Ok(reply) if reply.is_long()) {
            unread = self.quotas.unread_list(self.admin.may_administer(self.uid));
            if unread.is_none() {
                reply = Err(Failure::Busy);
            }
        }
        // There was room before; to wait for more of it would hold up the lists of all connections.
        let sent = match reply {
            Ok(reply) => self.outbox.push(&DaemonFrame::Reply { id, reply }),
            Err(failure) => self.outbox.push(&DaemonFrame::Failed { id, failure }),
        };
        self.check_length(id, sent);
        Timer::after((begun.elapsed() * 3).min(LIST_PAUSE)).await;
        drop(turn);
        if unread.is_some() {
            self.outbox.room().await;
        }
    }

    async fn other(&self, id: u64, call: Call) {
        let stopping = matches!(call, Call::Stop);
        self.send_result(id, self.perform(call).await.map(Some)).await;
        if stopping && self.admin.may_administer(self.uid) {
            self.admin.stop();
        }
    }

    /// Sends the end of a call. `Ok(None)` sends nothing, since the call has sent its reply by itself.
    async fn send_result(&self, id: u64, result: Result<Option<Reply>, Failure>) {
        let sent = match result {
            Ok(Some(reply)) => self.outbox.send(&DaemonFrame::Reply { id, reply }).await,
            Ok(None) => Ok(()),
            Err(failure) => self.outbox.send(&DaemonFrame::Failed { id, failure }).await,
        };
        self.check_length(id, sent);
    }

    /// Lets the call fail when its reply did not fit into a frame.
    fn check_length(&self, id: u64, sent: Result<(), OutboxError>) {
        if let Err(OutboxError::TooLong) = sent {
            tracing::warn!(id, "a reply was longer than a frame may be");
            let error = AdminError::new(Denial::Failed, "the answer is too long for one frame", "");
            // An error means that the connection is closed, so that no task waits for the frame.
            let _ = self.outbox.push(&DaemonFrame::Failed { id, failure: Failure::Admin(error) });
        }
    }

    async fn perform(&self, call: Call) -> Result<Reply, Failure> {
        Ok(match call {
            Call::Status => Reply::Status(Box::new(self.status().await)),
            Call::Peers => Reply::Peers(self.peers().await),
            Call::Routes { to } => Reply::Routes(self.routes(to).await),
            Call::Dialled => Reply::Dialled(self.node.dialled().await),
            Call::Identities => Reply::Identities(self.admin.identities()),
            Call::NewIdentity { label } => Reply::Identity(self.admin.new_identity(label, self.uid).await?),
            Call::RemoveIdentity { address } => {
                self.may_use(&address)?;
                self.done(self.admin.remove_identity(&address).await)?
            }
            Call::Names => Reply::Names(self.admin.names()),
            Call::PeerList => Reply::PeerList(self.admin.peers().await),
            call @ (Call::Outbox { .. } | Call::OutboxMessage { .. } | Call::CancelMessage { .. }) => {
                Box::pin(self.waiting_messages(call)).await?
            }
            call @ (Call::Inbox { .. }
            | Call::InboxMessage { .. }
            | Call::ReviveMessage { .. }
            | Call::Acknowledged
            | Call::DiscardMessage { .. }) => Box::pin(self.unread_messages(call)).await?,
            call => self.administer(call).await?,
        })
    }

    /// Performs a call that only the daemon's owner may make.
    async fn administer(&self, call: Call) -> Result<Reply, Failure> {
        if !self.admin.may_administer(self.uid) {
            let text = "only the owner of the daemon may do this";
            return Err(AdminError::new(
                Denial::NotAllowed,
                text,
                "run the command as the user that runs roused",
            )
            .into());
        }
        match call {
            Call::AddName { name, address } => self.done(self.admin.add_name(name, address).await),
            Call::RemoveName { name } => self.done(self.admin.remove_name(&name).await),
            Call::AddPeer { uri } => self.done(self.admin.add_peer(&uri).await),
            Call::RemovePeer { uri } => Ok(Reply::Text(self.admin.remove_peer(&uri).await?)),
            Call::Reload => Ok(Reply::Text(self.admin.reload().await?)),
            // The daemon begins to stop only when this reply is in the outbox.
            Call::Stop => {
                self.node.flush().await;
                Ok(Reply::Unfinished(self.node.unfinished()))
            }
            _ => Ok(Reply::Done),
        }
    }

    fn done(&self, result: Result<(), AdminError>) -> Result<Reply, Failure> {
        Ok(result.map(|()| Reply::Done)?)
    }

    async fn status(&self) -> Status {
        let mut status = self.node.status().await;
        status.counters.extend(self.admin.counters());
        status
    }

    async fn peers(&self) -> Vec<Peer> {
        let mut peers = self.node.peers().await;
        for peer in &mut peers {
            peer.name = peer.address.and_then(|address| self.admin.name_of(&address));
        }
        peers
    }

    async fn routes(&self, to: Option<Address>) -> Vec<Route> {
        let mut routes = match to {
            Some(destination) => self.node.routes_to(&destination).await,
            None => self.node.routes().await,
        };
        for route in &mut routes {
            route.name = self.admin.name_of(&route.destination);
        }
        routes
    }

    async fn submit(&self, mut messages: Vec<Outgoing>, wait: bool) -> Result<Vec<SentInfo>, Failure> {
        if self.receipts().by_ticket.len().saturating_add(messages.len()) > MAX_SENT {
            return Err(Failure::Busy);
        }
        for message in &mut messages {
            let from = self.address(message.from)?;
            message.from = Some(from);
        }
        let replies: Vec<_> =
            messages.iter().filter_map(|message| Some((message.to, message.replies_to()?))).collect();
        let sent = match wait {
            true => self.node.send_batch(messages).await,
            false => messages.into_iter().map(|message| self.node.try_send(message)).collect(),
        };
        let sent = sent.map_err(Failure::Send)?;
        for (to, request) in replies {
            self.unconfirmed.served.remove(to, request);
        }
        let mut receipts = self.receipts();
        let mut infos = Vec::with_capacity(sent.len());
        for sent in sent {
            let ticket = receipts.next_ticket;
            receipts.next_ticket += 1;
            infos.push(SentInfo { ticket, id: sent.id, durable: sent.durable, bytes: sent.bytes });
            receipts.by_ticket.insert(ticket, sent);
        }
        Ok(infos)
    }

    async fn delivered(&self, ticket: u64) -> Result<Receipt, Failure> {
        let sent = self.receipts().by_ticket.remove(&ticket).ok_or_else(|| {
            AdminError::new(Denial::NotFound, "the daemon no longer follows this message", "")
        })?;
        sent.delivered().await.map_err(Failure::Send)
    }

    /// Sends the items of a stream as the client has room for them.
    async fn stream(&self, id: u64, credit: &Credit, mut items: Pin<&mut impl Stream<Item = StreamItem>>) {
        loop {
            credit.spend().await;
            let Some(item) = items.next().await else { break };
            if self.outbox.send(&DaemonFrame::Item { id, item }).await.is_err() {
                return;
            }
        }
        // An error means that the connection is closed, so that no task waits for the frame.
        let _ = self.outbox.send(&DaemonFrame::End { id }).await;
    }

    /// The address that a call uses: the one that the client named, or its default address.
    fn address(&self, named: Option<Address>) -> Result<Address, Failure> {
        match named {
            Some(address) => self.may_use(&address).map(|()| address),
            None => self.admin.default_address(self.uid).ok_or_else(|| {
                let hint = "create one with `rouse id new`";
                AdminError::new(Denial::NotAllowed, "you have no address on this node", hint).into()
            }),
        }
    }

    fn may_use(&self, address: &Address) -> Result<(), Failure> {
        match self.admin.owner(address) {
            None => Err(Failure::NoSuchAddress(*address)),
            Some(owner) if owner == self.uid || self.admin.may_administer(self.uid) => Ok(()),
            Some(_) => {
                let text = format!("{address} belongs to another user");
                Err(AdminError::new(Denial::NotAllowed, text, "`rouse id list` shows the owners").into())
            }
        }
    }

    /// Whether the user may see an event. Users that do not own the daemon see the state of the mesh and the messages
    /// for their own addresses, but not the traffic of others.
    fn may_see(&self, event: &Event) -> bool {
        match event {
            Event::MessageReceived { to, .. } => self.may_use(to).is_ok(),
            Event::MessageDelivered { .. } | Event::MessageExpired { .. } => {
                self.admin.may_administer(self.uid)
            }
            _ => true,
        }
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        Failure::Admin(error)
    }
}
