//! The test bench: two conversations, and a simulated line between them. Their sessions are simulated by a handshake
//! that takes one round trip, and is repeated when the line loses it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::super::*;
use crate::stats::DropCause;
use crate::wire::session::ProvedStanding;

pub(super) const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The time after which a lost handshake is repeated.
const HANDSHAKE_REPETITION: Duration = Duration::from_millis(250);

/// The impairments of the line. Shares are in thousandths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub delay: Duration,
    pub jitter: Duration,
    pub loss: [u32; 2],
    pub duplicate: u32,
    /// The rate in bytes per second, and the longest wait of a packet for its transmission before it is dropped.
    pub rate: Option<(u64, Duration)>,
    pub mtu: usize,
    /// The length beyond which packets vanish without an error.
    pub bears: usize,
}

pub(super) const CLEAN: Line = Line {
    delay: Duration::from_millis(5),
    jitter: Duration::ZERO,
    loss: [0, 0],
    duplicate: 0,
    rate: None,
    mtu: 1200,
    bears: usize::MAX,
};

/// One end of the line: a conversation, and the application that uses it.
pub(super) struct Side {
    pub conversation: Conversation,
    pub reads: bool,
    pub inbox: Vec<Message>,
    pub events: Vec<ConversationEvent>,
    pub packets: u64,
    pub bytes: u64,
    /// The sessions whose packets this side opens, the present one last.
    pub sessions: Vec<ProvedStanding>,
    busy_until: Time,
}

/// A packet in transit: the time of its arrival, its order of sending, the receiving side, the number of the session that
/// it is sealed in, and its contents.
type Flying = (Time, u64, usize, u64, Vec<u8>);

pub(super) struct Pair {
    pub now: Time,
    pub line: Line,
    pub sides: [Side; 2],
    pub refused: Vec<DropCause>,
    flying: BinaryHeap<Reverse<Flying>>,
    order: u64,
    /// The number of sessions so far, and the time at which the handshake of the next one ends.
    sessions: u64,
    handshake: Option<Time>,
    pub rng: ChaCha8Rng,
}

pub(super) fn address(side: usize) -> Address {
    Address::from_bytes([side as u8 + 1; 32])
}

fn side(config: ConversationConfig, number: usize, incarnation: u64) -> Side {
    let mut conversation = Conversation::new(config, address(number), address(1 - number), incarnation);
    conversation.set_reachable(Time::ZERO, true);
    Side {
        conversation,
        reads: true,
        inbox: Vec::new(),
        events: Vec::new(),
        packets: 0,
        bytes: 0,
        sessions: Vec::new(),
        busy_until: Time::ZERO,
    }
}

impl Pair {
    pub(super) fn new(seed: u64, line: Line) -> Self {
        Self::with(seed, line, ConversationConfig::default())
    }

    pub(super) fn with(seed: u64, line: Line, config: ConversationConfig) -> Self {
        let mut pair = Pair {
            now: Time::from_millis(1),
            line,
            sides: [side(config, 0, 100), side(config, 1, 200)],
            refused: Vec::new(),
            flying: BinaryHeap::new(),
            order: 0,
            sessions: 0,
            handshake: None,
            rng: ChaCha8Rng::seed_from_u64(seed),
        };
        pair.meet();
        pair
    }

    /// Ends a handshake: there is a session, which shows each side the standing of the other.
    pub(super) fn meet(&mut self) {
        self.handshake = None;
        self.sessions += 1;
        let standings = [0, 1].map(|side| self.sides[side].conversation.standing());
        for number in 0..2 {
            let proved = ProvedStanding {
                session: self.sessions,
                incarnation: standings[number].incarnation,
                peer: standings[1 - number],
            };
            self.sides[number].sessions.push(proved);
            self.sides[number].conversation.on_session(self.now, &proved);
        }
    }

    /// As [`Self::meet`], with the next session after this number.
    pub(super) fn meet_from(&mut self, number: u64) {
        self.sessions = self.sessions.max(number);
        self.meet();
    }

    /// Begins a handshake if a conversation requests one.
    fn request_session(&mut self) {
        for side in &mut self.sides {
            if side.conversation.session_need().is_some() && self.handshake.is_none() {
                self.handshake = Some(self.now + self.line.delay * 2);
            }
        }
    }

    /// The present session of a side.
    pub(super) fn session(&self, side: usize) -> ProvedStanding {
        *self.sides[side].sessions.last().expect("there was a handshake")
    }

    /// Restarts a side, so that its conversation and its sessions are lost. Messages in its inbox stay.
    pub(super) fn restart(&mut self, number: usize, incarnation: u64) {
        self.restart_with(ConversationConfig::default(), number, incarnation);
    }

    /// As [`Self::restart`], with other bounds.
    pub(super) fn restart_with(&mut self, config: ConversationConfig, number: usize, incarnation: u64) {
        let mut fresh = side(config, number, incarnation);
        let old = &mut self.sides[number];
        fresh.inbox = std::mem::take(&mut old.inbox);
        fresh.events = std::mem::take(&mut old.events);
        fresh.busy_until = old.busy_until;
        *old = fresh;
    }

    pub(super) fn send(&mut self, from: usize, body: impl Into<Bytes>) -> MessageId {
        self.send_ttl(from, body, DAY)
    }

    pub(super) fn send_ttl(&mut self, from: usize, body: impl Into<Bytes>, ttl: Duration) -> MessageId {
        let at = Timestamp(self.now.as_micros() / 1000);
        self.sides[from].conversation.send(self.now, at, ttl, body.into()).expect("room in the queue")
    }

    pub(super) fn body(&mut self, length: usize) -> Bytes {
        let mut body = vec![0; length];
        self.rng.fill_bytes(&mut body);
        body.into()
    }

    fn chance(&mut self, share: u32) -> bool {
        self.rng.next_u32() % 1000 < share
    }

    fn put_on_line(&mut self, from: usize, packet: Vec<u8>) {
        let session = self.session(from).session;
        let side = &mut self.sides[from];
        side.packets += 1;
        side.bytes += packet.len() as u64;
        let mut leaves = self.now;
        if let Some((rate, patience)) = self.line.rate {
            let start = side.busy_until.max(self.now);
            if start.since(self.now) > patience {
                return;
            }
            leaves = start + Duration::from_nanos(packet.len() as u64 * 1_000_000_000 / rate);
            side.busy_until = leaves;
        }
        if self.chance(self.line.loss[from]) || packet.len() > self.line.bears {
            return;
        }
        let copies = 1 + usize::from(self.chance(self.line.duplicate));
        for _ in 0..copies {
            let jitter = self.line.jitter.as_nanos() as u64;
            let extra = if jitter == 0 { 0 } else { self.rng.next_u64() % jitter };
            let at = leaves + self.line.delay + Duration::from_nanos(extra);
            self.order += 1;
            self.flying.push(Reverse((at, self.order, 1 - from, session, packet.clone())));
        }
    }

    /// Lets both sides send all that is due at this moment.
    pub(super) fn settle(&mut self) {
        self.request_session();
        for number in 0..2 {
            loop {
                let side = &mut self.sides[number];
                while side.reads
                    && let Some(message) = side.conversation.next_message(Timestamp(0))
                {
                    side.conversation.on_taken(self.now, &message.id, &message.id);
                    side.inbox.push(message);
                }
                side.events.extend(std::iter::from_fn(|| side.conversation.poll_event()));
                let mut packet = Vec::new();
                if !side.conversation.poll_transmit(self.now, self.line.mtu, &mut packet) {
                    break;
                }
                assert!(packet.len() <= self.line.mtu);
                self.put_on_line(number, packet);
            }
        }
    }

    /// Advances to the next event; returns false if there is none.
    pub(super) fn step(&mut self) -> bool {
        self.step_before(Time::from_nanos(u64::MAX))
    }

    /// As [`Self::step`], but not beyond `end`.
    fn step_before(&mut self, end: Time) -> bool {
        self.settle();
        let arrival = self.flying.peek().map(|Reverse(first)| first.0);
        let deadlines = self.sides.iter().filter_map(|side| side.conversation.next_deadline());
        let Some(next) = deadlines.chain(arrival).chain(self.handshake).min() else { return false };
        self.now = self.now.max(next.min(end));
        while self.flying.peek().is_some_and(|Reverse(first)| first.0 <= self.now) {
            let Some(Reverse((_, _, to, session, packet))) = self.flying.pop() else { break };
            let side = &mut self.sides[to];
            let proved = side.sessions.iter().find(|proved| proved.session == session);
            let handled = match proved {
                Some(proved) => side.conversation.handle(self.now, proved, &packet.into()),
                None => Err(DropCause::UnknownSession),
            };
            self.refused.extend(handled.err());
        }
        if self.handshake.is_some_and(|end| end <= self.now) {
            let is_lost = self.chance(self.line.loss[0]) || self.chance(self.line.loss[1]);
            self.handshake = Some(self.now + HANDSHAKE_REPETITION);
            if !is_lost {
                self.meet();
            }
        }
        for side in &mut self.sides {
            if side.conversation.next_deadline().is_some_and(|at| at <= self.now) {
                side.conversation.handle_timeout(self.now);
            }
        }
        true
    }

    /// Runs until `done` returns true, for at most `limit`. Returns whether it did.
    pub(super) fn run(&mut self, limit: Duration, mut done: impl FnMut(&Pair) -> bool) -> bool {
        let end = self.now + limit;
        let (mut steps_here, mut here) = (0, self.now);
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            if self.now >= end || !self.step_before(end) {
                self.now = self.now.max(end);
                self.settle();
                return done(self);
            }
            steps_here = if self.now == here { steps_here + 1 } else { 0 };
            here = self.now;
            assert!(steps_here < 10_000, "a deadline that does not move: {:?}", self.sides[0].conversation);
        }
    }

    /// Runs until no event is left.
    pub(super) fn run_out(&mut self, limit: Duration) {
        let end = self.now + limit;
        while self.step() {
            assert!(self.now < end, "still busy after {limit:?}");
        }
    }

    pub(super) fn bodies(&self, side: usize) -> Vec<Bytes> {
        self.sides[side].inbox.iter().map(|message| message.body.0.clone()).collect()
    }

    pub(super) fn delivered(&self, side: usize) -> Vec<MessageId> {
        let events = self.sides[side].events.iter();
        events
            .filter_map(|event| match event {
                ConversationEvent::Delivered { id, .. } => Some(*id),
                _ => None,
            })
            .collect()
    }

    pub(super) fn expired(&self, side: usize) -> Vec<MessageId> {
        let events = self.sides[side].events.iter();
        events
            .filter_map(|event| match event {
                ConversationEvent::Expired { id, .. } => Some(*id),
                _ => None,
            })
            .collect()
    }
}
