//! The running tasks of a node, and the failure that ends it.

use futures::future::AbortHandle;

use crate::rt::JoinHandle;

/// A node has ended by itself, because a task that it cannot do without has panicked. That is a fault of the program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has ended: its {task} panicked: {message}")]
pub struct NodeFailure {
    /// The name of the task.
    pub task: &'static str,
    /// The message of the panic.
    pub message: String,
}

/// The running tasks, each with the handle that aborts it. All of them are known, so that nothing of a node runs on after
/// it has stopped.
#[derive(Default)]
pub(crate) struct Tasks {
    pub(crate) running: Vec<(AbortHandle, JoinHandle<()>)>,
    pub(crate) ended: bool,
}
