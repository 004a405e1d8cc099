//! Nodes that send to each other, directly or over a relay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_std::future::timeout;
use async_std::task;
use futures::future::try_join_all;
use rouse_core::{Identity, Node, Outgoing};
use rouse_netmod_udp::{Udp, UdpConfig};

use crate::measure::{Latency, latency, rate};

/// Bytes that are given to `send_batch` at once, about, and messages at most.
const BATCH_BYTES: usize = 240_000;
const BATCH: usize = 64;
/// New addresses that send a first message.
const STRANGERS: usize = 60;
/// For what was sent to arrive, once sending is over.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nodes in a row.
pub(crate) struct Mesh {
    nodes: Vec<Node>,
}

impl Mesh {
    /// Two neighbours.
    pub(crate) fn direct() -> anyhow::Result<Self> {
        Self::row(2)
    }

    /// Two that have a relay between them.
    pub(crate) fn relayed() -> anyhow::Result<Self> {
        Self::row(3)
    }

    /// So many in a row.
    pub(crate) fn row(length: usize) -> anyhow::Result<Self> {
        task::block_on(async {
            let mut nodes: Vec<Node> = Vec::new();
            for _ in 0..length {
                let udp = Udp::with(UdpConfig { discover: false, ..UdpConfig::listen_on("127.0.0.1:0")? });
                let mut builder = Node::builder().identity(Identity::generate()).netmod(udp);
                if let Some(last) = nodes.last() {
                    builder = builder.peer(&last.status().await.netmods.first().context("no netmod")?.uri);
                }
                nodes.push(builder.start().await?);
            }
            let mesh = Mesh { nodes };
            // The first message waits until there is a route; from then on there is one, both ways.
            let (first, last) = mesh.ends();
            for (from, to) in [(first, last), (last, first)] {
                let sent = from.send(&to.address(), "hello").await?;
                timeout(PATIENCE, to.recv_from(&from.address())).await??;
                timeout(PATIENCE, sent.delivered()).await??;
            }
            Ok(mesh)
        })
    }

    fn ends(&self) -> (&Node, &Node) {
        (&self.nodes[0], &self.nodes[self.nodes.len() - 1])
    }

    pub(crate) fn has_relay(&self) -> bool {
        self.nodes.len() > 2
    }

    /// Messages that arrive in a second.
    ///
    /// # Errors
    /// When one is lost.
    pub(crate) fn throughput(&self, size: usize) -> anyhow::Result<f64> {
        let (from, to) = self.ends();
        let stop = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicU64::new(0));
        let receiver = task::spawn({
            let (node, received) = (to.clone(), received.clone());
            async move {
                while let Ok(batch) = node.recv_batch(256).await {
                    received.fetch_add(batch.len() as u64, Relaxed);
                }
            }
        });
        let sender = task::spawn({
            let (node, to, stop) = (from.clone(), to.address(), stop.clone());
            let batch = vec![Outgoing::new(to, vec![0x5a; size]); (BATCH_BYTES / size).clamp(1, BATCH)];
            async move {
                let mut sent = 0;
                let mut last = Vec::new();
                while !stop.load(Relaxed) {
                    last = node.send_batch(batch.clone()).await?;
                    sent += last.len() as u64;
                }
                try_join_all(last.iter().map(|message| message.delivered())).await?;
                anyhow::Ok(sent)
            }
        });
        let rate = rate(&received);
        stop.store(true, Relaxed);
        let sent = task::block_on(timeout(PATIENCE, sender)).context("the last messages do not arrive")??;
        task::block_on(receiver.cancel());
        let received = received.load(Relaxed);
        ensure!(received == sent, "{received} of {sent} messages arrived");
        Ok(rate)
    }

    /// How long 64 bytes take there and back.
    pub(crate) fn round_trip(&self) -> anyhow::Result<Latency> {
        let (from, to) = self.ends();
        let echo = task::spawn({
            let node = to.clone();
            async move {
                while let Ok(message) = node.recv().await {
                    if node.send(&message.from, message.body).await.is_err() {
                        break;
                    }
                }
            }
        });
        let (address, body) = (to.address(), [0x5a; 64]);
        let result = task::block_on(latency(async || {
            from.send(&address, &body).await?;
            from.recv_from(&address).await?;
            anyhow::Ok(())
        }));
        task::block_on(echo.cancel());
        result
    }

    /// How long 64 bytes take between two addresses that have no session yet, and how long the next 64 take: from the
    /// call until the recipient has them.
    pub(crate) fn first_and_next(&self) -> anyhow::Result<[Latency; 2]> {
        let (from, to) = self.ends();
        let mut times = [Vec::new(), Vec::new()];
        task::block_on(async {
            for _ in 0..STRANGERS {
                let identity = Identity::generate();
                let address = identity.address();
                from.add_identity(identity);
                let known = async {
                    while to.routes_to(&address).await.is_empty() {
                        task::sleep(Duration::from_millis(1)).await;
                    }
                };
                timeout(PATIENCE, known).await?;
                for times in &mut times {
                    let message = Outgoing::new(to.address(), vec![0x5a; 64]).from(address);
                    let begin = Instant::now();
                    from.submit(message).await?;
                    timeout(PATIENCE, to.recv_from(&address)).await??;
                    times.push(begin.elapsed());
                }
                from.remove_identity(&address);
            }
            anyhow::Ok(times.map(Latency::of))
        })
    }

    /// Stops the nodes.
    pub(crate) fn stop(self) {
        task::block_on(async {
            for node in self.nodes {
                node.stop().await;
            }
        });
    }
}
