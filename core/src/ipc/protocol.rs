//! The protocol of the socket: the greetings, the frames and their bounds.
//!
//! Each side begins with a greeting of [`GREETING_LENGTH`] bytes: the magic, its version, and a code. Then come frames:
//! a little-endian `u32` with the length of what follows, at most [`MAX_FRAME`], and a value: [`ClientFrame`] from the
//! client, [`DaemonFrame`] from the daemon. The client gives each call a number that it never uses again on that
//! connection. A call ends with [`DaemonFrame::Reply`], [`DaemonFrame::Failed`] or [`DaemonFrame::End`], or when the
//! client cancels it.
//!
//! It is public for programs that use the daemon in their own way; in Rust, [`Client`](crate::Client) speaks it. Values are
//! encoded by [`codec`](rouse_proto::wire::codec).

mod calls;

pub use calls::{Call, Failure, Fetched, Reply, SentInfo, StreamItem};

use crate::address::Address;
use crate::types::MAX_MESSAGE;
use crate::wire::codec::{BorrowDecode, Encode};

/// The version of everything in this file. A change to any of it is a new version.
pub const VERSION: u16 = 4;

/// The longest frame, in bytes: the longest message and its fields.
pub const MAX_FRAME: usize = 17 << 20;

/// The most calls under way on one connection.
pub const MAX_CALLS: usize = 1024;

/// The calls that each connection may have under way whatever the others have. Further ones take a permit from a quota
/// of all connections.
pub(super) const FREE_CALLS: usize = 16;

/// The most subscriptions to events on one connection.
pub const MAX_SUBSCRIBED: usize = 8;

/// The number of entries from which on a list is a long one, which fills an outbox by itself.
pub(super) const LONG_LIST: usize = 8192;

/// The most bytes of calls under way on one connection. One call alone may always be as long as a frame.
pub(super) const MAX_CALL_BYTES: usize = 48 << 20;

/// The most messages that one call fetches.
pub const MAX_BATCH: usize = 1024;

/// The most bytes of bodies in one reply; a longer message comes alone.
pub(super) const MAX_REPLY_BODIES: usize = MAX_MESSAGE;

/// The most messages fetched and not confirmed on one connection.
pub const MAX_UNCONFIRMED: usize = 8192;

/// The most bytes of their bodies.
pub const MAX_UNCONFIRMED_BYTES: usize = 64 << 20;

/// The most sent messages whose receipts one connection may still request.
pub const MAX_SENT: usize = 65_536;

/// Upper bound on what the encoding of one [`Outgoing`] adds to its body, in bytes.
pub(super) const OUTGOING_OVERHEAD: usize = 256;

/// Length of a greeting, in bytes.
pub const GREETING_LENGTH: usize = 12;

const MAGIC: [u8; 8] = *b"rouseipc";

/// The code of a greeting: the answer of the daemon, or the purpose of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GreetingCode {
    /// The daemon serves the connection; the client makes calls.
    Ok,
    /// The daemon accepts no more connections.
    Busy,
    /// The daemon is stopping.
    Stopping,
    /// The client administers the daemon. It is served even when the daemon accepts no more connections, for a few
    /// seconds and for short calls only.
    Administer,
    /// A code of a later version.
    Unknown,
}

/// The bytes of a greeting.
pub fn encode_greeting(version: u16, code: GreetingCode) -> [u8; GREETING_LENGTH] {
    let code: u16 = match code {
        GreetingCode::Ok => 0,
        GreetingCode::Busy => 1,
        GreetingCode::Stopping => 2,
        GreetingCode::Administer => 3,
        GreetingCode::Unknown => u16::MAX,
    };
    let mut bytes = [0; GREETING_LENGTH];
    for (to, from) in
        bytes.iter_mut().zip(MAGIC.into_iter().chain(version.to_le_bytes()).chain(code.to_le_bytes()))
    {
        *to = from;
    }
    bytes
}

/// The version and the code of a greeting; `None` when the bytes are not a greeting.
pub fn decode_greeting(bytes: &[u8; GREETING_LENGTH]) -> Option<(u16, GreetingCode)> {
    let [magic @ .., v0, v1, c0, c1] = bytes;
    let code = match u16::from_le_bytes([*c0, *c1]) {
        0 => GreetingCode::Ok,
        1 => GreetingCode::Busy,
        2 => GreetingCode::Stopping,
        3 => GreetingCode::Administer,
        _ => GreetingCode::Unknown,
    };
    (*magic == MAGIC).then_some((u16::from_le_bytes([*v0, *v1]), code))
}

/// A frame from the client.
#[derive(Debug, Encode, BorrowDecode)]
pub enum ClientFrame {
    /// Begins a call.
    Call {
        /// The number of the call, which the client has not used before on this connection.
        id: u64,
        /// The request.
        call: Call,
    },
    /// Cancels a call: its reply is no longer wanted.
    Cancel {
        /// The number of the call.
        id: u64,
    },
    /// Grants room for more items of a stream.
    Credit {
        /// The number of the call that the stream answers.
        id: u64,
        /// The number of further items.
        items: u32,
    },
    /// Confirms messages: they leave their inboxes.
    Confirm {
        /// The tickets of [`Fetched`] messages.
        tickets: Vec<u64>,
    },
    /// Gives messages back to the heads of their inboxes, since the application could not deal with them.
    Return {
        /// The tickets of [`Fetched`] messages.
        tickets: Vec<u64>,
    },
    /// Announces that the receipts of sent messages are not wanted.
    Forget {
        /// The tickets of [`SentInfo`].
        tickets: Vec<u64>,
    },
    /// Gives messages back that the application has not seen, so that no attempt to deliver them is counted.
    Release {
        /// The tickets of [`Fetched`] messages.
        tickets: Vec<u64>,
    },
}

impl ClientFrame {
    /// The number of tickets in the frame.
    pub(super) fn tickets(&self) -> usize {
        match self {
            ClientFrame::Confirm { tickets }
            | ClientFrame::Return { tickets }
            | ClientFrame::Release { tickets }
            | ClientFrame::Forget { tickets } => tickets.len(),
            ClientFrame::Call { .. } | ClientFrame::Cancel { .. } | ClientFrame::Credit { .. } => 0,
        }
    }
}

/// A frame from the daemon.
#[derive(Debug, Encode, BorrowDecode)]
pub enum DaemonFrame {
    /// The first frame after the greeting: the address that a call uses when it names none.
    Welcome {
        /// The default address of the client's user.
        address: Address,
        /// The version of the daemon.
        version: String,
    },
    /// The reply, which ends a call.
    Reply {
        /// The number of the call.
        id: u64,
        /// The result.
        reply: Reply,
    },
    /// The failure of a call, which ends it.
    Failed {
        /// The number of the call.
        id: u64,
        /// The reason.
        failure: Failure,
    },
    /// An item of a stream.
    Item {
        /// The number of the call that the stream answers.
        id: u64,
        /// The item.
        item: StreamItem,
    },
    /// The end of a stream.
    End {
        /// The number of the call that the stream answers.
        id: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{MessageId, Outgoing};
    use crate::wire::codec;

    #[test]
    fn a_greeting_is_the_magic_the_version_and_a_code() {
        let bytes = encode_greeting(0x0201, GreetingCode::Busy);
        assert_eq!(&bytes, b"rouseipc\x01\x02\x01\x00");
        assert_eq!(decode_greeting(&bytes), Some((0x0201, GreetingCode::Busy)));
        assert_eq!(decode_greeting(b"GET / HTTP/1"), None);
    }

    #[test]
    fn the_shapes_of_calls_and_failures_are_fixed() {
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
    fn an_outgoing_message_adds_no_more_than_its_overhead() {
        let peer = Address::from_bytes([7; 32]);
        let longest = "x".repeat(64);
        let message = Outgoing::new(peer, "").from(peer).service(longest).in_reply_to(MessageId([7; 16]));
        assert!(codec::encode(&message).unwrap().len() <= OUTGOING_OVERHEAD);
    }
}
