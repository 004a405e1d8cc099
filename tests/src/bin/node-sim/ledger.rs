//! The account of all messages: what was accepted, what applications took, what was reported, and the rules that all of it
//! must keep.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use rouse_core::{Message, MessageId, SendError};

use crate::message::{Acceptance, Draft, Entry, Promise, Report, Taken, body, number, service_name};
use crate::plan::NodeId;
use crate::trace::Trace;

/// The two ends, the service, and whether the messages are durable: those are on the disk, and the others in memory, so that the
/// order holds among either.
type LaneKey = (NodeId, NodeId, usize, bool);

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
    lanes: BTreeMap<LaneKey, Lane>,
    /// The end of each run of a node that has ended.
    ends: BTreeMap<(NodeId, u64), Duration>,
    /// The nodes whose disk has failed.
    failed_disks: BTreeSet<NodeId>,
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
            ends: BTreeMap::new(),
            failed_disks: BTreeSet::new(),
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
            is_void: false,
            has_restarted: false,
        });
        (number, body(number, length))
    }

    pub(crate) fn accepted(&mut self, number: u64, id: MessageId) {
        self.note(format_args!("{number} is accepted as {id}"));
        if let Some(entry) = self.entry(number) {
            entry.acceptance = Acceptance::Accepted(id);
        }
        let Some(other) = self.by_id.insert(id, number) else { return };
        let Some(earlier) = self.entry(other) else { return };
        // A volatile message whose sequence was not reserved on the disk has not left, and is lost with its process.
        let never_left =
            earlier.draft.promise != Promise::Durable && earlier.has_restarted && earlier.taken.is_empty();
        earlier.is_void = true;
        if !never_left {
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
        let now = self.now;
        if let Some(entry) = self.entry(number) {
            entry.taken.push(Taken { at: now, run, is_given_back: false, acknowledged: None });
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
        if entry.is_void {
            return Err("its id was given to another message since".to_owned());
        }
        // A message that could not be stored is removed from the disk, unless the process ends before.
        if entry.acceptance == Acceptance::Refused && !entry.has_restarted {
            return Err("it was refused, and arrives nevertheless".to_owned());
        }
        if entry.report == Some(Report::Expired) {
            return Err("it was reported as expired before any of it had left, and arrives".to_owned());
        }
        let held = entry.taken.iter().rev().find(|taken| !taken.is_given_back).copied();
        if let Some(earlier) = held
            && (earlier.run == run
                // The sender repeats it when it has heard nothing of the run that took it.
                || (promise == Promise::Volatile && self.has_gone_on(node, earlier.run, earlier.at))
                || self.is_on_disk(node, earlier.run, earlier.acknowledged))
        {
            return Err(format!("it is taken twice: in runs {} and {run} of {node}", earlier.run));
        }
        let Some(entry) = self.entry(number) else { return Ok(()) };
        if entry.taken.is_empty() && now > entry.sent_at + life + LATE && promise != Promise::Durable {
            return Err(format!("its time to live ended {:?} ago", now - entry.sent_at - life));
        }
        if promise == Promise::Request {
            // Requests are served side by side.
            return Ok(());
        }
        let lane = self.lanes.entry((from, to, service, promise == Promise::Durable)).or_default();
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
        let Draft { from, to, service, promise, .. } = entry.draft;
        if let Some(lane) = self.lanes.get_mut(&(from, to, service, promise == Promise::Durable)) {
            lane.last = lane.before_last;
        }
    }

    /// The application has dealt with the message that it took last.
    pub(crate) fn acknowledge(&mut self, number: u64) {
        self.note(format_args!("{number} is acknowledged"));
        let now = self.now;
        if let Some(taken) = self.entry(number).and_then(|entry| entry.taken.last_mut()) {
            taken.acknowledged = Some(now);
        }
    }

    /// The disk of a node fails, so that it may take any time until an acknowledgement is on it.
    pub(crate) fn disk_fails(&mut self, node: NodeId) {
        self.failed_disks.insert(node);
    }

    /// Whether a run went on after this time, so that the sender has heard of it.
    fn has_gone_on(&self, node: NodeId, run: u64, at: Duration) -> bool {
        self.ends.get(&(node, run)).is_none_or(|ended| *ended > at + COMMITTED)
    }

    /// Whether an acknowledgement has reached the disk for certain.
    fn is_on_disk(&self, node: NodeId, run: u64, acknowledged: Option<Duration>) -> bool {
        let ended = self.ends.get(&(node, run));
        let in_time = ended.zip(acknowledged).is_some_and(|(ended, at)| *ended > at + COMMITTED);
        in_time && !self.failed_disks.contains(&node)
    }

    /// The sender learns the outcome of a message.
    pub(crate) fn reported(&mut self, number: u64, result: &Result<(), SendError>) {
        self.note(format_args!("the outcome of {number} is {result:?}"));
        let now = self.now;
        let Some(entry) = self.entry(number) else { return };
        let (is_taken, age, life) = (!entry.taken.is_empty(), now - entry.sent_at, entry.draft.life);
        let promise = entry.draft.promise;
        let report = match result {
            Ok(()) => Report::Delivered,
            Err(SendError::Expired(_)) => Report::Expired,
            Err(SendError::Unknown(_)) => Report::MayHaveArrived,
            Err(SendError::Cancelled(_)) => Report::Cancelled,
            Err(_) => return,
        };
        entry.report = Some(report);
        // A volatile message that has left is given up when its recipient has forgotten the conversation.
        let is_given_up = promise != Promise::Durable && report == Report::MayHaveArrived;
        let is_over = matches!(report, Report::Expired | Report::MayHaveArrived);
        let is_early = is_over && age + EARLY < life && !is_given_up;
        let is_cancelled = entry.is_cancelled;
        if report == Report::Delivered && !is_taken && promise != Promise::Durable {
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
    pub(crate) fn ended(&mut self, node: NodeId, run: u64) {
        self.ends.insert((node, run), self.now);
        // Volatile messages on their way to the process are lost with it.
        let is_volatile =
            |entry: &&mut Entry| entry.draft.to == node && entry.draft.promise != Promise::Durable;
        self.entries.iter_mut().filter(is_volatile).for_each(|entry| entry.has_restarted = true);
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
            let is_held = entry.taken.iter().any(|taken| taken.acknowledged.is_some());
            matches!(entry.acceptance, Acceptance::Accepted(_))
                && entry.draft.promise != Promise::Request
                && !is_lost_with_its_process
                && !is_held
                && !entry.is_cancelled
                && (entry.report.is_none() || entry.report == Some(Report::Delivered))
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
/// The time within which an acknowledgement is on the disk.
const COMMITTED: Duration = Duration::from_secs(1);
/// The time by which a message may be reported as expired too early: lives are counted in whole milliseconds.
const EARLY: Duration = Duration::from_millis(2);
