//! Tasks and timers: the only file that names the executor.
#![allow(dead_code)]

use std::future::Future;
use std::time::Duration;

pub(crate) use async_std::task::JoinHandle;

/// Runs `future` on its own. Dropping the handle leaves it running.
pub(crate) fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    async_std::task::spawn(future)
}

/// Waits for `duration`.
pub(crate) async fn sleep(duration: Duration) {
    async_std::task::sleep(duration).await;
}

/// What `future` brings, unless it takes longer than `duration`.
pub(crate) async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Option<T> {
    async_std::future::timeout(duration, future).await.ok()
}
