//! The form of JSON documents: that which any JSON reader and any terminal takes without a loss.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter};

use crate::text::is_hazardous;

/// The largest number up to which every integer has a double of its own; jq and JavaScript round larger ones.
const MAX_EXACT: u64 = 1 << 53;

/// The digits after the point of a measured value: microseconds, where the unit is a millisecond.
const DECIMALS: f64 = 1e3;

/// Writes integers above 2^53 as strings, rounds measured values, and escapes characters that act on a terminal.
struct Portable;

impl Formatter for Portable {
    fn write_u64<W: ?Sized + Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        if value > MAX_EXACT { write!(writer, "\"{value}\"") } else { write!(writer, "{value}") }
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        CompactFormatter.write_f64(writer, (value * DECIMALS).round() / DECIMALS)
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        for part in text.split_inclusive(is_hazardous) {
            let last = part.chars().next_back().filter(|c| is_hazardous(*c));
            let plain = part.len() - last.map_or(0, char::len_utf8);
            writer.write_all(part.get(..plain).unwrap_or_default().as_bytes())?;
            for unit in last.iter().flat_map(|c| c.encode_utf16(&mut [0; 2]).to_vec()) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

/// The document of a value, in one line and without a line end.
pub(crate) fn document(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Portable))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_number_that_a_double_cannot_hold_is_a_string() {
        let text = |value: u64| String::from_utf8(document(&json!({ "seq": value })).unwrap()).unwrap();
        assert_eq!(text(1 << 53), r#"{"seq":9007199254740992}"#);
        assert_eq!(text((1 << 53) + 1), r#"{"seq":"9007199254740993"}"#);
        assert_eq!(text(u64::MAX), r#"{"seq":"18446744073709551615"}"#);
    }

    #[test]
    fn a_measured_value_is_rounded_to_what_it_means() {
        let text = String::from_utf8(document(&json!({ "rtt_ms": 0.123_456_789 })).unwrap()).unwrap();
        assert_eq!(text, r#"{"rtt_ms":0.123}"#);
    }

    #[test]
    fn a_string_has_no_character_that_acts_and_is_read_back_unchanged() {
        let hostile = "a\u{9b}2J\u{202e}\n\u{1b}\u{e0041}ü\u{7f}b";
        let text = String::from_utf8(document(&json!([hostile])).unwrap()).unwrap();
        assert!(!text.chars().any(is_hazardous), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!([hostile]));
    }
}
