//! The client: the verbs of a node, through the daemon.

use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_io::Async;

use crate::address::Address;
use crate::ipc::admin::{IdentityInfo, NameInfo, PeerInfo};
use crate::ipc::client_connection::ClientConnection;
use crate::ipc::error::{ClientError, ConnectError};
use crate::ipc::mailbox::{ClientMailbox, ClientMessages, Delivery};
use crate::ipc::protocol::{Call, GreetingCode, OUTGOING_OVERHEAD, Reply};
use crate::ipc::sent::{self, ClientSent};
use crate::ipc::subscription::{Subscription, Tracing};
use crate::ipc::{connect, lookup::Search};
use crate::types::{
    Body, Dialled, MAX_MESSAGE, Message, Outgoing, Peer, Pong, Route, SendError, Service, Status, Unfinished,
};

/// A connection to the daemon, with the verbs of a [`Node`](crate::node::Node). A cheap handle: clones share one
/// connection.
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
    inbox: ClientMailbox,
}

/// Takes the value out of a reply of the expected kind.
macro_rules! expect_reply {
    ($call:expr, $pattern:pat => $value:expr) => {
        match $call {
            $pattern => Ok($value),
            _ => Err(ClientError::unexpected_reply()),
        }
    };
}
pub(super) use expect_reply;

impl Client {
    /// Connects to the socket at `path`; waits up to 2 s for a daemon that is just starting.
    ///
    /// # Errors
    /// [`ConnectError`], whose text names the next step.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ConnectError> {
        Self::find(&Search { socket: Some(path.as_ref().to_owned()), ..Search::default() }).await
    }

    /// Connects to the daemon of this user, or else of this machine, as a default [`Search`] finds it.
    ///
    /// # Errors
    /// [`ConnectError`], whose text names the next step.
    pub async fn connect_default() -> Result<Self, ConnectError> {
        Self::find(&Search::default()).await
    }

    /// Connects to the daemon that `search` finds; waits up to 2 s for one that is just starting.
    ///
    /// # Errors
    /// [`ConnectError`], whose text names the next step.
    pub async fn find(search: &Search) -> Result<Self, ConnectError> {
        Ok(Self::over(connect::find(search, GreetingCode::Ok).await?))
    }

    /// Connects as [`Client::find`] does, to inspect, reload or stop the daemon. The owner gets a connection for that
    /// even when other programs hold all of them; it is closed after five seconds then.
    ///
    /// # Errors
    /// [`ConnectError`], whose text names the next step.
    pub async fn find_to_administer(search: &Search) -> Result<Self, ConnectError> {
        match connect::find(search, GreetingCode::Ok).await {
            Err(ConnectError::Busy(_)) => {
                Ok(Self::over(connect::find(search, GreetingCode::Administer).await?))
            }
            found => Ok(Self::over(found?)),
        }
    }

    /// Begins a connection on a stream whose other end is served already, by a daemon or by
    /// [`serve_stream`](crate::ipc::serve_stream): for a program that inherits one end of a socket pair.
    ///
    /// # Errors
    /// [`ConnectError`], in which a stream without a path is named `inherited socket`.
    pub async fn from_stream(stream: UnixStream) -> Result<Self, ConnectError> {
        let peer = stream.peer_addr().ok();
        let path = peer.as_ref().and_then(SocketAddr::as_pathname).unwrap_or(Path::new("inherited socket"));
        let stream =
            Async::new(stream).map_err(|source| ConnectError::Io { path: path.to_owned(), source })?;
        Ok(Self::over(connect::begin(Arc::new(stream), path, GreetingCode::Ok).await?))
    }

    fn over(connection: ClientConnection) -> Self {
        let connection = Arc::new(connection);
        let inbox = ClientMailbox { connection: connection.clone(), to: None, service: Service::default() };
        Client { connection, inbox }
    }

    pub(super) fn connection(&self) -> &Arc<ClientConnection> {
        &self.connection
    }

    /// The inbox of [`Client::address`].
    pub(super) fn own_inbox(&self) -> &ClientMailbox {
        &self.inbox
    }

    /// The address that this client sends from and receives for unless it names another: the first of the node, or the
    /// first of this user in the daemon of another user.
    pub fn address(&self) -> Address {
        self.connection.address
    }

    /// The daemon's version.
    pub fn version(&self) -> &str {
        &self.connection.version
    }

    /// Sends a message, and waits while there is no room for it. When this returns, the message has been accepted, but
    /// not yet delivered: see [`ClientSent::delivered`].
    ///
    /// # Errors
    /// [`ClientError::Send`] when it was not accepted.
    pub async fn send(&self, to: &Address, body: impl Into<Body>) -> Result<ClientSent, ClientError> {
        self.submit(Outgoing::new(*to, body)).await
    }

    /// Sends a message with all its options, and waits while there is no room for it.
    ///
    /// # Errors
    /// [`ClientError::Send`] when it was not accepted.
    pub async fn submit(&self, message: Outgoing) -> Result<ClientSent, ClientError> {
        self.submit_one(message, true).await
    }

    /// Sends a message if there is room for it now. Unlike `try_send` of a node, this takes a round trip to the daemon.
    ///
    /// # Errors
    /// [`SendError::Full`] when there is no room.
    pub async fn try_send(&self, message: Outgoing) -> Result<ClientSent, ClientError> {
        self.submit_one(message, false).await
    }

    /// Sends many messages in as few round trips as their sizes allow: one, when they are shorter than 16 MiB together.
    ///
    /// # Errors
    /// The first error. The messages before the one that caused it have been accepted.
    pub async fn send_batch(&self, batch: Vec<Outgoing>) -> Result<Vec<ClientSent>, ClientError> {
        let mut sent = Vec::with_capacity(batch.len());
        let mut part = Vec::new();
        let mut bytes = 0;
        for message in batch {
            let more = size(&message)?;
            if !part.is_empty() && bytes + more > MAX_MESSAGE + OUTGOING_OVERHEAD {
                sent.extend(self.submit_part(std::mem::take(&mut part), bytes, true).await?);
                bytes = 0;
            }
            bytes += more;
            part.push(message);
        }
        if !part.is_empty() {
            sent.extend(self.submit_part(part, bytes, true).await?);
        }
        Ok(sent)
    }

    async fn submit_one(&self, message: Outgoing, wait: bool) -> Result<ClientSent, ClientError> {
        let bytes = size(&message)?;
        let mut sent = self.submit_part(vec![message], bytes, wait).await?;
        expect_reply!(sent.pop(), Some(sent) => sent)
    }

    async fn submit_part(
        &self,
        messages: Vec<Outgoing>,
        bytes: usize,
        wait: bool,
    ) -> Result<Vec<ClientSent>, ClientError> {
        let pending = self.connection.begin(Call::Submit { messages, wait }, bytes).await?;
        sent::accepted(pending, self.connection.clone()).await
    }

    /// Receives the next message for [`Client::address`]. It has left its inbox when the future is ready.
    ///
    /// # Errors
    /// When the daemon stops or the connection is lost.
    pub async fn recv(&self) -> Result<Message, ClientError> {
        self.inbox.recv().await
    }

    /// Receives the next messages, at least one and at most `limit`, in one round trip.
    ///
    /// # Errors
    /// As for [`Client::recv`].
    pub async fn recv_batch(&self, limit: usize) -> Result<Vec<Message>, ClientError> {
        self.inbox.recv_batch(limit).await
    }

    /// Receives the next message from `peer`. The messages of other senders stay in the inbox.
    ///
    /// # Errors
    /// As for [`Client::recv`].
    pub async fn recv_from(&self, peer: &Address) -> Result<Message, ClientError> {
        self.inbox.recv_from(peer).await
    }

    /// Receives the next message, which stays in its inbox until it is confirmed; see [`ClientMailbox::delivery`].
    ///
    /// # Errors
    /// As for [`Client::recv`].
    pub async fn delivery(&self, peer: Option<&Address>) -> Result<Delivery, ClientError> {
        self.inbox.delivery(peer).await
    }

    /// A stream of the messages, as they come.
    pub fn messages(&self) -> ClientMessages {
        self.inbox.messages()
    }

    /// The inbox of another address of the daemon. An address that this user may not use causes an error on the first
    /// receive.
    pub fn mailbox(&self, address: &Address) -> ClientMailbox {
        ClientMailbox { to: Some(*address), ..self.inbox.clone() }
    }

    /// The status of the node.
    ///
    /// # Errors
    /// When the connection is lost, as for all methods that follow.
    pub async fn status(&self) -> Result<Status, ClientError> {
        expect_reply!(self.connection.call(Call::Status).await?, Reply::Status(status) => *status)
    }

    /// The neighbours of the node, with their names.
    pub async fn peers(&self) -> Result<Vec<Peer>, ClientError> {
        expect_reply!(self.connection.call(Call::Peers).await?, Reply::Peers(peers) => peers)
    }

    /// The routes of the node, with the names of the destinations.
    pub async fn routes(&self) -> Result<Vec<Route>, ClientError> {
        expect_reply!(self.connection.call(Call::Routes { to: None }).await?, Reply::Routes(routes) => routes)
    }

    /// The routes to one destination.
    pub async fn routes_to(&self, to: Address) -> Result<Vec<Route>, ClientError> {
        expect_reply!(self.connection.call(Call::Routes { to: Some(to) }).await?, Reply::Routes(routes) => routes)
    }

    /// The endpoints that the node dials.
    pub async fn dialled(&self) -> Result<Vec<Dialled>, ClientError> {
        expect_reply!(self.connection.call(Call::Dialled).await?, Reply::Dialled(dialled) => dialled)
    }

    /// Measures one round trip to the node of a peer.
    ///
    /// # Errors
    /// [`ClientError::Ping`] when no reply came in time.
    pub async fn ping(&self, peer: &Address, timeout: Duration) -> Result<Pong, ClientError> {
        let call = Call::Ping { peer: *peer, timeout_us: micros(timeout) };
        expect_reply!(self.connection.call(call).await?, Reply::Pong(pong) => pong)
    }

    /// A stream of the hops on the path to the peer, the peer last.
    pub fn trace(&self, peer: &Address, max_hops: u8, timeout_per_hop: Duration) -> Tracing {
        let call = Call::Trace { peer: *peer, max_hops, timeout_us: micros(timeout_per_hop) };
        Tracing { call: self.connection.begin_now(call).open() }
    }

    /// A stream of the events from now on. A subscriber that falls behind loses the oldest events, which are counted.
    pub fn events(&self) -> Subscription {
        Subscription { call: self.connection.begin_now(Call::Events).open(), failure: None }
    }

    /// The addresses of the node and their owners.
    pub async fn identities(&self) -> Result<Vec<IdentityInfo>, ClientError> {
        expect_reply!(self.connection.call(Call::Identities).await?, Reply::Identities(list) => list)
    }

    /// Creates one more address. Its secret key stays in the daemon.
    pub async fn new_identity(&self, label: Option<String>) -> Result<IdentityInfo, ClientError> {
        expect_reply!(self.connection.call(Call::NewIdentity { label }).await?, Reply::Identity(identity) => identity)
    }

    /// Removes an address and destroys its secret key.
    pub async fn remove_identity(&self, address: &Address) -> Result<(), ClientError> {
        self.command(Call::RemoveIdentity { address: *address }).await
    }

    /// The daemon's address book.
    pub async fn names(&self) -> Result<Vec<NameInfo>, ClientError> {
        expect_reply!(self.connection.call(Call::Names).await?, Reply::Names(names) => names)
    }

    /// Gives an address a name.
    pub async fn add_name(&self, name: &str, address: &Address) -> Result<(), ClientError> {
        self.command(Call::AddName { name: name.to_owned(), address: *address }).await
    }

    /// Removes a name.
    pub async fn remove_name(&self, name: &str) -> Result<(), ClientError> {
        self.command(Call::RemoveName { name: name.to_owned() }).await
    }

    /// The peers that the daemon dials, and where each was added.
    pub async fn peer_list(&self) -> Result<Vec<PeerInfo>, ClientError> {
        expect_reply!(self.connection.call(Call::PeerList).await?, Reply::PeerList(list) => list)
    }

    /// Dials a peer from now on. The daemon keeps it over restarts.
    pub async fn add_peer(&self, uri: &str) -> Result<(), ClientError> {
        self.command(Call::AddPeer { uri: uri.to_owned() }).await
    }

    /// Stops dialling a peer. Returns a text about the state of its link.
    pub async fn remove_peer(&self, uri: &str) -> Result<String, ClientError> {
        let call = Call::RemovePeer { uri: uri.to_owned() };
        expect_reply!(self.connection.call(call).await?, Reply::Text(text) => text)
    }

    /// Lets the daemon read its configuration again. Returns a text about the changes.
    pub async fn reload(&self) -> Result<String, ClientError> {
        expect_reply!(self.connection.call(Call::Reload).await?, Reply::Text(text) => text)
    }

    /// Stops the daemon in order, and waits until it has closed its links. Returns the work that is lost with it.
    pub async fn stop(&self) -> Result<Unfinished, ClientError> {
        let unfinished =
            expect_reply!(self.connection.call(Call::Stop).await?, Reply::Unfinished(left) => left)?;
        self.connection.closed().await;
        Ok(unfinished)
    }

    /// Waits until the connection has ended, because the daemon has stopped or was killed. Every call fails from then on.
    pub async fn closed(&self) {
        self.connection.closed().await;
    }

    /// Waits until all confirmations and cancellations have been handed to the system, and returns whether they were. A
    /// program calls it before it ends.
    pub async fn flush(&self) -> bool {
        self.connection.flushed().await
    }

    /// Makes a call whose reply carries no value.
    pub(super) async fn command(&self, call: Call) -> Result<(), ClientError> {
        expect_reply!(self.connection.call(call).await?, Reply::Done => ())
    }
}

/// Upper bound on the length of a message in a frame, in bytes.
pub(super) fn size(message: &Outgoing) -> Result<usize, ClientError> {
    match message.body.len() {
        length if length > MAX_MESSAGE => {
            Err(ClientError::Send(SendError::TooLong { length: length as u64 }))
        }
        length => Ok(length + OUTGOING_OVERHEAD),
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
