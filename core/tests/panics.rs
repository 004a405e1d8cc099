//! A panic is the end of what it came from and of nothing else: a netmod is opened again, and a node that has lost a task that
//! it cannot do without says so.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_std::future;
use async_std::task::{block_on, sleep};
use async_trait::async_trait;
use rouse_core::netmod::mem::{MemNet, MemNetmod};
use rouse_core::netmod::{Endpoint, Netmod, NetmodError, Properties, Received, Train};
use rouse_core::{Body, Identity, NetmodState, NetmodStatus, Node, Peer, PeerState, SendError};

const PATIENCE: Duration = Duration::from_secs(30);

/// The method that panics next.
type At = Arc<Mutex<Option<&'static str>>>;

/// A plug that panics in one of its methods, once.
struct Panics {
    plug: MemNetmod,
    at: At,
}

impl Panics {
    fn may(&self, method: &str) {
        let mut at = self.at.lock().unwrap();
        if at.is_some_and(|at| at == method) {
            *at = None;
            drop(at);
            panic!("a fault in {method}");
        }
    }
}

#[async_trait]
impl Netmod for Panics {
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
        self.may("open");
        self.plug.open().await
    }

    async fn recv(&self, received: &mut Received) -> Result<(), NetmodError> {
        self.plug.recv(received).await?;
        self.may("recv");
        Ok(())
    }

    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        self.may("send");
        self.plug.send(endpoint, train).await
    }

    async fn resolve(&self, peer: &str) -> Result<Vec<Endpoint>, NetmodError> {
        self.may("resolve");
        self.plug.resolve(peer).await
    }

    fn rate(&self) -> Option<u64> {
        self.may("rate");
        None
    }

    fn describe(&self, endpoint: &Endpoint) -> String {
        self.plug.describe(endpoint)
    }

    fn quota_key(&self, endpoint: &Endpoint) -> u64 {
        self.may("quota_key");
        self.plug.quota_key(endpoint)
    }

    fn is_cut(&self, endpoint: &Endpoint) -> bool {
        self.plug.is_cut(endpoint)
    }

    async fn close(&self) {
        self.plug.close().await;
    }
}

/// What `look` finds, as soon as it finds something.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A node whose netmod may panic, and another that dials it.
async fn pair() -> (Node, Node, MemNet, At) {
    let (net, at) = (MemNet::new(5), At::default());
    let netmod = Panics { plug: net.netmod("a"), at: at.clone() };
    let a = Node::builder().identity(Identity::from_seed(&[1; 32])).netmod(netmod).start().await.unwrap();
    let b = Node::builder().identity(Identity::from_seed(&[2; 32])).netmod(net.netmod("b")).peer("mem:a");
    (a, b.start().await.unwrap(), net, at)
}

async fn linked(from: &Node, to: &Node) {
    until("a route", async || (!from.routes_to(&to.address()).await.is_empty()).then_some(())).await;
}

async fn netmod_of(node: &Node) -> NetmodStatus {
    node.status().await.netmods.remove(0)
}

async fn talk(from: &Node, to: &Node) {
    let sent = from.send(&to.address(), "hello").await.unwrap();
    assert_eq!(to.recv().await.unwrap().body, Body::from("hello"));
    sent.delivered().await.unwrap();
}

#[test]
fn a_netmod_that_panics_is_opened_again_and_shows_why() {
    block_on(async {
        for method in ["recv", "send"] {
            let (a, b, _net, at) = pair().await;
            linked(&a, &b).await;
            *at.lock().unwrap() = Some(method);
            let error = until("an error", async || netmod_of(&a).await.last_error).await;
            assert!(error.contains(&format!("panicked in {method}: a fault in {method}")), "{error}");
            let up = async || (netmod_of(&a).await.state == NetmodState::Up).then_some(());
            until("a netmod that is up", up).await;
            linked(&a, &b).await;
            talk(&a, &b).await;
            talk(&b, &a).await;
            assert_eq!(a.failure(), None);
        }
    });
}

#[test]
fn a_netmod_that_panics_when_it_is_opened_is_opened_again() {
    block_on(async {
        let (net, at) = (MemNet::new(6), Arc::new(Mutex::new(Some("open"))));
        let a = Node::builder().identity(Identity::from_seed(&[1; 32])).start().await.unwrap();
        a.add_netmod(Arc::new(Panics { plug: net.netmod("a"), at })).await;
        let b = Node::builder().netmod(net.netmod("b")).peer("mem:a").start().await.unwrap();
        linked(&b, &a).await;
        talk(&b, &a).await;
        assert!(netmod_of(&a).await.last_error.is_some_and(|error| error.contains("a fault in open")));
    });
}

#[test]
fn a_netmod_that_panics_over_a_peer_is_asked_for_it_again() {
    block_on(async {
        let (net, at) = (MemNet::new(7), At::default());
        let netmod = Panics { plug: net.netmod("a"), at: at.clone() };
        let a = Node::builder().netmod(netmod).start().await.unwrap();
        let b = Node::builder().netmod(net.netmod("b")).start().await.unwrap();
        *at.lock().unwrap() = Some("resolve");
        a.add_peer("mem:b").await.unwrap();
        linked(&a, &b).await;
        talk(&a, &b).await;
    });
}

#[test]
fn a_node_that_loses_a_task_that_it_cannot_do_without_has_failed_and_says_why() {
    // The first is asked by the router for each new link, the second by the task that makes links for each handshake.
    for (method, task) in [("rate", "router"), ("quota_key", "task that makes links")] {
        block_on(async {
            let (a, b, net, at) = pair().await;
            linked(&a, &b).await;
            *at.lock().unwrap() = Some(method);
            let _c = Node::builder().netmod(net.netmod("c")).peer("mem:a").start().await.unwrap();
            let failure = future::timeout(PATIENCE, a.failed()).await.unwrap();
            assert_eq!((failure.task, &*failure.message), (task, &*format!("a fault in {method}")));
            assert_eq!(a.failure(), Some(failure));
            assert!(matches!(a.send(&b.address(), "too late").await, Err(SendError::Stopped)));
            assert!(a.recv().await.is_err() && a.routes().await.is_empty());
            // It has said goodbye: nothing that is silent is waited for.
            let is_up = |peer: &Peer| peer.address == Some(a.address()) && peer.state == PeerState::Up;
            let gone = async || (!b.peers().await.iter().any(is_up)).then_some(());
            until("an end of the link", gone).await;
            future::timeout(Duration::from_secs(2), a.stop()).await.unwrap();
            assert_eq!(b.failure(), None);
        });
    }
}
