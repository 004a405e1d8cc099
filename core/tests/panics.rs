//! A panic is the end of what it came from and of nothing else: a netmod is opened again, and an application whose waker
//! panics harms no other. The end of a task that the node needs is tested beside the tasks.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use async_std::future;
use async_std::task::{block_on, sleep};
use async_trait::async_trait;
use futures::StreamExt;
use rouse_core::netmod::mem::{MemNet, MemNetmod};
use rouse_core::netmod::{Endpoint, Netmod, NetmodError, Note, Properties, Received, Train};
use rouse_core::{Body, Event, NetmodState, NetmodStatus, Node};

const PATIENCE: Duration = Duration::from_secs(30);

/// A plug that panics in one of its functions, as long as it is told to.
struct Panics {
    plug: MemNetmod,
    fault: Arc<Fault>,
}

/// The function that panics, and how often the plug was opened.
#[derive(Default)]
struct Fault {
    function: Mutex<Option<String>>,
    opened: AtomicUsize,
}

impl Fault {
    fn begin(&self, function: &str) {
        *self.function.lock().unwrap() = Some(function.to_owned());
    }

    fn end(&self) {
        *self.function.lock().unwrap() = None;
    }

    fn is_in(&self, function: &str) -> bool {
        self.function.lock().unwrap().as_deref() == Some(function)
    }
}

impl Panics {
    fn enter(&self, function: &str) {
        assert!(!self.fault.is_in(function), "a fault in {function}");
    }
}

#[async_trait]
impl Netmod for Panics {
    fn scheme(&self) -> &str {
        self.enter("scheme");
        self.plug.scheme()
    }

    fn uri(&self) -> String {
        self.enter("uri");
        self.plug.uri()
    }

    fn properties(&self) -> Properties {
        self.enter("properties");
        self.plug.properties()
    }

    fn min_mtu(&self) -> usize {
        self.enter("min_mtu");
        self.plug.min_mtu()
    }

    fn max_mtu(&self) -> usize {
        self.enter("max_mtu");
        self.plug.max_mtu()
    }

    async fn open(&self) -> Result<(), NetmodError> {
        self.enter("open");
        self.fault.opened.fetch_add(1, SeqCst);
        self.plug.open().await
    }

    async fn recv(&self, received: &mut Received) -> Result<(), NetmodError> {
        self.enter("recv");
        self.plug.recv(received).await?;
        self.enter("recv");
        received.cut |= self.fault.is_in("is_cut");
        Ok(())
    }

    async fn send(&self, endpoint: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        self.enter("send");
        self.plug.send(endpoint, train).await
    }

    async fn resolve(&self, peer: &str) -> Result<Vec<Endpoint>, NetmodError> {
        self.enter("resolve");
        self.plug.resolve(peer).await
    }

    fn rate(&self) -> Option<u64> {
        self.enter("rate");
        self.plug.rate()
    }

    fn describe(&self, endpoint: &Endpoint) -> String {
        self.enter("describe");
        self.plug.describe(endpoint)
    }

    fn quota_key(&self, endpoint: &Endpoint) -> u64 {
        self.enter("quota_key");
        self.plug.quota_key(endpoint)
    }

    fn host_key(&self, endpoint: &Endpoint) -> u64 {
        self.enter("host_key");
        self.plug.host_key(endpoint)
    }

    fn is_cut(&self, endpoint: &Endpoint) -> bool {
        self.enter("is_cut");
        self.plug.is_cut(endpoint)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.enter("counters");
        self.plug.counters()
    }

    fn notes(&self) -> Vec<Note> {
        self.enter("notes");
        self.plug.notes()
    }

    fn stop_announcing(&self) {
        self.enter("stop_announcing");
        self.plug.stop_announcing();
    }

    async fn close(&self) {
        self.enter("close");
        self.plug.close().await;
    }
}

/// The names of the functions of the trait [`Netmod`].
fn functions_of_a_netmod() -> Vec<&'static str> {
    let source = include_str!("../src/netmod.rs");
    let block = source
        .lines()
        .skip_while(|line| !line.starts_with("pub trait Netmod"))
        .take_while(|line| *line != "}");
    let name = |line: &'static str| {
        let line = line.trim_start();
        line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?.split(['(', '<']).next()
    };
    block.filter_map(name).collect()
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

async fn linked(from: &Node, to: &Node) {
    until("a route", async || (!from.routes_to(&to.address()).await.is_empty()).then_some(())).await;
}

async fn netmod_of(node: &Node, uri: &str) -> NetmodStatus {
    let netmods = node.status().await.netmods;
    netmods.into_iter().find(|netmod| netmod.uri == uri).unwrap()
}

async fn talk(from: &Node, to: &Node) {
    let sent = from.send(&to.address(), "hello").await.unwrap();
    assert_eq!(to.recv_from(&from.address()).await.unwrap().body, Body::from("hello"));
    sent.delivered().await.unwrap();
}

/// A node with two netmods, the first of which may panic, and a neighbour on each.
struct Scene {
    node: Node,
    fault: Arc<Fault>,
    broken: MemNet,
    /// The neighbours over the netmod that may panic and over the other.
    there: Node,
    elsewhere: Node,
}

impl Scene {
    async fn new() -> Self {
        let (broken, whole, fault) = (MemNet::new(5), MemNet::new(6), Arc::new(Fault::default()));
        let plug = Panics { plug: broken.netmod("a"), fault: fault.clone() };
        let node = Node::builder().netmod(plug).netmod(whole.netmod("whole")).start().await.unwrap();
        let there = Node::builder().netmod(broken.netmod("b")).peer("mem:a").start().await.unwrap();
        let elsewhere = Node::builder().netmod(whole.netmod("c")).peer("mem:whole").start().await.unwrap();
        linked(&node, &there).await;
        linked(&node, &elsewhere).await;
        Scene { node, fault, broken, there, elsewhere }
    }

    /// Has the node call each function of its netmod: it makes a link, sends, dials and shows everything. Returns the error
    /// of the netmod, as soon as there is one.
    async fn call_all(&self, round: u32) -> Option<String> {
        let newcomer = self.broken.netmod(&format!("newcomer {round}"));
        let newcomer = Node::builder().netmod(newcomer).peer("mem:a").start().await.unwrap();
        let _ = self.node.add_peer("mem:b").await;
        let _ = self.node.ping(&self.there.address(), Duration::from_millis(20)).await;
        let linked = async || {
            let error = netmod_of(&self.node, "mem:a").await.last_error;
            let linked = !newcomer.routes_to(&self.node.address()).await.is_empty();
            self.node.peers().await;
            (error.is_some() || linked).then_some(error)
        };
        let error = until("a link or an error", linked).await;
        newcomer.stop().await;
        error
    }
}

/// The functions that only a netmod is asked that leaves: no netmod is to be opened again after them.
const LAST: [&str; 2] = ["stop_announcing", "close"];

#[test]
fn a_netmod_that_panics_in_any_function_is_opened_again_while_the_node_serves_over_its_other_netmod() {
    let functions = functions_of_a_netmod();
    assert!(functions.len() >= 17 && LAST.iter().all(|last| functions.contains(last)), "{functions:?}");
    block_on(async {
        for function in functions.into_iter().filter(|function| !LAST.contains(function)) {
            let scene = Scene::new().await;
            let opened = scene.fault.opened.load(SeqCst);
            scene.fault.begin(function);
            if function == "open" {
                // It is called after another fault only.
                scene.broken.fail("a");
            }
            let mut rounds = 0..;
            let error = until(function, async || scene.call_all(rounds.next().unwrap()).await).await;
            if function != "open" {
                assert!(error.contains(&format!("panicked in {function}: a fault in {function}")), "{error}");
            }
            talk(&scene.node, &scene.elsewhere).await;
            talk(&scene.elsewhere, &scene.node).await;

            scene.fault.end();
            scene.broken.recover("a");
            let up = async || (netmod_of(&scene.node, "mem:a").await.state == NetmodState::Up).then_some(());
            until("a netmod that is up", up).await;
            assert!(scene.fault.opened.load(SeqCst) > opened, "{function}: it was not opened again");
            linked(&scene.there, &scene.node).await;
            linked(&scene.node, &scene.there).await;
            talk(&scene.node, &scene.there).await;
            talk(&scene.there, &scene.node).await;
            assert_eq!(scene.node.failure(), None, "{function}");
        }
    });
}

#[test]
fn a_netmod_that_panics_while_it_leaves_is_gone_and_the_node_serves_over_the_other() {
    block_on(async {
        for function in LAST {
            let scene = Scene::new().await;
            scene.fault.begin(function);
            assert!(scene.node.remove_netmod("mem:a").await);
            talk(&scene.node, &scene.elsewhere).await;
            assert_eq!(scene.node.status().await.netmods.len(), 1);
            assert_eq!(scene.node.failure(), None, "{function}");

            let scene = Scene::new().await;
            scene.fault.begin(function);
            future::timeout(PATIENCE, scene.node.stop()).await.unwrap();
            assert_eq!(scene.node.failure(), None, "{function}");
        }
    });
}

/// A waker of an application that is at fault.
struct Faulty;

impl Wake for Faulty {
    fn wake(self: Arc<Self>) {
        panic!("a fault of a waker");
    }
}

/// Polls a future once with a waker that panics, and keeps it waiting.
fn wait_faultily<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    let waker = Waker::from(Arc::new(Faulty));
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    future
}

#[test]
fn an_application_whose_waker_panics_harms_no_task_of_its_node_and_no_other_application() {
    block_on(async {
        let net = MemNet::new(7);
        let start = |name| Node::builder().netmod(net.netmod(name).discover(false));
        let a = start("a").start().await.unwrap();
        let b = start("b").peer("mem:a").start().await.unwrap();
        linked(&a, &b).await;
        linked(&b, &a).await;

        // A message to the node itself, and one to its neighbour, are delivered while such an application waits for that.
        for to in [&a, &b] {
            let sent = a.send(&to.address(), "for the faulty one").await.unwrap();
            let _waits = wait_faultily(sent.delivered());
            assert_eq!(to.recv_from(&a.address()).await.unwrap().body, Body::from("for the faulty one"));
            talk(&a, to).await;
        }

        // Others wait for events, messages, an answer and the end of the node.
        let (mut faulty, mut sound) = (a.events(), a.events());
        let (event, message, failed) =
            (wait_faultily(faulty.next()), wait_faultily(a.recv()), wait_faultily(a.failed()));
        let address = b.address();
        let ping = wait_faultily(a.ping(&address, Duration::from_secs(1)));
        let c = start("c").peer("mem:a").start().await.unwrap();
        linked(&a, &c).await;
        linked(&b, &c).await;
        let is_up =
            |event: &Event| matches!(event, Event::NeighbourUp { address, .. } if *address == c.address());
        let up = async { while !is_up(&sound.next().await.expect("the node runs").1) {} };
        future::timeout(PATIENCE, up).await.expect("an event");
        let sent = c.send(&a.address(), "hello").await.unwrap();
        assert_eq!(a.recv_from(&c.address()).await.unwrap().body, Body::from("hello"));
        sent.delivered().await.unwrap();
        talk(&b, &c).await;
        assert_eq!(a.failure(), None);
        future::timeout(PATIENCE, a.stop()).await.unwrap();
        drop((event, message, ping, failed));
    });
}
