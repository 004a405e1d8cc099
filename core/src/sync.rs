//! The lock that the heart stands on: std's, or loom's when the crate's `loom` feature asks for a model check.
//!
//! With the feature on, every inbox and every cell must live inside `loom::model`; ordinary tests run without it.

#[cfg(feature = "loom")]
use loom::sync as primitive;
#[cfg(not(feature = "loom"))]
use std::sync as primitive;

pub(crate) use primitive::MutexGuard;

/// A mutex that does not care whether an earlier holder panicked: what it guards is never left half done by this
/// crate's own code, and what a user's closure does to a user's value is documented where the closure is taken.
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

    /// Whether nobody holds it now: what a test's waker asserts when it is woken.
    #[cfg(test)]
    pub(crate) fn is_free(&self) -> bool {
        !matches!(self.0.try_lock(), Err(std::sync::TryLockError::WouldBlock))
    }
}
