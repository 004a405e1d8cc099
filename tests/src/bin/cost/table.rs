//! The table, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::layer::Subject;
use crate::measure::{Cost, EMPTY};
use crate::pools::Pool;
use crate::recipe::Recipe;
use crate::search::Found;

/// No packet costs more than so many ordinary ones of its length.
pub(crate) const RATIO: f64 = 20.0;
/// No byte holds more.
pub(crate) const HELD: f64 = 8.0;

/// The memory that is given back after the silence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Back {
    All,
    /// The rest stays in a table, or until its own time is over.
    Table,
    Nothing,
}

/// One kind of input, and what it costs at worst.
pub(crate) struct Row {
    name: String,
    ordinary: f64,
    worst: f64,
    ratio: f64,
    /// The measurement that holds most beyond what its bytes pay for.
    memory: Cost,
    /// Places beside, which its inputs may take.
    pool: Option<Pool>,
    /// One input for each of these places.
    places: Option<Cost>,
    back: Back,
    left: i64,
    slow: String,
    large: String,
    tried: u32,
}

fn per_byte(cost: &Cost) -> f64 {
    cost.nanos_per_packet() / cost.bytes_per_packet().max(1.0)
}

/// Bytes that are held beyond those that were paid for with received ones.
fn beyond(cost: &Cost) -> f64 {
    cost.held as f64 - HELD * cost.bytes as f64
}

impl Row {
    pub(crate) fn new(subject: &Subject, kind: usize, found: &Found) -> Self {
        let ((slow, beside), (large, _)) = (&found.slow, &found.large);
        let length = beside.cost.bytes_per_packet();
        let [first, second] = &found.filled;
        let memory = if beyond(first) > beyond(second) { first } else { second };
        let pool = subject.kinds[kind].pool;
        let back = [slow, large].into_iter().zip(&found.filled).map(|(recipe, cost)| {
            match (cost.is_given_back(), (subject.stays)(recipe)) {
                (true, _) => Back::All,
                // A table keeps no more than its places.
                (false, Some(table)) if cost.left <= table.bytes() as i64 + EMPTY => Back::Table,
                (false, _) => Back::Nothing,
            }
        });
        let worse = |a, b| if a == Back::Nothing || b == Back::All { a } else { b };
        Row {
            name: subject.kinds[kind].name.to_owned(),
            ordinary: beside.ordinary / length.max(1.0),
            worst: per_byte(&beside.cost),
            ratio: beside.ratio(),
            memory: *memory,
            pool,
            places: found.places,
            back: back.fold(Back::All, worse),
            left: first.left.max(second.left),
            slow: slow.words(subject.kinds),
            large: large.words(subject.kinds),
            tried: found.tried,
        }
    }

    /// With these inputs as examples.
    pub(crate) fn shown_by(self, subject: &Subject, [slow, large]: &[Recipe; 2]) -> Row {
        Row { slow: slow.words(subject.kinds), large: large.words(subject.kinds), ..self }
    }

    fn pool_bytes(&self) -> usize {
        self.pool.map_or(0, |pool| pool.bytes())
    }

    fn holds_too_much(&self) -> bool {
        // The bytes that empty tables keep do not count, just as they do not after the silence.
        beyond(&self.memory) > (self.pool_bytes() as i64 + EMPTY) as f64
    }

    /// The bytes that each place of its pool holds when all are taken once.
    fn place(&self) -> Option<i64> {
        let (pool, cost) = self.pool.zip(self.places)?;
        Some(cost.held / pool.places() as i64)
    }

    /// The figures that are beyond their bounds.
    pub(crate) fn complaint(&self) -> Option<String> {
        let mut all = self.memory_complaints();
        if self.ratio > RATIO {
            all.push(format!("costs {:.0} ordinary ones: {}", self.ratio, self.slow));
        }
        (!all.is_empty()).then(|| format!("{}: {}", self.name, all.join("; ")))
    }

    fn memory_complaints(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.holds_too_much() {
            let Cost { held, bytes, .. } = self.memory;
            let beside = self.pool.map_or("no pool".to_owned(), |pool| pool.words());
            all.push(format!(
                "holds {held} bytes for {bytes} received, beside {beside}: {}; {}",
                self.slow, self.large
            ));
        }
        all.extend(self.pool.zip(self.place()).and_then(|(pool, held)| pool.complaint(held)));
        if self.back == Back::Nothing {
            let left = self.left;
            all.push(format!("keeps {left} bytes after the silence: {}; {}", self.slow, self.large));
        }
        all
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "input": self.name, "ordinary_ns_per_byte": self.ordinary, "worst_ns_per_byte": self.worst,
            "ratio": self.ratio, "held_per_byte": self.memory.held_per_byte(), "given_back": self.back != Back::Nothing,
            "held": self.memory.held, "received": self.memory.bytes, "left": self.left,
            "pool": self.pool_bytes(), "place": self.place(), "pool_is": self.pool.map(|pool| pool.words()),
            "costliest_by_time": self.slow, "costliest_by_memory": self.large, "tried": self.tried,
            "memory_complaints": self.memory_complaints(),
        })
    }

    /// Its lines, of 80 columns at most.
    pub(crate) fn lines(&self) -> String {
        let mut name = self.name.clone();
        name.truncate(33);
        let back = match self.back {
            Back::All => "yes",
            Back::Table => "table",
            Back::Nothing => "NO",
        };
        let mark = |beyond: bool| if beyond { '!' } else { ' ' };
        let mut lines = format!(
            "{name:<33}{:>7.1}{:>9.1}{:>7.1}{}{:>7.1}{}{:>9}{back:>6}\n",
            self.ordinary,
            self.worst,
            self.ratio,
            mark(self.ratio > RATIO),
            self.memory.held_per_byte(),
            mark(self.holds_too_much()),
            format!("{} KiB", self.pool_bytes() >> 10),
        );
        let pool = self.pool.map(|pool| pool.words());
        let below = [("slow", Some(&self.slow)), ("large", Some(&self.large)), ("pool", pool.as_ref())];
        for (what, words) in below.into_iter().filter_map(|(what, words)| Some((what, words?))) {
            for (nth, line) in wrap(words, 70).into_iter().enumerate() {
                let _ = writeln!(lines, "  {:<7}{line}", if nth == 0 { what } else { "" });
            }
        }
        lines
    }
}

pub(crate) fn head() -> String {
    format!(
        "{:<33}{:>7}{:>9}{:>8}{:>8}{:>9}{:>6}\n",
        "input", "ns/B", "worst", "ratio", "held/B", "pool", "back"
    )
}

fn wrap(words: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split(' ') {
        let last = lines.len() - 1;
        if lines[last].len() + word.len() + 1 > width {
            lines.push(word.to_owned());
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}
