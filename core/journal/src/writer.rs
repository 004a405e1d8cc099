//! The thread of a journal: it waits for operations, gathers them, and has them carried out.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rouse_inbox::Notify;
use rouse_proto::types::Timestamp;

use crate::disk::Disk;
use crate::driver::{Driver, GROUP, Report};
use crate::engine::{CHECKPOINT, Engine};
use crate::error::JournalError;
use crate::limits::JournalLimits;
use crate::request::{QueuedRequest, RequestQueue, Urgency};
use crate::status::JournalStatus;
use crate::types::Moment;

/// The time that operations wait for company when none of them is urgent.
const GATHER: Duration = Duration::from_millis(20);

/// Starts the thread. Returns the place for the result of opening; that of closing is put into `closed`.
pub(crate) fn start(
    disk: Arc<dyn Disk>,
    limits: JournalLimits,
    (queue, status): (Arc<RequestQueue>, Arc<Notify<JournalStatus>>),
    closed: Report,
) -> Report {
    let opened = Report::default();
    let report = opened.clone();
    let started = thread::Builder::new().name("rouse-journal".to_owned()).spawn({
        let queue = queue.clone();
        move || {
            let clock = Clock { start: Instant::now() };
            let result = match Engine::open(disk, limits, status, clock.now()) {
                Ok(engine) => {
                    *report.write() = Some(Ok(()));
                    run(Driver::new(engine, queue.clone(), closed.clone()), &queue, clock)
                }
                Err(error) => {
                    *report.write() = Some(Err(error.clone()));
                    Err(error)
                }
            };
            queue.close();
            *closed.write() = Some(result);
        }
    });
    if let Err(error) = started {
        queue.close();
        *opened.write() = Some(Err(JournalError::Disk(format!("its thread cannot be started: {error}"))));
    }
    opened
}

struct Clock {
    start: Instant,
}

impl Clock {
    fn now(&self) -> Moment {
        Moment { running: self.start.elapsed(), wall: Timestamp::now() }
    }
}

/// Carries out operations until the queue is closed and empty.
fn run(mut driver: Driver, queue: &RequestQueue, clock: Clock) -> Result<(), JournalError> {
    let idle = driver.limits().idle;
    let mut group: Vec<QueuedRequest> = Vec::new();
    let mut gathering: Option<Instant> = None;
    let mut quiet = false;
    loop {
        let deadline = match gathering {
            Some(until) => Some(until),
            None => Some(Instant::now() + if quiet { CHECKPOINT } else { idle }),
        };
        match wait(queue.recv_batch(GROUP.saturating_sub(group.len())), deadline) {
            Some(Ok(more)) => {
                quiet = false;
                group.extend(more);
                let is_urgent = group.iter().any(|request| request.properties().urgency == Urgency::Now);
                if !is_urgent && group.len() < GROUP {
                    gathering.get_or_insert_with(|| Instant::now() + GATHER);
                    continue;
                }
            }
            Some(Err(_)) => {
                driver.carry_out(clock.now(), std::mem::take(&mut group));
                return driver.close();
            }
            None if group.is_empty() => {
                driver.idle(clock.now());
                quiet = !driver.is_full();
            }
            None => {}
        }
        gathering = None;
        driver.carry_out(clock.now(), std::mem::take(&mut group));
    }
}

/// The result of `future`, or `None` at the deadline. It blocks this thread.
fn wait<T>(future: impl Future<Output = T>, deadline: Option<Instant>) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        match deadline {
            None => thread::park(),
            Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => thread::park_timeout(left),
                _ => return None,
            },
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::wait;
    use rouse_inbox::{Full, Inbox};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[test]
    fn a_wait_ends_with_the_event_or_at_the_deadline() {
        let inbox = Arc::new(Inbox::new(1, Full::Wait));
        assert_eq!(
            wait(inbox.recv(), Some(Instant::now() + Duration::from_millis(1))),
            None::<Result<u8, _>>
        );
        let writer = std::thread::spawn({
            let inbox = inbox.clone();
            move || inbox.try_push(7).unwrap()
        });
        assert_eq!(wait(inbox.recv(), None), Some(Ok(7)));
        writer.join().unwrap();
    }
}
