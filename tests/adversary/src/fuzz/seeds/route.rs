//! Seeds of the targets `control` and `announce`: the messages that a router receives from real routers around it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fuzz::announce::{ALTERED, RECORDS};
use crate::fuzz::control::{
    COST, DOUBT, DOWN, EXPIRE, LATE, MESSAGE, OWN, SCORE, SEND, SMALL, UP, WAIT, make_router,
};
use crate::fuzz::records::{ANNOUNCE, OFFER, SEQ_REQ, UPDATE, WANT, YOUR_HIGHEST, identity};
use crate::fuzz::script::ScriptWriter;
use crate::fuzz::seed::Seed;
use rouse_proto::route::{LinkProperties, NeighbourId, Router, RouterOutput};
use rouse_proto::time::Time;

/// The links of a small mesh. The target's router is number 0 with the neighbours 1 and 2; both of these have links to 3 and 4.
const LINKS: [(usize, usize); 7] = [(0, 1), (0, 2), (1, 3), (2, 3), (1, 4), (2, 4), (3, 4)];
const NODES: usize = 5;

pub(crate) fn seeds() -> Vec<Seed> {
    let (heard, messages) = heard();
    let mut seeds = vec![
        Seed::new("control", "heard", [&[EXPIRE], heard.as_slice()].concat()),
        Seed::new("control", "heard-small", [&[SMALL | EXPIRE], heard.as_slice()].concat()),
        Seed::new("control", "heard-late", [&[LATE | EXPIRE], heard.as_slice()].concat()),
        Seed::new("control", "all-steps", all_steps(0)),
        Seed::new("control", "all-steps-late", all_steps(LATE | EXPIRE)),
        Seed::new("control", "all-steps-small", all_steps(SMALL | EXPIRE)),
    ];
    for (nth, message) in messages.into_iter().enumerate() {
        let bytes = [&[RECORDS], message.as_slice()].concat();
        seeds.push(Seed::new("announce", format!("message-{nth:02}"), bytes));
    }
    for extensions in [0, 1, 256] {
        let mut writer = ScriptWriter::default();
        writer.u8(ALTERED).u8(7).bytes(&vec![5; extensions]).u64(1000 << 32 | 1).u16(5400).u16(0);
        let bytes = writer.u16(u16::from(extensions > 1)).u8(3).u32(9).u16(700).done();
        seeds.push(Seed::new("announce", format!("signed-{extensions}"), bytes));
    }
    seeds
}

/// A script with each step once or twice, with values that pass the first checks.
fn all_steps(flags: u8) -> Vec<u8> {
    let mut writer = ScriptWriter::default();
    writer.u8(flags);
    writer.u8(UP).u8(2).u16(50).u16(1400).u8(0);
    for (place, origin) in [(0, 3), (1, 3), (2, 3), (0, 4), (1, 5), (2, 6), (0, 7)] {
        writer.u8(ANNOUNCE).u8(place).u8(origin).u8(0x81).u8(0);
        writer.u8(origin).u16(64 + u16::from(place)).u8(2).u16(1200).u16(60);
        writer.u8(WAIT).u8(1).u8(2);
    }
    writer.u8(OFFER).u8(1).u8(4).u8(0x81).u8(9).u16(70).u8(1).u16(1200).u16(50);
    writer.u8(OFFER).u8(1).u8(8).u8(0x82).u8(11).u16(70).u8(1).u16(1200).u16(50);
    writer.u8(WANT).u8(0).u8(0).u8(UPDATE).u8(0).u8(3).u16(900).u8(1).u8(0x83).u8(0x81);
    writer.u8(UPDATE).u8(1).u8(3).u16(0xffff).u8(0).u8(0).u8(SCORE).u8(0).u8(3).u8(1).u8(20);
    writer.u8(SEQ_REQ).u8(2).u8(3).u8(0x83).u8(9).u8(1).u8(SEQ_REQ).u8(0).u8(0).u8(0x85).u8(9).u8(2);
    writer.u8(YOUR_HIGHEST).u8(0).u8(0).u8(0x87).u8(0).u8(YOUR_HIGHEST).u8(1).u8(3).u8(0x84).u8(0);
    writer.u8(DOUBT).u8(0).u8(1).u8(WAIT).u8(1).u8(3).u8(DOUBT).u8(0).u8(0).u8(COST).u8(1).u16(300);
    writer.u8(SEND).u8(0).u8(5).u8(OWN).u8(0).u8(7).u8(WAIT).u8(2).u8(6).u8(OWN).u8(0).u8(7);
    writer.u8(DOWN).u8(0).u8(WAIT).u8(1).u8(20).u8(UP).u8(0).u16(40).u16(1200).u8(1).u8(WAIT).u8(2).u8(9);
    writer.done()
}

/// A script of the messages that node 0 receives while a small mesh comes up, loses a link and repairs it; and the first distinct
/// messages of all nodes.
fn heard() -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut now = Time::from_millis(1_000_000);
    let mut routers: Vec<Router> = (0..NODES).map(|node| make_router(now, 64, node as u8)).collect();
    for (node, router) in routers.iter_mut().enumerate() {
        router.add_origin(now, identity(node), 1000);
    }
    let mut names: BTreeMap<(usize, NeighbourId), (usize, NeighbourId)> = BTreeMap::new();
    let mut writer = ScriptWriter::default();
    let mut messages: Vec<Vec<u8>> = Vec::new();
    for round in 0..60u32 {
        for (link, &(a, b)) in LINKS.iter().enumerate() {
            let up = (round == 0 && link != 4) || (round == 10 && link == 4) || (round == 40 && link == 3);
            let ids = [2 * link as NeighbourId, 2 * link as NeighbourId + 1];
            if up {
                let to =
                    |peer| LinkProperties::new(identity(peer).address(), 40 + 3 * link as u16, 1200, true);
                routers[a].neighbour_up(now, ids[0], to(b));
                routers[b].neighbour_up(now, ids[1], to(a));
                names.insert((a, ids[0]), (b, ids[1]));
                names.insert((b, ids[1]), (a, ids[0]));
            }
            if round == 20 && (link == 2 || link == 3) {
                names.remove(&(a, ids[0]));
                names.remove(&(b, ids[1]));
                routers[a].neighbour_down(now, ids[0]);
                routers[b].neighbour_down(now, ids[1]);
            }
        }
        for from in 0..NODES {
            while let Some(output) = routers[from].poll_output(now) {
                let (neighbour, message) = match output {
                    RouterOutput::Send { neighbour, message } => (neighbour, message),
                    RouterOutput::Verify(job) => {
                        routers[from].verified(now, job.run());
                        continue;
                    }
                    _ => continue,
                };
                let Some(&(to, id)) = names.get(&(from, neighbour)) else { continue };
                if to == 0 {
                    writer.u8(MESSAGE).u8(from as u8 - 1).bytes(&message);
                }
                if messages.len() < 24 && !messages.contains(&message) {
                    messages.push(message.clone());
                }
                // Refusals during the start of an honest mesh do not matter for a seed.
                let _ = routers[to].handle(now, id, &message);
            }
        }
        now = now + Duration::from_millis(7);
        writer.u8(WAIT).u8(0).u8(7);
        for router in &mut routers {
            if router.next_deadline().is_some_and(|due| due <= now) {
                router.handle_timeout(now);
            }
        }
    }
    (writer.done(), messages)
}
