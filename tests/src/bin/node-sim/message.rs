//! A message, and all that the account knows of it.

use std::time::Duration;

use rouse_core::MessageId;

use crate::plan::NodeId;

/// The bytes at the beginning of a body that name the message.
const NUMBER: usize = 8;

/// The promise with which a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    Durable,
    Volatile,
    /// A request, which is volatile too.
    Request,
}

/// The answer of the call that sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptance {
    Sending,
    Accepted(MessageId),
    Refused,
    /// The process ended during the call.
    Unknown,
}

/// The last report about a message that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Delivered,
    /// Its time to live ran out before any of it had left.
    Expired,
    /// Its time to live ran out, and it may have arrived.
    MayHaveArrived,
    Cancelled,
}

/// A message that an application has taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// The time at which it was taken.
    pub(crate) at: Duration,
    /// The run of the recipient.
    pub(crate) run: u64,
    pub(crate) is_given_back: bool,
    /// The time at which the application acknowledged it.
    pub(crate) acknowledged: Option<Duration>,
}

/// A message to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) service: usize,
    pub(crate) promise: Promise,
    pub(crate) life: Duration,
    pub(crate) length: usize,
}

/// A message and all that is known of it.
pub(crate) struct Entry {
    pub(crate) draft: Draft,
    pub(crate) sent_at: Duration,
    pub(crate) acceptance: Acceptance,
    pub(crate) report: Option<Report>,
    pub(crate) is_cancelled: bool,
    pub(crate) taken: Vec<Taken>,
    /// Whether its id was given to another message since.
    pub(crate) is_void: bool,
    /// Whether the sending process ended after the message was accepted, or the receiving one if the message is volatile.
    pub(crate) has_restarted: bool,
}

/// The name of a service.
pub(crate) fn service_name(service: usize) -> &'static str {
    ["", "one", "two", "echo"][service]
}

/// The number of the service that answers requests.
pub(crate) const ECHO: usize = 3;

/// The body of a message.
pub(crate) fn body(number: u64, length: usize) -> Vec<u8> {
    let filler =
        (NUMBER..length.max(NUMBER)).map(|at| (number as usize).wrapping_mul(31).wrapping_add(at * 7) as u8);
    number.to_le_bytes().into_iter().chain(filler).collect()
}

/// The number of a message with this body.
pub(crate) fn number(body: &[u8]) -> Option<u64> {
    body.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
