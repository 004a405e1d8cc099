//! The recipe of an input: numbers with names. A search changes the numbers, and a layer makes bytes of them.

use rouse_tests::hostile::Random;

use crate::pools::Pool;

/// One number of an input.
pub(crate) struct Gene {
    pub name: &'static str,
    /// The values that are tried: both ends of the range, and the special values between them.
    pub values: &'static [u64],
    /// The value in an ordinary input.
    pub usual: u64,
}

pub(crate) const fn gene(name: &'static str, usual: u64, values: &'static [u64]) -> Gene {
    Gene { name, values, usual }
}

/// A kind of input.
pub(crate) struct Kind {
    pub name: &'static str,
    pub genes: &'static [Gene],
    /// Only prepares the ground: it costs its sender nothing, and is not looked at by itself.
    pub prepares: bool,
    /// A pool that its inputs may fill, beside what they hold for each byte.
    pub pool: Option<Pool>,
}

pub(crate) const fn kind(name: &'static str, genes: &'static [Gene]) -> Kind {
    Kind { name, genes, prepares: false, pool: None }
}

/// How a number differs from one input to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vary {
    Same,
    Step(i64),
    Any,
}

/// Steps that a number may go by.
const STEPS: [i64; 6] = [1, 2, -1, -2, 64, 1000];

/// Inputs of one kind: each number, and how it goes on.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub kind: usize,
    numbers: Vec<(u64, Vary)>,
    /// How many such inputs, where they only prepare.
    pub times: u64,
}

/// Inputs that prepare, and the one that is repeated.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub setup: Vec<Part>,
    pub dear: Part,
    /// Microseconds between two inputs.
    pub pace: u64,
}

/// Inputs that prepare, at most.
const SETUP: usize = 3;
const TIMES: [u64; 5] = [1, 2, 8, 64, 400];
const PACES: [u64; 4] = [0, 0, 1_000, 20_000];

impl Part {
    /// An ordinary one.
    pub(crate) fn usual(kinds: &[Kind], kind: usize) -> Self {
        let numbers = kinds[kind].genes.iter().map(|gene| (gene.usual, Vary::Same)).collect();
        Part { kind, numbers, times: 1 }
    }

    /// The same with another number.
    pub(crate) fn with(mut self, kinds: &[Kind], name: &str, value: u64) -> Self {
        if let Some(at) = kinds[self.kind].genes.iter().position(|gene| gene.name == name) {
            self.numbers[at].0 = value;
        }
        self
    }

    /// The same with a number that goes on by one.
    pub(crate) fn counting(self, kinds: &[Kind], name: &str) -> Self {
        self.stepping(kinds, name, 1)
    }

    /// The same with a number that goes on by so much.
    pub(crate) fn stepping(mut self, kinds: &[Kind], name: &str, step: i64) -> Self {
        if let Some(at) = kinds[self.kind].genes.iter().position(|gene| gene.name == name) {
            self.numbers[at].1 = Vary::Step(step);
        }
        self
    }

    /// So many of it, where they prepare.
    pub(crate) fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Any one.
    fn any(kinds: &[Kind], kind: usize, random: &mut Random) -> Self {
        let mut part = Part::usual(kinds, kind);
        for at in 0..part.numbers.len() {
            if random.below(3) > 0 {
                part.change(kinds, at, random);
            }
        }
        part.times = TIMES[random.below(TIMES.len())];
        part
    }

    fn change(&mut self, kinds: &[Kind], at: usize, random: &mut Random) {
        let values = kinds[self.kind].genes[at].values;
        let (value, vary) = &mut self.numbers[at];
        match random.below(8) {
            0..=4 => *value = values[random.below(values.len())],
            5 => *value = value.wrapping_add([1, 2, u64::MAX, u64::MAX - 1][random.below(4)]),
            6 => *vary = Vary::Step(STEPS[random.below(STEPS.len())]),
            _ => *vary = if *vary == Vary::Same { Vary::Any } else { Vary::Same },
        }
    }

    /// The number of this name in the `nth` input, or in the `nth` piece of all inputs where an input has many.
    pub(crate) fn number(&self, kinds: &[Kind], name: &str, nth: u64) -> u64 {
        let genes = kinds[self.kind].genes;
        let Some(at) = genes.iter().position(|gene| gene.name == name) else { return 0 };
        let (value, vary) = self.numbers[at];
        match vary {
            Vary::Same => value,
            Vary::Step(step) => value.wrapping_add_signed(step.wrapping_mul(nth as i64)),
            Vary::Any => {
                let mut mixed = Random::new(nth.wrapping_add(at as u64) | 1);
                let number = mixed.number();
                // Below what it is, or anything when that is nothing.
                if value == 0 { number } else { number % value.saturating_add(1) }
            }
        }
    }

    /// In words: what is not as usual.
    pub(crate) fn words(&self, kinds: &[Kind]) -> String {
        let kind = &kinds[self.kind];
        let mut words = kind.name.to_owned();
        for (gene, (value, vary)) in kind.genes.iter().zip(&self.numbers) {
            let going = match vary {
                Vary::Same if *value == gene.usual => continue,
                Vary::Same => format!("{value}"),
                Vary::Step(step) => format!("{value}{step:+} each"),
                Vary::Any => format!("any up to {value}"),
            };
            words.push_str(&format!(", {} {going}", gene.name));
        }
        words
    }
}

impl Recipe {
    /// An ordinary input, again and again.
    pub(crate) fn usual(dear: Part) -> Self {
        Recipe { setup: Vec::new(), dear, pace: 0 }
    }

    /// Inputs that have to come first, and one that is dear after them.
    pub(crate) fn after(setup: Vec<Part>, dear: Part) -> Self {
        Recipe { setup, dear, pace: 0 }
    }

    /// The same without what has to come first.
    pub(crate) fn unprepared(mut self) -> Self {
        self.setup.clear();
        self
    }

    /// Any row of inputs that ends in one kind.
    pub(crate) fn any(kinds: &[Kind], kind: usize, random: &mut Random) -> Self {
        let setup = (0..random.below(SETUP + 1)).map(|_| {
            // Half of them are of the kind itself: what is like it meets it most often.
            let other = if random.below(2) == 0 { kind } else { random.below(kinds.len()) };
            Part::any(kinds, other, random)
        });
        let setup = setup.collect();
        let pace = PACES[random.below(PACES.len())];
        Recipe { setup, dear: Part::any(kinds, kind, random), pace }
    }

    /// One like it.
    pub(crate) fn changed(&self, kinds: &[Kind], random: &mut Random) -> Self {
        let mut recipe = self.clone();
        for _ in 0..=random.below(3) {
            recipe.change(kinds, random);
        }
        recipe
    }

    fn change(&mut self, kinds: &[Kind], random: &mut Random) {
        match random.below(8) {
            0 => self.pace = PACES[random.below(PACES.len())],
            1 if self.setup.len() < SETUP => {
                let other = if random.below(2) == 0 { self.dear.kind } else { random.below(kinds.len()) };
                let at = random.below(self.setup.len() + 1);
                // An input is often best prepared by nearly the same input.
                let like =
                    if other == self.dear.kind { self.dear.clone() } else { Part::any(kinds, other, random) };
                self.setup.insert(at, like);
            }
            2 if !self.setup.is_empty() => drop(self.setup.remove(random.below(self.setup.len()))),
            3 | 4 if !self.setup.is_empty() => {
                let nth = random.below(self.setup.len());
                let part = &mut self.setup[nth];
                part.times = TIMES[random.below(TIMES.len())];
                if !part.numbers.is_empty() {
                    part.change(kinds, random.below(part.numbers.len()), random);
                }
            }
            _ if self.dear.numbers.is_empty() => {}
            _ => self.dear.change(kinds, random.below(self.dear.numbers.len()), random),
        }
    }

    /// The same with less in it, in the `nth` way that there is; `None` when there are no more.
    pub(crate) fn simpler(&self, kinds: &[Kind], nth: usize) -> Option<Self> {
        let mut recipe = self.clone();
        if nth < recipe.setup.len() {
            recipe.setup.remove(nth);
            return Some(recipe);
        }
        let mut left = nth - recipe.setup.len();
        if left == 0 {
            recipe.pace = 0;
            return Some(recipe);
        }
        left -= 1;
        for at in 0..=recipe.setup.len() {
            let part = recipe.setup.get_mut(at).unwrap_or(&mut recipe.dear);
            let genes = kinds[part.kind].genes;
            if let Some(number) = part.numbers.get_mut(left) {
                *number = (genes[left].usual, Vary::Same);
                return Some(recipe);
            }
            left -= genes.len();
        }
        None
    }

    /// In words.
    pub(crate) fn words(&self, kinds: &[Kind]) -> String {
        let mut words = String::new();
        for part in &self.setup {
            if part.times > 1 {
                words.push_str(&format!("{} times ", part.times));
            }
            words.push_str(&format!("{}; then ", part.words(kinds)));
        }
        words.push_str(&self.dear.words(kinds));
        if self.pace > 0 {
            words.push_str(&format!("; one each {} ms", self.pace / 1000));
        }
        words
    }
}
