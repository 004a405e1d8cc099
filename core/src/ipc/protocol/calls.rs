//! The calls of a client, and their results.

use crate::address::Address;
use crate::ipc::admin::{AdminError, IdentityInfo, NameInfo, PeerInfo};
use crate::ipc::protocol::LONG_LIST;
use crate::types::{
    Body, Dialled, Event, Hop, Message, MessageId, Outgoing, Peer, PingError, Pong, Receipt, RequestError,
    Route, SendError, Service, Status, Timestamp, Unfinished, UnreadMessage, WaitingMessage,
};
use crate::wire::codec::{BorrowDecode, Decode, Encode};

/// A request of a client.
#[derive(Debug, Encode, BorrowDecode)]
pub enum Call {
    /// The status of the node: [`Reply::Status`].
    Status,
    /// The neighbours, and the dialled peers without a link: [`Reply::Peers`].
    Peers,
    /// The routes, to one destination or to all: [`Reply::Routes`].
    Routes {
        /// The destination.
        to: Option<Address>,
    },
    /// The dialled peers: [`Reply::Dialled`].
    Dialled,
    /// Sends messages: [`Reply::Sent`].
    Submit {
        /// The messages, in their order.
        messages: Vec<Outgoing>,
        /// Whether the call waits while a queue is full.
        wait: bool,
    },
    /// Waits for the receipt of a sent message: [`Reply::Receipt`].
    Delivered {
        /// The ticket of [`SentInfo`].
        ticket: u64,
    },
    /// Waits for messages: [`Reply::Messages`].
    Receive {
        /// The address of the node that they were sent to; the client's default address when it is `None`.
        to: Option<Address>,
        /// The service that they were sent to. It is open from now on, as long as the connection exists.
        service: Service,
        /// The sender, or any.
        from: Option<Address>,
        /// The most messages.
        limit: u32,
    },
    /// Measures a round trip: [`Reply::Pong`].
    Ping {
        /// The address to measure to.
        peer: Address,
        /// The time to wait for the answer, in microseconds.
        timeout_us: u64,
    },
    /// Lists the nodes on the route: a stream of [`StreamItem::Hop`].
    Trace {
        /// The address at the end of the route.
        peer: Address,
        /// The most hops.
        max_hops: u8,
        /// The time to wait for the answer of each hop, in microseconds.
        timeout_us: u64,
    },
    /// All events from now on: a stream of [`StreamItem::Event`].
    Events,
    /// The identities that the user may use: [`Reply::Identities`].
    Identities,
    /// Makes an identity: [`Reply::Identity`].
    NewIdentity {
        /// A label for people.
        label: Option<String>,
    },
    /// Removes an identity: [`Reply::Done`].
    RemoveIdentity {
        /// Its address.
        address: Address,
    },
    /// The address book: [`Reply::Names`].
    Names,
    /// Adds an entry to the address book: [`Reply::Done`].
    AddName {
        /// The name.
        name: String,
        /// The address that it stands for.
        address: Address,
    },
    /// Removes an entry from the address book: [`Reply::Done`].
    RemoveName {
        /// The name.
        name: String,
    },
    /// The peers to dial with their origin: [`Reply::PeerList`].
    PeerList,
    /// Dials a peer from now on: [`Reply::Done`].
    AddPeer {
        /// The peer.
        uri: String,
    },
    /// Dials a peer no longer: [`Reply::Text`].
    RemovePeer {
        /// The peer.
        uri: String,
    },
    /// The messages in the journal that the user's addresses have sent and that are not delivered: [`Reply::Outbox`].
    Outbox {
        /// The most messages.
        limit: u32,
    },
    /// A message in the journal: [`Reply::OutboxMessage`].
    OutboxMessage {
        /// Its id.
        id: MessageId,
    },
    /// Cancels a message in the journal: [`Reply::Done`].
    CancelMessage {
        /// Its id.
        id: MessageId,
    },
    /// The received messages in the journal for the user's addresses that no application has acknowledged:
    /// [`Reply::Inbox`].
    Inbox {
        /// Whether the dead letters are wanted, instead of those that wait.
        dead: bool,
        /// The most messages.
        limit: u32,
    },
    /// A received message in the journal, waiting or dead: [`Reply::InboxMessage`].
    InboxMessage {
        /// Its id.
        id: MessageId,
    },
    /// Lets a dead letter wait for an application again: [`Reply::Done`].
    ReviveMessage {
        /// Its id.
        id: MessageId,
    },
    /// Waits until all messages that were confirmed before are off the disk: [`Reply::Done`].
    Acknowledged,
    /// Removes a received message from the journal, waiting or dead: [`Reply::Done`].
    DiscardMessage {
        /// Its id.
        id: MessageId,
    },
    /// Reads the configuration again: [`Reply::Text`].
    Reload,
    /// Stops the daemon: [`Reply::Unfinished`].
    Stop,
    /// Sends a request and waits for its answer: [`Reply::Answer`].
    Request {
        /// The request.
        message: Box<Outgoing>,
        /// The time to wait for the answer, in microseconds.
        timeout_us: u64,
    },
}

impl Call {
    /// Whether the reply is a list, or is made from one.
    pub(in crate::ipc) fn lists(&self) -> bool {
        matches!(
            self,
            Call::Status
                | Call::Peers
                | Call::Routes { .. }
                | Call::Dialled
                | Call::Identities
                | Call::Names
                | Call::PeerList
                | Call::Outbox { .. }
                | Call::Inbox { .. }
        )
    }

    /// Whether the call is allowed on a connection that only administers.
    pub(in crate::ipc) fn administers(&self) -> bool {
        matches!(self, Call::Status | Call::Peers | Call::PeerList | Call::Reload | Call::Stop)
    }
}

/// The result of a call.
#[derive(Debug, Encode, BorrowDecode)]
pub enum Reply {
    /// The call has been carried out.
    Done,
    /// The status of the node.
    Status(Box<Status>),
    /// The neighbours, and the dialled peers without a link.
    Peers(Vec<Peer>),
    /// The routes.
    Routes(Vec<Route>),
    /// The dialled peers.
    Dialled(Vec<Dialled>),
    /// The messages that were accepted for sending, in their order.
    Sent(Vec<SentInfo>),
    /// The receipt of a sent message.
    Receipt(Receipt),
    /// Received messages.
    Messages(Vec<Fetched>),
    /// The answer to a ping.
    Pong(Pong),
    /// The identity that was made.
    Identity(IdentityInfo),
    /// The identities.
    Identities(Vec<IdentityInfo>),
    /// The address book.
    Names(Vec<NameInfo>),
    /// The peers to dial.
    PeerList(Vec<PeerInfo>),
    /// Messages that are not delivered.
    Outbox(Vec<WaitingMessage>),
    /// A message that is not delivered, with its body.
    OutboxMessage(Box<(WaitingMessage, Body)>),
    /// Received messages that no application has acknowledged.
    Inbox(Vec<UnreadMessage>),
    /// A received message with its body.
    InboxMessage(Box<(UnreadMessage, Body)>),
    /// A report for people.
    Text(String),
    /// The messages that the daemon has not delivered when it stops.
    Unfinished(Unfinished),
    /// The answer of a request.
    Answer(Box<Message>),
}

impl Reply {
    /// Whether the reply is a list that fills the outbox by itself.
    pub(in crate::ipc) fn is_long(&self) -> bool {
        let entries = match self {
            Reply::Peers(list) => list.len(),
            Reply::Routes(list) => list.len(),
            Reply::Dialled(list) => list.len(),
            Reply::Identities(list) => list.len(),
            Reply::Names(list) => list.len(),
            Reply::PeerList(list) => list.len(),
            Reply::Outbox(list) => list.len(),
            Reply::Inbox(list) => list.len(),
            _ => 0,
        };
        entries > LONG_LIST
    }
}

/// One item of a stream.
#[derive(Debug, Encode, BorrowDecode)]
pub enum StreamItem {
    /// An event and its time.
    Event(Timestamp, Event),
    /// A node on a route, or the reason why it did not answer.
    Hop(Result<Hop, PingError>),
}

/// A message that was accepted for sending.
#[derive(Clone, Debug, Encode, Decode)]
pub struct SentInfo {
    /// The number by which the client requests the receipt.
    pub ticket: u64,
    /// The id of the message.
    pub id: MessageId,
    /// Whether the message outlives the daemon.
    pub durable: bool,
    /// The length of its body.
    pub bytes: u64,
}

/// A fetched message. It leaves its inbox when the client confirms the ticket.
#[derive(Debug, Encode, Decode)]
pub struct Fetched {
    /// The number by which the client confirms the message or gives it back.
    pub ticket: u64,
    /// The name of the sender in the address book.
    pub from_name: Option<String>,
    /// The message.
    pub message: Message,
}

/// The reason why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Failure {
    /// A message was not sent or not delivered.
    Send(SendError),
    /// No reply to a ping arrived, or there is no route.
    Ping(PingError),
    /// The administration of the daemon refused.
    Admin(AdminError),
    /// The client has more calls or messages under way than a connection may.
    Busy,
    /// The node does not have the address, or no longer has it.
    NoSuchAddress(Address),
    /// The node is stopping.
    Stopped,
    /// A request has no answer.
    Request(Box<RequestError>),
}
