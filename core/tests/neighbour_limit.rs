//! The limit of neighbours: as many as are configured, and a reason for each node that is refused.

mod common;

use std::time::{Duration, Instant};

use async_std::task::{block_on, sleep};
use rouse_core::netmod::mem::{Impairments, MemNet};
use rouse_core::node::{PeerError, RemovedPeer};
use rouse_core::{Event, Level, Limits, Node, PeerState};

use common::{find_within, is_down, is_up, node, ready_events, until_event};

/// Longer than a refused node takes to dial again.
const PATIENCE: Duration = Duration::from_secs(60);

fn limit(neighbours: usize) -> Limits {
    Limits { neighbours, ..Limits::default() }
}

async fn until(missing: &str, mut holds: impl AsyncFnMut() -> bool) {
    find_within(PATIENCE, missing, async || holds().await.then_some(())).await;
}

async fn neighbours(node: &Node) -> u64 {
    node.status().await.neighbours
}

fn is_link_event(event: &Event) -> bool {
    is_up(event) || is_down(event)
}

#[test]
fn a_node_has_as_many_neighbours_as_dial_it_up_to_what_is_configured() {
    block_on(async {
        let net = MemNet::new(1);
        let hub = node(1).netmod(net.netmod("hub").discover(false)).start().await.unwrap();
        let mut others = Vec::new();
        for n in 0..40u8 {
            let plug = net.netmod(&format!("n{n}")).discover(false);
            others.push(node(100 + n).netmod(plug).peer("mem:hub").start().await.unwrap());
        }
        until("forty neighbours", async || neighbours(&hub).await == 40).await;
        for other in &others {
            until("a link to the hub", async || neighbours(other).await == 1).await;
        }
    });
}

#[test]
fn a_node_that_is_refused_gets_the_reason_and_does_not_dial_again_at_once() {
    block_on(async {
        let net = MemNet::new(2);
        let hub = node(1).limits(limit(2)).netmod(net.netmod("hub").discover(false)).start().await.unwrap();
        let dialling = |n: u8| {
            let plug = net.netmod(&format!("n{n}")).discover(false);
            node(n).netmod(plug).peer("mem:hub").start()
        };
        let _friends = [dialling(2).await.unwrap(), dialling(3).await.unwrap()];
        until("all places taken", async || neighbours(&hub).await == 2).await;
        let late = dialling(4).await.unwrap();
        let mut events = late.events();
        let refused = async || {
            let peers = late.peers().await;
            peers.iter().any(|peer| {
                let error = peer.last_error.as_deref().unwrap_or_default();
                peer.endpoint == "mem:hub"
                    && peer.state == PeerState::Down
                    && error.contains("as many links as it may")
            })
        };
        until("the reason", refused).await;
        let health = late.status().await.health;
        assert!(
            health.iter().any(|line| line.level == Level::Warn && line.text.contains("as many links")),
            "{health:?}"
        );
        let before = hub.status().await.counters["handshakes_done"];
        // A node without a reason for the failure dials again after 0.5 to 5 s.
        sleep(Duration::from_secs(6)).await;
        assert_eq!(hub.status().await.counters["handshakes_done"], before);
        assert!(refused().await, "the reason stays");
        assert_eq!(ready_events(&mut events, is_link_event), [], "there never was a link");
        assert_eq!(neighbours(&hub).await, 2);
        assert!(hub.status().await.drops["neighbour_limit"] >= 1);
    });
}

#[test]
fn a_full_node_reports_that_it_has_no_place_for_its_own_peer_and_does_not_dial_again_at_once() {
    block_on(async {
        let net = MemNet::new(9);
        let first = node(1).netmod(net.netmod("first").discover(false)).start().await.unwrap();
        let second = node(2).netmod(net.netmod("second").discover(false)).start().await.unwrap();
        let plug = net.netmod("full").discover(false);
        let full = node(3).limits(limit(1)).netmod(plug).peer("mem:first").start().await.unwrap();
        until("its only link", async || neighbours(&first).await == 1).await;
        full.add_peer("mem:second").await.unwrap();
        let shown = async || {
            full.peers().await.iter().any(|peer| {
                let error = peer.last_error.as_deref().unwrap_or_default();
                peer.endpoint == "mem:second"
                    && peer.state == PeerState::Down
                    && error.contains("this node has as many links as it may")
            })
        };
        until("the reason", shown).await;
        // The full node refuses before the other side has completed the handshake.
        until("the handshake", async || second.status().await.counters["handshakes_done"] == 1).await;
        let before = second.status().await.counters["handshakes_done"];
        // A node without a reason for the failure dials again after 0.5 to 5 s.
        sleep(Duration::from_secs(6)).await;
        assert_eq!(second.status().await.counters["handshakes_done"], before);
        assert!(shown().await, "the reason stays");
        assert_eq!(neighbours(&first).await, 1, "the link that is there stays");
    });
}

#[test]
fn a_discovered_node_that_has_no_place_is_listed_with_the_reason() {
    block_on(async {
        let net = MemNet::new(3);
        let hub = node(1).limits(limit(1)).netmod(net.netmod("hub")).start().await.unwrap();
        let _friend = node(2).limits(limit(1)).netmod(net.netmod("friend")).start().await.unwrap();
        until("all places taken", async || neighbours(&hub).await == 1).await;
        let late = node(3).netmod(net.netmod("late")).start().await.unwrap();
        let refused = async || {
            let listed = |peer: &rouse_core::Peer| {
                peer.address == Some(hub.address())
                    && peer.state == PeerState::Down
                    && peer.last_error.is_some()
            };
            late.peers().await.iter().any(listed)
        };
        until("the reason", refused).await;
        let health = late.status().await.health;
        assert!(health.iter().any(|line| line.text.contains("as many links as it may")), "{health:?}");
    });
}

#[test]
fn a_configured_peer_takes_the_place_of_one_that_is_not_configured() {
    block_on(async {
        let net = MemNet::new(4);
        let hub = node(1).limits(limit(1)).netmod(net.netmod("hub").discover(false)).start().await.unwrap();
        let stranger =
            node(2).netmod(net.netmod("stranger").discover(false)).peer("mem:hub").start().await.unwrap();
        until("the stranger's link", async || neighbours(&hub).await == 1).await;
        let friend = node(3).netmod(net.netmod("friend").discover(false)).start().await.unwrap();
        let mut events = stranger.events();
        hub.add_peer("mem:friend").await.unwrap();
        until("the friend's link", async || neighbours(&friend).await == 1).await;
        let end = until_event(&mut events, is_down).await;
        assert!(matches!(&end, Event::NeighbourDown { reason, .. } if reason.contains("refused")), "{end:?}");
    });
}

#[test]
fn the_paths_of_a_peer_are_tried_over_every_netmod_of_its_scheme() {
    block_on(async {
        let (nowhere, net) = (MemNet::new(5), MemNet::new(6));
        // The name resolves on this network, but the netmod is not open.
        let _namesake = nowhere.netmod("b");
        let a = node(1)
            .netmod(nowhere.netmod("a").discover(false))
            .netmod(net.netmod("a").discover(false))
            .peer("mem:b")
            .start()
            .await
            .unwrap();
        let b = node(2).netmod(net.netmod("b").discover(false)).start().await.unwrap();
        // Either node may be the first at which the link is up.
        let linked = async || (neighbours(&a).await, neighbours(&b).await) == (1, 1);
        until("a link over the second netmod", linked).await;
    });
}

#[test]
fn a_link_with_a_round_trip_of_three_seconds_stays_and_carries_messages() {
    block_on(async {
        let net = MemNet::new(7);
        net.impair_all(Impairments { delay: Duration::from_millis(1500), ..Impairments::default() });
        let a = node(1).netmod(net.netmod("a").discover(false)).peer("mem:b").start().await.unwrap();
        let b = node(2).netmod(net.netmod("b").discover(false)).start().await.unwrap();
        let (mut of_a, mut of_b) = (a.events(), b.events());
        let sent = a.send(&b.address(), "far away").await.unwrap();
        let message = async_std::future::timeout(PATIENCE, b.recv()).await.expect("in time").unwrap();
        assert_eq!(&message.body[..], b"far away");
        async_std::future::timeout(PATIENCE, sent.delivered()).await.expect("in time").unwrap();
        let sent = b.send(&a.address(), "and back").await.unwrap();
        let message = async_std::future::timeout(PATIENCE, a.recv()).await.expect("in time").unwrap();
        assert_eq!(&message.body[..], b"and back");
        async_std::future::timeout(PATIENCE, sent.delivered()).await.expect("in time").unwrap();
        sleep(Duration::from_secs(10)).await;
        for events in [&mut of_a, &mut of_b] {
            let all = ready_events(events, is_link_event);
            assert!(matches!(all[..], [Event::NeighbourUp { .. }]), "{all:?}");
        }
    });
}

#[test]
fn removing_a_peer_ends_its_link_or_gives_the_reason_why_it_stays() {
    block_on(async {
        let net = MemNet::new(8);
        let a = node(1).netmod(net.netmod("a").discover(false)).start().await.unwrap();
        let b = node(2).netmod(net.netmod("b").discover(false)).start().await.unwrap();
        assert_eq!(a.remove_peer("mem:b").await, Err(PeerError::Unknown));
        a.add_peer("mem:b").await.unwrap();
        until("a link", async || neighbours(&a).await == 1 && neighbours(&b).await == 1).await;
        assert_eq!(a.remove_peer("mem:b").await, Ok(RemovedPeer::Ended));
        until("its end", async || neighbours(&a).await == 0 && neighbours(&b).await == 0).await;
        a.add_peer("mem:absent").await.unwrap();
        assert_eq!(a.remove_peer("mem:absent").await, Ok(RemovedPeer::NoLink));
    });
}

#[test]
fn a_link_to_a_removed_peer_that_was_also_discovered_stays() {
    block_on(async {
        let net = MemNet::new(9);
        let a = node(1).netmod(net.netmod("a")).start().await.unwrap();
        let b = node(2).netmod(net.netmod("b")).peer("mem:a").start().await.unwrap();
        until("a link", async || neighbours(&a).await == 1 && neighbours(&b).await == 1).await;
        let stays = b.remove_peer("mem:a").await.unwrap();
        assert!(matches!(stays, RemovedPeer::Found | RemovedPeer::DialledHere), "{stays}");
        assert!(stays.to_string().contains("stays"));
        sleep(Duration::from_millis(300)).await;
        assert_eq!((neighbours(&a).await, neighbours(&b).await), (1, 1));
    });
}

#[test]
fn a_link_keeps_its_place_once_its_peer_is_configured() {
    block_on(async {
        let net = MemNet::new(11);
        let hub = node(1).limits(limit(1)).netmod(net.netmod("hub").discover(false)).start().await.unwrap();
        let plug = net.netmod("friend").discover(false);
        let friend = node(2).netmod(plug).peer("mem:hub").start().await.unwrap();
        until("the friend's link", async || neighbours(&hub).await == 1 && neighbours(&friend).await == 1)
            .await;
        let handshakes = async || hub.status().await.counters["handshakes_done"];
        let before = handshakes().await;
        hub.add_peer("mem:friend").await.unwrap();
        let up = async || hub.dialled().await.iter().any(|peer| peer.state == PeerState::Up);
        until("the friend as a configured peer", up).await;
        assert_eq!(handshakes().await, before, "the link that it has is enough");
        let other = node(3).netmod(net.netmod("other").discover(false)).start().await.unwrap();
        hub.add_peer("mem:other").await.unwrap();
        let refused = async || {
            hub.peers().await.iter().any(|peer| peer.endpoint == "mem:other" && peer.state == PeerState::Down)
        };
        until("the other without a place", refused).await;
        assert_eq!((neighbours(&friend).await, neighbours(&other).await), (1, 0));
    });
}

#[test]
fn a_full_node_reports_how_many_it_has_refused_and_one_of_them_links_soon_after_a_place_is_free() {
    block_on(async {
        let net = MemNet::new(12);
        let hub = node(1).limits(limit(1)).netmod(net.netmod("hub").discover(false)).start().await.unwrap();
        let dialling = |n: u8| {
            let plug = net.netmod(&format!("n{n}")).discover(false);
            node(n).netmod(plug).peer("mem:hub").start()
        };
        let friend = dialling(2).await.unwrap();
        until("all places taken", async || neighbours(&hub).await == 1).await;
        assert!(hub.status().await.health.iter().all(|line| line.level == Level::Ok), "none was refused");
        let late = dialling(3).await.unwrap();
        let full = async || {
            hub.status().await.health.iter().any(|line| {
                line.level == Level::Warn
                    && line.text == "places full: 1 of 1 neighbours, 1 refused in the last 10 min"
                    && line.hint.contains("`neighbours`")
            })
        };
        until("the line in the hub's status", full).await;

        let freed = Instant::now();
        friend.stop().await;
        until("a link of the one that was refused", async || neighbours(&late).await == 1).await;
        // Without the notice of a free place, it dials again after 60 s.
        assert!(freed.elapsed() < Duration::from_secs(40), "{:?}", freed.elapsed());
    });
}
