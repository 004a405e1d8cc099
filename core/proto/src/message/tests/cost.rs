//! The cost of the most expensive packets, compared with an ordinary one of their length. A packet may release state
//! that earlier packets created. That work is not counted here, because those packets paid for it: in the cases with an
//! ack that settles much, an earlier ack has settled it already.

use std::time::{Duration, Instant};

use super::pair::address;
use crate::message::*;
use crate::wire::message as wire;
use crate::wire::session::{ProvedStanding, Standing};

/// Writes one packet of the peer.
struct Writer(Vec<u8>);

impl Writer {
    fn new(number: u64, floor: u64) -> Self {
        let mut out = Vec::new();
        let header = wire::MessageHeader { number, open: 1 << 16, floor };
        wire::write_header(&header, &mut out);
        Writer(out)
    }

    fn skip(mut self, above: u16, count: u16) -> Self {
        let at = wire::write_skip(above, &mut self.0);
        wire::patch_count(at, count, &mut self.0);
        self
    }

    fn messages(mut self, above: u16, count: u16, size: usize) -> Self {
        let at = wire::write_messages(above, Timestamp(0), &mut self.0);
        (0..count).for_each(|_| wire::write_entry(0, &vec![7; size], &mut self.0));
        wire::patch_count(at, count, &mut self.0);
        self
    }

    fn part(mut self, above: u16, total: u32, offset: u32, size: usize) -> Self {
        wire::write_fragment(
            &wire::FragmentHead { above, sent_at: Timestamp(0), total, offset },
            &vec![7; size],
            &mut self.0,
        );
        self
    }

    fn many(self, count: usize, mut frame: impl FnMut(Self, usize) -> Self) -> Self {
        (0..count).fold(self, &mut frame)
    }

    fn packet(self) -> Bytes {
        assert!(self.0.len() <= 1400, "{}", self.0.len());
        self.0.into()
    }
}

/// The session of the recipient, with a peer that knows it.
const SESSION: ProvedStanding = ProvedStanding {
    session: 1,
    incarnation: 200,
    peer: Standing { incarnation: 100, floor: 0, peer_incarnation: 200, taken: 0 },
};

fn recipient() -> Conversation {
    let mut conversation = Conversation::new(ConversationConfig::default(), address(1), address(0), 200);
    conversation.set_reachable(Time::ZERO, true);
    conversation.on_session(Time::ZERO, &SESSION);
    conversation
}

/// A conversation that has sent all that its window permits, and has received nothing.
fn with_much_on_its_way() -> Conversation {
    let mut conversation = recipient();
    conversation.sending.get_or_create().recovery.congestion.set_packet(1200);
    let pieces = [recovery::Piece::Ping];
    while conversation.sending.recovery.remembered() < 1 << 13 {
        conversation.sending.on_sent(Time::from_millis(1), 0, &pieces);
    }
    conversation
}

/// The least time of several for one packet and the messages that it releases, each after the same earlier packets.
fn time(past: impl Fn() -> Conversation, before: &[Bytes], packet: &Bytes) -> Duration {
    let now = Time::from_millis(1);
    let once = || {
        let mut conversation = past();
        for packet in before {
            let _ = conversation.handle(now, &SESSION, packet);
        }
        let begin = Instant::now();
        let _ = std::hint::black_box(conversation.handle(now, &SESSION, packet));
        while let Some(message) = conversation.next_message(Timestamp(0)) {
            conversation.on_taken(now, &message.id, &message.id);
        }
        begin.elapsed()
    };
    (0..15).map(|_| once()).min().expect("fifteen of them")
}

type Case = (&'static str, fn() -> Conversation, Vec<Bytes>, Bytes);

fn cases() -> Vec<Case> {
    [skips(), messages(), services(), parts(), acknowledgements()].concat()
}

/// Packets of many frames each.
fn many_frames(numbers: std::ops::Range<u64>, frame: fn(Writer, usize) -> Writer) -> Vec<Bytes> {
    let packet =
        |number: u64| Writer::new(number, 0).many(40, |w, nth| frame(w, number as usize * 40 + nth)).packet();
    numbers.map(packet).collect()
}

/// Every second message of many.
fn every_second() -> Vec<Bytes> {
    many_frames(1..50, |w, nth| w.messages(2 * (nth - 39) as u16, 1, 1))
}

fn skips() -> Vec<Case> {
    let apart = many_frames(1..50, |w, nth| w.skip(2 * (nth - 39) as u16, 1));
    vec![
        (
            "skips of settled sequences",
            recipient,
            vec![Writer::new(1, 1_000_000).packet()],
            Writer::new(9000, 0).many(64, |w, _| w.skip(0, u16::MAX)).packet(),
        ),
        (
            "skips of all sequences",
            recipient,
            vec![],
            Writer::new(9000, 0).many(64, |w, _| w.skip(1, u16::MAX)).packet(),
        ),
        (
            "skips of all over messages",
            recipient,
            every_second(),
            Writer::new(9000, 0).many(64, |w, nth| w.skip(1 + nth as u16, 4000)).packet(),
        ),
        (
            "disjoint skips",
            recipient,
            vec![],
            Writer::new(9000, 0).many(64, |w, nth| w.skip(1 + 2 * nth as u16, 1)).packet(),
        ),
        (
            "a skip over skips",
            recipient,
            apart,
            Writer::new(9000, 0).many(64, |w, nth| w.skip(7 * nth as u16 + 1, 3)).packet(),
        ),
        (
            "a jump of the floor",
            recipient,
            vec![],
            Writer::new(9000, wire::NUMBERS_END - 1).skip(0, 9).packet(),
        ),
    ]
}

fn messages() -> Vec<Case> {
    vec![
        ("empty messages", recipient, vec![], Writer::new(9000, 0).messages(1, 300, 0).packet()),
        (
            "empty messages between others",
            recipient,
            every_second(),
            Writer::new(9000, 0).messages(1, 300, 0).packet(),
        ),
        (
            "messages one by one",
            recipient,
            every_second(),
            Writer::new(9000, 0).many(64, |w, nth| w.messages(2 * nth as u16 + 1, 1, 1)).packet(),
        ),
    ]
}

impl Writer {
    fn service(mut self, name: &str) -> Self {
        let service = crate::types::Service::new(name).expect("a short name");
        wire::write_attributes(&Attributes { service, ..Attributes::default() }, &mut self.0);
        self
    }
}

fn services() -> Vec<Case> {
    let named = |w: Writer, nth: usize| w.service(&format!("{nth:064}")).messages(nth as u16, 1, 1);
    vec![
        (
            "attributes alone",
            recipient,
            vec![],
            Writer::new(9000, 0).many(64, |w, _| w.service("x")).packet(),
        ),
        (
            "long attributes alone",
            recipient,
            vec![],
            Writer::new(9000, 0).many(19, |w, _| w.service(&"é".repeat(32))).packet(),
        ),
        ("messages of many services", recipient, vec![], Writer::new(9000, 0).many(14, named).packet()),
        (
            "messages of short services one by one",
            recipient,
            every_second(),
            Writer::new(9000, 0)
                .many(32, |w, nth| w.service("x").messages(2 * nth as u16 + 1, 1, 1))
                .packet(),
        ),
        (
            "messages of one service",
            recipient,
            vec![],
            Writer::new(9000, 0).service(&"x".repeat(64)).messages(0, 48, 1).packet(),
        ),
        (
            "parts of many services",
            recipient,
            vec![],
            Writer::new(9000, 0)
                .many(12, |w, nth| w.service(&format!("{nth:064}")).part(1 + nth as u16, 9000, 2, 1))
                .packet(),
        ),
    ]
}

fn parts() -> Vec<Case> {
    let tiny = many_frames(1..4, |w, nth| w.part(1, 1 << 20, 10_000 + nth as u32 * 8, 1));
    let long: Vec<_> =
        (1..900).rev().map(|nth| Writer::new(nth, 0).part(1, 1 << 20, nth as u32 * 1200, 1000)).collect();
    vec![
        (
            "a part over tiny ones",
            recipient,
            tiny,
            Writer::new(9000, 0).part(1, 1 << 20, 10_000, 1300).packet(),
        ),
        (
            "a part amid many",
            recipient,
            long.into_iter().map(Writer::packet).collect(),
            Writer::new(9000, 0).part(1, 1 << 20, 600_000, 1300).packet(),
        ),
        (
            "tiny parts",
            recipient,
            vec![],
            Writer::new(9000, 0).many(58, |w, nth| w.part(1, 9000, 2 + 2 * nth as u32, 1)).packet(),
        ),
        (
            "parts of many messages",
            recipient,
            vec![],
            Writer::new(9000, 0).many(58, |w, nth| w.part(1 + nth as u16, 9000, 2, 1)).packet(),
        ),
    ]
}

fn acknowledgements() -> Vec<Case> {
    let mut ranges = wire::Ack::new(0);
    (0..32).rev().for_each(|nth| assert!(ranges.push(nth * 256, nth * 256 + 100)));
    let [before, acks] = [8999, 9000].map(|number| {
        let mut acks = Writer::new(number, 0);
        wire::write_ack(&ranges, &mut acks.0);
        acks.many(63, |mut w, _| {
            wire::write_credit(0, 1, 1, &mut w.0);
            w
        })
        .packet()
    });
    let mut pings = Writer::new(9000, 0);
    pings.0.extend([6; 64]);
    vec![
        ("an ack of many ranges", with_much_on_its_way, vec![before], acks),
        ("pings", recipient, vec![], pings.packet()),
    ]
}

/// The allowed factor. Without optimisation, walking a tree costs twice as much relative to a copy as with it.
const BAR: u32 = if cfg!(debug_assertions) { 40 } else { 20 };

#[test]
fn no_packet_costs_more_than_twenty_times_an_ordinary_one_of_its_length() {
    let mut dear = Vec::new();
    for (name, past, before, packet) in cases() {
        let count = packet.len().saturating_sub(42).div_ceil(70).max(1);
        let ordinary = time(recipient, &[], &Writer::new(9000, 0).messages(0, count as u16, 64).packet());
        let cost = time(past, &before, &packet);
        println!("{name}: {cost:?} against {ordinary:?}");
        if cost > BAR * ordinary {
            dear.push((name, cost, ordinary));
        }
    }
    assert!(dear.is_empty(), "{dear:?}");
}
