//! Requests for sessions that have no answer.

use super::*;

/// The requests to an absent peer, one by one, as they count against the next hop after each.
fn counts(bench: &mut Bench) -> Vec<u32> {
    let (absent, local) = (identity(50).address(), bench.nodes[0].address());
    bench.nodes[0].add_route(absent);
    bench.nodes[0].send(absent, b"x".to_vec());
    let mut counts = Vec::new();
    bench.run_with(
        Duration::from_secs(8),
        |bench, _, packet| {
            let is_first_part = is_request(packet.get(HEADER..).unwrap_or_default());
            if is_first_part && packet[4..36] == *absent.as_bytes() {
                let entry = bench.nodes[0].shared.conversations.find(&local, &absent).unwrap();
                let state = lock(&entry.state);
                counts.push(state.requested.as_ref().unwrap().count);
            }
        },
        |_| false,
    );
    counts
}

#[test]
fn two_requests_without_an_answer_are_a_verdict_against_a_next_hop_that_has_delivered_nothing() {
    assert_eq!(counts(&mut Bench::new(1)), [0, 1, 0, 1, 0, 1], "a verdict ends the count");
}

#[test]
fn four_are_needed_against_a_next_hop_that_delivers_other_messages() {
    let mut bench = Bench::new(1);
    bench.send(0, 1);
    assert!(!bench.nodes[0].neighbour.delivers(bench.nodes[0].shared.now()));
    bench.run(Duration::from_secs(2), |_| false);
    assert_eq!(bench.nodes[1].inbox.len(), 1);
    assert!(bench.nodes[0].neighbour.delivers(bench.nodes[0].shared.now()), "the receipt speaks for it");
    assert_eq!(counts(&mut bench), [0, 1, 2, 3, 0, 1]);
    bench.sleep(Duration::from_secs(60));
    assert!(!bench.nodes[0].neighbour.delivers(bench.nodes[0].shared.now()), "for a minute");
}
