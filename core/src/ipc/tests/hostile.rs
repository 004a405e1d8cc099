//! A program that breaks the rules of the socket harms no other program.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use futures::executor::block_on;
use futures::io::AsyncReadExt;

use super::setup::{RawClient, Setup, TestAdmin};
use crate::ipc::frame::FrameReader;
use crate::ipc::protocol::{
    Call, ClientFrame, DaemonFrame, Failure, GREETING_LENGTH, GreetingCode, MAX_CALLS, MAX_UNCONFIRMED_BYTES,
    Reply, VERSION, encode_greeting,
};
use crate::ipc::session::ClientSession;
use crate::ipc::{Client, ConnectError, Denial, MAX_CONNECTIONS};
use crate::node::Node;
use crate::wire::codec;
use crate::{Identity, Outgoing, SendError};

#[test]
fn a_malformed_frame_closes_its_connection_and_no_other() {
    block_on(async {
        let setup = Setup::new().await;
        let client = setup.client().await;
        let call = codec::encode(&ClientFrame::Call { id: 1, call: Call::Status }).unwrap();
        let mut trailing = call.clone();
        trailing.push(0);
        let mut unknown = call.clone();
        unknown[12] = 99;
        let hostile_length = codec::encode(&(3u32, u64::MAX)).unwrap();
        for bad in [&[][..], &[9; 40], &call[..call.len() - 1], &trailing, &unknown, &hostile_length] {
            let mut raw = RawClient::connect(&setup);
            raw.write(bad);
            assert!(raw.next().is_none(), "{bad:?} is not answered");
            assert!(client.status().await.is_ok());
        }
        let mut raw = RawClient::connect(&setup);
        raw.0.write_all(&u32::MAX.to_le_bytes()).unwrap();
        assert!(raw.next().is_none(), "a frame longer than any may be");
        assert!(client.status().await.is_ok());
    });
}

#[test]
fn connections_that_the_daemon_refuses_or_ends_are_counted_and_others_are_not() {
    block_on(async {
        let setup = Setup::with(Duration::from_millis(50)).await;
        let counted = async || {
            let counters = setup.node.status().await.counters;
            (counters["clients_refused"], counters["clients_ended"])
        };
        let until = async |expected| {
            for _ in 0..500 {
                if counted().await == expected {
                    return;
                }
                Timer::after(Duration::from_millis(20)).await;
            }
            assert_eq!(counted().await, expected);
        };
        drop(setup.client().await);
        let mut half = RawClient::connect(&setup);
        half.0.write_all(&[9, 0, 0, 0, 1]).unwrap();
        drop(half);
        RawClient::connect(&setup).write(&[9; 40]);
        until((0, 1)).await;
        let refused =
            [&encode_greeting(VERSION + 1, GreetingCode::Ok)[..], b"GET / HTTP/1.0\r\n"].map(|greeting| {
                let mut stream = UnixStream::connect(&setup.path).unwrap();
                stream.write_all(greeting).unwrap();
                stream
            });
        until((2, 1)).await;
        drop(refused);
        setup.node.submit(Outgoing::new(setup.node.address(), vec![1; 8 << 20])).await.unwrap();
        let mut unread = RawClient::connect(&setup);
        unread.call(1, Call::Receive { to: None, service: Default::default(), from: None, limit: 1 });
        until((2, 2)).await;
    });
}

#[test]
fn random_bytes_do_no_harm() {
    block_on(async {
        let setup = Setup::new().await;
        let client = setup.client().await;
        let mut seed = 1u64;
        for round in 0..200 {
            let mut raw = RawClient::connect(&setup);
            let bytes: Vec<u8> = (0..round % 90)
                .map(|_| {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    // Small numbers are likelier to mean something.
                    (seed >> 33) as u8 & if seed >> 62 == 0 { 0xff } else { 3 }
                })
                .collect();
            raw.write(&bytes);
        }
        assert!(client.status().await.is_ok());
    });
}

#[test]
fn a_client_of_another_version_receives_the_version_of_the_daemon_and_is_not_served() {
    block_on(async {
        let setup = Setup::new().await;
        let mut stream = UnixStream::connect(&setup.path).unwrap();
        stream.write_all(&encode_greeting(VERSION + 1, GreetingCode::Ok)).unwrap();
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut all).unwrap();
        assert_eq!(all, encode_greeting(VERSION, GreetingCode::Ok));
        let mut stream = UnixStream::connect(&setup.path).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n").unwrap();
        let mut all = Vec::new();
        // Closed with bytes unread, which may show as a reset.
        let _ = std::io::Read::read_to_end(&mut stream, &mut all);
        assert!(all.is_empty(), "a stranger is not answered");
    });
}

/// Connects a client to a daemon that sends only this answer.
fn connect_to_daemon(answer: Vec<u8>) -> Result<Client, ConnectError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let daemon = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut theirs = [0; GREETING_LENGTH];
        std::io::Read::read_exact(&mut stream, &mut theirs).unwrap();
        stream.write_all(&answer).unwrap();
    });
    let result = block_on(Client::connect(&path));
    daemon.join().unwrap();
    result
}

#[test]
fn a_client_reports_why_a_daemon_does_not_serve_it() {
    let newer = connect_to_daemon(encode_greeting(VERSION + 1, GreetingCode::Ok).to_vec());
    assert!(matches!(newer, Err(ConnectError::Version { theirs, .. }) if theirs == VERSION + 1));
    let full = connect_to_daemon(encode_greeting(VERSION, GreetingCode::Busy).to_vec());
    assert!(matches!(full, Err(ConnectError::Busy(_))));
    let other = connect_to_daemon(b"220 mail.example".to_vec());
    assert!(matches!(other, Err(ConnectError::NotADaemon(_))));
    let mut malformed = encode_greeting(VERSION, GreetingCode::Ok).to_vec();
    malformed.extend([4, 0, 0, 0, 9, 9, 9, 9]);
    assert!(matches!(connect_to_daemon(malformed), Err(ConnectError::NotADaemon(_))));
}

#[test]
fn a_client_that_stops_reading_is_closed_and_its_message_goes_to_another() {
    block_on(async {
        let setup = Setup::with(Duration::from_millis(50)).await;
        setup.node.submit(Outgoing::new(setup.node.address(), vec![1; 8 << 20])).await.unwrap();
        let mut raw = RawClient::connect(&setup);
        raw.call(1, Call::Receive { to: None, service: Default::default(), from: None, limit: 1 });
        // The answer has begun, so the message has left the inbox. Nothing more is read.
        let mut length = [0; 4];
        std::io::Read::read_exact(&mut raw.0, &mut length).unwrap();
        // Not over the socket: a busy machine may keep a good client waiting as long.
        assert_eq!(setup.node.recv().await.unwrap().body.len(), 8 << 20);
    });
}

#[test]
fn calls_beyond_the_limit_are_refused_and_the_connection_goes_on() {
    block_on(async {
        let setup = Setup::new().await;
        let mut raw = RawClient::connect(&setup);
        for id in 0..=MAX_CALLS as u64 {
            raw.call(id, Call::Receive { to: None, service: Default::default(), from: None, limit: 1 });
        }
        match raw.next() {
            Some(DaemonFrame::Failed { id, failure }) => {
                assert_eq!((id, failure), (MAX_CALLS as u64, Failure::Busy))
            }
            other => panic!("{other:?}"),
        }
        raw.send(&ClientFrame::Cancel { id: 0 });
        raw.call(9999, Call::Status);
        assert!(matches!(raw.next(), Some(DaemonFrame::Reply { id: 9999, .. })));
    });
}

#[test]
fn a_connection_beyond_the_limit_is_refused_with_the_reason() {
    block_on(async {
        let setup = Setup::new().await;
        let mut connections: Vec<RawClient> =
            (0..MAX_CONNECTIONS).map(|_| RawClient::connect(&setup)).collect();
        assert!(matches!(Client::connect(&setup.path).await, Err(ConnectError::Busy(_))));
        connections[0].call(1, Call::Status);
        assert!(connections[0].next().is_some(), "open connections are served");
    });
}

#[test]
fn unconfirmed_messages_are_bounded() {
    block_on(async {
        let setup = Setup::new().await;
        let mut raw = RawClient::connect(&setup);
        let mut fetched = Vec::new();
        for id in 0..(MAX_UNCONFIRMED_BYTES / (8 << 20)) as u64 {
            setup.node.submit(Outgoing::new(setup.node.address(), vec![1; 8 << 20])).await.unwrap();
            fetched.extend(raw.fetch(id, 1).into_iter().map(|(ticket, _)| ticket));
        }
        setup.messages(&["x"]).await;
        raw.call(1000, Call::Receive { to: None, service: Default::default(), from: None, limit: 1 });
        assert!(matches!(raw.next(), Some(DaemonFrame::Failed { failure: Failure::Busy, .. })));
        raw.send(&ClientFrame::Confirm { tickets: fetched });
        assert_eq!(raw.fetch(1001, 1)[0].1, "x");
    });
}

/// The answer of the daemon to a call of this session.
async fn answer(session: &Arc<ClientSession<TestAdmin>>, call: Call) -> Result<Reply, Failure> {
    session.clone().answer(1, call, Arc::default()).await;
    let (ours, theirs) = UnixStream::pair().unwrap();
    let ours = async_io::Async::new(ours).unwrap();
    let mut theirs = async_io::Async::new(theirs).unwrap();
    let mut writer = std::pin::pin!(session.outbox.write_to(&ours, Duration::from_secs(60)));
    let mut frames = FrameReader::new((&mut theirs).take(u64::MAX));
    let mut next = std::pin::pin!(frames.next());
    let bytes = match futures::future::select(&mut writer, &mut next).await {
        futures::future::Either::Right((bytes, _)) => bytes.unwrap(),
        futures::future::Either::Left(_) => panic!("the writer ended"),
    };
    match codec::decode(bytes).unwrap() {
        DaemonFrame::Reply { reply, .. } => Ok(reply),
        DaemonFrame::Failed { failure, .. } => Err(failure),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_user_uses_its_own_address_only_and_administers_nothing() {
    block_on(async {
        let node = Node::builder().identity(Identity::generate()).start().await.unwrap();
        let own = Identity::generate();
        node.add_identity(own.clone());
        let (own, first) = (own.address(), node.address());
        let others = HashMap::from([(own, 1001)]);
        let admin = Arc::new(TestAdmin::new(&node, others, 1000));
        let session = |uid| Arc::new(ClientSession::new(node.clone(), admin.clone(), uid, Arc::default()));
        let denied = |answer: Result<Reply, Failure>| match answer {
            Err(Failure::Admin(error)) => error.denial,
            other => panic!("{other:?}"),
        };

        let receive = |to| Call::Receive { to, service: Default::default(), from: None, limit: 1 };
        let send = |from: Option<crate::Address>| {
            let message = Outgoing::new(own, "x");
            let message = if let Some(from) = from { message.from(from) } else { message };
            Call::Submit { messages: vec![message], wait: true }
        };
        assert_eq!(denied(answer(&session(1001), receive(Some(first))).await), Denial::NotAllowed);
        assert_eq!(denied(answer(&session(1001), send(Some(first))).await), Denial::NotAllowed);
        assert_eq!(denied(answer(&session(1001), Call::Stop).await), Denial::NotAllowed);
        let call = Call::AddPeer { uri: "udp:192.0.2.1".into() };
        assert_eq!(denied(answer(&session(1001), call).await), Denial::NotAllowed);
        let call = Call::RemoveIdentity { address: first };
        assert_eq!(denied(answer(&session(1001), call).await), Denial::NotAllowed);
        assert_eq!(denied(answer(&session(1002), receive(None)).await), Denial::NotAllowed);
        assert!(!admin.stopped.load(std::sync::atomic::Ordering::SeqCst));

        // Without a name it is its own address.
        assert!(answer(&session(1001), send(None)).await.is_ok());
        match answer(&session(1001), receive(None)).await {
            Ok(Reply::Messages(fetched)) => assert_eq!(fetched[0].message.from, own),
            other => panic!("{other:?}"),
        }
        let unknown = Identity::generate().address();
        let failure = answer(&session(1000), send(Some(unknown))).await.unwrap_err();
        assert_eq!(failure, Failure::NoSuchAddress(unknown));
        assert_ne!(failure, Failure::Send(SendError::NotOurs(unknown)));
    });
}
