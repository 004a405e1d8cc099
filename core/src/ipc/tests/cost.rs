//! The cost of requests: memory and work of the daemon that a client does not pay for itself.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::executor::block_on;
use futures::future::{Either, FutureExt, select};
use futures::stream::FuturesUnordered;

use super::setup::{RawClient, Setup, TestAdmin};
use crate::ipc::credit::Credit;
use crate::ipc::lifecycle::Phase;
use crate::ipc::protocol::{
    Call, ClientFrame, DaemonFrame, FREE_CALLS, Failure, GreetingCode, MAX_CALLS, MAX_SENT, MAX_SUBSCRIBED,
    VERSION, encode_greeting,
};
use crate::ipc::quotas::MAX_CALLS_IN_ALL;
use crate::ipc::running_calls::RunningCalls;
use crate::ipc::session::ClientSession;
use crate::ipc::{Client, ConnectError, MAX_CONNECTIONS, Search};

#[test]
fn lists_that_are_not_read_are_not_made() {
    block_on(async {
        let setup = Setup::new().await;
        let mut greedy = RawClient::connect(&setup);
        for id in 0..100 {
            greedy.call(id, Call::Names);
        }
        let listed = || setup.admin.listed.load(Ordering::SeqCst);
        while listed() == 0 {
            std::thread::yield_now();
        }
        // Each of these calls waits for its turn, as the calls of the greedy client do.
        let other = setup.client().await;
        for _ in 0..10 {
            other.names().await.unwrap();
        }
        assert!(listed() <= 10 + 3, "{} lists of 2 MB for 12 calls whose replies were read", listed());
        // All lists are made for a client that reads.
        for _ in 0..100 {
            assert!(matches!(greedy.next(), Some(DaemonFrame::Reply { .. } | DaemonFrame::Failed { .. })));
        }
    });
}

#[test]
fn a_call_that_waits_holds_little_memory() {
    block_on(async {
        let setup = Setup::new().await;
        let (node, admin) = (setup.node.clone(), setup.admin.clone());
        let session = Arc::new(ClientSession::new(node, admin, setup.admin.owner, Arc::default()));
        let (peer, timeout_us) = (setup.node.address(), 1);
        for call in [
            Call::Receive { to: None, service: Default::default(), from: None, limit: 1 },
            Call::Delivered { ticket: 1 },
            Call::Ping { peer, timeout_us },
            Call::Trace { peer, max_hops: 64, timeout_us },
            Call::Events,
            Call::Submit { messages: Vec::new(), wait: true },
            Call::Names,
            Call::Status,
            Call::Reload,
            Call::NewIdentity { label: None },
            Call::Stop,
        ] {
            let named = format!("{call:?}");
            // To queue a message takes more than to wait, and each such call has brought a message along.
            let most = if matches!(call, Call::Submit { .. }) { 2048 } else { 1024 };
            let held = size_of_val(&*session.clone().answer(1, call, Arc::<Credit>::default()));
            assert!(held <= most, "{named} holds {held} bytes while it waits");
        }
    });
}

/// One session of another user for each possible connection, and one session of the daemon's owner.
fn many_and_the_owner(setup: &Setup) -> (Vec<Arc<ClientSession<TestAdmin>>>, Arc<ClientSession<TestAdmin>>) {
    let (quotas, owner) = (Arc::default(), setup.admin.owner);
    let (node, admin) = (&setup.node, &setup.admin);
    let session = |uid| Arc::new(ClientSession::new(node.clone(), admin.clone(), uid, Arc::clone(&quotas)));
    ((0..MAX_CONNECTIONS).map(|_| session(owner + 1)).collect(), session(owner))
}

#[test]
fn other_users_that_do_not_read_their_lists_leave_some_to_the_owner() {
    block_on(async {
        let setup = Setup::new().await;
        let (others, owner) = many_and_the_owner(&setup);
        let asked = others.iter().map(|other| other.clone().answer(1, Call::Names, Arc::default()));
        let mut asked: FuturesUnordered<_> = asked.collect();
        // Refused calls have ended; the other calls wait for their clients to read.
        assert!(asked.next().await.is_some(), "other users have as many as they may");
        let others = async { while asked.next().await.is_some() {} };
        let listed = async {
            while owner.outbox.has_room() {
                crate::rt::sleep(Duration::from_millis(1)).await;
            }
        };
        let asking = owner.clone().answer(1, Call::Names, Arc::default());
        let (others, listed, asking) = (pin!(others), pin!(listed), pin!(asking));
        match select(others, select(asking, listed)).await {
            Either::Right((Either::Right(_), _)) => {}
            Either::Right((Either::Left(_), _)) => panic!("the owner was refused"),
            Either::Left(_) => panic!("no other call waits"),
        }
    });
}

#[test]
fn other_users_that_subscribe_leave_some_subscriptions_to_the_owner() {
    block_on(async {
        let setup = Setup::new().await;
        let (others, owner) = many_and_the_owner(&setup);
        let asked = others.iter().map(|other| other.clone().answer(1, Call::Events, Arc::default()));
        let mut asked: FuturesUnordered<_> = asked.collect();
        assert!(asked.next().await.is_some(), "other users have as many as they may");
        let asking = owner.clone().answer(1, Call::Events, Arc::default());
        assert!(asking.now_or_never().is_none(), "the owner was refused");
    });
}

#[test]
fn other_users_that_make_calls_leave_a_whole_connection_to_the_owner() {
    block_on(async {
        let setup = Setup::new().await;
        let (others, owner) = many_and_the_owner(&setup);
        // A refused call leaves a frame in the outbox of its session.
        let make_calls = |session: &Arc<ClientSession<TestAdmin>>| {
            let mut calls = RunningCalls::new(false);
            for id in 0..MAX_CALLS as u64 {
                let call = Call::Receive { to: None, service: Default::default(), from: None, limit: 1 };
                calls.handle(ClientFrame::Call { id, call }, 0, session, Phase::Serving);
            }
            calls
        };
        let of_others: Vec<_> = others.iter().take(8).map(make_calls).collect();
        let was_refused =
            |session: &ClientSession<TestAdmin>| session.outbox.flushed().now_or_never().is_none();
        assert!(was_refused(&others[7]), "other users have as many as they may");
        let of_owner = make_calls(&owner);
        assert!(!was_refused(&owner), "the owner was refused");
        drop((of_others, of_owner));
    });
}

#[test]
fn subscriptions_are_bounded_on_a_connection_and_in_all() {
    block_on(async {
        let setup = Setup::new().await;
        let mut refused = Vec::new();
        let mut connections: Vec<RawClient> = (0..20).map(|_| RawClient::connect(&setup)).collect();
        for raw in &mut connections {
            for id in 0..=MAX_SUBSCRIBED as u64 {
                raw.call(id, Call::Events);
            }
            raw.call(99, Call::Names);
            let mut busy = 0;
            while let Some(down) = raw.next() {
                match down {
                    DaemonFrame::Failed { failure: Failure::Busy, .. } => busy += 1,
                    _ => break,
                }
            }
            refused.push(busy);
        }
        assert_eq!((refused[0], refused[7]), (1, 1), "the first have as many as a connection may have");
        assert_eq!(refused[8..], [MAX_SUBSCRIBED + 1; 12], "then there are enough in all");
        drop(connections.remove(0));
        let client = setup.client().await;
        // Until the daemon has seen that the connection is gone, there are enough.
        loop {
            let mut events = client.events();
            client.status().await.unwrap();
            setup.messages(&["x"]).await;
            if events.next().await.is_some() {
                break;
            }
        }
    });
}

#[test]
fn calls_that_wait_are_bounded_in_all_and_each_connection_may_have_some() {
    const CONNECTIONS: usize = 8;
    block_on(async {
        let setup = Setup::new().await;
        let wait = || Call::Receive { to: None, service: Default::default(), from: None, limit: 1 };
        let mut connections = Vec::new();
        let mut waiting = 0;
        for _ in 0..CONNECTIONS {
            let mut raw = RawClient::connect(&setup);
            for id in 0..MAX_CALLS as u64 {
                raw.call(id, wait());
            }
            raw.call(5000, Call::Stop);
            let mut busy = 0;
            loop {
                match raw.next() {
                    Some(DaemonFrame::Failed { id, failure: Failure::Busy }) if id < 5000 => busy += 1,
                    Some(DaemonFrame::Failed { id: 5000, .. } | DaemonFrame::Reply { id: 5000, .. }) => break,
                    other => panic!("{other:?}"),
                }
            }
            waiting += MAX_CALLS - busy;
            connections.push(raw);
        }
        assert!(waiting <= MAX_CALLS_IN_ALL + CONNECTIONS * FREE_CALLS, "{waiting} calls wait");
        assert!(waiting >= MAX_CALLS_IN_ALL, "only {waiting} calls wait");
        assert!(setup.client().await.status().await.is_ok());
    });
}

#[test]
fn more_tickets_than_the_bound_end_the_connection() {
    block_on(async {
        let setup = Setup::new().await;
        let too_many = vec![7; MAX_SENT + 1];
        for word in [
            ClientFrame::Confirm { tickets: too_many.clone() },
            ClientFrame::Return { tickets: too_many.clone() },
            ClientFrame::Forget { tickets: too_many.clone() },
        ] {
            let mut raw = RawClient::connect(&setup);
            raw.send(&word);
            assert!(raw.next().is_none());
        }
    });
}

#[test]
fn silent_connections_keep_no_client_out() {
    block_on(async {
        let setup = Setup::new().await;
        let silent: Vec<UnixStream> =
            (0..2 * MAX_CONNECTIONS).map(|_| UnixStream::connect(&setup.path).unwrap()).collect();
        assert!(setup.client().await.status().await.is_ok());
        drop(silent);
    });
}

#[test]
fn the_owner_gets_in_to_administer_whatever_the_other_connections_are() {
    block_on(async {
        let setup = Setup::new().await;
        let places: Vec<RawClient> = (0..MAX_CONNECTIONS).map(|_| RawClient::connect(&setup)).collect();
        let seats: Vec<UnixStream> = (0..100)
            .map(|_| {
                let mut seat = UnixStream::connect(&setup.path).unwrap();
                seat.write_all(&encode_greeting(VERSION, GreetingCode::Administer)).unwrap();
                seat
            })
            .collect();
        assert!(matches!(Client::connect(&setup.path).await, Err(ConnectError::Busy(_))));
        let search = Search { socket: Some(setup.path.clone()), ..Search::default() };
        let client = Client::find_to_administer(&search).await.unwrap();
        client.status().await.unwrap();
        assert!(client.send(&setup.node.address(), "x").await.is_err(), "for short calls only");
        drop(seats);
        assert!(matches!(
            futures::future::select(
                std::pin::pin!(client.stop()),
                std::pin::pin!(async {
                    while !setup.admin.stopped.load(Ordering::SeqCst) {
                        crate::rt::sleep(Duration::from_millis(1)).await;
                    }
                })
            )
            .await,
            futures::future::Either::Right(_)
        ));
        drop(places);
    });
}

#[test]
fn a_provisional_connection_that_administers_is_closed_after_a_while() {
    block_on(async {
        let setup = Setup::new().await;
        let mut seat = UnixStream::connect(&setup.path).unwrap();
        seat.write_all(&encode_greeting(VERSION, GreetingCode::Administer)).unwrap();
        let mut all = Vec::new();
        // It ends by itself, after five seconds.
        let _ = seat.read_to_end(&mut all);
        assert!(all.starts_with(&encode_greeting(VERSION, GreetingCode::Ok)));
    });
}
