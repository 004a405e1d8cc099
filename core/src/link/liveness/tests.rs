//! Silence, as it is judged.

use super::*;

const RTT: Option<Duration> = Some(Duration::from_millis(2));

/// What comes of silence after a packet, when each timer fires `late`: the verdicts with their times in
/// milliseconds, and the probes that were sent.
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
fn where_frames_get_lost_twice_as_many_are_tried() {
    let (verdicts, _) = silence(Duration::ZERO, true);
    assert_eq!(verdicts, [(350, LivenessVerdict::Suspect), (1_350, LivenessVerdict::Gone)]);
}

#[test]
fn timers_that_fire_late_are_no_evidence_five_times_in_a_row() {
    let late = Duration::from_millis(100);
    let (verdicts, probes) = silence(late, false);
    // The first is in doubt at 150; then five excuses and two more probes, 150 apart.
    assert_eq!(verdicts[0], (150 + 5 * 150 + 3 * 150, LivenessVerdict::Suspect));
    assert!(verdicts[1].0 >= verdicts[0].0 + 1_000);
    assert!(probes >= 10);
}

#[test]
fn what_the_medium_knows_to_be_cut_is_soon_out_of_service_and_gone_four_seconds_later_unless_it_is_heard() {
    let start = Time::from_millis(1_000);
    let mut liveness = Liveness::new(start);
    liveness.on_frame(start);
    liveness.take_vitals(start, 0, false);
    liveness.on_medium_cut(start);
    let (mut verdicts, mut probes) = (Vec::new(), Vec::new());
    while verdicts.len() < 2 {
        let now = liveness.deadline(RTT);
        // It is said again whenever anything about the medium changes.
        liveness.on_medium_cut(now);
        verdicts.extend(liveness.timeout(now, RTT, false).map(|verdict| (now.since(start), verdict)));
        if liveness.take_vitals(now, 0, false) == Some(VitalsKind::Probe) {
            probes.push(now.since(start).as_millis() as u64);
        }
    }
    let gone = CUT_TIMEOUT + AWAY_LIFE;
    assert_eq!(verdicts, [(CUT_TIMEOUT, LivenessVerdict::Away), (gone, LivenessVerdict::Cut)]);
    assert_eq!(probes[..6], [125, 250, 500, 1_000, 2_000, 3_000], "ever more rarely");
    let mut liveness = Liveness::new(start);
    liveness.on_frame(start);
    liveness.on_medium_cut(start);
    assert!(liveness.on_frame(start), "it was suspect, and is no more");
    assert!(liveness.deadline(RTT) > start + CUT_TIMEOUT);
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
fn the_answer_to_a_probe_is_paid_by_vitals_only_and_to_a_packet_by_anything() {
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
    assert!(liveness.deadline(RTT) > at(10) + ANSWER_DELAY, "what was sent is a kind of life");
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
    // Three probes, half a round trip apart, and a round trip for the answer to the last.
    assert_eq!(verdicts, [(13_500, LivenessVerdict::Suspect), (16_500, LivenessVerdict::Gone)]);
    let mut near = Liveness::new(start);
    near.set_handshake_rtt(Duration::from_millis(1));
    assert_eq!(near.suspicion_at(None).since(start), FIRST_ANSWER_TIMEOUT, "the finish may still be missing");
}

#[test]
fn what_the_medium_refuses_to_send_is_asked_about_at_once() {
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
            // The probe is refused as well: that is no news.
            liveness.on_send_refused(now, RTT);
        }
        now = liveness.deadline(RTT);
        suspect = liveness.timeout(now, RTT, false);
    }
    assert_eq!((suspect, now.since(start).as_millis()), (Some(LivenessVerdict::Suspect), 250));
    assert_eq!(probes, [100, 150, 200]);
}
