//! The plug of one node into a medium in memory.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;

use super::MemNet;
use super::medium::{OpeningId, PlugRefusal, ReceiveOutcome, endpoint};
use super::queued_train::Id;
use crate::netmod::{Endpoint, MIN_MTU, Netmod, NetmodError, Properties, Received, Train};
use crate::rt::Timer;

/// The plug of one node into a [`MemNet`]. Its URIs are `mem:` and a node's name.
///
/// Dropping it closes it, as [`close`](Netmod::close) does. Another plug of its name can then be opened, which is how a
/// node restarts on the same medium.
#[derive(Debug)]
pub struct MemNetmod {
    net: MemNet,
    name: String,
    id: Id,
    properties: Properties,
    discover: bool,
    opening: Mutex<Option<OpeningId>>,
}

impl MemNetmod {
    pub(super) fn new(net: MemNet, name: String, id: Id) -> Self {
        // The MTU is that of the internet at large, the train as long as a kernel accepts with GSO.
        let properties = Properties { mtu: 1200, max_train: 64, broadcast: true, cost: 0 };
        MemNetmod { net, name, id, properties, discover: true, opening: Mutex::new(None) }
    }

    /// Sets the longest frame, in bytes, at least [`MIN_MTU`]; 1200 by default.
    pub fn mtu(mut self, mtu: usize) -> Self {
        self.properties.mtu = mtu.max(MIN_MTU);
        self
    }

    /// Sets the most frames of a train, at least 1; 64 by default.
    pub fn max_train(mut self, frames: usize) -> Self {
        self.properties.max_train = frames.max(1);
        self
    }

    /// Sets its addition to the cost of a link; 0 by default. See [`Properties::cost`].
    pub fn cost(mut self, cost: u16) -> Self {
        self.properties.cost = cost;
        self
    }

    /// Sets whether it discovers the other plugs with discovery, and they it; true by default. Without discovery it
    /// reaches the nodes that it dials, and those that dial it.
    pub fn discover(mut self, discover: bool) -> Self {
        self.discover = discover;
        self.properties.broadcast = discover;
        self
    }

    fn opening(&self) -> Result<OpeningId, NetmodError> {
        let opening = *self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        opening.ok_or_else(|| self.refused(PlugRefusal::Closed))
    }

    fn refused(&self, why: PlugRefusal) -> NetmodError {
        let name = &self.name;
        let gone = |kind, text: &str| NetmodError::Gone(io::Error::new(kind, format!("mem:{name} {text}")));
        match why {
            PlugRefusal::Failed => gone(io::ErrorKind::NetworkDown, "was made to fail"),
            PlugRefusal::AlreadyOpen => {
                gone(io::ErrorKind::AddrInUse, "is already open: close the other plug of this name first")
            }
            PlugRefusal::Closed => gone(io::ErrorKind::NotConnected, "is not open"),
            PlugRefusal::NoSuchEndpoint => NetmodError::Endpoint(io::Error::new(
                io::ErrorKind::HostUnreachable,
                "no node on this medium has this endpoint",
            )),
        }
    }

    fn disconnect(&self) {
        let opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(opening) = opening {
            self.net.with(|medium| medium.close(self.id, opening));
        }
    }
}

impl Drop for MemNetmod {
    fn drop(&mut self) {
        self.disconnect();
    }
}

fn id_of(endpoint: &Endpoint) -> Option<Id> {
    endpoint.as_bytes().try_into().ok().map(Id::from_be_bytes)
}

#[async_trait]
impl Netmod for MemNetmod {
    fn scheme(&self) -> &str {
        "mem"
    }

    fn uri(&self) -> String {
        format!("mem:{}", self.name)
    }

    fn properties(&self) -> Properties {
        self.properties.clone()
    }

    async fn open(&self) -> Result<(), NetmodError> {
        let mut opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        match self.net.with(|medium| medium.open(self.id, *opening, self.discover)) {
            Ok(opened) => *opening = Some(opened),
            Err(why) => return Err(self.refused(why)),
        }
        Ok(())
    }

    async fn recv(&self, received: &mut Received) -> Result<(), NetmodError> {
        let opening = self.opening()?;
        let mut timer = Timer::after(Duration::MAX);
        poll_fn(|cx| {
            loop {
                let look = self.net.with(|medium| {
                    let look = medium.receive(self.id, opening, received, cx.waker())?;
                    Ok(match look {
                        ReceiveOutcome::Arrived => None,
                        ReceiveOutcome::Wait(until) => Some(until.map(|until| medium.until(until))),
                    })
                });
                match look {
                    Err(why) => return Poll::Ready(Err(self.refused(why))),
                    Ok(None) => return Poll::Ready(Ok(())),
                    Ok(Some(None)) => return Poll::Pending,
                    Ok(Some(Some(wait))) => timer = Timer::after(wait),
                }
                if Pin::new(&mut timer).poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        let opening = self.opening()?;
        if train.size.min(train.bytes.len()) > self.properties.mtu {
            return Err(NetmodError::TooLong);
        }
        let to = id_of(endpoint).ok_or_else(|| self.refused(PlugRefusal::NoSuchEndpoint))?;
        self.net.with(|medium| medium.send(self.id, opening, to, train)).map_err(|why| self.refused(why))
    }

    async fn resolve(&self, peer: &str) -> Result<Vec<Endpoint>, NetmodError> {
        match self.net.with(|medium| medium.known(peer)) {
            Some(id) => Ok(vec![endpoint(id)]),
            None => Err(NetmodError::Endpoint(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no node on this medium is named {peer}: check the name or make its plug first"),
            ))),
        }
    }

    fn describe(&self, endpoint: &Endpoint) -> String {
        let name = id_of(endpoint).and_then(|id| self.net.with(|medium| medium.name(id).map(str::to_owned)));
        format!("mem:{}", name.as_deref().unwrap_or("?"))
    }

    fn quota_key(&self, endpoint: &Endpoint) -> u64 {
        id_of(endpoint).map_or(u64::MAX, u64::from)
    }

    fn stop_announcing(&self) {
        if let Ok(opening) = self.opening() {
            self.net.with(|medium| medium.stop_announcing(self.id, opening));
        }
    }

    async fn close(&self) {
        self.disconnect();
    }
}
