//! A panic ends its origin and nothing else: a netmod is opened again, and an application whose waker panics harms no other.
//! The end of a task that the node needs is tested beside the tasks.

mod common;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use async_std::future;
use async_std::task::block_on;
use futures::StreamExt;
use rouse_core::netmod::Received;
use rouse_core::netmod::mem::MemNet;
use rouse_core::{Body, Event, NetmodState, NetmodStatus, Node};

use common::faulty_netmod::{Fault, FaultyNetmod};
use common::{PATIENCE, find, talk};

/// A panic in one function of the netmod, for as long as a test wants it.
#[derive(Clone, Default)]
struct Panic(Arc<PanicState>);

#[derive(Default)]
struct PanicState {
    /// The name of the function that panics.
    function: Mutex<Option<String>>,
    /// The number of times that the netmod was opened.
    opened: AtomicUsize,
}

impl Panic {
    fn begin(&self, function: &str) {
        *self.0.function.lock().unwrap() = Some(function.to_owned());
    }

    fn end(&self) {
        *self.0.function.lock().unwrap() = None;
    }

    fn is_in(&self, function: &str) -> bool {
        self.0.function.lock().unwrap().as_deref() == Some(function)
    }

    fn opened(&self) -> usize {
        self.0.opened.load(SeqCst)
    }
}

impl Fault for Panic {
    fn enter(&self, function: &str) {
        assert!(!self.is_in(function), "a fault in {function}");
        if function == "open" {
            self.0.opened.fetch_add(1, SeqCst);
        }
    }

    fn received(&self, received: &mut Received) {
        received.cut |= self.is_in("is_cut");
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

async fn linked(from: &Node, to: &Node) {
    find("a route", async || (!from.routes_to(&to.address()).await.is_empty()).then_some(())).await;
}

async fn netmod_of(node: &Node, uri: &str) -> NetmodStatus {
    let netmods = node.status().await.netmods;
    netmods.into_iter().find(|netmod| netmod.uri == uri).unwrap()
}

/// A node with two netmods, the first of which may panic, and a neighbour on each.
struct Scene {
    node: Node,
    fault: Panic,
    broken: MemNet,
    /// The neighbours over the netmod that may panic and over the other.
    there: Node,
    elsewhere: Node,
}

impl Scene {
    async fn new() -> Self {
        let (broken, whole, fault) = (MemNet::new(5), MemNet::new(6), Panic::default());
        let netmod = FaultyNetmod { netmod: broken.netmod("a"), fault: fault.clone() };
        let node = Node::builder().netmod(netmod).netmod(whole.netmod("whole")).start().await.unwrap();
        let there = Node::builder().netmod(broken.netmod("b")).peer("mem:a").start().await.unwrap();
        let elsewhere = Node::builder().netmod(whole.netmod("c")).peer("mem:whole").start().await.unwrap();
        linked(&node, &there).await;
        linked(&node, &elsewhere).await;
        Scene { node, fault, broken, there, elsewhere }
    }

    /// Makes the node call each function of its netmod, since it makes a link, sends, dials and lists all state. Returns the
    /// error of the netmod as soon as there is one.
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
        let error = find("a link or an error", linked).await;
        newcomer.stop().await;
        error
    }
}

/// The functions that are called only when a netmod is removed, so that it need not be opened again after them.
const LAST: [&str; 2] = ["stop_announcing", "close"];

#[test]
fn a_netmod_that_panics_in_any_function_is_opened_again_while_the_node_serves_over_its_other_netmod() {
    let functions = functions_of_a_netmod();
    assert!(functions.len() >= 17 && LAST.iter().all(|last| functions.contains(last)), "{functions:?}");
    block_on(async {
        for function in functions.into_iter().filter(|function| !LAST.contains(function)) {
            let scene = Scene::new().await;
            let opened = scene.fault.opened();
            scene.fault.begin(function);
            if function == "open" {
                // Only another fault makes the node call it.
                scene.broken.fail("a");
            }
            let mut rounds = 0..;
            let error = find(function, async || scene.call_all(rounds.next().unwrap()).await).await;
            if function != "open" {
                assert!(error.contains(&format!("panicked in {function}: a fault in {function}")), "{error}");
            }
            talk(&scene.node, &scene.elsewhere, "hello").await;
            talk(&scene.elsewhere, &scene.node, "hello").await;

            scene.fault.end();
            scene.broken.recover("a");
            let up = async || (netmod_of(&scene.node, "mem:a").await.state == NetmodState::Up).then_some(());
            find("a netmod that is up", up).await;
            assert!(scene.fault.opened() > opened, "{function}: it was not opened again");
            linked(&scene.there, &scene.node).await;
            linked(&scene.node, &scene.there).await;
            talk(&scene.node, &scene.there, "hello").await;
            talk(&scene.there, &scene.node, "hello").await;
            assert_eq!(scene.node.failure(), None, "{function}");
        }
    });
}

#[test]
fn a_netmod_that_panics_while_it_closes_is_removed_and_the_node_serves_over_the_other() {
    block_on(async {
        for function in LAST {
            let scene = Scene::new().await;
            scene.fault.begin(function);
            assert!(scene.node.remove_netmod("mem:a").await);
            talk(&scene.node, &scene.elsewhere, "hello").await;
            assert_eq!(scene.node.status().await.netmods.len(), 1);
            assert_eq!(scene.node.failure(), None, "{function}");

            let scene = Scene::new().await;
            scene.fault.begin(function);
            future::timeout(PATIENCE, scene.node.stop()).await.unwrap();
            assert_eq!(scene.node.failure(), None, "{function}");
        }
    });
}

/// A waker of an application that panics.
struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("a fault of a waker");
    }
}

/// Polls a future once with a waker that panics, and keeps it waiting.
fn poll_with_panicking_waker<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    let waker = Waker::from(Arc::new(PanickingWaker));
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
            let _waits = poll_with_panicking_waker(sent.delivered());
            assert_eq!(to.recv_from(&a.address()).await.unwrap().body, Body::from("for the faulty one"));
            talk(&a, to, "hello").await;
        }

        // Others wait for events, messages, an answer and the end of the node.
        let (mut faulty, mut sound) = (a.events(), a.events());
        let (event, message, failed) = (
            poll_with_panicking_waker(faulty.next()),
            poll_with_panicking_waker(a.recv()),
            poll_with_panicking_waker(a.failed()),
        );
        let address = b.address();
        let ping = poll_with_panicking_waker(a.ping(&address, Duration::from_secs(1)));
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
        talk(&b, &c, "hello").await;
        assert_eq!(a.failure(), None);
        future::timeout(PATIENCE, a.stop()).await.unwrap();
        drop((event, message, ping, failed));
    });
}
