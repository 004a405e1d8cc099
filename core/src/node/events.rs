//! The event bus: what happened, for whoever subscribed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use futures::Stream;

use crate::inbox::{Full, Inbox};
use crate::notify::Notify;
use crate::stats::{DropCause, Stats};
use crate::types::{Event, Timestamp};

/// Events that a subscriber may lag behind. Beyond that the oldest are lost to it, and counted.
const BACKLOG: usize = 4096;

type EventQueue = Inbox<(Timestamp, Event)>;

#[derive(Default)]
pub(crate) struct EventBus {
    subscribers: Mutex<Subscribers>,
    /// How often somebody has subscribed.
    subscribed: Notify<u64>,
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

    /// Waits until somebody listens.
    pub(crate) async fn subscriber(&self) {
        self.subscribed.when(|_| self.has_subscriber().then_some(())).await;
    }

    pub(crate) fn has_subscriber(&self) -> bool {
        let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.queues.iter().any(|queue| queue.strong_count() > 0)
    }

    pub(crate) fn publish(&self, stats: &Stats, event: Event) {
        let mut queues = Vec::new();
        {
            let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
            if subscribers.queues.is_empty() {
                return;
            }
            subscribers.queues.retain(|subscriber| match subscriber.upgrade() {
                Some(queue) => {
                    queues.push(queue);
                    true
                }
                None => false,
            });
        }
        let at = Timestamp::now();
        for queue in queues {
            if queue.len() >= BACKLOG {
                stats.drop(DropCause::EventLost);
            }
            let _ = queue.try_push((at, event.clone()));
        }
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

/// What happens at a node, from the moment of the subscription until the node stops. Who lags more than 4096
/// events behind loses the oldest.
pub struct Events {
    stream: Pin<Box<dyn Stream<Item = (Timestamp, Event)> + Send>>,
}

impl Stream for Events {
    type Item = (Timestamp, Event);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.as_mut().poll_next(cx)
    }
}
