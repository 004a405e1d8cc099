//! The daemon's socket for the cost table: one connection, on which a client sends any requests.

use std::io;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::time::Duration;

use async_io::Async;
use futures::FutureExt;
use futures::future::{Either, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use rouse_adversary::{OWNER, ServedNode, identity};
use rouse_core::ipc::protocol::{
    Call, ClientFrame, DaemonFrame, GREETING_LENGTH, GreetingCode, MAX_CALLS, VERSION, encode_greeting,
};
use rouse_core::{Address, Outgoing};
use rouse_proto::wire::codec;

/// The requests of a client, by the names of the protocol.
pub(crate) const REQUESTS: [&str; 26] = [
    "request: status",
    "request: peers",
    "request: routes",
    "request: dialled",
    "request: submit",
    "request: delivered",
    "request: receive",
    "request: ping",
    "request: trace",
    "request: events",
    "request: identities",
    "request: new identity",
    "request: remove identity",
    "request: names",
    "request: add name",
    "request: remove name",
    "request: peer list",
    "request: add peer",
    "request: remove peer",
    "request: reload",
    "request: stop",
    "request: cancel",
    "request: credit",
    "request: confirm",
    "request: return",
    "request: forget",
];

/// The number of the call whose answer shows that the daemon has read all requests before it.
const MARK: u64 = u64::MAX;

/// An empty buffer of more bytes is freed.
const KEPT: usize = 256 << 10;

/// A connection to a daemon, and the daemon at its other end.
pub(crate) struct SocketLayer {
    served: ServedNode,
    /// `None` once the daemon has closed the connection.
    connection: Option<SocketConnection>,
}

struct SocketConnection {
    near: Async<UnixStream>,
    answers: Answers,
    serve: Pin<Box<dyn Future<Output = ()>>>,
}

/// The frames that the daemon sends.
struct Answers {
    stream: Async<UnixStream>,
    bytes: Vec<u8>,
    /// The bytes at the front that have been read.
    done: usize,
}

impl Answers {
    /// The next frame. A dropped future loses nothing.
    async fn next(&mut self) -> io::Result<DaemonFrame> {
        loop {
            let left = &self.bytes[self.done..];
            if let Some((length, rest)) = left.split_first_chunk()
                && let Some(content) = rest.get(..u32::from_le_bytes(*length) as usize)
            {
                self.done += length.len() + content.len();
                return codec::decode(content).map_err(io::Error::other);
            }
            drop(self.bytes.drain(..std::mem::take(&mut self.done)));
            if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
                self.bytes = Vec::new();
            }
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.bytes.extend_from_slice(&chunk[..read]),
            }
        }
    }
}

/// The numbers that a request is made of: the number of its call, two numbers whose meaning depends on the request, and
/// a length.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestFields {
    /// The number of the call.
    pub(crate) id: u64,
    /// A number, an address, or a ticket.
    pub(crate) a: u64,
    /// A count, or a duration.
    pub(crate) b: u64,
    /// The length of a text or of a body.
    pub(crate) length: usize,
}

/// The frame of a request, with its length before it.
pub(crate) fn request(kind: usize, fields: RequestFields) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(codec::encode(&client_frame(kind, fields)).unwrap_or_default());
    let length = u32::try_from(bytes.len() - 4).unwrap_or(0);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

fn client_frame(kind: usize, RequestFields { id, a, b, length }: RequestFields) -> ClientFrame {
    let text = || "n".repeat(length);
    let address = if a % 2 == 0 { identity(0).address() } else { Address::from_bytes([a as u8; 32]) };
    let tickets = || (0..b.min(4096)).map(|nth| a.wrapping_add(nth)).collect();
    let call = match kind {
        0 => Call::Status,
        1 => Call::Peers,
        2 => Call::Routes { to: (a % 3 == 0).then_some(address) },
        3 => Call::Dialled,
        4 => {
            let message = Outgoing::new(address, vec![7; length]);
            Call::Submit { messages: vec![message; b.min(1024) as usize], wait: false }
        }
        5 => Call::Delivered { ticket: a },
        6 => Call::Receive { to: None, service: Default::default(), from: Some(address), limit: b as u32 },
        7 => Call::Ping { peer: address, timeout_us: b },
        8 => Call::Trace { peer: address, max_hops: a as u8, timeout_us: b },
        9 => Call::Events,
        10 => Call::Identities,
        11 => Call::NewIdentity { label: Some(text()) },
        12 => Call::RemoveIdentity { address: Address::from_bytes([a as u8; 32]) },
        13 => Call::Names,
        14 => Call::AddName { name: text(), address },
        15 => Call::RemoveName { name: text() },
        16 => Call::PeerList,
        17 => Call::AddPeer { uri: text() },
        18 => Call::RemovePeer { uri: text() },
        19 => Call::Reload,
        20 => Call::Stop,
        21 => return ClientFrame::Cancel { id },
        22 => return ClientFrame::Credit { id, items: b as u32 },
        23 => return ClientFrame::Confirm { tickets: tickets() },
        24 => return ClientFrame::Return { tickets: tickets() },
        _ => return ClientFrame::Forget { tickets: tickets() },
    };
    ClientFrame::Call { id, call }
}

impl SocketLayer {
    /// Starts a node and connects to it as the owner of the daemon.
    pub(crate) fn new() -> Self {
        let mut socket = SocketLayer { served: async_io::block_on(ServedNode::start()), connection: None };
        socket.send(&[]);
        socket
    }

    /// The most calls under way on one connection.
    pub(crate) const fn most_calls() -> usize {
        MAX_CALLS
    }

    /// Sends frames, and reads answers until the daemon has read all frames. When the daemon closes the connection
    /// because the frames break the rules, the next call connects again.
    pub(crate) fn send(&mut self, frames: &[u8]) {
        let served = &self.served;
        let connection = self.connection.get_or_insert_with(|| SocketConnection::open(served));
        let mut bytes = frames.to_vec();
        bytes.extend(request(13, RequestFields { id: MARK, ..RequestFields::default() }));
        let SocketConnection { near, answers, serve } = connection;
        let talk = async {
            let mut near = &*near;
            let read_answers = async {
                while let Ok(frame) = answers.next().await {
                    if let DaemonFrame::Reply { id: MARK, .. } | DaemonFrame::Failed { id: MARK, .. } = frame
                    {
                        return;
                    }
                }
            };
            // An error means that the connection has ended, which the future that serves it shows.
            let _ = futures::join!(near.write_all(&bytes), read_answers);
        };
        let ended = async_io::block_on(async {
            matches!(select(std::pin::pin!(talk), serve.as_mut()).await, Either::Right(_))
        });
        if ended {
            self.connection = None;
        }
    }

    /// Reads the answers that come within this time.
    pub(crate) fn read_for(&mut self, span: Duration) {
        let Some(SocketConnection { answers, serve, .. }) = &mut self.connection else { return };
        let ended = async_io::block_on(async {
            let read = std::pin::pin!(async { while answers.next().await.is_ok() {} });
            let talk = select(read, serve.as_mut());
            matches!(select(talk, async_io::Timer::after(span)).await, Either::Left(_))
        });
        if ended {
            self.connection = None;
        }
    }

    /// Closes the connection of the client. The daemon keeps nothing of it.
    pub(crate) fn hang_up(&mut self) {
        self.connection = None;
    }
}

impl Default for SocketLayer {
    fn default() -> Self {
        SocketLayer::new()
    }
}

impl SocketConnection {
    fn open(served: &ServedNode) -> SocketConnection {
        let pair = || -> io::Result<_> {
            let (near, far) = UnixStream::pair()?;
            let again = near.try_clone()?;
            Ok((Async::new(near)?, Async::new(again)?, far))
        };
        let (near, stream, far) = pair().expect("a pair of sockets");
        // The requests may end the connection for any reason.
        let serve = Box::pin(served.serve(far, OWNER).map(drop));
        let answers = Answers { stream, bytes: Vec::new(), done: 0 };
        let mut connection = SocketConnection { near, answers, serve };
        let mut hello = [0; GREETING_LENGTH];
        async_io::block_on(async {
            let greet = async {
                let mut near = &connection.near;
                near.write_all(&encode_greeting(VERSION, GreetingCode::Ok)).await?;
                near.read_exact(&mut hello).await
            };
            let _ = select(std::pin::pin!(greet), connection.serve.as_mut()).await;
        });
        connection
    }
}
