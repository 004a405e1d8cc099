//! The account of all messages: what was accepted, what applications took, what was reported, and the rules that all of it
//! must keep.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rouse_core::{Message, MessageId, SendError};

use crate::plan::NodeId;
use crate::trace::Trace;

/// The bytes at the beginning of a body that name the message.
const NUMBER: usize = 8;

/// The promise with which a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    Durable,
    Volatile,
    /// A request, which is volatile too.
    Request,
}

/// The answer of the call that sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acceptance {
    Sending,
    Accepted(MessageId),
    Refused,
    /// The process ended during the call.
    Unknown,
}

/// The last report about a message that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    Delivered,
    /// Its time to live ran out before any of it had left.
    Expired,
    /// Its time to live ran out, and it may have arrived.
    MayHaveArrived,
    Cancelled,
}

/// A message that an application has taken.
#[derive(Clone, Copy, Debug)]
struct Taken {
    /// The run of the recipient.
    run: u64,
    is_given_back: bool,
}

/// A message to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) service: usize,
    pub(crate) promise: Promise,
    pub(crate) life: Duration,
    pub(crate) length: usize,
}

struct Entry {
    draft: Draft,
    sent_at: Duration,
    acceptance: Acceptance,
    report: Option<Report>,
    is_cancelled: bool,
    taken: Vec<Taken>,
    /// Whether the sending process ended after the message was accepted.
    has_restarted: bool,
}

/// The last message that was taken of one sender and service.
#[derive(Clone, Copy, Default)]
struct Lane {
    run: u64,
    last: Option<u64>,
    before_last: Option<u64>,
}

/// All messages of a run.
pub(crate) struct Ledger {
    pub(crate) now: Duration,
    pub(crate) trace: Trace,
    entries: Vec<Entry>,
    by_id: BTreeMap<MessageId, u64>,
    lanes: BTreeMap<(NodeId, NodeId, usize), Lane>,
    /// The first rule that was broken.
    pub(crate) violation: Option<String>,
}

/// The counts of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) expired: u64,
    pub(crate) refused: u64,
}

impl Ledger {
    pub(crate) fn new(trace: Trace) -> Self {
        Ledger {
            now: Duration::ZERO,
            trace,
            entries: Vec::new(),
            by_id: BTreeMap::new(),
            lanes: BTreeMap::new(),
            violation: None,
        }
    }

    pub(crate) fn note(&mut self, text: fmt::Arguments<'_>) {
        self.trace.note(self.now, text);
    }

    /// Records the frames that a node sends.
    pub(crate) fn frames(&mut self, endpoint: &[u8], frames: &[u8]) {
        self.trace.mix(u64::try_from(self.now.as_nanos()).unwrap_or(u64::MAX));
        self.trace.add(endpoint);
        self.trace.add(frames);
    }

    /// Records that a rule was broken. The first one counts.
    pub(crate) fn violate(&mut self, text: String) {
        self.note(format_args!("VIOLATED: {text}"));
        self.violation.get_or_insert(text);
    }

    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(number).ok()?)
    }

    /// Begins to send a message. Returns its number and its body.
    pub(crate) fn begin(&mut self, draft: Draft) -> (u64, Vec<u8>) {
        let number = self.entries.len() as u64;
        let Draft { from, to, service, promise, life, length } = draft;
        self.note(format_args!(
            "node {from} sends {number} to {to}.{service}: {promise:?}, {length} B, life {life:?}"
        ));
        self.entries.push(Entry {
            draft,
            sent_at: self.now,
            acceptance: Acceptance::Sending,
            report: None,
            is_cancelled: false,
            taken: Vec::new(),
            has_restarted: false,
        });
        (number, body(number, length))
    }

    pub(crate) fn accepted(&mut self, number: u64, id: MessageId) {
        self.note(format_args!("{number} is accepted as {id}"));
        if let Some(entry) = self.entry(number) {
            entry.acceptance = Acceptance::Accepted(id);
        }
        if let Some(other) = self.by_id.insert(id, number) {
            self.violate(format!("messages {other} and {number} have the same id {id}"));
        }
    }

    pub(crate) fn refused(&mut self, number: u64, error: &dyn fmt::Display) {
        self.note(format_args!("{number} is refused: {error}"));
        if let Some(entry) = self.entry(number) {
            entry.acceptance = Acceptance::Refused;
        }
    }

    /// An application of `node` takes a message.
    pub(crate) fn take(&mut self, node: NodeId, run: u64, message: &Message) -> Option<u64> {
        let Some(number) = number(&message.body).filter(|number| *number < self.entries.len() as u64) else {
            self.violate(format!("node {node} takes a message that was never sent: {}", message.id));
            return None;
        };
        self.note(format_args!("node {node} takes {number} in run {run}"));
        if let Err(text) = self.check_taken(node, run, number, message) {
            self.violate(format!("message {number}: {text}"));
        }
        if let Some(entry) = self.entry(number) {
            entry.taken.push(Taken { run, is_given_back: false });
        }
        Some(number)
    }

    fn check_taken(&mut self, node: NodeId, run: u64, number: u64, message: &Message) -> Result<(), String> {
        let now = self.now;
        let entry = self.entry(number).ok_or("it was never sent")?;
        let Draft { from, to, service, promise, length, life } = entry.draft;
        if to != node || message.service.as_str() != service_name(service) {
            return Err(format!("it was for {to}.{service}, and {node}.{} takes it", message.service));
        }
        if message.body[..] != body(number, length)[..] {
            return Err("its body was changed".to_owned());
        }
        if entry.acceptance == Acceptance::Refused {
            return Err("it was refused, and arrives nevertheless".to_owned());
        }
        if entry.report == Some(Report::Expired) {
            return Err("it was reported as expired before any of it had left, and arrives".to_owned());
        }
        let held = entry.taken.iter().rev().find(|taken| !taken.is_given_back);
        if let Some(earlier) = held {
            // Until received messages are durable, one that was taken just before a crash has no receipt yet.
            if earlier.run == run {
                return Err(format!("it is taken twice: in runs {} and {run} of {node}", earlier.run));
            }
        }
        if entry.taken.is_empty() && now > entry.sent_at + life + LATE && promise != Promise::Durable {
            return Err(format!("its time to live ended {:?} ago", now - entry.sent_at - life));
        }
        if promise == Promise::Request {
            // Requests are served side by side.
            return Ok(());
        }
        let lane = self.lanes.entry((from, to, service)).or_default();
        if lane.run != run {
            *lane = Lane { run, ..Lane::default() };
        }
        if lane.last.is_some_and(|last| last >= number) {
            return Err(format!("it is taken after {:?}: out of order", lane.last));
        }
        (lane.before_last, lane.last) = (lane.last, Some(number));
        Ok(())
    }

    /// The application gives a message back that it took last.
    pub(crate) fn give_back(&mut self, number: u64) {
        self.note(format_args!("{number} is given back"));
        let Some(entry) = self.entry(number) else { return };
        if let Some(taken) = entry.taken.last_mut() {
            taken.is_given_back = true;
        }
        let Draft { from, to, service, .. } = entry.draft;
        if let Some(lane) = self.lanes.get_mut(&(from, to, service)) {
            lane.last = lane.before_last;
        }
    }

    /// The sender learns the outcome of a message.
    pub(crate) fn reported(&mut self, number: u64, result: &Result<(), SendError>) {
        self.note(format_args!("the outcome of {number} is {result:?}"));
        let now = self.now;
        let Some(entry) = self.entry(number) else { return };
        let (is_taken, age, life) = (!entry.taken.is_empty(), now - entry.sent_at, entry.draft.life);
        let report = match result {
            Ok(()) => Report::Delivered,
            Err(SendError::Expired(_)) => Report::Expired,
            Err(SendError::Unknown(_)) => Report::MayHaveArrived,
            Err(SendError::Cancelled(_)) => Report::Cancelled,
            Err(_) => return,
        };
        entry.report = Some(report);
        let is_early = matches!(report, Report::Expired | Report::MayHaveArrived) && age + EARLY < life;
        let is_cancelled = entry.is_cancelled;
        if report == Report::Delivered && !is_taken {
            self.violate(format!("message {number} has a receipt, and no application took it"));
        } else if report == Report::Expired && is_taken {
            self.violate(format!("message {number} expired before any of it had left, and was taken"));
        } else if is_early {
            self.violate(format!("message {number} expired after {age:?}, its time to live is {life:?}"));
        } else if report == Report::Cancelled && !is_cancelled {
            self.violate(format!("message {number} is reported as cancelled, and was not"));
        }
    }

    /// The node reports that a message of its journal has expired.
    pub(crate) fn expired(&mut self, id: &MessageId) {
        if let Some(number) = self.by_id.get(id).copied() {
            self.note(format_args!("the node reports that {number} has expired"));
            if let Some(entry) = self.entry(number) {
                entry.report.get_or_insert(Report::MayHaveArrived);
            }
        }
    }

    /// A message of `node` that is accepted and may still wait, for its cancellation.
    pub(crate) fn waiting_of(&self, node: NodeId, pick: usize) -> Option<(u64, MessageId)> {
        let mut waiting = (0..).zip(&self.entries).filter_map(|(number, entry)| match entry.acceptance {
            Acceptance::Accepted(id)
                if entry.draft.from == node
                    && entry.draft.promise == Promise::Durable
                    && entry.report.is_none() =>
            {
                Some((number, id))
            }
            _ => None,
        });
        let count = waiting.clone().count();
        waiting.nth(pick.checked_rem(count)?)
    }

    pub(crate) fn cancel(&mut self, number: u64) {
        self.note(format_args!("{number} is to be cancelled"));
        if let Some(entry) = self.entry(number) {
            entry.is_cancelled = true;
        }
    }

    /// A process has ended.
    pub(crate) fn ended(&mut self, node: NodeId) {
        for entry in self.entries.iter_mut().filter(|entry| entry.draft.from == node) {
            if entry.acceptance == Acceptance::Sending {
                entry.acceptance = Acceptance::Unknown;
            }
            entry.has_restarted = true;
        }
    }

    /// The messages that must still arrive: accepted, durable, not taken, and neither expired nor cancelled.
    pub(crate) fn unfinished(&self) -> Vec<u64> {
        let now = self.now;
        let is_open = |entry: &Entry| {
            let is_lost_with_its_process = entry.draft.promise != Promise::Durable && entry.has_restarted;
            // One that was given back may have its receipt already, and is lost with the process of its application.
            let is_held = !entry.taken.is_empty();
            matches!(entry.acceptance, Acceptance::Accepted(_))
                && entry.draft.promise != Promise::Request
                && !is_lost_with_its_process
                && !is_held
                && !entry.is_cancelled
                // A message that was taken has its receipt, and is the business of its application from then on.
                && entry.report.is_none()
                && now < entry.sent_at + entry.draft.life
        };
        (0..).zip(&self.entries).filter(|(_, entry)| is_open(entry)).map(|(number, _)| number).collect()
    }

    /// A message in words, for a report.
    pub(crate) fn describe(&self, number: u64) -> String {
        let Some(entry) = usize::try_from(number).ok().and_then(|number| self.entries.get(number)) else {
            return format!("message {number}");
        };
        let Entry { draft, sent_at, acceptance, report, taken, has_restarted, .. } = entry;
        format!(
            "message {number} ({draft:?}, sent at {sent_at:?}, {acceptance:?}, report {report:?}, taken {taken:?}, \
             sender restarted: {has_restarted})"
        )
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for entry in &self.entries {
            match entry.acceptance {
                Acceptance::Accepted(_) => counts.accepted += 1,
                Acceptance::Refused => counts.refused += 1,
                Acceptance::Sending | Acceptance::Unknown => {}
            }
            counts.delivered += u64::from(!entry.taken.is_empty());
            counts.expired +=
                u64::from(matches!(entry.report, Some(Report::Expired | Report::MayHaveArrived)));
        }
        counts
    }
}

/// The time by which a volatile message may be taken after its time to live has ended: it waits in a mailbox until an
/// application comes, which counts as delivered.
const LATE: Duration = Duration::from_secs(3600);
/// The time by which a message may be reported as expired too early: lives are counted in whole milliseconds.
const EARLY: Duration = Duration::from_millis(2);

/// The name of a service.
pub(crate) fn service_name(service: usize) -> &'static str {
    ["", "one", "two", "echo"][service]
}

/// The number of the service that answers requests.
pub(crate) const ECHO: usize = 3;

fn body(number: u64, length: usize) -> Vec<u8> {
    let filler =
        (NUMBER..length.max(NUMBER)).map(|at| (number as usize).wrapping_mul(31).wrapping_add(at * 7) as u8);
    number.to_le_bytes().into_iter().chain(filler).collect()
}

/// The number of a message with this body.
pub(crate) fn number(body: &[u8]) -> Option<u64> {
    body.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
