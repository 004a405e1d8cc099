//! The examples of `core/PROTOCOL.md`. The tests make them from fixed seeds, compare them with the printed ones, and read these
//! with the code that reads the wire.
//!
//! An example is a fenced block, ```` ```hex name ````, with one line for each field: its name, its bytes, and their meaning. After
//! a change of the format, this command writes all of them again:
//!
//! ```sh
//! ROUSE_EXAMPLES=write cargo test -p rouse-proto -p rouse-netmod-udp --lib the_examples_are_made_from_fixed_seeds
//! ```

mod handshake;
mod link;
mod message;
mod plain;
mod rekey;
mod route;
mod session;
pub(crate) mod specified;

pub(crate) use specified::specified;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::wire;

const SPECIFICATION: &str = include_str!("../../PROTOCOL.md");
/// Examples that a test of another crate reads.
const ELSEWHERE: [&str; 2] = ["beacon", "beacon-closed"];

/// A field of an example: its name, its bytes, and their meaning where it is not obvious.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    name: String,
    bytes: Vec<u8>,
    meaning: String,
}

impl Row {
    fn bytes(name: &str, bytes: &[u8]) -> Self {
        Row { name: name.to_owned(), bytes: bytes.to_vec(), meaning: String::new() }
    }

    /// A little-endian number of `width` bytes.
    fn number(name: &str, width: usize, value: u64) -> Self {
        assert!(width == 8 || value < 1 << (8 * width), "{name} = {value} has no room in {width} bytes");
        Row { meaning: value.to_string(), ..Row::bytes(name, &value.to_le_bytes()[..width]) }
    }

    /// A byte that stands for a name.
    fn kind(name: &str, value: u8, meaning: &str) -> Self {
        Row { meaning: meaning.to_owned(), ..Row::bytes(name, &[value]) }
    }

    fn text(name: &str, text: &[u8]) -> Self {
        Row { meaning: format!("{:?}", std::str::from_utf8(text).unwrap()), ..Row::bytes(name, text) }
    }
}

/// The bytes that distinguish kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    /// The first byte of a frame.
    Frame,
    /// The first byte inside a data frame.
    Plaintext,
    /// The first byte of a record of the routers.
    Record,
    /// The first byte of a packet's payload.
    Payload,
    /// The first byte inside the seal of a session.
    Content,
    /// The first byte of a frame in a message packet.
    Message,
}

/// The result of reading an example's bytes.
#[derive(Debug, Default)]
struct Reading {
    rows: Vec<Row>,
    /// The encoding of the values that were read.
    again: Vec<u8>,
    kinds: Vec<(Layer, u8)>,
}

/// Reads the example called `name`; `None` when no reader has that name.
fn read(name: &str, bytes: &[u8]) -> Option<Reading> {
    let kind = name.split('-').next().unwrap_or_default();
    Some(match kind {
        "initiation" | "response" | "finish" | "cookie" | "refusal" | "introduction" => {
            handshake::read(kind, bytes)
        }
        "data" | "packet" | "control" | "ack" | "hello" | "rest" | "probe" | "answer" | "goodbye"
        | "rekey" | "rekeyed" | "mtuprobe" | "mtuanswer" | "challenge" | "echo" => link::read(kind, bytes),
        "announce" | "offer" | "want" | "update" | "seqreq" | "highest" => route::read(bytes),
        "session" => session::read(name, bytes),
        "message" | "ping" | "pong" | "trace" | "hop" => message::read(bytes),
        _ => return None,
    })
}

/// All examples, in the order of the text.
fn made() -> Vec<(String, Vec<u8>)> {
    let mut all = handshake::made();
    all.extend(link::made());
    all.extend(route::made());
    all.extend(message::made());
    all.extend(session::made());
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "half a byte in {text}");
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// The lines of a block: name, bytes (32 to a line), meaning. A long run of zeroes is only counted.
fn render(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0) + 2;
    let mut out = String::new();
    for row in rows {
        if row.bytes.len() > 32 && row.bytes.iter().all(|byte| *byte == 0) {
            writeln!(out, "{:width$}00 × {}", row.name, row.bytes.len()).unwrap();
            continue;
        }
        for (nth, part) in row.bytes.chunks(32).enumerate() {
            let name = if nth == 0 { row.name.as_str() } else { "" };
            write!(out, "{name:width$}{}", hex(part)).unwrap();
            if nth == 0 && !row.meaning.is_empty() {
                write!(out, "  = {}", row.meaning).unwrap();
            }
            out.push('\n');
        }
    }
    out
}

/// The rows that the lines of a block describe.
fn parse(block: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in block.lines() {
        let (line, meaning) = line.split_once("  = ").unwrap_or((line, ""));
        let mut words = line.split_whitespace();
        if line.starts_with(' ') {
            let last = rows.last_mut().expect("a block begins with a name");
            last.bytes.extend(words.flat_map(unhex));
        } else {
            let name = words.next().expect("a line has a name").to_owned();
            let bytes = match line.split_once(" × ") {
                Some((_, count)) => vec![0; count.parse().expect("a count")],
                None => words.flat_map(unhex).collect(),
            };
            rows.push(Row { name, bytes, meaning: meaning.to_owned() });
        }
    }
    rows
}

/// The blocks of the specification whose fence begins with `language`, by name.
fn blocks(language: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = SPECIFICATION;
    while let Some((_, after)) = rest.split_once(&format!("\n```{language} ")) {
        let (name, after) = after.split_once('\n').expect("a block has lines");
        let (block, after) = after.split_once("```").expect("a block has an end");
        let before = found.insert(name.trim().to_owned(), block.to_owned());
        assert_eq!(before, None, "two blocks are called {name}");
        rest = after;
    }
    found
}

fn bytes_of(rows: &[Row]) -> Vec<u8> {
    rows.iter().flat_map(|row| row.bytes.clone()).collect()
}

#[test]
fn every_example_in_the_specification_is_read_as_it_is_described() {
    let mut blocks = blocks("hex");
    for name in ELSEWHERE {
        assert!(blocks.remove(name).is_some(), "there is no example {name}");
    }
    for (name, block) in blocks {
        let claimed = parse(&block);
        let bytes = bytes_of(&claimed);
        let reading = read(&name, &bytes).unwrap_or_else(|| panic!("what is the example {name}?"));
        assert_eq!(claimed, reading.rows, "the fields of {name}");
        assert_eq!(hex(&reading.again), hex(&bytes), "{name}, encoded again");
    }
}

#[test]
fn the_examples_are_made_from_fixed_seeds() {
    let keys: BTreeMap<_, _> =
        plain::keys().into_iter().map(|(name, rows)| (name.to_owned(), render(&rows))).collect();
    if std::env::var("ROUSE_EXAMPLES").is_ok_and(|what| what == "write") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../PROTOCOL.md");
        let mut text = std::fs::read_to_string(path).unwrap();
        for (name, bytes) in made() {
            text = replaced(&text, "hex", &name, &render(&read(&name, &bytes).expect(&name).rows));
        }
        for (name, block) in &keys {
            text = replaced(&text, "keys", name, block);
        }
        return std::fs::write(path, text).unwrap();
    }
    let mut printed = blocks("hex");
    printed.retain(|name, _| !ELSEWHERE.contains(&name.as_str()));
    for (name, bytes) in made() {
        let block = printed.remove(&name).unwrap_or_else(|| panic!("{name} is not in the specification"));
        assert_eq!(block, render(&read(&name, &bytes).expect(&name).rows), "{name}");
    }
    assert!(printed.is_empty(), "printed examples that no test makes: {:?}", printed.keys());
    assert_eq!(blocks("keys"), keys);
}

fn replaced(text: &str, language: &str, name: &str, block: &str) -> String {
    let fence = format!("\n```{language} {name}\n");
    let (before, after) = text.split_once(&fence).unwrap_or_else(|| panic!("no block for {name}"));
    let (_, after) = after.split_once("```").expect("a block has an end");
    format!("{before}{fence}{block}```{after}")
}

/// The contents after a kind that are decoded: a kind whose fields exclude some of them is found by the others.
const FILLS: [u8; 6] = [0, 1, 2, 0x10, 0x7f, 0xff];

/// All kinds of all layers.
fn known() -> BTreeSet<(Layer, u8)> {
    let mut known = BTreeSet::new();
    for (kind, fill) in (0..=u8::MAX).flat_map(|kind| FILLS.map(|fill| (kind, fill))) {
        let mut bytes = [fill; 600];
        bytes[0] = kind;
        if wire::link::peek(&bytes[..wire::link::MAX_HANDSHAKE_LEN]).is_some() {
            known.insert((Layer::Frame, kind));
        }
        let record = wire::route::Record::decode(&bytes);
        if record.is_ok_and(|(record, _)| !matches!(record, wire::route::Record::Reserved { .. })) {
            known.insert((Layer::Record, kind));
        }
        if wire::message::Reader::new(&bytes).frame().is_ok() {
            known.insert((Layer::Message, kind));
        }
        let is_own = matches!(kind, wire::session::CONTENT_CONFIRM..=wire::session::CONTENT_REKEYED);
        if wire::message::Reader::new(&bytes).header().is_ok() || is_own {
            known.insert((Layer::Content, kind));
        }
        let is_session = wire::session::read_session_header(&bytes).is_some();
        let mut part = [fill; 10];
        (part[0], part[1], part[7]) = (kind, wire::session::MESSAGE_REQUEST, 1);
        let is_part = wire::session::PartHeader::read(&part).is_ok();
        let is_probe = wire::packet::Probe::read(&bytes[..42]).is_some();
        if is_probe || is_session || is_part {
            known.insert((Layer::Payload, kind));
        }
    }
    known.extend(rekey::kinds_that_links_know().into_iter().map(|kind| (Layer::Plaintext, kind)));
    known
}

#[test]
fn every_kind_of_message_has_an_example() {
    let known = known();
    for (layer, least) in [
        (Layer::Frame, 6),
        (Layer::Plaintext, 7),
        (Layer::Record, 6),
        (Layer::Payload, 6),
        (Layer::Content, 5),
        (Layer::Message, 7),
        (Layer::Message, 8),
    ] {
        let count = known.iter().filter(|(one, _)| *one == layer).count();
        assert!(count >= least, "only {count} kinds of {layer:?} were found in the code");
    }
    let examples: Vec<Reading> =
        blocks("hex").iter().filter_map(|(name, block)| read(name, &bytes_of(&parse(block)))).collect();
    let shown: BTreeSet<_> = examples.into_iter().flat_map(|reading| reading.kinds).collect();
    assert_eq!(known, shown, "the kinds that the code knows, and those that have an example");
}
