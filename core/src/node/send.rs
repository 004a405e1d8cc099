//! The sending of messages: from the application into the journal and a conversation, or directly into a mailbox of this
//! node.

use std::collections::VecDeque;

use crate::node::data_path::DeferredWork;
use crate::node::state::NodeState;
use crate::types::{Outgoing, SendError};

mod batch;
mod local;
mod sent;

use batch::BatchSender;
pub use sent::Sent;
use sent::{is_stored, queue};
pub(crate) use sent::{submit_request, try_send};

pub(crate) async fn submit(shared: &NodeState, message: Outgoing) -> Result<Sent, SendError> {
    if is_stored(shared, &message) {
        // Boxed, since a call that waits would hold the memory of both ways to send otherwise.
        let mut sent = Box::pin(send_stored(shared, vec![message])).await?;
        return sent.pop().ok_or(SendError::Stopped);
    }
    let mut work = DeferredWork::default();
    let sent = queue(shared, message, None, &mut work).await?;
    work.finish(shared);
    Ok(sent)
}

/// Sends messages in their order. Those before the first error are sent. One sync serves all that are to be stored.
pub(crate) async fn send_batch(shared: &NodeState, batch: Vec<Outgoing>) -> Result<Vec<Sent>, SendError> {
    if batch.iter().any(|message| is_stored(shared, message)) {
        return Box::pin(send_stored(shared, batch)).await;
    }
    let mut work = DeferredWork::default();
    let mut sent = Vec::with_capacity(batch.len());
    let mut result = Ok(());
    let mut rest = VecDeque::from(batch);
    while let Some(message) = rest.pop_front() {
        match queue(shared, message, None, &mut work).await {
            Ok(first) => {
                let run = first.run();
                sent.push(first);
                if let Some(run) = run {
                    // A batch is sent at once, since it was gathered by the application.
                    work.pump_later(&run.entry);
                    run.queue(shared, &mut rest, &mut sent);
                }
            }
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    work.finish(shared);
    result.map(|()| sent)
}

/// Sends messages of which some are to be stored.
async fn send_stored(shared: &NodeState, batch: Vec<Outgoing>) -> Result<Vec<Sent>, SendError> {
    let mut sender = BatchSender::new(shared, batch.len());
    let mut result = Ok(());
    for message in batch {
        result = sender.send(message).await;
        if result.is_err() {
            break;
        }
    }
    let stored = sender.commit().await;
    let sent = sender.finish();
    result.and(stored).map(|()| sent)
}
