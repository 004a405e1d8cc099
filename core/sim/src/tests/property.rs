//! Random networks and random schedules of faults.
//!
//! The network itself checks after every event that no route loops, whichever of next hop and alternate each node
//! uses. When faults have ended, every connected node must be reachable, so that no fault has a lasting effect.

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::mesh::verifying as net_of;
use super::ms;
use crate::net::Net;
use crate::topology::Links;

#[derive(Clone, Debug)]
enum Fault {
    Cut(usize),
    Silence(usize),
    Flap(usize, u64),
    Raise(usize),
    Cost(usize, u16),
    Suspect(usize, bool),
    /// Packets of a node for another are lost over one of its neighbours.
    Lose(usize, usize, usize),
    Kill(usize),
    Restart(usize),
    RestartForgetful(usize),
    Wait(u64),
}

fn fault() -> impl Strategy<Value = Fault> {
    let any = 0usize..1000;
    prop_oneof![
        3 => any.clone().prop_map(Fault::Cut),
        2 => any.clone().prop_map(Fault::Silence),
        1 => (any.clone(), 1u64..400).prop_map(|(link, every)| Fault::Flap(link, every)),
        4 => any.clone().prop_map(Fault::Raise),
        4 => (any.clone(), 32u16..1000).prop_map(|(link, cost)| Fault::Cost(link, cost)),
        2 => (any.clone(), proptest::bool::ANY).prop_map(|(link, on)| Fault::Suspect(link, on)),
        3 => (any.clone(), any.clone(), any.clone()).prop_map(|(node, to, over)| Fault::Lose(node, to, over)),
        1 => any.clone().prop_map(Fault::Kill),
        1 => any.clone().prop_map(Fault::Restart),
        1 => any.prop_map(Fault::RestartForgetful),
        8 => (0u64..100).prop_map(Fault::Wait),
        1 => (100u64..5_000).prop_map(Fault::Wait),
    ]
}

/// A tree and some links on top.
fn network() -> impl Strategy<Value = (usize, Links)> {
    (3usize..12).prop_flat_map(|nodes| {
        let tree = proptest::collection::vec(0usize..1000, nodes - 1);
        let more = proptest::collection::vec((0..nodes, 0..nodes), 0..nodes);
        (tree, more).prop_map(move |(tree, more)| {
            let mut links: Links = tree.iter().enumerate().map(|(at, to)| (to % (at + 1), at + 1)).collect();
            for (a, b) in more {
                if a != b && !links.contains(&(a, b)) && !links.contains(&(b, a)) {
                    links.push((a, b));
                }
            }
            (nodes, links)
        })
    })
}

fn act(net: &mut Net, fault: &Fault) {
    let (nodes, links) = (net.nodes.len(), net.links.len());
    match fault {
        Fault::Cut(link) => net.cut(link % links),
        Fault::Silence(link) => net.silence(link % links),
        Fault::Flap(link, every) => {
            for _ in 0..5 {
                net.cut(link % links);
                net.run(ms(*every));
                net.raise(link % links);
                net.run(ms(*every));
            }
        }
        Fault::Raise(link) => net.raise(link % links),
        Fault::Cost(link, cost) => net.set_cost(link % links, *cost),
        Fault::Suspect(link, on) => net.suspect(link % links, *on),
        Fault::Lose(node, to, over) => {
            let (node, to) = (node % nodes, net.addresses[to % nodes]);
            let ids: Vec<_> = net.neighbours_of(node);
            if net.nodes[node].alive && !ids.is_empty() {
                let over = ids[over % ids.len()];
                net.with(node, |router, now| router.score(now, &to, over, 0, 16));
            }
        }
        Fault::Kill(node) => net.kill(node % nodes),
        Fault::Restart(node) => {
            let epoch = net.nodes[node % nodes].epoch + 1;
            net.kill(node % nodes);
            net.start(node % nodes, epoch);
        }
        Fault::RestartForgetful(node) => {
            net.kill(node % nodes);
            net.start(node % nodes, 1);
        }
        Fault::Wait(span) => net.run(ms(*span)),
    }
}

proptest! {
    #![proptest_config(Config { cases: 300, failure_persistence: None, ..Config::default() })]

    #[test]
    fn no_schedule_of_faults_causes_a_loop_and_connected_nodes_become_reachable(
        (nodes, links) in network(),
        seed in any::<u64>(),
        schedule in proptest::collection::vec(fault(), 0..60),
    ) {
        let mut net = net_of(nodes, &links, seed, ms(if seed % 2 == 0 { 0 } else { seed % 64 }));
        net.reach.thorough = true;
        for fault in &schedule {
            act(&mut net, fault);
        }
        // Less than one schedule in two thousand takes longer than five seconds, because flapped links are a last resort
        // for ten seconds and more, and requests that meet there are repeated every two seconds.
        net.run(ms(30_000));
        let unreached = net.unreached_pairs();
        prop_assert!(unreached == 0, "unreached after thirty seconds: {unreached}, {:?}", net.unreached_pair());
        prop_assert_eq!(net.drops(), 0, "no record of an honest node is refused");
    }
}

#[test]
fn a_request_without_an_answer_does_not_hold_up_another() {
    let mut net = net_of(6, &vec![(0, 1), (0, 2), (1, 3), (0, 4), (1, 5)], 0, ms(0));
    let schedule = [
        Fault::Suspect(1, true),
        Fault::Wait(19),
        Fault::Cut(0),
        Fault::Wait(1),
        Fault::Raise(0),
        Fault::Cut(3),
        Fault::Cost(0, 83),
    ];
    for fault in &schedule {
        act(&mut net, fault);
    }
    net.run(ms(1_000));
    assert_eq!(net.unreached_pairs(), 0, "{:?}", net.unreached_pair());
}

#[test]
fn an_origin_that_restarts_in_its_epoch_with_a_lower_counter_is_reachable_again() {
    let mut net = net_of(3, &vec![(0, 1), (0, 2), (2, 1)], 3948144593399896608, ms(0));
    let schedule = [
        Fault::Cut(0),
        Fault::Cut(2),
        Fault::Flap(1, 1),
        Fault::RestartForgetful(2),
        Fault::Raise(0),
        Fault::Restart(1),
        Fault::Flap(1, 4),
        Fault::Flap(2, 198),
        Fault::RestartForgetful(2),
        Fault::Restart(0),
        Fault::RestartForgetful(2),
        Fault::Cut(2),
    ];
    for fault in &schedule {
        act(&mut net, fault);
    }
    net.run(ms(5_000));
    assert_eq!(net.unreached_pairs(), 0, "{:?}", net.unreached_pair());
}

#[test]
fn of_two_simultaneous_requesters_neither_delays_the_other_for_long() {
    let links = vec![(0, 1), (1, 2), (1, 3), (2, 4), (1, 5), (4, 6), (2, 7), (0, 5), (4, 5), (6, 0)];
    let mut net = net_of(8, &links, 15763619640749022168, ms(0));
    let schedule = [
        Fault::Cost(4, 50),
        Fault::Suspect(8, true),
        Fault::Wait(75),
        Fault::Suspect(3, true),
        Fault::Cut(1),
    ];
    for fault in &schedule {
        act(&mut net, fault);
    }
    net.run(ms(5_000));
    assert_eq!(net.unreached_pairs(), 0, "{:?}", net.unreached_pair());
}
