//! Nodes that start: a neighbour that is up can be reached, and answers.

mod common;

use std::time::Duration;

use async_std::task::block_on;
use futures::StreamExt;
use rouse_core::netmod::mem::MemNet;
use rouse_core::{Event, Identity, Node};

use common::{node, within};

/// Pings the neighbour as soon as it is up.
async fn ping_once_up(from: &Node, to: &Node) {
    let mut events = from.events();
    while from.peers().await.is_empty() {
        if let Event::NeighbourUp { .. } = within(events.next()).await.expect("the node runs").1 {
            break;
        }
    }
    from.ping(&to.address(), Duration::from_secs(2)).await.expect("the first ping is answered");
}

#[test]
fn a_neighbour_is_reached_and_answers_from_the_moment_that_it_is_up() {
    block_on(async {
        for seed in 0..30 {
            let net = MemNet::new(seed);
            let a = node(1).netmod(net.netmod("a")).start().await.unwrap();
            let b = node(2).netmod(net.netmod("b")).start().await.unwrap();
            // Many addresses of its own keep the router busy, so that the link is up some time before the route is entered.
            for n in 10..130 {
                b.add_identity(Identity::from_seed(&[n; 32]));
                a.add_identity(Identity::from_seed(&[n + 120; 32]));
            }
            futures::future::join(ping_once_up(&a, &b), ping_once_up(&b, &a)).await;
            for node in [&a, &b] {
                assert_eq!(node.status().await.drops["no_route"], 0, "seed {seed}");
            }
        }
    });
}
