//! The back-off of one peer: the time of its next dial.

use std::time::Duration;

use crate::time::Time;

/// The first and the longest pause after a failed dial. The pause doubles in between. The longest bounds how long a peer that
/// is back stays without a link, since nothing announces it where there are no beacons.
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(500);
pub(super) const LAST_RETRY: Duration = Duration::from_secs(30);
/// A link that lasted this long is dialled again at once when it ends. One that lasts less is dialled with growing
/// pauses, since each new link costs a handshake and a transfer of the routing table.
pub(super) const LIVED: Duration = Duration::from_secs(10);
/// The longest pause before a short-lived link is dialled again.
pub(super) const LAST_REST: Duration = Duration::from_secs(5);
/// The minimum time from the begin of a link to the next dial when its medium reports that its path is cut, or when the neighbour
/// has sent beacons from elsewhere since its last frame. Such a link did not end by itself, so the peer is dialled on its other
/// paths without a longer rest; the minimum bounds the handshakes that loose plugs cause.
pub(super) const CUT_REST: Duration = Duration::from_millis(250);
/// A neighbour that has no place is dialled again after so long, and then each time after twice as long, up to [`LAST_REFUSED`]:
/// a place may soon be free, but as a rule links last, and each dial costs it a handshake.
pub(super) const FIRST_REFUSED: Duration = Duration::from_secs(10);
pub(super) const LAST_REFUSED: Duration = Duration::from_secs(600);

/// See the [module's page](self).
#[derive(Clone, Copy)]
pub(super) struct Backoff {
    /// The earliest time of the next dial after a failure, a refusal or a goodbye.
    next: Time,
    wait: Duration,
    /// The time at which the last link began.
    begun: Option<Time>,
    /// The time from the begin of the last link to the next dial, if that link ends by itself.
    rest: Duration,
    /// The pause after the next refusal.
    refused: Duration,
}

impl Backoff {
    pub(super) fn now(now: Time) -> Self {
        Backoff { next: now, wait: FIRST_RETRY, begun: None, rest: Duration::ZERO, refused: FIRST_REFUSED }
    }

    /// Records a failed dial. The pause doubles, so that a peer that is switched off costs few handshakes.
    pub(super) fn failed(&mut self, now: Time) {
        self.next = now + self.wait;
        self.wait = self.wait.saturating_mul(2).min(LAST_RETRY);
    }

    pub(super) fn rest(&mut self, until: Time) {
        // A longer pause stays, since a goodbye is no sign that the peer answers earlier.
        self.next = self.next.max(until);
    }

    /// The earliest time of the next dial. `path_lost` is whether the path of the last link is cut, or the neighbour has left it.
    pub(super) fn next(&self, path_lost: bool) -> Time {
        let rest = if path_lost { self.rest.min(CUT_REST) } else { self.rest };
        self.begun.map_or(self.next, |begun| self.next.max(begun + rest))
    }

    /// A link has begun. `replaces` is whether the one before it did not end by itself: its path is cut, the neighbour has left that
    /// path, or the link is up still. The rest does not grow then, because no link has failed.
    pub(super) fn established(&mut self, now: Time, replaces: bool) {
        self.rest = match self.begun.filter(|begun| now.since(*begun) < LIVED) {
            None => Duration::ZERO,
            Some(_) if replaces => self.rest.max(CUT_REST),
            Some(_) => self.rest.saturating_mul(2).clamp(FIRST_RETRY, LAST_REST),
        };
        // The peer has answered, so the pauses after failures begin with the first again.
        (self.next, self.wait, self.begun) = (now, FIRST_RETRY, Some(now));
    }

    /// Records that the neighbour has refused the link or evicted this node. Returns the pause until the next dial.
    pub(super) fn refused(&mut self, now: Time) -> Duration {
        // A link that has lasted shows that the neighbour had a place, so the pauses begin with the first again.
        if self.begun.is_none_or(|begun| now.since(begun) >= LIVED) {
            self.refused = FIRST_REFUSED;
        }
        let rest = self.refused;
        self.refused = rest.saturating_mul(2).min(LAST_REFUSED);
        self.next = now + rest;
        rest
    }
}
