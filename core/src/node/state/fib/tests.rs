use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use proptest::prelude::*;

use super::*;

fn address(n: u16) -> Address {
    let mut bytes = [0; 32];
    bytes[7..9].copy_from_slice(&n.to_le_bytes());
    Address::from_bytes(bytes)
}

fn entry(number: u32) -> TableEntry {
    TableEntry { number, generation: TableEntry::GENERATIONS - 1, mtu: u16::MAX }
}

proptest! {
    #[test]
    fn a_table_agrees_with_a_map(steps in prop::collection::vec((0u16..300, prop::option::of(0u32..1 << 24)), 1..2000)) {
        let keyed = Keyed::default();
        let (mut table, mut map) = (FibTable::new(0), BTreeMap::new());
        for (n, number) in steps {
            let key = address(n);
            if !table.has_room() {
                table = table.grown(&keyed);
            }
            let set = number.map(entry);
            let old = table.set(keyed.hash(key.as_bytes()), &key, set);
            let known = match set {
                Some(entry) => map.insert(n, entry),
                None => map.remove(&n),
            };
            prop_assert_eq!(old, known);
        }
        for n in 0..300 {
            let key = address(n);
            prop_assert_eq!(table.get(keyed.hash(key.as_bytes()), &key), map.get(&n).copied());
        }
    }
}

#[test]
fn a_table_in_which_routes_come_and_go_does_not_grow_without_end() {
    let keyed = Keyed::default();
    let mut table = FibTable::new(0);
    for n in 0..60_000 {
        if !table.has_room() {
            table = table.grown(&keyed);
        }
        let key = address(n);
        table.set(keyed.hash(key.as_bytes()), &key, Some(entry(1)));
        table.set(keyed.hash(key.as_bytes()), &key, None);
    }
    assert!(table.len() <= 64, "{}", table.len());
}

#[test]
fn a_route_that_stays_is_found_at_every_moment() {
    let keyed = Keyed::default();
    let table = ArcSwap::from_pointee(FibTable::new(0));
    let set = |n: u16, to: Option<TableEntry>| {
        if !table.load().has_room() {
            table.store(Arc::new(table.load().grown(&keyed)));
        }
        let key = address(n);
        table.load().set(keyed.hash(key.as_bytes()), &key, to);
    };
    (0..10).for_each(|n| set(n, Some(entry(7))));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0u64;
            while !done.load(SeqCst) || looks == 0 {
                for n in 0..10 {
                    let key = address(n);
                    let found = table.load().get(keyed.hash(key.as_bytes()), &key);
                    assert!(found == Some(entry(7)) || found == Some(entry(8)), "{found:?}");
                }
                looks += 1;
            }
        });
        for turn in 0..5u32 {
            (10..5000).for_each(|n| set(n, Some(entry(9))));
            (0..10).for_each(|n| set(n, Some(entry(7 + turn % 2))));
            (10..5000).for_each(|n| set(n, None));
        }
        done.store(true, SeqCst);
        reader.join().unwrap();
    });
}

mod next_hops {
    use super::*;
    use crate::egress::Egress;
    use crate::endpoint::Endpoint;
    use crate::link::session_pair::session_pair;
    use crate::link::{Link, Path, Suite};
    use crate::netmod::mem::MemNet;
    use crate::node::state::medium::Medium;
    use crate::node::state::neighbour::NeighbourParts;
    use crate::time::Time;

    /// So many neighbours of a node without tasks.
    fn neighbours(count: u32) -> Vec<Arc<Neighbour>> {
        let medium = Arc::new(Medium::new(0, Arc::new(MemNet::new(1).netmod("a"))));
        let path = Path { netmod: 0, endpoint: Endpoint::new(b"b").unwrap() };
        let make = |id| {
            let [(sealer, opener), _] = session_pair(Suite::ChaCha20Poly1305).unwrap();
            let address = Address::from_bytes([7; 32]);
            let link = Link::new(Time::ZERO, address, opener, 1200, [5; 32]);
            let parts = NeighbourParts {
                id,
                address,
                path,
                medium: medium.clone(),
                initiator: true,
                local_index: id,
                mtu: 1200,
                configured: false,
                egress: Egress::new(medium.netmod.clone(), path.endpoint, sealer),
                metrics: link.metrics(),
            };
            Arc::new(Neighbour::new(parts, 1024))
        };
        (1..=count).map(make).collect()
    }

    fn next_hops(next: &Arc<Neighbour>, alternate: Option<&Arc<Neighbour>>) -> NextHops {
        NextHops { next: next.clone(), alternate: alternate.cloned() }
    }

    #[test]
    fn a_neighbour_is_released_with_the_last_route_that_uses_it() {
        let neighbours = neighbours(3);
        let [a, b, c] = neighbours.as_slice() else { unreachable!() };
        let fib = Fib::default();
        (0..500).for_each(|n| fib.insert(address(n), next_hops(a, Some(b)), 1300));
        (500..600).for_each(|n| fib.insert(address(n), next_hops(b, None), 1200));
        assert_eq!(fib.get(&address(3)).map(|hop| (hop.next_hops.next.id, hop.mtu)), Some((a.id, 1300)));
        (0..500).for_each(|n| fib.insert(address(n), next_hops(c, None), 1100));
        assert_eq!(Arc::strong_count(a), 1, "nothing leads there any more");
        assert!(Arc::strong_count(b) > 1);
        (500..600).for_each(|n| fib.remove(&address(n)));
        assert_eq!(Arc::strong_count(b), 1);
        assert!(fib.get(&address(550)).is_none());
        assert_eq!(fib.get(&address(3)).map(|hop| (hop.next_hops.next.id, hop.mtu)), Some((c.id, 1100)));
    }

    #[test]
    fn a_snapshot_older_than_a_route_finds_none_rather_than_another() {
        let neighbours = neighbours(2);
        let [a, b] = neighbours.as_slice() else { unreachable!() };
        let fib = Fib::default();
        fib.insert(address(1), next_hops(a, None), 1300);
        let snapshot = fib.snapshot();
        fib.remove(&address(1));
        // The number of the removed next hops is used again.
        fib.insert(address(2), next_hops(b, None), 1300);
        fib.insert(address(1), next_hops(b, None), 1300);
        assert!(snapshot.get(&address(1)).is_none());
        assert_eq!(fib.get(&address(1)).map(|hop| hop.next_hops.next.id), Some(b.id));
    }
}
