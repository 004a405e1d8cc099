//! Values of the protocol that applications see: messages, and the states of routes and links.

mod ends;
mod message;
mod states;

pub use ends::Ends;
pub use message::{Body, MAX_MESSAGE, Message, MessageId, Protection, Timestamp, Waiting};
pub use states::{PeerState, RemovedPeer, RouteState};
