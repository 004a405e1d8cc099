//! Serving requests: the same for a node and for a client of the daemon.

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use crate::types::{Body, Message, MessageKind, Outgoing};

/// The number of requests that are served at a time unless the caller sets another. Further ones wait in the mailbox.
pub(crate) const MAX_SERVED: usize = 64;

/// A request that is being served. Its requester learns that no answer comes when it is dropped before that.
struct Unanswered<'a, A: Fn(Outgoing)> {
    request: Option<Message>,
    abandon: &'a A,
}

impl<A: Fn(Outgoing)> Drop for Unanswered<'_, A> {
    fn drop(&mut self) {
        if let Some(request) = &self.request {
            (self.abandon)(Outgoing::failure(request, SERVER_ENDED));
        }
    }
}

/// The cause of a failure that requesters get when the program that served them has ended.
pub(crate) const SERVER_ENDED: &str = "the program that served it has ended";

/// Serves the messages that `next` returns, up to `limit` at a time, and sends the results with `answer`. It ends with an error
/// of `next`, or when an answer can be sent no more. When it is dropped, `abandon` gets the failures of the requests that
/// were being served.
pub(crate) async fn serve<E, F, B>(
    limit: usize,
    next: impl AsyncFn() -> Result<Message, E>,
    handler: impl Fn(Message) -> F,
    answer: impl AsyncFn(Outgoing) -> Result<(), E>,
    abandon: impl Fn(Outgoing),
) -> Result<(), E>
where
    E: std::fmt::Display,
    F: Future<Output = Result<B, String>>,
    B: Into<Body>,
{
    let serve_one = async |message: Message| {
        let request = Some(message.clone()).filter(|message| message.kind == MessageKind::Request);
        let mut unanswered = Unanswered { request, abandon: &abandon };
        let outgoing = match handler(message.clone()).await {
            Ok(body) => Outgoing::reply(&message, body),
            Err(text) => Outgoing::failure(&message, &text),
        };
        if message.kind != MessageKind::Request {
            return Ok(());
        }
        let answered = match answer(outgoing).await {
            Ok(()) => Ok(()),
            // An answer may be too long, which its requester has to learn at once.
            Err(error) => answer(Outgoing::failure(&message, &error.to_string())).await,
        };
        unanswered.request = None;
        answered
    };
    let mut running = FuturesUnordered::new();
    loop {
        if running.len() >= limit.max(1) {
            running.next().await.unwrap_or(Ok(()))?;
            continue;
        }
        futures::select_biased! {
            served = running.select_next_some() => served?,
            message = std::pin::pin!(next().fuse()) => running.push(serve_one(message?)),
        }
    }
}
