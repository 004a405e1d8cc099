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
