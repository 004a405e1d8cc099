//! The path that a link goes: what makes a frame of a content, and where frames are sent. Both may be replaced while the
//! link goes on.

use std::sync::{MutexGuard, PoisonError};

use super::Egress;
use crate::link::{Key, Sealer};
use crate::netmod::{Endpoint, NetmodError, Train};

/// See the [module's page](self).
pub(super) struct TransmitPath {
    pub(super) sealer: Sealer,
    pub(super) endpoint: Endpoint,
}

impl Egress {
    /// What is sealed from now on is sealed with this key.
    pub(crate) fn renew(&self, key: Key) {
        self.path().sealer.renew(key);
    }

    /// What is sealed from now on goes there.
    pub(crate) fn redirect(&self, endpoint: Endpoint) {
        self.path().endpoint = endpoint;
    }

    /// Seals one frame and sends it to another endpoint than the link's own. It waits for nothing that is queued.
    ///
    /// # Errors
    /// That of the netmod.
    pub(crate) async fn send_to(&self, endpoint: &Endpoint, content: &[u8]) -> Result<(), NetmodError> {
        let mut frame = Vec::with_capacity(content.len() + Sealer::OVERHEAD);
        if self.path().sealer.seal(|out| out.extend_from_slice(content), &mut frame).is_err() {
            return Ok(());
        }
        self.netmod.send(endpoint, Train::single(&frame)).await
    }

    pub(super) fn path(&self) -> MutexGuard<'_, TransmitPath> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
