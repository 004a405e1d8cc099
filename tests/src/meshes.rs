//! Small meshes of daemons, linked by name.

use crate::Daemon;
use crate::program::Programs;

impl Programs {
    /// Two daemons that are neighbours. The first one has the name `first`.
    pub fn pair(&self) -> (Daemon, Daemon) {
        let first = self.daemon().argument("--name").argument("first").start();
        let second = self.daemon().peer(&first.uri()).start();
        first.route_to(second.address());
        second.route_to(first.address());
        (first, second)
    }

    /// A line of three daemons, the ends of which reach each other over the middle.
    pub fn line(&self) -> [Daemon; 3] {
        let middle = self.daemon().start();
        let [left, right] = [(); 2].map(|()| self.daemon().peer(&middle.uri()).start());
        left.route_to(right.address());
        right.route_to(left.address());
        [left, middle, right]
    }
}
