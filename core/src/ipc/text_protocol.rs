//! A second protocol on the socket, for programs that exchange lines of text: it is served through a client of its own.

use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_io::{Async, Timer};
use async_trait::async_trait;
use futures::future::{Either, FutureExt, select};
use rustix::net::RecvFlags;

use crate::ipc::admin::Admin;
use crate::ipc::admission::ConnectionAdmission;
use crate::ipc::client::Client;
use crate::ipc::error::ConnectError;
use crate::ipc::lifecycle::Phase;
use crate::ipc::provisional::ProvisionalEntry;
use crate::ipc::server_connection::{self, ConnectionEnd, GREETING_TIMEOUT};
use crate::ipc::session::ClientSession;

/// The first byte of a connection in the text protocol. The greeting of the binary protocol begins with another one.
const FIRST_BYTE: u8 = b'{';

/// The time for the last answers when the daemon stops.
const FINAL_TIMEOUT: Duration = Duration::from_millis(500);

/// A protocol of JSON lines, to which a [`Server`](crate::ipc::Server) hands the connections whose first byte is `{`.
#[async_trait]
pub trait TextProtocol: Send + Sync + 'static {
    /// Serves one connection to its end. `client` makes its calls, with the rights and the bounds of the connected
    /// user; it is an error when the daemon accepts no more connections.
    async fn serve(&self, client: Result<Client, ConnectError>, stream: Async<UnixStream>);
}

/// Whether a new connection is one of the text protocol. Waits for its first byte, which is not consumed.
pub(super) async fn is_text(
    stream: &Async<UnixStream>,
    admission: &ConnectionAdmission,
) -> Result<bool, ConnectionEnd> {
    let peek = stream.read_with(|stream| {
        let mut first = [0];
        rustix::net::recv(stream, &mut first, RecvFlags::PEEK)?;
        Ok(first == [FIRST_BYTE])
    });
    let mut peek = pin!(peek.fuse());
    futures::select_biased! {
        is_text = peek => Ok(is_text?),
        _ = admission.lifecycle.beyond(Phase::Serving).fuse() => Ok(false),
        _ = FutureExt::fuse(Timer::after(GREETING_TIMEOUT)) => Err(ConnectionEnd::NoGreeting),
    }
}

/// Serves a connection of the text protocol. Its client is connected like any other one, over a pair of sockets, so that
/// the same bounds hold and the same counts are kept.
pub(super) async fn run<A: Admin>(
    stream: Async<UnixStream>,
    protocol: &dyn TextProtocol,
    session: Arc<ClientSession<A>>,
    admission: &ConnectionAdmission,
    entry: ProvisionalEntry,
) -> Result<(), ConnectionEnd> {
    let (served, calling) = UnixStream::pair()?;
    let served = Async::new(served)?;
    let binary = pin!(server_connection::run(&served, session, admission, entry));
    let text = pin!(async { protocol.serve(Client::from_stream(calling).await, stream).await });
    match select(text, binary).await {
        // The client has been dropped. What it confirmed last is still read.
        Either::Left(((), binary)) => binary.await,
        Either::Right((end, text)) => {
            select(text, Timer::after(FINAL_TIMEOUT)).await;
            end
        }
    }
}
