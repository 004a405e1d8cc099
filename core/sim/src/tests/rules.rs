//! Rules of the router that show only in a network.

use super::mesh::{assert_reachable, network, settled};
use super::ms;
use crate::net::{Net, identity};
use crate::random::{pick, seeded};
use crate::topology;
use rouse_proto::wire::route::{LINKS, Record, RouteAttributes, SignedAnnounce, advance};

/// A genuine announce of this node, passed on as if over no link at all.
fn claim_of(number: usize) -> Vec<u8> {
    let identity = identity(number);
    let (dst, seq) = (identity.address(), (1000 << 32) | 1);
    let chain = identity.chain_seed(seq);
    let anchor = advance(&dst, seq, chain, LINKS);
    let mut announce =
        SignedAnnounce { dst, seq, lifetime: 5400, caps: 0, anchor, signature: [0; 64], optional: None };
    announce.signature = identity.sign(&announce.signed().unwrap());
    let idx = 70_000 + u32::try_from(number).unwrap();
    let attributes = RouteAttributes { idx, metric: 0, hops: 0, mtu: 1200, remaining: 5400, chain };
    let mut bytes = Vec::new();
    Record::Announce(announce, attributes).encode(&mut bytes).unwrap();
    bytes
}

#[test]
fn in_a_line_no_node_beyond_sixty_four_links_is_known() {
    let mut net = network(68, &topology::line(68), 1);
    net.run(ms(3_000));
    let fib = |net: &Net, to: usize| {
        let routes = net.nodes[0].router.routes(net.now);
        routes.iter().find(|route| route.destination == identity(to).address()).map(|route| route.hops)
    };
    assert_eq!(fib(&net, 64), Some(64));
    assert_eq!(fib(&net, 65), None);
    assert_eq!(net.drops(), 0);
}

#[test]
fn a_neighbour_that_claims_every_identity_causes_no_loop() {
    for seed in 0..3 {
        let mut net = settled(25, &topology::grid(5, 5), seed);
        net.reach.thorough = true;
        let attacker = 12;
        net.reach.set_black_hole(attacker);
        for link in net.nodes[attacker].wires.clone() {
            let victim = net.other_end(link, attacker);
            for number in (0..25).filter(|number| *number != attacker && *number != victim) {
                net.inject(victim, link, &claim_of(number)).unwrap();
            }
        }
        let mut random = seeded(seed);
        for _ in 0..5 {
            let link = pick(&mut random, net.links.len());
            net.cut(link);
            net.run(ms(400));
            net.raise(link);
            net.run(ms(100));
        }
    }
}

#[test]
fn scores_never_cause_a_loop() {
    for seed in 0..6 {
        let mut random = seeded(seed + 70);
        let links = topology::geometric(25, 4.0, &mut random).links;
        let mut net = settled(25, &links, seed);
        net.reach.thorough = true;
        for _ in 0..200 {
            let node = pick(&mut random, 25);
            let to = net.addresses[pick(&mut random, 25)];
            let over: Vec<_> = net.neighbours_of(node);
            let over = over[pick(&mut random, over.len())];
            net.with(node, |router, now| router.score(now, &to, over, 0, 16));
            if pick(&mut random, 4) == 0 {
                let link = pick(&mut random, links.len());
                net.set_cost(link, 32 + u16::try_from(pick(&mut random, 900)).unwrap());
            }
            net.run(ms(100));
        }
        assert_reachable(&mut net);
        assert_eq!(net.drops(), 0);
    }
}
