//! A netmod in memory with a fault: it panics, hangs, delays or loses what a test chooses.

use async_trait::async_trait;
use rouse_core::netmod::mem::MemNetmod;
use rouse_core::netmod::{Endpoint, Netmod, NetmodError, Note, Properties, Received, Train};

/// The fault of a [`FaultyNetmod`]. Without an override each function of the netmod does its work.
#[async_trait]
pub(crate) trait Fault: Send + Sync + 'static {
    /// Is called before each function of the netmod, and again before `recv` returns, with the name of the function.
    fn enter(&self, _function: &str) {}

    /// Changes what was received.
    fn received(&self, _received: &mut Received) {}

    /// Sends a train over the netmod, or does not.
    async fn send(
        &self,
        netmod: &MemNetmod,
        endpoint: &Endpoint,
        train: Train<'_>,
    ) -> Result<(), NetmodError> {
        netmod.send(endpoint, train).await
    }

    /// Closes the netmod, or does not.
    async fn close(&self, netmod: &MemNetmod) {
        netmod.close().await;
    }
}

/// A netmod in memory with a fault.
pub(crate) struct FaultyNetmod<F> {
    pub netmod: MemNetmod,
    pub fault: F,
}

#[async_trait]
impl<F: Fault> Netmod for FaultyNetmod<F> {
    fn scheme(&self) -> &str {
        self.fault.enter("scheme");
        self.netmod.scheme()
    }

    fn uri(&self) -> String {
        self.fault.enter("uri");
        self.netmod.uri()
    }

    fn properties(&self) -> Properties {
        self.fault.enter("properties");
        self.netmod.properties()
    }

    fn min_mtu(&self) -> usize {
        self.fault.enter("min_mtu");
        self.netmod.min_mtu()
    }

    fn max_mtu(&self) -> usize {
        self.fault.enter("max_mtu");
        self.netmod.max_mtu()
    }

    async fn open(&self) -> Result<(), NetmodError> {
        self.fault.enter("open");
        self.netmod.open().await
    }

    async fn recv(&self, received: &mut Received) -> Result<(), NetmodError> {
        self.fault.enter("recv");
        self.netmod.recv(received).await?;
        // A fault that began while the netmod waited takes effect with the next frame.
        self.fault.enter("recv");
        self.fault.received(received);
        Ok(())
    }

    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        self.fault.enter("send");
        self.fault.send(&self.netmod, endpoint, train).await
    }

    async fn resolve(&self, peer: &str) -> Result<Vec<Endpoint>, NetmodError> {
        self.fault.enter("resolve");
        self.netmod.resolve(peer).await
    }

    fn rate(&self) -> Option<u64> {
        self.fault.enter("rate");
        self.netmod.rate()
    }

    fn describe(&self, endpoint: &Endpoint) -> String {
        self.fault.enter("describe");
        self.netmod.describe(endpoint)
    }

    fn quota_key(&self, endpoint: &Endpoint) -> u64 {
        self.fault.enter("quota_key");
        self.netmod.quota_key(endpoint)
    }

    fn host_key(&self, endpoint: &Endpoint) -> u64 {
        self.fault.enter("host_key");
        self.netmod.host_key(endpoint)
    }

    fn is_cut(&self, endpoint: &Endpoint) -> bool {
        self.fault.enter("is_cut");
        self.netmod.is_cut(endpoint)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.fault.enter("counters");
        self.netmod.counters()
    }

    fn notes(&self) -> Vec<Note> {
        self.fault.enter("notes");
        self.netmod.notes()
    }

    fn stop_announcing(&self) {
        self.fault.enter("stop_announcing");
        self.netmod.stop_announcing();
    }

    async fn close(&self) {
        self.fault.enter("close");
        self.fault.close(&self.netmod).await;
    }
}
