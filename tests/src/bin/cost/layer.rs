//! The subjects of the measurements: layers that take inputs.

use std::time::Duration;

use crate::pools::Pool;
use crate::recipe::{Kind, Part, Recipe};

/// One input: where it comes from, its bytes, and what its bytes are on the way to this layer.
pub(crate) struct Input {
    pub from: u64,
    pub bytes: Vec<u8>,
    /// The inputs that these bytes are, where several arrive at once.
    pub count: u64,
    /// The bytes that were received for it, those of the layers below included.
    pub received: usize,
}

impl Input {
    /// The memory that its bytes take.
    pub(crate) fn room(&self) -> i64 {
        self.bytes.capacity() as i64
    }
}

/// A layer in some state.
pub(crate) trait Layer {
    /// Makes the `nth` input of a part. What that costs is not measured.
    fn input(&mut self, part: &Part, nth: u64) -> Input;
    /// Takes an input, and does all that follows from it at once.
    fn take(&mut self, input: Input);
    /// Lets time pass.
    fn pass(&mut self, span: Duration);
}

/// A layer, and the inputs that it takes.
pub(crate) struct Subject {
    pub kinds: &'static [Kind],
    pub make: fn() -> Box<dyn Layer>,
    /// Its share of the time of a search: the more states there are, the more there is to find.
    pub weight: u32,
    /// After so long of silence everything must have been given back.
    pub silence: Duration,
    /// Whether work in that silence follows from inputs. Where other threads have to be waited for, the wait would be measured.
    pub works_in_silence: bool,
    /// Ordinary inputs of about so many bytes, and what has to come before them.
    pub usual: fn(usize) -> Recipe,
    /// Inputs that have been dear once, or would be if a bound were missing: by chance a search finds them too seldom.
    pub seeds: fn(usize) -> Vec<Recipe>,
    /// Inputs of a kind that has a pool, of which each takes one place of it with few bytes. `None` where each gives its place
    /// back at once, so that the pool is filled by chance only.
    pub places: fn(usize) -> Option<Recipe>,
    /// The pool in which a part of what these inputs hold stays until others take its places, or until its own time is over.
    pub stays: fn(&Recipe) -> Option<Pool>,
}

/// Seals, headers and the like around a packet's payload: a data frame's 30 bytes.
pub(crate) const SEAL: usize = 30;

/// No kind of this layer has a pool.
pub(crate) fn no_places(_: usize) -> Option<Recipe> {
    None
}

/// Nothing stays after a silence.
pub(crate) fn nothing_stays(_: &Recipe) -> Option<Pool> {
    None
}

/// After a minute of silence.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
