//! The credit of a stream: the number of items that the client has room for.

use crate::notify::Notify;

/// The number of items that the daemon may still send on one stream.
#[derive(Debug, Default)]
pub(super) struct Credit {
    items: Notify<u64>,
}

impl Credit {
    /// Adds room for `items` more items.
    pub(super) fn add(&self, items: u32) {
        let mut credit = self.items.write();
        *credit = credit.saturating_add(u64::from(items));
    }

    /// Takes the room for one item, as soon as there is any.
    pub(super) async fn spend(&self) {
        let take_one = |credit: &mut u64| {
            *credit = credit.checked_sub(1)?;
            Some(())
        };
        self.items.take_when(take_one).await;
    }
}
