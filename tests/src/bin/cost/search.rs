//! The search for the costliest input: random inputs first, then variations of the costliest that was found.

use std::time::{Duration, Instant};

use rouse_tests::hostile::Random;

use crate::layer::{Input, Layer, Subject};
use crate::meter::{allocated, processor};
use crate::recipe::{Part, Recipe};

/// Bytes of inputs in one measurement: so many that allocations which happen once do not matter.
const VOLUME: usize = 64 << 10;
/// Inputs in one measurement, and those of a search.
const MOST: u64 = 2048;
/// A measurement of the search ends after this much of the processor's time.
const PATIENCE: Duration = Duration::from_millis(15);
/// One that fills a pool ends after this.
const FILLING: Duration = Duration::from_millis(500);
/// Any ends after so many times its share, the making of its inputs included.
const MAKING: u32 = 4;
/// Inputs that are made at once; at first only one, since it may be very costly.
const BATCH: u64 = 16;
/// The work that inputs defer is done after this time.
const LATER: Duration = Duration::from_millis(50);
/// The bytes that empty tables may keep allocated.
pub const EMPTY: i64 = 64 << 10;

/// The cost of inputs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub packets: u64,
    pub bytes: u64,
    pub time: Duration,
    pub held: i64,
    /// Bytes that are held after a minute of silence.
    pub left: i64,
}

impl Cost {
    pub fn nanos_per_packet(&self) -> f64 {
        self.time.as_nanos() as f64 / self.packets.max(1) as f64
    }

    pub fn bytes_per_packet(&self) -> f64 {
        self.bytes as f64 / self.packets.max(1) as f64
    }

    pub fn held_per_byte(&self) -> f64 {
        self.held.max(0) as f64 / self.bytes.max(1) as f64
    }

    pub fn is_given_back(&self) -> bool {
        self.left <= EMPTY.max(self.held / 16)
    }
}

/// The cost of an ordinary input, by its length.
pub struct Ordinary(Vec<(f64, f64)>);

impl Ordinary {
    /// Measures ordinary inputs of some lengths.
    pub fn of(subject: &Subject) -> Self {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for length in [16, 64, 128, 256, 512, 1024, 1400] {
            let cost = steady(subject, &(subject.usual)(length), 3);
            points.push((cost.bytes_per_packet(), cost.nanos_per_packet()));
        }
        points.dedup_by(|b, a| b.0 <= a.0);
        Ordinary(points)
    }

    /// Nanoseconds of an ordinary input of this length.
    pub fn nanos(&self, bytes: f64) -> f64 {
        let Some(((first, least), (last, most))) = self.0.first().zip(self.0.last()) else { return 1.0 };
        if bytes <= *first {
            return *least;
        }
        if bytes >= *last {
            return most * bytes / last;
        }
        let pair = self.0.windows(2).find(|pair| bytes <= pair[1].0);
        pair.map_or(*most, |pair| {
            let ((from, low), (to, high)) = (pair[0], pair[1]);
            low + (high - low) * (bytes - from) / (to - from)
        })
    }
}

/// The most that is measured: inputs, their bytes, and the time of the processor for them.
#[derive(Clone, Copy)]
struct Effort {
    packets: u64,
    bytes: usize,
    time: Duration,
}

impl Effort {
    fn of(time: Duration) -> Self {
        Effort { packets: MOST, bytes: VOLUME, time }
    }

    /// Enough to be far beyond the pool of these inputs.
    fn filling(subject: &Subject, recipe: &Recipe) -> Self {
        match subject.kinds[recipe.dear.kind].pool {
            // Slow inputs fill no pool whose places are given back meanwhile.
            Some(pool) if recipe.pace == 0 => {
                Effort { packets: pool.filled_by(), bytes: usize::MAX, time: FILLING }
            }
            _ => Effort::of(4 * PATIENCE),
        }
    }
}

/// Measures a recipe on a fresh layer.
fn measure(subject: &Subject, recipe: &Recipe, effort: Effort, silence: Duration) -> Cost {
    let mut layer = (subject.make)();
    let pace = Duration::from_micros(recipe.pace);
    let idle = idle(layer.as_mut(), pace);
    let mut cost = Cost::default();
    for part in &recipe.setup {
        for nth in 0..part.times {
            let input = layer.input(part, nth);
            layer.take(input);
            layer.pass(pace);
        }
    }
    let mut inputs: Vec<Input> = Vec::with_capacity(BATCH as usize);
    let end = processor() + MAKING * effort.time;
    while processor() < end
        && cost.packets < effort.packets
        && (cost.bytes as usize) < effort.bytes
        && cost.time < effort.time
    {
        let batch = cost.packets.clamp(1, BATCH);
        inputs.extend((cost.packets..cost.packets + batch).map(|nth| layer.input(&recipe.dear, nth)));
        cost.packets += batch;
        cost.bytes += inputs.iter().map(|input| input.received as u64).sum::<u64>();
        // The inputs themselves are not held by the layer, unless it keeps them.
        let held = allocated() - inputs.iter().map(Input::room).sum::<i64>();
        let before = processor();
        for input in inputs.drain(..) {
            layer.take(input);
            if !pace.is_zero() {
                layer.pass(pace);
            }
        }
        cost.time += (processor() - before).saturating_sub(idle * batch as u32);
        cost.held += allocated() - held;
    }
    let (before, held) = (processor(), allocated());
    layer.pass(LATER);
    cost.time += processor() - before;
    cost.held += allocated() - held;
    let held = allocated();
    layer.pass(silence);
    cost.left = cost.held + allocated() - held;
    cost
}

/// The cost of the passing of time without inputs.
fn idle(layer: &mut dyn Layer, pace: Duration) -> Duration {
    if pace.is_zero() {
        return Duration::ZERO;
    }
    let before = processor();
    (0..8).for_each(|_| layer.pass(pace));
    (processor() - before) / 8
}

/// The memory that inputs hold when they have filled their pool, and the rest of it after the silence.
fn filled(subject: &Subject, recipe: &Recipe) -> Cost {
    measure(subject, recipe, Effort::filling(subject, recipe), subject.silence)
}

/// The least of several measurements: what else the machine does only adds.
pub fn steady(subject: &Subject, recipe: &Recipe, times: usize) -> Cost {
    let all = (0..times).map(|_| measure(subject, recipe, Effort::of(2 * PATIENCE), Duration::ZERO));
    let least = all.min_by(|a, b| a.nanos_per_packet().total_cmp(&b.nanos_per_packet()));
    least.unwrap_or_default()
}

/// The costliest inputs of a kind that were found.
pub struct Found {
    /// By the processor's time.
    pub slow: (Recipe, Cost),
    /// By the memory held.
    pub large: (Recipe, Cost),
    /// Both with as many inputs as fill their pool, and a silence after them.
    pub filled: [Cost; 2],
    /// How many were tried.
    pub tried: u32,
}

/// The number of the costliest inputs that are measured again.
const SURE: usize = 2;
/// A simpler recipe replaces the costliest if it costs at least this share of it, and is searched for only if the costliest is worth
/// so many ordinary inputs, or bytes.
const NEARLY: f64 = 0.9;
const WORTH: f64 = 4.0;
/// Ways to be simpler that are tried.
const SIMPLER: usize = 64;

/// Recipes that are remembered by each measure: the next ones are like one of them.
const BEST: usize = 4;

/// Searches for the costliest input of a kind until the time is up.
pub fn search(subject: &Subject, ordinary: &Ordinary, kind: usize, seed: u64, time: Duration) -> Found {
    let kinds = subject.kinds;
    let mut random = Random::new(seed);
    let end = Instant::now() + time;
    let first = Recipe::usual(Part::usual(kinds, kind));
    let ratio = |cost: &Cost| cost.nanos_per_packet() / ordinary.nanos(cost.bytes_per_packet());
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
        let cost = measure(subject, &recipe, Effort::of(PATIENCE), Duration::ZERO);
        for (pool, score) in best.iter_mut().zip([ratio(&cost), cost.held_per_byte()]) {
            pool.push((score, recipe.clone()));
            pool.sort_by(|a, b| b.0.total_cmp(&a.0));
            pool.truncate(BEST);
        }
        tried += 1;
    }
    let [slow, large] = best;
    let slow = sure(subject, slow, &ratio);
    let large = sure(subject, large, &Cost::held_per_byte);
    let filled = [&slow.0, &large.0].map(|recipe| filled(subject, recipe));
    Found { slow, large, filled, tried }
}

/// The costliest of some, measured again with more patience, and made simpler as long as it stays nearly as costly.
fn sure(subject: &Subject, pool: Vec<(f64, Recipe)>, score: &dyn Fn(&Cost) -> f64) -> (Recipe, Cost) {
    let again = pool.into_iter().take(SURE).map(|(_, recipe)| {
        let cost = steady(subject, &recipe, 3);
        (recipe, cost)
    });
    let dearest = again.max_by(|a, b| score(&a.1).total_cmp(&score(&b.1)));
    let Some((mut recipe, cost)) = dearest else { unreachable!("a pool begins with an ordinary input") };
    let least = score(&cost) * NEARLY;
    let mut nth = 0;
    while least > WORTH && nth < SIMPLER {
        let Some(simpler) = recipe.simpler(subject.kinds, nth) else { break };
        let shorter = simpler.setup.len() < recipe.setup.len();
        let good = score(&measure(subject, &simpler, Effort::of(PATIENCE), Duration::ZERO)) >= least;
        if good {
            recipe = simpler;
        }
        // Where one was taken out, another has its place.
        nth += usize::from(!(good && shorter));
    }
    (recipe, cost)
}
