//! One connection on the daemon's side: one task that reads, works and writes.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::{Async, Timer};
use futures::future::{AbortHandle, Abortable, BoxFuture, Either, FutureExt, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::ipc::admin::{Admin, AdminError, Denial};
use crate::ipc::credit::Credit;
use crate::ipc::frame::{FrameError, FrameReader};
use crate::ipc::protocol::*;
use crate::ipc::quotas::{ProvisionalEntry, QuotaPermit};
use crate::ipc::server::{ConnectionAdmission, ConnectionPermit, CountGuard, Phase};
use crate::ipc::session::ClientSession;
use crate::wire::codec;

/// How long a client may take to greet.
const GREETING_PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection may stay that has no place, and is there to administer.
const LOBBY_PATIENCE: Duration = Duration::from_secs(5);

/// How long the last words may take when the daemon stops.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// So many frames in one go, then others on this thread get their turn.
const TURN: usize = 64;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionEnd {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("malformed frame")]
    Malformed,
    #[error("not a client of this protocol")]
    Stranger,
    #[error("the client speaks version {0}")]
    Version(u16),
    #[error("there are as many connections as the daemon takes")]
    Full,
    #[error("the time to administer is over")]
    Over,
    #[error("the client did not greet in time")]
    Silent,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Greets, and serves until the client goes, breaks the rules, takes nothing any more, or the daemon stops.
pub(super) async fn run<A: Admin>(
    stream: &Async<UnixStream>,
    session: Arc<ClientSession<A>>,
    admission: &ConnectionAdmission,
    entry: ProvisionalEntry,
) -> Result<(), ConnectionEnd> {
    let owner = session.admin.may_administer(session.uid);
    let greeted = {
        let beyond = std::pin::pin!(admission.lifecycle.beyond(Phase::Serving));
        match select(std::pin::pin!(greet(stream, admission, owner)), beyond).await {
            Either::Left((greeted, _)) => greeted?,
            Either::Right(_) => return Ok(()),
        }
    };
    let place = match greeted {
        Some(place) => {
            drop(entry);
            ConnectionGrant::ConnectionPermit(place)
        }
        None => ConnectionGrant::ProvisionalConnections(entry),
    };
    let address = session.admin.default_address(session.uid).unwrap_or_else(|| session.node.address());
    let version = env!("CARGO_PKG_VERSION").to_owned();
    session.outbox.push(&DaemonFrame::Welcome { address, version }).map_err(|_| ConnectionEnd::Malformed)?;
    // Given up only when the calls have ended, and what they fetched is back.
    let mut guards = DrainGuards {
        calling: Some(admission.lifecycle.calling()),
        holding: Some(admission.lifecycle.holding()),
    };
    let result = serve(stream, &session, admission, &place, &mut guards).await;
    session.outbox.kill();
    session.unconfirmed.return_all();
    result
}

/// What lets a connection stay.
enum ConnectionGrant {
    ConnectionPermit(#[allow(dead_code, reason = "it is given back when it is dropped")] ConnectionPermit),
    ProvisionalConnections(
        #[allow(dead_code, reason = "it is given back when it is dropped")] ProvisionalEntry,
    ),
}

/// Whoever stops the server waits until no connection has these.
struct DrainGuards {
    calling: Option<CountGuard>,
    holding: Option<CountGuard>,
}

/// Greets. The place of the connection, or none when it stays in the provisional.
async fn greet(
    mut stream: &Async<UnixStream>,
    admission: &ConnectionAdmission,
    owner: bool,
) -> Result<Option<ConnectionPermit>, ConnectionEnd> {
    let mut theirs = [0; GREETING_LENGTH];
    match select(stream.read_exact(&mut theirs), Timer::after(GREETING_PATIENCE)).await {
        Either::Left((read, _)) => read?,
        Either::Right(_) => return Err(ConnectionEnd::Silent),
    }
    let (version, word) = decode_greeting(&theirs).ok_or(ConnectionEnd::Stranger)?;
    let administers = owner && word == GreetingCode::Administer;
    let place = if version == VERSION && !administers { admission.place(owner) } else { None };
    let welcome = match admission.lifecycle.now() {
        Phase::Serving if version == VERSION && !administers && place.is_none() => GreetingCode::Busy,
        Phase::Serving => GreetingCode::Ok,
        _ => GreetingCode::Stopping,
    };
    // A few bytes into an empty buffer: this never waits.
    stream.write_all(&encode_greeting(VERSION, welcome)).await?;
    match welcome {
        _ if version != VERSION => Err(ConnectionEnd::Version(version)),
        GreetingCode::Busy => Err(ConnectionEnd::Full),
        _ => Ok(place),
    }
}

async fn serve<A: Admin>(
    stream: &Async<UnixStream>,
    session: &Arc<ClientSession<A>>,
    admission: &ConnectionAdmission,
    grant: &ConnectionGrant,
    guards: &mut DrainGuards,
) -> Result<(), ConnectionEnd> {
    let mut writer = std::pin::pin!(session.outbox.write_to(stream, admission.patience).fuse());
    let in_lobby = matches!(grant, ConnectionGrant::ProvisionalConnections(_));
    let mut over = if in_lobby { Timer::after(LOBBY_PATIENCE) } else { Timer::never() };
    let mut frames = FrameReader::new(stream);
    let mut running = RunningCalls { administers: in_lobby, ..RunningCalls::default() };
    let mut phase = Phase::Serving;
    let mut turn = 0;
    loop {
        futures::select_biased! {
            written = writer => return Ok(written?),
            // Before the calls: what another connection gives back at the end is not fetched again here.
            next = admission.lifecycle.beyond(phase).fuse() => {
                phase = next;
                // Who said stop waits for the end.
                over = Timer::never();
                running.stop_all(session);
                drop(guards.calling.take());
                if phase >= Phase::Returning {
                    session.unconfirmed.return_all();
                    drop(guards.holding.take());
                }
                if phase == Phase::Closed {
                    session.outbox.close();
                    select(writer, Timer::after(LAST_WORDS)).await;
                    return Ok(());
                }
            }
            _ = FutureExt::fuse(&mut over) => return Err(ConnectionEnd::Over),
            id = running.futures.select_next_some() => {
                running.ended(id);
            }
            frame = frames.next().fuse() => match frame {
                Ok(bytes) => {
                    let up: ClientFrame = codec::decode(bytes).map_err(|_| ConnectionEnd::Malformed)?;
                    if up.tickets() > MAX_SENT {
                        return Err(ConnectionEnd::Malformed);
                    }
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
struct RunningCalls {
    /// Only calls that administer are taken.
    administers: bool,
    futures: FuturesUnordered<Answer>,
    calls: HashMap<u64, RunningCall>,
    bytes: usize,
}

/// A call on its way to its answer. Aborted, it has been accounted for when it was cancelled.
struct Answer {
    id: u64,
    future: Abortable<BoxFuture<'static, ()>>,
}

impl Future for Answer {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        let id = self.id;
        Pin::new(&mut self.future).poll(cx).map(|_| id)
    }
}

struct RunningCall {
    bytes: usize,
    abort: AbortHandle,
    credit: Arc<Credit>,
    /// Beyond the calls that each connection may have.
    _share: Option<QuotaPermit>,
}

impl RunningCalls {
    fn take<A: Admin>(
        &mut self,
        up: ClientFrame,
        bytes: usize,
        session: &Arc<ClientSession<A>>,
        phase: Phase,
    ) {
        match up {
            ClientFrame::Call { id, .. } if phase != Phase::Serving => fail(session, id, Failure::Stopped),
            ClientFrame::Call { id, call } => self.begin(id, call, bytes, session),
            ClientFrame::Cancel { id } => {
                if let Some(under) = self.ended(id) {
                    under.abort.abort();
                }
            }
            ClientFrame::Credit { id, items } => {
                if let Some(under) = self.calls.get(&id) {
                    under.credit.add(items);
                }
            }
            ClientFrame::Confirm { tickets } => session.unconfirmed.taken(&tickets),
            ClientFrame::Return { tickets } => session.unconfirmed.returned(tickets),
            ClientFrame::Forget { tickets } => session.forget(&tickets),
        }
    }

    fn begin<A: Admin>(&mut self, id: u64, call: Call, bytes: usize, session: &Arc<ClientSession<A>>) {
        let too_long = self.bytes > 0 && self.bytes.saturating_add(bytes) > MAX_CALL_BYTES;
        // A cancelled call stays among the futures until its turn comes; it counts till then.
        if self.futures.len() >= 2 * MAX_CALLS
            || self.calls.len() >= MAX_CALLS
            || too_long
            || self.calls.contains_key(&id)
        {
            return fail(session, id, Failure::Busy);
        }
        if self.administers && !call.administers() {
            let text = "the daemon has as many connections as it takes";
            let hint = "close one; `rouse status` and `rouse stop` work all the same";
            return fail(session, id, Failure::Admin(AdminError::new(Denial::Full, text, hint)));
        }
        let share = if self.futures.len() < FREE_CALLS { None } else { session.quotas.call() };
        if share.is_none() && self.futures.len() >= FREE_CALLS {
            return fail(session, id, Failure::Busy);
        }
        let (abort, registration) = AbortHandle::new_pair();
        let credit = Arc::new(Credit::default());
        self.calls.insert(id, RunningCall { bytes, abort, credit: credit.clone(), _share: share });
        self.bytes += bytes;
        let answer = session.clone().answer(id, call, credit);
        self.futures.push(Answer { id, future: Abortable::new(answer, registration) });
    }

    fn ended(&mut self, id: u64) -> Option<RunningCall> {
        let under = self.calls.remove(&id)?;
        self.bytes -= under.bytes;
        Some(under)
    }

    fn stop_all<A: Admin>(&mut self, session: &ClientSession<A>) {
        self.futures.clear();
        let mut ids: Vec<u64> = self.calls.drain().map(|(id, _)| id).collect();
        self.bytes = 0;
        ids.sort_unstable();
        for id in ids {
            fail(session, id, Failure::Stopped);
        }
    }
}

fn fail<A>(session: &ClientSession<A>, id: u64, failure: Failure) {
    // It fails when the connection is closing, and then nobody waits for it.
    let _ = session.outbox.push(&DaemonFrame::Failed { id, failure });
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
