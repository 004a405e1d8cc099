//! The search for the costliest input: random inputs first, then variations of the costliest that was found.

use std::time::{Duration, Instant};

use rouse_tests::hostile::Random;

use crate::layer::Subject;
use crate::measure::{Beside, Cost, Meter};
use crate::recipe::{Part, Recipe};

/// The costliest inputs of a kind that were found.
pub(crate) struct Found {
    /// By the processor's time.
    pub slow: (Recipe, Beside),
    /// By the memory held, and the bytes that it held for each received one.
    pub large: (Recipe, f64),
    /// Both with as many inputs as fill their pool, and a silence after them.
    pub filled: [Cost; 2],
    /// One input for each place of their pool.
    pub places: Option<Cost>,
    /// How many were tried.
    pub tried: u32,
}

/// The number of the costliest inputs that are measured again.
const SURE: usize = 3;
/// A simpler recipe replaces the costliest if it costs at least this share of it, and is searched for only if the costliest is worth
/// so many ordinary inputs, or bytes.
const NEARLY: f64 = 0.9;
const WORTH: f64 = 4.0;
/// Ways to be simpler that are tried.
const SIMPLER: usize = 64;

/// Recipes that are remembered by each measure: the next ones are like one of them.
const BEST: usize = 4;

/// Searches for the costliest input of a kind until the time is up.
pub(crate) fn search(subject: &Subject, meter: &Meter<'_>, kind: usize, seed: u64, time: Duration) -> Found {
    let kinds = subject.kinds;
    let mut random = Random::new(seed);
    let end = Instant::now() + time;
    let first = Recipe::usual(Part::usual(kinds, kind));
    let mut best: [Vec<(f64, Recipe)>; 2] = [vec![(0.0, first.clone())], vec![(0.0, first)]];
    let mut tried = 0;
    // First what was dear once, and the ordinary one, with one number after the other that counts.
    let seeds = (subject.seeds)(kind);
    // These in any case, however slow the machine is.
    let least = 4 + seeds.len() as u32;
    let counting = kinds[kind]
        .genes
        .iter()
        .map(|gene| Recipe::usual(Part::usual(kinds, kind).counting(kinds, gene.name)));
    let mut first = seeds.into_iter().chain(counting);
    while Instant::now() < end || tried < least {
        let pool = &best[tried as usize % 2];
        let recipe = first.next().unwrap_or_else(|| match random.below(4) {
            0 => Recipe::any(kinds, kind, &mut random),
            _ => pool[random.below(pool.len())].1.changed(kinds, &mut random),
        });
        let cost = meter.briefly(&recipe);
        for (pool, score) in best.iter_mut().zip([meter.ratio(&cost), cost.held_per_byte()]) {
            pool.push((score, recipe.clone()));
            pool.sort_by(|a, b| b.0.total_cmp(&a.0));
            pool.truncate(BEST);
        }
        tried += 1;
    }
    let [slow, large] = best;
    let slow = slowest(meter, slow);
    let large = largest(meter, large);
    let first = meter.filled(&slow.0);
    let is_same = slow.0.words(kinds) == large.0.words(kinds);
    let filled = [first, if is_same { first } else { meter.filled(&large.0) }];
    Found { slow, large, filled, places: meter.places(kind), tried }
}

impl Found {
    /// Simpler inputs that cost nearly as much as the slowest and the largest, for a reader that looks for the cause. The bounds
    /// are for those that were found, so the search for simpler ones, which takes longer than that before it, is left out
    /// where there is nothing to look for.
    pub(crate) fn simplified(&self, subject: &Subject, meter: &Meter<'_>) -> [Recipe; 2] {
        let (slow, beside) = &self.slow;
        let slow =
            simplest(subject, slow.clone(), beside.ratio(), |recipe| meter.ratio(&meter.briefly(recipe)));
        let (large, held) = &self.large;
        let large = simplest(subject, large.clone(), *held, |recipe| meter.briefly(recipe).held_per_byte());
        [slow, large]
    }
}

/// The slowest of some, measured again with more patience.
fn slowest(meter: &Meter<'_>, pool: Vec<(f64, Recipe)>) -> (Recipe, Beside) {
    let again = pool.into_iter().take(SURE).map(|(_, recipe)| {
        let beside = meter.beside_ordinary(&recipe);
        (recipe, beside)
    });
    let slowest = again.max_by(|a, b| a.1.ratio().total_cmp(&b.1.ratio()));
    let Some(slowest) = slowest else { unreachable!("a pool begins with an ordinary input") };
    slowest
}

/// The largest of some, measured again.
fn largest(meter: &Meter<'_>, pool: Vec<(f64, Recipe)>) -> (Recipe, f64) {
    let again = pool.into_iter().take(SURE).map(|(_, recipe)| {
        let held = meter.briefly(&recipe).held_per_byte();
        (recipe, held)
    });
    let largest = again.max_by(|a, b| a.1.total_cmp(&b.1));
    let Some(largest) = largest else { unreachable!("a pool begins with an ordinary input") };
    largest
}

/// Makes a recipe simpler as long as it stays nearly as costly.
fn simplest(subject: &Subject, mut recipe: Recipe, score: f64, again: impl Fn(&Recipe) -> f64) -> Recipe {
    let least = score * NEARLY;
    let mut nth = 0;
    while least > WORTH && nth < SIMPLER {
        let Some(simpler) = recipe.simpler(subject.kinds, nth) else { break };
        let shorter = simpler.setup.len() < recipe.setup.len();
        let good = again(&simpler) >= least;
        if good {
            recipe = simpler;
        }
        // Where one was taken out, another has its place.
        nth += usize::from(!(good && shorter));
    }
    recipe
}
