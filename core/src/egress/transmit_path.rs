//! The path by which a link transmits: the sealer that turns contents into frames, and the endpoint that receives them.
//! Either may be replaced while the link stays up.

use std::sync::{MutexGuard, PoisonError};

use super::{Egress, TransmitPath};
use crate::link::{DataKey, Sealer};
use crate::netmod::{Endpoint, NetmodError, Train};

impl Egress {
    /// Seals with this key from now on.
    pub(crate) fn renew(&self, key: DataKey) {
        self.path().sealer.renew(key);
    }

    /// Sends to this endpoint from now on.
    pub(crate) fn redirect(&self, endpoint: Endpoint) {
        self.path().endpoint = endpoint;
    }

    /// Seals one frame and sends it to an endpoint other than the link's own, for control about another path. It
    /// bypasses the queues, which belong to the link's own path.
    ///
    /// # Errors
    /// Those of [`Netmod::send`].
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
