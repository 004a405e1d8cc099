//! The format of the configuration file, and the errors for files that have another.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rouse_core::Address;
use rouse_core::node::Limits;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::locations::{ValueLocations, line_of};
use crate::names;
use crate::units::Size;

/// The content of the configuration file. A value that is not in the file is `None`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConfigFile {
    pub(super) node: NodeTable,
    pub(super) netmod: Vec<NetmodTable>,
    pub(super) mesh: MeshTable,
    pub(super) limits: LimitsTable,
    pub(super) api: ApiTable,
    pub(super) http: HttpTable,
    pub(super) log: LogTable,
    pub(super) names: BTreeMap<String, Address>,
}

/// The table `[node]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeTable {
    pub(super) name: Option<String>,
}

/// One of the tables `[[netmod]]`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct NetmodTable {
    pub(super) kind: NetmodKind,
    pub(super) listen: Option<String>,
    pub(super) discover: Option<bool>,
    pub(super) interfaces: Option<Vec<String>>,
    #[serde(default)]
    pub(super) peers: Vec<String>,
}

/// The kind of a network module.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NetmodKind {
    Udp,
}

impl NetmodTable {
    /// The peers as URIs. In the file they may be written with or without the scheme.
    pub(super) fn peer_uris(&self) -> impl Iterator<Item = String> {
        let NetmodKind::Udp = self.kind;
        let uri = |peer: &String| {
            // A URI with another scheme keeps it, so that the error shows the text of the file.
            let known = ["tcp:", "serial:", "quic:"].iter().any(|scheme| peer.trim().starts_with(scheme));
            let scheme = if known || peer.trim().starts_with("udp:") { "" } else { "udp:" };
            format!("{scheme}{}", peer.trim())
        };
        self.peers.iter().map(uri)
    }
}

/// The table `[mesh]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MeshTable {
    pub(super) key: Option<PathBuf>,
    pub(super) allow: Vec<String>,
    pub(super) deny: Vec<String>,
}

/// The table `[limits]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LimitsTable {
    neighbours: Option<PositiveCount>,
    senders: Option<PositiveCount>,
    destinations: Option<PositiveCount>,
    inbox_frames: Option<PositiveCount>,
    inbox_messages: Option<PositiveCount>,
    reassembly: Option<Size>,
    pub(super) journal: Option<Size>,
}

/// A limit, which is at least one.
#[derive(Clone, Copy, Debug)]
struct PositiveCount(usize);

impl<'de> Deserialize<'de> for PositiveCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;
        impl Visitor<'_> for CountVisitor {
            type Value = PositiveCount;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<PositiveCount, E> {
                match u32::try_from(number) {
                    Ok(number) if number > 0 => Ok(PositiveCount(number as usize)),
                    _ => Err(E::custom(format!("a limit is between 1 and {}, not {number}", u32::MAX))),
                }
            }
        }
        deserializer.deserialize_i64(CountVisitor)
    }
}

impl LimitsTable {
    /// The limits of the file, otherwise the default ones.
    pub(super) fn over_defaults(&self) -> Limits {
        let mut limits = Limits::default();
        let set = |field: &mut usize, in_file: Option<PositiveCount>| {
            *field = in_file.map_or(*field, |count| count.0)
        };
        set(&mut limits.neighbours, self.neighbours);
        set(&mut limits.senders, self.senders);
        set(&mut limits.destinations, self.destinations);
        set(&mut limits.inbox_frames, self.inbox_frames);
        set(&mut limits.inbox_messages, self.inbox_messages);
        if let Some(size) = self.reassembly {
            limits.reassembly = usize::try_from(size.0).unwrap_or(usize::MAX);
        }
        limits
    }
}

/// The table `[api]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ApiTable {
    pub(super) listen: Option<String>,
}

/// The table `[http]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HttpTable {
    pub(super) listen: String,
}

/// The table `[log]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogTable {
    pub(super) level: Option<String>,
}

/// The tables of the file and their keys, each with a valid value as an example.
const KEYS: &[(&str, &[(&str, &str)])] = &[
    ("node", &[("name", "\"kitchen\"")]),
    (
        "netmod",
        &[
            ("kind", "\"udp\""),
            ("listen", "\"[::]:7700\""),
            ("discover", "true"),
            ("interfaces", "[\"eth*\", \"wlan0\"]"),
            ("peers", "[\"192.0.2.7:7700\"]"),
        ],
    ),
    ("mesh", &[("key", "\"mesh.key\""), ("allow", "[\"kitchen\", \"rouse1…\"]"), ("deny", "[\"rouse1…\"]")]),
    (
        "limits",
        &[
            ("neighbours", "256"),
            ("senders", "4096"),
            ("destinations", "32768"),
            ("inbox_frames", "1024"),
            ("inbox_messages", "4096"),
            ("reassembly", "\"64MiB\""),
            ("journal", "\"1GiB\""),
        ],
    ),
    ("api", &[("listen", "\"unix\"")]),
    ("http", &[("listen", "\"127.0.0.1:9464\"")]),
    ("log", &[("level", "\"info\"")]),
    // The keys of this table are names that the user chooses.
    ("names", &[]),
];

/// The table that a file may contain several times.
const LIST: &str = "netmod";

/// A hint that shows how a value is written.
fn example(table: &str, key: &str) -> String {
    let of_table = KEYS.iter().filter(|(name, _)| *name == table).flat_map(|(_, keys)| keys.iter());
    match of_table.into_iter().find(|(name, _)| *name == key) {
        Some((_, value)) => format!("; write it like `{key} = {value}`"),
        None if table == "names" => format!("; write it like `{key} = \"rouse1…\"`"),
        None => String::new(),
    }
}

impl ConfigFile {
    /// Parses the text of the file, and records where each value is.
    pub(super) fn parse(path: &Path, text: &str) -> Result<(Self, ValueLocations), ConfigError> {
        let at = |span: Range<usize>, text_of_error: String| ConfigError::At {
            path: path.to_owned(),
            line: line_of(text, span.start),
            text: text_of_error,
        };
        let document = DeTable::parse(text)
            .map_err(|error| at(error.span().unwrap_or_default(), error.message().to_owned()))?;
        if let Some((span, wrong)) = misplaced_key(document.get_ref()) {
            return Err(at(span, wrong));
        }
        let locations = ValueLocations::of(path, text, document.get_ref());
        match toml::from_str(text) {
            Ok(file) => Ok((file, locations)),
            Err(error) => {
                let start = error.span().unwrap_or_default().start;
                let mut wrong = error.message().to_owned();
                // `kind` is the only key that is required, so that serde reports no other as missing.
                if wrong.contains("missing field `kind`") {
                    wrong.push_str(&example("netmod", "kind"));
                }
                Err(locations.wrong_at(start, line_of(text, start), &wrong, example))
            }
        }
    }
}

/// The first key that is unknown or is not the table that it has to be, and the text of its error.
fn misplaced_key(document: &DeTable<'_>) -> Option<(Range<usize>, String)> {
    let mut found: Vec<(Range<usize>, String)> = Vec::new();
    for (key, value) in document {
        let (table, value) = (key.get_ref().as_ref(), value.get_ref());
        let Some((_, keys)) = KEYS.iter().find(|(name, _)| *name == table) else {
            found.push((key.span(), unknown_at_top(table, value)));
            continue;
        };
        if !has_shape(table, value) {
            let written = header(table);
            found.push((
                key.span(),
                format!("`{table}` is a table: write {written}, and its keys in the lines below"),
            ));
            continue;
        }
        if table == "names" {
            continue;
        }
        for table_value in tables(value) {
            for key in table_value.keys() {
                let name = key.get_ref().as_ref();
                let known = keys.iter().map(|(known, _)| *known);
                if !known.clone().any(|known| known == name) {
                    let described = format!("key `{name}` in [{table}]");
                    found.push((key.span(), unknown(&described, table, Some(name), known)));
                }
            }
        }
    }
    found.into_iter().min_by_key(|(span, _)| span.start)
}

/// The line that begins this table in the file.
fn header(table: &str) -> String {
    if table == LIST { format!("[[{table}]]") } else { format!("[{table}]") }
}

/// Whether the value of a known table is a table, or a list of tables where there may be several.
fn has_shape(table: &str, value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(_) => table != LIST,
        DeValue::Array(items) => {
            table == LIST && items.iter().all(|item| matches!(item.get_ref(), DeValue::Table(_)))
        }
        _ => false,
    }
}

/// The error of an unknown key outside of all tables, or of an unknown table.
fn unknown_at_top(name: &str, value: &DeValue<'_>) -> String {
    let is_table = !tables(value).is_empty();
    let tables = KEYS.iter().filter(|(_, keys)| keys.iter().any(|(key, _)| *key == name));
    let homes: Vec<String> = tables.map(|(table, _)| header(table)).collect();
    if is_table || homes.is_empty() {
        return unknown(&format!("table [{name}]"), name, None, KEYS.iter().map(|(name, _)| *name));
    }
    let homes = match homes.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => homes.concat(),
    };
    format!("`{name}` stands outside of its table: write it below {homes}")
}

/// The tables of a value: one table, or all of an array of tables.
fn tables<'a, 'i>(value: &'a DeValue<'i>) -> Vec<&'a DeTable<'i>> {
    match value {
        DeValue::Table(table) => vec![table],
        DeValue::Array(array) => array.iter().flat_map(|value| tables(value.get_ref())).collect(),
        // Any other value is no table.
        _ => Vec::new(),
    }
}

/// The error of an unknown table or key, with a suggestion.
fn unknown<'a>(
    described: &str,
    table: &str,
    key: Option<&str>,
    known: impl Iterator<Item = &'a str> + Clone,
) -> String {
    match names::nearest(key.unwrap_or(table), known.clone()) {
        Some(near) => format!("unknown {described}; did you mean `{near}`?"),
        None => format!("unknown {described}; known are {}", known.collect::<Vec<_>>().join(", ")),
    }
}
