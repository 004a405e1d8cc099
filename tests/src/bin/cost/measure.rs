//! Measuring: the cost of a recipe's inputs on a fresh layer, beside ordinary ones.

use std::cmp::Ordering;
use std::time::Duration;

use crate::layer::{Input, Layer, Subject};
use crate::meter::{allocated, processor};
use crate::recipe::Recipe;

/// Bytes of inputs in one measurement: so many that allocations which happen once do not matter.
const VOLUME: usize = 64 << 10;
/// Inputs in one measurement.
const MOST: u64 = 2048;
/// A measurement of the search ends after this much of the processor's time.
const PATIENCE: Duration = Duration::from_millis(15);
/// One that fills a pool ends after this.
const FILLING: Duration = Duration::from_millis(250);
/// One that takes each place of a pool once ends after this: by the number of its inputs, however slow the machine is.
const UNHURRIED: Duration = Duration::from_secs(60);
/// Any ends after so many times its share, the making of its inputs included.
const MAKING: u32 = 4;
/// Inputs that are made at once; at first only one, since it may be very costly.
const BATCH: u64 = 16;
/// The work that inputs defer is done after this time.
pub(crate) const LATER: Duration = Duration::from_millis(50);
/// An input is measured in turn with ordinary ones until it is seen to cost no more than so many of them, up to so many times:
/// what else the machine does makes some measurements slower and none faster. So one beyond the bound is measured most often.
const ROUNDS: [(usize, f64); 3] = [(1, 6.0), (3, 12.0), (8, 18.0)];
const MOST_ROUNDS: usize = 16;
/// Ordinary inputs measured in turn with others, at most, as a multiple of those.
const LONG: u64 = 32;
/// The bytes that empty tables may keep allocated.
pub(crate) const EMPTY: i64 = 64 << 10;

/// The cost of inputs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// The processor's time for them, and for what follows from them in the silence after them.
    pub(crate) time: Duration,
    pub(crate) held: i64,
    /// Bytes that are held after the silence.
    pub(crate) left: i64,
}

impl Cost {
    pub(crate) fn nanos_per_packet(&self) -> f64 {
        self.time.as_nanos() as f64 / self.packets.max(1) as f64
    }

    pub(crate) fn bytes_per_packet(&self) -> f64 {
        self.bytes as f64 / self.packets.max(1) as f64
    }

    /// The order by time. What else the machine does only adds to it, so that the least of several is the truest.
    fn by_time(&self, other: &Self) -> Ordering {
        self.nanos_per_packet().total_cmp(&other.nanos_per_packet())
    }

    pub(crate) fn held_per_byte(&self) -> f64 {
        self.held.max(0) as f64 / self.bytes.max(1) as f64
    }

    pub(crate) fn is_given_back(&self) -> bool {
        self.left <= EMPTY.max(self.held / 16)
    }
}

/// The most that is measured: inputs, their bytes, and the time of the processor for them.
#[derive(Clone, Copy)]
struct Effort {
    packets: u64,
    bytes: usize,
    time: Duration,
    after: After,
}

/// The end of a measurement.
#[derive(Clone, Copy)]
enum After {
    /// The work that inputs defer, beyond what it costs without these inputs.
    Moment(Duration),
    /// The silence, for the memory that is left after it.
    Silence,
    /// The same, with the work in the silence.
    WorkBeyond(Duration),
}

/// With all work that the inputs defer.
const AT_ONCE: After = After::Moment(Duration::ZERO);

impl Effort {
    fn of(time: Duration, after: After) -> Self {
        Effort { packets: MOST, bytes: VOLUME, time, after }
    }

    /// Enough to be far beyond the pool of these inputs.
    fn filling(subject: &Subject, recipe: &Recipe) -> Self {
        match subject.kinds[recipe.dear.kind].pool {
            // Slow inputs fill no pool whose places are given back meanwhile.
            Some(pool) if recipe.pace == 0 => {
                Effort { packets: pool.filled_by(), bytes: usize::MAX, time: FILLING, after: After::Silence }
            }
            _ => Effort::of(4 * PATIENCE, After::Silence),
        }
    }
}

/// A fresh layer, with the inputs that prepare it.
fn prepared(subject: &Subject, recipe: &Recipe) -> (Box<dyn Layer>, Duration) {
    let mut layer = (subject.make)();
    let pace = Duration::from_micros(recipe.pace);
    let step = idle_step(layer.as_mut(), pace);
    for part in &recipe.setup {
        for nth in 0..part.times {
            let input = layer.input(part, nth);
            layer.take(input);
            layer.pass(pace);
        }
    }
    (layer, step)
}

/// The cost of the passing of time without inputs.
fn idle_step(layer: &mut dyn Layer, pace: Duration) -> Duration {
    if pace.is_zero() {
        return Duration::ZERO;
    }
    let before = processor();
    (0..8).for_each(|_| layer.pass(pace));
    (processor() - before) / 8
}

/// Measures a recipe on a fresh layer.
fn measure(subject: &Subject, recipe: &Recipe, effort: Effort) -> Cost {
    let (mut layer, step) = prepared(subject, recipe);
    let (mut cost, pace) = (Cost::default(), Duration::from_micros(recipe.pace));
    let mut inputs: Vec<Input> = Vec::with_capacity(BATCH as usize);
    let (mut made, end) = (0, processor() + MAKING * effort.time);
    while processor() < end
        && made < effort.packets
        && (cost.bytes as usize) < effort.bytes
        && cost.time < effort.time
    {
        let batch = made.clamp(1, BATCH).min(effort.packets - made);
        inputs.extend((made..made + batch).map(|nth| layer.input(&recipe.dear, nth)));
        made += batch;
        cost.packets += inputs.iter().map(|input| input.count).sum::<u64>();
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
        cost.time += (processor() - before).saturating_sub(step * batch as u32);
        cost.held += allocated() - held;
    }
    let (before, held) = (processor(), allocated());
    layer.pass(LATER);
    cost.held += allocated() - held;
    let held = allocated();
    match effort.after {
        After::Moment(idle) => {
            cost.time += (processor() - before).saturating_sub(idle);
            return cost;
        }
        After::Silence => layer.pass(subject.silence),
        After::WorkBeyond(idle) => {
            layer.pass(subject.silence);
            cost.time += (processor() - before).saturating_sub(idle);
        }
    }
    cost.left = cost.held + allocated() - held;
    cost
}

/// The meter of one layer.
pub(crate) struct Meter<'a> {
    subject: &'a Subject,
    /// The cost of the silence on a fresh layer.
    idle: Duration,
    by_length: Ordinary,
}

impl<'a> Meter<'a> {
    pub(crate) fn of(subject: &'a Subject) -> Self {
        let mut meter = Meter { subject, idle: Duration::ZERO, by_length: Ordinary(Vec::new()) };
        let idle = |_| meter.after_setup(&(subject.usual)(0).unprepared(), subject.silence);
        meter.idle = (0..3).map(idle).min().unwrap_or_default();
        let lengths = [16, 64, 128, 256, 512, 1024, 1400];
        let points = lengths.map(|length| {
            let effort = Effort::of(2 * PATIENCE, AT_ONCE);
            let cost =
                (0..3).map(|_| meter.ordinary(length, effort)).min_by(Cost::by_time).unwrap_or_default();
            (cost.bytes_per_packet(), cost.nanos_per_packet())
        });
        meter.by_length.0.extend(points);
        meter.by_length.0.dedup_by(|b, a| b.0 <= a.0);
        meter
    }

    /// The cost of what follows from what prepares a recipe, without its inputs.
    fn after_setup(&self, recipe: &Recipe, silence: Duration) -> Duration {
        let (mut layer, _) = prepared(self.subject, recipe);
        let before = processor();
        layer.pass(LATER);
        if !silence.is_zero() {
            layer.pass(silence);
        }
        processor() - before
    }

    /// A short measurement, for the search. Where inputs prepare, the work in the silence is left to the thorough one.
    pub(crate) fn briefly(&self, recipe: &Recipe) -> Cost {
        let after = match recipe.setup.is_empty() {
            true if self.subject.works_in_silence => After::WorkBeyond(self.idle),
            true => AT_ONCE,
            false => After::Moment(self.after_setup(recipe, Duration::ZERO)),
        };
        measure(self.subject, recipe, Effort::of(PATIENCE, after))
    }

    /// A measurement with the work in the silence, beyond that which follows from what prepares.
    fn thoroughly(&self, recipe: &Recipe) -> Cost {
        let after = match recipe.setup.is_empty() {
            true if self.subject.works_in_silence => After::WorkBeyond(self.idle),
            true => AT_ONCE,
            false if self.subject.works_in_silence => {
                After::WorkBeyond(self.after_setup(recipe, self.subject.silence))
            }
            false => After::Moment(self.after_setup(recipe, Duration::ZERO)),
        };
        measure(self.subject, recipe, Effort::of(2 * PATIENCE, after))
    }

    /// Ordinary inputs of about this length, without the work in the silence: most of it is that of what prepares them.
    fn ordinary(&self, length: usize, effort: Effort) -> Cost {
        measure(self.subject, &(self.subject.usual)(length), effort)
    }

    /// Ordinary inputs of the length of these that cost as much.
    pub(crate) fn ratio(&self, cost: &Cost) -> f64 {
        cost.nanos_per_packet() / self.by_length.nanos(cost.bytes_per_packet())
    }

    /// Measures a recipe in turn with ordinary inputs of its length, so that both meet the machine as it is now.
    pub(crate) fn beside_ordinary(&self, recipe: &Recipe) -> Beside {
        let mut beside = Beside { cost: self.thoroughly(recipe), ordinary: f64::INFINITY };
        let length = beside.cost.bytes_per_packet();
        for round in 1..=MOST_ROUNDS {
            // For as long as these inputs: a short measurement would more often meet a moment in which nothing else runs.
            let effort = Effort {
                packets: LONG * MOST,
                bytes: LONG as usize * VOLUME,
                ..Effort::of(beside.cost.time.min(2 * PATIENCE), AT_ONCE)
            };
            let cost = self.ordinary(length as usize, effort);
            // An ordinary input may not be exactly as long.
            let factor = self.by_length.nanos(length) / self.by_length.nanos(cost.bytes_per_packet());
            beside.ordinary = beside.ordinary.min(cost.nanos_per_packet() * factor);
            if ROUNDS.iter().any(|(least, ratio)| round >= *least && beside.ratio() < *ratio) {
                break;
            }
            beside.cost =
                [beside.cost, self.thoroughly(recipe)].into_iter().min_by(Cost::by_time).unwrap_or_default();
        }
        beside
    }

    /// The memory that inputs hold when they have filled their pool, and the rest of it after the silence.
    pub(crate) fn filled(&self, recipe: &Recipe) -> Cost {
        measure(self.subject, recipe, Effort::filling(self.subject, recipe))
    }

    /// One input for each place of the pool of this kind.
    pub(crate) fn places(&self, kind: usize) -> Option<Cost> {
        let (recipe, pool) = (self.subject.places)(kind).zip(self.subject.kinds[kind].pool)?;
        let packets = pool.places() as u64;
        let effort = Effort { packets, bytes: usize::MAX, time: UNHURRIED, after: AT_ONCE };
        Some(measure(self.subject, &recipe, effort))
    }
}

/// A recipe's cost beside that of an ordinary input of its length.
pub(crate) struct Beside {
    pub(crate) cost: Cost,
    /// Nanoseconds of the ordinary input.
    pub(crate) ordinary: f64,
}

impl Beside {
    pub(crate) fn ratio(&self) -> f64 {
        self.cost.nanos_per_packet() / self.ordinary
    }
}

/// The cost of an ordinary input, by its length.
struct Ordinary(Vec<(f64, f64)>);

impl Ordinary {
    /// Nanoseconds of an ordinary input of this length.
    fn nanos(&self, bytes: f64) -> f64 {
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
