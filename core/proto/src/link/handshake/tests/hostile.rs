//! Frames of attackers: floods, forgeries, replays and damage.

use proptest::prelude::*;

use super::*;
use crate::wire::link::COOKIE;

fn endpoint(n: u32) -> Path {
    Path { netmod: 0, endpoint: Endpoint::new(&n.to_be_bytes()).unwrap() }
}

/// A fresh initiation, which any node can make.
fn initiation(n: u32) -> Vec<u8> {
    let mut seed = [9; 32];
    seed[..4].copy_from_slice(&n.to_be_bytes());
    let mut node = Handshakes::new(&identity(0), open(), seed);
    node.dial(Time::ZERO, path(1, 0), 1400);
    match node.poll_output() {
        Some(HandshakeOutput::Transmit { frame, .. }) => frame,
        other => panic!("no initiation: {other:?}"),
    }
}

fn replies(node: &mut Handshakes) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| match node.poll_output()? {
        HandshakeOutput::Transmit { frame, .. } => Some(frame),
        other => panic!("{other:?}"),
    })
    .collect()
}

#[test]
fn handshakes_under_way_are_bounded() {
    let config = LinkConfig { max_answers: 8, load: 1000, ..open() };
    let mut node = Handshakes::new(&identity(1), config, [1; 32]);
    let mut refused = 0;
    for n in 0..40 {
        let result = node.handle(Time::from_millis(1), endpoint(n), Source::default(), 1400, &initiation(n));
        refused += u32::from(result == Err(DropCause::HandshakeLimit));
    }
    assert_eq!((node.under_way().2, refused), (8, 32));
    let later = Time::from_millis(1500);
    assert_eq!(
        node.handle(later, endpoint(99), Source::default(), 1400, &initiation(99)),
        Ok(()),
        "the oldest was evicted"
    );
    assert_eq!(node.under_way().2, 8);
}

#[test]
fn one_endpoint_cannot_begin_more_than_five_a_second() {
    let mut node = Handshakes::new(&identity(1), open(), [1; 32]);
    for n in 0..20 {
        let expected = if n < 5 { Ok(()) } else { Err(DropCause::HandshakeLimit) };
        assert_eq!(
            node.handle(Time::from_millis(1), endpoint(1), Source::default(), 1400, &initiation(n)),
            expected
        );
    }
}

#[test]
fn no_answer_is_longer_than_what_it_answers() {
    let mut node = Handshakes::new(&identity(1), open(), [1; 32]);
    let mut answered = 0;
    for n in 0..200 {
        let mut frame = initiation(n);
        match n % 4 {
            1 => frame.truncate(200),
            2 => frame.truncate(100),
            3 => frame[1] = 7,
            _ => {}
        }
        let _ = node.handle(Time::from_millis(1), endpoint(n), Source::default(), 1400, &frame);
        let sent: usize = replies(&mut node).iter().map(Vec::len).sum();
        assert!(sent <= frame.len(), "{sent} for {}", frame.len());
        answered += u32::from(sent > 0);
    }
    assert!(answered >= 100);
}

#[test]
fn a_forged_response_causes_no_longer_finish() {
    let mut pair = Pair::new(1);
    pair.dial(0, 0);
    let mut response = None;
    pair.settle(|flying| {
        response = Some(flying.clone()).filter(|flying| flying.frame[0] == RESPONSE).or(response.take());
        true
    });
    let response = response.unwrap();
    for length in 10..=response.frame.len() {
        let mut forged = response.clone();
        forged.frame.truncate(length);
        let _ = pair.deliver(forged);
        let sent: usize = pair.flying.drain(..).map(|flying| flying.frame.len()).sum();
        assert!(sent <= length, "{sent} for {length}");
        assert!(sent > 0 || length < response.frame.len(), "the true response causes a finish");
    }
}

#[test]
fn an_honest_dialler_gets_through_a_flood() {
    let mut pair = Pair::new(1);
    let mut flood = 0;
    pair.dial(0, 0);
    let mut cookies = 0;
    let end = pair.now + Duration::from_secs(5);
    while pair.counts() != (1, 1) {
        // Before each honest frame there are two hundred from forged endpoints, which receive no cookie.
        for _ in 0..200 {
            flood += 1;
            let _ = pair.nodes[1].handle(
                pair.now,
                endpoint(flood),
                Source::isolated(flood.into()),
                1400,
                &initiation(flood % 300),
            );
        }
        while pair.nodes[1].poll_output().is_some() {}
        let held = pair.nodes[1].under_way().2;
        pair.settle(|flying| {
            cookies += u32::from(flying.frame[0] == COOKIE);
            true
        });
        assert!(held <= 60, "only initiations from before the load are held: {held}");
        assert!(pair.counts() == (1, 1) || pair.advance(end), "the honest dial failed");
    }
    assert_eq!(cookies, 1);
    assert!(pair.agree());
}

#[test]
fn a_damaged_or_forged_finish_does_not_invalidate_the_true_one() {
    let mut pair = Pair::new(1);
    pair.dial(0, 0);
    while !pair.flying[0].frame.starts_with(&[FINISH]) {
        let flying = pair.flying.remove(0);
        pair.deliver(flying).unwrap();
    }
    let finish = pair.flying.remove(0);
    for at in [6, 60, finish.frame.len() - 1] {
        let mut damaged = finish.clone();
        damaged.frame[at] ^= 1;
        assert_eq!(pair.deliver(damaged), Err(DropCause::BadHandshake));
    }
    assert_eq!(pair.deliver(finish), Ok(()));
    assert!(pair.agree());
}

#[test]
fn any_number_of_forged_finishes_does_not_end_a_handshake() {
    for configs in [[open(), open()], [closed(7), closed(7)]] {
        let mut pair = Pair::with(configs, 1);
        pair.dial(0, 0);
        pair.settle(|flying| flying.frame[0] != FINISH);
        assert_eq!(pair.counts(), (1, 0));
        assert!(pair.advance(pair.now + Duration::from_secs(1)), "the finish is repeated");
        let finish = pair.flying.remove(0);
        // An attacker that has seen the response but not the finish can only guess.
        for n in 0..100u8 {
            let mut forged = finish.clone();
            forged.frame.truncate(6);
            forged.frame.extend_from_slice(&[n; 115]);
            assert_eq!(pair.deliver(forged), Err(DropCause::BadHandshake));
        }
        assert_eq!(pair.deliver(finish), Ok(()));
        assert!(pair.agree());
    }
}

#[test]
fn forged_responses_do_not_invalidate_the_true_one() {
    let mut pair = Pair::new(1);
    pair.dial(0, 0);
    let initiation = pair.flying.remove(0);
    pair.deliver(initiation).unwrap();
    let response = pair.flying.remove(0);
    let mut forged = response.clone();
    forged.frame[50] ^= 1;
    for _ in 0..3 {
        assert_eq!(pair.deliver(forged.clone()), Err(DropCause::BadHandshake));
    }
    // A response from another endpoint is not verified at all.
    let elsewhere = Flying { channel: 3, ..response.clone() };
    assert_eq!(pair.deliver(elsewhere), Err(DropCause::UnknownSession));
    pair.deliver(response).unwrap();
    pair.run(20, |_| true);
    assert_eq!(pair.counts(), (1, 1));
    assert!(pair.agree());
}

#[test]
fn a_forged_refusal_does_not_end_a_dial() {
    let mut pair = Pair::new(1);
    pair.dial(0, 0);
    let initiation = pair.flying[0].frame.clone();
    let receiver = u32::from_le_bytes(initiation[3..7].try_into().unwrap());
    let key = &initiation[Initiation::LEN..];
    let refusal = |echo: &[u8]| {
        let echo = echo[..8].try_into().unwrap();
        let reason = crate::wire::link::Refusal::VERSION;
        let head = crate::wire::link::Refusal { kind: REFUSAL, version: 2, receiver, echo, reason };
        Flying { to: 0, channel: 0, frame: crate::wire::link::frame(&head, &[]) }
    };
    assert_eq!(pair.deliver(refusal(&[0; 8])), Err(DropCause::UnknownSession));
    assert_eq!(pair.deliver(refusal(key)), Ok(()));
    pair.run(20, |_| true);
    assert_eq!(pair.counts(), (1, 1));
}

#[test]
fn replayed_frames_begin_no_session() {
    let mut pair = Pair::new(1);
    pair.dial(0, 0);
    let mut seen = Vec::new();
    pair.run(1, |flying| {
        seen.push(flying.clone());
        true
    });
    pair.run(30, |_| true);
    for flying in seen {
        let _ = pair.deliver(flying);
    }
    pair.run(30, |_| true);
    assert_eq!(pair.counts(), (1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_bytes_do_no_harm(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20)) {
        let mut node = Handshakes::new(&identity(1), open(), [1; 32]);
        for (n, mut frame) in frames.into_iter().enumerate() {
            if let Some(kind) = frame.first_mut() {
                *kind %= 6;
            }
            let _ = node.handle(Time::from_millis(n as u64), endpoint(n as u32), Source::default(), 1400, &frame);
            let sent: usize = replies(&mut node).iter().map(Vec::len).sum();
            prop_assert!(sent <= frame.len());
        }
    }

    #[test]
    fn changed_frames_never_lead_to_two_different_sessions(
        changes in prop::collection::vec((0usize..3, 0usize..INITIATION_LEN, 1u8.., any::<bool>()), 1..4),
    ) {
        let mut pair = Pair::new(1);
        pair.dial(0, 0);
        let mut step = 0;
        let end = pair.now + Duration::from_secs(20);
        loop {
            while !pair.flying.is_empty() {
                let mut flying = pair.flying.remove(0);
                for (which, at, by, cut) in &changes {
                    if *which == step {
                        let at = at % flying.frame.len();
                        match cut {
                            true => flying.frame.truncate(at.max(1)),
                            false => flying.frame[at] ^= by,
                        }
                    }
                }
                step += 1;
                let _ = pair.deliver(flying);
            }
            if !pair.advance(end) {
                break;
            }
        }
        let (first, second) = pair.counts();
        prop_assert!(first <= 1 && second <= 1);
        if first + second == 2 {
            prop_assert!(pair.agree());
        }
    }
}

/// A pair, and a third node that claims the instance of the first node.
fn with_a_namesake() -> (Pair, Handshakes) {
    let pair = Pair::new(1);
    let config = LinkConfig { instance: Some(pair.nodes[0].instance()), ..open() };
    (pair, Handshakes::new(&Identity::from_seed(&[3; 32]), config, [6; 32]))
}

/// The frames that a node sends; other outputs are ignored.
fn sent(node: &mut Handshakes) -> Vec<Vec<u8>> {
    let outputs = std::iter::from_fn(|| node.poll_output());
    outputs
        .filter_map(|output| match output {
            HandshakeOutput::Transmit { frame, .. } => Some(frame),
            _ => None,
        })
        .collect()
}

#[test]
fn a_neighbour_that_claims_the_instance_of_another_does_not_prevent_its_session() {
    let (mut pair, mut namesake) = with_a_namesake();
    let (now, there) = (pair.now, path(0, 9));
    // The namesake is dialled, completes the handshake, and sends nothing more.
    pair.nodes[1].dial(now, there, 1400);
    for _ in 0..3 {
        for frame in sent(&mut pair.nodes[1]) {
            namesake.handle(now, path(1, 0), Source::default(), 1400, &frame).unwrap();
        }
        for frame in sent(&mut namesake) {
            pair.nodes[1].handle(now, there, Source::default(), 1400, &frame).unwrap();
        }
    }
    assert_eq!(pair.nodes[1].under_way().1, 1, "a finish is kept for it");
    pair.dial(0, 0);
    pair.run(1, |_| true);
    assert_eq!(pair.counts(), (1, 1));
    assert!(pair.agree());
}

#[test]
fn an_initiation_that_claims_the_instance_of_another_does_not_delay_a_dial() {
    let (mut pair, mut namesake) = with_a_namesake();
    namesake.dial(pair.now, path(1, 0), 1400);
    for frame in sent(&mut namesake) {
        pair.nodes[1].handle(pair.now, path(0, 9), Source::default(), 1400, &frame).unwrap();
    }
    let _ = sent(&mut pair.nodes[1]);
    pair.dial(1, 0);
    pair.run(1, |_| true);
    assert_eq!(pair.counts(), (1, 1));
    assert!(pair.agree());
}
