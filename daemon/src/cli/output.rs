//! Standard output, as text for users or as JSON for programs.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::failure::CommandFailure;

/// Standard output with the properties that decide how data is written to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
    terminal: bool,
    colour: bool,
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
        let terminal = io::stdout().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Output { json, terminal, colour: terminal && wanted }
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
        match self.json {
            true => self.json(json),
            false if text.is_empty() => Ok(()),
            false => self.raw(format!("{}\n", text.trim_end_matches('\n')).as_bytes()),
        }
    }

    /// Writes a document for programs, and nothing for users.
    pub(super) fn json(&self, json: &impl Serialize) -> Result<(), CommandFailure> {
        if !self.json {
            return Ok(());
        }
        let mut text = serde_json::to_vec(json).map_err(|error| CommandFailure::output(error.into()))?;
        text.push(b'\n');
        self.raw(&text)
    }

    /// Writes a notice for users to standard error, and nothing for programs.
    pub(super) fn notice(&self, text: &str) {
        if !self.json && !text.is_empty() {
            // There is no other place to report that standard error is closed.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    pub(super) fn paint(&self, text: &str, colour: Colour) -> String {
        let number = match colour {
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
        };
        if self.colour { format!("\u{1b}[{number}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Makes text from other nodes safe to print: on a terminal it must not move the cursor or change colours.
    pub(super) fn untrusted(&self, text: &str) -> String {
        if !self.terminal {
            return text.to_owned();
        }
        escape_controls(text)
    }
}

/// Escapes control characters as `\u{1b}`, except tabs and line ends.
fn escape_controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' | '\n' => out.push(c),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_a_message_do_not_reach_the_terminal() {
        assert_eq!(escape_controls("a\tb\nü"), "a\tb\nü");
        assert_eq!(escape_controls("\u{1b}[31mred\u{7}\u{9b}2J\r"), "\\u{1b}[31mred\\u{7}\\u{9b}2J\\r");
    }
}
