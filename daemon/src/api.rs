//! JSON-RPC 2.0 for scripts and programs in any language: one document a line, on the socket of the daemon and, as
//! `rouse api`, on standard input and output. `daemon/API.md` is its reference.
//!
//! A connection is served by one future. It reads a line, begins its call, and reads on; calls end in any order, and each
//! answer names its call. Only the calls that send messages begin in the order of their lines. Everything has a bound: a line, the lines of all connections together ([`LineBudget`]), the
//! calls under way, the receivers, and the messages that wait for their acknowledgement. Answers are formed while the
//! writer is held, so that a connection whose peer reads slowly has one document in memory.

mod calls;
mod document_writer;
mod error;
mod held;
mod line_reader;
mod params;
mod streams;

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use async_io::{Async, Timer};
use async_trait::async_trait;
use futures::future::{Either, Fuse, FusedFuture, FutureExt, select};
use futures::io::{AsyncRead, AsyncWrite};
use futures::stream::{FuturesUnordered, StreamExt};
use rouse_core::Client;
use rouse_core::ipc::{ConnectError, TextProtocol};

use calls::Calls;
use document_writer::DocumentWriter;
pub use line_reader::LineBudget;
use line_reader::{Line, LineReader};

/// The most calls under way on one connection. Further ones are refused.
const MAX_CALLS: usize = 1024;

/// The most calls and refusals whose answers are not written. No line is read beyond that, so that a peer which reads no answers
/// is not refused without end.
const MOST_ANSWERS: usize = 2 * MAX_CALLS;

/// The time for the last answers after the daemon has stopped.
const FINAL_TIMEOUT: Duration = Duration::from_millis(500);

/// The reason why a connection ended, other than that its peer has closed it.
#[derive(Debug, thiserror::Error)]
pub enum ApiEnd {
    /// The daemon has stopped.
    #[error("the daemon has stopped")]
    Stopped,
    /// The input or the output failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Serves JSON-RPC through `client` until `input` ends and all calls have been answered.
///
/// # Errors
/// [`ApiEnd`], when the daemon has stopped or the output fails.
pub async fn serve(
    client: Client,
    input: impl AsyncRead + Unpin + Send,
    output: impl AsyncWrite + Unpin + Send,
    budget: &LineBudget,
) -> Result<(), ApiEnd> {
    let writer = DocumentWriter::new(output);
    let result = serve_lines(&Calls::new(&client, &writer), input, budget).await;
    // The last acknowledgements, and the messages that are given back, reach the daemon.
    client.flush().await;
    result
}

async fn serve_lines<W: AsyncWrite + Unpin + Send>(
    calls: &Calls<'_, W>,
    input: impl AsyncRead + Unpin + Send,
    budget: &LineBudget,
) -> Result<(), ApiEnd> {
    let mut lines = LineReader::new(input, budget);
    let mut running = FuturesUnordered::new();
    // Messages are accepted in the order of their lines, so the calls that may send them begin one after the other.
    let (mut sends, mut beginning) = (VecDeque::new(), Fuse::terminated());
    let mut stopped = std::pin::pin!(calls.client.closed().fuse());
    let mut is_open = true;
    while is_open || !running.is_empty() || !beginning.is_terminated() {
        if beginning.is_terminated()
            && let Some(line) = sends.pop_front()
        {
            beginning = calls.begin_send(line).boxed().fuse();
        }
        let under_way = running.len() + sends.len() + usize::from(!beginning.is_terminated());
        let is_reading = is_open && running.len() < MOST_ANSWERS;
        let next = async {
            match is_reading {
                true => lines.next().await,
                false => std::future::pending().await,
            }
        };
        futures::select_biased! {
            () = stopped => break,
            answered = running.select_next_some() => answered?,
            begun = beginning => running.push(begun),
            line = next.boxed().fuse() => match line? {
                Some(Line::Whole(line)) if under_way < MAX_CALLS => match Calls::<W>::may_send(&line) {
                    true => sends.push_back(line),
                    false => running.push(calls.answer(line).boxed()),
                },
                // Not awaited here: a call under way may be in the middle of its answer, and would be polled no more.
                Some(Line::Whole(line)) => running.push(calls.refuse(line).boxed()),
                Some(Line::Skipped(error)) => running.push(calls.skip(error).boxed()),
                None => {
                    is_open = false;
                    calls.streams.close_all();
                }
            },
        }
    }
    if running.is_empty() && beginning.is_terminated() && !is_open {
        return Ok(());
    }
    running.extend(sends.into_iter().map(|line| calls.answer(line).boxed()));
    // The calls under way fail by now, and their answers name the reason.
    let answers = std::pin::pin!(async {
        while let Some(answered) = running.next().await {
            answered?;
        }
        Ok(())
    });
    match select(answers, Timer::after(FINAL_TIMEOUT)).await {
        Either::Left((Err(error), _)) => Err(ApiEnd::Io(error)),
        _ => Err(ApiEnd::Stopped),
    }
}

/// The protocol on the socket of the daemon.
#[derive(Debug, Default)]
pub struct JsonRpc {
    budget: LineBudget,
}

#[async_trait]
impl TextProtocol for JsonRpc {
    async fn serve(&self, client: Result<Client, ConnectError>, stream: Async<UnixStream>) {
        let served = match client {
            Ok(client) => serve(client, &stream, &stream, &self.budget).await,
            Err(error) => DocumentWriter::new(&stream).failure(None, &error.into()).await.map_err(ApiEnd::Io),
        };
        if let Err(reason) = served {
            tracing::debug!(%reason, "a JSON-RPC connection ended");
        }
    }
}
