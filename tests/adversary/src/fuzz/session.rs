//! The target `session`: the two ends of a conversation, and an attacker that controls all relays between them.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use crate::fuzz::script::{Script, damaged};
use rouse_proto::address::Address;
use rouse_proto::identity::Identity;
use rouse_proto::link::Suite;
use rouse_proto::session::{PreviousHop, SessionInput, SessionOutput, Sessions, Standing};
use rouse_proto::stats::DropCause;
use rouse_proto::time::Time;
use rouse_proto::types::Ends;
use rouse_proto::wire::session::{PART_HEADER_LEN, PART_LEN, PAYLOAD_PART, PAYLOAD_SESSION};

/// The payloads that a script can replay: so many, the latest ones.
const MEMORY: usize = 64;
/// The first byte of contents of the layer above.
const CONTENT: u8 = 1;

/// Flag in the first byte of a script: at the end an honest exchange must succeed.
pub(crate) const AFTERWARDS: u8 = 1;

/// Step of a script: a payload of any bytes arrives at an end over any neighbour.
pub(crate) const RAW: u8 = 0;
/// An end asks for a session.
pub(crate) const CONNECT: u8 = 1;
/// An end seals a content, if it has a session.
pub(crate) const SEAL: u8 = 2;
/// The oldest payload on its way arrives.
pub(crate) const ARRIVE: u8 = 3;
/// One of the latest payloads arrives again.
pub(crate) const REPLAY: u8 = 4;
/// The oldest payload on its way arrives damaged.
pub(crate) const DAMAGE: u8 = 5;
/// One of the latest payloads arrives damaged, at either end, over any neighbour.
pub(crate) const FORGE: u8 = 6;
/// Milliseconds pass.
pub(crate) const WAIT: u8 = 7;
/// Seconds pass.
pub(crate) const REST: u8 = 8;
/// The oldest payload on its way is lost.
pub(crate) const LOSE: u8 = 9;
/// An end doubts its session.
pub(crate) const RENEW: u8 = 10;
/// An end erases what it has of the conversation.
pub(crate) const CLOSE: u8 = 11;
const SESSION_STEPS: usize = 12;

static ENDS: LazyLock<[Identity; 2]> =
    LazyLock::new(|| [Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32])]);

#[derive(Clone)]
struct Travelling {
    to: usize,
    payload: Vec<u8>,
}

struct SessionWorld {
    now: Time,
    ends: [Sessions; 2],
    pairs: [Ends; 2],
    line: Vec<Travelling>,
    /// The [`MEMORY`] latest payloads.
    seen: Vec<Travelling>,
    /// Contents that were sealed by each end and have not opened yet.
    sealed: [BTreeSet<Vec<u8>>; 2],
    number: u64,
}

fn hop(number: u8) -> PreviousHop {
    PreviousHop {
        neighbour: Address::from_bytes([number; 32]),
        host: u64::from(number / 2),
        group: u64::from(number / 8),
    }
}

/// Runs a script against the two ends of a conversation.
///
/// For any payloads, an end opens what the other has sealed and nothing else, each content once; it has sessions with the other
/// end only; no part is longer than every route carries. Afterwards an honest exchange succeeds.
pub fn session(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    let mut world = SessionWorld::new();
    while let Some(step) = script.step() {
        world.step(step, &mut script);
    }
    if flags & AFTERWARDS != 0 {
        world.meet();
    }
}

impl SessionWorld {
    fn new() -> Self {
        let [first, second] = &*ENDS;
        let pair = |local: &Identity, peer: &Identity| Ends { local: local.address(), peer: peer.address() };
        let ends = [(first, 3), (second, 4)].map(|(identity, seed)| {
            let mut sessions = Sessions::with_suites([seed; 32], Suite::CHACHA);
            sessions.add_local(identity);
            sessions
        });
        SessionWorld {
            now: Time::from_millis(5000),
            ends,
            pairs: [pair(first, second), pair(second, first)],
            line: Vec::new(),
            seen: Vec::new(),
            sealed: [BTreeSet::new(), BTreeSet::new()],
            number: 0,
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step % SESSION_STEPS as u8 {
            RAW => {
                let (to, from) = (script.below(2), script.u8());
                self.arrive(to, from, script.bytes());
            }
            CONNECT => self.connect(script.below(2)),
            SEAL => self.seal(script.below(2)),
            ARRIVE => {
                if let Some(Travelling { to, payload }) = self.next() {
                    self.arrive(to, 0, &payload);
                }
            }
            REPLAY => {
                if let Some(Travelling { to, payload }) = self.pick(script) {
                    self.arrive(to, 0, &payload);
                }
            }
            DAMAGE => {
                if let Some(Travelling { to, payload }) = self.next() {
                    self.arrive(to, 0, &damaged(script, &payload));
                }
            }
            FORGE => {
                if let Some(Travelling { payload, .. }) = self.pick(script) {
                    let (to, from) = (script.below(2), script.u8());
                    self.arrive(to, from, &damaged(script, &payload));
                }
            }
            WAIT => self.wait(Duration::from_millis(script.u16().into())),
            REST => self.wait(Duration::from_secs(script.u8().into())),
            LOSE => drop(self.next()),
            RENEW => {
                let end = script.below(2);
                let input = SessionInput::Renew { pair: self.pairs[end], standing: Standing::default() };
                self.input(end, input);
            }
            _ => {
                let end = script.below(2);
                self.input(end, SessionInput::Close { pair: self.pairs[end] });
            }
        }
    }

    fn connect(&mut self, end: usize) {
        let input = SessionInput::Connect { pair: self.pairs[end], standing: Standing::default() };
        self.input(end, input);
    }

    fn input(&mut self, end: usize, input: SessionInput<'_>) {
        assert_eq!(self.ends[end].handle(self.now, input), Ok(()), "a request of the layer above");
        self.collect(end);
    }

    fn seal(&mut self, end: usize) {
        self.number += 1;
        let content = [&[CONTENT][..], &self.number.to_le_bytes()].concat();
        let mut payload = Vec::new();
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(&content);
            true
        };
        if self.ends[end].seal(self.now, &self.pairs[end], write, &mut payload).is_ok() {
            self.sealed[end].insert(content);
            self.send(end, payload);
        }
        self.collect(end);
    }

    fn next(&mut self) -> Option<Travelling> {
        (!self.line.is_empty()).then(|| self.line.remove(0))
    }

    fn pick(&self, script: &mut Script<'_>) -> Option<Travelling> {
        let nth = usize::from(script.u8());
        (!self.seen.is_empty()).then(|| self.seen[nth % self.seen.len()].clone())
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let next = self.ends.iter().filter_map(Sessions::next_deadline).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            for end in 0..2 {
                self.ends[end].handle_timeout(self.now);
                self.collect(end);
                let due = self.ends[end].next_deadline();
                assert!(due.is_none_or(|due| due > self.now), "a deadline that does not move");
            }
        }
        self.now = end;
    }

    fn arrive(&mut self, to: usize, from: u8, payload: &[u8]) {
        let local = self.pairs[to].local;
        let mut payload = payload.to_vec();
        let mut content = None;
        let sessions = &mut self.ends[to];
        // The cause of a drop is counted, and nothing else results from it.
        let result = match payload.first() {
            Some(&PAYLOAD_PART) => {
                let input = SessionInput::Part { local, hop: hop(from), payload: &payload };
                sessions.handle(self.now, input)
            }
            Some(&PAYLOAD_SESSION) => sessions.open(self.now, &local, &mut payload).map(|opened| {
                content = opened.content.map(|content| (opened.peer, content.to_vec()));
            }),
            _ => Err(DropCause::MalformedPacket),
        };
        if let Some((peer, content)) = content {
            assert_eq!(result, Ok(()));
            assert_eq!(peer, self.pairs[to].peer, "a content of another address");
            assert!(self.sealed[1 - to].remove(&content), "a content that was not sealed, or opens again");
        }
        let (pairs, unproved, partial) = self.ends[to].load();
        assert!(pairs <= 1 && unproved <= 4 && partial <= 256, "more than the bounds allow");
        self.collect(to);
    }

    fn send(&mut self, from: usize, payload: Vec<u8>) {
        if payload.first() == Some(&PAYLOAD_PART) {
            assert!(payload.len() <= PART_HEADER_LEN + PART_LEN);
        }
        let travelling = Travelling { to: 1 - from, payload };
        self.line.push(travelling.clone());
        if self.seen.len() >= MEMORY {
            self.seen.remove(0);
        }
        self.seen.push(travelling);
    }

    fn collect(&mut self, end: usize) {
        while let Some(output) = self.ends[end].poll_output() {
            match output {
                SessionOutput::Transmit { pair, payload, .. } => {
                    assert_eq!(pair, self.pairs[end], "a packet for another node");
                    self.send(end, payload);
                }
                SessionOutput::Requested { pair, .. } => {
                    assert_eq!(pair, self.pairs[end], "a request of another address");
                    let input = SessionInput::Accept { pair, standing: Standing::default() };
                    assert_eq!(self.ends[end].handle(self.now, input), Ok(()));
                }
                SessionOutput::Ready { pair, .. } | SessionOutput::Ended { pair, .. } => {
                    assert_eq!(pair, self.pairs[end], "a session with another address");
                }
            }
        }
    }

    /// Requires that an honest exchange succeeds, once the attacker has left.
    fn meet(&mut self) {
        self.line.clear();
        self.wait(Duration::from_secs(400));
        self.line.clear();
        for end in 0..2 {
            assert!(!self.ends[end].is_ready(&self.pairs[end]), "a session without use stays");
        }
        self.sealed = [BTreeSet::new(), BTreeSet::new()];
        self.connect(0);
        for _ in 0..400 {
            while let Some(Travelling { to, payload }) = self.next() {
                self.arrive(to, 0, &payload);
            }
            if (0..2).all(|end| self.ends[end].is_ready(&self.pairs[end])) {
                break;
            }
            self.wait(Duration::from_millis(250));
        }
        for end in 0..2 {
            self.seal(end);
            assert!(!self.sealed[end].is_empty(), "an honest handshake fails after the script");
        }
        while let Some(Travelling { to, payload }) = self.next() {
            self.arrive(to, 0, &payload);
        }
        assert!(self.sealed.iter().all(BTreeSet::is_empty), "a content does not arrive");
    }
}
