//! The target `message`: any packets of a peer to a conversation, and any faults of the line between two conversations.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::fuzz::script::{Script, damaged};
use rouse_proto::address::Address;
use rouse_proto::message::{Conversation, ConversationConfig, ConversationEvent};
use rouse_proto::session::{ProvedStanding, Standing};
use rouse_proto::time::Time;
use rouse_proto::types::{Attributes, MAX_MESSAGE, Message, MessageId, MessageKind, Service, Timestamp};
use rouse_proto::wire::message::{
    Frame, HEADER, MessageHeader, Reader, write_ack, write_attributes, write_credit, write_header,
};

/// Flag in the first byte of a script: both ends are honest, and only the line between them is faulty.
pub(crate) const HONEST: u8 = 1;

/// Step of a script: an end sends a message.
pub(crate) const SEND: u8 = 0;
/// The oldest packet on the line arrives.
pub(crate) const ARRIVE: u8 = 1;
/// The oldest packet is lost.
pub(crate) const LOSE: u8 = 2;
/// The oldest packet goes to the end of the line.
pub(crate) const OVERTAKE: u8 = 3;
/// The oldest packet arrives, and a copy stays on the line.
pub(crate) const TWICE: u8 = 4;
/// Time passes.
pub(crate) const WAIT: u8 = 5;
/// An application begins to receive its messages, or stops.
pub(crate) const READ: u8 = 6;
/// The route is lost, or found again.
pub(crate) const ROUTE: u8 = 7;
const HONEST_STEPS: u8 = 8;
/// Step with a hostile end only: the oldest packet arrives damaged, and the original stays on the line.
pub(crate) const DAMAGE: u8 = 8;
/// Step with a hostile end only: a packet of any session, with a valid header and frames of any bytes.
pub(crate) const FRAMES: u8 = 9;
/// Step with a hostile end only: a packet of any bytes.
pub(crate) const RAW: u8 = 10;
const STEPS: u8 = 11;

const MTU: usize = 1200;
/// The most bytes that one conversation may hold, besides a message of full length.
const MOST: u64 = 2 << 20;

/// The address of an end.
fn address(side: usize) -> Address {
    Address::from_bytes([side as u8 + 1; 32])
}

/// The incarnation of an end.
fn incarnation(side: usize) -> u64 {
    100 * (side as u64 + 1)
}

/// The session of an end with this incarnation of the other one, which knows this end or does not.
fn session(side: usize, number: u64, peer: u64, is_known: bool) -> ProvedStanding {
    let peer_incarnation = if is_known { incarnation(side) } else { 0 };
    let peer = Standing { incarnation: peer, floor: 0, peer_incarnation, taken: 0 };
    ProvedStanding { session: number, incarnation: incarnation(side), peer }
}

/// The attributes of the `nth` message of an end: two plain ones, then those of services, requests and answers.
fn attributes(nth: usize) -> Attributes {
    let service = Service::new(&"service".repeat(nth % 8)).unwrap_or_default();
    let in_reply_to = Some(MessageId([nth as u8; 16]));
    match nth % 6 {
        2 | 3 => Attributes { service, ..Attributes::default() },
        4 => Attributes { service, kind: MessageKind::Request, ..Attributes::default() },
        5 => Attributes { in_reply_to, kind: MessageKind::Answer, ..Attributes::default() },
        _ => Attributes::default(),
    }
}

struct ConversationSide {
    conversation: Conversation,
    reads: bool,
    sent: Vec<(Attributes, Bytes)>,
    inbox: Vec<(Attributes, Bytes)>,
}

pub(crate) struct ConversationWorld {
    now: Time,
    sides: [ConversationSide; 2],
    line: VecDeque<(usize, Bytes)>,
    honest: bool,
    /// The number of the latest session of a hostile end.
    sessions: u64,
}

/// Runs a script between two conversations.
///
/// For any packets, sent packets fit the MTU, queues are bounded, and deadlines move on. Between honest ends each message arrives
/// once, whole and in order, whatever the faults of the line, and its sender gets a receipt.
pub fn message(data: &[u8]) {
    let mut script = Script::new(data);
    let honest = script.u8() & HONEST != 0;
    let mut world = ConversationWorld::new(honest);
    while let Some(step) = script.step() {
        world.step(step % if honest { HONEST_STEPS } else { STEPS }, &mut script);
        world.settle();
    }
    if honest {
        world.finish();
    }
}

impl ConversationWorld {
    pub(crate) fn new(honest: bool) -> Self {
        let side = |number: usize| {
            let (local, peer) = (address(number), address(1 - number));
            let mut conversation =
                Conversation::new(ConversationConfig::default(), local, peer, incarnation(number));
            conversation.set_reachable(Time::ZERO, true);
            conversation.on_session(Time::ZERO, &session(number, 1, incarnation(1 - number), true));
            ConversationSide { conversation, reads: true, sent: Vec::new(), inbox: Vec::new() }
        };
        let now = Time::from_millis(1000);
        ConversationWorld { now, sides: [side(0), side(1)], line: VecDeque::new(), honest, sessions: 1 }
    }

    /// The oldest packet on the line, with the number of its recipient.
    pub(crate) fn next(&mut self) -> Option<(usize, Bytes)> {
        self.line.pop_front()
    }

    /// Lets an end send a message of `length` bytes.
    pub(crate) fn send_message(&mut self, from: usize, length: usize) {
        self.send(from, length, Duration::from_secs(86_400));
    }

    fn send(&mut self, from: usize, length: usize, ttl: Duration) {
        let side = &mut self.sides[from];
        if side.sent.iter().map(|(_, body)| body.len()).sum::<usize>() > 1 << 20 {
            return;
        }
        let mut body = side.sent.len().to_le_bytes().repeat(length.div_ceil(8));
        body.truncate(length);
        let body = Bytes::from(body);
        let attributes = attributes(side.sent.len());
        if side.conversation.send_with(self.now, Timestamp(7), ttl, attributes.clone(), body.clone()).is_ok()
        {
            side.sent.push((attributes, body));
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step {
            SEND => {
                let (from, length) = (script.below(2), usize::from(script.u16()) % 20_000);
                let ttl = Duration::from_secs(if self.honest { 86_400 } else { script.u8().into() });
                self.send(from, length, ttl);
            }
            WAIT => self.wait(Duration::from_millis(u64::from(script.u16()) % 5000)),
            READ => {
                let side = &mut self.sides[script.below(2)];
                side.reads = !side.reads;
            }
            ROUTE => {
                let (side, up) = (script.below(2), script.u8() & 1 != 0);
                self.sides[side].conversation.set_reachable(self.now, up);
            }
            FRAMES => {
                let to = script.below(2);
                // Another session may show another incarnation of the peer, and that it does not know this one.
                let peer = if script.u8() == 1 { script.u64() } else { incarnation(1 - to) };
                let is_known = script.u8() != 1;
                self.sessions += u64::from(peer != incarnation(1 - to) || !is_known);
                let proved = session(to, self.sessions, peer, is_known);
                let header = MessageHeader { number: script.u64(), open: script.u32(), floor: script.u64() };
                let mut packet = Vec::new();
                write_header(&header, &mut packet);
                packet.extend_from_slice(script.bytes());
                self.arrive_in(to, &proved, packet.into());
            }
            RAW => {
                let to = script.below(2);
                self.arrive(to, Bytes::copy_from_slice(script.bytes()));
            }
            step => {
                let Some((to, packet)) = self.next() else { return };
                if matches!(step, OVERTAKE | TWICE | DAMAGE) && self.line.len() < 256 {
                    self.line.push_back((to, packet.clone()));
                }
                match step {
                    ARRIVE | TWICE => self.arrive(to, packet),
                    DAMAGE => self.arrive(to, damaged(script, &packet).into()),
                    _ => {}
                }
            }
        }
    }

    pub(crate) fn arrive(&mut self, to: usize, packet: Bytes) {
        self.arrive_in(to, &session(to, 1, incarnation(1 - to), true), packet);
    }

    fn arrive_in(&mut self, to: usize, proved: &ProvedStanding, packet: Bytes) {
        reads_to_the_end(&packet);
        let result = self.sides[to].conversation.handle(self.now, proved, &packet);
        assert!(result.is_err() || packet.len() >= HEADER, "bytes that are not a packet were accepted");
    }

    pub(crate) fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        for round in 0.. {
            self.settle();
            let next = self.sides.iter().filter_map(|side| side.conversation.next_deadline()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            for side in &mut self.sides {
                side.conversation.handle_timeout(self.now);
            }
            assert!(round < 100_000, "a deadline that does not move");
        }
        self.now = end;
    }

    /// Handles all outputs of both ends at this moment.
    pub(crate) fn settle(&mut self) {
        for (number, side) in self.sides.iter_mut().enumerate() {
            while side.reads
                && let Some(message) = side.conversation.next_message(Timestamp(9))
            {
                assert!(message.body.len() <= MAX_MESSAGE);
                assert_eq!((message.from, message.to), (address(1 - number), address(number)));
                side.conversation.on_taken(self.now, &message.id, &message.id);
                let Message { service, in_reply_to, kind, body, .. } = message;
                side.inbox.push((Attributes { service, in_reply_to, kind, durable: false }, body.0));
            }
            if !self.honest {
                side.inbox.clear();
            }
            while let Some(event) = side.conversation.poll_event() {
                let expired = matches!(event, ConversationEvent::Expired { .. });
                assert!(!(self.honest && expired), "a message expired although it could be delivered");
            }
            assert!(side.conversation.waiting().bytes <= MOST);
            for round in 0.. {
                let mut packet = Vec::new();
                if !side.conversation.poll_transmit(self.now, MTU, &mut packet) {
                    break;
                }
                assert!((HEADER..=MTU).contains(&packet.len()));
                assert!(reads_to_the_end(&packet), "a packet of our own does not read");
                if self.line.len() < 1024 {
                    self.line.push_back((1 - number, packet.into()));
                }
                assert!(round < 10_000, "a conversation that never stops to send");
            }
        }
    }

    /// Requires that all messages arrive, once the line has no faults and both applications receive.
    fn finish(&mut self) {
        for side in &mut self.sides {
            side.reads = true;
            side.conversation.set_reachable(self.now, true);
        }
        for _ in 0..100_000 {
            self.settle();
            while let Some((to, packet)) = self.line.pop_front() {
                self.arrive(to, packet);
                self.settle();
            }
            let waits = |side: &ConversationSide| side.conversation.waiting().messages > 0;
            if !self.sides.iter().any(waits) {
                break;
            }
            let next = self.sides.iter().filter_map(|side| side.conversation.next_deadline()).min();
            let next = next.expect("a waiting message has a deadline");
            self.wait(next.since(self.now));
        }
        let [first, second] = &self.sides;
        assert_eq!(first.sent, second.inbox, "other messages than were sent");
        assert_eq!(second.sent, first.inbox, "other messages than were sent");
        for side in &self.sides {
            assert_eq!(side.conversation.waiting().messages, 0, "a sender has no receipt");
        }
    }
}

/// Reads a packet frame by frame; returns whether all of it is well formed. Acknowledgements and credits must encode to the same
/// values again.
fn reads_to_the_end(packet: &[u8]) -> bool {
    let mut reader = Reader::new(packet);
    let Ok(header) = reader.header() else { return false };
    let mut again = Vec::new();
    write_header(&header, &mut again);
    assert_eq!(again, packet[..HEADER]);
    while !reader.is_at_end() {
        let read = match reader.frame() {
            Ok(Frame::Ack) => reader.ack().map(|ack| {
                again.clear();
                write_ack(&ack, &mut again);
                assert!(Reader::new(&again).frame() == Ok(Frame::Ack));
                assert!(ack.ranges().iter().all(|(low, high)| low <= high));
            }),
            Ok(Frame::Attributes) => reader.attributes().map(|attributes| {
                again.clear();
                write_attributes(&attributes, &mut again);
                let mut copy = Reader::new(&again);
                assert_eq!(copy.frame(), Ok(Frame::Attributes));
                assert_eq!(copy.attributes(), Ok(attributes));
            }),
            Ok(Frame::Messages { count, .. }) => (0..count)
                .try_for_each(|_| reader.entry().map(|(_, place)| assert!(place.end <= packet.len()))),
            Ok(Frame::Fragment { bytes: (from, to), .. }) => {
                assert!(from <= to && to <= packet.len());
                Ok(())
            }
            Ok(Frame::Credit { taken, bytes, messages }) => {
                again.clear();
                write_credit(taken, bytes, messages, &mut again);
                let credit = Frame::Credit { taken, bytes, messages };
                assert_eq!(Reader::new(&again).frame(), Ok(credit));
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(malformed) => Err(malformed),
        };
        if read.is_err() {
            return false;
        }
    }
    true
}
