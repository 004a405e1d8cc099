//! The beacons printed in `core/PROTOCOL.md`: encoded here from fixed values, and decoded with the code that reads the
//! wire. The head of `core/proto/src/protocol_tests.rs` shows how to write the examples again after a change.

use crate::config::{DEFAULT_PORT, GROUP_PORT, GROUP_V4, GROUP_V6};
use crate::discovery::beacon::{LENGTH, decode, encode};
use crate::discovery::{interfaces, recent, schedule};
use crate::{MAX_MTU, MTU};

const SPECIFICATION: &str = include_str!("../../core/PROTOCOL.md");
const INSTANCE: u64 = 0x1111_1111_1111_1111;
const EXAMPLES: [(&str, Option<[u8; 32]>); 2] = [("beacon", None), ("beacon-closed", Some([7; 32]))];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lines of an example: the name and bytes of each field.
fn render(beacon: &[u8; LENGTH]) -> String {
    let [magic, version, instance, tag] =
        [&beacon[..4], &beacon[4..5], &beacon[5..13], &beacon[13..]].map(hex);
    format!(
        "magic     {magic}  = \"rous\"\nversion   {version}  = 1\ninstance  {instance}\ntag       {tag}\n"
    )
}

/// The text before the block called `name`, the block, and the text after it.
fn around<'a>(text: &'a str, name: &str) -> (&'a str, &'a str, &'a str) {
    let fence = format!("\n```hex {name}\n");
    let start = text.find(&fence).unwrap_or_else(|| panic!("no block for {name}")) + fence.len();
    let length = text[start..].find("```").expect("a block has an end");
    (&text[..start], &text[start..start + length], &text[start + length..])
}

#[test]
fn the_examples_are_made_from_fixed_seeds() {
    if std::env::var("ROUSE_EXAMPLES").is_ok_and(|what| what == "write") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/PROTOCOL.md");
        let mut text = std::fs::read_to_string(path).unwrap();
        for (name, key) in EXAMPLES {
            let (before, _, after) = around(&text, name);
            text = format!("{before}{}{after}", render(&encode(INSTANCE, key.as_ref())));
        }
        return std::fs::write(path, text).unwrap();
    }
    for (name, key) in EXAMPLES {
        let (_, block, _) = around(SPECIFICATION, name);
        assert_eq!(block, render(&encode(INSTANCE, key.as_ref())), "{name}");
    }
}

#[test]
fn every_beacon_in_the_specification_decodes_to_its_fields() {
    for (name, key) in EXAMPLES {
        let (_, block, _) = around(SPECIFICATION, name);
        let digits: String = block.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
        let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        assert_eq!(decode(&bytes, key.as_ref()), Ok(INSTANCE), "{name}");
        assert_eq!(encode(INSTANCE, key.as_ref())[..], bytes, "{name}, encoded again");
    }
}

#[test]
fn the_specification_has_the_constants_of_the_medium_and_of_beacons() {
    let begin: Vec<f64> = schedule::START
        .iter()
        .scan(0.0, |at, pause| {
            *at += pause.as_secs_f64();
            Some(*at)
        })
        .collect();
    let [short, long, gap, retry] =
        [schedule::SHORT, schedule::LONG, schedule::GAP, schedule::RETRY].map(|pause| pause.as_secs_f64());
    assert_eq!((schedule::ANSWERS.as_secs(), recent::INTERVAL.as_secs(), schedule::RETRIES), (1, 1, 6));
    let sentences = [
        format!("| Default port | {DEFAULT_PORT} |"),
        format!("`{GROUP_V6}` port {GROUP_PORT}, hop limit 1"),
        format!("`{GROUP_V4}` port {GROUP_PORT}, TTL 1"),
        format!("path takes | {MTU} |"),
        format!("| Longest frame, the `mtu` of an introduction | {MAX_MTU} |"),
        format!("what is shorter than {LENGTH} bytes"),
        "more than one beacon a second from one source".to_owned(),
        format!("not remembered beyond {} a second after a burst of {}", recent::RATE, recent::BURST),
        format!("at 0, {}, {}, {} and {} s after the start", begin[0], begin[1], begin[2], begin[3]),
        format!("then every {short} s"),
        format!("up to {long} s while nothing changes"),
        format!("{gap} s later, give or take a fifth, at most once a second, and goes back to {short} s"),
        format!("is sent again after {retry} s, six times"),
        format!("Two rounds are never closer than {gap} s"),
        format!("its source was not heard for {} s", recent::EXPIRY.as_secs()),
        format!("from an address of each (at most {} here)", interfaces::MAX_ADDRESSES),
        format!("Of more than {} interfaces", interfaces::MAX_INTERFACES),
        format!("{} endpoints of one host, {} remembered", recent::MAX_OF_HOST, recent::MAX_ENDPOINTS),
    ];
    // The comparison ignores where the lines of the text are broken.
    let text = SPECIFICATION.split_whitespace().collect::<Vec<_>>().join(" ");
    for sentence in sentences {
        assert!(text.contains(&sentence), "the specification lacks: {sentence}");
    }
}
