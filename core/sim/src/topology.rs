//! Shapes of networks.

use rand_chacha::ChaCha8Rng;

use super::random::{pick, unit};

/// Links, each between two nodes, which are numbered from 0.
pub type Links = Vec<(usize, usize)>;

/// The shape of a network. Its random parts are drawn from the seed of the run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Topology {
    /// A row of this many nodes.
    Line(usize),
    /// A row with its ends joined.
    Ring(usize),
    /// Node 0 in the middle, all others linked to it.
    Star(usize),
    /// A binary tree, node 0 the root.
    Tree(usize),
    /// Rows of nodes, each linked to those beside, above and below.
    Grid {
        /// Nodes in a row.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// Points in the unit square, linked when near. Separate components are joined where they are nearest.
    Geometric {
        /// The number of nodes.
        nodes: usize,
        /// The average number of links of a node away from the border.
        degree: f64,
    },
    /// Two geometric networks of half the nodes each, joined by one link: the last.
    Clusters(usize),
    /// Any other shape.
    Custom {
        /// The number of nodes.
        nodes: usize,
        /// The links between them.
        links: Links,
    },
}

/// A drawn network: the number of nodes, the links, and the positions of the nodes where the shape has positions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: usize,
    pub(crate) links: Links,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Topology {
    /// The number of its nodes.
    pub fn nodes(&self) -> usize {
        match self {
            Topology::Line(nodes)
            | Topology::Ring(nodes)
            | Topology::Star(nodes)
            | Topology::Tree(nodes)
            | Topology::Clusters(nodes)
            | Topology::Geometric { nodes, .. }
            | Topology::Custom { nodes, .. } => *nodes,
            Topology::Grid { width, height } => width * height,
        }
    }

    pub(crate) fn draw(&self, random: &mut ChaCha8Rng) -> Graph {
        let nodes = self.nodes();
        let links = match self {
            Topology::Line(_) => line(nodes),
            Topology::Ring(_) => ring(nodes),
            Topology::Star(_) => (1..nodes).map(|node| (0, node)).collect(),
            Topology::Tree(_) => (1..nodes).map(|node| ((node - 1) / 2, node)).collect(),
            Topology::Grid { width, height } => grid(*width, *height),
            Topology::Geometric { degree, .. } => return geometric(nodes, *degree, random),
            Topology::Clusters(_) => clusters(nodes, random),
            Topology::Custom { links, .. } => proper(nodes, links),
        };
        Graph { nodes, links, points: Vec::new() }
    }
}

/// Removes links of a node to itself, links to nodes that do not exist, and repeated links.
fn proper(nodes: usize, links: &Links) -> Links {
    let mut seen = std::collections::BTreeSet::new();
    let proper = |(a, b): &(usize, usize)| a != b && *a < nodes && *b < nodes;
    links.iter().copied().filter(proper).filter(|(a, b)| seen.insert((*a.min(b), *a.max(b)))).collect()
}

pub(crate) fn line(nodes: usize) -> Links {
    (1..nodes).map(|node| (node - 1, node)).collect()
}

pub(crate) fn ring(nodes: usize) -> Links {
    let mut links = line(nodes);
    if nodes > 2 {
        links.push((nodes - 1, 0));
    }
    links
}

pub(crate) fn grid(width: usize, height: usize) -> Links {
    let mut links = Vec::new();
    for node in 0..width * height {
        if node % width + 1 < width {
            links.push((node, node + 1));
        }
        if node + width < width * height {
            links.push((node, node + width));
        }
    }
    links
}

/// Two clusters and the bridge between them, the last link.
fn clusters(nodes: usize, random: &mut ChaCha8Rng) -> Links {
    let half = nodes / 2;
    let mut links = geometric(half, 5.0, random).links;
    let other = geometric(nodes - half, 5.0, random).links;
    links.extend(other.iter().map(|(a, b)| (a + half, b + half)));
    if half > 0 {
        links.push((pick(random, half), half + pick(random, nodes - half)));
    }
    links
}

pub(crate) fn geometric(nodes: usize, degree: f64, random: &mut ChaCha8Rng) -> Graph {
    let points: Vec<(f64, f64)> = (0..nodes).map(|_| (unit(random), unit(random))).collect();
    let links = linked(&points, degree);
    Graph { nodes, links, points }
}

/// The square of the longest link with which nodes have about `degree` links.
pub(crate) fn reach(nodes: usize, degree: f64) -> f64 {
    degree / (nodes.max(1) as f64 * std::f64::consts::PI)
}

/// The square of the distance.
pub(crate) fn distance(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (x, y) = (a.0 - b.0, a.1 - b.1);
    x * x + y * y
}

/// Links between near points, and the links that join separate components.
fn linked(points: &[(f64, f64)], degree: f64) -> Links {
    let nodes = points.len();
    let reach = reach(nodes, degree);
    let mut links = Vec::new();
    let mut components = Components::new(nodes);
    for a in 0..nodes {
        for b in a + 1..nodes {
            if distance(points[a], points[b]) <= reach {
                links.push((a, b));
                components.join(a, b);
            }
        }
    }
    while let Some((a, b)) = nearest_apart(points, &mut components) {
        links.push((a, b));
        components.join(a, b);
    }
    links
}

/// The shortest link between one component without node 0 and all other nodes; `None` when there is only one component.
fn nearest_apart(points: &[(f64, f64)], components: &mut Components) -> Option<(usize, usize)> {
    let component: Vec<usize> = (0..points.len()).map(|node| components.of(node)).collect();
    let chosen = component.iter().copied().find(|one| *one != component[0])?;
    let (inside, outside): (Vec<usize>, Vec<usize>) =
        (0..points.len()).partition(|node| component[*node] == chosen);
    let pairs = inside.iter().flat_map(|a| outside.iter().map(move |b| (*a, *b)));
    pairs.min_by(|one, two| {
        distance(points[one.0], points[one.1]).total_cmp(&distance(points[two.0], points[two.1]))
    })
}

/// Connected components (union–find).
pub(crate) struct Components(Vec<usize>);

impl Components {
    pub(crate) fn new(nodes: usize) -> Self {
        Components((0..nodes).collect())
    }

    /// The representative of the node's component: one of its nodes.
    pub(crate) fn of(&mut self, mut node: usize) -> usize {
        while self.0[node] != node {
            self.0[node] = self.0[self.0[node]];
            node = self.0[node];
        }
        node
    }

    pub(crate) fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.of(a), self.of(b));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::seeded;
    use super::*;

    #[test]
    fn every_shape_is_connected_and_links_no_pair_twice() {
        let shapes = [
            Topology::Line(9),
            Topology::Ring(9),
            Topology::Ring(2),
            Topology::Star(9),
            Topology::Tree(30),
            Topology::Grid { width: 4, height: 7 },
            Topology::Geometric { nodes: 80, degree: 3.0 },
            Topology::Clusters(41),
            Topology::Custom { nodes: 3, links: vec![(0, 1), (1, 0), (1, 1), (1, 2), (7, 1)] },
        ];
        for shape in shapes {
            let graph = shape.draw(&mut seeded(3));
            let mut components = Components::new(graph.nodes);
            let mut pairs = std::collections::BTreeSet::new();
            for (a, b) in &graph.links {
                assert!(a != b && pairs.insert((*a.min(b), *a.max(b))), "{shape:?}");
                components.join(*a, *b);
            }
            assert!((0..graph.nodes).all(|node| components.of(node) == 0), "{shape:?}");
        }
    }

    #[test]
    fn clusters_are_joined_by_their_last_link_alone() {
        let graph = Topology::Clusters(40).draw(&mut seeded(8));
        let crosses = |(a, b): &&(usize, usize)| (*a < 20) != (*b < 20);
        assert_eq!(graph.links.iter().filter(crosses).count(), 1);
        assert!(crosses(&graph.links.last().unwrap()));
    }
}
