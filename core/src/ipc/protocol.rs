//! What crosses the socket.
//!
//! Each side begins with a greeting of [`GREETING_LENGTH`] bytes: the magic, its version, and (the daemon only) a word on
//! whether it will serve. Then come frames: a little-endian `u32` with the length of what follows, at most
//! [`MAX_FRAME`], and a value: [`ClientFrame`] from the client, [`DaemonFrame`] from the daemon. The client gives each call a number
//! that it never uses again on that connection. A call ends with [`DaemonFrame::Reply`], [`DaemonFrame::Failed`] or [`DaemonFrame::End`],
//! or when the client cancels it.

use crate::address::Address;
use crate::ipc::admin::{AdminError, IdentityInfo, NameInfo, PeerInfo};
use crate::types::*;
use crate::wire::codec::{BorrowDecode, Decode, Encode};

/// The version of everything in this file. A change to any of it is a new version.
pub(super) const VERSION: u16 = 1;

/// The longest frame, in bytes: the longest message, and room for what goes with it.
pub(super) const MAX_FRAME: usize = 17 << 20;

/// The most calls under way on one connection.
pub(super) const MAX_CALLS: usize = 1024;

/// So many calls a connection may have under way whatever the others have; more of them only while there are not too many
/// in all.
pub(super) const FREE_CALLS: usize = 16;

/// The most subscriptions to events on one connection.
pub(super) const MAX_SUBSCRIBED: usize = 8;

/// A list with more entries than this is a long one: more than an outbox takes without waiting.
pub(super) const LONG_LIST: usize = 8192;

/// The most bytes of calls under way on one connection. One call alone may always be as long as a frame.
pub(super) const MAX_CALL_BYTES: usize = 48 << 20;

/// The most messages that one call fetches.
pub(super) const MAX_BATCH: usize = 1024;

/// The most bytes of bodies in one reply; a longer message comes alone.
pub(super) const MAX_REPLY_BODIES: usize = MAX_MESSAGE;

/// The most messages fetched and not confirmed on one connection.
pub(super) const MAX_UNCONFIRMED: usize = 8192;

/// Their most bytes.
pub(super) const MAX_UNCONFIRMED_BYTES: usize = 64 << 20;

/// The most sent messages whose fate one connection may still ask for.
pub(super) const MAX_SENT: usize = 65_536;

/// Upper bound on what the encoding of one [`Outgoing`] adds to its body, in bytes.
pub(super) const OUTGOING_EXTRA: usize = 128;

/// Length of a greeting, in bytes.
pub(super) const GREETING_LENGTH: usize = 12;

const MAGIC: [u8; 8] = *b"rouseipc";

/// The word of a greeting: what the daemon says at once, and what a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GreetingCode {
    /// It serves; it wants to be served.
    Ok,
    /// It has as many connections as it takes.
    Busy,
    /// It stops.
    Stopping,
    /// What a client says that is there to administer: it is let in even when there are as many connections as the
    /// daemon takes, for a few seconds and for short calls only.
    Administer,
    /// Something that only a later version knows.
    Unknown,
}

/// The greeting's bytes.
pub(super) fn encode_greeting(version: u16, welcome: GreetingCode) -> [u8; GREETING_LENGTH] {
    let word: u16 = match welcome {
        GreetingCode::Ok => 0,
        GreetingCode::Busy => 1,
        GreetingCode::Stopping => 2,
        GreetingCode::Administer => 3,
        GreetingCode::Unknown => u16::MAX,
    };
    let mut bytes = [0; GREETING_LENGTH];
    for (to, from) in
        bytes.iter_mut().zip(MAGIC.into_iter().chain(version.to_le_bytes()).chain(word.to_le_bytes()))
    {
        *to = from;
    }
    bytes
}

/// The version and the word of a greeting; `None` when it is none.
pub(super) fn decode_greeting(bytes: &[u8; GREETING_LENGTH]) -> Option<(u16, GreetingCode)> {
    let [magic @ .., v0, v1, w0, w1] = bytes;
    let welcome = match u16::from_le_bytes([*w0, *w1]) {
        0 => GreetingCode::Ok,
        1 => GreetingCode::Busy,
        2 => GreetingCode::Stopping,
        3 => GreetingCode::Administer,
        _ => GreetingCode::Unknown,
    };
    (*magic == MAGIC).then_some((u16::from_le_bytes([*v0, *v1]), welcome))
}

/// From the client.
#[derive(Debug, Encode, BorrowDecode)]
pub(super) enum ClientFrame {
    /// Begins a call.
    Call { id: u64, call: Call },
    /// The reply is not wanted any more.
    Cancel { id: u64 },
    /// The client has room for so many more items of a stream.
    Credit { id: u64, items: u32 },
    /// These messages are the client's now.
    Confirm { tickets: Vec<u64> },
    /// These messages go back to the heads of their inboxes.
    Return { tickets: Vec<u64> },
    /// Nobody will ask for the fate of these sent messages.
    Forget { tickets: Vec<u64> },
}

impl ClientFrame {
    /// How many tickets it names.
    pub(super) fn tickets(&self) -> usize {
        match self {
            ClientFrame::Confirm { tickets }
            | ClientFrame::Return { tickets }
            | ClientFrame::Forget { tickets } => tickets.len(),
            ClientFrame::Call { .. } | ClientFrame::Cancel { .. } | ClientFrame::Credit { .. } => 0,
        }
    }
}

/// From the daemon.
#[derive(Debug, Encode, BorrowDecode)]
pub(super) enum DaemonFrame {
    /// Once, after the greeting: the address that the client sends as and receives for when it names none.
    Welcome { address: Address, version: String },
    /// The call is done.
    Reply { id: u64, reply: Reply },
    /// The call failed.
    Failed { id: u64, failure: Failure },
    /// One more item of a stream.
    Item { id: u64, item: StreamItem },
    /// A stream is over.
    End { id: u64 },
}

/// What a client may ask for.
#[derive(Debug, Encode, BorrowDecode)]
pub(super) enum Call {
    Status,
    Peers,
    Routes { to: Option<Address> },
    Dialled,
    Submit { messages: Vec<Outgoing>, wait: bool },
    Delivered { ticket: u64 },
    Receive { to: Option<Address>, from: Option<Address>, limit: u32 },
    Ping { peer: Address, timeout_us: u64 },
    Trace { peer: Address, max_hops: u8, timeout_us: u64 },
    Events,
    Identities,
    NewIdentity { label: Option<String> },
    RemoveIdentity { address: Address },
    Names,
    AddName { name: String, address: Address },
    RemoveName { name: String },
    PeerList,
    AddPeer { uri: String },
    RemovePeer { uri: String },
    Reload,
    Stop,
}

impl Call {
    /// Whether the answer is a list, or is made from one.
    pub(super) fn lists(&self) -> bool {
        matches!(
            self,
            Call::Status
                | Call::Peers
                | Call::Routes { .. }
                | Call::Dialled
                | Call::Identities
                | Call::Names
                | Call::PeerList
        )
    }

    /// Whether it may be asked on a connection that is there to administer only.
    pub(super) fn administers(&self) -> bool {
        matches!(self, Call::Status | Call::Peers | Call::PeerList | Call::Reload | Call::Stop)
    }
}

/// What comes back.
#[derive(Debug, Encode, BorrowDecode)]
pub(super) enum Reply {
    Done,
    Status(Box<Status>),
    Peers(Vec<Peer>),
    Routes(Vec<Route>),
    Dialled(Vec<Dialled>),
    Sent(Vec<SentInfo>),
    Receipt(Receipt),
    Messages(Vec<Fetched>),
    Pong(Pong),
    Identity(IdentityInfo),
    Identities(Vec<IdentityInfo>),
    Names(Vec<NameInfo>),
    PeerList(Vec<PeerInfo>),
    Text(String),
    Unfinished(Unfinished),
}

impl Reply {
    /// Whether it is a list that fills the outbox by itself.
    pub(super) fn is_long(&self) -> bool {
        let entries = match self {
            Reply::Peers(list) => list.len(),
            Reply::Routes(list) => list.len(),
            Reply::Dialled(list) => list.len(),
            Reply::Identities(list) => list.len(),
            Reply::Names(list) => list.len(),
            Reply::PeerList(list) => list.len(),
            _ => 0,
        };
        entries > LONG_LIST
    }
}

/// One item of a stream.
#[derive(Debug, Encode, BorrowDecode)]
pub(super) enum StreamItem {
    Event(Timestamp, Event),
    Hop(Result<Hop, PingError>),
}

/// A message accepted for sending.
#[derive(Clone, Debug, Encode, Decode)]
pub(super) struct SentInfo {
    pub(super) ticket: u64,
    pub(super) id: MessageId,
    pub(super) durable: bool,
    pub(super) bytes: u64,
}

/// A message fetched, which is the client's once it confirms the ticket.
#[derive(Debug, Encode, Decode)]
pub(super) struct Fetched {
    pub(super) ticket: u64,
    pub(super) from_name: Option<String>,
    pub(super) message: Message,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum Failure {
    Send(SendError),
    Ping(PingError),
    Admin(AdminError),
    /// The client has more under way than a connection may.
    Busy,
    /// The address is not of this node, or was removed.
    NoSuchAddress(Address),
    Stopped,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec;

    #[test]
    fn a_greeting_is_the_magic_the_version_and_a_word() {
        let bytes = encode_greeting(0x0201, GreetingCode::Busy);
        assert_eq!(&bytes, b"rouseipc\x01\x02\x01\x00");
        assert_eq!(decode_greeting(&bytes), Some((0x0201, GreetingCode::Busy)));
        assert_eq!(decode_greeting(b"GET / HTTP/1"), None);
    }

    #[test]
    fn the_shapes_of_version_1_are_fixed() {
        let peer = Address::from_bytes([7; 32]);
        let call = ClientFrame::Call { id: 2, call: Call::Ping { peer, timeout_us: 5 } };
        let mut expected = vec![0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0];
        expected.extend([7; 32]);
        expected.extend([5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(codec::encode(&call).unwrap(), expected);
        let down = DaemonFrame::Failed { id: 1, failure: Failure::Busy };
        assert_eq!(codec::encode(&down).unwrap(), [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
    }

    #[test]
    fn an_outgoing_message_adds_no_more_than_is_reckoned() {
        let peer = Address::from_bytes([7; 32]);
        let message = Outgoing::new(peer, "").from(peer);
        assert!(codec::encode(&message).unwrap().len() <= OUTGOING_EXTRA);
    }
}
