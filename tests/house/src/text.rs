//! Comments and string literals of a source file. The parser drops comments, so they are found by a small scanner.

/// A piece of text that a person reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One line of a `//` comment, without the slashes.
    Comment,
    /// The inside of a string literal.
    Literal,
}

pub(crate) struct Text<'a> {
    pub(crate) kind: Kind,
    /// From 1.
    pub(crate) line: usize,
    pub(crate) text: &'a str,
}

/// All comments and string literals, in order.
pub(crate) fn texts(source: &str) -> Vec<Text<'_>> {
    let mut scanner = Scanner { source, at: 0, line: 1, found: Vec::new() };
    while scanner.at < source.len() {
        scanner.step();
    }
    scanner.found
}

struct Scanner<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    found: Vec<Text<'a>>,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn skip(&mut self, bytes: usize) {
        let passed = &self.source[self.at..self.at + bytes];
        self.line += passed.matches('\n').count();
        self.at += bytes;
    }

    fn add(&mut self, kind: Kind, text: &'a str) {
        self.found.push(Text { kind, line: self.line, text });
    }

    fn step(&mut self) {
        let rest = self.rest();
        if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            self.add(Kind::Comment, rest[..end].trim_start_matches(['/', '!']).trim());
            self.skip(end);
        } else if rest.starts_with("/*") {
            self.skip(rest.find("*/").map_or(rest.len(), |end| end + 2));
        } else if let Some(hashes) = raw_string(rest) {
            let open = rest.find('"').unwrap_or_default() + 1;
            let close = format!("\"{}", "#".repeat(hashes));
            let end = rest[open..].find(&close).map_or(rest.len() - open, |end| end);
            self.add(Kind::Literal, &rest[open..open + end]);
            self.skip((open + end + close.len()).min(rest.len()));
        } else if let Some(inner) = rest.strip_prefix('"') {
            let end = string_end(inner);
            self.add(Kind::Literal, &inner[..end]);
            self.skip((end + 2).min(rest.len()));
        } else if let Some(length) = char_literal(rest) {
            self.skip(length);
        } else {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let next = rest.chars().next().map_or(1, char::len_utf8);
            self.skip(word.max(next));
        }
    }
}

/// How many `#` a raw string literal that begins here has.
fn raw_string(rest: &str) -> Option<usize> {
    let inner =
        rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr")).or_else(|| rest.strip_prefix('r'))?;
    let hashes = inner.find(|c| c != '#')?;
    inner[hashes..].starts_with('"').then_some(hashes)
}

/// Where the quote is that ends a string literal.
fn string_end(inner: &str) -> usize {
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at,
            _ => {}
        }
    }
    inner.len()
}

/// The length of a character literal that begins here; a lifetime is none.
fn char_literal(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    if let Some(escaped) = inner.strip_prefix('\\') {
        let first = escaped.chars().next()?.len_utf8();
        return escaped[first..].find('\'').map(|end| 1 + 1 + first + end + 1);
    }
    let first = inner.chars().next()?.len_utf8();
    inner[first..].starts_with('\'').then_some(1 + first + 1)
}

#[cfg(test)]
mod tests {
    use super::{Kind, texts};

    #[test]
    fn comments_and_literals_are_distinguished() {
        let source = "let a = \"no // comment \\\" here\"; // one\nlet b: &'a str = r#\"raw \"x\" //\"#; /// two\nlet c = ['\"', '\\'']; //! three";
        let found: Vec<_> = texts(source).into_iter().map(|text| (text.kind, text.line, text.text)).collect();
        assert_eq!(
            found,
            [
                (Kind::Literal, 1, "no // comment \\\" here"),
                (Kind::Comment, 1, "one"),
                (Kind::Literal, 2, "raw \"x\" //"),
                (Kind::Comment, 2, "two"),
                (Kind::Comment, 3, "three"),
            ]
        );
    }
}
