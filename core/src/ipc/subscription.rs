//! The streams of a client: the events of the node, and the hops on the path to a peer.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;

use crate::ipc::client_connection::PendingCall;
use crate::ipc::error::ClientError;
use crate::ipc::protocol::StreamItem;
use crate::types::{Event, Hop, Timestamp};

/// The events of the node, as they happen; see [`Client::events`](crate::ipc::Client::events). The stream ends when the
/// daemon stops or the connection is lost.
#[derive(Debug)]
pub struct Subscription {
    pub(super) call: PendingCall,
    pub(super) failure: Option<ClientError>,
}

impl Subscription {
    /// The reason for which the stream has ended: [`ClientError::Stopped`] when the daemon stopped in order,
    /// [`ClientError::Disconnected`] when it was killed, [`ClientError::Busy`] when there are too many subscriptions. `None`
    /// before the end.
    pub fn failure(&self) -> Option<&ClientError> {
        self.failure.as_ref()
    }
}

impl Stream for Subscription {
    type Item = (Timestamp, Event);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.call.poll_item(cx).map(|item| {
            let failure = match item {
                Some(Ok(StreamItem::Event(at, event))) => return Some((at, event)),
                Some(Err(error)) => error,
                // The daemon ends the stream without an error when its node stops.
                Some(Ok(StreamItem::Hop(_))) | None => ClientError::Stopped,
            };
            this.failure.get_or_insert(failure);
            None
        })
    }
}

/// The hops on the path to a peer, as they answer; see [`Client::trace`](crate::ipc::Client::trace).
#[derive(Debug)]
pub struct Tracing {
    pub(super) call: PendingCall,
}

impl Stream for Tracing {
    type Item = Result<Hop, ClientError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().call.poll_item(cx).map(|item| match item {
            Some(Ok(StreamItem::Hop(hop))) => Some(hop.map_err(ClientError::Ping)),
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(StreamItem::Event(..))) | None => None,
        })
    }
}
