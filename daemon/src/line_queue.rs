//! A bounded queue of lines for standard output or standard error, written by a thread of its own.
//!
//! A pipe that is not read, or a terminal stopped with Ctrl-S, blocks the thread that writes to it. Tasks of the daemon
//! therefore only append to the queue, which never blocks: a line that does not fit is dropped and counted, and the
//! count is reported once the reader continues. `tracing-appender` is similar, but its guard prints to standard error
//! when its queue is full at the end of the process, which is exactly when that blocks for ever.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// The most bytes that wait in the queue, in addition to as many that the thread is writing.
const CAPACITY: usize = 128 << 10;

/// The most bytes of one system call, so that a slow reader shows progress between the calls.
const MAX_WRITE: usize = 4 << 10;

/// The longest time that the end of the process waits for a reader that makes no progress.
const STALL_TIMEOUT: Duration = Duration::from_millis(500);

/// The longest time that the end of the process waits in all.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The queue of lines to one stream. A clone is a cheap handle to the same queue.
#[derive(Clone, Debug)]
pub struct LineQueue {
    shared: Arc<QueueShared>,
}

/// The state that the handles and the writing thread share.
#[derive(Debug, Default)]
struct QueueShared {
    state: Mutex<QueueState>,
    /// Notified when lines are added and when bytes were written.
    changed: Condvar,
}

/// The lines that wait, and the counts of lines that were written or dropped.
#[derive(Debug, Default)]
struct QueueState {
    /// The lines that the thread has not taken yet.
    pending: Vec<u8>,
    /// The bytes that the thread has taken and not yet written.
    unwritten: usize,
    /// The bytes that were written or given up so far, by which [`LineQueue::flush`] recognises progress.
    settled: u64,
    /// The lines that were dropped since the thread last took the pending ones. While there are any, every further line
    /// is dropped too, so that the gap is at one place of the log and the report stands there.
    gap: u64,
    /// The lines that were dropped in all.
    dropped: u64,
}

impl LineQueue {
    /// Starts the thread that writes to `stream`. After lines were dropped, the thread calls `report` with their
    /// number, which may add a line in their place.
    ///
    /// # Errors
    /// When the system refuses to start a thread.
    pub fn to<S: AsFd + Send + 'static>(stream: S, report: fn(u64)) -> io::Result<Self> {
        let shared = Arc::<QueueShared>::default();
        let theirs = shared.clone();
        thread::Builder::new().name("lines".to_owned()).spawn(move || theirs.write_to(&stream, report))?;
        Ok(LineQueue { shared })
    }

    /// Adds one line, its end included, or drops it. It never blocks.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.shared.lock();
        if state.gap == 0 && state.pending.len().saturating_add(line.len()) <= CAPACITY {
            state.pending.extend_from_slice(line);
        } else {
            state.gap += 1;
            state.dropped += 1;
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// The number of lines that were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }

    /// Waits until all lines are written, as long as the reader makes progress, and two seconds at most.
    pub fn flush(&self) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let mut state = self.shared.lock();
        let (mut settled, mut stalled_at) = (state.settled, Instant::now() + STALL_TIMEOUT);
        while !state.is_settled() {
            let now = Instant::now();
            if state.settled != settled {
                (settled, stalled_at) = (state.settled, now + STALL_TIMEOUT);
            }
            let rest = deadline.min(stalled_at).saturating_duration_since(now);
            if rest.is_zero() {
                return;
            }
            let waited = self.shared.changed.wait_timeout(state, rest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Each call of a formatter writes one line, or several that belong together.
impl Write for LineQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl QueueState {
    fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.gap == 0 && self.unwritten == 0
    }
}

impl QueueShared {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the lines of the queue until the process ends.
    fn write_to(&self, stream: &impl AsFd, report: fn(u64)) {
        let (mut batch, mut missing, mut works) = (Vec::new(), 0, true);
        loop {
            missing += self.take(&mut batch);
            // A report is a line too: while no line can be written, each report would cause the next one for ever.
            if missing > 0 && works {
                report(std::mem::take(&mut missing));
            }
            let lost = self.write_batch(stream, &batch);
            works = lost == 0;
            missing += lost;
        }
    }

    /// Waits for lines and moves all of them to `batch`. Returns the number of lines that were dropped after them.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        batch.clear();
        let mut state = self.lock();
        while state.pending.is_empty() && state.gap == 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.pending, batch);
        state.unwritten = batch.len();
        std::mem::take(&mut state.gap)
    }

    /// Writes a batch. Returns the number of its lines that were lost because the stream is closed or its device is
    /// full.
    fn write_batch(&self, stream: &impl AsFd, batch: &[u8]) -> u64 {
        let mut rest = batch;
        while !rest.is_empty() {
            let piece = rest.get(..MAX_WRITE).unwrap_or(rest);
            match rustix::io::write(stream, piece) {
                Ok(written) if written > 0 => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.settle(written, 0);
                }
                Err(Errno::INTR) => {}
                // Another process that shares the stream made it non-blocking.
                Err(Errno::AGAIN) if poll(&mut [PollFd::new(stream, PollFlags::OUT)], None).is_ok() => {}
                Ok(_) | Err(_) => {
                    let lost = rest.iter().filter(|byte| **byte == b'\n').count() as u64;
                    self.settle(rest.len(), lost);
                    return lost;
                }
            }
        }
        0
    }

    fn settle(&self, bytes: usize, lost: u64) {
        let mut state = self.lock();
        state.unwritten = state.unwritten.saturating_sub(bytes);
        state.settled += bytes as u64;
        state.dropped += lost;
        drop(state);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, PipeReader};
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Adds the lines `from..`, of 1 KiB each, until one of them is dropped. Returns the number of lines before it.
    fn fill(lines: &LineQueue, from: u64) -> u64 {
        let before = lines.dropped();
        (from..)
            .find(|n| {
                lines.push(format!("{n:01023}\n").as_bytes());
                lines.dropped() > before
            })
            .expect("it is bounded")
    }

    fn until_written(lines: &LineQueue) {
        let mut state = lines.shared.lock();
        while !state.is_settled() {
            state = lines.shared.changed.wait(state).unwrap();
        }
    }

    fn numbers(reader: PipeReader) -> Receiver<u64> {
        let (sender, receiver): (Sender<u64>, _) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(reader).lines().map_while(Result::ok);
            lines.map_while(|line| line.parse().ok()).map_while(|n| sender.send(n).ok()).for_each(drop);
        });
        receiver
    }

    #[test]
    fn lines_that_are_not_read_are_dropped_and_the_others_are_written_whole_and_in_order() {
        let (reader, writer) = io::pipe().unwrap();
        let lines = LineQueue::to(writer, drop).unwrap();
        let before_the_gap = fill(&lines, 0);
        // The queue, the batch of the thread and the pipe hold these lines; no more are ever held.
        assert!(before_the_gap < 3 * CAPACITY as u64 / 1024);
        let read = numbers(reader);
        until_written(&lines);
        lines.push(b"1000000\n");
        let all: Vec<u64> = read.iter().take_while(|n| *n != 1_000_000).collect();
        assert_eq!(all, (0..before_the_gap).collect::<Vec<u64>>());
    }

    #[test]
    fn the_number_of_dropped_lines_is_reported_in_their_place() {
        static LINES: Mutex<Option<LineQueue>> = Mutex::new(None);
        fn report(missing: u64) {
            let lines = LINES.lock().unwrap().clone().expect("it was set before the first line");
            lines.push(format!("{}\n", 2_000_000 + missing).as_bytes());
        }
        let (reader, writer) = io::pipe().unwrap();
        let lines = LineQueue::to(writer, report).unwrap();
        *LINES.lock().unwrap() = Some(lines.clone());
        let before_the_gap = fill(&lines, 0);
        lines.push(b"never\n");
        assert_eq!(lines.dropped(), 2);
        let read = numbers(reader);
        until_written(&lines);
        lines.push(b"1000000\n");
        let all: Vec<u64> = read.iter().take_while(|n| *n != 1_000_000).collect();
        assert_eq!(all.last(), Some(&2_000_002));
        assert_eq!(all.len() as u64, before_the_gap + 1);
    }

    #[test]
    fn a_flush_does_not_wait_for_a_reader_that_makes_no_progress() {
        let (reader, writer) = io::pipe().unwrap();
        let lines = LineQueue::to(writer, drop).unwrap();
        fill(&lines, 0);
        lines.flush();
        drop(reader);
    }

    #[test]
    fn lines_that_a_closed_stream_loses_are_counted_and_not_reported_to_it() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let lines = LineQueue::to(writer, |_| panic!("it would be lost too")).unwrap();
        lines.push(b"one\n");
        until_written(&lines);
        lines.push(b"two\n");
        until_written(&lines);
        assert_eq!(lines.dropped(), 2);
    }
}
