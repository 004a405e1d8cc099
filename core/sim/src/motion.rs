//! The state of nodes that move.

use std::collections::HashMap;

use rouse_proto::time::Time;

/// The random waypoint model: each node moves straight to a random point, then to the next.
pub(super) struct Motion {
    pub(super) places: Vec<(f64, f64)>,
    pub(super) goals: Vec<(f64, f64)>,
    /// Speed of all nodes, in sides of the square per second.
    pub(super) speed: f64,
    /// The square of the longest link.
    pub(super) reach: f64,
    pub(super) until: Time,
    pub(super) links: HashMap<(usize, usize), usize>,
}
