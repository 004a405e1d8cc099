//! Collects the figures of all rounds and prints them beside the bars.

/// The unit of a row; it determines whether more or less is better.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// Millions per second: more is better.
    MillionsPerSecond,
    /// Microseconds: less is better.
    Microseconds,
}

/// The bar for the first queue, as a ratio to the others of the same round.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    /// At least this many times the median of the others.
    TimesMedian(f64),
    /// At least this many times the best of the others (for times: at most).
    TimesBest(f64),
    /// No bar: the row is printed only.
    None,
}

/// One workload's figures: for each queue, one for each round.
pub(crate) struct Row {
    name: &'static str,
    unit: Unit,
    bar: Bar,
    figures: Vec<Vec<f64>>,
}

impl Row {
    pub(crate) fn new(name: &'static str, unit: Unit, bar: Bar, queues: usize) -> Self {
        Row { name, unit, bar, figures: vec![Vec::new(); queues] }
    }

    pub(crate) fn add(&mut self, queue: usize, figure: f64) {
        self.figures[queue].push(figure);
    }

    fn shown(&self, queue: usize) -> f64 {
        let figure = median(self.figures[queue].clone());
        match self.unit {
            Unit::MillionsPerSecond => figure / 1e6,
            Unit::Microseconds => figure / 1e3,
        }
    }

    /// The ratio that the bar limits, from the medians over all rounds; and whether the bar is met.
    fn verdict(&self) -> String {
        let own = self.shown(0);
        let others: Vec<f64> = (1..self.figures.len()).map(|queue| self.shown(queue)).collect();
        let best = match self.unit {
            Unit::MillionsPerSecond => others.iter().copied().fold(f64::MIN, f64::max),
            Unit::Microseconds => others.iter().copied().fold(f64::MAX, f64::min),
        };
        let (ratio, bar, what) = match self.bar {
            Bar::TimesMedian(bar) => (own / median(others), bar, "median"),
            Bar::TimesBest(bar) => (own / best, bar, "best"),
            Bar::None => return format!("{:.2} x best, {:.2} x median", own / best, own / median(others)),
        };
        let (sign, met) = match self.unit {
            Unit::MillionsPerSecond => ("≥", ratio >= bar),
            Unit::Microseconds => ("≤", ratio <= bar),
        };
        format!("{ratio:.2} x {what}, bar {sign} {bar:.1}: {}", if met { "pass" } else { "FAIL" })
    }
}

pub(crate) fn print(queues: &[&str], rows: &[Row], rounds: usize, seconds: f64) {
    println!("the inbox beside other queues: medians of {rounds} rounds in {seconds:.0} s\n");
    print!("{:<26}", "");
    queues.iter().for_each(|name| print!("{name:>14}"));
    println!("   bar");
    for row in rows {
        print!("{:<26}", row.name);
        (0..queues.len()).for_each(|queue| print!("{:>14.2}", row.shown(queue)));
        println!("   {}", row.verdict());
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() % 2 {
        0 => (figures[middle - 1] + figures[middle]) / 2.0,
        _ => figures[middle],
    }
}
