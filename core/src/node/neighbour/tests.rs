//! Tests of the neighbour's task, with a neighbour that sends nothing.

use futures::StreamExt;

mod announcing;
mod goodbye;
mod inbox;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::BytesMut;

use super::*;
use crate::address::Address;
use crate::egress::Egress;
use crate::identity::Identity;
use crate::link::{
    FrameContent, HandshakeOutput, Handshakes, Link, LinkConfig, LinkState, Path, Session, Source,
};
use crate::netmod::mem::MemNet;
use crate::netmod::{Endpoint, Netmod};
use crate::node::NodeConfig;
use crate::node::data_path::{awaiting_route, packets_arrived};
use crate::node::leaving;
use crate::node::state::fib::NextHops;
use crate::node::state::locks::{read, write};
use crate::node::state::medium::Medium;
use crate::node::state::neighbour::{NeighbourParts, ROUTES, ROUTES_BYTES};
use crate::node::state::router_inputs::RouterEvent;
use crate::rt;
use crate::time::Time;
use crate::types::Event;
use crate::wire::packet::{self, HOP_LIMIT, Probe};

/// A bound that is longer than any step here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Both ends of a session, this node's first.
fn sessions(path: Path) -> [Session; 2] {
    let identities = [1, 2].map(|n| Identity::from_seed(&[n; 32]));
    let [mut us, mut them] =
        [0, 1].map(|n| Handshakes::new(&identities[n], LinkConfig::default(), [n as u8; 32]));
    us.dial(Time::ZERO, path, 1200);
    let mut ours = None;
    loop {
        while let Some(output) = us.poll_output() {
            match output {
                HandshakeOutput::Transmit { frame, .. } => {
                    them.handle(Time::ZERO, path, Source::default(), 1200, &frame).unwrap();
                }
                HandshakeOutput::Established(session) => ours = Some(*session),
                HandshakeOutput::Failed { reason, .. } => panic!("{reason}"),
            }
        }
        while let Some(output) = them.poll_output() {
            match output {
                HandshakeOutput::Transmit { frame, .. } => {
                    us.handle(Time::ZERO, path, Source::default(), 1200, &frame).unwrap();
                }
                HandshakeOutput::Established(theirs) => return [ours.expect("the finish came"), *theirs],
                HandshakeOutput::Failed { reason, .. } => panic!("{reason}"),
            }
        }
    }
}

/// A neighbour in the tables, and its link. Its end of the session is gone.
fn silent_neighbour() -> (Arc<NodeState>, Arc<Neighbour>, Link) {
    let (shared, neighbour, link, _) = neighbour_on(Arc::new(MemNet::new(1).netmod("a")));
    (shared, neighbour, link)
}

/// A neighbour in the tables, its link over this netmod, and its end of the session.
fn neighbour_on(netmod: Arc<dyn Netmod>) -> (Arc<NodeState>, Arc<Neighbour>, Link, Session) {
    let config = NodeConfig::default();
    let shared = Arc::new(NodeState::new(Identity::from_seed(&[1; 32]), config, [9; 32].into()));
    write(&shared.media).insert(0, Arc::new(Medium::new(0, netmod)));
    let (neighbour, link, theirs) = neighbour_in(&shared, 1);
    (shared, neighbour, link, theirs)
}

/// The link with this id to a neighbour, in the tables of a node, and the end of the session there.
fn neighbour_in(shared: &NodeState, id: u32) -> (Arc<Neighbour>, Link, Session) {
    let medium = read(&shared.media)[&0].clone();
    let path = Path { netmod: 0, endpoint: Endpoint::new(b"b").unwrap() };
    let [session, theirs] = sessions(path);
    let link = Link::new(shared.now(), session.peer, session.opener, 1200, [7; 32]);
    let made = NeighbourParts {
        id,
        address: session.peer,
        path,
        initiator: true,
        local_index: session.local_index,
        mtu: 1200,
        configured: false,
        egress: Egress::new(medium.netmod.clone(), path.endpoint, session.sealer),
        metrics: link.metrics(),
        medium,
    };
    let neighbour = Arc::new(Neighbour::new(made, 1024));
    assert!(shared.put_into_service(&neighbour));
    (neighbour, link, theirs)
}

/// Lets other tasks run.
async fn pause() {
    let mut paused = false;
    let pause = std::future::poll_fn(|cx| match std::mem::replace(&mut paused, true) {
        true => std::task::Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        }
    });
    pause.await;
}

#[test]
fn routing_messages_delay_no_command() {
    futures::executor::block_on(async {
        let (shared, neighbour, link) = silent_neighbour();
        neighbour.enter_service(&shared).await;
        let mut events = shared.event_bus.subscribe();
        // More messages than the link accepts while nothing is acknowledged.
        for _ in 0..300 {
            assert!(neighbour.routes.try_push(vec![3; 4096]).is_ok());
        }
        neighbour.clone().start(&shared, link);
        while neighbour.routes.len() > 44 {
            pause().await;
        }
        neighbour.leave();
        let down = rt::timeout(PATIENCE, events.next()).await.flatten();
        match down {
            Some((_, Event::NeighbourDown { reason, .. })) => assert_eq!(reason, "goodbye sent"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_link_with_a_full_command_queue_still_ends_with_a_goodbye() {
    futures::executor::block_on(async {
        let (shared, neighbour, link) = silent_neighbour();
        neighbour.enter_service(&shared).await;
        let mut events = shared.event_bus.subscribe();
        while neighbour.commands.try_push(LinkCommand::Wake).is_ok() {}
        let goodbye = leaving::send_goodbye(&shared, |_| true);
        let task = async { neighbour.clone().start(&shared, link) };
        futures::join!(goodbye, task);
        match rt::timeout(PATIENCE, events.next()).await.flatten() {
            Some((_, Event::NeighbourDown { reason, .. })) => assert_eq!(reason, "goodbye sent"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn the_links_of_one_host_are_counted_together_unless_they_are_configured() {
    let links: Vec<_> = (0..3).map(|_| silent_neighbour().1).collect();
    assert!(links.iter().all(|link| link.origin() == links[0].origin()));
    let (shared, stranger, _) = silent_neighbour();
    let elsewhere = stranger.origin();
    futures::executor::block_on(stranger.set_configured(&shared, true));
    assert_ne!(stranger.origin(), elsewhere, "it has an account of its own");
    futures::executor::block_on(stranger.set_configured(&shared, false));
    assert_eq!(stranger.origin(), elsewhere);
}

#[test]
fn routes_that_a_neighbour_does_not_take_are_bounded_in_bytes() {
    let (_, neighbour, _) = silent_neighbour();
    let taken = (0..ROUTES).take_while(|_| neighbour.routes.try_push(vec![3; 4096]).is_ok()).count();
    assert_eq!(taken * 4096, ROUTES_BYTES);
}

#[test]
fn an_unvalidated_frame_that_is_refused_occupies_no_room() {
    let (_, neighbour, _) = silent_neighbour();
    let endpoint = Endpoint::new(b"c").unwrap();
    let second = |n: u64| Time::from_millis(n * 1000);
    while neighbour.commands.try_push(LinkCommand::Wake).is_ok() {}
    assert!((0..100).all(|n| !neighbour.offer_unvalidated(second(n), endpoint, &[0; 40])));
    while neighbour.commands.try_recv().is_ok() {}
    assert!(neighbour.offer_unvalidated(second(100), endpoint, &[0; 40]));
}

#[test]
fn frames_that_arrive_at_a_link_that_has_ended_are_counted() {
    futures::executor::block_on(async {
        let (shared, neighbour, mut link) = silent_neighbour();
        assert!((0..3).all(|_| neighbour.inbox.try_push(BytesMut::from(&[0x10; 40][..])).is_ok()));
        link.on_key_exhausted();
        neighbour.run(shared.clone(), link).await;
        assert_eq!(shared.stats.drops()["unknown_session"], 3);
    });
}

/// A packet for the node itself that requests a reply, from a node to which it has no route yet.
fn question(shared: &NodeState, kind: u8, source: Address) -> BytesMut {
    let mut packet = Vec::new();
    let flags = if kind == packet::payload::TRACE { packet::FLAG_TRACE } else { 0 };
    packet::write_header(&mut packet, Class::Interactive, flags, HOP_LIMIT, &shared.identity.address());
    Probe { kind, source, nonce: 7, value: HOP_LIMIT }.write(&mut packet);
    BytesMut::from(&packet[..])
}

#[test]
fn a_request_that_precedes_the_route_to_its_source_is_answered_with_the_route() {
    let asker = Identity::from_seed(&[3; 32]).address();
    for kind in [packet::payload::PING, packet::payload::TRACE] {
        let (shared, neighbour, _) = silent_neighbour();
        let mut work = DeferredWork::of(neighbour.address, neighbour.origin());
        packets_arrived(&shared, &mut vec![question(&shared, kind, asker)], &mut work);
        work.finish(&shared);
        assert_eq!(shared.stats.counters()["packets_out"], 0);
        shared.fib.insert(asker, NextHops { next: neighbour.clone(), alternate: None }, 1000);
        awaiting_route::route_changed(&shared, &asker, &mut work);
        work.finish(&shared);
        assert_eq!((shared.stats.counters()["packets_out"], shared.stats.drops()["no_route"]), (1, 0));
    }
}

#[test]
fn a_link_in_service_reaches_its_neighbour_before_the_router_has_a_route() {
    let (shared, neighbour, _) = silent_neighbour();
    let reached = || crate::node::data_path::route(&shared, &neighbour.address).map(|hop| hop.best().id);
    assert_eq!(reached(), None, "the neighbour may still refuse the link");
    futures::executor::block_on(neighbour.enter_service(&shared));
    assert_eq!(reached(), Some(neighbour.id));
    let mut work = DeferredWork::of(neighbour.address, neighbour.origin());
    packets_arrived(
        &shared,
        &mut vec![question(&shared, packet::payload::PING, neighbour.address)],
        &mut work,
    );
    assert_eq!(shared.stats.counters()["packets_out"], 1, "its first packet is answered");
    neighbour.away.store(true, Relaxed);
    assert_eq!(reached(), None, "its way is cut");
    neighbour.away.store(false, Relaxed);
    assert!(neighbour.retire(&shared));
    assert_eq!(reached(), None);
}

#[test]
fn no_link_is_put_into_service_when_the_node_leaves_or_its_medium_is_gone() {
    let (shared, neighbour, _) = silent_neighbour();
    assert!(neighbour.retire(&shared));
    write(&shared.media).clear();
    assert!(!shared.put_into_service(&neighbour));
    let (shared, neighbour, _) = silent_neighbour();
    assert!(neighbour.retire(&shared));
    shared.leave();
    assert!(!shared.put_into_service(&neighbour));
    assert!(read(&shared.neighbours).is_empty());
}

#[test]
fn a_panic_ends_the_link_that_it_came_from_and_nothing_else() {
    futures::executor::block_on(async {
        let (shared, neighbour, link) = silent_neighbour();
        neighbour.enter_service(&shared).await;
        let mut events = shared.event_bus.subscribe();
        neighbour.clone().start(&shared, link);
        assert!(neighbour.commands.try_push(LinkCommand::Panic).is_ok());
        match rt::timeout(PATIENCE, events.next()).await.flatten() {
            Some((_, Event::NeighbourDown { reason, .. })) => {
                assert_eq!(reason, "its task panicked: a fault of the test");
            }
            other => panic!("{other:?}"),
        }
        assert!(read(&shared.neighbours).is_empty());
        assert_eq!(*shared.failure.read(), None);
    });
}

#[test]
fn messages_sent_before_a_link_is_in_service_are_handled_when_it_is() {
    futures::executor::block_on(async {
        let (shared, neighbour, _link) = silent_neighbour();
        shared.spawn_vital(
            "router",
            crate::node::tasks::router::run(
                shared.clone(),
                [1; 32],
                crate::node::epoch::EpochFile::begin(None),
            ),
        );
        // The message is malformed, so that the router counts it when it handles it.
        neighbour.router_feed.push_message(
            &shared.router.ready,
            neighbour.id,
            bytes::Bytes::from_static(&[0xff]),
        );
        for _ in 0..3 {
            // The router has completed a round.
            shared.router.query_routes(None).await;
        }
        let heard = || shared.stats.drops()["malformed_packet"];
        assert_eq!(heard(), 0);
        let up = RouterEvent::Up { neighbour: neighbour.clone(), cost: 32, mtu: 1134 };
        shared.router.notify(up).await;
        let mut rounds = 0;
        while heard() == 0 {
            shared.router.query_routes(None).await;
            rounds += 1;
            assert!(rounds < 10_000, "the message was never handled");
        }
        shared.end();
    });
}

#[test]
fn a_link_that_ends_as_it_begins_stays_in_no_table() {
    for end_first in [true, false] {
        futures::executor::block_on(async {
            let (shared, neighbour, _link) = silent_neighbour();
            shared.spawn_vital(
                "router",
                crate::node::tasks::router::run(
                    shared.clone(),
                    [1; 32],
                    crate::node::epoch::EpochFile::begin(None),
                ),
            );
            let mut events = shared.event_bus.subscribe();
            let holders = Arc::strong_count(&neighbour);
            // The steps of the neighbour's task after the first frame, up to where another task ends the link.
            let up = RouterEvent::Up { neighbour: neighbour.clone(), cost: 32, mtu: 1134 };
            if end_first {
                neighbour.announce_end(&shared, "replaced by a new session").await;
                neighbour.enter_service(&shared).await;
            } else {
                neighbour.enter_service(&shared).await;
                neighbour.announce_end(&shared, "replaced by a new session").await;
            }
            shared.router.notify(up).await;
            shared.router.query_routes(None).await;
            assert_eq!(Arc::strong_count(&neighbour), holders, "the router keeps a link that has ended");
            shared.end();
            let mut standing = 0;
            while let Some((_, event)) = events.next().await {
                standing += match event {
                    Event::NeighbourUp { .. } => 1,
                    Event::NeighbourDown { .. } => -1,
                    _ => 0,
                };
            }
            assert_eq!(standing, 0, "ended first: {end_first}");
        });
    }
}
