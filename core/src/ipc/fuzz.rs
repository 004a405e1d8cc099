//! The daemon's socket under the fuzzers: a client that sends any bytes to a daemon, and a daemon that does so to a
//! client.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_io::Async;
use async_trait::async_trait;
use futures::FutureExt;
use futures::io::{AsyncReadExt, AsyncWriteExt, Cursor};
use futures::stream::StreamExt;

use crate::address::Address;
use crate::fixtures::script::Script;
use crate::identity::Identity;
use crate::ipc::admission::ConnectionAdmission;
use crate::ipc::frame::FrameReader;
use crate::ipc::protocol::{
    ClientFrame, DaemonFrame, GREETING_LENGTH, GreetingCode, VERSION, decode_greeting, encode_greeting,
};
use crate::ipc::provisional::ProvisionalConnections;
use crate::ipc::server_connection;
use crate::ipc::session::ClientSession;
use crate::ipc::{Admin, AdminError, Client, Denial, IdentityInfo, NameInfo, PeerInfo, Source, connect};
use crate::node::{Limits, Node};
use crate::types::Outgoing;
use crate::wire::codec;

/// Flag in the first byte of a script: the bytes that follow are sent as they are, greeting included. Without it, a
/// valid greeting is sent, and frames follow, each with its length (2 bytes) before it.
pub(crate) const RAW: u8 = 1;
/// Flag in the first byte of a script: the client runs as another user than the daemon's owner.
pub(crate) const OTHER_USER: u8 = 2;

/// The most bytes that are sent, because they have to fit into the buffer of a socket that is not read yet.
const MAX_INPUT: usize = 64 << 10;
/// The number of inputs after which the node is replaced, so that little state accumulates.
const INPUTS_PER_NODE: u32 = 64;
pub(super) const OWNER: u32 = 1000;
const OTHER: u32 = 1001;

/// The identities of the node, the owner's first.
pub(super) fn identity(number: u8) -> Identity {
    Identity::from_seed(&[0x60 + number; 32])
}

/// The address of an identity, computed once, since that costs more than a request.
fn address(number: u8) -> Address {
    static ADDRESSES: LazyLock<[Address; 2]> =
        LazyLock::new(|| [0, 1].map(|number| identity(number).address()));
    ADDRESSES[usize::from(number)]
}

pub(super) struct FuzzAdmin(Node);

fn none<T>() -> Result<T, AdminError> {
    Err(AdminError::new(Denial::Failed, "not while fuzzing", ""))
}

#[async_trait]
impl Admin for FuzzAdmin {
    fn may_administer(&self, uid: u32) -> bool {
        uid == OWNER
    }
    fn owner(&self, address: &Address) -> Option<u32> {
        let owner = if *address == self::address(1) { OTHER } else { OWNER };
        self.0.addresses().contains(address).then_some(owner)
    }
    fn default_address(&self, uid: u32) -> Option<Address> {
        let number = u8::from(uid != OWNER);
        Some(address(number))
    }
    fn name_of(&self, address: &Address) -> Option<String> {
        (*address == self.0.address()).then(|| "me".to_owned())
    }
    fn identities(&self) -> Vec<IdentityInfo> {
        let info = |address| IdentityInfo { address, label: Some("label".into()), owner_uid: OWNER };
        self.0.addresses().into_iter().map(info).collect()
    }
    async fn new_identity(&self, label: Option<String>, owner_uid: u32) -> Result<IdentityInfo, AdminError> {
        let identity = identity(2);
        let address = identity.address();
        self.0.add_identity(identity);
        Ok(IdentityInfo { address, label, owner_uid })
    }
    async fn remove_identity(&self, address: &Address) -> Result<(), AdminError> {
        if *address != identity(2).address() {
            return none();
        }
        self.0.remove_identity(address);
        Ok(())
    }
    fn names(&self) -> Vec<NameInfo> {
        vec![NameInfo { name: "me".into(), address: self.0.address(), source: Source::Config }]
    }
    async fn add_name(&self, name: String, _: Address) -> Result<(), AdminError> {
        Err(AdminError::new(Denial::ReadOnly, name, ""))
    }
    async fn remove_name(&self, _: &str) -> Result<(), AdminError> {
        none()
    }
    async fn peers(&self) -> Vec<PeerInfo> {
        Vec::new()
    }
    async fn add_peer(&self, uri: &str) -> Result<(), AdminError> {
        let added = self.0.add_peer(uri).await;
        added.map_err(|error| AdminError::new(Denial::Invalid, error.to_string(), ""))
    }
    async fn remove_peer(&self, uri: &str) -> Result<String, AdminError> {
        let removed = self.0.remove_peer(uri).await.map(|became| became.to_string());
        removed.map_err(|error| AdminError::new(Denial::NotFound, error.to_string(), ""))
    }
    async fn reload(&self) -> Result<String, AdminError> {
        Ok("reloaded".into())
    }
    fn stop(&self) {}
}

/// A node, its administration, and the number of inputs that it has received.
pub(super) struct FuzzNode {
    pub(super) node: Node,
    pub(super) admin: Arc<FuzzAdmin>,
    inputs: u32,
}

thread_local! {
    static NODE: RefCell<Option<FuzzNode>> = const { RefCell::new(None) };
}

pub(super) async fn start() -> FuzzNode {
    let limits = Limits { senders: 32, inbox_messages: 64, ..Limits::default() };
    let node = Node::builder().identity(identity(0)).limits(limits).seed([6; 32]).start().await;
    let node = node.expect("a node without netmods starts");
    node.add_identity(identity(1));
    FuzzNode { admin: Arc::new(FuzzAdmin(node.clone())), node, inputs: 0 }
}

/// Sends a script to a daemon as a client that closes the connection at the end of it.
///
/// The daemon answers with frames that decode and that fit the calls, answers no call that was not made and none twice,
/// and ends the connection by itself, with nothing left of it.
pub fn daemon_socket(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    let input = input_bytes(&mut script, flags, &encode_greeting(VERSION, GreetingCode::Ok));
    async_io::block_on(async {
        let fuzzed = NODE.take().filter(|fuzzed| fuzzed.inputs < INPUTS_PER_NODE);
        let mut fuzzed = match fuzzed {
            Some(fuzzed) => fuzzed,
            None => start().await,
        };
        fuzzed.inputs += 1;
        let uid = if flags & OTHER_USER != 0 { OTHER } else { OWNER };
        let output = converse(&fuzzed, uid, &input).await;
        check_answers(&input, &output).await;
        // The messages that the node sent to itself are removed, since the next input begins with empty inboxes.
        while let Some(Ok(_)) = fuzzed.node.recv_batch(64).now_or_never() {}
        NODE.set(Some(fuzzed));
    });
}

/// The bytes that a script sends.
fn input_bytes(script: &mut Script<'_>, flags: u8, opening: &[u8]) -> Vec<u8> {
    let mut input = Vec::new();
    if flags & RAW != 0 {
        input.extend_from_slice(script.rest());
    } else {
        input.extend_from_slice(opening);
        while !script.is_at_end() {
            append_frame(script.bytes(), &mut input);
        }
    }
    input.truncate(MAX_INPUT);
    input
}

fn append_frame(content: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(content.len()).expect("a row of a script is short");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(content);
}

/// Both ends of a connection on which `input` has been sent, and the sending side is closed.
fn connection(input: &[u8]) -> io::Result<(Async<UnixStream>, Async<UnixStream>)> {
    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    (&near).write_all(input)?;
    near.shutdown(Shutdown::Write)?;
    Ok((Async::new(near)?, Async::new(far)?))
}

/// Lets the daemon serve a connection with this input, and returns its output.
async fn converse(fuzzed: &FuzzNode, uid: u32, input: &[u8]) -> Vec<u8> {
    let (near, far) = connection(input).expect("a pair of sockets");
    let session =
        Arc::new(ClientSession::new(fuzzed.node.clone(), fuzzed.admin.clone(), uid, Arc::default()));
    let admission = ConnectionAdmission::new(Duration::from_secs(5));
    let (entry, _) = Arc::<ProvisionalConnections>::default().add();
    let serve = async {
        // The input may end the connection for any reason.
        let _ = server_connection::run(&far, session.clone(), &admission, entry).await;
        drop(far);
    };
    let mut output = Vec::new();
    let read = async {
        // A reset is an end as well, because the daemon does not read input that breaks the rules to its end.
        let _ = (&near).read_to_end(&mut output).await;
    };
    futures::join!(serve, read);
    assert_eq!(Arc::strong_count(&session), 1, "a call goes on after its connection");
    output
}

async fn check_answers(input: &[u8], output: &[u8]) {
    let mut calls: BTreeMap<u64, usize> = BTreeMap::new();
    let mut requests = FrameReader::new(Cursor::new(input.get(GREETING_LENGTH..).unwrap_or_default()));
    while let Ok(content) = requests.next().await {
        if let Ok(ClientFrame::Call { id, .. }) = codec::decode(content) {
            *calls.entry(id).or_default() += 1;
        }
    }
    let Some((hello, rest)) = output.split_first_chunk::<GREETING_LENGTH>() else {
        return assert!(output.is_empty(), "half a greeting");
    };
    assert_eq!(decode_greeting(hello), Some((VERSION, GreetingCode::Ok)));
    let mut answers = FrameReader::new(Cursor::new(rest));
    let mut first = true;
    while let Ok(content) = answers.next().await {
        let frame: DaemonFrame = codec::decode(content).expect("a frame of the daemon decodes");
        assert_eq!(codec::encode(&frame).as_deref(), Ok(content));
        assert_eq!(matches!(frame, DaemonFrame::Welcome { .. }), std::mem::take(&mut first));
        match frame {
            DaemonFrame::Welcome { .. } => {}
            DaemonFrame::Item { id, .. } => assert!(calls.contains_key(&id), "an item of no call"),
            DaemonFrame::Reply { id, .. } | DaemonFrame::Failed { id, .. } | DaemonFrame::End { id } => {
                let left = calls.get_mut(&id).filter(|left| **left > 0).expect("an answer to no call");
                *left -= 1;
            }
        }
    }
}

/// Sends a script to a client as a daemon that closes the connection at the end of it. The client makes a call of each
/// kind.
///
/// Each of its calls ends, with a reply or an error.
pub fn client_socket(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    let mut opening = encode_greeting(VERSION, GreetingCode::Ok).to_vec();
    let welcome = DaemonFrame::Welcome { address: identity(0).address(), version: "1".into() };
    append_frame(&codec::encode(&welcome).expect("a welcome encodes"), &mut opening);
    let input = input_bytes(&mut script, flags, &opening);
    let (near, far) = connection(&input).expect("a pair of sockets");
    async_io::block_on(async {
        let greeting = connect::exchange_greetings(Arc::new(far), Path::new("/fuzz"), GreetingCode::Ok);
        if let Ok(connection) = greeting.await {
            call_all(&Client::over(connection)).await;
        }
        drop(near);
    });
}

/// The calls that the seeds answer, in this order: their numbers count from 0.
pub(crate) async fn call_all(client: &Client) {
    let me = client.address();
    let second = Duration::from_secs(1);
    let sent = async {
        for sent in client.send_batch(vec![Outgoing::new(me, "hello"); 2]).await.unwrap_or_default() {
            // The receipt of the second message is not requested when the first one fails.
            if sent.delivered().await.is_err() {
                break;
            }
        }
    };
    let received = async {
        let _ = client.recv_batch(8).await;
        let _ = client.delivery(Some(&me)).await;
    };
    let streams = async {
        let events = client.events().take(3).count();
        let hops = client.trace(&me, 3, second).count();
        let messages = client.messages().take(2).count();
        futures::join!(events, hops, messages)
    };
    let tables = async {
        let _ = futures::join!(client.status(), client.peers(), client.routes(), client.dialled());
        let _ = futures::join!(client.identities(), client.names(), client.peer_list());
    };
    let commands = async {
        let _ =
            futures::join!(client.ping(&me, second), client.new_identity(Some("x".into())), client.reload());
    };
    futures::join!(tables, sent, received, commands, streams);
}

/// Records the greetings and frames between a client and a daemon: those of the client, and those of the daemon.
pub(crate) fn record() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let pair = || UnixStream::pair().expect("a pair of sockets");
    let ((client, client_tap), (daemon_tap, daemon)) = (pair(), pair());
    let [client, client_tap, daemon_tap, daemon] = [client, client_tap, daemon_tap, daemon]
        .map(|stream| Async::new(stream).expect("a socket of our own"));
    let (mut requests, mut answers) = (Vec::new(), Vec::new());
    async_io::block_on(async {
        let fuzzed = start().await;
        let session =
            Arc::new(ClientSession::new(fuzzed.node.clone(), fuzzed.admin.clone(), OWNER, Arc::default()));
        let admission = ConnectionAdmission::new(Duration::from_secs(5));
        let (entry, _) = Arc::<ProvisionalConnections>::default().add();
        let serve = server_connection::run(&daemon, session, &admission, entry).fuse();
        let taps = async {
            futures::join!(
                tap(&client_tap, &daemon_tap, &mut requests),
                tap(&daemon_tap, &client_tap, &mut answers)
            )
        };
        let talk = async {
            let connection =
                connect::exchange_greetings(Arc::new(client), Path::new("/fuzz"), GreetingCode::Ok).await;
            let client = Client::over(connection.expect("the daemon follows the protocol"));
            // Some calls wait for messages that never come.
            crate::rt::timeout(Duration::from_millis(500), call_all(&client)).await;
        };
        let (serve, taps) = (std::pin::pin!(serve), std::pin::pin!(taps.fuse()));
        let rest = futures::future::select(serve, taps);
        futures::future::select(std::pin::pin!(talk), rest).await;
    });
    (requests, answers)
}

/// Forwards the bytes of one side, and records them: first its greeting, then frame by frame.
async fn tap(from: &Async<UnixStream>, to: &Async<UnixStream>, recorded: &mut Vec<Vec<u8>>) {
    let mut hello = vec![0; GREETING_LENGTH];
    let (mut from, mut to) = (from, to);
    if from.read_exact(&mut hello).await.is_err() || to.write_all(&hello).await.is_err() {
        return;
    }
    recorded.push(hello);
    let mut frames = FrameReader::new(from);
    while let Ok(content) = frames.next().await {
        let mut bytes = Vec::new();
        append_frame(content, &mut bytes);
        if to.write_all(&bytes).await.is_err() {
            return;
        }
        recorded.push(bytes);
    }
}
