//! The daemon's socket under the fuzzers: a client that sends any bytes to a daemon, and a daemon that does so to a
//! client.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::time::Duration;

use async_io::Async;
use futures::FutureExt;
use futures::future::select;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::stream::StreamExt;

use rouse_core::ipc::protocol::{
    ClientFrame, DaemonFrame, GREETING_LENGTH, GreetingCode, VERSION, decode_greeting, encode_greeting,
};
use rouse_core::{Client, Outgoing};
use rouse_proto::wire::codec;

use crate::fuzz::script::Script;
use crate::served_node::{OTHER, OWNER, ServedNode, identity};

/// Flag in the first byte of a script: the bytes that follow are sent as they are, greeting included. Without it, a
/// valid greeting is sent, and frames follow, each with its length (2 bytes) before it.
pub(crate) const RAW: u8 = 1;
/// Flag in the first byte of a script: the client runs as another user than the daemon's owner.
pub(crate) const OTHER_USER: u8 = 2;

/// The most bytes that are sent, because they have to fit into the buffer of a socket that is not read yet.
const MAX_INPUT: usize = 64 << 10;
/// The number of inputs after which the node is replaced, so that little state accumulates.
const INPUTS_PER_NODE: u32 = 64;

thread_local! {
    static NODE: RefCell<Option<(ServedNode, u32)>> = const { RefCell::new(None) };
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
        let used = NODE.take().filter(|(_, inputs)| *inputs < INPUTS_PER_NODE);
        let (served, inputs) = match used {
            Some(used) => used,
            None => (ServedNode::start().await, 0),
        };
        let uid = if flags & OTHER_USER != 0 { OTHER } else { OWNER };
        let output = converse(&served, uid, &input).await;
        check_answers(&input, &output);
        // The messages that the node sent to itself are removed, since the next input begins with empty inboxes.
        while let Some(Ok(_)) = served.node.recv_batch(64).now_or_never() {}
        NODE.set(Some((served, inputs + 1)));
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
fn connection(input: &[u8]) -> io::Result<(Async<UnixStream>, UnixStream)> {
    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    (&near).write_all(input)?;
    near.shutdown(Shutdown::Write)?;
    Ok((Async::new(near)?, far))
}

/// Lets the daemon serve a connection with this input, and returns its output.
async fn converse(served: &ServedNode, uid: u32, input: &[u8]) -> Vec<u8> {
    let (near, far) = connection(input).expect("a pair of sockets");
    let serve = async {
        // The input may end the connection for any reason.
        let _ = served.serve(far, uid).await;
    };
    let mut output = Vec::new();
    let read = async {
        // A reset is an end as well, because the daemon does not read input that breaks the rules to its end.
        let _ = (&near).read_to_end(&mut output).await;
    };
    futures::join!(serve, read);
    assert!(served.is_idle(), "a call goes on after its connection");
    output
}

/// Takes the content of the first frame of `bytes`; `None` when there is no whole frame.
fn next_frame<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (content, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *bytes = rest;
    Some(content)
}

fn check_answers(input: &[u8], output: &[u8]) {
    let mut calls: BTreeMap<u64, usize> = BTreeMap::new();
    let mut requests = input.get(GREETING_LENGTH..).unwrap_or_default();
    while let Some(content) = next_frame(&mut requests) {
        if let Ok(ClientFrame::Call { id, .. }) = codec::decode(content) {
            *calls.entry(id).or_default() += 1;
        }
    }
    let Some((hello, mut answers)) = output.split_first_chunk::<GREETING_LENGTH>() else {
        return assert!(output.is_empty(), "half a greeting");
    };
    assert_eq!(decode_greeting(hello), Some((VERSION, GreetingCode::Ok)));
    let mut first = true;
    while let Some(content) = next_frame(&mut answers) {
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
        if let Ok(client) = Client::from_stream(far).await {
            call_all(&client).await;
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
    let [client_tap, daemon_tap] =
        [client_tap, daemon_tap].map(|stream| Async::new(stream).expect("a socket of our own"));
    let (mut requests, mut answers) = (Vec::new(), Vec::new());
    async_io::block_on(async {
        let served = ServedNode::start().await;
        let serve = served.serve(daemon, OWNER);
        let taps = async {
            futures::join!(
                tap(&client_tap, &daemon_tap, &mut requests),
                tap(&daemon_tap, &client_tap, &mut answers)
            )
        };
        let talk = async {
            let client = Client::from_stream(client).await.expect("the daemon follows the protocol");
            // Some calls wait for messages that never arrive.
            let patience = async_io::Timer::after(Duration::from_millis(500));
            select(pin!(call_all(&client)), patience).await;
        };
        let (serve, taps, talk) = (pin!(serve), pin!(taps), pin!(talk));
        select(talk, select(serve, taps)).await;
    });
    (requests, answers)
}

/// Forwards the bytes of one side, and records them: first its greeting, then frame by frame.
async fn tap(mut from: &Async<UnixStream>, mut to: &Async<UnixStream>, recorded: &mut Vec<Vec<u8>>) {
    let (mut bytes, mut known) = (vec![0; GREETING_LENGTH], 0);
    while from.read_exact(&mut bytes[known..]).await.is_ok() && to.write_all(&bytes).await.is_ok() {
        recorded.push(bytes);
        let mut length = [0; 4];
        if from.read_exact(&mut length).await.is_err() {
            return;
        }
        (bytes, known) = (length.to_vec(), length.len());
        bytes.resize(known + u32::from_le_bytes(length) as usize, 0);
    }
}
