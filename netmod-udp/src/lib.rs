//! UDP for rouse: sockets that send and receive trains of frames, and nodes that find each other by multicast.
//!
//! [`Udp`] implements [`Netmod`] and is given to a node. `send` transmits trains, `receive` receives them, and
//! `discovery` finds neighbours; `worker` runs the last two in turn inside [`Netmod::recv`], so that no task is spawned
//! and any executor will do. `socket` binds the sockets, `resolve` turns a peer's name into endpoints,
//! `interface_states` and `source_address` follow the changes of this host's interfaces and addresses.
//!
//! ```no_run
//! # fn main() -> Result<(), rouse_core::netmod::NetmodError> {
//! use rouse_netmod_udp::{Udp, UdpConfig};
//!
//! let on_all_addresses = Udp::bind("[::]")?;
//! let on_loopback = Udp::with(UdpConfig { discover: false, ..UdpConfig::listen_on("127.0.0.1:7001")? });
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
use discovery::{Discovery, DiscoveryReports};
use interface_states::SharedInterfaceStates;
use notes::NotesByTopic;
use socket::Sockets;
use worker::Worker;

/// The length of a frame that nearly every path through the Internet carries: an IPv6 packet of 1280 bytes (RFC 8200,
/// section 5) less headers of 40 and 8, and room for a tunnel. It is no guarantee, since IPv4 promises packets of 576
/// bytes only and networks are configured wrongly; so each link probes its path.
const MTU: usize = 1200;

/// The longest frame that a link probes: an IPv6 packet of 1500 bytes, the usual Ethernet frame, less headers of 40 and
/// 8. The sockets never fragment packets (`IP_PMTUDISC_PROBE`, set by quinn-udp), otherwise the probes would show
/// nothing.
const MAX_MTU: usize = 1452;

/// UDP as a network module.
///
/// It has one or two sockets: `[::]` stands for IPv6 and IPv4, which have one each, on the same port. The port is never
/// shared with another program. With discovery on, it sends beacons from these sockets to a multicast group on each
/// selected interface, and reports the beacons of other nodes that it receives there.
pub struct Udp {
    config: UdpConfig,
    /// The random number by which beacons of this node are recognised; drawn at the first opening.
    instance: OnceLock<u64>,
    sockets: RwLock<Option<Arc<Sockets>>>,
    /// The address that it listened on last, kept while it is closed so that it can listen on the same port again.
    local: RwLock<Option<SocketAddr>>,
    worker: async_lock::Mutex<Option<Worker>>,
    interface_states: Arc<SharedInterfaceStates>,
    notes: Arc<NotesByTopic>,
    counters: Arc<Counters>,
}

impl Udp {
    /// Listens on `listen` at once, with discovery on: `[::]:7700`, `udp:127.0.0.1:7001`, `0.0.0.0:0`. Without a port,
    /// it is [`DEFAULT_PORT`], or any free one when that is taken.
    ///
    /// # Errors
    ///
    /// [`NetmodError::Invalid`] when `listen` is no address; [`NetmodError::Gone`] when the socket cannot be bound,
    /// because the port is taken or the address is not one of this host.
    pub fn bind(listen: &str) -> Result<Self, NetmodError> {
        let udp = Udp::with(UdpConfig::listen_on(listen)?);
        udp.open_now()?;
        Ok(udp)
    }

    /// A netmod with this configuration. [`Netmod::open`] opens its sockets.
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

    /// The address that is listened on, with the actual port; `None` while closed. Of two sockets it is the IPv6 one's.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.current().ok()?.local()
    }

    /// The counts since the netmod was created.
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

    /// Closes `sockets`, so that [`Netmod::open`] opens new ones; calls that wait on them end.
    fn drop_sockets(&self, sockets: &Arc<Sockets>) {
        let mut current = self.sockets.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, sockets)) {
            *current = None;
        }
        sockets.close();
    }

    /// Closes `sockets` when `result` is the error that they are unusable.
    fn close_if_gone(
        &self,
        sockets: &Arc<Sockets>,
        result: Result<(), NetmodError>,
    ) -> Result<(), NetmodError> {
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
            Some(Discovery::new(
                &self.config,
                instance,
                sockets,
                DiscoveryReports { interface_states: states, notes, counters },
            ))
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
        local.map_or_else(|| self.config.listen_uri(), |local| format!("udp:{local}"))
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
        self.close_if_gone(&sockets, result)
    }

    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        let sockets = self.current()?;
        let Some(destination) = endpoint.to_socket_addr() else {
            return Err(NetmodError::Endpoint(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this is not the endpoint of a UDP netmod",
            )));
        };
        resolve::check(&destination).map_err(NetmodError::Endpoint)?;
        let Some(socket) = sockets.for_address(&destination) else {
            let family = if destination.is_ipv4() { "IPv4" } else { "IPv6" };
            let error = format!("{} does not listen on {family}", self.uri());
            return Err(NetmodError::Endpoint(io::Error::new(io::ErrorKind::Unsupported, error)));
        };
        if !socket.reaches(&destination) {
            let error = format!("{} listens on a loopback address and reaches this host only", self.uri());
            return Err(NetmodError::Endpoint(io::Error::new(io::ErrorKind::NetworkUnreachable, error)));
        }
        if train.bytes.len().min(train.size) > send::MAX_BURST {
            return Err(NetmodError::TooLong);
        }
        let source =
            source_address::of(endpoint).filter(|source| self.interface_states.may_send_from(source));
        let result = send::send(&sockets, socket, destination, source, train).await;
        self.close_if_gone(&sockets, result)
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
        // A pending `recv` holds the worker and drops it when it ends. It is not awaited here, because a future that is
        // no longer polled would never end.
        if let Some(mut worker) = self.worker.try_lock() {
            *worker = None;
        }
    }
}
