//! Messages that are sent one by one: many in a short time share packets, and a lone one leaves at once.

use std::time::Duration;

use rouse_core::netmod::mem::MemNet;
use rouse_core::{Identity, Node, VirtualRuntime};

async fn packets(node: &Node) -> u64 {
    node.status().await.counters["packets_out"]
}

/// Two nodes that have exchanged messages, with nothing in flight.
async fn quiet_pair(runtime: &VirtualRuntime) -> [Node; 2] {
    let net = MemNet::new(1);
    let node = |n: u8, name: &str| {
        Node::builder().identity(Identity::from_seed(&[n; 32])).netmod(net.netmod(name)).start()
    };
    let nodes = [node(1, "a").await.unwrap(), node(2, "b").await.unwrap()];
    for (from, to) in [(0, 1), (1, 0)] {
        let sent = nodes[from].send(&nodes[to].address(), "hello").await.unwrap();
        nodes[to].recv().await.unwrap();
        sent.delivered().await.unwrap();
    }
    runtime.advance(Duration::from_secs(2));
    nodes
}

#[test]
fn messages_sent_one_by_one_share_packets_while_others_are_in_flight() {
    let runtime = VirtualRuntime::new();
    runtime.block_on(async {
        let [a, b] = quiet_pair(&runtime).await;
        let before = packets(&a).await;
        for n in 0..1000 {
            a.send(&b.address(), format!("{n}")).await.unwrap();
        }
        for n in 0..1000 {
            assert_eq!(&b.recv().await.unwrap().body[..], format!("{n}").as_bytes());
        }
        let made = packets(&a).await - before;
        assert!(made < 100, "1000 short messages left in {made} packets");
    });
}

#[test]
fn a_lone_message_leaves_before_its_call_returns() {
    let runtime = VirtualRuntime::new();
    runtime.block_on(async {
        let [a, b] = quiet_pair(&runtime).await;
        for round in 0..10 {
            let before = packets(&a).await;
            a.send(&b.address(), "alone").await.unwrap();
            assert_eq!(packets(&a).await, before + 1, "in round {round}");
            // Packets may still be in flight then, but they left a while ago.
            runtime.advance(Duration::from_millis(1));
            b.recv().await.unwrap();
        }
    });
}
