//! A netmod whose panics are returned as errors.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use futures::future::{Either, select};

use crate::netmod::{Endpoint, MIN_MTU, Netmod, NetmodError, Note, Properties, Received, Train};
use crate::node::panics::{caught, caught_in};
use crate::node::state::locks::lock;
use crate::notify::Notify;

/// A netmod as the node calls it. A netmod may come from another author, so a panic in any of its functions ends the
/// netmod and not the task that called it: `recv` returns [`NetmodError::Gone`], and the node opens the netmod again. A
/// future that panics is an error of that call as well; a plain function returns its last answer, or else the most
/// restrictive one.
pub(super) struct GuardedNetmod {
    netmod: Arc<dyn Netmod>,
    /// The text of the last panic, until `recv` has returned it.
    broken: Notify<Option<String>>,
    scheme: OnceLock<String>,
    last: Mutex<LastAnswers>,
}

/// The last answers of the functions that name a netmod and its limits, for use after a panic.
#[derive(Default)]
struct LastAnswers {
    uri: Option<String>,
    properties: Option<Properties>,
}

/// The quota key of every endpoint whose netmod fails to compute one. They share the quota of one group, so that an
/// attacker that can cause the panic gains nothing.
const UNKNOWN_KEY: u64 = u64::MAX;

impl GuardedNetmod {
    pub(super) fn new(netmod: Arc<dyn Netmod>) -> Self {
        GuardedNetmod { netmod, broken: Notify::new(None), scheme: OnceLock::new(), last: Mutex::default() }
    }

    async fn call<T>(
        &self,
        function: &str,
        call: impl Future<Output = Result<T, NetmodError>>,
    ) -> Result<T, NetmodError> {
        match caught(call).await {
            Ok(result) => result,
            Err(message) => Err(gone(self.break_down(function, &message))),
        }
    }

    /// The answer of a plain function, or `None` when it panics.
    fn ask<'a, T>(&'a self, function: &str, ask: impl FnOnce(&'a dyn Netmod) -> T) -> Option<T> {
        match caught_in(|| ask(&*self.netmod)) {
            Ok(answer) => Some(answer),
            Err(message) => {
                self.break_down(function, &message);
                None
            }
        }
    }

    /// Makes `recv` return an error, and returns the text of it.
    fn break_down(&self, function: &str, message: &str) -> String {
        let text = format!("the netmod panicked in {function}: {message}");
        // The first panic since the netmod was opened is reported, because later ones may follow from it.
        self.broken.write().get_or_insert_with(|| text.clone());
        text
    }
}

fn gone(text: String) -> NetmodError {
    NetmodError::Gone(io::Error::other(text))
}

#[async_trait]
impl Netmod for GuardedNetmod {
    fn scheme(&self) -> &str {
        if let Some(scheme) = self.ask("scheme", |netmod| netmod.scheme()) {
            self.scheme.get_or_init(|| scheme.to_owned());
            return scheme;
        }
        self.scheme.get().map_or("", String::as_str)
    }

    fn uri(&self) -> String {
        if let Some(uri) = self.ask("uri", Netmod::uri) {
            lock(&self.last).uri = Some(uri.clone());
            return uri;
        }
        let last = lock(&self.last).uri.clone();
        last.unwrap_or_else(|| format!("{}:?", self.scheme()))
    }

    fn properties(&self) -> Properties {
        if let Some(properties) = self.ask("properties", Netmod::properties) {
            lock(&self.last).properties = Some(properties.clone());
            return properties;
        }
        let last = lock(&self.last).properties.clone();
        last.unwrap_or(Properties { mtu: MIN_MTU, max_train: 1, broadcast: false, cost: 0 })
    }

    fn min_mtu(&self) -> usize {
        self.ask("min_mtu", Netmod::min_mtu).unwrap_or(MIN_MTU)
    }

    fn max_mtu(&self) -> usize {
        self.ask("max_mtu", Netmod::max_mtu).unwrap_or_else(|| self.properties().mtu)
    }

    async fn open(&self) -> Result<(), NetmodError> {
        self.broken.take_when(|broken| Some(broken.take())).await;
        self.call("open", async { self.netmod.open().await }).await
    }

    async fn recv(&self, received: &mut Received) -> Result<(), NetmodError> {
        let broken = self.broken.take_when(Option::take);
        let came = self.call("recv", async { self.netmod.recv(received).await });
        // The panic is polled first: otherwise a netmod that always has frames would never be opened again.
        match select(pin!(broken), pin!(came)).await {
            Either::Left((text, _)) => Err(gone(text)),
            Either::Right((came, _)) => came,
        }
    }

    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        self.call("send", async { self.netmod.send(endpoint, train).await }).await
    }

    async fn resolve(&self, peer: &str) -> Result<Vec<Endpoint>, NetmodError> {
        self.call("resolve", async { self.netmod.resolve(peer).await }).await
    }

    fn rate(&self) -> Option<u64> {
        self.ask("rate", Netmod::rate).flatten()
    }

    fn describe(&self, endpoint: &Endpoint) -> String {
        let described = self.ask("describe", |netmod| netmod.describe(endpoint));
        described.unwrap_or_else(|| format!("{}:?", self.scheme()))
    }

    fn quota_key(&self, endpoint: &Endpoint) -> u64 {
        self.ask("quota_key", |netmod| netmod.quota_key(endpoint)).unwrap_or(UNKNOWN_KEY)
    }

    fn host_key(&self, endpoint: &Endpoint) -> u64 {
        self.ask("host_key", |netmod| netmod.host_key(endpoint)).unwrap_or(UNKNOWN_KEY)
    }

    fn is_cut(&self, endpoint: &Endpoint) -> bool {
        self.ask("is_cut", |netmod| netmod.is_cut(endpoint)).unwrap_or(false)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.ask("counters", Netmod::counters).unwrap_or_default()
    }

    fn notes(&self) -> Vec<Note> {
        self.ask("notes", Netmod::notes).unwrap_or_default()
    }

    fn stop_announcing(&self) {
        self.ask("stop_announcing", Netmod::stop_announcing);
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

    /// A function that is not passed on would return the default of the trait, and nothing but the node's behaviour
    /// would show it.
    #[test]
    fn every_function_of_a_netmod_is_passed_on() {
        let declared = functions(include_str!("../netmod.rs"), "pub trait Netmod");
        let passed_on = functions(include_str!("guarded_netmod.rs"), "impl Netmod for GuardedNetmod");
        assert!(declared.len() >= 16, "{declared:?}");
        assert_eq!(declared, passed_on);
    }

    /// A function that is called without the guard would end the calling task with its panic.
    #[test]
    fn every_function_of_a_netmod_is_guarded() {
        let source = include_str!("guarded_netmod.rs");
        for function in functions(source, "impl Netmod for GuardedNetmod") {
            let plain = format!("self.ask(\"{function}\"");
            let future = format!("self.call(\"{function}\"");
            assert!(source.contains(&plain) != source.contains(&future), "{function}");
        }
    }
}
