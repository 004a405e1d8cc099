//! One node's plug into a medium in memory.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use async_io::Timer;
use async_trait::async_trait;

use super::MemNet;
use super::medium::{Id, Look, Opening, Refusal, endpoint};
use crate::netmod::{Endpoint, MIN_MTU, Netmod, NetmodError, Properties, Received, Train};

/// One node's plug into a [`MemNet`]. Its URIs are `mem:` and a node's name.
///
/// Dropping it pulls it out, as [`close`](Netmod::close) does; then another plug of its name can be opened, which is how a node
/// restarts on the same medium.
#[derive(Debug)]
pub struct MemNetmod {
    net: MemNet,
    name: String,
    id: Id,
    properties: Properties,
    discover: bool,
    opening: Mutex<Option<Opening>>,
}

impl MemNetmod {
    pub(super) fn new(net: MemNet, name: String, id: Id) -> Self {
        // The MTU is that of the internet at large, the train what a kernel takes with GSO.
        let properties = Properties { mtu: 1200, max_train: 64, broadcast: true, cost: 0 };
        MemNetmod { net, name, id, properties, discover: true, opening: Mutex::new(None) }
    }

    /// The longest frame it takes, in bytes; 1200 if nothing is said, [`MIN_MTU`] at least.
    pub fn mtu(mut self, mtu: usize) -> Self {
        self.properties.mtu = mtu.max(MIN_MTU);
        self
    }

    /// The most frames of a train; 64 if nothing is said, 1 at least.
    pub fn max_train(mut self, frames: usize) -> Self {
        self.properties.max_train = frames.max(1);
        self
    }

    /// What it adds to the cost of a link; 0 if nothing is said. See [`Properties::cost`].
    pub fn cost(mut self, cost: u16) -> Self {
        self.properties.cost = cost;
        self
    }

    /// Whether it hears, and is heard by, the others of the medium that do; it does if nothing is said. Without,
    /// it reaches whom it is told to dial, and who dials it.
    pub fn discover(mut self, discover: bool) -> Self {
        self.discover = discover;
        self.properties.broadcast = discover;
        self
    }

    fn opening(&self) -> Result<Opening, NetmodError> {
        let opening = *self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        opening.ok_or_else(|| self.refused(Refusal::Closed))
    }

    fn refused(&self, why: Refusal) -> NetmodError {
        let name = &self.name;
        let gone = |kind, text: &str| NetmodError::Gone(io::Error::new(kind, format!("mem:{name} {text}")));
        match why {
            Refusal::Failed => gone(io::ErrorKind::NetworkDown, "was made to fail"),
            Refusal::Taken => gone(io::ErrorKind::AddrInUse, "is open already"),
            Refusal::Closed => gone(io::ErrorKind::NotConnected, "is not open"),
            Refusal::Nobody => NetmodError::Endpoint(io::Error::new(
                io::ErrorKind::HostUnreachable,
                "nobody on this medium has this endpoint",
            )),
        }
    }

    fn pull(&self) {
        let opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(opening) = opening {
            self.net.with(|medium| medium.close(self.id, opening));
        }
    }
}

impl Drop for MemNetmod {
    fn drop(&mut self) {
        self.pull();
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
        let mut timer = Timer::never();
        poll_fn(|cx| {
            loop {
                let look = self.net.with(|medium| {
                    let look = medium.receive(self.id, opening, received, cx.waker())?;
                    Ok(match look {
                        Look::Came => None,
                        Look::Wait(until) => Some(until.map(|until| medium.until(until))),
                    })
                });
                match look {
                    Err(why) => return Poll::Ready(Err(self.refused(why))),
                    Ok(None) => return Poll::Ready(Ok(())),
                    Ok(Some(None)) => return Poll::Pending,
                    Ok(Some(Some(wait))) => timer.set_after(wait),
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
        let to = id_of(endpoint).ok_or_else(|| self.refused(Refusal::Nobody))?;
        self.net.with(|medium| medium.send(self.id, opening, to, train)).map_err(|why| self.refused(why))
    }

    async fn resolve(&self, peer: &str) -> Result<Vec<Endpoint>, NetmodError> {
        match self.net.with(|medium| medium.known(peer)) {
            Some(id) => Ok(vec![endpoint(id)]),
            None => Err(NetmodError::Endpoint(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no node of this medium is called {peer}"),
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
        self.pull();
    }
}
