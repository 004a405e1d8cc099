//! Operations on their way to the journal's thread, and their results on the way back.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rouse_inbox::{Inbox, Notify};

use crate::error::{JournalError, StoreError};
use crate::transaction::Transaction;
use crate::types::Pair;

/// The time at which an operation has to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// As soon as possible.
    Now,
    /// With the next operation that is urgent, or shortly after: a crash before only repeats work.
    Soon,
}

/// The properties of an operation that the engine has to know.
#[derive(Debug)]
pub(crate) struct Properties {
    pub(crate) urgency: Urgency,
    /// The bytes that wait with it.
    pub(crate) bytes: usize,
    /// Whether it adds messages, so that it is refused while the disk is full.
    pub(crate) grows: bool,
    /// Messages that have to be removed if it fails, because a commit that is reported as failed may have been made, and
    /// a message that was refused must not be sent later.
    pub(crate) withdraw: Vec<(Pair, u64)>,
}

/// An operation that waits for its turn. It may be applied twice, when the first commit fails.
pub(crate) trait Request: Send {
    fn properties(&self) -> &Properties;

    /// Carries it out as part of a transaction, and keeps the result.
    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError>;

    /// Hands the result over, after the commit.
    fn complete(self: Box<Self>, outcome: Result<(), JournalError>);
}

/// A request with the function that carries it out.
pub(crate) struct Operation<T, F> {
    properties: Properties,
    work: F,
    result: Option<T>,
    slot: Slot<T>,
}

/// A request in the queue.
pub(crate) type QueuedRequest = Box<dyn Request>;
/// The queue of requests.
pub(crate) type RequestQueue = Inbox<QueuedRequest>;

type Outcome<T> = Result<T, JournalError>;

/// The place for the result of an operation. When it is dropped without one, the operation was never carried out.
struct Slot<T>(Arc<Notify<Option<Outcome<T>>>>);

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        let mut slot = self.0.write();
        if slot.is_none() {
            *slot = Some(Err(JournalError::Closed));
        }
    }
}

impl<T, F> Operation<T, F>
where
    T: Send + 'static,
    F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
{
    pub(crate) fn submit(queue: &Arc<RequestQueue>, properties: Properties, work: F) -> Completion<T> {
        let cell = Arc::new(Notify::new(None));
        let operation = Operation { properties, work, result: None, slot: Slot(cell.clone()) };
        let refused = queue.try_push(Box::new(operation)).err().map(|refused| refused.into_inner());
        let queue = queue.clone();
        let wait = async move {
            if let Some(request) = refused {
                // A closed queue drops the request, which completes it.
                let _ = queue.push(request).await;
            }
            cell.take_when(Option::take).await
        };
        Completion { wait: Box::pin(wait) }
    }
}

impl<T, F> Request for Operation<T, F>
where
    T: Send + 'static,
    F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
{
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn apply(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        self.result = Some((self.work)(transaction)?);
        Ok(())
    }

    fn complete(self: Box<Self>, outcome: Result<(), JournalError>) {
        let Operation { result, slot, .. } = *self;
        let value = outcome.and_then(|()| result.ok_or(JournalError::Closed));
        *slot.0.write() = Some(value);
    }
}

/// The result of an operation, which is ready when the operation is on the disk.
///
/// The operation is queued at once while the queue has room, and is carried out even if its completion is dropped. When
/// the queue is full, it is queued when the completion is polled.
#[must_use = "an operation may fail"]
pub struct Completion<T> {
    wait: Pin<Box<dyn Future<Output = Outcome<T>> + Send>>,
}

impl<T> Completion<T> {
    pub(crate) fn new(wait: impl Future<Output = Outcome<T>> + Send + 'static) -> Self {
        Completion { wait: Box::pin(wait) }
    }

    /// A completion that is ready.
    pub fn ready(outcome: Result<T, JournalError>) -> Self
    where
        T: Send + 'static,
    {
        Completion { wait: Box::pin(std::future::ready(outcome)) }
    }
}

impl<T> Future for Completion<T> {
    type Output = Outcome<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.wait.as_mut().poll(cx)
    }
}

impl<T> fmt::Debug for Completion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").finish_non_exhaustive()
    }
}
