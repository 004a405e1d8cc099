//! A black hole: a neighbour that keeps its links alive and drops the packets that it should forward.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
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
