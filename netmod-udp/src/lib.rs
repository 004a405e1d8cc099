//! UDP for rouse: sockets that send and receive trains of frames, and nodes that find each other by multicast.
//!
//! [`Udp`] implements [`Netmod`]; give one to a node. How a train goes out is in `send`, how frames come in is in
//! `receive`, how others are found is in `discovery`; `worker` runs the last two in turn inside [`Netmod::recv`], so
//! that no task is spawned and any executor will do.
//!
//! ```no_run
//! # fn main() -> Result<(), rouse_core::netmod::NetmodError> {
//! use rouse_netmod_udp::{Udp, UdpConfig};
//!
//! let everywhere = Udp::bind("[::]")?;
//! let here = Udp::with(UdpConfig { discover: false, ..UdpConfig::listen_on("127.0.0.1:7001")? });
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod config;
mod counters;
mod discovery;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod interface_states;
mod mix;
mod notes;
#[cfg(test)]
mod protocol_tests;
mod receive;
mod resolve;
mod send;
mod socket;
mod source_address;

mod worker;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use async_trait::async_trait;
use rouse_core::netmod::{Endpoint, MIN_MTU, Netmod, NetmodError, Note, Properties, Received, Train};

pub use config::{DEFAULT_PORT, GROUP_PORT, GROUP_V4, GROUP_V6, UdpConfig};
pub use counters::UdpCounters;
pub use resolve::check_peer;

use counters::Counters;
use discovery::Discovery;
use interface_states::SharedInterfaceStates;
use notes::NotesByTopic;
use socket::Sockets;
use worker::Worker;

/// The length of a frame that nearly every way through the Internet takes: an IPv6 packet of 1280 bytes (RFC 8200, 5) less
/// headers of 40 and 8, and room for a tunnel on the way. IPv4 promises no more than packets of 576 bytes, and networks are
/// configured wrongly: links see for themselves.
const MTU: usize = 1200;

/// The longest frame that is tried: what an IPv6 packet of 1500 bytes, the usual Ethernet frame, has room for after headers
/// of 40 and 8. The sockets have packets sent whole or not at all (`IP_PMTUDISC_PROBE`, set by quinn-udp).
const MAX_MTU: usize = 1452;

/// UDP as a network module.
///
/// It has one or two sockets: `[::]` stands for IPv6 and IPv4, which have one each, on the same port. The port is
/// never shared with another program. With discovery on, it sends beacons from these sockets to a multicast group on
/// each chosen interface, and reports whom it hears there.
pub struct Udp {
    config: UdpConfig,
    /// Drawn when it is opened for the first time.
    instance: OnceLock<u64>,
    sockets: RwLock<Option<Arc<Sockets>>>,
    /// Where it listened last.
    local: RwLock<Option<SocketAddr>>,
    worker: async_lock::Mutex<Option<Worker>>,
    interface_states: Arc<SharedInterfaceStates>,
    notes: Arc<NotesByTopic>,
    counters: Arc<Counters>,
}

impl Udp {
    /// Listens at `listen` at once, with discovery on: `[::]:7700`, `udp:127.0.0.1:7001`, `0.0.0.0:0`. Without a port
    /// it is [`DEFAULT_PORT`], or any free one when that is taken.
    ///
    /// # Errors
    ///
    /// [`NetmodError::Invalid`] when `listen` is no address; [`NetmodError::Gone`] when it cannot be listened at: the
    /// port is taken, or the address is not this host's.
    pub fn bind(listen: &str) -> Result<Self, NetmodError> {
        let udp = Udp::with(UdpConfig::listen_on(listen)?);
        udp.open_now()?;
        Ok(udp)
    }

    /// As `config` says; the sockets are opened by [`Netmod::open`].
    pub fn with(config: UdpConfig) -> Self {
        Udp {
            config,
            instance: OnceLock::new(),
            sockets: RwLock::default(),
            local: RwLock::default(),
            worker: async_lock::Mutex::new(None),
            interface_states: Arc::default(),
            notes: Arc::default(),
            counters: Arc::default(),
        }
    }

    /// The address that is listened on, with the real port; `None` while closed. Of two sockets the IPv6 one's.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.current().ok()?.local()
    }

    /// What was counted since it was made.
    pub fn counters(&self) -> UdpCounters {
        self.counters.snapshot()
    }

    fn open_now(&self) -> Result<(), NetmodError> {
        let mut sockets = self.sockets.write().unwrap_or_else(PoisonError::into_inner);
        if sockets.is_some() {
            return Ok(());
        }
        self.notes.clear_all();
        let last = *self.local.read().unwrap_or_else(PoisonError::into_inner);
        let opened = Sockets::open(&self.config, last.map(|local| local.port()), &self.notes);
        let opened = Arc::new(opened.map_err(NetmodError::Gone)?);
        *self.local.write().unwrap_or_else(PoisonError::into_inner) = opened.local();
        *sockets = Some(opened);
        Ok(())
    }

    fn current(&self) -> Result<Arc<Sockets>, NetmodError> {
        self.sockets.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(error::closed)
    }

    /// Lets go of `sockets`, so that [`Netmod::open`] opens new ones; whoever waits on them ends.
    fn drop_sockets(&self, sockets: &Arc<Sockets>) {
        let mut current = self.sockets.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, sockets)) {
            *current = None;
        }
        sockets.close();
    }

    /// Lets go of `sockets` when `result` says that they are of no more use.
    fn judge(&self, sockets: &Arc<Sockets>, result: Result<(), NetmodError>) -> Result<(), NetmodError> {
        if matches!(result, Err(NetmodError::Gone(_))) {
            self.drop_sockets(sockets);
        }
        result
    }

    fn new_worker(&self, sockets: &Arc<Sockets>) -> Result<Worker, NetmodError> {
        let discovery = if self.config.discover {
            let instance = match self.instance.get() {
                Some(&instance) => instance,
                None => {
                    let drawn =
                        getrandom::u64().map_err(|error| NetmodError::Retry(io::Error::other(error)))?;
                    *self.instance.get_or_init(|| drawn)
                }
            };
            let (states, notes, counters) =
                (self.interface_states.clone(), self.notes.clone(), self.counters.clone());
            Some(Discovery::new(&self.config, instance, sockets, states, notes, counters))
        } else {
            None
        };
        Ok(Worker::new(sockets.clone(), discovery, self.counters.clone()))
    }
}

#[async_trait]
impl Netmod for Udp {
    fn scheme(&self) -> &str {
        "udp"
    }

    fn uri(&self) -> String {
        let local = *self.local.read().unwrap_or_else(PoisonError::into_inner);
        local.map_or_else(|| self.config.place(), |local| format!("udp:{local}"))
    }

    fn properties(&self) -> Properties {
        Properties { mtu: MTU, max_train: send::MAX_BURST / MTU, broadcast: self.config.discover, cost: 0 }
    }

    fn min_mtu(&self) -> usize {
        MIN_MTU
    }

    fn max_mtu(&self) -> usize {
        MAX_MTU
    }

    async fn open(&self) -> Result<(), NetmodError> {
        self.open_now()
    }

    async fn recv(&self, received: &mut Received) -> Result<(), NetmodError> {
        let sockets = self.current()?;
        let mut worker = self.worker.lock().await;
        let current = match worker.take() {
            Some(current) if current.is_of(&sockets) => current,
            _ => self.new_worker(&sockets)?,
        };
        let current = worker.insert(current);
        let result = poll_fn(|cx| current.poll(cx, received)).await;
        if matches!(result, Err(NetmodError::Gone(_))) {
            *worker = None;
        }
        self.judge(&sockets, result)
    }

    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        let sockets = self.current()?;
        let Some(destination) = endpoint.to_socket_addr() else {
            return Err(NetmodError::Endpoint(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no UDP endpoint",
            )));
        };
        resolve::check(&destination).map_err(NetmodError::Endpoint)?;
        let Some(socket) = sockets.for_address(&destination) else {
            let family = if destination.is_ipv4() { "IPv4" } else { "IPv6" };
            let error = format!("{} does not listen on {family}", self.uri());
            return Err(NetmodError::Endpoint(io::Error::new(io::ErrorKind::Unsupported, error)));
        };
        if !socket.reaches(&destination) {
            let error = format!("{} reaches nothing outside of this host", self.uri());
            return Err(NetmodError::Endpoint(io::Error::new(io::ErrorKind::NetworkUnreachable, error)));
        }
        if train.bytes.len().min(train.size) > send::MAX_BURST {
            return Err(NetmodError::TooLong);
        }
        let source =
            source_address::of(endpoint).filter(|source| self.interface_states.may_send_from(source));
        let result = send::send(&sockets, socket, destination, source, train).await;
        self.judge(&sockets, result)
    }

    async fn resolve(&self, peer: &str) -> Result<Vec<Endpoint>, NetmodError> {
        let mut endpoints = resolve::resolve(peer).await?;
        if let Ok(sockets) = self.current() {
            let reachable = |address| sockets.for_address(&address).is_some();
            endpoints.retain(|endpoint| endpoint.to_socket_addr().is_some_and(reachable));
        }
        if endpoints.is_empty() {
            let error = format!("{peer} has no address of the family that {} listens on", self.uri());
            return Err(NetmodError::Endpoint(io::Error::new(io::ErrorKind::Unsupported, error)));
        }
        Ok(endpoints)
    }

    fn describe(&self, endpoint: &Endpoint) -> String {
        resolve::describe(endpoint, discovery::interfaces::name_of)
    }

    fn host_key(&self, endpoint: &Endpoint) -> u64 {
        resolve::host_key(endpoint)
    }

    fn quota_key(&self, endpoint: &Endpoint) -> u64 {
        resolve::quota_key(endpoint)
    }

    fn is_cut(&self, endpoint: &Endpoint) -> bool {
        endpoint.to_socket_addr().is_some_and(|address| self.interface_states.is_cut(&address))
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counters.snapshot().named()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.all()
    }

    fn stop_announcing(&self) {
        if let Ok(sockets) = self.current() {
            sockets.silence();
        }
    }

    async fn close(&self) {
        if let Ok(sockets) = self.current() {
            self.drop_sockets(&sockets);
        }
        // A pending `recv` holds it and lets go by itself; waiting for that here could wait for one that nobody polls.
        if let Some(mut worker) = self.worker.try_lock() {
            *worker = None;
        }
    }
}
