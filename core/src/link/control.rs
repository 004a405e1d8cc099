//! The control channel: messages between the routers of two neighbours, each exactly once and in order.
//!
//! Messages form one stream of bytes, which [`ControlSender`] cuts into numbered segments and repeats until they are acknowledged,
//! and which [`ControlReceiver`] puts together again. What waits is sent together, as many messages to a segment as it takes. Sizes
//! are bounded on both sides: [`QUEUE`] bytes to be sent, [`WINDOW`] segments under way.

pub(super) mod receiver;
pub(super) mod sender;
#[cfg(test)]
mod tests;

pub(super) use receiver::ControlReceiver;
pub(super) use sender::ControlSender;

use super::keys::Sealer;
use crate::wire::link::SEGMENT_OVERHEAD;

/// The longest message, in bytes.
pub(crate) const MAX_MESSAGE: usize = 4096;
/// The most that may wait to be sent or acknowledged, in bytes, with two for the length of each message.
pub(crate) const QUEUE: usize = 1 << 20;
/// The most segments under way. What comes further ahead breaks the protocol.
pub(super) const WINDOW: usize = 64;
/// The longest part of the stream in one segment, in bytes: what fits any path with an MTU of 1200.
pub(super) const MAX_BODY: usize = 1200 - Sealer::OVERHEAD - SEGMENT_OVERHEAD;

/// The message was not taken: too much waits already, the message is longer than 4096 bytes or empty, or
/// the link is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the control channel takes no more, or not this")]
pub(crate) struct ControlFull;
