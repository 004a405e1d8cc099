//! The configuration file: its shape, and what to say when it has another.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rouse_core::Address;
use rouse_core::node::Limits;
use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use crate::names;
use crate::units::Size;

/// The file as it stands; what it does not say is `None`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct File {
    pub(super) node: NodeTable,
    pub(super) netmod: Vec<NetmodTable>,
    pub(super) mesh: MeshTable,
    pub(super) limits: LimitsTable,
    pub(super) api: ApiTable,
    pub(super) log: LogTable,
    pub(super) names: BTreeMap<String, Address>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeTable {
    pub(super) name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct NetmodTable {
    pub(super) kind: Kind,
    pub(super) listen: Option<String>,
    pub(super) discover: Option<bool>,
    pub(super) interfaces: Option<Vec<String>>,
    #[serde(default)]
    pub(super) peers: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Udp,
}

impl NetmodTable {
    /// The peers as URIs; in the file they may stand with or without the scheme.
    pub(super) fn peer_uris(&self) -> impl Iterator<Item = String> {
        let Kind::Udp = self.kind;
        self.peers
            .iter()
            .map(|peer| format!("udp:{}", peer.trim().strip_prefix("udp:").unwrap_or(peer.trim())))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MeshTable {
    pub(super) key: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LimitsTable {
    neighbours: Option<Count>,
    senders: Option<Count>,
    destinations: Option<Count>,
    inbox_frames: Option<Count>,
    inbox_messages: Option<Count>,
    reassembly: Option<Size>,
}

/// A bound of at least one.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "i64")]
struct Count(usize);

impl TryFrom<i64> for Count {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        match u32::try_from(number) {
            Ok(number) if number > 0 => Ok(Count(number as usize)),
            _ => Err(format!("a limit is between 1 and {}, not {number}", u32::MAX)),
        }
    }
}

impl LimitsTable {
    pub(super) fn over_defaults(&self) -> Limits {
        let mut limits = Limits::default();
        let set = |field: &mut usize, said: Option<Count>| *field = said.map_or(*field, |count| count.0);
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

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ApiTable {
    pub(super) listen: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogTable {
    pub(super) level: Option<String>,
}

/// The keys that may stand in each table.
const KEYS: &[(&str, &[&str])] = &[
    ("node", &["name"]),
    ("netmod", &["kind", "listen", "discover", "interfaces", "peers"]),
    ("mesh", &["key"]),
    ("limits", &["neighbours", "senders", "destinations", "inbox_frames", "inbox_messages", "reassembly"]),
    ("api", &["listen"]),
    ("log", &["level"]),
    // Any names.
    ("names", &[]),
];

/// Keys of later versions, so that who reads about them is told more than "unknown".
const LATER: &[(&str, Option<&str>)] = &[("http", None), ("limits", Some("journal"))];

impl File {
    /// Reads the file's text.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let at = |span: Option<Range<usize>>, text_of_error: String| ConfigError::At {
            path: path.to_owned(),
            line: line_of(text, span.map_or(0, |span| span.start)),
            text: text_of_error,
        };
        let syntax = |error: toml::de::Error| at(error.span(), error.message().to_owned());
        let document = DeTable::parse(text).map_err(syntax)?;
        if let Some((span, wrong)) = unknown_key(document.get_ref()) {
            return Err(at(Some(span), wrong));
        }
        toml::from_str(text).map_err(syntax)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The first key that means nothing, and what to say about it.
fn unknown_key(document: &DeTable<'_>) -> Option<(Range<usize>, String)> {
    let mut found: Vec<(Range<usize>, String)> = Vec::new();
    for (key, value) in document {
        let table = key.get_ref().as_ref();
        let Some((_, keys)) = KEYS.iter().find(|(name, _)| *name == table) else {
            let known = KEYS.iter().map(|(name, _)| *name);
            found.push((key.span(), complaint(&format!("table [{table}]"), table, None, known)));
            continue;
        };
        if table == "names" {
            continue;
        }
        for table_value in tables(value.get_ref()) {
            for key in table_value.keys() {
                let name = key.get_ref().as_ref();
                if !keys.contains(&name) {
                    let what = format!("key `{name}` in [{table}]");
                    found.push((key.span(), complaint(&what, table, Some(name), keys.iter().copied())));
                }
            }
        }
    }
    found.into_iter().min_by_key(|(span, _)| span.start)
}

/// A table, or all of an array of tables.
fn tables<'a, 'i>(value: &'a DeValue<'i>) -> Vec<&'a DeTable<'i>> {
    match value {
        DeValue::Table(table) => vec![table],
        DeValue::Array(array) => array.iter().flat_map(|value| tables(value.get_ref())).collect(),
        // serde says what should stand here.
        _ => Vec::new(),
    }
}

fn complaint<'a>(
    what: &str,
    table: &str,
    key: Option<&str>,
    known: impl Iterator<Item = &'a str> + Clone,
) -> String {
    if LATER.contains(&(table, key)) {
        return format!("{what} is not built yet in this version: remove it");
    }
    match names::nearest(key.unwrap_or(table), known.clone()) {
        Some(near) => format!("unknown {what}; did you mean `{near}`?"),
        None => format!("unknown {what}; known are {}", known.collect::<Vec<_>>().join(", ")),
    }
}
