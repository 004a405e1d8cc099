//! One connection on the daemon's side: one task that reads, works and writes.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use async_io::{Async, Timer};
use futures::future::{AbortHandle, Abortable, BoxFuture, Either, FutureExt, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::ipc::admin::Admin;
use crate::ipc::calls::{Credit, Session};
use crate::ipc::frame::{FrameError, Frames};
use crate::ipc::proto::*;
use crate::ipc::server::{Phase, Phases, Place, Token};
use crate::wire::codec;

/// How long a client may take to greet.
const GREETING_PATIENCE: Duration = Duration::from_secs(5);

/// How long the last words may take when the daemon stops.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// So many frames in one go, then others on this thread get their turn.
const TURN: usize = 64;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("malformed frame")]
    Malformed,
    #[error("not a client of this protocol")]
    Stranger,
    #[error("the client speaks version {0}")]
    Version(u16),
    #[error("the client did not greet in time")]
    Silent,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Greets, and serves until the client goes, breaks the rules, takes nothing any more, or the daemon stops.
pub(super) async fn run<A: Admin>(
    stream: &Async<UnixStream>,
    session: Arc<Session<A>>,
    place: &Place,
) -> Result<(), Ended> {
    let phases = &*place.phases;
    match select(std::pin::pin!(greet(stream, phases)), std::pin::pin!(phases.beyond(Phase::Serving))).await {
        Either::Left((greeted, _)) => greeted?,
        Either::Right(_) => return Ok(()),
    }
    let address = session.admin.default_address(session.uid).unwrap_or_else(|| session.node.address());
    let version = env!("CARGO_PKG_VERSION").to_owned();
    session.outbox.push(&Down::Welcome { address, version }).map_err(|_| Ended::Malformed)?;
    // Given up only when the calls have ended, and what they fetched is back.
    let mut marks = Marks { calling: Some(place.phases.calling()), holding: Some(place.phases.holding()) };
    let result = serve(stream, &session, place, &mut marks).await;
    session.outbox.kill();
    session.held.return_all();
    result
}

/// Whoever stops the server waits until no connection has these.
struct Marks {
    calling: Option<Token>,
    holding: Option<Token>,
}

async fn greet(mut stream: &Async<UnixStream>, phases: &Phases) -> Result<(), Ended> {
    let mut theirs = [0; GREETING];
    match select(stream.read_exact(&mut theirs), Timer::after(GREETING_PATIENCE)).await {
        Either::Left((read, _)) => read?,
        Either::Right(_) => return Err(Ended::Silent),
    }
    let (version, _) = read_greeting(&theirs).ok_or(Ended::Stranger)?;
    let welcome = if phases.now() == Phase::Serving { Welcome::Ok } else { Welcome::Stopping };
    // A few bytes into an empty buffer: this never waits.
    stream.write_all(&greeting(VERSION, welcome)).await?;
    if version == VERSION { Ok(()) } else { Err(Ended::Version(version)) }
}

async fn serve<A: Admin>(
    stream: &Async<UnixStream>,
    session: &Arc<Session<A>>,
    place: &Place,
    marks: &mut Marks,
) -> Result<(), Ended> {
    let mut writer = std::pin::pin!(session.outbox.write_to(stream, place.patience).fuse());
    let mut frames = Frames::new(stream);
    let mut running = Running::default();
    let mut phase = Phase::Serving;
    let mut turn = 0;
    loop {
        futures::select_biased! {
            written = writer => return Ok(written?),
            // Before the calls: what another connection gives back at the end is not fetched again here.
            next = place.phases.beyond(phase).fuse() => {
                phase = next;
                running.stop_all(session);
                drop(marks.calling.take());
                if phase >= Phase::Returning {
                    session.held.return_all();
                    drop(marks.holding.take());
                }
                if phase == Phase::Closed {
                    session.outbox.close();
                    select(writer, Timer::after(LAST_WORDS)).await;
                    return Ok(());
                }
            }
            id = running.futures.select_next_some() => {
                running.ended(id);
            }
            frame = frames.next().fuse() => match frame {
                Ok(bytes) => {
                    let up = codec::decode(bytes).map_err(|_| Ended::Malformed)?;
                    running.take(up, bytes.len(), session, phase);
                    turn = (turn + 1) % TURN;
                    if turn == 0 {
                        yield_now().await;
                    }
                }
                Err(FrameError::Closed) => return Ok(()),
                Err(error) => return Err(error.into()),
            },
        }
    }
}

/// The calls under way on one connection.
#[derive(Default)]
struct Running {
    futures: FuturesUnordered<BoxFuture<'static, u64>>,
    calls: HashMap<u64, Under>,
    bytes: usize,
}

struct Under {
    bytes: usize,
    abort: AbortHandle,
    credit: Arc<Credit>,
}

impl Running {
    fn take<A: Admin>(&mut self, up: Up, bytes: usize, session: &Arc<Session<A>>, phase: Phase) {
        match up {
            Up::Call { id, .. } if phase != Phase::Serving => fail(session, id, Failure::Stopped),
            Up::Call { id, call } => self.begin(id, call, bytes, session),
            Up::Cancel { id } => {
                if let Some(under) = self.ended(id) {
                    under.abort.abort();
                }
            }
            Up::Credit { id, items } => {
                if let Some(under) = self.calls.get(&id) {
                    under.credit.add(items);
                }
            }
            Up::Taken { tickets } => session.held.taken(&tickets),
            Up::Returned { tickets } => session.held.returned(tickets),
            Up::Forget { tickets } => session.forget(&tickets),
        }
    }

    fn begin<A: Admin>(&mut self, id: u64, call: Call, bytes: usize, session: &Arc<Session<A>>) {
        let too_long = self.bytes > 0 && self.bytes.saturating_add(bytes) > MAX_CALL_BYTES;
        // A cancelled call stays among the futures until its turn comes; it counts till then.
        if self.futures.len() >= 2 * MAX_CALLS
            || self.calls.len() >= MAX_CALLS
            || too_long
            || self.calls.contains_key(&id)
        {
            return fail(session, id, Failure::Busy);
        }
        let (abort, registration) = AbortHandle::new_pair();
        let credit = Arc::new(Credit::default());
        self.calls.insert(id, Under { bytes, abort, credit: credit.clone() });
        self.bytes += bytes;
        let session = session.clone();
        let answer = async move { session.answer(id, call, credit).await };
        let answer = Abortable::new(answer, registration);
        // An aborted answer has been accounted for when it was cancelled.
        self.futures.push(answer.map(move |_| id).boxed());
    }

    fn ended(&mut self, id: u64) -> Option<Under> {
        let under = self.calls.remove(&id)?;
        self.bytes -= under.bytes;
        Some(under)
    }

    fn stop_all<A: Admin>(&mut self, session: &Session<A>) {
        self.futures.clear();
        let mut ids: Vec<u64> = self.calls.drain().map(|(id, _)| id).collect();
        self.bytes = 0;
        ids.sort_unstable();
        for id in ids {
            fail(session, id, Failure::Stopped);
        }
    }
}

fn fail<A>(session: &Session<A>, id: u64, failure: Failure) {
    // It fails when the connection is closing, and then nobody waits for it.
    let _ = session.outbox.push(&Down::Failed { id, failure });
}

async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return std::task::Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
