//! A neighbour that keeps up appearances and swallows what it should pass on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_std::task::block_on;
use async_trait::async_trait;
use rouse_core::netmod::mem::{Impairments, MemNet, MemNetmod};
use rouse_core::netmod::{Endpoint, Netmod, NetmodError, Properties, Received, Train};
use rouse_core::{Identity, Node, NodeBuilder, Route, RouteState};

const PATIENCE: Duration = Duration::from_secs(30);
/// Frames longer than this are swallowed: messages of the test, and none of what links and routes need.
const SWALLOWED: usize = 1100;
const BODY: usize = 1120;

/// A plug that loses long frames on their way out.
struct Swallows {
    plug: MemNetmod,
    swallowed: Arc<AtomicU64>,
}

#[async_trait]
impl Netmod for Swallows {
    fn scheme(&self) -> &str {
        self.plug.scheme()
    }

    fn uri(&self) -> String {
        self.plug.uri()
    }

    fn properties(&self) -> Properties {
        self.plug.properties()
    }

    async fn open(&self) -> Result<(), NetmodError> {
        self.plug.open().await
    }

    async fn recv(&self, received: &mut Received) -> Result<(), NetmodError> {
        self.plug.recv(received).await
    }

    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        for frame in train.frames() {
            if frame.len() > SWALLOWED {
                self.swallowed.fetch_add(1, Relaxed);
            } else {
                self.plug.send(endpoint, Train::single(frame)).await?;
            }
        }
        Ok(())
    }

    async fn resolve(&self, peer: &str) -> Result<Vec<Endpoint>, NetmodError> {
        self.plug.resolve(peer).await
    }

    fn describe(&self, endpoint: &Endpoint) -> String {
        self.plug.describe(endpoint)
    }

    fn quota_key(&self, endpoint: &Endpoint) -> u64 {
        self.plug.quota_key(endpoint)
    }

    async fn close(&self) {
        self.plug.close().await;
    }
}

fn node(n: u8) -> NodeBuilder {
    Node::builder().identity(Identity::from_seed(&[n; 32]))
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    async_std::future::timeout(PATIENCE, future).await.expect("in time")
}

/// Waits until `a` uses `via` for `to`, and there is another route beside it.
async fn settled(a: &Node, to: &Node, via: &Node) {
    within(async {
        loop {
            let routes: Vec<Route> =
                a.routes().await.into_iter().filter(|route| route.destination == to.address()).collect();
            let uses = |route: &Route| route.state == RouteState::Active && route.next_hop == via.address();
            if routes.iter().any(uses) && routes.iter().any(|route| route.state == RouteState::Standby) {
                return;
            }
            async_std::task::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[test]
fn what_a_relay_swallows_goes_another_way() {
    block_on(async {
        // Two ways from a to c: over b, which swallows, and over d, which is farther.
        let (ab, bc, ad, dc) = (MemNet::new(1), MemNet::new(2), MemNet::new(3), MemNet::new(4));
        ad.impair_all(Impairments { delay: Duration::from_millis(15), ..Impairments::default() });
        let swallowed = Arc::new(AtomicU64::new(0));
        let hole = |plug| Swallows { plug, swallowed: swallowed.clone() };
        let c = node(3).netmod(hole(bc.netmod("c"))).netmod(dc.netmod("c")).start().await.unwrap();
        let b = node(2).netmod(hole(ab.netmod("b"))).netmod(hole(bc.netmod("b"))).start().await.unwrap();
        let d = node(4).netmod(ad.netmod("d")).netmod(dc.netmod("d")).start().await.unwrap();
        let a = node(1).netmod(ab.netmod("a")).netmod(ad.netmod("a")).start().await.unwrap();
        settled(&a, &c, &b).await;

        let began = Instant::now();
        let sent = a.send(&c.address(), vec![7; BODY]).await.unwrap();
        assert_eq!(within(c.recv()).await.unwrap().body.len(), BODY);
        within(sent.delivered()).await.unwrap();
        // How soon, under a virtual clock, is for the tests of conversation and router.
        println!("after {:?}", began.elapsed());
        assert!(swallowed.load(Relaxed) >= 2, "there was something to find out");
        let routes = a.routes().await;
        let over = |via: &Node| {
            let found = routes
                .iter()
                .find(|route| route.destination == c.address() && route.next_hop == via.address());
            found.unwrap().state
        };
        assert_eq!((over(&b), over(&d)), (RouteState::Avoided, RouteState::Active));
        // And what follows goes the good way at once.
        let sent = a.send(&c.address(), vec![8; BODY]).await.unwrap();
        let swallowed_before = swallowed.load(Relaxed);
        assert_eq!(within(c.recv()).await.unwrap().body[..], [8; BODY]);
        within(sent.delivered()).await.unwrap();
        assert_eq!(swallowed.load(Relaxed), swallowed_before);
    });
}
