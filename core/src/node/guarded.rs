//! A netmod whose panics are errors.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{Either, select};

use super::supervise::caught;
use crate::netmod::{Endpoint, Netmod, NetmodError, Note, Properties, Received, Train};
use crate::notify::Notify;

/// A netmod as the node uses it: a panic in one of its futures is [`NetmodError::Gone`], and has it opened again.
pub(super) struct Guarded {
    netmod: Arc<dyn Netmod>,
    /// What it said when it panicked, for who reads it: the one that opens it again.
    broken: Notify<Option<String>>,
}

impl Guarded {
    pub(super) fn new(netmod: Arc<dyn Netmod>) -> Self {
        Guarded { netmod, broken: Notify::new(None) }
    }

    async fn call<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, NetmodError>>,
    ) -> Result<T, NetmodError> {
        match caught(call).await {
            Ok(result) => result,
            Err(message) => {
                let text = format!("the netmod panicked in {what}: {message}");
                *self.broken.write() = Some(text.clone());
                Err(gone(text))
            }
        }
    }
}

fn gone(text: String) -> NetmodError {
    NetmodError::Gone(io::Error::other(text))
}

#[async_trait]
impl Netmod for Guarded {
    fn scheme(&self) -> &str {
        self.netmod.scheme()
    }

    fn uri(&self) -> String {
        self.netmod.uri()
    }

    fn properties(&self) -> Properties {
        self.netmod.properties()
    }

    fn min_mtu(&self) -> usize {
        self.netmod.min_mtu()
    }

    fn max_mtu(&self) -> usize {
        self.netmod.max_mtu()
    }

    async fn open(&self) -> Result<(), NetmodError> {
        self.broken.take_when(|broken| Some(broken.take())).await;
        self.call("open", async { self.netmod.open().await }).await
    }

    async fn recv(&self, received: &mut Received) -> Result<(), NetmodError> {
        let came = self.call("recv", async { self.netmod.recv(received).await });
        let broken = self.broken.take_when(Option::take);
        match select(pin!(came), pin!(broken)).await {
            Either::Left((came, _)) => came,
            Either::Right((text, _)) => Err(gone(text)),
        }
    }

    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        self.call("send", async { self.netmod.send(endpoint, train).await }).await
    }

    async fn resolve(&self, peer: &str) -> Result<Vec<Endpoint>, NetmodError> {
        self.call("resolve", async { self.netmod.resolve(peer).await }).await
    }

    fn rate(&self) -> Option<u64> {
        self.netmod.rate()
    }

    fn describe(&self, endpoint: &Endpoint) -> String {
        self.netmod.describe(endpoint)
    }

    fn quota_key(&self, endpoint: &Endpoint) -> u64 {
        self.netmod.quota_key(endpoint)
    }

    fn host_key(&self, endpoint: &Endpoint) -> u64 {
        self.netmod.host_key(endpoint)
    }

    fn is_cut(&self, endpoint: &Endpoint) -> bool {
        self.netmod.is_cut(endpoint)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.netmod.counters()
    }

    fn notes(&self) -> Vec<Note> {
        self.netmod.notes()
    }

    fn stop_announcing(&self) {
        self.netmod.stop_announcing();
    }

    async fn close(&self) {
        let close = async {
            self.netmod.close().await;
            Ok(())
        };
        let _ = self.call("close", close).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// The names of the functions that a block of source declares, from the line that begins with `head` to its end.
    fn functions(source: &'static str, head: &str) -> BTreeSet<&'static str> {
        let block = source.lines().skip_while(|line| !line.starts_with(head)).take_while(|line| *line != "}");
        block
            .filter_map(|line| {
                let line = line.trim_start();
                let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
                name.split(['(', '<']).next()
            })
            .collect()
    }

    /// A function that is not passed on answers with the default of the trait, and nothing but the behaviour of the node shows it.
    #[test]
    fn every_function_of_a_netmod_is_passed_on() {
        let declared = functions(include_str!("../netmod.rs"), "pub trait Netmod");
        let passed_on = functions(include_str!("guarded.rs"), "impl Netmod for Guarded");
        assert!(declared.len() >= 16, "{declared:?}");
        assert_eq!(declared, passed_on);
    }
}
