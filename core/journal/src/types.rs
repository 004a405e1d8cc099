//! The values that the message layer and the journal exchange.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use rouse_proto::address::Address;
use rouse_proto::session::Standing;
use rouse_proto::types::{MessageId, Service, Timestamp};

use crate::error::Refusal;
use crate::window::ReceiveWindow;

/// The two ends of a conversation, for which the journal has a record.
pub use rouse_proto::types::Ends as Pair;

/// A place where messages wait: a service of one address of this node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxName {
    /// The address.
    pub local: Address,
    /// The service.
    pub service: Service,
}

/// A message that waits to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxMessage {
    /// Its sequence in the present incarnation of the conversation. Each sequence is used once.
    pub seq: u64,
    /// The moment at which it was sent, by this node's clock. It is passed on, and decides nothing.
    pub sent_at: Timestamp,
    /// The time that it may still wait.
    pub life: Duration,
    /// The service of the recipient.
    pub service: Service,
    /// The message that it answers.
    pub in_reply_to: Option<MessageId>,
    /// The bytes of the application.
    pub body: Bytes,
}

/// A message that waits in the outbox, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The id that was given to it when it was put.
    pub id: MessageId,
    /// Its sender and its recipient.
    pub pair: Pair,
    /// The length of its body.
    pub bytes: u64,
    /// The message, with an empty body.
    pub message: OutboxMessage,
}

/// A message that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxMessage {
    /// Its sequence in the sender's incarnation.
    pub seq: u64,
    /// The moment at which it was sent, by the sender's clock.
    pub sent_at: Timestamp,
    /// The moment at which it arrived, by this node's clock.
    pub received_at: Timestamp,
    /// The service to which it is addressed.
    pub service: Service,
    /// The message that it answers.
    pub in_reply_to: Option<MessageId>,
    /// The bytes of the application.
    pub body: Bytes,
}

/// Messages of one incarnation of a sender that have arrived together, and the advance of its receive window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The recipient and the sender.
    pub pair: Pair,
    /// Whether an application has sent this sender something, or it is of this node. It then has its place in the journal
    /// apart from the senders that any node can invent, and keeps it as long as the conversation is not forgotten. A message
    /// in the outbox has the same effect.
    pub is_answered: bool,
    /// The incarnation of the sender.
    pub incarnation: u64,
    /// The floor of the sender: all below it is settled.
    pub floor: u64,
    /// Ranges that the sender has withdrawn.
    pub withdrawn: Vec<Range<u64>>,
    /// The messages.
    pub messages: Vec<InboxMessage>,
}

/// The fate of a message that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reception {
    /// It is in the inbox.
    Stored(InboxKey),
    /// It was received before, possibly by a commit that was reported as failed. Its receipt may be sent again.
    Duplicate,
    /// It is not in the inbox, and no receipt may be sent for it.
    Refused(Refusal),
}

/// The place of a message in the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboxKey {
    pub(crate) mailbox: u64,
    pub(crate) pair: u64,
    pub(crate) number: u64,
}

/// A message of the inbox that is lent to an application until it is acknowledged or given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The place by which it is acknowledged or given back.
    pub key: InboxKey,
    /// The id that its sender gave it.
    pub id: MessageId,
    /// The recipient and the sender.
    pub pair: Pair,
    /// The attempts to deliver it, with this one.
    pub deliveries: u8,
    /// The message.
    pub message: InboxMessage,
}

/// A message of the inbox as a list shows it, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxEntry {
    /// Its place.
    pub key: InboxKey,
    /// The id that its sender gave it.
    pub id: MessageId,
    /// The recipient and the sender.
    pub pair: Pair,
    /// The length of its body.
    pub bytes: u64,
    /// The attempts to deliver it.
    pub deliveries: u8,
    /// Whether an application has it at the moment.
    pub leased: bool,
    /// The message, with an empty body.
    pub message: InboxMessage,
}

/// The part of the inbox that a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboxPart {
    /// Messages that wait for an application or are lent to one.
    Waiting,
    /// Messages that were delivered [`MAX_DELIVERIES`](crate::MAX_DELIVERIES) times and never acknowledged.
    DeadLetters,
}

/// The durable state of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairState {
    /// Our incarnation.
    pub incarnation: u64,
    /// The lowest sequence of ours that waits in the outbox; `next` when none does.
    pub floor: u64,
    /// The first sequence that was never used or reserved.
    pub next: u64,
    /// The window of the sender's latest incarnation; `None` when nothing was received.
    pub window: Option<ReceiveWindow>,
}

impl PairState {
    /// This end of the conversation as a session handshake reports it.
    ///
    /// ```
    /// use rouse_journal::PairState;
    ///
    /// let state = PairState { incarnation: 5, floor: 2, next: 9, window: None };
    /// assert_eq!(state.standing().peer_incarnation, 0);
    /// ```
    pub fn standing(&self) -> Standing {
        let (peer_incarnation, taken) =
            self.window.as_ref().map_or((0, 0), |window| (window.incarnation, window.floor()));
        Standing { incarnation: self.incarnation, floor: self.floor, peer_incarnation, taken }
    }

    /// Whether the peer has received sequences that this journal has not used yet. The journal is then an older copy of
    /// itself, and the recipient would drop the next messages as repetitions: the conversation needs a new incarnation
    /// ([`Journal::renew`](crate::Journal::renew)).
    ///
    /// `self` has to be the state that [`Journal::open_pair`](crate::Journal::open_pair) has returned before a message
    /// was put: one that was put since would use up the sequences by which the difference shows.
    ///
    /// ```
    /// use rouse_journal::PairState;
    /// # use rouse_proto::session::Standing;
    ///
    /// let restored = PairState { incarnation: 5, floor: 2, next: 9, window: None };
    /// let peer = Standing { peer_incarnation: 5, taken: 10, ..Standing::default() };
    /// assert!(restored.is_rolled_back(&peer));
    /// ```
    pub fn is_rolled_back(&self, peer: &Standing) -> bool {
        peer.peer_incarnation == self.incarnation && peer.taken_below() > self.next
    }
}

/// A moment by both clocks: one that never jumps, and that of the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time since an arbitrary start of this process.
    pub running: Duration,
    /// The time of the wall clock, which may jump.
    pub wall: Timestamp,
}

/// The place of a message in the outbox, for lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutboxKey {
    pub(crate) pair: u64,
    pub(crate) seq: u64,
}
