//! A router with a few neighbours, of which the first sends control messages.

use std::time::Duration;

use rouse_proto::address::Address;
use rouse_proto::identity::Identity;
use rouse_proto::route::{LinkProperties, Router, RouterConfig, RouterOutput};
use rouse_proto::time::Time;

/// The neighbour that sends the messages.
const SENDER: u32 = 1;
/// The number of neighbours: to the others the router advertises the routes over the first.
const NEIGHBOURS: u8 = 4;
/// A silent link is down after so long.
const SILENCE: Duration = Duration::from_secs(4);

/// A router and its neighbours.
pub(crate) struct RouterLayer {
    router: Router,
    heard: Time,
    up: bool,
}

impl RouterLayer {
    /// A router with an address of its own and four neighbours; those that are `configured` have a quota of their own.
    pub(crate) fn new(now: Time, identity: &Identity, configured: bool) -> Self {
        let mut router = Router::new(now, RouterConfig::default(), [4; 32]);
        router.add_origin(now, identity.clone(), 1000);
        for id in 1..=NEIGHBOURS {
            let address = Address::from_bytes([id; 32]);
            router.neighbour_up(now, id.into(), LinkProperties::new(address, 40, 1386, configured));
        }
        let mut layer = RouterLayer { router, heard: now, up: true };
        layer.outputs(now);
        layer
    }

    /// Takes a control message, and does all that follows from it; signatures are verified at once.
    pub(crate) fn take(&mut self, now: Time, message: &[u8]) {
        // Why it was refused is counted, and nothing else comes of it.
        let _ = self.router.handle(now, SENDER, message);
        self.heard = now;
        self.outputs(now);
    }

    /// Does all that is due up to this time. A neighbour that was silent for long has gone.
    pub(crate) fn pass(&mut self, now: Time) {
        if self.up && now.since(self.heard) > SILENCE {
            self.up = false;
            self.router.neighbour_down(now, SENDER);
            self.outputs(now);
        }
        while let Some(due) = self.router.next_deadline().filter(|due| *due <= now) {
            self.router.handle_timeout(due);
            self.outputs(due);
        }
    }

    fn outputs(&mut self, now: Time) {
        while let Some(output) = self.router.poll_output(now) {
            if let RouterOutput::Verify(job) = output {
                self.router.verified(now, job.run());
            }
        }
    }
}
