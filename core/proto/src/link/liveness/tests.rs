//! The verdicts that follow from silence, with exact times.

use super::*;

const RTT: Option<Duration> = Some(Duration::from_millis(2));

/// Lets a packet stay unanswered while each timer fires `late`. Returns the verdicts with their times in milliseconds,
/// and the number of probes that were sent.
fn silence(late: Duration, lossy: bool) -> (Vec<(u64, LivenessVerdict)>, u32) {
    let start = Time::from_millis(1_000);
    let mut liveness = Liveness::new(start);
    liveness.take_vitals(start, 0, false);
    liveness.on_frame(start);
    liveness.on_sent(start);
    let (mut verdicts, mut probes) = (Vec::new(), 0);
    while !verdicts.iter().any(|(_, verdict)| *verdict == LivenessVerdict::Gone) {
        let now = liveness.deadline(RTT) + late;
        if let Some(verdict) = liveness.timeout(now, RTT, lossy) {
            verdicts.push((now.since(start).as_millis() as u64, verdict));
        }
        probes += u32::from(liveness.take_vitals(now, 0, false) == Some(VitalsKind::Probe));
    }
    (verdicts, probes)
}

#[test]
fn three_probes_fifty_milliseconds_apart_make_a_suspect() {
    let (verdicts, _) = silence(Duration::ZERO, false);
    assert_eq!(verdicts, [(200, LivenessVerdict::Suspect), (1_200, LivenessVerdict::Gone)]);
}

#[test]
fn on_a_lossy_link_twice_as_many_probes_are_sent() {
    let (verdicts, _) = silence(Duration::ZERO, true);
    assert_eq!(verdicts, [(350, LivenessVerdict::Suspect), (1_350, LivenessVerdict::Gone)]);
}

#[test]
fn timers_that_fire_late_are_no_evidence_five_times_in_a_row() {
    let late = Duration::from_millis(100);
    let (verdicts, probes) = silence(late, false);
    // The suspicion begins at 150 ms; five excuses, two more probes and the verdict follow, 150 ms apart.
    assert_eq!(verdicts[0], (150 + 5 * 150 + 3 * 150, LivenessVerdict::Suspect));
    assert!(verdicts[1].0 >= verdicts[0].0 + 1_000);
    assert!(probes >= 10);
}

#[test]
fn a_neighbour_that_the_medium_cut_is_soon_away_and_down_four_seconds_later_unless_it_is_heard() {
    let start = Time::from_millis(1_000);
    let mut liveness = Liveness::new(start);
    liveness.on_frame(start);
    liveness.take_vitals(start, 0, false);
    liveness.on_medium_cut(start);
    let (mut verdicts, mut probes) = (Vec::new(), Vec::new());
    while verdicts.len() < 2 {
        let now = liveness.deadline(RTT);
        // The report is repeated whenever anything about the medium changes.
        liveness.on_medium_cut(now);
        verdicts.extend(liveness.timeout(now, RTT, false).map(|verdict| (now.since(start), verdict)));
        if liveness.take_vitals(now, 0, false) == Some(VitalsKind::Probe) {
            probes.push(now.since(start).as_millis() as u64);
        }
    }
    let gone = CUT_TIMEOUT + AWAY_LIFE;
    assert_eq!(verdicts, [(CUT_TIMEOUT, LivenessVerdict::Away), (gone, LivenessVerdict::Cut)]);
    assert_eq!(probes[..6], [125, 250, 500, 1_000, 2_000, 3_000], "the intervals grow");
    let mut liveness = Liveness::new(start);
    liveness.on_frame(start);
    liveness.on_medium_cut(start);
    assert!(liveness.on_frame(start), "the frame ends the suspicion");
    assert!(liveness.deadline(RTT) > start + CUT_TIMEOUT);
}

#[test]
fn a_neighbour_is_probed_at_once_when_the_medium_is_back_however_long_it_was_cut() {
    let start = Time::from_millis(1_000);
    let mut liveness = Liveness::new(start);
    liveness.on_frame(start);
    liveness.take_vitals(start, 0, false);
    liveness.on_medium_restored(start);
    assert_eq!(liveness.take_vitals(start, 0, false), None, "the medium was not cut");
    liveness.on_medium_cut(start);
    let gone = start + CUT_TIMEOUT + AWAY_LIFE;
    while liveness.deadline(RTT) < start + Duration::from_millis(2_100) {
        let now = liveness.deadline(RTT);
        liveness.timeout(now, RTT, false);
        liveness.take_vitals(now, 0, false);
    }
    let back = start + Duration::from_millis(2_100);
    liveness.on_medium_restored(back);
    assert_eq!(liveness.take_vitals(back, 0, false), Some(VitalsKind::Probe));
    let mut probes = Vec::new();
    let last = loop {
        let now = liveness.deadline(RTT);
        if let Some(verdict) = liveness.timeout(now, RTT, false) {
            break (now, verdict);
        }
        if liveness.take_vitals(now, 0, false) == Some(VitalsKind::Probe) {
            probes.push(now.since(back).as_millis() as u64);
        }
    };
    assert_eq!(probes, [125, 375, 875, 1_875], "the intervals begin again");
    assert_eq!(last, (gone, LivenessVerdict::Cut), "the life of the session is not extended");
}

#[test]
fn hellos_are_spread_by_an_eighth() {
    for (spread, often, millis) in
        [(0, false, 875), (u32::MAX, false, 1_125), (0, true, 437), (u32::MAX, true, 562)]
    {
        let mut liveness = Liveness::new(Time::ZERO);
        liveness.on_frame(Time::ZERO);
        liveness.take_vitals(Time::ZERO, spread, often);
        assert_eq!(liveness.deadline(RTT).since(Time::ZERO).as_millis(), millis);
    }
}

#[test]
fn only_vitals_answer_a_probe_and_anything_answers_a_packet() {
    let start = Time::from_millis(1_000);
    let at = |ms| start + Duration::from_millis(ms);
    let mut liveness = Liveness::new(start);
    assert_eq!(liveness.take_vitals(start, 0, false), Some(VitalsKind::Probe));
    liveness.answer_now(at(1));
    assert_eq!(liveness.take_vitals(at(1), 0, false), Some(VitalsKind::Answer), "a new link answers at once");
    liveness.answer_now(at(2));
    liveness.on_sent(at(3));
    assert_eq!(liveness.deadline(RTT), at(6), "5 ms after the last");
    liveness.timeout(at(6), RTT, false);
    assert_eq!(liveness.take_vitals(at(6), 0, false), Some(VitalsKind::Answer));
    liveness.on_frame(at(10));
    liveness.answer_later(at(10));
    liveness.on_sent(at(11));
    assert!(liveness.deadline(RTT) > at(10) + ANSWER_DELAY, "the frame that was sent is the answer");
}

#[test]
fn until_it_is_first_heard_a_neighbour_has_three_times_as_long_as_the_handshake_took() {
    let start = Time::from_millis(1_000);
    let far = Duration::from_secs(3);
    let mut liveness = Liveness::new(start);
    liveness.set_handshake_rtt(far);
    liveness.take_vitals(start, 0, false);
    let mut suspicion = None;
    let mut verdicts = Vec::new();
    while verdicts.len() < 2 {
        let now = liveness.deadline(None);
        verdicts.extend(
            liveness.timeout(now, None, false).map(|verdict| (now.since(start).as_millis(), verdict)),
        );
        if liveness.take_vitals(now, 0, false) == Some(VitalsKind::Probe) {
            suspicion.get_or_insert(now.since(start));
        }
    }
    assert_eq!(suspicion, Some(far * 3));
    // Three probes are sent half a round trip apart, and the answer to the last one may take a whole round trip.
    assert_eq!(verdicts, [(13_500, LivenessVerdict::Suspect), (16_500, LivenessVerdict::Gone)]);
    let mut near = Liveness::new(start);
    near.set_handshake_rtt(Duration::from_millis(1));
    assert_eq!(near.suspicion_at(None).since(start), FIRST_ANSWER_TIMEOUT, "the finish may still be missing");
}

#[test]
fn a_neighbour_is_probed_at_once_when_the_medium_refuses_to_send() {
    let start = Time::from_millis(1_000);
    let mut liveness = Liveness::new(start);
    liveness.take_vitals(start, 0, false);
    liveness.on_frame(start);
    let mut probes = Vec::new();
    let mut suspect = None;
    let mut now = start + Duration::from_millis(100);
    liveness.on_send_refused(now, RTT);
    while suspect.is_none() {
        if liveness.take_vitals(now, 0, false) == Some(VitalsKind::Probe) {
            probes.push(now.since(start).as_millis());
            // The probe is refused as well, which must not restart the suspicion.
            liveness.on_send_refused(now, RTT);
        }
        now = liveness.deadline(RTT);
        suspect = liveness.timeout(now, RTT, false);
    }
    assert_eq!((suspect, now.since(start).as_millis()), (Some(LivenessVerdict::Suspect), 250));
    assert_eq!(probes, [100, 150, 200]);
}
