//! Text that other nodes, files or arguments supply, made safe to print: it can neither move the cursor, nor reverse the
//! reading direction, nor begin a line that looks like one of this program's own.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The spaces before a continuation line, so that it cannot be taken for a line of its own.
pub const INDENT: usize = 4;

/// The narrowest terminal that lines are broken for.
const MIN_WIDTH: usize = 20;

/// Whether a character acts on the terminal or on the text around it instead of being shown: control characters, line
/// and paragraph separators, and those that change the reading direction or hide text.
pub fn is_hazardous(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// Adds a character as `\n`, `\r`, `\t` or `\u001b`: the forms that JSON and the `printf '%b'` of bash also read.
fn push_escaped(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if u32::from(c) > 0xffff => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        c => out.push_str(&format!("\\u{:04x}", u32::from(c))),
    }
}

/// The text as one line for a reader: hazardous characters are escaped.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hazardous) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hazardous(c) { push_escaped(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// The text as one line for a program: as [`one_line`], and a backslash is doubled, so that the text can be restored.
pub fn one_field(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            c if is_hazardous(c) => push_escaped(&mut out, c),
            c => out.push(c),
        }
    }
    out
}

/// The text for a terminal of this width, its first line beginning at `column`. Every further line is indented, those that
/// the text has by itself and those that the width makes necessary, because a terminal would begin them at the margin.
pub fn paragraph(text: &str, column: usize, width: usize) -> String {
    let width = width.max(MIN_WIDTH);
    let mut out = String::with_capacity(text.len());
    for (n, line) in text.split('\n').enumerate() {
        if n > 0 {
            new_line(&mut out);
        }
        let line = line.strip_suffix('\r').unwrap_or(line).replace('\t', "    ");
        push_wrapped(&mut out, &one_line(&line), if n > 0 { INDENT } else { column }, width);
    }
    out
}

fn new_line(out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', INDENT));
}

/// Adds one line, broken at spaces where it can be.
fn push_wrapped(out: &mut String, line: &str, mut column: usize, width: usize) {
    // The start of the current line of output, and the position after its last space, from which on the text may be moved
    // to the next line.
    let (mut start, mut after_space) = (out.len(), None);
    for c in line.chars() {
        let wide = c.width().unwrap_or(0);
        if column + wide > width {
            let word = out.split_off(after_space.take().filter(|_| c != ' ').unwrap_or(out.len()));
            let fits = INDENT + word.width() + wide <= width;
            if !fits {
                out.push_str(&word);
            }
            let kept = out.get(start..).map_or(0, |line| line.trim_end_matches(' ').len());
            out.truncate(start + kept);
            new_line(out);
            (start, column) = (out.len(), INDENT);
            if fits {
                out.push_str(&word);
                column += word.width();
            }
            if c == ' ' {
                continue;
            }
        }
        out.push(c);
        column += wide;
        if c == ' ' {
            after_space = Some(out.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_one_line_has_no_character_that_acts() {
        let text = "a\tb\nc\r\u{1b}[31m\u{9b}2J\u{7f}\u{202e}\u{2066}\u{2028}\u{200f}\u{e0041}é\\";
        let line = one_line(text);
        assert!(!line.chars().any(is_hazardous), "{line:?}");
        assert_eq!(line, "a\\tb\\nc\\r\\u001b[31m\\u009b2J\\u007f\\u202e\\u2066\\u2028\\u200f\\U000e0041é\\");
        assert_eq!(one_field("C:\\new\n"), "C:\\\\new\\n");
    }

    #[test]
    fn every_line_of_a_paragraph_after_the_first_is_indented_and_none_is_wider_than_the_terminal() {
        let forged =
            format!("x{} rouse1bob\tpaid\nrouse1bob\tpaid\r\n\u{1b}[Arouse1bob\tpaid", " ".repeat(60));
        for text in [forged.as_str(), &"長い".repeat(90), &"word ".repeat(90), &"x".repeat(300), "\n\n"] {
            for (column, width) in [(24, 80), (79, 80), (200, 80), (0, 20), (30, 1)] {
                let shown = paragraph(text, column, width);
                let mut lines = shown.split('\n');
                let first = lines.next().unwrap();
                assert!(first.is_empty() || column + first.width() <= width.max(MIN_WIDTH), "{shown}");
                for line in lines {
                    assert!(line.starts_with("    ") && line.width() <= width.max(MIN_WIDTH), "{shown}");
                    assert!(!line.chars().any(is_hazardous), "{shown}");
                }
            }
        }
    }

    #[test]
    fn a_line_is_broken_between_words() {
        let text = "the quick brown fox jumps";
        assert_eq!(paragraph(text, 0, 20), "the quick brown fox\n    jumps");
        assert_eq!(paragraph("a\tb", 0, 80), "a    b");
    }
}
