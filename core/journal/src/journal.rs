//! The operations of a journal, as the message layer asks for them.

use std::ops::Range;

use rouse_proto::address::Address;
use rouse_proto::types::{MessageId, Waiting};

use crate::delivery::LeaseLimit;
use crate::error::Refusal;
use crate::request::Completion;
use crate::status::JournalStatus;
use crate::types::{
    Arrival, InboxEntry, InboxKey, InboxMessage, InboxPart, Lease, MailboxName, OutboxEntry, OutboxKey,
    OutboxMessage, Pair, PairState, Reception,
};

/// A durable store of messages. Each operation is a [`Completion`], which is ready when the operation is on the disk.
///
/// # The outbox
///
/// 1. [`Journal::find_pair`] loads the state of a conversation, before anything else is done with it.
///    [`Journal::open_pair`] makes it, before its first message.
/// 2. [`Journal::put`] stores messages. Their ids follow from the incarnation and their sequences.
/// 3. After a restart, [`Journal::destinations`] and [`Journal::load`] return what waits.
/// 4. [`Journal::settle`] removes what was delivered or withdrawn, and [`Journal::expire`] what has waited too long.
///
/// A sequence that is used for a message that is not stored must be reserved first ([`Journal::reserve`]). Otherwise a
/// restarted node would use it again, and the recipient would take the new message for a repetition.
///
/// # The inbox
///
/// 1. [`Journal::receive`] stores messages and records their sequences in one commit. A receipt may be sent after that.
/// 2. [`Journal::lease`] lends messages to an application.
/// 3. [`Journal::acknowledge`] removes them; [`Journal::give_back`] lets them wait for the next application.
pub trait Journal: Send + Sync {
    /// Loads the state of a conversation, which is made with the random number `incarnation` if there is none.
    fn open_pair(&self, pair: Pair, incarnation: u64) -> Completion<Result<PairState, Refusal>>;

    /// The state of a conversation; `None` when it was never opened, or was forgotten. Nothing is written.
    fn find_pair(&self, pair: Pair) -> Completion<Option<PairState>>;

    /// Lets a restarted node begin with the sequence `next`, unless it would begin with a later one.
    fn reserve(&self, pair: Pair, next: u64) -> Completion<Result<(), Refusal>>;

    /// Gives a conversation a new incarnation, the random number `incarnation`, because its peer has received sequences
    /// that this journal has not used ([`PairState::is_rolled_back`]). Messages that wait keep their sequences.
    fn renew(&self, pair: Pair, incarnation: u64) -> Completion<Result<PairState, Refusal>>;

    /// Stores messages to be delivered, in one commit, each with its own outcome.
    fn put(&self, messages: Vec<(Pair, OutboxMessage)>) -> Completion<Vec<Result<MessageId, Refusal>>>;

    /// Removes the messages with these sequences. Returns those that were there: at most 16 384 at once.
    fn settle(&self, pair: Pair, sequences: Vec<Range<u64>>) -> Completion<Waiting>;

    /// Removes messages whose time to live has run out, at most `limit`, and returns them without their bodies.
    fn expire(&self, limit: usize) -> Completion<Vec<OutboxEntry>>;

    /// The messages that wait after a place in the list, without their bodies.
    fn outbox(&self, after: Option<OutboxKey>, limit: usize) -> Completion<Vec<(OutboxKey, OutboxEntry)>>;

    /// The conversations in which messages wait, after a place in the list.
    fn destinations(
        &self,
        after: Option<OutboxKey>,
        limit: usize,
    ) -> Completion<Vec<(OutboxKey, Pair, Waiting)>>;

    /// The messages that wait in a conversation from a sequence on: one, and more while their bodies have no more than
    /// `bytes` bytes together.
    fn load(&self, pair: Pair, from: u64, bytes: usize) -> Completion<Vec<OutboxMessage>>;

    /// Stores messages that have arrived and advances the receive windows, in one commit. The outcomes are in the order of
    /// the arrivals and of their messages. After one that is refused, those of the same arrival and service are refused too,
    /// so that they stay in their order.
    fn receive(&self, arrivals: Vec<Arrival>) -> Completion<Vec<Vec<Reception>>>;

    /// Lends messages of a mailbox, those of one sender or of all senders in turn. The result is empty when none waits.
    fn lease(&self, mailbox: MailboxName, from: Option<Address>, limit: LeaseLimit)
    -> Completion<Vec<Lease>>;

    /// Removes messages because an application has dealt with them. Returns those that were there. A removal waits a moment for
    /// others, so that they share a commit. An empty list removes nothing and does not wait: it is ready as soon as all
    /// operations before it are on the disk.
    fn acknowledge(&self, messages: Vec<InboxKey>) -> Completion<Waiting>;

    /// Gives messages back that were lent. Returns how many were. One that was delivered
    /// [`MAX_DELIVERIES`](crate::MAX_DELIVERIES) times goes to the dead letters.
    fn give_back(&self, messages: Vec<InboxKey>) -> Completion<usize>;

    /// Gives messages back that were lent and that no application has seen, so that no attempt is counted. Returns how many
    /// were.
    fn release(&self, messages: Vec<InboxKey>) -> Completion<usize>;

    /// The messages of a part of the inbox after a place in the list, without their bodies.
    fn inbox(&self, part: InboxPart, after: Option<InboxKey>, limit: usize) -> Completion<Vec<InboxEntry>>;

    /// A message of the inbox with its body; it is not lent.
    fn peek(&self, message: InboxKey) -> Completion<Option<(Pair, InboxMessage)>>;

    /// Lets a dead letter wait again. Returns false when there is none.
    fn revive(&self, message: InboxKey) -> Completion<bool>;

    /// The state of the journal at the moment.
    fn status(&self) -> JournalStatus;

    /// Is ready when messages have left the journal since [`JournalStatus::room`] was `seen`. A message that was refused may
    /// fit after that.
    fn room_after(&self, seen: u64) -> Completion<()>;

    /// Carries out the operations that wait, and closes the journal. Later operations fail.
    fn close(&self) -> Completion<()>;
}
