//! The times and counts by which a neighbour is judged.

use std::time::Duration;

/// The mean time between two hellos. Each is sent up to an eighth earlier or later, so that the hellos of many links do
/// not coincide.
pub(in crate::link) const HELLO_INTERVAL: Duration = Duration::from_secs(1);
/// The mean time between two hellos while the loss of a lossy link rests on few frames. More hellos measure it sooner.
pub(in crate::link) const HELLO_INTERVAL_UNCERTAIN: Duration = Duration::from_millis(500);
/// The number of round trips of the handshake that the first answer may take. It is the factor that [`ANSWER_TIMEOUT`]
/// applies to measured round trips.
pub(super) const FIRST_ANSWER_TRIPS: u32 = 3;
/// The delay of the answer to a packet, unless something else is sent. It is shorter than [`ANSWER_TIMEOUT`], so that a
/// receiver that only receives is not suspected.
pub(in crate::link) const ANSWER_DELAY: Duration = Duration::from_millis(20);
/// The minimum time between two answers to probes. It bounds the answers that a flood of probes can cause.
pub(in crate::link) const ANSWER_GAP: Duration = Duration::from_millis(5);
/// The minimum time that an answer may take before a suspicion begins. Otherwise a link of very short round trips would
/// be suspected for a delay in the scheduling of either machine, and because the answer itself waits for
/// [`ANSWER_DELAY`].
pub(in crate::link) const ANSWER_TIMEOUT: Duration = Duration::from_millis(50);
/// The same while no round trip was measured. It is longer, because the neighbour may be far away, or the finish was
/// lost and is repeated only after 250 ms or later.
pub(in crate::link) const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// A suspicion begins when nothing was received for this long: two hellos, each an eighth late, and 150 ms for the
/// path.
pub(in crate::link) const IDLE_TIMEOUT: Duration = Duration::from_millis(2400);
/// The minimum time between probes. Where half a round trip is longer, that is used, since an answer needs a whole one.
pub(in crate::link) const PROBE_GAP: Duration = Duration::from_millis(50);
/// The minimum time between probes once the neighbour is suspect. Routes avoid it by then, so there is less hurry.
pub(in crate::link) const SUSPECT_PROBE_GAP: Duration = Duration::from_millis(100);
/// The number of unanswered probes that make a neighbour suspect. It is doubled on a lossy link, because there probes
/// are lost by chance.
pub(in crate::link) const MAX_PROBES: u32 = 3;
/// The silence after which a suspect neighbour is down. Where a round trip is longer, that is used, because the answer
/// to the last probe may still be on its way.
pub(in crate::link) const DOWN_AFTER: Duration = Duration::from_secs(1);
/// The silence after which a neighbour that the medium reports as cut off is out of service. It is not zero, because a
/// loose plug often has contact again by then, and withdrawn routes would cost more than this delay.
pub(in crate::link) const CUT_TIMEOUT: Duration = Duration::from_millis(250);
/// The further silence after which such a link is down. A router keeps what its neighbours rely on for five seconds
/// after it has withdrawn it, so a neighbour that returns within this time still receives the update. A longer life
/// would break that.
pub(in crate::link) const AWAY_LIFE: Duration = Duration::from_secs(4);
/// The first time between probes of a neighbour that is cut off. It doubles up to [`HELLO_INTERVAL`] once the neighbour
/// is out of service, since the medium probably cannot carry them.
pub(in crate::link) const CUT_PROBE_GAP: Duration = Duration::from_millis(125);
/// The delay of a timer from which on the machine counts as busy, so that silence until then proves nothing.
pub(in crate::link) const LATE_TIMER: Duration = Duration::from_millis(25);
/// The number of delayed timers in a row that do not count as silence. It is bounded, because a machine that is always
/// late must still notice that a neighbour is gone.
pub(in crate::link) const MAX_EXCUSES: u32 = 5;
