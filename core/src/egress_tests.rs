//! The egress above a netmod that records its trains and takes them when the test lets it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use async_trait::async_trait;
use futures::FutureExt;

use super::queues::{COPY_FROM, MAX_CONTROL, MAX_PACKETS};
use super::*;
use crate::identity::Identity;
use crate::link::{HandshakeOutput, Handshakes, LinkConfig, Path, Session, Source};
use crate::netmod::{Properties, Received};
use crate::time::Time;

/// A netmod that records its trains, and takes none while it is busy.
#[derive(Default)]
struct RecordingNetmod {
    trains: Mutex<Vec<(Vec<u8>, usize)>>,
    busy: AtomicBool,
    /// The number of trains that it takes even though it is busy.
    takes: AtomicU64,
}

#[async_trait]
impl Netmod for RecordingNetmod {
    fn scheme(&self) -> &str {
        "netmod"
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
        let takes = self.takes.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if self.busy.load(SeqCst) && !takes {
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

/// A session of two ends: the sealer of one, and the session that opens its frames at the other.
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
                        ends[1 - here].handle(Time::ZERO, path(1), Source::default(), 1200, &frame).unwrap();
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

fn egress() -> (Arc<RecordingNetmod>, Egress, Session) {
    let (sealer, opener) = session();
    let netmod = Arc::new(RecordingNetmod::default());
    (netmod.clone(), Egress::new(netmod, Endpoint::new(&[1]).unwrap(), sealer), opener)
}

fn drain(egress: &Egress) -> (bool, DrainReport) {
    let mut drained = DrainReport::default();
    let whole = egress.drain(&mut drained).now_or_never().is_some();
    (whole, drained)
}

fn push(egress: &Egress, class: Class, first: u8, length: usize) {
    let mut content = vec![0; length];
    content[0] = first;
    assert_eq!(egress.push(class, content.into()), PushOutcome::Queued);
}

/// The first byte of each frame's content, in order. Frames that do not open are left out.
fn opened(netmod: &RecordingNetmod, session: &mut Session) -> Vec<u8> {
    let trains = std::mem::take(&mut *netmod.trains.lock().unwrap());
    let frames = trains.iter().flat_map(|(bytes, size)| bytes.chunks(*size));
    frames
        .filter_map(|frame| session.opener.open(&mut frame.to_vec()).ok().map(|content| content[0]))
        .collect()
}

#[test]
fn urgent_classes_go_first_and_each_in_its_order() {
    let (netmod, egress, mut opener) = egress();
    for (first, class) in [(5, Class::Bulk), (3, Class::Interactive), (1, Class::Control), (6, Class::Bulk)] {
        push(&egress, class, first, 100);
        push(&egress, class, first + 10, 100);
    }
    let (whole, drained) = drain(&egress);
    assert!(whole && egress.is_empty());
    assert_eq!((drained.frames, drained.packets), (8, 6), "a control frame is no packet");
    assert_eq!(opened(&netmod, &mut opener), [1, 11, 3, 13, 5, 15, 6, 16]);
}

#[test]
fn frames_of_a_train_have_one_length_and_are_no_more_than_the_netmod_takes() {
    let (netmod, egress, _) = egress();
    for length in [200, 200, 100, 200, 300].into_iter().chain([400; 20]) {
        push(&egress, Class::Bulk, 0, length);
    }
    drain(&egress);
    let over = Sealer::OVERHEAD;
    let shapes: Vec<_> =
        netmod.trains.lock().unwrap().iter().map(|(bytes, size)| (bytes.len(), *size)).collect();
    assert_eq!(shapes[0], (500 + 3 * over, 200 + over));
    assert_eq!(shapes[1], (200 + over, 200 + over));
    assert_eq!(shapes[2], (300 + over, 300 + over));
    assert_eq!(shapes[3], (16 * (400 + over), 400 + over));
    assert_eq!(shapes[4], (4 * (400 + over), 400 + over));
}

#[test]
fn a_drain_that_is_dropped_midway_loses_nothing() {
    let (netmod, egress, mut opener) = egress();
    (0..40).for_each(|n| push(&egress, Class::Bulk, n, 100));
    netmod.busy.store(true, SeqCst);
    let (whole, drained) = drain(&egress);
    assert!(!whole && egress.is_stalled());
    assert_eq!((drained.frames, drained.failed), (0, 0));
    netmod.trains.lock().unwrap().clear();
    netmod.busy.store(false, SeqCst);
    push(&egress, Class::Control, 99, 100);
    assert!(drain(&egress).0 && egress.is_empty());
    let mut expected: Vec<u8> = (0..16).collect();
    expected.push(99);
    expected.extend(16..40);
    assert_eq!(opened(&netmod, &mut opener), expected, "the sealed train is sent first");
}

#[test]
fn a_drain_is_bounded_and_reports_the_rest_as_stalled() {
    let (netmod, egress, mut opener) = egress();
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
    assert_eq!(opened(&netmod, &mut opener).len() as u64, count);
}

#[test]
fn packets_leave_room_for_control_and_both_are_bounded() {
    let (_, egress, _) = egress();
    let body = Bytes::from(vec![0; 1000]);
    let fill =
        |class| (0..10_000).take_while(|_| egress.push(class, body.clone()) == PushOutcome::Queued).count();
    assert_eq!(fill(Class::Bulk), MAX_PACKETS / 1000);
    assert_eq!(egress.push(Class::Interactive, body.clone()), PushOutcome::Displaced(1));
    assert_eq!(fill(Class::Control), MAX_CONTROL / 1000);
    assert_eq!(egress.push(Class::Control, body.clone()), PushOutcome::Full);
}

#[test]
fn a_closed_egress_counts_its_dropped_frames_and_accepts_none() {
    let (netmod, egress, _) = egress();
    (0..20).for_each(|n| push(&egress, Class::Bulk, n, 100));
    netmod.busy.store(true, SeqCst);
    drain(&egress);
    assert_eq!(egress.close(), 20, "the frames of the interrupted train as well");
    assert_eq!(egress.push(Class::Control, Bytes::from_static(b"x")), PushOutcome::Closed);
    assert!(egress.is_empty() && !egress.is_stalled());
}

#[test]
fn a_deep_queue_does_not_hold_on_to_the_buffers_that_packets_came_in() {
    let (_, egress, _) = egress();
    push(&egress, Class::Bulk, 0, COPY_FROM);
    let buffer = Bytes::from(vec![0; 64 << 10]);
    assert_eq!(egress.push(Class::Bulk, buffer.slice(..100)), PushOutcome::Queued);
    assert!(buffer.is_unique());
}

/// A packet to one of many destinations, marked by the first byte of its payload.
fn packet_to(destination: u8, mark: u8, length: usize) -> Bytes {
    let mut content = Vec::with_capacity(length);
    let to = crate::Address::from_bytes([destination; 32]);
    crate::wire::packet::write_header(&mut content, Class::Bulk, 0, 64, &to);
    content.push(mark);
    content.resize(length, 0);
    content.into()
}

/// Queues `count` packets for one destination, which is their mark as well.
fn fill(egress: &Egress, count: usize, destination: u8, length: usize) {
    for _ in 0..count {
        let packet = packet_to(destination, destination, length);
        assert_eq!(egress.push(Class::Bulk, packet), PushOutcome::Queued);
    }
}

/// The marks of the packets that were sent, in order.
fn marks(netmod: &RecordingNetmod, session: &mut Session) -> Vec<u8> {
    let trains = std::mem::take(&mut *netmod.trains.lock().unwrap());
    let frames = trains.iter().flat_map(|(bytes, size)| bytes.chunks(*size));
    let mark = |frame: &[u8]| session.opener.open(&mut frame.to_vec()).ok().map(|content| content[36]);
    frames.filter_map(mark).collect()
}

#[test]
fn a_busy_destination_does_not_delay_another() {
    let (netmod, egress, mut opener) = egress();
    (0..200).for_each(|n| assert_eq!(egress.push(Class::Bulk, packet_to(1, n, 1000)), PushOutcome::Queued));
    // By their hashes, most of several destinations have a flow to themselves.
    for destination in 2..8 {
        egress.push(Class::Bulk, packet_to(destination, 200 + destination, 1000));
    }
    drain(&egress);
    let sent = marks(&netmod, &mut opener);
    let slots: Vec<_> = (202..208).filter_map(|mark| sent.iter().position(|sent| *sent == mark)).collect();
    assert_eq!((sent.len(), slots.len()), (206, 6));
    assert!(slots.iter().filter(|place| **place < 16).count() >= 4, "{slots:?}");
    let busy: Vec<_> = sent.into_iter().filter(|mark| *mark < 200).collect();
    assert!(busy.is_sorted(), "a flow keeps its order");
}

#[test]
fn two_busy_destinations_share_the_link_by_bytes() {
    let (netmod, egress, mut opener) = egress();
    // Two destinations may share a flow; of three pairs at least one does not.
    let mut fair = 0;
    for pair in 0..3u8 {
        fill(&egress, 160, 2 * pair, 1200);
        fill(&egress, 320, 2 * pair + 1, 600);
        drain(&egress);
        let first = &marks(&netmod, &mut opener)[..120];
        let large = first.iter().filter(|mark| **mark == 2 * pair).count() * 1200;
        let small = first.iter().filter(|mark| **mark == 2 * pair + 1).count() * 600;
        fair += u32::from(large.abs_diff(small) <= 3 * 1514);
    }
    assert!(fair >= 1);
}

#[test]
fn packets_beyond_the_bound_are_dropped_from_the_longest_flow() {
    let (netmod, egress, mut opener) = egress();
    for destination in 2..8 {
        egress.push(Class::Bulk, packet_to(destination, 200 + destination, 1000));
    }
    let room = MAX_PACKETS / 1000 - 6;
    (0..room).for_each(|_| assert_eq!(egress.push(Class::Bulk, packet_to(1, 1, 1000)), PushOutcome::Queued));
    for _ in 0..10 {
        assert_eq!(egress.push(Class::Bulk, packet_to(1, 9, 1000)), PushOutcome::Displaced(1));
    }
    assert_eq!(egress.push(Class::Bulk, packet_to(9, 209, 3000)), PushOutcome::Displaced(3));
    while !egress.is_empty() {
        drain(&egress);
    }
    let sent = marks(&netmod, &mut opener);
    assert_eq!(sent.len(), room + 6 + 1 - 3);
    assert!(
        (202..208).chain([209]).filter(|mark| sent.contains(mark)).count() >= 6,
        "the short flows are whole"
    );
    assert_eq!(sent.iter().filter(|mark| **mark == 9).count(), 10, "the oldest were dropped, not the newest");
}

#[test]
fn urgent_classes_leave_the_others_a_share() {
    let (netmod, egress, mut opener) = egress();
    (0..250).for_each(|_| push(&egress, Class::Control, 1, 1000));
    (0..500).for_each(|_| push(&egress, Class::Interactive, 2, 1000));
    (0..300).for_each(|_| push(&egress, Class::Bulk, 3, 1000));
    drain(&egress);
    let sent = opened(&netmod, &mut opener);
    let count = |part: &[u8], first| part.iter().filter(|sent| **sent == first).count();
    assert!(sent[..65].iter().all(|first| *first == 1), "a burst of control is not delayed");
    assert_eq!(count(&sent[66..166], 1), 80, "afterwards a fifth is for packets");
    assert!(count(&sent[300..800], 3) >= 60, "of which bulk receives its share");
}

#[test]
fn packets_that_have_waited_in_a_standing_queue_are_dropped_and_counted() {
    let (netmod, mut egress, mut opener) = egress();
    let time = Arc::new(AtomicU64::new(0));
    let reads = time.clone();
    egress.clock = Box::new(move || Time::from_nanos(reads.load(SeqCst)));
    // The medium takes everything at once: nothing is dropped, however long it waited.
    fill(&egress, 40, 1, 1000);
    time.store(1_000_000_000, SeqCst);
    assert_eq!(drain(&egress).1.overdue, 0);
    assert_eq!(marks(&netmod, &mut opener).len(), 40);
    // From here on the medium takes one train of 16 frames each 20 ms, in which 20 are pushed.
    let (mut late, mut sent) = (0, 0);
    for turn in 0..100u64 {
        time.store(1_000_000_000 + turn * 20_000_000, SeqCst);
        fill(&egress, 20, 1, 1000);
        netmod.busy.store(true, SeqCst);
        netmod.takes.store(1, SeqCst);
        late += drain(&egress).1.overdue;
        sent += marks(&netmod, &mut opener).len();
    }
    assert!(late > 10, "{late}");
    netmod.busy.store(false, SeqCst);
    let mut drained = DrainReport::default();
    while !egress.is_empty() {
        egress.drain(&mut drained).now_or_never();
    }
    sent += marks(&netmod, &mut opener).len();
    assert_eq!(late + drained.overdue + sent as u64, 2000, "every lost packet was counted");
}

#[test]
fn an_empty_queue_keeps_little_memory() {
    let (_, egress, _) = egress();
    (0..150).for_each(|destination| fill(&egress, 10, destination, 1000));
    (0..200).for_each(|_| push(&egress, Class::Control, 1, 1000));
    while !egress.is_empty() {
        drain(&egress);
    }
    assert!(egress.lock().queues.memory() <= 12 << 10, "{}", egress.lock().queues.memory());
}
