//! Standard output, for people or for programs.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::failure::CommandFailure;

/// Where data goes.
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

    /// One line (or several) for people, one document for programs.
    pub(super) fn line(&self, text: &str, json: &impl Serialize) -> Result<(), CommandFailure> {
        match self.json {
            true => self.json(json),
            false if text.is_empty() => Ok(()),
            false => self.raw(format!("{}\n", text.trim_end_matches('\n')).as_bytes()),
        }
    }

    /// For programs only.
    pub(super) fn json(&self, json: &impl Serialize) -> Result<(), CommandFailure> {
        if !self.json {
            return Ok(());
        }
        let mut text = serde_json::to_vec(json).map_err(|error| CommandFailure::output(error.into()))?;
        text.push(b'\n');
        self.raw(&text)
    }

    /// A word to the person, on standard error; programs are not told.
    pub(super) fn words(&self, text: &str) {
        if !self.json && !text.is_empty() {
            // Nobody is there to be told that standard error is closed.
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

    /// Text that came from elsewhere: on a terminal it must not move the cursor or change the colours.
    pub(super) fn foreign(&self, text: &str) -> String {
        if !self.terminal {
            return text.to_owned();
        }
        tame(text)
    }
}

/// Control characters as `\u{1b}`; tabs and line ends as they are.
fn tame(text: &str) -> String {
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
    fn a_message_cannot_play_tricks_on_the_terminal() {
        assert_eq!(tame("a\tb\nü"), "a\tb\nü");
        assert_eq!(tame("\u{1b}[31mred\u{7}\u{9b}2J\r"), "\\u{1b}[31mred\\u{7}\\u{9b}2J\\r");
    }
}
