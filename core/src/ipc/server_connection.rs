//! One connection on the daemon's side, served by one task that reads, runs the calls, and writes.

use std::io;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_io::{Async, Timer};
use futures::future::{Either, FutureExt, select};
use futures::io::{AsyncReadExt, AsyncWriteExt};

use crate::ipc::admin::Admin;
use crate::ipc::admission::{ConnectionAdmission, ConnectionPermit};
use crate::ipc::frame::{FrameError, FrameReader};
use crate::ipc::frame_memory::FrameAllowance;
use crate::ipc::lifecycle::{ConnectionCount, CountGuard, Phase};
use crate::ipc::protocol::{
    ClientFrame, DaemonFrame, GREETING_LENGTH, GreetingCode, MAX_SENT, VERSION, decode_greeting,
    encode_greeting,
};
use crate::ipc::provisional::ProvisionalEntry;
use crate::ipc::running_calls::RunningCalls;
use crate::ipc::session::ClientSession;
use crate::stats::Counter;
use crate::wire::codec;

/// The time within which a client has to send its greeting.
pub(super) const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// The time after which a connection without a permit, which only administers, is closed.
const ADMINISTRATION_TIMEOUT: Duration = Duration::from_secs(5);

/// The time within which the last replies are written when the daemon stops.
const FINAL_WRITE_TIMEOUT: Duration = Duration::from_millis(500);

/// The number of frames after which a connection yields, so that other connections on this thread are served.
const FRAMES_PER_TURN: usize = 64;

/// The reason why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionEnd {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("malformed frame")]
    Malformed,
    #[error("not a client of this protocol")]
    NotAClient,
    #[error("the client speaks version {0} of the protocol, the daemon {VERSION}")]
    Version(u16),
    #[error("all connections are taken")]
    Full,
    #[error("the time for administration is over")]
    AdministrationTimeout,
    #[error("no greeting within {} s", GREETING_TIMEOUT.as_secs())]
    NoGreeting,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl ConnectionEnd {
    /// The counter of this end; `None` if the client itself has left.
    pub(super) fn counter(&self) -> Option<Counter> {
        let has_left = |error: &io::Error| error.kind() != io::ErrorKind::TimedOut;
        match self {
            ConnectionEnd::NotAClient
            | ConnectionEnd::Version(_)
            | ConnectionEnd::Full
            | ConnectionEnd::NoGreeting => Some(Counter::ClientsRefused),
            ConnectionEnd::Frame(FrameError::Closed | FrameError::Cut) => None,
            ConnectionEnd::Frame(FrameError::Io(error)) | ConnectionEnd::Io(error) if has_left(error) => None,
            ConnectionEnd::Frame(_)
            | ConnectionEnd::Malformed
            | ConnectionEnd::AdministrationTimeout
            | ConnectionEnd::Io(_) => Some(Counter::ClientsEnded),
        }
    }
}

/// Exchanges greetings, and serves until the client closes, breaks the rules or stops reading, or the daemon stops.
pub(super) async fn run<A: Admin>(
    stream: &Async<UnixStream>,
    session: Arc<ClientSession<A>>,
    admission: &ConnectionAdmission,
    entry: ProvisionalEntry,
) -> Result<(), ConnectionEnd> {
    let owner = session.admin.may_administer(session.uid);
    let lifecycle = &admission.lifecycle;
    let grant = {
        let stopping = pin!(lifecycle.beyond(Phase::Serving));
        match select(pin!(greet(stream, admission, owner, entry)), stopping).await {
            Either::Left((grant, _)) => grant?,
            Either::Right(_) => return Ok(()),
        }
    };
    let address = session.admin.default_address(session.uid).unwrap_or_else(|| session.node.address());
    let version = env!("CARGO_PKG_VERSION").to_owned();
    session.outbox.push(&DaemonFrame::Welcome { address, version }).map_err(|_| ConnectionEnd::Malformed)?;
    let mut guards = DrainGuards {
        calling: Some(lifecycle.count(ConnectionCount::Calling).0),
        unconfirmed: Some(lifecycle.count(ConnectionCount::Unconfirmed).0),
    };
    let result = serve(stream, &session, admission, &grant, &mut guards).await;
    session.outbox.kill();
    session.end();
    result
}

/// The right of a connection to stay open, given back when it is dropped.
enum ConnectionGrant {
    Permitted(#[allow(dead_code, reason = "it is given back when it is dropped")] ConnectionPermit),
    Provisional(#[allow(dead_code, reason = "it is given back when it is dropped")] ProvisionalEntry),
}

/// The counts that a stopping server waits for. They are dropped only when the calls have ended and the messages that
/// they fetched have been given back, since the server goes on to the next phase then.
struct DrainGuards {
    calling: Option<CountGuard>,
    unconfirmed: Option<CountGuard>,
}

/// Exchanges greetings. Returns the right of the connection to stay open.
async fn greet(
    mut stream: &Async<UnixStream>,
    admission: &ConnectionAdmission,
    owner: bool,
    entry: ProvisionalEntry,
) -> Result<ConnectionGrant, ConnectionEnd> {
    let mut theirs = [0; GREETING_LENGTH];
    match select(stream.read_exact(&mut theirs), Timer::after(GREETING_TIMEOUT)).await {
        Either::Left((read, _)) => read?,
        Either::Right(_) => return Err(ConnectionEnd::NoGreeting),
    }
    let (version, code) = decode_greeting(&theirs).ok_or(ConnectionEnd::NotAClient)?;
    let administers = owner && code == GreetingCode::Administer;
    let permit = if version == VERSION && !administers { admission.permit(owner) } else { None };
    // The entry is given up before the client reads the greeting, since from then on no newer connection may evict it.
    let grant = match permit {
        Some(permit) => {
            drop(entry);
            ConnectionGrant::Permitted(permit)
        }
        None => ConnectionGrant::Provisional(entry),
    };
    let is_provisional = matches!(grant, ConnectionGrant::Provisional(_));
    let answer = match admission.lifecycle.now() {
        Phase::Serving if version == VERSION && !administers && is_provisional => GreetingCode::Busy,
        Phase::Serving => GreetingCode::Ok,
        _ => GreetingCode::Stopping,
    };
    // This never waits, since the greeting is a few bytes and the buffer of the socket is empty.
    stream.write_all(&encode_greeting(VERSION, answer)).await?;
    match answer {
        _ if version != VERSION => Err(ConnectionEnd::Version(version)),
        GreetingCode::Busy => Err(ConnectionEnd::Full),
        _ => Ok(grant),
    }
}

async fn serve<A: Admin>(
    stream: &Async<UnixStream>,
    session: &Arc<ClientSession<A>>,
    admission: &ConnectionAdmission,
    grant: &ConnectionGrant,
    guards: &mut DrainGuards,
) -> Result<(), ConnectionEnd> {
    let mut writer = pin!(session.outbox.write_to(stream, admission.write_timeout).fuse());
    let is_provisional = matches!(grant, ConnectionGrant::Provisional(_));
    let mut timeout = if is_provisional { Timer::after(ADMINISTRATION_TIMEOUT) } else { Timer::never() };
    let is_owner = session.admin.may_administer(session.uid);
    let allowance = FrameAllowance::new(session.quotas.frames.clone(), is_owner);
    let mut frames = FrameReader::sharing(stream, allowance);
    let mut calls = RunningCalls::new(is_provisional);
    let mut phase = Phase::Serving;
    let mut frames_in_turn = 0;
    loop {
        futures::select_biased! {
            written = writer => return Ok(written?),
            // This branch stands before the calls, so that none of them fetches the messages that another connection
            // gives back when the daemon stops.
            next = admission.lifecycle.beyond(phase).fuse() => {
                phase = next;
                // The client that stopped the daemon waits for the end of its connection.
                timeout = Timer::never();
                calls.stop_all(session);
                drop(guards.calling.take());
                if phase >= Phase::Returning {
                    session.unconfirmed.return_all();
                    drop(guards.unconfirmed.take());
                }
                if phase == Phase::Closed {
                    session.outbox.close();
                    select(writer, Timer::after(FINAL_WRITE_TIMEOUT)).await;
                    return Ok(());
                }
            }
            _ = FutureExt::fuse(&mut timeout) => return Err(ConnectionEnd::AdministrationTimeout),
            id = calls.next_ended() => calls.remove(id),
            frame = frames.next().fuse() => match frame {
                Ok(bytes) => {
                    let frame: ClientFrame = codec::decode(bytes).map_err(|_| ConnectionEnd::Malformed)?;
                    if frame.tickets() > MAX_SENT {
                        return Err(ConnectionEnd::Malformed);
                    }
                    calls.handle(frame, bytes.len(), session, phase);
                    frames_in_turn = (frames_in_turn + 1) % FRAMES_PER_TURN;
                    if frames_in_turn == 0 {
                        yield_now().await;
                    }
                }
                Err(FrameError::Closed) => return Ok(()),
                Err(error) => return Err(error.into()),
            },
        }
    }
}

async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
