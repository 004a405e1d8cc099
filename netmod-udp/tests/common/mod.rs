//! Functions that the tests of this crate share.
#![allow(dead_code, missing_docs)]

use std::future::Future;
use std::time::Duration;

use futures::future::{select, select_all};
use rouse_core::netmod::{Endpoint, Heard, Netmod, Received};
use rouse_netmod_udp::{Udp, UdpConfig};

/// Far more than anything here takes: reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// The result of `future`; it panics after [`PATIENCE`].
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    async_std::future::timeout(PATIENCE, future).await.expect("nothing came for a minute")
}

/// A netmod without discovery.
pub(crate) fn quiet(listen: &str) -> Udp {
    let udp = Udp::with(UdpConfig { discover: false, ..UdpConfig::listen_on(listen).unwrap() });
    async_std::task::block_on(udp.open()).unwrap();
    udp
}

/// The endpoint at which `udp` can be reached from this host.
pub(crate) fn endpoint(udp: &Udp) -> Endpoint {
    let mut address = udp.local_addr().unwrap();
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    Endpoint::from(address)
}

/// The next `count` frames, each with the endpoint of its sender.
pub(crate) async fn frames(udp: &Udp, count: usize) -> Vec<(Endpoint, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut received = Received::default();
    while frames.len() < count {
        received.clear();
        soon(udp.recv(&mut received)).await.unwrap();
        for arrival in received.arrivals.drain(..) {
            assert!(arrival.size > 0);
            frames.extend(arrival.bytes.chunks(arrival.size).map(|frame| (arrival.endpoint, frame.to_vec())));
        }
    }
    frames
}

/// Runs all of `nodes` until each pair of a node's number and an endpoint that it should receive a beacon from has come
/// true. All run to the end, since a node that is not polled sends no beacons.
pub(crate) async fn hear(nodes: &[&Udp], mut missing: Vec<(usize, Endpoint)>) -> Vec<(usize, Heard)> {
    let mut all = Vec::new();
    let mut received: Vec<Received> = nodes.iter().map(|_| Received::default()).collect();
    while !missing.is_empty() {
        let calls = nodes.iter().zip(&mut received).map(|(node, received)| node.recv(received));
        let (result, _, _) = soon(select_all(calls)).await;
        result.unwrap();
        for (node, received) in received.iter_mut().enumerate() {
            all.extend(received.heard.iter().map(|&heard| (node, heard)));
            missing.retain(|&(receiver, sender)| {
                receiver != node || !received.heard.iter().any(|heard| heard.endpoint == sender)
            });
            received.clear();
        }
    }
    all
}

/// Runs all of `nodes` until `done`, and discards the beacons that they receive.
pub(crate) async fn run_until(nodes: &[&Udp], done: impl Fn() -> bool) {
    let run = async {
        while !done() {
            let mut received: Vec<Received> = nodes.iter().map(|_| Received::default()).collect();
            let calls = nodes.iter().zip(&mut received).map(|(node, received)| node.recv(received));
            let look_again = async_io::Timer::after(Duration::from_millis(10));
            select(select_all(calls), look_again).await;
        }
    };
    soon(run).await;
}
