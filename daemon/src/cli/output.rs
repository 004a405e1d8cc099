//! Standard output, as text for users or as JSON for programs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use rouse_core::Address;
use serde::Serialize;

use super::failure::CommandFailure;
use super::json;
use super::terminal::{for_stderr, width_of};
use crate::text;

/// Standard output with the properties that decide how data is written to it.
#[derive(Clone, Debug)]
pub(super) struct Output {
    json: bool,
    /// The columns of the terminal; `None` for a pipe or a file.
    width: Option<usize>,
    colour: bool,
    /// The bytes to write when the command is interrupted.
    at_interrupt: Arc<Mutex<Vec<u8>>>,
}

/// A colour of the terminal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Colour {
    Green,
    Yellow,
    Red,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        let width = width_of(io::stdout());
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Output { json, width, colour: width.is_some() && wanted, at_interrupt: Arc::default() }
    }

    /// The columns of the terminal; `None` for a pipe or a file.
    pub(super) fn width(&self) -> Option<usize> {
        self.width
    }

    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes bytes as they are, at once.
    pub(super) fn raw(&self, bytes: &[u8]) -> Result<(), CommandFailure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(CommandFailure::output)
    }

    /// Writes text for users, or the JSON document for programs.
    pub(super) fn line(&self, text: &str, json: &impl Serialize) -> Result<(), CommandFailure> {
        self.raw(&self.form(text, json)?)
    }

    /// Sets the line that is written when the command is interrupted from now on, in place of an earlier one.
    pub(super) fn when_interrupted(&self, text: &str, json: &impl Serialize) -> Result<(), CommandFailure> {
        *self.at_interrupt.lock().unwrap_or_else(PoisonError::into_inner) = self.form(text, json)?;
        Ok(())
    }

    /// Writes the line for an interruption.
    pub(super) fn interrupted(&self) -> Result<(), CommandFailure> {
        let bytes = std::mem::take(&mut *self.at_interrupt.lock().unwrap_or_else(PoisonError::into_inner));
        self.raw(&bytes)
    }

    /// The bytes of text for users, or of the JSON document for programs.
    fn form(&self, text: &str, json: &impl Serialize) -> Result<Vec<u8>, CommandFailure> {
        let mut bytes = match self.json {
            false if text.is_empty() => return Ok(Vec::new()),
            true => json::document(json).map_err(|error| CommandFailure::output(error.into()))?,
            false => text.trim_end_matches('\n').as_bytes().to_vec(),
        };
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Writes a document for programs, and nothing for users.
    pub(super) fn json(&self, json: &impl Serialize) -> Result<(), CommandFailure> {
        self.line("", json)
    }

    /// Writes a text as it is for users, and as the only field of a document for programs.
    pub(super) fn text(&self, text: &[u8], field: &str) -> Result<(), CommandFailure> {
        match self.json {
            true => self.json(&BTreeMap::from([(field, String::from_utf8_lossy(text))])),
            false => self.raw(text),
        }
    }

    /// Writes a notice for users to standard error, and nothing for programs.
    pub(super) fn notice(&self, text: &str) {
        if !self.json && !text.is_empty() {
            // There is no other place to report that standard error is closed.
            let _ = writeln!(io::stderr(), "{}", for_stderr(text));
        }
    }

    /// Writes the progress of a command that goes on to standard error: a notice for users, or a document for programs.
    pub(super) fn progress(&self, event: &str, text: &str) {
        if self.json {
            let document = serde_json::json!({ "notice": { "code": event, "message": text } });
            let _ = writeln!(io::stderr(), "{document}");
        }
        self.notice(text);
    }

    pub(super) fn paint(&self, text: &str, colour: Colour) -> String {
        let number = match colour {
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
        };
        if self.colour { format!("\u{1b}[{number}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// An address as a part of a line: in full in a pipe, and shortened where it would take most of a line.
    pub(super) fn address(&self, address: &Address) -> String {
        let full = address.to_string();
        match self.width {
            Some(width) if full.len() > width / 2 => address.short(),
            _ => full,
        }
    }

    /// One line of text, in which parts may come from other nodes: broken to the width of a terminal, and one line in a
    /// pipe.
    pub(super) fn safe_line(&self, text: &str) -> String {
        match self.width {
            Some(width) => text::paragraph(&text::one_line(text), 0, width),
            None => text::one_line(text).into_owned(),
        }
    }
}
