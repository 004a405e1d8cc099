//! Moving nodes: a link comes up between two nodes that are near each other, and goes down when they part.

use std::time::Duration;

use super::config::Fidelity;
use super::motion::Motion;
use super::net::Net;
use super::queue::SimEvent;
use super::random::{between, pick, unit};
use super::topology::{distance, reach};
use super::wire::Wire;

/// The interval at which positions and links are updated.
const STEP: Duration = Duration::from_millis(100);

impl Net {
    /// Lets all nodes move about in the unit square for `span`, at `speed` in sides of the square per second. Links reach as far
    /// as necessary for about `degree` of them per node.
    pub(crate) fn roam(&mut self, places: Vec<(f64, f64)>, degree: f64, speed: f64, span: Duration) {
        let nodes = self.nodes.len();
        let random = &mut self.random;
        let mut places = places;
        places.resize_with(nodes, || (unit(random), unit(random)));
        let goals = (0..nodes).map(|_| (unit(random), unit(random))).collect();
        let pair = |link: &Wire| (link.ends[0].min(link.ends[1]), link.ends[0].max(link.ends[1]));
        let links = self.links.iter().enumerate().map(|(number, link)| (pair(link), number)).collect();
        let until = self.now + span;
        self.motion = Some(Motion { places, goals, speed, reach: reach(nodes, degree), until, links });
        self.queue.push(self.now, SimEvent::Move);
    }

    /// The positions of all nodes, if they have moved.
    pub(crate) fn places(&self) -> Option<&[(f64, f64)]> {
        self.motion.as_ref().map(|motion| motion.places.as_slice())
    }

    pub(super) fn move_on(&mut self) {
        let Some(mut motion) = self.motion.take() else { return };
        if self.now <= motion.until {
            self.walk(&mut motion);
            self.relink(&mut motion);
            self.queue.push(self.now + STEP, SimEvent::Move);
        }
        self.motion = Some(motion);
    }

    fn walk(&mut self, motion: &mut Motion) {
        let step = motion.speed * STEP.as_secs_f64();
        for (place, goal) in motion.places.iter_mut().zip(&mut motion.goals) {
            let far = distance(*place, *goal).sqrt();
            if far <= step {
                *place = *goal;
                *goal = (unit(&mut self.random), unit(&mut self.random));
            } else {
                let share = step / far;
                *place = (place.0 + (goal.0 - place.0) * share, place.1 + (goal.1 - place.1) * share);
            }
        }
    }

    fn relink(&mut self, motion: &mut Motion) {
        let nodes = self.nodes.len();
        // Begin with another node each time, so that the lowest numbers are not always linked first.
        let begin = pick(&mut self.random, nodes);
        for a in (0..nodes).map(|node| (node + begin) % nodes) {
            for b in a + 1..nodes {
                let near = distance(motion.places[a], motion.places[b]) <= motion.reach;
                let known = motion.links.get(&(a, b)).copied();
                match (near, known) {
                    (true, Some(link)) => self.raise(link),
                    (true, None) => {
                        let (least, most) = self.config.latency;
                        let latency = between(&mut self.random, least, most);
                        let link = self.add_link([a, b], latency);
                        motion.links.insert((a, b), link);
                        self.raise(link);
                    }
                    // On a radio medium no netmod reports that a neighbour has moved out of range.
                    (false, Some(link)) if self.config.fidelity == Fidelity::Link => self.silence(link),
                    (false, Some(link)) => self.cut(link),
                    (false, None) => {}
                }
            }
        }
    }
}
