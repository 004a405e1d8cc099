//! The locations of the values in a configuration file, so that an error about a value names file, line and key.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::ConfigError;

/// The locations of all values of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct ValueLocations {
    file: PathBuf,
    values: Vec<ValueLocation>,
}

/// The location of one value.
#[derive(Clone, Debug)]
struct ValueLocation {
    /// The path of the value from the top of the document: `netmod.0.peers.1`.
    path: String,
    table: String,
    key: String,
    /// The byte range of key and value.
    span: Range<usize>,
    line: usize,
}

impl ValueLocation {
    /// An error text with the key and its table.
    fn describe(&self, text: &str) -> String {
        match self.table.as_str() {
            "" => format!("`{}`: {text}", self.key),
            table => format!("`{}` in [{table}]: {text}", self.key),
        }
    }
}

impl ValueLocations {
    /// Records the location of each value of `document`, which was parsed from `text`.
    pub(super) fn of(file: &Path, text: &str, document: &DeTable<'_>) -> Self {
        let mut locations = ValueLocations { file: file.to_owned(), values: Vec::new() };
        for (key, value) in document {
            let (name, span) = (key.get_ref().as_ref(), key.span().start..value.span().end);
            let line = line_of(text, key.span().start);
            let location = |path| ValueLocation {
                path,
                table: String::new(),
                key: name.to_owned(),
                span: span.clone(),
                line,
            };
            locations.values.push(location(name.to_owned()));
            match value.get_ref() {
                DeValue::Table(table) => locations.add(text, name, name, table),
                DeValue::Array(array) => {
                    for (at, item) in array.iter().enumerate() {
                        if let DeValue::Table(table) = item.get_ref() {
                            locations.add(text, name, &format!("{name}.{at}"), table);
                        }
                    }
                }
                _ => {}
            }
        }
        locations
    }

    /// Adds the values of a table, and the items of values that are lists.
    fn add(&mut self, text: &str, table: &str, path: &str, values: &DeTable<'_>) {
        for (key, value) in values {
            let name = key.get_ref().as_ref();
            let mut location = ValueLocation {
                path: format!("{path}.{name}"),
                table: table.to_owned(),
                key: name.to_owned(),
                span: key.span().start..value.span().end,
                line: line_of(text, key.span().start),
            };
            self.values.push(location.clone());
            let DeValue::Array(items) = value.get_ref() else { continue };
            for (at, item) in items.iter().enumerate() {
                location.path = format!("{path}.{name}.{at}");
                location.span = item.span();
                location.line = line_of(text, item.span().start);
                self.values.push(location.clone());
            }
        }
    }

    /// The error that the value at `path` is wrong.
    pub(super) fn wrong(&self, path: &str, text: &str) -> ConfigError {
        match self.values.iter().find(|location| location.path == path) {
            Some(location) => self.at(location.line, location.describe(text)),
            None => ConfigError::Value(format!("{}: {path}: {text}", self.file.display())),
        }
    }

    /// An error at this byte of the file, which is on `line`. `more` returns a text to append for a table and a key.
    pub(super) fn wrong_at(
        &self,
        offset: usize,
        line: usize,
        text: &str,
        more: impl Fn(&str, &str) -> String,
    ) -> ConfigError {
        // The narrowest range is that of the value itself, because the ranges of tables and lists enclose it.
        let around = self.values.iter().filter(|location| location.span.contains(&offset));
        match around.min_by_key(|location| location.span.len()) {
            Some(location) => self.at(
                location.line,
                location.describe(&format!("{text}{}", more(&location.table, &location.key))),
            ),
            None => self.at(line, text.to_owned()),
        }
    }

    fn at(&self, line: usize, text: String) -> ConfigError {
        ConfigError::At { path: self.file.clone(), line, text }
    }
}

/// The number of the line that contains this byte, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
