//! A custom network module in a page: nodes of one machine communicate over Unix datagram sockets.
//!
//! ```sh
//! cargo run -p rouse-examples --bin custom_netmod
//! ```
//!
//! A netmod moves frames over one medium and does not interpret them. It needs an address that fits into an `Endpoint`
//! (here the name of a socket in a shared folder), reception in batches, and errors that show whether to retry, to give
//! up on one endpoint, or to open the medium again. Links, routes, messages and back-off are the task of the node.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_io::Async;
use async_trait::async_trait;
use bytes::BytesMut;
use rouse_core::netmod::{Arrival, Endpoint, Netmod, NetmodError, Properties, Received, Train};
use rouse_core::{Identity, Node};

/// The longest frame. A datagram could be longer, but each receive buffer has this size.
const MTU: usize = 8192;
/// The most frames of one `recv`, so that other tasks get a turn.
const BATCH: usize = 64;

/// A netmod with one socket in a folder that all nodes share; the name of the socket is its address.
struct Sockets {
    folder: PathBuf,
    name: String,
    socket: Mutex<Option<Arc<Async<UnixDatagram>>>>,
}

impl Sockets {
    fn new(folder: impl Into<PathBuf>, name: &str) -> Self {
        Sockets { folder: folder.into(), name: name.to_owned(), socket: Mutex::new(None) }
    }

    fn socket(&self) -> Result<Arc<Async<UnixDatagram>>, NetmodError> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        socket.clone().ok_or_else(|| NetmodError::Gone(ErrorKind::NotConnected.into()))
    }
}

fn endpoint(from: &SocketAddr) -> Option<Endpoint> {
    Endpoint::new(from.as_pathname()?.file_name()?.as_encoded_bytes())
}

fn name(endpoint: &Endpoint) -> Result<&str, NetmodError> {
    // A name with a slash would be a path outside of the folder.
    let name = std::str::from_utf8(endpoint.as_bytes()).ok().filter(|name| !name.contains('/'));
    name.ok_or_else(|| NetmodError::Endpoint(ErrorKind::InvalidInput.into()))
}

#[async_trait]
impl Netmod for Sockets {
    fn scheme(&self) -> &str {
        "unix"
    }

    fn uri(&self) -> String {
        format!("unix:{}", self.name)
    }

    fn properties(&self) -> Properties {
        Properties { mtu: MTU, max_train: BATCH, broadcast: false, cost: 0 }
    }

    async fn open(&self) -> Result<(), NetmodError> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if socket.is_none() {
            *socket = Some(Arc::new(
                Async::<UnixDatagram>::bind(self.folder.join(&self.name)).map_err(NetmodError::Gone)?,
            ));
        }
        Ok(())
    }

    async fn recv(&self, received: &mut Received) -> Result<(), NetmodError> {
        let socket = self.socket()?;
        let before = received.arrivals.len();
        while received.arrivals.len() == before {
            // Frames are only read after this await, so that a future that is dropped here loses none.
            socket.readable().await.map_err(NetmodError::Gone)?;
            while received.arrivals.len() < before + BATCH {
                let mut bytes = BytesMut::zeroed(MTU);
                match socket.get_ref().recv_from(&mut bytes) {
                    Ok((0, from)) if from.is_unnamed() => {
                        return Err(NetmodError::Gone(ErrorKind::NotConnected.into()));
                    }
                    Ok((length, from)) => {
                        let Some(endpoint) = endpoint(&from) else { continue };
                        bytes.truncate(length);
                        received.arrivals.push(Arrival { endpoint, bytes, size: length.max(1) });
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(NetmodError::Gone(error)),
                }
            }
        }
        Ok(())
    }

    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        let (socket, to) = (self.socket()?, self.folder.join(name(endpoint)?));
        for frame in train.frames() {
            if frame.len() > MTU {
                return Err(NetmodError::TooLong);
            }
            // This does not wait for a full queue, because the system does not report when this one recipient has room
            // again. The node retransmits the frames that are dropped here.
            socket.get_ref().send_to(frame, &to).map_err(|error| match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => NetmodError::Endpoint(error),
                _ => NetmodError::Retry(error),
            })?;
        }
        Ok(())
    }

    async fn resolve(&self, peer: &str) -> Result<Vec<Endpoint>, NetmodError> {
        let endpoint = Endpoint::new(peer.as_bytes()).filter(|endpoint| name(endpoint).is_ok());
        Ok(vec![endpoint.ok_or_else(|| {
            NetmodError::Invalid(format!(
                "{peer} is not the name of a socket: it is empty, too long or has a slash"
            ))
        })?])
    }

    fn describe(&self, endpoint: &Endpoint) -> String {
        format!("unix:{}", name(endpoint).unwrap_or("?"))
    }

    fn quota_key(&self, _: &Endpoint) -> u64 {
        // Every process with access to the folder can use any name there, so that all endpoints share one quota.
        0
    }

    async fn close(&self) {
        if let Some(socket) = self.socket.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // This ends a `recv` that waits. Both calls fail only when the socket or its file is gone already.
            let _: io::Result<()> = socket.get_ref().shutdown(Shutdown::Both);
            let _: io::Result<()> = std::fs::remove_file(self.folder.join(&self.name));
        }
    }
}

#[async_std::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node =
        |name| Node::builder().identity(Identity::generate()).netmod(Sockets::new(folder.path(), name));
    let left = node("left").start().await?;
    let right = node("right").peer("unix:left").start().await?;

    let sent = right.send(&left.address(), "over a custom netmod").await?;
    let message = left.recv().await?;
    println!("{} wrote: {}", message.from.short(), String::from_utf8_lossy(&message.body));
    println!("delivered in {} µs", sent.delivered().await?.elapsed_us);

    right.stop().await;
    left.stop().await;
    Ok(())
}
