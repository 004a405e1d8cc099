//! A netmod that adds every frame to the trace.

use std::sync::Arc;

use async_trait::async_trait;
use rouse_core::netmod::mem::MemNetmod;
use rouse_core::netmod::{Endpoint, Netmod, NetmodError, Properties, Received, Train};

use crate::world::World;

/// The plug of a node, whose frames are a part of the trace.
pub(crate) struct TracedNetmod {
    plug: MemNetmod,
    world: Arc<World>,
}

impl TracedNetmod {
    pub(crate) fn new(plug: MemNetmod, world: Arc<World>) -> Self {
        TracedNetmod { plug, world }
    }
}

#[async_trait]
impl Netmod for TracedNetmod {
    fn scheme(&self) -> &str {
        self.plug.scheme()
    }

    fn uri(&self) -> String {
        self.plug.uri()
    }

    fn properties(&self) -> Properties {
        self.plug.properties()
    }

    async fn open(&self) -> Result<(), NetmodError> {
        self.plug.open().await
    }

    async fn recv(&self, received: &mut Received) -> Result<(), NetmodError> {
        self.plug.recv(received).await
    }

    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        self.world.ledger().frames(endpoint.as_bytes(), train.bytes);
        self.plug.send(endpoint, train).await
    }

    async fn resolve(&self, peer: &str) -> Result<Vec<Endpoint>, NetmodError> {
        self.plug.resolve(peer).await
    }

    fn describe(&self, endpoint: &Endpoint) -> String {
        self.plug.describe(endpoint)
    }

    fn quota_key(&self, endpoint: &Endpoint) -> u64 {
        self.plug.quota_key(endpoint)
    }

    fn stop_announcing(&self) {
        self.plug.stop_announcing();
    }

    async fn close(&self) {
        self.plug.close().await;
    }
}
