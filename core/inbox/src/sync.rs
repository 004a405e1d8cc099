//! The lock under the inbox and the cell: std's, or loom's under `cfg(loom)`, with which the models are compiled.
//!
//! Under that configuration every inbox and every cell must live inside `loom::model`; ordinary tests run without it.

#[cfg(loom)]
use loom::sync as primitive;
#[cfg(not(loom))]
use std::sync as primitive;

pub(crate) use primitive::MutexGuard;

/// A mutex that ignores poisoning: this crate's own code leaves no guarded value half changed, and the state of a
/// user's value after a panic in the user's closure is documented where the closure is passed in.
pub(crate) struct Mutex<T>(primitive::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(primitive::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether the lock is free now: asserted by a test's waker when it is woken.
    #[cfg(test)]
    pub(crate) fn is_free(&self) -> bool {
        !matches!(self.0.try_lock(), Err(std::sync::TryLockError::WouldBlock))
    }
}
