//! Values of the protocol that applications see: messages, and the states of routes and links.

mod ends;
mod message;
mod message_id;
mod service;
mod states;

pub use ends::Ends;
pub use message::{Body, MAX_MESSAGE, Message, Protection, Timestamp, Waiting};
pub use message_id::MessageId;
pub use service::{Attributes, MessageKind, Service, ServiceTooLong};
pub use states::{PeerState, RemovedPeer, RouteState};
