//! The values of the public interface, the same for [`Node`](crate::Node) and [`Client`](crate::Client).

mod event;
mod inbox;
mod outbox;
mod outgoing;
mod peer;
mod request;
mod route;
mod status;

pub use event::Event;
pub use inbox::UnreadMessage;
pub use outbox::WaitingMessage;
pub use outgoing::{Outgoing, Receipt, SendError};
pub use peer::{Dialled, Peer};
pub use request::RequestError;
pub(crate) use rouse_proto::types::Ends;
pub use rouse_proto::types::{
    Attributes, Body, MAX_MESSAGE, Message, MessageId, MessageKind, PeerState, Protection, RemovedPeer,
    RouteState, Service, ServiceTooLong, Timestamp, Waiting,
};
pub use route::{Hop, PingError, Pong, Route};
pub use status::{Health, Level, Mesh, NetmodState, NetmodStatus, Queued, Status, Unfinished};
