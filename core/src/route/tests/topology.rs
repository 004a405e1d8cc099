//! Shapes of networks, as lists of links between nodes numbered from 0.

use rand_chacha::ChaCha8Rng;

use super::net::unit;

pub(super) type Links = Vec<(usize, usize)>;

pub(super) fn line(nodes: usize) -> Links {
    (1..nodes).map(|node| (node - 1, node)).collect()
}

pub(super) fn ring(nodes: usize) -> Links {
    (0..nodes).map(|node| (node, (node + 1) % nodes)).collect()
}

pub(super) fn star(nodes: usize) -> Links {
    (1..nodes).map(|node| (0, node)).collect()
}

pub(super) fn tree(nodes: usize) -> Links {
    (1..nodes).map(|node| ((node - 1) / 2, node)).collect()
}

pub(super) fn grid(width: usize, height: usize) -> Links {
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

/// Points in the unit square, linked when near, about `degree` links each; pieces are joined where they are nearest.
pub(super) fn geometric(nodes: usize, degree: f64, random: &mut ChaCha8Rng) -> Links {
    let points: Vec<(f64, f64)> = (0..nodes).map(|_| (unit(random), unit(random))).collect();
    let distance = |a: usize, b: usize| {
        let (x, y) = (points[a].0 - points[b].0, points[a].1 - points[b].1);
        x * x + y * y
    };
    let reach = degree / (nodes as f64 * std::f64::consts::PI);
    let mut links = Vec::new();
    let mut piece: Vec<usize> = (0..nodes).collect();
    let mut join = |a: usize, b: usize, piece: &mut Vec<usize>| {
        links.push((a, b));
        let (from, to) = (piece[a], piece[b]);
        piece.iter_mut().filter(|one| **one == from).for_each(|one| *one = to);
    };
    for a in 0..nodes {
        for b in a + 1..nodes {
            if distance(a, b) <= reach {
                join(a, b, &mut piece);
            }
        }
    }
    while let Some((a, b)) = (0..nodes)
        .flat_map(|a| (a + 1..nodes).map(move |b| (a, b)))
        .filter(|(a, b)| piece[*a] != piece[*b])
        .min_by(|one, two| distance(one.0, one.1).total_cmp(&distance(two.0, two.1)))
    {
        join(a, b, &mut piece);
    }
    links
}
