//! The target `frame`: any plaintexts of a neighbour on an established link, and any frames of an attacker without its keys.

use std::collections::VecDeque;
use std::time::Duration;

use crate::address::Address;
use crate::fixtures::script::{Script, damaged};
use crate::link::session_pair::{SessionEnd, session_pair};
use crate::link::{FrameContent, Link, LinkOutput, LinkState, Sealer, Suite};
use crate::time::Time;
use crate::wire::link::{
    Acknowledged, KIND_ACK, KIND_CONTROL, KIND_HELLO, KIND_PACKET, Segment, Vitals, plaintext,
};

/// Flag in the first byte of a script: both ends are honest links, and only the line between them is faulty.
pub(super) const HONEST: u8 = 1;
/// Flag: the cipher is AES-256-GCM instead of ChaCha20-Poly1305.
pub(super) const AES: u8 = 2;

/// Step against a link: a plaintext of any kind, sealed.
pub(super) const PLAIN: u8 = 0;
/// Step against a link: a frame of any bytes.
pub(super) const RAW: u8 = 1;
/// Step against a link: an earlier sealed frame, damaged.
pub(super) const DAMAGE: u8 = 2;
/// Step against a link: an earlier sealed frame, unchanged.
pub(super) const REPLAY: u8 = 3;
/// Step against a link: a segment of the control stream; its number is relative to the last in order.
pub(super) const SEGMENT: u8 = 4;
/// Step against a link: a hello, a probe or an answer.
pub(super) const VITALS: u8 = 5;
/// Time passes.
pub(super) const WAIT: u8 = 6;
/// Step against a link: our router sends a control message.
pub(super) const SAY: u8 = 7;
/// Step against a link: frames are lost.
pub(super) const GAP: u8 = 8;
/// Step against a link: an acknowledgement.
pub(super) const ACK: u8 = 9;
const STEPS: u8 = 10;

/// Step between honest ends: a message to the other end's router.
pub(super) const SEND: u8 = 0;
/// The oldest frame on the line arrives.
pub(super) const ARRIVE: u8 = 1;
/// The oldest frame is lost.
pub(super) const LOSE: u8 = 2;
/// The oldest frame goes to the end of the line.
pub(super) const OVERTAKE: u8 = 3;
/// The oldest frame arrives, and a copy stays on the line.
pub(super) const TWICE: u8 = 4;
/// A packet leaves.
pub(super) const PACKET: u8 = 5;
/// Time passes.
pub(super) const PASS: u8 = 6;
/// The oldest frame arrives damaged, and the original stays on the line.
pub(super) const MANGLE: u8 = 7;
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
pub(super) struct LinkSide {
    pub(super) link: Link,
    sealer: Sealer,
    state: LinkState,
    said: Vec<Vec<u8>>,
    heard: Vec<Vec<u8>>,
}

impl LinkSide {
    pub(super) fn new(now: Time, (sealer, opener): SessionEnd) -> Self {
        let link = Link::new(now, Address::from_bytes([9; 32]), opener, MTU, [5; 32]);
        LinkSide { link, sealer, state: LinkState::Up, said: Vec::new(), heard: Vec::new() }
    }

    fn is_down(&self) -> bool {
        matches!(self.state, LinkState::Down(_))
    }

    /// Handles the outputs of the link; returns the frames to send.
    fn collect(&mut self, now: Time) -> Vec<Vec<u8>> {
        let plaintexts = self.said_now(now);
        let frames: Vec<_> = plaintexts.iter().map(|plaintext| self.seal(plaintext)).collect();
        assert!(frames.iter().all(|frame| frame.len() <= MTU), "a frame beyond the MTU");
        frames
    }

    pub(super) fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        sealed(&mut self.sealer, plaintext)
    }

    /// Handles the outputs of the link; returns the plaintexts to send.
    pub(super) fn said_now(&mut self, now: Time) -> Vec<Vec<u8>> {
        let mut said = Vec::new();
        while let Some(output) = self.link.poll_output(now) {
            match output {
                LinkOutput::Transmit(plaintext) => said.push(plaintext),
                LinkOutput::Rekeyed(key) => self.sealer.renew(*key),
                LinkOutput::MtuChanged(mtu) => {
                    assert_eq!(mtu, MTU, "the configured MTU is never exceeded by a probe")
                }
                LinkOutput::TransmitTo(..) | LinkOutput::Moved(_) => {
                    unreachable!("no frame arrives from another endpoint")
                }
                LinkOutput::Control(message) => {
                    assert!((1..=4096).contains(&message.len()));
                    self.heard.push(message.to_vec());
                }
                LinkOutput::StateChanged(state) => {
                    assert!(!self.is_down(), "a link came back from the dead");
                    assert_ne!(state, self.state);
                    self.state = state;
                }
                LinkOutput::CostChanged(cost) => assert!((32..=1000).contains(&cost)),
            }
            assert!(said.len() <= 4096, "a link that never stops to send");
        }
        assert!(self.link.metrics().control_queued <= MOST_QUEUED);
        assert!(!self.is_down() || self.link.next_deadline().is_none());
        said
    }

    pub(super) fn say(&mut self, message: &[u8]) {
        let taken = self.link.send_control(message).is_ok();
        assert!(!taken || (!self.is_down() && (1..=4096).contains(&message.len())));
        if taken {
            self.said.push(message.to_vec());
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

fn hostile(mut script: Script<'_>, [here, there]: [SessionEnd; 2]) {
    let mut now = Time::from_millis(10_000);
    let mut side = [LinkSide::new(now, here)];
    let (mut neighbour, mut sequence) = (there.0, 0u32);
    let mut last: VecDeque<Vec<u8>> = VecDeque::new();
    while let Some(step) = script.step() {
        let one = &mut side[0];
        let plain = match step % STEPS {
            PLAIN => script.bytes().to_vec(),
            RAW => {
                let mut frame = script.bytes().to_vec();
                assert!(
                    one.link.handle_frame(now, &mut frame).is_err(),
                    "a frame without a valid seal opened"
                );
                continue;
            }
            step @ (DAMAGE | REPLAY) => {
                let nth = usize::from(script.u8());
                if let Some(frame) = (!last.is_empty()).then(|| &last[nth % last.len()]) {
                    let mut frame = if step == DAMAGE { damaged(&mut script, frame) } else { frame.clone() };
                    let before = one.link.metrics().frames_in;
                    assert!(one.link.handle_frame(now, &mut frame).is_err(), "a frame opened twice");
                    assert_eq!(one.link.metrics().frames_in, before);
                }
                continue;
            }
            SEGMENT => {
                let acknowledged = Acknowledged { ack: script.u32(), sack: script.u64() };
                let offset = i32::from(script.u8() as i8);
                let segment = Segment { acknowledged, sequence: sequence.wrapping_add_signed(offset) };
                sequence = sequence.wrapping_add(u32::from(offset == 0));
                let mut plain = plaintext(KIND_CONTROL, &segment);
                plain.extend_from_slice(script.bytes());
                plain
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
                plaintext(kind, &vitals)
            }
            WAIT => {
                pass(&mut now, Duration::from_millis(script.u16().into()), &mut side, |_, _| {});
                continue;
            }
            SAY => {
                one.say(script.bytes());
                one.collect(now);
                continue;
            }
            GAP => {
                for _ in 0..script.u8() {
                    sealed(&mut neighbour, b"");
                }
                continue;
            }
            _ => plaintext(KIND_ACK, &Acknowledged { ack: script.u32(), sack: script.u64() }),
        };
        let frame = sealed(&mut neighbour, &plain);
        let mut copy = frame.clone();
        match one.link.handle_frame(now, &mut copy) {
            Ok(FrameContent::Packet(packet)) => assert_eq!((plain[0], &*packet), (KIND_PACKET, &plain[1..])),
            Ok(FrameContent::Consumed) => assert!(!plain.is_empty()),
            Err(_) => {}
        }
        one.collect(now);
        if last.len() == 16 {
            last.pop_front();
        }
        last.push_back(frame);
    }
}

fn honest(mut script: Script<'_>, ends: [SessionEnd; 2]) {
    let mut now = Time::from_millis(10_000);
    let mut sides = ends.map(|end| LinkSide::new(now, end));
    let mut line: VecDeque<(usize, Vec<u8>)> = VecDeque::new();
    let mut count = 0u32;
    while let Some(step) = script.step() {
        match step % HONEST_STEPS {
            SEND => {
                let (from, length) = (script.below(2), usize::from(script.u16()) % 4096 + 1);
                count += 1;
                let mut message = count.to_le_bytes().repeat(length.div_ceil(4));
                message.truncate(length);
                sides[from].say(&message);
                line.extend(sides[from].collect(now).into_iter().map(|frame| (1 - from, frame)));
            }
            PACKET => {
                let from = script.below(2);
                let mut plain = vec![KIND_PACKET];
                plain.extend_from_slice(script.bytes());
                plain.truncate(MTU - Sealer::OVERHEAD);
                let frame = sealed(&mut sides[from].sealer, &plain);
                sides[from].link.note_sent(now, 1, frame.len());
                line.push_back((1 - from, frame));
            }
            PASS => {
                let span = Duration::from_millis(u64::from(script.u16()) % 500);
                pass(&mut now, span, &mut sides, |from, frame| line.push_back((1 - from, frame)));
            }
            step => {
                let Some((to, frame)) = line.pop_front() else { continue };
                if matches!(step, OVERTAKE | TWICE | MANGLE) && line.len() < 256 {
                    line.push_back((to, frame.clone()));
                }
                match step {
                    ARRIVE | TWICE => arrive(now, &mut sides, &mut line, to, frame),
                    MANGLE => {
                        let mangled = damaged(&mut script, &frame);
                        if mangled != frame {
                            let refused = sides[to].link.handle_frame(now, &mut mangled.clone()).is_err();
                            assert!(refused, "a mangled frame opened");
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    // The line has no faults from here on, so all messages arrive, unless a side has given the other up. After a line that delayed
    // frames for seconds, the channel waits as long before it repeats one.
    for _ in 0..1200 {
        while let Some((to, frame)) = line.pop_front() {
            arrive(now, &mut sides, &mut line, to, frame);
        }
        pass(&mut now, Duration::from_millis(100), &mut sides, |from, frame| {
            line.push_back((1 - from, frame));
        });
        let [first, second] = &sides;
        if first.said == second.heard && second.said == first.heard {
            return;
        }
    }
    let [first, second] = &sides;
    assert!(first.is_down() || second.is_down(), "the control channel lost something");
    for (said, heard) in [(&first.said, &second.heard), (&second.said, &first.heard)] {
        assert!(said.starts_with(heard), "the control channel delivered a message that was not sent");
    }
}

fn arrive(
    now: Time,
    sides: &mut [LinkSide; 2],
    line: &mut VecDeque<(usize, Vec<u8>)>,
    to: usize,
    mut frame: Vec<u8>,
) {
    // Replays are refused; an overtaken frame may be beyond the window.
    let _ = sides[to].link.handle_frame(now, &mut frame);
    line.extend(sides[to].collect(now).into_iter().map(|frame| (1 - to, frame)));
}
