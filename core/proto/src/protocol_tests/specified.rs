//! The comparison of the specification's constants with those of the code. Each layer has a list of sentences with its constants
//! (`specification.rs`). The specification must contain each sentence with the current value, so that a changed constant fails
//! with the sentence to change.

use std::time::Duration;

use super::SPECIFICATION;
use crate::wire::link::VERSION;
use crate::wire::{message, packet, route};

/// Claims that the specification has each of these sentences, with the values of these constants in place of `{}`.
macro_rules! specified {
    ($($sentence:literal: $($value:expr),+;)+) => {
        #[allow(unused_imports)]
        use $crate::protocol_tests::specified::{capital, nth, seconds, share};
        $({
            let values = [$($crate::protocol_tests::specified::Written::written(&$value)),+];
            $crate::protocol_tests::specified::assert_specified($sentence, &values, stringify!($($value),+));
        })+
    };
}
pub(crate) use specified;

/// A value as the specification may write it.
pub(crate) trait Written {
    fn written(&self) -> Vec<String>;
}

const WORDS: [&str; 17] = [
    "none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen",
];

fn number(value: u64) -> Vec<String> {
    let mut forms = vec![value.to_string()];
    forms.extend(
        usize::try_from(value).ok().and_then(|value| WORDS.get(value)).map(|word| (*word).to_owned()),
    );
    if value >= 10_000 {
        forms.push(format!("{} {:03}", value / 1000, value % 1000));
    }
    if value.is_power_of_two() {
        let superscript = |digit: char| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(digit as usize - '0' as usize);
        forms.push(format!(
            "2{}",
            value.ilog2().to_string().chars().filter_map(superscript).collect::<String>()
        ));
    }
    for (unit, bytes) in [("KiB", 1 << 10), ("MiB", 1 << 20)] {
        if value >= bytes && value.is_multiple_of(bytes) {
            forms.push(format!("{} {unit}", value / bytes));
        }
    }
    forms
}

macro_rules! numbers {
    ($($kind:ty),+) => {
        $(impl Written for $kind {
            fn written(&self) -> Vec<String> {
                number(u64::try_from(*self).unwrap())
            }
        })+
    };
}
numbers!(u8, u16, u32, u64, usize);

impl Written for f64 {
    fn written(&self) -> Vec<String> {
        vec![self.to_string()]
    }
}

impl Written for Duration {
    fn written(&self) -> Vec<String> {
        let seconds = self.as_secs_f64();
        let mut forms = vec![format!("{seconds} s"), format!("{} ms", seconds * 1000.0)];
        for (unit, name, length) in [("second", "s", 1), ("minute", "min", 60), ("hour", "h", 3600)] {
            let whole = self.subsec_nanos() == 0 && self.as_secs().is_multiple_of(length) && !self.is_zero();
            if whole {
                forms.push(format!("{} {name}", self.as_secs() / length));
            }
            if self.as_secs() == length && whole {
                forms.extend([format!("a {unit}"), format!("an {unit}"), unit.to_owned()]);
            }
        }
        forms
    }
}

impl Written for &[u8] {
    fn written(&self) -> Vec<String> {
        vec![std::str::from_utf8(self).unwrap().to_owned()]
    }
}

impl Written for String {
    fn written(&self) -> Vec<String> {
        vec![self.clone()]
    }
}

/// The number of seconds, where the unit stands elsewhere.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// A number at the beginning of a sentence.
pub(crate) fn capital(value: u32) -> String {
    let word = WORDS[value as usize];
    word[..1].to_uppercase() + &word[1..]
}

/// One of so many equal parts.
pub(crate) fn share(parts: u64) -> String {
    match parts {
        2 => "half".to_owned(),
        50 => "a fiftieth".to_owned(),
        _ => format!("1/{parts}"),
    }
}

/// The ordinal number.
pub(crate) fn nth(value: u64) -> String {
    match value {
        1 => "first".to_owned(),
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        _ => format!("{value}th"),
    }
}

pub(crate) fn assert_specified(sentence: &str, values: &[Vec<String>], names: &str) {
    assert_eq!(sentence.matches("{}").count(), values.len(), "{sentence}");
    let mut all = vec![sentence.to_owned()];
    for forms in values {
        all = all
            .iter()
            .flat_map(|sentence| forms.iter().map(|form| sentence.replacen("{}", form, 1)))
            .collect();
    }
    // The sentence may continue on the next line of the text.
    let text = SPECIFICATION.split_whitespace().collect::<Vec<_>>().join(" ");
    let found = all.iter().any(|sentence| text.contains(sentence.as_str()));
    assert!(found, "the specification lacks the sentence (of {names}): {}", all[0]);
}

#[test]
fn the_specification_has_the_constants_of_the_wire() {
    let reserved = |kind: &u8| format!("{kind:02x}");
    specified! {
        "`version` is {}": VERSION;
        "back to back, at most {} bytes": route::MAX_MESSAGE;
        "| length, extensions | 2 + up to {} |": route::MAX_EXTENSIONS;
        "on one link, below {}": route::MAX_IDX;
        "the 16 bytes `{}`": route::SIGNED_AS.as_slice();
        "first 16 bytes of BLAKE3( \"{}\" ‖ destination 32 ‖ seq 8": route::LABEL.as_slice();
        "hashes it {} times and signs the result": route::LINKS;
        "| `{}`…`{}` | reserved | length 2, so many bytes": reserved(route::RESERVED.start()), reserved(route::RESERVED.end());
        "| 1 | hop limit | {} at the start |": packet::HOP_LIMIT;
        "ranges 1 (1 to {})": message::MAX_RANGES;
    }
}

#[test]
fn a_sentence_without_the_value_of_its_constant_is_detected() {
    for (sentence, value) in [
        ("every {}, give or take an eighth", Duration::from_secs(2)),
        ("every {}, no more", Duration::from_secs(1)),
    ] {
        let found = std::panic::catch_unwind(|| assert_specified(sentence, &[value.written()], "HELLO"));
        assert!(found.is_err(), "{sentence}");
    }
}
