//! The goodbye of a link comes after the packets that are queued, on media of every speed.

use async_trait::async_trait;

use super::*;
use crate::link::DownReason;
use crate::netmod::{Properties, Received, Train};
use crate::wire::link::KIND_PACKET;

/// How a [`Wire`] takes the trains that carry packets. It takes a goodbye, which is shorter, at once.
#[derive(Clone, Copy)]
enum Takes {
    AtOnce,
    /// At this rate, in bytes per second.
    Rate(u32),
    Nothing,
    /// Each train is refused.
    Refuses,
}

/// A netmod in memory that keeps the frames that were sent, in order.
struct Wire {
    takes: Takes,
    begun: AtomicBool,
    sent: Arc<Mutex<Vec<BytesMut>>>,
}

/// The longest frame that every [`Wire`] takes at once.
const SHORT: usize = 100;

#[async_trait]
impl Netmod for Wire {
    fn scheme(&self) -> &str {
        "wire"
    }
    fn uri(&self) -> String {
        "wire:a".to_owned()
    }
    fn properties(&self) -> Properties {
        Properties { mtu: 1200, max_train: 64, broadcast: false, cost: 0 }
    }
    async fn recv(&self, _: &mut Received) -> Result<(), NetmodError> {
        std::future::pending().await
    }
    async fn send(&self, _: &Endpoint, train: Train<'_>) -> Result<(), NetmodError> {
        if train.size > SHORT {
            self.begun.store(true, SeqCst);
            match self.takes {
                Takes::AtOnce => {}
                Takes::Rate(rate) => {
                    rt::sleep(Duration::from_secs(train.bytes.len() as u64) / rate).await;
                }
                Takes::Nothing => std::future::pending().await,
                Takes::Refuses => {
                    return Err(NetmodError::Endpoint(std::io::ErrorKind::HostUnreachable.into()));
                }
            }
        }
        lock(&self.sent).extend(train.frames().map(BytesMut::from));
        Ok(())
    }
    async fn resolve(&self, _: &str) -> Result<Vec<Endpoint>, NetmodError> {
        Ok(Vec::new())
    }
    fn describe(&self, _: &Endpoint) -> String {
        "wire:b".to_owned()
    }
    fn quota_key(&self, _: &Endpoint) -> u64 {
        0
    }
}

/// The cause of the end of a link.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The node leaves, and the link's task has begun to send the packets if `midway`.
    Leaving { midway: bool },
    /// The neighbour loses its slot to another one.
    Dismissed,
    /// The link itself finds that the neighbour is not heard.
    Unheard,
}

/// The outcome of an end with a goodbye.
struct Outcome {
    /// Packets that the neighbour had before the goodbye.
    packets: usize,
    /// Whether the goodbye came.
    goodbye: bool,
    dropped: u64,
}

/// Ends a link over such a medium while `count` packets of each class are queued.
fn end_with(takes: Takes, count: usize, end: End) -> Outcome {
    let sent = Arc::<Mutex<Vec<BytesMut>>>::default();
    let wire = Arc::new(Wire { takes, begun: AtomicBool::new(false), sent: sent.clone() });
    let (shared, neighbour, mut link, theirs) = neighbour_on(wire.clone());
    futures::executor::block_on(async {
        neighbour.enter_service(&shared).await;
        for class in [Class::Bulk, Class::Interactive] {
            for _ in 0..count {
                let mut packet = vec![KIND_PACKET; 1000];
                packet[1..].fill(0);
                assert_eq!(neighbour.push(&shared, class, packet.into()), PushOutcome::Queued);
            }
        }
        match end {
            End::Leaving { midway: true } => {
                neighbour.clone().start(&shared, link);
                while !wire.begun.load(SeqCst) {
                    pause().await;
                }
                leaving::send_goodbye(&shared, |_| true).await;
            }
            End::Leaving { midway: false } => {
                let goodbye = leaving::send_goodbye(&shared, |_| true);
                let task = async { neighbour.clone().start(&shared, link) };
                futures::join!(goodbye, task);
            }
            End::Dismissed => neighbour.dismiss(&shared, DownReason::Crowded).await,
            End::Unheard => {
                loop {
                    let now = link.next_deadline().expect("an answer is awaited");
                    link.handle_timeout(now);
                    if matches!(link.metrics().state, LinkState::Down(_)) {
                        break;
                    }
                    while link.poll_output(now).is_some() {}
                }
                neighbour.clone().run(shared.clone(), link).await;
            }
        }
    });
    let mut link = Link::new(shared.now(), theirs.peer, theirs.opener, 1200, [8; 32]);
    let mut outcome = Outcome { packets: 0, goodbye: false, dropped: 0 };
    for frame in lock(&sent).iter_mut() {
        // After a goodbye a link opens no frame.
        if let Ok(FrameContent::Packet(_)) = link.handle_frame(shared.now(), frame) {
            outcome.packets += 1;
        }
    }
    outcome.goodbye = matches!(link.metrics().state, LinkState::Down(_));
    outcome.dropped = shared.stats.drops().values().sum();
    outcome
}

#[test]
fn the_packets_that_are_queued_arrive_before_the_goodbye() {
    for midway in [false, true] {
        // The medium takes 20 ms for all.
        let Outcome { packets, goodbye, dropped } =
            end_with(Takes::Rate(1_000_000), 10, End::Leaving { midway });
        assert_eq!((packets, goodbye, dropped), (20, true, 0), "sending already: {midway}");
    }
    for end in [End::Dismissed, End::Unheard] {
        let Outcome { packets, goodbye, dropped } = end_with(Takes::AtOnce, 100, end);
        assert_eq!((packets, goodbye, dropped), (200, true, 0), "{end:?}");
    }
}

#[test]
fn a_medium_that_takes_no_packets_is_still_given_the_goodbye() {
    for takes in [Takes::Nothing, Takes::Refuses, Takes::Rate(100)] {
        for end in
            [End::Leaving { midway: false }, End::Leaving { midway: true }, End::Dismissed, End::Unheard]
        {
            let Outcome { packets, goodbye, dropped } = end_with(takes, 10, end);
            assert_eq!((packets, goodbye), (0, true), "{end:?}");
            assert_eq!(dropped, 20, "each packet is counted");
        }
    }
}
