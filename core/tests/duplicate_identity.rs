//! One identity in use on two nodes. Neither node is at fault by itself, so the health of both reports it.

mod common;

use async_std::task::block_on;
use rouse_core::netmod::mem::MemNet;
use rouse_core::{Level, Node};

use common::{node, until};

/// Whether the health of the node reports that its identity is in use elsewhere.
async fn complains(node: &Node) -> bool {
    let status = node.status().await;
    status.health.iter().any(|line| line.level == Level::Error && line.text.contains("in use elsewhere"))
}

async fn until_reported(node: &Node) {
    until("the complaint", async || complains(node).await).await;
}

#[test]
fn two_nodes_of_one_identity_on_one_medium_report_it() {
    block_on(async {
        let net = MemNet::new(1);
        let a = node(1).netmod(net.netmod("a")).start().await.unwrap();
        let b = node(1).netmod(net.netmod("b")).start().await.unwrap();
        until_reported(&a).await;
        until_reported(&b).await;
    });
}

#[test]
fn of_two_nodes_of_one_identity_on_either_side_of_a_third_one_reports_it_and_the_third_serves_on() {
    block_on(async {
        let (left, right) = (MemNet::new(1), MemNet::new(2));
        let between = node(2).netmod(left.netmod("m")).netmod(right.netmod("m")).start().await.unwrap();
        let a = node(1).netmod(left.netmod("a")).start().await.unwrap();
        let b = node(1).netmod(right.netmod("b")).start().await.unwrap();
        let other = node(3).netmod(right.netmod("c")).start().await.unwrap();
        until("a complaint", async || complains(&a).await || complains(&b).await).await;
        let sent = other.send(&between.address(), "still here").await.unwrap();
        assert_eq!(&between.recv().await.unwrap().body[..], b"still here");
        sent.delivered().await.unwrap();
        assert!(!complains(&between).await, "its own identity is in use once");
    });
}
