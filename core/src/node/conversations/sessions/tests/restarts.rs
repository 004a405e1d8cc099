//! Restarts, sessions that end, and their cost at rest.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_first_message_takes_one_round_trip_more_than_the_next() {
    let mut bench = Bench::new(1);
    let mut times = Vec::new();
    for count in 1..4 {
        let begin = bench.step;
        bench.send(0, 1);
        assert!(bench.run(MINUTE, |bench| bench.nodes[1].inbox.len() == count));
        times.push(bench.step - begin);
    }
    assert_eq!(times, [3, 1, 1], "crossings of the path");
}

#[test]
fn a_restart_of_either_end_under_traffic_loses_nothing_that_waits_at_the_other() {
    for (seed, restarted) in (0..6).flat_map(|seed| [(seed, 0), (seed, 1)]) {
        let mut bench = Bench::new(seed);
        bench.faults = Faults { loss: 5, duplicates: 5, reordering: 5, corruption: 1 };
        let stayed = 1 - restarted;
        bench.send(stayed, 40);
        bench.send(restarted, 40);
        bench.run(Duration::from_millis(20 + 10 * seed), |_| false);
        let inbox = std::mem::take(&mut bench.nodes[restarted].inbox);
        bench.nodes[restarted] = BenchNode::start(restarted, 2);
        bench.nodes[restarted].inbox = inbox;
        bench.send(stayed, 20);
        bench.send(restarted, 20);
        let done = |bench: &Bench| {
            let late = |node| bench.received(node).iter().filter(|number| **number >= 80).count();
            late(0) >= 20 && late(1) >= 20
        };
        assert!(bench.run(MINUTE * 5, done), "seed {seed}, node {restarted}");
        bench.run(Duration::from_secs(5), |_| false);
        // The end that stayed sends all that has no receipt to the next run of the other, since the former has lost it.
        let received = bench.received(restarted);
        let missing: Vec<_> = (0..40).chain(80..100).filter(|number| !received.contains(number)).collect();
        assert!(missing.is_empty(), "seed {seed}, node {restarted}: {missing:?} is missing");
        // The end that stayed receives nothing twice, because what it has stays with it, and the messages of the next run
        // after those of the former.
        let received = bench.received(stayed);
        assert!(received.is_sorted_by(|first, second| first < second), "seed {seed}: {received:?}");
        assert!(received.ends_with(&(100..120).collect::<Vec<_>>()), "seed {seed}: {received:?}");
    }
}

#[test]
fn an_end_that_restarted_is_heard_within_half_a_second_though_it_sends_nothing() {
    let mut bench = Bench::new(1);
    bench.send(0, 1);
    assert!(bench.run(MINUTE, |bench| bench.nodes[1].inbox.len() == 1));
    bench.run(Duration::from_secs(2), |_| false);
    bench.nodes[1] = BenchNode::start(1, 2);
    bench.send(0, 1);
    assert!(bench.run(Duration::from_millis(500), |bench| bench.nodes[1].inbox.len() == 1));
}

#[test]
fn an_end_that_restarted_is_heard_within_half_a_second_though_the_other_keeps_sending() {
    let mut bench = Bench::new(1);
    // A wide window, because packets that fit into it are sent without an ack.
    bench.send(0, 400);
    assert!(bench.run(MINUTE, |bench| bench.nodes[1].inbox.len() == 400));
    bench.run(Duration::from_secs(2), |_| false);
    bench.nodes[1] = BenchNode::start(1, 2);
    for sent in 0.. {
        assert!(sent < 20, "nothing has arrived in half a second");
        bench.send(0, 1);
        if bench.run(Duration::from_millis(25), |bench| !bench.nodes[1].inbox.is_empty()) {
            break;
        }
    }
}

#[test]
fn a_session_at_rest_costs_one_renewal_of_its_keys_and_is_made_again_after_it_was_evicted() {
    let mut bench = Bench::new(1);
    bench.send(0, 1);
    assert!(bench.run(MINUTE, |bench| bench.nodes[1].inbox.len() == 1));
    bench.run(Duration::from_secs(10), |_| false);
    let sent = bench.recorded.len();
    bench.run(MINUTE * 3, |_| false);
    let renewed = bench.recorded.len();
    assert!(renewed - sent <= 4, "keys that were used are replaced once, by {} packets", renewed - sent);
    bench.run(MINUTE, |_| false);
    assert_eq!(bench.recorded.len(), renewed, "nothing is sent at rest");
    for from in 0..2 {
        bench.sleep(MINUTE * 6);
        bench.run(Duration::from_secs(1), |_| false);
        for node in &bench.nodes {
            let ((pairs, ..), _) = node.shared.conversations.sessions.with(|sessions| sessions.load());
            assert_eq!(pairs, 0, "the sessions are evicted");
        }
        let arrived = bench.nodes[1 - from].inbox.len() + 1;
        bench.send(from, 1);
        assert!(bench.run(Duration::from_secs(1), |bench| bench.nodes[1 - from].inbox.len() == arrived));
        bench.run(Duration::from_secs(10), |_| false);
    }
    assert_eq!((bench.received(1), bench.received(0)), (vec![0, 1], vec![2]));
}

#[test]
fn an_attempt_ends_with_the_last_message_that_waits_for_it() {
    let mut bench = Bench::new(1);
    bench.faults.loss = 100;
    let to = bench.nodes[1].address();
    let message = Outgoing { ttl_ms: 3000, ..Outgoing::new(to, b"to a peer that is away".to_vec()) };
    crate::node::send::try_send(&bench.nodes[0].shared, message).expect("there is room");
    bench.run(Duration::from_secs(4), |_| false);
    let sent = bench.recorded.len();
    assert!(sent >= 8, "the request was repeated: {sent} packets");
    bench.run(MINUTE, |_| false);
    assert_eq!(bench.recorded.len(), sent, "nothing is sent any more");
}
