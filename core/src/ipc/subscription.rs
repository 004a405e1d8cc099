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
}

impl Stream for Subscription {
    type Item = (Timestamp, Event);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().call.poll_item(cx).map(|item| match item {
            Some(Ok(StreamItem::Event(at, event))) => Some((at, event)),
            _ => None,
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
