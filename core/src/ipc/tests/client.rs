//! The guarantees that a client may rely on.

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::executor::block_on;
use futures::{FutureExt, StreamExt};

use super::setup::{RawClient, Setup};
use crate::ipc::protocol::{Call, ClientFrame};
use crate::ipc::{Access, BindError, ClientError, ConnectError, Denial, Server};
use crate::{Event, Identity, MAX_MESSAGE, Outgoing, PingError, SendError};

fn text(message: &crate::Message) -> &str {
    std::str::from_utf8(&message.body).unwrap()
}

#[test]
fn a_message_to_oneself_crosses_the_socket_both_ways_and_is_receipted() {
    block_on(async {
        let setup = Setup::new().await;
        let client = setup.client().await;
        let me = client.address();
        let sent = client.send(&me, "hello").await.unwrap();
        let message = client.recv().await.unwrap();
        assert_eq!((text(&message), message.id, message.from), ("hello", sent.id, me));
        let id = sent.id;
        assert_eq!(sent.delivered().await.unwrap().id, id);
    });
}

#[test]
fn the_longest_message_passes_and_a_longer_one_is_refused_before_it_is_sent() {
    block_on(async {
        let setup = Setup::new().await;
        let client = setup.client().await;
        let me = client.address();
        client.send(&me, vec![7; MAX_MESSAGE]).await.unwrap();
        assert_eq!(client.recv().await.unwrap().body.len(), MAX_MESSAGE);
        let length = MAX_MESSAGE as u64 + 1;
        let error = client.send(&me, vec![7; MAX_MESSAGE + 1]).await.unwrap_err();
        assert_eq!(error, ClientError::Send(SendError::TooLong { length }));
        assert!(client.status().await.is_ok(), "the connection goes on");
    });
}

#[test]
fn a_batch_longer_than_a_frame_goes_in_parts_and_in_order() {
    block_on(async {
        let setup = Setup::new().await;
        let client = setup.client().await;
        let me = client.address();
        let batch = (0..5u8).map(|n| Outgoing::new(me, vec![n; 6 << 20])).collect();
        assert_eq!(client.send_batch(batch).await.unwrap().len(), 5);
        let mut got = Vec::new();
        while got.len() < 5 {
            let batch = client.recv_batch(100).await.unwrap();
            got.extend(batch.iter().map(|message| message.body[0]));
        }
        assert_eq!(got, [0, 1, 2, 3, 4]);
    });
}

#[test]
fn messages_fetched_and_not_confirmed_are_back_in_the_inbox_when_the_client_is_gone() {
    block_on(async {
        let setup = Setup::new().await;
        setup.messages(&["a", "b", "c", "d"]).await;
        let mut raw = RawClient::connect(&setup);
        let fetched = raw.fetch(1, 3);
        raw.send(&ClientFrame::Confirm { tickets: vec![fetched[0].0] });
        drop(raw);
        let client = setup.client().await;
        let mut got = Vec::new();
        while got.len() < 3 {
            // Another message may be fetched before the daemon has seen that the first connection is gone.
            got.push(text(&client.recv().await.unwrap()).to_owned());
        }
        got.sort_unstable();
        assert_eq!(got, ["b", "c", "d"]);
    });
}

#[test]
fn messages_that_are_given_back_keep_their_order() {
    block_on(async {
        let setup = Setup::new().await;
        setup.messages(&["a", "b", "c", "d"]).await;
        let mut raw = RawClient::connect(&setup);
        let tickets = raw.fetch(1, 3).iter().map(|(ticket, _)| *ticket).collect();
        raw.send(&ClientFrame::Return { tickets });
        let again: Vec<String> = raw.fetch(2, 4).into_iter().map(|(_, body)| body).collect();
        assert_eq!(again, ["a", "b", "c", "d"]);
    });
}

#[test]
fn a_delivery_dropped_before_it_is_done_goes_back_to_the_head() {
    block_on(async {
        let setup = Setup::new().await;
        setup.messages(&["a", "b"]).await;
        let client = setup.client().await;
        let delivery = client.delivery(None).await.unwrap();
        assert_eq!((text(delivery.message()), delivery.from_name()), ("a", Some("me")));
        drop(delivery);
        assert_eq!(text(&client.delivery(None).await.unwrap().done()), "a");
        assert_eq!(text(&client.recv().await.unwrap()), "b");
    });
}

#[test]
fn a_cancelled_receive_loses_no_message() {
    block_on(async {
        let setup = Setup::new().await;
        let (client, other) = (setup.client().await, setup.client().await);
        for n in 0..100 {
            let mut receive = Box::pin(client.recv());
            assert!((&mut receive).now_or_never().is_none());
            setup.messages(&["x"]).await;
            if n % 2 == 0 {
                // A round trip on the same connection: the message has come, or is about to.
                client.status().await.unwrap();
            }
            drop(receive);
            assert_eq!(text(&other.recv().await.unwrap()), "x");
        }
    });
}

#[test]
fn a_stream_of_messages_gives_back_what_it_fetched_ahead() {
    block_on(async {
        let setup = Setup::new().await;
        setup.messages(&["a", "b", "c"]).await;
        let client = setup.client().await;
        let mut messages = client.messages();
        assert_eq!(text(&messages.next().await.unwrap()), "a");
        drop(messages);
        let rest = client.recv_batch(10).await.unwrap();
        assert_eq!(rest.iter().map(text).collect::<Vec<_>>(), ["b", "c"]);
    });
}

#[test]
fn a_receive_from_one_peer_leaves_the_messages_of_others_in_the_inbox() {
    block_on(async {
        let setup = Setup::new().await;
        let second = Identity::generate();
        setup.node.add_identity(second.clone());
        let client = setup.client().await;
        setup.messages(&["from the first"]).await;
        client
            .submit(Outgoing::new(client.address(), "from the second").from(second.address()))
            .await
            .unwrap();
        let message = client.recv_from(&second.address()).await.unwrap();
        assert_eq!(text(&message), "from the second");
        assert_eq!(text(&client.recv().await.unwrap()), "from the first");
    });
}

#[test]
fn a_further_address_has_an_inbox_of_its_own() {
    block_on(async {
        let setup = Setup::new().await;
        let second = Identity::generate();
        setup.node.add_identity(second.clone());
        let client = setup.client().await;
        client.send(&second.address(), "for the second").await.unwrap();
        let mailbox = client.mailbox(&second.address());
        assert_eq!(text(&mailbox.recv().await.unwrap()), "for the second");
        let stranger = Identity::generate().address();
        let error = client.mailbox(&stranger).recv().await.unwrap_err();
        assert_eq!(error, ClientError::NoSuchAddress(stranger));
    });
}

#[test]
fn events_arrive_beyond_the_first_credit() {
    block_on(async {
        let setup = Setup::new().await;
        let client = setup.client().await;
        let mut events = client.events();
        // A round trip later the subscription stands.
        client.status().await.unwrap();
        for n in 0..1000 {
            setup.messages(&["x"]).await;
            // One at a time, so that none is lost to a full buffer.
            loop {
                let (_, event) = events.next().await.unwrap();
                if matches!(event, Event::MessageReceived { .. }) {
                    break;
                }
            }
            assert_eq!(text(&client.recv().await.unwrap()), "x", "message {n}");
        }
    });
}

#[test]
fn many_calls_wait_at_once_on_one_connection() {
    block_on(async {
        let setup = Setup::new().await;
        let client = setup.client().await;
        // More than a connection may have under way: the client holds the rest back by itself.
        let receives = (0..2000).map(|_| client.recv());
        let all = futures::future::join_all(receives);
        let sends = async {
            for _ in 0..2000 {
                setup.messages(&["x"]).await;
            }
        };
        let (got, ()) = futures::future::join(all, sends).await;
        assert!(got.iter().all(Result::is_ok));
    });
}

#[test]
fn refusals_and_failures_keep_their_kind_over_the_socket() {
    block_on(async {
        let setup = Setup::new().await;
        let client = setup.client().await;
        let stranger = Identity::generate().address();
        let error = client.submit(Outgoing::new(stranger, "x").from(stranger)).await.unwrap_err();
        assert_eq!(error, ClientError::NoSuchAddress(stranger));
        let error = client.ping(&stranger, Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(error, ClientError::Ping(PingError::NoRoute(stranger)));
        match client.add_name("bob", &stranger).await.unwrap_err() {
            ClientError::Refused(error) => assert_eq!(error.denial, Denial::ReadOnly),
            other => panic!("{other:?}"),
        }
        assert_eq!(client.reload().await.unwrap(), "reloaded");
    });
}

#[test]
fn a_daemon_that_stops_ends_waiting_calls_and_gives_back_unconfirmed_messages() {
    block_on(async {
        let setup = Setup::new().await;
        setup.messages(&["a"]).await;
        let mut raw = RawClient::connect(&setup);
        raw.fetch(1, 1);
        let client = setup.client().await;
        let mut receive = Box::pin(client.recv());
        assert!((&mut receive).now_or_never().is_none());
        client.status().await.unwrap();
        setup.server.drain().await;
        assert_eq!(receive.await.unwrap_err(), ClientError::Stopped);
        assert_eq!(client.status().await.unwrap_err(), ClientError::Stopped);
        assert_eq!(text(&setup.node.recv().await.unwrap()), "a");
        setup.server.close().await;
        assert!(raw.next().is_none());
    });
}

#[test]
fn stop_is_answered_and_returns_when_the_daemon_has_closed() {
    block_on(async {
        let setup = Setup::new().await;
        let client = setup.client().await;
        let mut stop = Box::pin(client.stop());
        assert!((&mut stop).now_or_never().is_none());
        let watch = setup.client().await;
        while !setup.admin.stopped.load(Ordering::SeqCst) {
            watch.status().await.unwrap();
        }
        setup.server.drain().await;
        setup.server.close().await;
        stop.await.unwrap();
    });
}

#[test]
fn a_stale_socket_is_taken_over_and_a_live_one_is_not() {
    use std::os::unix::fs::PermissionsExt;
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        // A killed daemon leaves its socket file behind.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let server = Server::bind(&path, Access::Owner).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(Server::bind(&path, Access::Owner), Err(BindError::InUse(_))));
        drop(server);
        assert!(!path.exists(), "an orderly end leaves no socket");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(Server::bind(&path, Access::Owner), Err(BindError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    });
}

#[test]
fn a_socket_is_restored_only_where_no_other_daemon_has_taken_its_place() {
    block_on(async {
        let setup = Setup::new().await;
        let restore = || setup.server.restore(&setup.server.socket(), &*setup.admin, &mut None);
        let inode = || std::fs::metadata(&setup.path).map(|found| found.ino());
        let before = inode().unwrap();
        restore();
        assert_eq!(inode().unwrap(), before, "a socket that is in its place is left alone");

        std::fs::remove_file(&setup.path).unwrap();
        let other = std::os::unix::net::UnixListener::bind(&setup.path).unwrap();
        let theirs = inode().unwrap();
        restore();
        assert_eq!(inode().unwrap(), theirs, "another daemon serves there");

        drop(other);
        setup.admin.lost.store(true, Ordering::SeqCst);
        restore();
        assert_eq!(inode().unwrap(), theirs, "the directory is another daemon's");
        setup.admin.lost.store(false, Ordering::SeqCst);
        restore();
        assert!(setup.server.socket().is_at(&setup.path), "the other one has died");
    });
}

#[test]
fn a_client_waits_for_a_daemon_that_is_just_starting_and_names_the_sockets_that_it_tried() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none");
        match crate::Client::connect(&path).await.unwrap_err() {
            ConnectError::NoDaemon { tried } => assert_eq!(tried, [path]),
            other => panic!("{other:?}"),
        }
        let setup = Setup::new().await;
        let late = folder.path().join("late");
        let mut connect = Box::pin(crate::Client::connect(&late));
        assert!((&mut connect).now_or_never().is_none());
        std::os::unix::fs::symlink(&setup.path, &late).unwrap();
        assert_eq!(connect.await.unwrap().address(), setup.node.address());
    });
}

#[test]
fn a_cancelled_call_no_longer_counts() {
    block_on(async {
        let setup = Setup::new().await;
        let mut raw = RawClient::connect(&setup);
        for id in 0..5000 {
            raw.call(id, Call::Receive { to: None, service: Default::default(), from: None, limit: 1 });
            raw.send(&ClientFrame::Cancel { id });
        }
        setup.messages(&["x"]).await;
        assert_eq!(raw.fetch(9999, 1)[0].1, "x");
    });
}
