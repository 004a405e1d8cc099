//! The client: the verbs of a node, through the daemon.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::address::Address;
use crate::ipc::admin::{IdentityInfo, NameInfo, PeerInfo};
use crate::ipc::client_connection::{ClientConnection, PendingCall};
use crate::ipc::error::{ClientError, ConnectError};
use crate::ipc::mailbox::{Delivery, Mailbox, Messages};
use crate::ipc::protocol::*;
use crate::ipc::{connect, lookup::Search};
use crate::types::*;

/// A connection to the daemon, with the verbs of a [`Node`](crate::node::Node). A cheap handle: clones share one connection.
///
/// It works from any executor. Every future may be dropped without losing a message.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = rouse_core::Client::connect_default().await?;
/// let me = client.address();
/// let sent = client.send(&me, b"hello").await?;
/// assert_eq!(&client.recv().await?.body[..], b"hello");
/// sent.delivered().await?; // it has been received
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    connection: Arc<ClientConnection>,
    inbox: Mailbox,
}

macro_rules! expect {
    ($call:expr, $pattern:pat => $value:expr) => {
        match $call {
            $pattern => Ok($value),
            _ => Err(ClientError::Disconnected("an answer of the wrong kind".to_owned())),
        }
    };
}

impl Client {
    /// Connects to the socket at `path`; waits up to 2 s for a daemon that is just starting.
    ///
    /// # Errors
    /// [`ConnectError`], which says what to do.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ConnectError> {
        Self::find(&Search { socket: Some(path.as_ref().to_owned()), state_dir: None }).await
    }

    /// Connects to the daemon of this user, or of this machine: as [`Search`] looks for it when nothing is named.
    ///
    /// # Errors
    /// [`ConnectError`], which says what to do.
    pub async fn connect_default() -> Result<Self, ConnectError> {
        Self::find(&Search::default()).await
    }

    /// Connects to the daemon that `search` finds; waits up to 2 s for one that is just starting.
    ///
    /// # Errors
    /// [`ConnectError`], which says what to do.
    pub async fn find(search: &Search) -> Result<Self, ConnectError> {
        Ok(Self::over(connect::find(search, GreetingCode::Ok).await?))
    }

    pub(super) fn over(connection: ClientConnection) -> Self {
        let connection = Arc::new(connection);
        let inbox = Mailbox { connection: connection.clone(), to: None };
        Client { connection, inbox }
    }

    /// The address that this client sends as and receives for unless it names another: the node's first, or the first of
    /// one's own in a daemon that is somebody else's.
    pub fn address(&self) -> Address {
        self.connection.address
    }

    /// The daemon's version.
    pub fn version(&self) -> &str {
        &self.connection.version
    }

    /// Sends a message; waits while there is no room for it. It has been accepted when this returns, not delivered: see
    /// [`Sent::delivered`].
    ///
    /// # Errors
    /// [`ClientError::Send`] when it was not accepted.
    pub async fn send(&self, to: &Address, body: impl Into<Body>) -> Result<Sent, ClientError> {
        self.submit(Outgoing::new(*to, body)).await
    }

    /// Sends a message with all its options; waits while there is no room for it.
    ///
    /// # Errors
    /// [`ClientError::Send`] when it was not accepted.
    pub async fn submit(&self, message: Outgoing) -> Result<Sent, ClientError> {
        self.hand_in_one(message, true).await
    }

    /// Sends a message if there is room for it now. Unlike a node's own `try_send` it takes a round trip to the daemon.
    ///
    /// # Errors
    /// [`SendError::Full`] when there is no room.
    pub async fn try_send(&self, message: Outgoing) -> Result<Sent, ClientError> {
        self.hand_in_one(message, false).await
    }

    /// Sends many messages in as few round trips as their sizes allow: one, when they are shorter than 16 MiB in all.
    ///
    /// # Errors
    /// The first that comes up; what stood before that message was accepted.
    pub async fn send_batch(&self, batch: Vec<Outgoing>) -> Result<Vec<Sent>, ClientError> {
        let mut sent = Vec::with_capacity(batch.len());
        let mut part = Vec::new();
        let mut bytes = 0;
        for message in batch {
            let more = size(&message)?;
            if !part.is_empty() && bytes + more > MAX_MESSAGE + OUTGOING_EXTRA {
                sent.extend(self.hand_in(std::mem::take(&mut part), bytes, true).await?);
                bytes = 0;
            }
            bytes += more;
            part.push(message);
        }
        if !part.is_empty() {
            sent.extend(self.hand_in(part, bytes, true).await?);
        }
        Ok(sent)
    }

    async fn hand_in_one(&self, message: Outgoing, wait: bool) -> Result<Sent, ClientError> {
        let bytes = size(&message)?;
        let mut sent = self.hand_in(vec![message], bytes, wait).await?;
        expect!(sent.pop(), Some(sent) => sent)
    }

    async fn hand_in(
        &self,
        messages: Vec<Outgoing>,
        bytes: usize,
        wait: bool,
    ) -> Result<Vec<Sent>, ClientError> {
        let pending = self.connection.begin(Call::Submit { messages, wait }, bytes).await?;
        let infos = expect!(pending.await?, Reply::Sent(infos) => infos)?;
        let sent = infos.into_iter().map(|info| Sent {
            id: info.id,
            durable: info.durable,
            bytes: info.bytes,
            fate: Some((info.ticket, self.connection.clone())),
        });
        Ok(sent.collect())
    }

    /// The next message for [`Client::address`]. It is the caller's from the moment the future is ready.
    ///
    /// # Errors
    /// When the daemon stops or the connection is lost.
    pub async fn recv(&self) -> Result<Message, ClientError> {
        self.inbox.recv().await
    }

    /// The next messages, at least one and at most `limit` of them, in one round trip.
    ///
    /// # Errors
    /// As for [`Client::recv`].
    pub async fn recv_batch(&self, limit: usize) -> Result<Vec<Message>, ClientError> {
        self.inbox.recv_batch(limit).await
    }

    /// The next message from `peer`; others stay where they are.
    ///
    /// # Errors
    /// As for [`Client::recv`].
    pub async fn recv_from(&self, peer: &Address) -> Result<Message, ClientError> {
        self.inbox.recv_from(peer).await
    }

    /// The next message, still in its inbox until it is confirmed; see [`Mailbox::delivery`].
    ///
    /// # Errors
    /// As for [`Client::recv`].
    pub async fn delivery(&self, peer: Option<&Address>) -> Result<Delivery, ClientError> {
        self.inbox.delivery(peer).await
    }

    /// The messages, as they come.
    pub fn messages(&self) -> Messages {
        self.inbox.messages()
    }

    /// The inbox of another address of the daemon. Whether it may be used shows when something is received from it.
    pub fn mailbox(&self, address: &Address) -> Mailbox {
        Mailbox { connection: self.connection.clone(), to: Some(*address) }
    }

    /// How the node is.
    ///
    /// # Errors
    /// When the connection is lost, as for all that follow.
    pub async fn status(&self) -> Result<Status, ClientError> {
        expect!(self.connection.call(Call::Status).await?, Reply::Status(status) => *status)
    }

    /// Its neighbours, with their names.
    pub async fn peers(&self) -> Result<Vec<Peer>, ClientError> {
        expect!(self.connection.call(Call::Peers).await?, Reply::Peers(peers) => peers)
    }

    /// Its routes, with the names of the destinations.
    pub async fn routes(&self) -> Result<Vec<Route>, ClientError> {
        expect!(self.connection.call(Call::Routes { to: None }).await?, Reply::Routes(routes) => routes)
    }

    /// Those to one destination.
    pub async fn routes_to(&self, to: Address) -> Result<Vec<Route>, ClientError> {
        expect!(self.connection.call(Call::Routes { to: Some(to) }).await?, Reply::Routes(routes) => routes)
    }

    /// Where it dials.
    pub async fn dialled(&self) -> Result<Vec<Dialled>, ClientError> {
        expect!(self.connection.call(Call::Dialled).await?, Reply::Dialled(dialled) => dialled)
    }

    /// One round trip to the peer's node.
    ///
    /// # Errors
    /// [`ClientError::Ping`] when none came back in time.
    pub async fn ping(&self, peer: &Address, timeout: Duration) -> Result<Pong, ClientError> {
        let call = Call::Ping { peer: *peer, timeout_us: micros(timeout) };
        expect!(self.connection.call(call).await?, Reply::Pong(pong) => pong)
    }

    /// Each hop on the way to the peer, the peer last.
    pub fn trace(&self, peer: &Address, max_hops: u8, timeout_per_hop: Duration) -> Tracing {
        let call = Call::Trace { peer: *peer, max_hops, timeout_us: micros(timeout_per_hop) };
        Tracing { pending: self.connection.begin_now(call).open() }
    }

    /// What happens from now on. A subscriber that falls behind loses the oldest events, which are counted.
    pub fn events(&self) -> Subscription {
        Subscription { pending: self.connection.begin_now(Call::Events).open() }
    }

    /// The node's addresses and whose they are.
    pub async fn identities(&self) -> Result<Vec<IdentityInfo>, ClientError> {
        expect!(self.connection.call(Call::Identities).await?, Reply::Identities(list) => list)
    }

    /// Makes one more address; its secret stays in the daemon.
    pub async fn new_identity(&self, label: Option<String>) -> Result<IdentityInfo, ClientError> {
        expect!(self.connection.call(Call::NewIdentity { label }).await?, Reply::Identity(identity) => identity)
    }

    /// Removes an address, and its secret for good.
    pub async fn remove_identity(&self, address: &Address) -> Result<(), ClientError> {
        self.order(Call::RemoveIdentity { address: *address }).await
    }

    /// The daemon's address book.
    pub async fn names(&self) -> Result<Vec<NameInfo>, ClientError> {
        expect!(self.connection.call(Call::Names).await?, Reply::Names(names) => names)
    }

    /// Gives an address a name.
    pub async fn add_name(&self, name: &str, address: &Address) -> Result<(), ClientError> {
        self.order(Call::AddName { name: name.to_owned(), address: *address }).await
    }

    /// Forgets a name.
    pub async fn remove_name(&self, name: &str) -> Result<(), ClientError> {
        self.order(Call::RemoveName { name: name.to_owned() }).await
    }

    /// The peers that the daemon dials, and where that was said.
    pub async fn peer_list(&self) -> Result<Vec<PeerInfo>, ClientError> {
        expect!(self.connection.call(Call::PeerList).await?, Reply::PeerList(list) => list)
    }

    /// Dials a peer from now on; the daemon remembers it.
    pub async fn add_peer(&self, uri: &str) -> Result<(), ClientError> {
        self.order(Call::AddPeer { uri: uri.to_owned() }).await
    }

    /// Dials a peer no more; says what became of its connection.
    pub async fn remove_peer(&self, uri: &str) -> Result<String, ClientError> {
        let call = Call::RemovePeer { uri: uri.to_owned() };
        expect!(self.connection.call(call).await?, Reply::Text(text) => text)
    }

    /// Has the daemon read its configuration again; says what it did.
    pub async fn reload(&self) -> Result<String, ClientError> {
        expect!(self.connection.call(Call::Reload).await?, Reply::Text(text) => text)
    }

    /// Stops the daemon in order, and waits until it has said goodbye to its neighbours. Returns what is lost with it.
    pub async fn stop(&self) -> Result<Unfinished, ClientError> {
        let unfinished = expect!(self.connection.call(Call::Stop).await?, Reply::Unfinished(left) => left)?;
        self.connection.closed().await;
        Ok(unfinished)
    }

    /// Waits until all that was confirmed and cancelled is on its way to the daemon; whether it is. To be called before
    /// the process ends.
    pub async fn flush(&self) -> bool {
        self.connection.flushed().await
    }

    async fn order(&self, call: Call) -> Result<(), ClientError> {
        expect!(self.connection.call(call).await?, Reply::Done => ())
    }
}

/// About what a message takes in a frame, in bytes.
fn size(message: &Outgoing) -> Result<usize, ClientError> {
    match message.body.len() {
        length if length > MAX_MESSAGE => {
            Err(ClientError::Send(SendError::TooLong { length: length as u64 }))
        }
        length => Ok(length + OUTGOING_EXTRA),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A message that the daemon has accepted.
#[derive(Debug)]
pub struct Sent {
    /// Its name, the same at the recipient's.
    pub id: MessageId,
    /// Whether it would survive a crash of the daemon.
    pub durable: bool,
    /// The length of its body, in bytes.
    pub bytes: u64,
    fate: Option<(u64, Arc<ClientConnection>)>,
}

impl Sent {
    /// Waits until an application of the recipient has taken it. Dropped midway, the message is still on its way.
    ///
    /// # Errors
    /// [`SendError::Expired`] when its time to live ran out before.
    pub async fn delivered(mut self) -> Result<Receipt, ClientError> {
        match self.fate.take() {
            Some((ticket, connection)) => {
                expect!(connection.call(Call::Delivered { ticket }).await?, Reply::Receipt(receipt) => receipt)
            }
            None => Err(ClientError::Stopped),
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some((ticket, connection)) = self.fate.take() {
            connection.forget(ticket);
        }
    }
}

/// Events of the node, as they happen. It ends when the daemon stops or the connection is lost.
#[derive(Debug)]
pub struct Subscription {
    pending: PendingCall,
}

impl futures::Stream for Subscription {
    type Item = (Timestamp, Event);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().pending.poll_item(cx).map(|item| match item {
            Some(Ok(StreamItem::Event(at, event))) => Some((at, event)),
            _ => None,
        })
    }
}

/// The hops on the way to a peer, as they answer.
#[derive(Debug)]
pub struct Tracing {
    pending: PendingCall,
}

impl futures::Stream for Tracing {
    type Item = Result<Hop, ClientError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().pending.poll_item(cx).map(|item| match item {
            Some(Ok(StreamItem::Hop(hop))) => Some(hop.map_err(ClientError::Ping)),
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(StreamItem::Event(..))) | None => None,
        })
    }
}
