//! The bounds and times that several parts of the dial list share.

use std::time::Duration;

/// The pause between two paths, within which most media bring an answer.
pub(super) const STAGGER: Duration = Duration::from_millis(150);
/// The time within which most media bring an answer. With every slot free, more nodes are dialled in a second than a
/// netmod passes on of a flood of beacons.
pub(super) const ANSWER: Duration = STAGGER;
/// The time after the last beacon at which a node is forgotten: three of the longest beacon intervals, so that a lost
/// beacon or two makes no difference.
pub(super) const FORGET: Duration = Duration::from_secs(100);
/// Endpoints stored for one instance: IPv4 and IPv6 on two interfaces. Bounded, since any host can send copies of a beacon.
pub(super) const ENDPOINTS: usize = 4;
