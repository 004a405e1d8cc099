//! Serving requests: the same for a node and for a client of the daemon.

use std::fmt::Display;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use crate::types::{Body, Message, MessageKind, Outgoing};

/// The number of requests that are served at a time unless the caller sets another. Further ones wait in the mailbox.
pub(crate) const MAX_SERVED: usize = 64;

/// The source of requests, and the way of their answers. It is a trait with named futures, since those of async closures are not
/// known to be `Send` for each lifetime, and a server could then not be spawned on an executor with several threads.
pub(crate) trait RequestSource: Sync {
    /// The cause that ends the server.
    type Error: Display + Send;

    /// The next message to be served.
    fn next(&self) -> impl Future<Output = Result<Message, Self::Error>> + Send;

    /// Sends an answer.
    fn answer(&self, answer: Outgoing) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Takes the failure of a request whose server ends before it has answered.
    fn abandon(&self, failure: Outgoing);
}

/// A request that is being served. Its requester learns that no answer comes when it is dropped before that.
struct Unanswered<'a, S: RequestSource> {
    request: Option<Message>,
    source: &'a S,
}

impl<S: RequestSource> Drop for Unanswered<'_, S> {
    fn drop(&mut self) {
        if let Some(request) = &self.request {
            self.source.abandon(Outgoing::failure(request, SERVER_ENDED));
        }
    }
}

/// The cause of a failure that requesters get when the program that served them has ended.
pub(crate) const SERVER_ENDED: &str = "the program that served it has ended";

/// Serves messages, up to `limit` at a time, and sends the results. It ends with an error of the source. When it is
/// dropped, the source gets the failures of the requests that were being served.
pub(crate) async fn serve<S: RequestSource, F, B>(
    limit: usize,
    source: &S,
    handler: impl Fn(Message) -> F,
) -> Result<(), S::Error>
where
    F: Future<Output = Result<B, String>>,
    B: Into<Body>,
{
    let mut running = FuturesUnordered::new();
    loop {
        if running.len() >= limit.max(1) {
            running.next().await.unwrap_or(Ok(()))?;
            continue;
        }
        futures::select_biased! {
            served = running.select_next_some() => served?,
            message = std::pin::pin!(source.next().fuse()) => running.push(serve_one(source, &handler, message?)),
        }
    }
}

/// Serves one message. Only a request gets an answer.
async fn serve_one<S: RequestSource, F, B>(
    source: &S,
    handler: &impl Fn(Message) -> F,
    message: Message,
) -> Result<(), S::Error>
where
    F: Future<Output = Result<B, String>>,
    B: Into<Body>,
{
    let request = Some(message.clone()).filter(|message| message.kind == MessageKind::Request);
    let mut unanswered = Unanswered { request, source };
    let outgoing = match handler(message.clone()).await {
        Ok(body) => Outgoing::reply(&message, body),
        Err(text) => Outgoing::failure(&message, &text),
    };
    if message.kind != MessageKind::Request {
        return Ok(());
    }
    let answered = match source.answer(outgoing).await {
        Ok(()) => Ok(()),
        // An answer may be too long, which its requester has to learn at once.
        Err(error) => source.answer(Outgoing::failure(&message, &error.to_string())).await,
    };
    unanswered.request = None;
    answered
}
