//! A reply: a value that a task of the node gives an application once.
//!
//! The task may be one that the node cannot do without, and the application that waits is woken on it. So a panic of the
//! application's waker ends here; the panic hook has reported it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::channel::oneshot;

/// The side of the task. When it is dropped, the application that waits learns that there is no reply. No lock may be held
/// when it is used or dropped, since both wake.
pub(crate) struct ReplySender<T>(Option<oneshot::Sender<T>>);

/// A reply, and the future of the application that waits for it.
pub(crate) fn reply<T>() -> (ReplySender<T>, oneshot::Receiver<T>) {
    let (sender, receiver) = oneshot::channel();
    (ReplySender(Some(sender)), receiver)
}

impl<T> ReplySender<T> {
    /// Gives the value, unless the application has gone.
    pub(crate) fn send(mut self, value: T) {
        if let Some(sender) = self.0.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(sender.send(value))));
        }
    }

    /// Whether the application has gone.
    pub(crate) fn is_canceled(&self) -> bool {
        self.0.as_ref().is_none_or(oneshot::Sender::is_canceled)
    }
}

impl<T> Drop for ReplySender<T> {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(sender)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    use super::*;

    struct Panicking;

    impl Wake for Panicking {
        fn wake(self: Arc<Self>) {
            panic!("a fault of a waker");
        }
    }

    #[test]
    fn a_waker_that_panics_harms_neither_the_task_that_replies_nor_the_one_that_does_not() {
        for replies in [true, false] {
            let (reply, receiver) = reply();
            let mut receiver = pin!(receiver);
            let waker = Waker::from(Arc::new(Panicking));
            assert!(receiver.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            if replies {
                reply.send(7)
            } else {
                drop(reply)
            }
            let replied = receiver.poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(replied.map(Result::ok), std::task::Poll::Ready(replies.then_some(7)));
        }
    }
}
