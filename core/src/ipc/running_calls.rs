//! The calls under way on one connection of the daemon.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::{FuturesUnordered, SelectNextSome, StreamExt};

use crate::ipc::admin::{Admin, AdminError, Denial};
use crate::ipc::credit::Credit;
use crate::ipc::lifecycle::Phase;
use crate::ipc::protocol::{Call, ClientFrame, DaemonFrame, FREE_CALLS, Failure, MAX_CALL_BYTES, MAX_CALLS};
use crate::ipc::quotas::ReservedQuotaPermit;
use crate::ipc::session::ClientSession;

/// The calls under way, by number. Their count and their bytes are bounded.
#[derive(Default)]
pub(super) struct RunningCalls {
    /// Whether the connection has no permit, and only calls that administer are accepted.
    administers: bool,
    /// A cancelled call stays here until it is polled once more, and is bounded as well until then.
    futures: FuturesUnordered<AnswerFuture>,
    calls: HashMap<u64, RunningCall>,
    bytes: usize,
}

/// The future that answers a call. Its output is the number of the call, whether it was answered or aborted.
pub(super) struct AnswerFuture {
    id: u64,
    future: Abortable<BoxFuture<'static, ()>>,
}

impl Future for AnswerFuture {
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
    /// The permit for a call beyond the [`FREE_CALLS`] of the connection.
    _permit: Option<ReservedQuotaPermit>,
}

impl RunningCalls {
    pub(super) fn new(administers: bool) -> Self {
        RunningCalls { administers, ..RunningCalls::default() }
    }

    /// Applies a frame of the client, which has `bytes` bytes.
    pub(super) fn handle<A: Admin>(
        &mut self,
        frame: ClientFrame,
        bytes: usize,
        session: &Arc<ClientSession<A>>,
        phase: Phase,
    ) {
        match frame {
            ClientFrame::Call { id, .. } if phase != Phase::Serving => fail(session, id, Failure::Stopped),
            ClientFrame::Call { id, call } => self.begin(id, call, bytes, session),
            ClientFrame::Cancel { id } => {
                if let Some(call) = self.take(id) {
                    call.abort.abort();
                }
            }
            ClientFrame::Credit { id, items } => {
                if let Some(call) = self.calls.get(&id) {
                    call.credit.add(items);
                }
            }
            ClientFrame::Confirm { tickets } => session.unconfirmed.confirm(&tickets),
            ClientFrame::Return { tickets } => session.unconfirmed.give_back(tickets, |_| true),
            ClientFrame::Release { tickets } => session.unconfirmed.give_back(tickets, |_| false),
            ClientFrame::Forget { tickets } => session.forget(&tickets),
        }
    }

    fn begin<A: Admin>(&mut self, id: u64, call: Call, bytes: usize, session: &Arc<ClientSession<A>>) {
        let too_long = self.bytes > 0 && self.bytes.saturating_add(bytes) > MAX_CALL_BYTES;
        if self.futures.len() >= 2 * MAX_CALLS
            || self.calls.len() >= MAX_CALLS
            || too_long
            || self.calls.contains_key(&id)
        {
            return fail(session, id, Failure::Busy);
        }
        if self.administers && !call.administers() {
            let text = "the daemon has as many connections as it takes";
            let hint = "close one; `rouse status` and `rouse stop` still work";
            return fail(session, id, Failure::Admin(AdminError::new(Denial::Full, text, hint)));
        }
        let permit = if self.futures.len() < FREE_CALLS {
            None
        } else {
            session.quotas.call(session.admin.may_administer(session.uid))
        };
        if permit.is_none() && self.futures.len() >= FREE_CALLS {
            return fail(session, id, Failure::Busy);
        }
        let (abort, registration) = AbortHandle::new_pair();
        let credit = Arc::new(Credit::default());
        self.calls.insert(id, RunningCall { bytes, abort, credit: credit.clone(), _permit: permit });
        self.bytes += bytes;
        let answer = session.clone().answer(id, call, credit);
        self.futures.push(AnswerFuture { id, future: Abortable::new(answer, registration) });
    }

    /// Runs the calls, and waits until one of them has ended. Returns its number, for [`RunningCalls::remove`].
    pub(super) fn next_ended(&mut self) -> SelectNextSome<'_, FuturesUnordered<AnswerFuture>> {
        self.futures.select_next_some()
    }

    /// Removes a call that has ended. One that was cancelled has been removed before.
    pub(super) fn remove(&mut self, id: u64) {
        self.take(id);
    }

    fn take(&mut self, id: u64) -> Option<RunningCall> {
        let call = self.calls.remove(&id)?;
        self.bytes -= call.bytes;
        Some(call)
    }

    /// Ends all calls: each fails with [`Failure::Stopped`].
    pub(super) fn stop_all<A: Admin>(&mut self, session: &ClientSession<A>) {
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
    // An error means that the connection is closing, so that no task waits for the frame.
    let _ = session.outbox.push(&DaemonFrame::Failed { id, failure });
}
