//! Where the values of a configuration file stand, so that a complaint about one names file, line and key.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// The values of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct ValueLocations {
    file: PathBuf,
    values: Vec<ValueLocation>,
}

#[derive(Clone, Debug)]
struct ValueLocation {
    /// The way to it from the top: `netmod.0.peers.1`.
    path: String,
    table: String,
    key: String,
    /// The bytes of key and value.
    span: Range<usize>,
    line: usize,
}

impl ValueLocation {
    fn complaint(&self, text: &str) -> String {
        match self.table.as_str() {
            "" => format!("`{}`: {text}", self.key),
            table => format!("`{}` in [{table}]: {text}", self.key),
        }
    }
}

impl ValueLocations {
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

    /// Adds the values of a table, and the items of those that are lists.
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

    /// The value at `path` is wrong.
    pub(super) fn wrong(&self, path: &str, text: &str) -> ConfigError {
        match self.values.iter().find(|location| location.path == path) {
            Some(location) => self.at(location.line, location.complaint(text)),
            None => ConfigError::Value(format!("{}: {path}: {text}", self.file.display())),
        }
    }

    /// Something is wrong at this byte of the file, `line` of it; `more` knows what to add for a table and a key.
    pub(super) fn wrong_at(
        &self,
        offset: usize,
        line: usize,
        text: &str,
        more: impl Fn(&str, &str) -> String,
    ) -> ConfigError {
        // The narrowest is the one that is meant: tables and lists are around it.
        let around = self.values.iter().filter(|location| location.span.contains(&offset));
        match around.min_by_key(|location| location.span.len()) {
            Some(location) => self.at(
                location.line,
                location.complaint(&format!("{text}{}", more(&location.table, &location.key))),
            ),
            None => self.at(line, text.to_owned()),
        }
    }

    fn at(&self, line: usize, text: String) -> ConfigError {
        ConfigError::At { path: self.file.clone(), line, text }
    }
}

/// The number of the line that holds this byte, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
