//! The tasks of a node, and the effect of a panic in each. A panic in a netmod becomes an error of that netmod, and one
//! in a neighbour's task ends that link. One in a task that the node cannot do without ends the node with an error,
//! since a node that runs on without its router would drop messages without a sign.
//! [`Node::failed`](super::Node::failed) reports it.

use std::future::Future;
use std::sync::Arc;

use futures::future::{AbortHandle, BoxFuture, abortable};

use crate::node::leaving;
use crate::node::panics::caught;
use crate::node::state::NodeState;
use crate::node::state::locks::lock;
use crate::node::state::running_tasks::NodeFailure;
use crate::rt;

pub(crate) mod housekeeping;
pub(crate) mod inbox;
pub(crate) mod journal;
pub(crate) mod lending;
pub(crate) mod peering;
pub(crate) mod router;

impl NodeState {
    /// Runs a task that the node cannot do without, until it ends or the node does. A node that has ended starts no
    /// task.
    pub(crate) fn spawn_vital(
        self: &Arc<Self>,
        task: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        let shared = self.clone();
        self.spawn(Box::pin(future), move |message| async move { shared.fail(task, message).await });
    }

    /// Runs `future` until it ends or the node does; after a panic, the future that `panicked` returns. The future is
    /// boxed because some are large, and each wrapper around an unboxed one would move it.
    pub(crate) fn spawn<R: Future<Output = ()> + Send>(
        self: &Arc<Self>,
        future: BoxFuture<'static, ()>,
        panicked: impl FnOnce(String) -> R + Send + 'static,
    ) {
        let supervised = async move {
            if let Err(message) = caught(future).await {
                panicked(message).await;
            }
        };
        // Each task has an abort handle of its own, since one flag for all would be contended at every poll of every
        // task.
        let (supervised, end) = abortable(supervised);
        let mut tasks = lock(&self.tasks);
        if tasks.ended {
            return;
        }
        tasks.running.retain(|(_, task)| !task.is_finished());
        let task = rt::spawn(async move {
            // The result differs only in whether the task ended or was aborted, which makes no difference here.
            let _ = supervised.await;
        });
        tasks.running.push((end, task));
    }

    /// Ends the node because of a panic. Its neighbours get a goodbye if that is still possible, so that they do not
    /// wait for it.
    async fn fail(&self, task: &'static str, message: String) {
        let failure = NodeFailure { task, message };
        tracing::error!(%failure, "this is a fault of the program: please report it with the lines before");
        leaving::leave(self).await;
        *self.failure.write() = Some(failure);
        self.end();
    }

    /// Aborts every task at its next await.
    pub(super) fn end_tasks(&self) {
        let ends: Vec<_> = {
            let mut tasks = lock(&self.tasks);
            tasks.ended = true;
            tasks.running.iter().map(|(end, _)| end.clone()).collect()
        };
        // After the lock is released: an abort wakes the task, which may take the lock itself.
        ends.iter().for_each(AbortHandle::abort);
    }

    /// Waits until every task has ended.
    pub(crate) async fn join(&self) {
        let tasks = std::mem::take(&mut lock(&self.tasks).running);
        for (_, task) in tasks {
            task.cancel().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt;

    use super::*;
    use crate::identity::Identity;
    use crate::netmod::mem::MemNet;
    use crate::node::state::link_event::LinkEvent;
    use crate::node::state::router_inputs::RouterEvent;
    use crate::node::{Node, NodeConfig, SendError};
    use crate::types::Event;

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn the_message_of_a_panic_is_the_reason_of_the_end_of_the_node() {
        futures::executor::block_on(async {
            let config = NodeConfig::default();
            let shared = Arc::new(NodeState::new(Identity::from_seed(&[1; 32]), config, [9; 32].into()));
            shared.spawn_vital("other task", std::future::pending());
            shared.spawn_vital("task of the test", async { panic!("{} of the test", "a fault") });
            let failure = shared.failure.when(Clone::clone).await;
            assert_eq!(
                failure.to_string(),
                "the node has ended: its task of the test panicked: a fault of the test"
            );
            shared.stopped.when(|stopped| stopped.then_some(())).await;
            // Both tasks have ended.
            shared.join().await;
            shared.spawn_vital("late task", async { unreachable!("a node that has ended begins nothing") });
            assert!(lock(&shared.tasks).running.is_empty());
        });
    }

    #[test]
    fn a_node_that_loses_a_task_that_it_cannot_do_without_has_failed_and_shows_why() {
        futures::executor::block_on(async {
            for task in ["task that makes links", "router"] {
                let net = MemNet::new(7);
                let start = |name| Node::builder().netmod(net.netmod(name).discover(false));
                let a = start("a").start().await.unwrap();
                let b = start("b").peer("mem:a").start().await.unwrap();
                let mut events = b.events();
                while a.routes_to(&b.address()).await.is_empty() || b.routes_to(&a.address()).await.is_empty()
                {
                    rt::yield_now().await;
                }
                match task {
                    "router" => a.shared.router.notify(RouterEvent::Panic).await,
                    _ => assert!(a.shared.link_events.try_push(LinkEvent::Panic).is_ok()),
                }
                let failure = rt::timeout(PATIENCE, a.failed()).await.expect("in time");
                assert_eq!((failure.task, &*failure.message), (task, "a fault of the test"));
                assert_eq!(a.failure(), Some(failure));
                assert!(matches!(a.send(&b.address(), "too late").await, Err(SendError::Stopped)));
                assert!(a.recv().await.is_err() && a.routes().await.is_empty());
                // It has taken its leave: its neighbours do not have to find out by its silence.
                let is_down = |event: &Event| match event {
                    Event::NeighbourDown { reason, .. } => reason.contains("closed the link"),
                    _ => false,
                };
                let goodbye = async { while !is_down(&events.next().await.expect("b runs").1) {} };
                rt::timeout(PATIENCE, goodbye).await.expect("in time");
                rt::timeout(PATIENCE, a.stop()).await.expect("in time");
                assert_eq!(b.failure(), None);
            }
        });
    }
}
