//! The target `frame`: any plaintexts of a neighbour on an established link, and any frames of an attacker without its keys.

use std::collections::VecDeque;
use std::time::Duration;

use crate::fuzz::script::{Script, damaged};
use rouse_proto::address::Address;
use rouse_proto::link::session_pair::{SessionEnd, session_pair};
use rouse_proto::link::{FrameContent, Link, LinkOutput, LinkState, Sealer, Suite};
use rouse_proto::time::Time;
use rouse_proto::wire::link::{
    Acknowledged, KIND_ACK, KIND_CONTROL, KIND_HELLO, KIND_PACKET, Segment, Vitals, plaintext,
};

/// Flag in the first byte of a script: both ends are honest links, and only the line between them is faulty.
pub(crate) const HONEST: u8 = 1;
/// Flag: the cipher is AES-256-GCM instead of ChaCha20-Poly1305.
pub(crate) const AES: u8 = 2;

/// Step against a link: a plaintext of any kind, sealed.
pub(crate) const PLAIN: u8 = 0;
/// Step against a link: a frame of any bytes.
pub(crate) const RAW: u8 = 1;
/// Step against a link: an earlier sealed frame, damaged.
pub(crate) const DAMAGE: u8 = 2;
/// Step against a link: an earlier sealed frame, unchanged.
pub(crate) const REPLAY: u8 = 3;
/// Step against a link: a segment of the control stream; its number is relative to the last in order.
pub(crate) const SEGMENT: u8 = 4;
/// Step against a link: a hello, a probe or an answer.
pub(crate) const VITALS: u8 = 5;
/// Time passes.
pub(crate) const WAIT: u8 = 6;
/// Step against a link: its router sends a control message.
pub(crate) const CONTROL: u8 = 7;
/// Step against a link: frames are lost.
pub(crate) const GAP: u8 = 8;
/// Step against a link: an acknowledgement.
pub(crate) const ACK: u8 = 9;
const STEPS: u8 = 10;

/// Step between honest ends: a message to the other end's router.
pub(crate) const SEND: u8 = 0;
/// The oldest frame on the line arrives.
pub(crate) const ARRIVE: u8 = 1;
/// The oldest frame is lost.
pub(crate) const LOSE: u8 = 2;
/// The oldest frame goes to the end of the line.
pub(crate) const OVERTAKE: u8 = 3;
/// The oldest frame arrives, and a copy stays on the line.
pub(crate) const TWICE: u8 = 4;
/// A packet leaves.
pub(crate) const PACKET: u8 = 5;
/// Time passes.
pub(crate) const PASS: u8 = 6;
/// The oldest frame arrives damaged, and the original stays on the line.
pub(crate) const MANGLE: u8 = 7;
const HONEST_STEPS: u8 = 8;

const MTU: usize = 1200;
/// The most bytes that may wait in a link's control channel: its queue, and the segments in flight.
const MOST_QUEUED: usize = 2 << 20;

/// Runs a script against an established link.
///
/// Frames that the neighbour did not seal, and replays, change nothing. For any plaintexts of the neighbour, sent frames fit the
/// MTU, queues are bounded, and a link that is down stays down and silent. Between honest ends the control channel delivers each
/// message once and in order, whatever the faults of the line.
pub fn frame(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    let suite = if flags & AES != 0 { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 };
    let Some(ends) = session_pair(suite) else { return };
    if flags & HONEST != 0 { honest(script, ends) } else { hostile(script, ends) }
}

/// One end of a link with its sealer, and the control messages that it sent and received.
pub(crate) struct LinkSide {
    pub(crate) link: Link,
    sealer: Sealer,
    state: LinkState,
    sent: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
}

impl LinkSide {
    pub(crate) fn new(now: Time, (sealer, opener): SessionEnd) -> Self {
        let link = Link::new(now, Address::from_bytes([9; 32]), opener, MTU, [5; 32]);
        LinkSide { link, sealer, state: LinkState::Up, sent: Vec::new(), received: Vec::new() }
    }

    fn is_down(&self) -> bool {
        matches!(self.state, LinkState::Down(_))
    }

    /// Handles the outputs of the link; returns the frames to send.
    fn collect(&mut self, now: Time) -> Vec<Vec<u8>> {
        let plaintexts = self.plaintexts(now);
        let frames: Vec<_> = plaintexts.iter().map(|plaintext| self.seal(plaintext)).collect();
        assert!(frames.iter().all(|frame| frame.len() <= MTU), "a frame beyond the MTU");
        frames
    }

    pub(crate) fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        sealed(&mut self.sealer, plaintext)
    }

    /// Handles the outputs of the link; returns the plaintexts to send.
    pub(crate) fn plaintexts(&mut self, now: Time) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while let Some(output) = self.link.poll_output(now) {
            match output {
                LinkOutput::Transmit(plaintext) => sent.push(plaintext),
                LinkOutput::Rekeyed(key) => self.sealer.renew(*key),
                LinkOutput::MtuChanged(mtu) => {
                    assert_eq!(mtu, MTU, "the configured MTU is never exceeded by a probe")
                }
                LinkOutput::TransmitTo(..) | LinkOutput::Moved(_) => {
                    unreachable!("no frame arrives from another endpoint")
                }
                LinkOutput::Control(message) => {
                    assert!((1..=4096).contains(&message.len()));
                    self.received.push(message.to_vec());
                }
                LinkOutput::StateChanged(state) => {
                    assert!(!self.is_down(), "a link came back from the dead");
                    assert_ne!(state, self.state);
                    self.state = state;
                }
                LinkOutput::CostChanged(cost) => assert!((32..=1000).contains(&cost)),
            }
            assert!(sent.len() <= 4096, "a link that never stops to send");
        }
        assert!(self.link.metrics().control_queued <= MOST_QUEUED);
        assert!(!self.is_down() || self.link.next_deadline().is_none());
        sent
    }

    pub(crate) fn send_control(&mut self, message: &[u8]) {
        let taken = self.link.send_control(message).is_ok();
        assert!(!taken || (!self.is_down() && (1..=4096).contains(&message.len())));
        if taken {
            self.sent.push(message.to_vec());
        }
    }
}

fn sealed(sealer: &mut Sealer, plaintext: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    sealer.seal(|out| out.extend_from_slice(plaintext), &mut frame).expect("a new key is not worn");
    frame
}

/// Advances `now` by `span` and handles each side's deadlines on the way. Frames that the sides send are passed to `send`.
fn pass(now: &mut Time, span: Duration, sides: &mut [LinkSide], mut send: impl FnMut(usize, Vec<u8>)) {
    let end = *now + span;
    for round in 0.. {
        let next = sides.iter().filter_map(|side| side.link.next_deadline()).min();
        let Some(next) = next.filter(|next| *next <= end) else { break };
        *now = (*now).max(next);
        for (number, side) in sides.iter_mut().enumerate() {
            side.link.handle_timeout(*now);
            side.collect(*now).into_iter().for_each(|frame| send(number, frame));
        }
        assert!(round < 100_000, "a deadline that does not move");
    }
    *now = end;
}

/// A link, and the neighbour that holds the keys of its other end.
struct HostileNeighbour {
    now: Time,
    side: [LinkSide; 1],
    sealer: Sealer,
    sequence: u32,
    /// The latest frames that arrived.
    last: VecDeque<Vec<u8>>,
}

fn hostile(mut script: Script<'_>, [here, there]: [SessionEnd; 2]) {
    let now = Time::from_millis(10_000);
    let side = [LinkSide::new(now, here)];
    let mut neighbour = HostileNeighbour { now, side, sealer: there.0, sequence: 0, last: VecDeque::new() };
    while let Some(step) = script.step() {
        if let Some(plain) = neighbour.step(step % STEPS, &mut script) {
            neighbour.arrive(&plain);
        }
    }
}

impl HostileNeighbour {
    /// Takes one step. Returns the plaintext that the neighbour seals in it.
    fn step(&mut self, step: u8, script: &mut Script<'_>) -> Option<Vec<u8>> {
        let HostileNeighbour { now, side: [side], sequence, .. } = self;
        match step {
            PLAIN => return Some(script.bytes().to_vec()),
            RAW => {
                let refused = side.link.handle_frame(*now, &mut script.bytes().to_vec()).is_err();
                assert!(refused, "a frame without a valid seal opened");
            }
            DAMAGE | REPLAY => self.arrive_again(step, script),
            SEGMENT => {
                let acknowledged = Acknowledged { ack: script.u32(), sack: script.u64() };
                let offset = i32::from(script.u8() as i8);
                let segment = Segment { acknowledged, sequence: sequence.wrapping_add_signed(offset) };
                *sequence = sequence.wrapping_add(u32::from(offset == 0));
                let mut plain = plaintext(KIND_CONTROL, &segment);
                plain.extend_from_slice(script.bytes());
                return Some(plain);
            }
            VITALS => {
                let kind = KIND_HELLO + script.below(3) as u8;
                let vitals = Vitals {
                    sent: script.u32(),
                    echo: script.u32(),
                    held: script.u32(),
                    expected: script.u64(),
                    received: script.u64(),
                };
                return Some(plaintext(kind, &vitals));
            }
            WAIT => pass(now, Duration::from_millis(script.u16().into()), &mut self.side, |_, _| {}),
            CONTROL => {
                side.send_control(script.bytes());
                side.collect(*now);
            }
            GAP => (0..script.u8()).for_each(|_| drop(sealed(&mut self.sealer, b""))),
            _ => return Some(plaintext(KIND_ACK, &Acknowledged { ack: script.u32(), sack: script.u64() })),
        }
        None
    }

    /// An earlier frame arrives, unchanged or damaged.
    fn arrive_again(&mut self, step: u8, script: &mut Script<'_>) {
        let (nth, link) = (usize::from(script.u8()), &mut self.side[0].link);
        let Some(frame) = (!self.last.is_empty()).then(|| &self.last[nth % self.last.len()]) else { return };
        let mut frame = if step == DAMAGE { damaged(script, frame) } else { frame.clone() };
        let before = link.metrics().frames_in;
        assert!(link.handle_frame(self.now, &mut frame).is_err(), "a frame opened twice");
        assert_eq!(link.metrics().frames_in, before);
    }

    /// A plaintext arrives, sealed.
    fn arrive(&mut self, plain: &[u8]) {
        let frame = sealed(&mut self.sealer, plain);
        let mut copy = frame.clone();
        match self.side[0].link.handle_frame(self.now, &mut copy) {
            Ok(FrameContent::Packet(packet)) => assert_eq!((plain[0], &*packet), (KIND_PACKET, &plain[1..])),
            Ok(FrameContent::Consumed) => assert!(!plain.is_empty()),
            Err(_) => {}
        }
        self.side[0].collect(self.now);
        if self.last.len() == 16 {
            self.last.pop_front();
        }
        self.last.push_back(frame);
    }
}

/// Two honest ends, and the frames on the line between them, each with the number of the end that it is for.
struct HonestLink {
    now: Time,
    sides: [LinkSide; 2],
    line: VecDeque<(usize, Vec<u8>)>,
    /// The control messages that were sent.
    count: u32,
}

fn honest(mut script: Script<'_>, ends: [SessionEnd; 2]) {
    let now = Time::from_millis(10_000);
    let sides = ends.map(|end| LinkSide::new(now, end));
    let mut link = HonestLink { now, sides, line: VecDeque::new(), count: 0 };
    while let Some(step) = script.step() {
        link.step(step % HONEST_STEPS, &mut script);
    }
    link.finish();
}

impl HonestLink {
    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step {
            SEND => {
                let (from, length) = (script.below(2), usize::from(script.u16()) % 4096 + 1);
                self.count += 1;
                let mut message = self.count.to_le_bytes().repeat(length.div_ceil(4));
                message.truncate(length);
                self.sides[from].send_control(&message);
                self.collect(from);
            }
            PACKET => {
                let from = script.below(2);
                let mut plain = vec![KIND_PACKET];
                plain.extend_from_slice(script.bytes());
                plain.truncate(MTU - Sealer::OVERHEAD);
                let frame = sealed(&mut self.sides[from].sealer, &plain);
                self.sides[from].link.note_sent(self.now, 1, frame.len());
                self.line.push_back((1 - from, frame));
            }
            PASS => self.pass(Duration::from_millis(u64::from(script.u16()) % 500)),
            step => {
                let Some((to, frame)) = self.line.pop_front() else { return };
                if matches!(step, OVERTAKE | TWICE | MANGLE) && self.line.len() < 256 {
                    self.line.push_back((to, frame.clone()));
                }
                match step {
                    ARRIVE | TWICE => self.arrive(to, frame),
                    MANGLE => self.arrive_mangled(to, &frame, script),
                    _ => {}
                }
            }
        }
    }

    /// Puts the frames that an end sends on the line.
    fn collect(&mut self, from: usize) {
        let frames = self.sides[from].collect(self.now);
        self.line.extend(frames.into_iter().map(|frame| (1 - from, frame)));
    }

    fn pass(&mut self, span: Duration) {
        let line = &mut self.line;
        pass(&mut self.now, span, &mut self.sides, |from, frame| line.push_back((1 - from, frame)));
    }

    fn arrive(&mut self, to: usize, mut frame: Vec<u8>) {
        // Replays are refused; an overtaken frame may be beyond the window.
        let _ = self.sides[to].link.handle_frame(self.now, &mut frame);
        self.collect(to);
    }

    fn arrive_mangled(&mut self, to: usize, frame: &[u8], script: &mut Script<'_>) {
        let mut mangled = damaged(script, frame);
        if mangled != frame {
            let refused = self.sides[to].link.handle_frame(self.now, &mut mangled).is_err();
            assert!(refused, "a mangled frame opened");
        }
    }

    /// Requires that all messages arrive once the line has no faults, unless a side has given the other up.
    fn finish(mut self) {
        // After a line that delayed frames for seconds, the channel waits as long before it repeats one.
        for _ in 0..1200 {
            while let Some((to, frame)) = self.line.pop_front() {
                self.arrive(to, frame);
            }
            self.pass(Duration::from_millis(100));
            let [first, second] = &self.sides;
            if first.sent == second.received && second.sent == first.received {
                return;
            }
        }
        let [first, second] = &self.sides;
        assert!(first.is_down() || second.is_down(), "the control channel lost something");
        for (sent, received) in [(&first.sent, &second.received), (&second.sent, &first.received)] {
            assert!(sent.starts_with(received), "the control channel delivered a message that was not sent");
        }
    }
}
