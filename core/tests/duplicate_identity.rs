//! One identity in use on two nodes: both may have it, so none is wrong by itself, but somebody has to be told.

use std::time::Duration;

use async_std::task::block_on;
use rouse_core::netmod::mem::MemNet;
use rouse_core::{Identity, Level, Node, NodeBuilder};

fn node(n: u8) -> NodeBuilder {
    Node::builder().identity(Identity::from_seed(&[n; 32]))
}

async fn complains(node: &Node) -> bool {
    let status = node.status().await;
    status.health.iter().any(|line| line.level == Level::Error && line.text.contains("in use elsewhere"))
}

/// Waits until `node` says that its identity is in use elsewhere.
async fn told(node: &Node) {
    let complaint = async {
        while !complains(node).await {
            async_std::task::sleep(Duration::from_millis(10)).await;
        }
    };
    async_std::future::timeout(Duration::from_secs(30), complaint).await.expect("a complaint in time");
}

#[test]
fn twins_that_hear_each_other_are_told() {
    block_on(async {
        let net = MemNet::new(1);
        let a = node(1).netmod(net.netmod("a")).start().await.unwrap();
        let b = node(1).netmod(net.netmod("b")).start().await.unwrap();
        told(&a).await;
        told(&b).await;
    });
}

#[test]
fn twins_on_either_side_of_a_node_are_told_and_that_node_serves_on() {
    block_on(async {
        let (left, right) = (MemNet::new(1), MemNet::new(2));
        let between = node(2).netmod(left.netmod("m")).netmod(right.netmod("m")).start().await.unwrap();
        let a = node(1).netmod(left.netmod("a")).start().await.unwrap();
        let b = node(1).netmod(right.netmod("b")).start().await.unwrap();
        let other = node(3).netmod(right.netmod("c")).start().await.unwrap();
        let one_is_told = async {
            while !complains(&a).await && !complains(&b).await {
                async_std::task::sleep(Duration::from_millis(10)).await;
            }
        };
        async_std::future::timeout(Duration::from_secs(30), one_is_told).await.expect("a complaint in time");
        let sent = other.send(&between.address(), "still here").await.unwrap();
        assert_eq!(&between.recv().await.unwrap().body[..], b"still here");
        sent.delivered().await.unwrap();
        assert!(!complains(&between).await, "it shares its identity with nobody");
    });
}
