//! The table, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::layer::Subject;
use crate::search::{Cost, Found, Ordinary};

/// No packet costs more than so many ordinary ones of its length.
pub const RATIO: f64 = 20.0;
/// No byte holds more.
pub const HELD: f64 = 8.0;

/// One kind of input, and what it costs at worst.
pub struct Row {
    pub name: String,
    pub ordinary: f64,
    pub worst: f64,
    pub ratio: f64,
    pub held: f64,
    pub given_back: bool,
    pub slow: String,
    pub large: String,
    pub tried: u32,
}

fn per_byte(cost: &Cost) -> f64 {
    cost.nanos_per_packet() / cost.bytes_per_packet().max(1.0)
}

impl Row {
    pub fn new(subject: &Subject, ordinary: &Ordinary, kind: usize, found: &Found) -> Self {
        let ((slow, time), (large, memory)) = (&found.slow, &found.large);
        let length = time.bytes_per_packet();
        Row {
            name: subject.kinds[kind].name.to_owned(),
            ordinary: ordinary.nanos(length) / length.max(1.0),
            worst: per_byte(time),
            ratio: time.nanos_per_packet() / ordinary.nanos(length),
            held: memory.held_per_byte(),
            given_back: memory.is_given_back() && time.is_given_back(),
            slow: slow.words(subject.kinds),
            large: large.words(subject.kinds),
            tried: found.tried,
        }
    }

    /// What is beyond its bound.
    pub fn complaint(&self) -> Option<String> {
        let mut said = Vec::new();
        if self.ratio > RATIO {
            said.push(format!("costs {:.0} ordinary ones: {}", self.ratio, self.slow));
        }
        if self.held > HELD {
            said.push(format!("holds {:.1} bytes for each: {}", self.held, self.large));
        }
        if !self.given_back {
            said.push(format!("is not given back after a minute of silence: {}", self.large));
        }
        (!said.is_empty()).then(|| format!("{}: {}", self.name, said.join("; ")))
    }

    pub fn json(&self) -> Value {
        json!({
            "input": self.name, "ordinary_ns_per_byte": self.ordinary, "worst_ns_per_byte": self.worst,
            "ratio": self.ratio, "held_per_byte": self.held, "given_back": self.given_back,
            "dearest_by_time": self.slow, "dearest_by_memory": self.large, "tried": self.tried,
        })
    }

    /// Its lines, of 80 columns at most.
    pub fn lines(&self) -> String {
        let mut name = self.name.clone();
        name.truncate(38);
        let back = if self.given_back { "yes" } else { "NO" };
        let mark = |beyond: bool| if beyond { '!' } else { ' ' };
        let mut lines = format!(
            "{name:<38}{:>8.1}{:>9.1}{:>7.1}{}{:>9.1}{}{back:>5}\n",
            self.ordinary,
            self.worst,
            self.ratio,
            mark(self.ratio > RATIO),
            self.held,
            mark(self.held > HELD),
        );
        for (what, words) in [("slow", &self.slow), ("large", &self.large)] {
            for (nth, line) in wrap(words, 70).into_iter().enumerate() {
                let _ = writeln!(lines, "  {:<7}{line}", if nth == 0 { what } else { "" });
            }
        }
        lines
    }
}

pub fn head() -> String {
    format!("{:<38}{:>8}{:>9}{:>8}{:>10}{:>5}\n", "input", "ns/B", "worst", "ratio", "held/B", "back")
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
