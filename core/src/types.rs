//! The values of the public interface, the same for [`Node`](crate::Node) and [`Client`](crate::Client).

mod event;
mod message;
mod outgoing;
mod peer;
mod route;
mod states;
mod status;

pub use event::Event;
pub use message::{Body, MAX_MESSAGE, Message, MessageId, Protection, Timestamp, Waiting};
pub use outgoing::{Outgoing, Receipt, SendError};
pub use peer::{Dialled, Peer};
pub use route::{Hop, PingError, Pong, Route};
pub use states::{PeerState, RemovedPeer, RouteState};
pub use status::{Health, Level, NetmodState, NetmodStatus, Status, Unfinished};
