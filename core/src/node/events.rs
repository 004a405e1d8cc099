//! The event bus: events of the node, for all subscribers.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use futures::Stream;

use crate::inbox::{DeferredWake, Full, Inbox};
use crate::notify::Notify;
use crate::rt;
use crate::stats::{DropCause, Stats};
use crate::types::{Event, Timestamp};

/// Events that a subscriber may lag behind. Beyond that it loses the oldest, which are counted, so that a slow
/// subscriber delays nothing.
const BACKLOG: usize = 4096;

type EventQueue = Inbox<(Timestamp, Event)>;

#[derive(Default)]
pub(crate) struct EventBus {
    subscribers: Mutex<Subscribers>,
    /// The count of subscriptions.
    subscribed: Notify<u64>,
}

/// An event that its subscribers have, and were not woken for yet.
#[must_use = "subscribers are woken at once if it is not kept"]
pub(crate) struct WrittenEvent(Vec<DeferredWake<(Timestamp, Event)>>);

impl WrittenEvent {
    /// Wakes the subscribers that wait. No lock may be held, because a woken application may call the node at once.
    pub(crate) fn wake(self) {
        drop(self.0);
    }
}

#[derive(Default)]
struct Subscribers {
    queues: Vec<Weak<EventQueue>>,
    closed: bool,
}

impl EventBus {
    pub(crate) fn subscribe(&self) -> Events {
        let queue = Arc::new(Inbox::new(BACKLOG, Full::DropOldest));
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        if subscribers.closed {
            queue.close();
        } else {
            subscribers.queues.push(Arc::downgrade(&queue));
        }
        drop(subscribers);
        *self.subscribed.write() += 1;
        Events { stream: Box::pin(receive_all(queue)) }
    }

    #[cfg(test)]
    pub(crate) fn is_free(&self) -> bool {
        self.subscribers.try_lock().is_ok()
    }

    /// Waits until there is a subscriber, so that a task need not gather what has no reader.
    pub(crate) async fn subscriber(&self) {
        self.subscribed.when(|_| self.has_subscriber().then_some(())).await;
    }

    pub(crate) fn has_subscriber(&self) -> bool {
        let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.queues.iter().any(|queue| queue.strong_count() > 0)
    }

    pub(crate) fn publish(&self, stats: &Stats, event: Event) {
        self.write(stats, event).wake();
    }

    /// Writes an event for every subscriber, and wakes none yet, so that the caller may hold the lock under which it has
    /// decided on the event. All subscribers receive the events in the order of these calls.
    pub(crate) fn write(&self, stats: &Stats, event: Event) -> WrittenEvent {
        let mut written = Vec::new();
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        if subscribers.queues.is_empty() {
            return WrittenEvent(written);
        }
        let at = rt::wall_clock();
        subscribers.queues.retain(|subscriber| {
            let Some(queue) = subscriber.upgrade() else { return false };
            if queue.len() >= BACKLOG {
                stats.drop(DropCause::EventLost);
            }
            // The queue drops its oldest event, so that only one that is closed refuses this one.
            let (_, wake) = queue.try_push_deferred((at, event.clone()));
            written.push(wake);
            true
        });
        WrittenEvent(written)
    }

    pub(crate) fn close(&self) {
        let queues = {
            let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
            subscribers.closed = true;
            std::mem::take(&mut subscribers.queues)
        };
        for queue in queues.iter().filter_map(Weak::upgrade) {
            queue.close();
        }
    }
}

fn receive_all(queue: Arc<EventQueue>) -> impl Stream<Item = (Timestamp, Event)> + Send {
    futures::stream::unfold(queue, |queue| async move {
        let event = queue.recv().await.ok()?;
        Some((event, queue))
    })
}

/// The events of a node, from the subscription until the node stops. A subscriber that lags more than 4096 events
/// behind loses the oldest.
pub struct Events {
    stream: Pin<Box<dyn Stream<Item = (Timestamp, Event)> + Send>>,
}

impl Stream for Events {
    type Item = (Timestamp, Event);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.as_mut().poll_next(cx)
    }
}
