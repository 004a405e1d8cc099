//! The values of the public interface, the same for [`Node`](crate::Node) and [`Client`](crate::Client).

mod event;
mod message;
mod peer;
mod route;
mod status;

pub use event::Event;
pub use message::{
    Body, MAX_MESSAGE, Message, MessageId, Outgoing, Protection, Receipt, SendError, Timestamp,
};
pub use peer::{Dialled, Peer, PeerState, RemovedPeer};
pub use route::{Hop, PingError, Pong, Route, RouteState};
pub use status::{Health, Level, NetmodState, NetmodStatus, Status, Unfinished, Waiting};
