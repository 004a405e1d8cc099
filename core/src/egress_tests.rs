//! The egress with a netmod that a test holds in its hand.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use async_trait::async_trait;
use futures::FutureExt;

use super::*;
use crate::identity::Identity;
use crate::link::{HandshakeOutput, Handshakes, LinkConfig, Path, Session};
use crate::netmod::{Properties, Received};
use crate::time::Time;

/// Notes what is sent, and takes nothing while it is busy.
#[derive(Default)]
struct Tape {
    trains: Mutex<Vec<(Vec<u8>, usize)>>,
    busy: AtomicBool,
}

#[async_trait]
impl Netmod for Tape {
    fn scheme(&self) -> &str {
        "tape"
    }
    fn uri(&self) -> String {
        "tape:".to_owned()
    }
    fn properties(&self) -> Properties {
        Properties { mtu: 1200, max_train: 16, broadcast: false, cost: 0 }
    }
    async fn recv(&self, _: &mut Received) -> Result<(), NetmodError> {
        std::future::pending().await
    }
    async fn send(&self, _: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        self.trains.lock().unwrap().push((train.bytes.to_vec(), train.size));
        if self.busy.load(SeqCst) {
            std::future::pending().await
        }
        Ok(())
    }
    async fn resolve(&self, _: &str) -> Result<Vec<Endpoint>, NetmodError> {
        Ok(Vec::new())
    }
    fn describe(&self, _: &Endpoint) -> String {
        String::new()
    }
    fn quota_key(&self, _: &Endpoint) -> u64 {
        0
    }
}

/// Both ends of a session: what seals here, what opens there.
fn session() -> (Sealer, Session) {
    let path = |n| Path { netmod: 0, endpoint: Endpoint::new(&[n]).unwrap() };
    let seeds = [[1; 32], [2; 32]];
    let mut ends =
        seeds.map(|seed| Handshakes::new(&Identity::from_seed(&seed), LinkConfig::default(), seed));
    ends[0].dial(Time::ZERO, path(1), 1200);
    let (mut sealer, mut opener) = (None, None);
    while sealer.is_none() || opener.is_none() {
        for here in 0..2 {
            while let Some(output) = ends[here].poll_output() {
                match output {
                    HandshakeOutput::Transmit { frame, .. } => {
                        ends[1 - here].handle(Time::ZERO, path(1), 0, 1200, &frame).unwrap();
                    }
                    HandshakeOutput::Established(session) if here == 0 => sealer = Some(session.sealer),
                    HandshakeOutput::Established(session) => opener = Some(*session),
                    HandshakeOutput::Failed { reason, .. } => panic!("{reason}"),
                }
            }
        }
    }
    (sealer.unwrap(), opener.unwrap())
}

fn egress() -> (Arc<Tape>, Egress, Session) {
    let (sealer, opener) = session();
    let tape = Arc::new(Tape::default());
    (tape.clone(), Egress::new(tape, Endpoint::new(&[1]).unwrap(), sealer), opener)
}

fn drain(egress: &Egress) -> (bool, Drained) {
    let mut drained = Drained::default();
    let whole = egress.drain(&mut drained).now_or_never().is_some();
    (whole, drained)
}

fn push(egress: &Egress, class: Class, first: u8, length: usize) {
    let mut content = vec![0; length];
    content[0] = first;
    assert_eq!(egress.push(class, content.into()), Pushed::Queued);
}

/// The first byte of each frame's content, in order; frames that do not open are left out.
fn opened(tape: &Tape, session: &mut Session) -> Vec<u8> {
    let trains = std::mem::take(&mut *tape.trains.lock().unwrap());
    let frames = trains.iter().flat_map(|(bytes, size)| bytes.chunks(*size));
    frames
        .filter_map(|frame| session.opener.open(&mut frame.to_vec()).ok().map(|content| content[0]))
        .collect()
}

#[test]
fn urgent_classes_go_first_and_each_in_its_order() {
    let (tape, egress, mut opener) = egress();
    for (first, class) in [(5, Class::Bulk), (3, Class::Interactive), (1, Class::Control), (6, Class::Bulk)] {
        push(&egress, class, first, 100);
        push(&egress, class, first + 10, 100);
    }
    let (whole, drained) = drain(&egress);
    assert!(whole && egress.is_empty());
    assert_eq!((drained.frames, drained.packets), (8, 6), "control is no packet");
    assert_eq!(opened(&tape, &mut opener), [1, 11, 3, 13, 5, 15, 6, 16]);
}

#[test]
fn a_train_is_of_one_size_but_for_its_end_and_no_longer_than_the_netmod_takes() {
    let (tape, egress, _) = egress();
    for length in [200, 200, 100, 200, 300].into_iter().chain([400; 20]) {
        push(&egress, Class::Bulk, 0, length);
    }
    drain(&egress);
    let over = Sealer::OVERHEAD;
    let shapes: Vec<_> =
        tape.trains.lock().unwrap().iter().map(|(bytes, size)| (bytes.len(), *size)).collect();
    assert_eq!(shapes[0], (500 + 3 * over, 200 + over));
    assert_eq!(shapes[1], (200 + over, 200 + over));
    assert_eq!(shapes[2], (300 + over, 300 + over));
    assert_eq!(shapes[3], (16 * (400 + over), 400 + over));
    assert_eq!(shapes[4], (4 * (400 + over), 400 + over));
}

#[test]
fn a_drain_that_is_dropped_midway_loses_nothing() {
    let (tape, egress, mut opener) = egress();
    (0..40).for_each(|n| push(&egress, Class::Bulk, n, 100));
    tape.busy.store(true, SeqCst);
    let (whole, drained) = drain(&egress);
    assert!(!whole && egress.is_stalled());
    assert_eq!((drained.frames, drained.failed), (0, 0));
    tape.trains.lock().unwrap().clear();
    tape.busy.store(false, SeqCst);
    push(&egress, Class::Control, 99, 100);
    assert!(drain(&egress).0 && egress.is_empty());
    let mut expected: Vec<u8> = (0..16).collect();
    expected.push(99);
    expected.extend(16..40);
    assert_eq!(opened(&tape, &mut opener), expected, "what was sealed goes first");
}

#[test]
fn a_drain_is_a_portion_and_what_is_left_is_seen() {
    let (tape, egress, mut opener) = egress();
    let count = 1_500_000 / 1000;
    (0..count).for_each(|_| push(&egress, Class::Bulk, 7, 1000));
    assert!(egress.is_backed_up());
    let (whole, drained) = drain(&egress);
    assert!(whole && egress.is_stalled());
    assert!(drained.frames < count);
    while egress.is_stalled() {
        drain(&egress);
    }
    assert!(!egress.is_backed_up());
    assert_eq!(opened(&tape, &mut opener).len() as u64, count);
}

#[test]
fn packets_leave_room_for_control_and_both_are_bounded() {
    let (_, egress, _) = egress();
    let body = Bytes::from(vec![0; 1000]);
    let fill = |class| (0..10_000).take_while(|_| egress.push(class, body.clone()) == Pushed::Queued).count();
    assert_eq!(fill(Class::Bulk), (MAX_BYTES - CONTROL_RESERVE) / 1000);
    assert_eq!(egress.push(Class::Interactive, body.clone()), Pushed::Full);
    assert!(fill(Class::Control) >= CONTROL_RESERVE / 1000);
}

#[test]
fn a_closed_egress_counts_what_it_drops_and_takes_nothing() {
    let (tape, egress, _) = egress();
    (0..20).for_each(|n| push(&egress, Class::Bulk, n, 100));
    tape.busy.store(true, SeqCst);
    drain(&egress);
    assert_eq!(egress.close(), 20, "those of the train that was broken off as well");
    assert_eq!(egress.push(Class::Control, Bytes::from_static(b"x")), Pushed::Closed);
    assert!(egress.is_empty() && !egress.is_stalled());
}

#[test]
fn a_deep_queue_does_not_hold_on_to_the_buffers_that_packets_came_in() {
    let (_, egress, _) = egress();
    push(&egress, Class::Bulk, 0, COPY_FROM);
    let buffer = Bytes::from(vec![0; 64 << 10]);
    assert_eq!(egress.push(Class::Bulk, buffer.slice(..100)), Pushed::Queued);
    assert!(buffer.is_unique());
}
