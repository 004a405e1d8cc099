//! A black hole: a neighbour that keeps its links alive and drops the packets that it should forward.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_std::task::block_on;
use async_trait::async_trait;
use rouse_core::netmod::mem::{Impairments, MemNet, MemNetmod};
use rouse_core::netmod::{Endpoint, Netmod, NetmodError, Train};
use rouse_core::{Node, Route, RouteState};

use common::faulty_netmod::{Fault, FaultyNetmod};
use common::{node, until, within};

/// Longer frames are lost: the messages of the test, and no frame that links and routes need.
const LOST: usize = 1100;
const BODY: usize = 1120;

/// Loses long frames on their way out, and counts them.
#[derive(Clone, Default)]
struct LongFrameLoss(Arc<AtomicU64>);

impl LongFrameLoss {
    fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[async_trait]
impl Fault for LongFrameLoss {
    async fn send(
        &self,
        netmod: &MemNetmod,
        endpoint: &Endpoint,
        train: Train<'_>,
    ) -> Result<(), NetmodError> {
        for frame in train.frames() {
            if frame.len() > LOST {
                self.0.fetch_add(1, Relaxed);
            } else {
                netmod.send(endpoint, Train::single(frame)).await?;
            }
        }
        Ok(())
    }
}

/// Waits until `a` uses `via` for `to`, and there is another route beside it.
async fn until_routed(a: &Node, to: &Node, via: &Node) {
    until("the route in use and one beside it", async || {
        let routes: Vec<Route> =
            a.routes().await.into_iter().filter(|route| route.destination == to.address()).collect();
        let uses = |route: &Route| route.state == RouteState::Active && route.next_hop == via.address();
        routes.iter().any(uses) && routes.iter().any(|route| route.state == RouteState::Standby)
    })
    .await;
}

#[test]
fn a_message_that_a_relay_drops_is_sent_over_another_path() {
    block_on(async {
        // Two paths from a to c: over b, which drops packets, and over d, which is farther.
        let (ab, bc, ad, dc) = (MemNet::new(1), MemNet::new(2), MemNet::new(3), MemNet::new(4));
        ad.impair_all(Impairments { delay: Duration::from_millis(15), ..Impairments::default() });
        let loss = LongFrameLoss::default();
        let hole = |netmod| FaultyNetmod { netmod, fault: loss.clone() };
        let c = node(3).netmod(hole(bc.netmod("c"))).netmod(dc.netmod("c")).start().await.unwrap();
        let b = node(2).netmod(hole(ab.netmod("b"))).netmod(hole(bc.netmod("b"))).start().await.unwrap();
        let d = node(4).netmod(ad.netmod("d")).netmod(dc.netmod("d")).start().await.unwrap();
        let a = node(1).netmod(ab.netmod("a")).netmod(ad.netmod("a")).start().await.unwrap();
        until_routed(&a, &c, &b).await;

        let began = Instant::now();
        let sent = a.send(&c.address(), vec![7; BODY]).await.unwrap();
        assert_eq!(within(c.recv()).await.unwrap().body.len(), BODY);
        within(sent.delivered()).await.unwrap();
        // The tests of the conversation and of the router bound this time, under a virtual clock.
        println!("after {:?}", began.elapsed());
        assert!(loss.count() >= 2, "the message was lost at least twice");
        let routes = a.routes().await;
        let over = |via: &Node| {
            let found = routes
                .iter()
                .find(|route| route.destination == c.address() && route.next_hop == via.address());
            found.unwrap().state
        };
        assert_eq!((over(&b), over(&d)), (RouteState::Avoided, RouteState::Active));
        // The next message takes the good path at once.
        let sent = a.send(&c.address(), vec![8; BODY]).await.unwrap();
        let lost_before = loss.count();
        assert_eq!(within(c.recv()).await.unwrap().body[..], [8; BODY]);
        within(sent.delivered()).await.unwrap();
        assert_eq!(loss.count(), lost_before);
    });
}

/// The length of the frames of all but the last part of a handshake between two ends.
const PART: usize = 512;

/// Loses the parts of handshakes between two ends for which `is_lost` holds, by their number, and all messages with
/// them, once it is switched on.
#[derive(Clone)]
struct HandshakeLoss {
    is_on: Arc<AtomicBool>,
    parts: Arc<AtomicU64>,
    is_lost: fn(u64) -> bool,
}

impl HandshakeLoss {
    fn new(is_lost: fn(u64) -> bool) -> Self {
        HandshakeLoss { is_on: Arc::default(), parts: Arc::default(), is_lost }
    }

    fn loses(&self, frame: &[u8]) -> bool {
        self.is_on.load(Relaxed)
            && match frame.len() {
                PART => (self.is_lost)(self.parts.fetch_add(1, Relaxed)),
                length => length > LOST && (self.is_lost)(self.parts.load(Relaxed)),
            }
    }
}

#[async_trait]
impl Fault for HandshakeLoss {
    async fn send(
        &self,
        netmod: &MemNetmod,
        endpoint: &Endpoint,
        train: Train<'_>,
    ) -> Result<(), NetmodError> {
        for frame in train.frames().filter(|frame| !self.loses(frame)) {
            netmod.send(endpoint, Train::single(frame)).await?;
        }
        Ok(())
    }
}

/// Four nodes: two paths from the first to the third, over the second, which loses frames of both directions, and over the
/// fourth, which is farther.
async fn square(loss: &HandshakeLoss) -> [Node; 4] {
    let delayed = |seed, milliseconds| {
        let (net, delay) = (MemNet::new(seed), Duration::from_millis(milliseconds));
        net.impair_all(Impairments { delay, ..Impairments::default() });
        net
    };
    // One link of the farther path costs less than the nearer path, so that it is feasible for both ends.
    let (ab, bc, ad, dc) = (delayed(1, 10), delayed(2, 10), delayed(3, 15), delayed(4, 15));
    let lossy = |netmod| FaultyNetmod { netmod, fault: loss.clone() };
    let c = node(3).netmod(bc.netmod("c")).netmod(dc.netmod("c")).start().await.unwrap();
    let b = node(2).netmod(lossy(ab.netmod("b"))).netmod(lossy(bc.netmod("b"))).start().await.unwrap();
    let d = node(4).netmod(ad.netmod("d")).netmod(dc.netmod("d")).start().await.unwrap();
    let a = node(1).netmod(ab.netmod("a")).netmod(ad.netmod("a")).start().await.unwrap();
    until_routed(&a, &c, &b).await;
    until_routed(&c, &a, &b).await;
    loss.is_on.store(true, Relaxed);
    [a, b, c, d]
}

#[test]
fn a_next_hop_on_whose_path_requests_are_lost_is_not_blamed() {
    block_on(async {
        // The parts of the first two requests.
        let loss = HandshakeLoss::new(|number| number < 6);
        let [a, b, c, _d] = square(&loss).await;
        let sent = a.send(&c.address(), "first").await.unwrap();
        within(c.recv()).await.unwrap();
        within(sent.delivered()).await.unwrap();
        assert!(loss.parts.load(Relaxed) >= 6, "two requests were lost");
        let routes = a.routes().await;
        let is_via_b = |route: &&Route| route.destination == c.address() && route.next_hop == b.address();
        assert_eq!(routes.iter().find(is_via_b).unwrap().state, RouteState::Active);
    });
}

#[test]
fn two_ends_that_have_not_met_meet_although_the_next_hop_of_both_swallows_their_handshake() {
    block_on(async {
        let loss = HandshakeLoss::new(|_| true);
        let [a, _b, c, _d] = square(&loss).await;
        let sent = a.send(&c.address(), vec![7; BODY]).await.unwrap();
        assert_eq!(within(c.recv()).await.unwrap().body.len(), BODY);
        within(sent.delivered()).await.unwrap();
        assert!(loss.parts.load(Relaxed) >= 3, "the first request was lost");
    });
}
