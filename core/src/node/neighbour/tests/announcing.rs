//! The end of a link falls into every step of the announcement that it is up.

use std::sync::OnceLock;
use std::task::{Context, Wake, Waker};

use async_trait::async_trait;

use super::*;
use crate::netmod::{Properties, Received, Train};

/// Ends a link at one of the steps at which its announcement calls foreign code.
struct EndAt {
    step: usize,
    steps: AtomicUsize,
    link: OnceLock<(Arc<NodeState>, Arc<Neighbour>)>,
}

impl EndAt {
    fn step(&self) {
        let Some((shared, neighbour)) = self.link.get() else { return };
        if self.steps.fetch_add(1, SeqCst) == self.step {
            neighbour.retire(shared);
            neighbour.announce_end(shared, "a test").now_or_never().expect("the router has room");
        }
    }

    fn is_over(&self) -> bool {
        self.steps.load(SeqCst) > self.step
    }
}

impl Wake for EndAt {
    fn wake(self: Arc<Self>) {
        self.step();
    }
}

#[async_trait]
impl Netmod for EndAt {
    fn scheme(&self) -> &str {
        "test"
    }
    fn uri(&self) -> String {
        "test:a".to_owned()
    }
    fn properties(&self) -> Properties {
        self.step();
        Properties { mtu: 1200, max_train: 64, broadcast: false, cost: 0 }
    }
    async fn recv(&self, _: &mut Received) -> Result<(), NetmodError> {
        std::future::pending().await
    }
    async fn send(&self, _: &Endpoint, _: Train<'_>) -> Result<(), NetmodError> {
        Ok(())
    }
    async fn resolve(&self, _: &str) -> Result<Vec<Endpoint>, NetmodError> {
        Ok(Vec::new())
    }
    fn describe(&self, _: &Endpoint) -> String {
        self.step();
        "test:b".to_owned()
    }
    fn quota_key(&self, _: &Endpoint) -> u64 {
        0
    }
}

#[test]
fn every_subscriber_learns_of_the_end_after_the_begin_at_whichever_step_the_link_ends() {
    let mut steps_of_the_begin = 0;
    for step in 0.. {
        let end = Arc::new(EndAt { step, steps: AtomicUsize::new(0), link: OnceLock::new() });
        let (shared, neighbour, _link, _) = neighbour_on(end.clone());
        let mut subscribers = [shared.event_bus.subscribe(), shared.event_bus.subscribe()];
        let waker = Waker::from(end.clone());
        for events in &mut subscribers {
            assert!(events.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
        }
        end.link.set((shared.clone(), neighbour.clone())).ok().expect("set once");
        neighbour.enter_service(&shared).now_or_never().expect("the router has room");
        let over = end.is_over();
        if !over {
            neighbour.retire(&shared);
            neighbour.announce_end(&shared, "a test").now_or_never().expect("the router has room");
        }
        for (number, events) in subscribers.iter_mut().enumerate() {
            let next = || events.next().now_or_never().flatten();
            let learned: Vec<_> = std::iter::from_fn(next).map(|(_, event)| event).collect();
            match &learned[..] {
                [] => assert!(over, "the link was up"),
                [Event::NeighbourUp { .. }, Event::NeighbourDown { .. }] => {}
                other => panic!("ended at step {step}, subscriber {number}: {other:?}"),
            }
        }
        if !over {
            break;
        }
        steps_of_the_begin = step + 1;
    }
    assert!(steps_of_the_begin >= 4, "the properties, the description, two wakes: {steps_of_the_begin}");
}

#[test]
fn subscribers_learn_of_the_end_of_a_link_before_its_successor_is_up() {
    let (shared, former, _link) = silent_neighbour();
    let mut events = shared.event_bus.subscribe();
    former.enter_service(&shared).now_or_never().expect("the router has room");
    // The task of the former link has taken it out of the tables, and another task puts the successor into service before
    // the first has announced the end.
    assert!(former.retire(&shared));
    let (successor, _link, _) = neighbour_in(&shared, 2);
    successor.enter_service(&shared).now_or_never().expect("the router has room");
    former.announce_end(&shared, "a test").now_or_never().expect("the router has room");
    let next = || events.next().now_or_never().flatten();
    let learned: Vec<_> = std::iter::from_fn(next).map(|(_, event)| event).collect();
    use Event::{NeighbourDown, NeighbourUp};
    assert!(
        matches!(learned[..], [NeighbourUp { .. }, NeighbourDown { .. }, NeighbourUp { .. }]),
        "{learned:?}"
    );
}
