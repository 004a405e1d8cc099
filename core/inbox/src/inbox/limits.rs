//! The bounds of an inbox, and the policy for a write to a full one.

/// The policy for a write to a full inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Full {
    /// [`Inbox::push`](super::Inbox::push) and [`Inbox::push_batch`](super::Inbox::push_batch) wait for room:
    /// back-pressure. The `try_` methods hand back the items for which there is no room.
    Wait,
    /// The oldest items are dropped to make room for the new one, and counted as
    /// [`Counters::evicted`](super::Counters::evicted).
    DropOldest,
    /// The new item is handed back to its writer at once, and counted as
    /// [`Counters::refused`](super::Counters::refused).
    RefuseNewest,
}

/// The bounds and the policy of an inbox, fixed when it was made.
pub(super) struct InboxLimits<T> {
    pub(super) items: usize,
    pub(super) bytes: usize,
    pub(super) size: Option<fn(&T) -> usize>,
    pub(super) full: Full,
}

impl<T> InboxLimits<T> {
    #[inline]
    pub(super) fn size_of(&self, item: &T) -> usize {
        self.size.map_or(0, |size| size(item))
    }
}
