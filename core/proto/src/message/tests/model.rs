//! Random schedules compared with the simplest model: each message that was sent and not withdrawn arrives, in order.

use proptest::prelude::*;

use super::pair::*;
use crate::message::*;

/// One step of a random schedule.
#[derive(Clone, Debug)]
enum Act {
    Send { side: usize, size: usize, ttl_ms: u64 },
    Cancel { side: usize, which: usize },
    Wait(u64),
    Reads { side: usize, reads: bool },
    Reachable { side: usize, reachable: bool },
    Loss(u32),
    Mtu(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let size = prop_oneof![4 => 0usize..200, 2 => 200usize..3000, 1 => 3000usize..100_000];
    let ttl = prop_oneof![3 => Just(1_000_000u64), 1 => 1u64..500];
    prop_oneof![
        8 => (0usize..2, size, ttl).prop_map(|(side, size, ttl_ms)| Act::Send { side, size, ttl_ms }),
        1 => (0usize..2, 0usize..20).prop_map(|(side, which)| Act::Cancel { side, which }),
        4 => (0u64..60).prop_map(Act::Wait),
        1 => (0usize..2, any::<bool>()).prop_map(|(side, reads)| Act::Reads { side, reads }),
        1 => (0usize..2, any::<bool>()).prop_map(|(side, reachable)| Act::Reachable { side, reachable }),
        1 => (0u32..400).prop_map(Act::Loss),
        1 => (256usize..3000).prop_map(Act::Mtu),
    ]
}

fn is_subsequence(part: &[MessageId], whole: &[MessageId]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|id| rest.any(|other| other == id))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_schedule_keeps_the_promise(seed in any::<u64>(), acts in prop::collection::vec(act(), 1..80)) {
        let line = Line { loss: [50, 50], duplicate: 50, jitter: ms(10), ..CLEAN };
        let mut pair = Pair::new(seed, line);
        let mut sent = [Vec::new(), Vec::new()];
        let mut cancelled = [Vec::new(), Vec::new()];
        for act in acts {
            match act {
                Act::Send { side, size, ttl_ms } => {
                    let body = pair.body(size);
                    let id = pair.send_ttl(side, body.clone(), ms(ttl_ms));
                    sent[side].push((id, body));
                }
                Act::Cancel { side, which } => {
                    let Some((id, _)) = sent[side].iter().rev().nth(which).cloned() else { continue };
                    if pair.sides[side].conversation.cancel(&id) {
                        cancelled[side].push(id);
                    }
                }
                Act::Wait(millis) => drop(pair.run(ms(millis), |_| false)),
                Act::Reads { side, reads } => pair.sides[side].reads = reads,
                Act::Reachable { side, reachable } => {
                    pair.sides[side].conversation.set_reachable(pair.now, reachable);
                }
                Act::Loss(loss) => pair.line.loss = [loss, loss],
                Act::Mtu(mtu) => pair.line.mtu = mtu,
            }
        }
        for side in &mut pair.sides {
            side.reads = true;
            side.conversation.set_reachable(pair.now, true);
        }
        pair.line.loss = [100, 100];
        pair.run_out(Duration::from_secs(2000));
        for side in 0..2 {
            let all: Vec<_> = sent[side].iter().map(|(id, _)| *id).collect();
            let (delivered, expired) = (pair.delivered(side), pair.expired(side));
            prop_assert!(is_subsequence(&delivered, &all));
            prop_assert_eq!(delivered.len() + expired.len() + cancelled[side].len(), all.len());
            prop_assert!(!delivered.iter().any(|id| expired.contains(id) || cancelled[side].contains(id)));
            let arrived: Vec<_> = pair.sides[1 - side].inbox.iter().map(|message| message.id).collect();
            prop_assert!(is_subsequence(&arrived, &all), "in order and once");
            prop_assert!(is_subsequence(&delivered, &arrived), "a receipt is only given for what arrived");
            for message in &pair.sides[1 - side].inbox {
                let body = sent[side].iter().find(|(id, _)| *id == message.id).map(|(_, body)| body);
                prop_assert_eq!(body, Some(&message.body.0));
            }
            prop_assert_eq!(pair.sides[side].conversation.waiting(), Waiting::default());
        }
    }
}
