//! Properties of sessions over channels that lose, repeat, reorder and corrupt.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{Faults, World};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]
    #[test]
    fn whatever_a_channel_does_every_item_arrives_and_nothing_else(
        seed in any::<u64>(),
        faults in (0u32..31, 0u32..31, 0u32..51, 0u32..6),
        steps in prop::collection::vec((0usize..3, 0usize..3, 1u64..6, 0u64..70_000, any::<u8>()), 1..12),
    ) {
        let (loss, duplicates, reordering, corruption) = faults;
        let mut world = World::new(3, seed);
        world.faults = Faults { loss, duplicates, reordering, corruption };
        let mut queued = std::collections::BTreeMap::<(usize, usize), u64>::new();
        for (from, to, count, pause, restarts) in steps {
            if from == to {
                continue;
            }
            let next = queued.entry((from, to)).or_default();
            world.queue(from, to, *next..*next + count);
            *next += count;
            if restarts < 25 {
                world.restart(to);
            }
            world.pass(Duration::from_millis(pause));
        }
        prop_assert!(world.run(Duration::from_secs(3600), World::is_done));
        for ((from, to), count) in queued {
            let mut arrived = world.nodes[to].arrived[&from].clone();
            arrived.sort_unstable();
            prop_assert_eq!(arrived, (0..count).collect::<Vec<_>>());
        }
        // When all is quiet, nothing is left.
        world.faults = Faults::default();
        world.pass(Duration::from_secs(900));
        for node in &world.nodes {
            prop_assert_eq!(node.sessions.load(), (0, 0, 0));
            prop_assert_eq!(node.sessions.next_deadline(), None);
        }
    }
}
