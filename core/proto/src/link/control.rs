//! The control channel: messages between the routers of two neighbours, each exactly once and in order.
//!
//! Messages form one stream of bytes. [`ControlSender`] cuts it into numbered segments and retransmits them until they
//! are acknowledged; [`ControlReceiver`] reassembles it. The stream ignores the borders of messages, so that many short
//! messages share one segment, because a router sends its updates in bursts. Memory is bounded on both sides: by
//! [`QUEUE`] bytes that wait to be sent or acknowledged, and by [`WINDOW`] segments in flight.

pub(super) mod receiver;
pub(super) mod sender;
#[cfg(test)]
mod tests;

pub(super) use receiver::ControlReceiver;
pub(super) use sender::ControlSender;

use super::keys::Sealer;
use crate::wire::link::SEGMENT_OVERHEAD;

/// The maximum length of a message, in bytes. It bounds the memory that a neighbour can claim with one length field.
pub(super) const MAX_MESSAGE: usize = 4096;
/// The maximum of bytes that wait to be sent or acknowledged, including two for the length of each message.
pub(super) const QUEUE: usize = 1 << 20;
/// The maximum number of segments in flight. It is 64 because the selective acknowledgement is a bitmap of 64 bits. A
/// segment that is further ahead violates the protocol.
pub(super) const WINDOW: usize = 64;
/// The maximum length of the stream's part in one segment, in bytes. It fits a path with an MTU of 1200 bytes, the
/// length that nearly every path carries, so that no segment depends on the discovery of a larger MTU.
pub(super) const MAX_BODY: usize = 1200 - Sealer::OVERHEAD - SEGMENT_OVERHEAD;

/// The message was not accepted: 1 MiB waits already, the message is empty or longer than 4096 bytes, or the link is
/// down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "control message not accepted: the queue is full, the length is not 1 to 4096 bytes, or the link is down"
)]
pub struct ControlFull;
