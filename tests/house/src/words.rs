//! The language of comments, identifiers and messages: words that no RFC would use, and comments that give a reason.

use std::fs;

use anyhow::Result;

use crate::report::{Check, Complaint};
use crate::text::{Kind, texts};
use crate::tree::{SourceFile, Workspace, listed};

/// Words of speech, persons and past times. A program states, reports, announces or sends; a node, a peer, a caller does it.
const BANNED: &[&str] = &[
    "say",
    "says",
    "said",
    "saying",
    "tell",
    "tells",
    "told",
    "telling",
    "who",
    "whoever",
    "whom",
    "somebody",
    "nobody",
    "someone",
    "anybody",
    "everybody",
    "anew",
    "lest",
    "whither",
    "whence",
    "dearest",
];
const BANNED_PHRASES: &[&str] = &["of late", "in vain"];
/// A sentence that begins so is no sentence: it has no subject.
const HEADLESS: &[&str] = &["What", "Who", "Whom"];
/// Parts of identifiers, beside the banned words.
const BANNED_PARTS: &[&str] = &["leisure", "dearness", "shunned"];
/// Endings of the files beside the sources that people read.
const DOCUMENTS: &[&str] =
    &[".md", ".py", ".sh", ".toml", ".service", ".html", ".js", ".css", ".ci/house", ".ci/run", ".ci/msrv"];
/// Words by which a comment gives a reason.
const REASONS: &[&str] = &["because", "since", "otherwise", "therefore", "prevents", "prevent", "would"];
const REASON_PHRASES: &[&str] = &["so that", "to avoid", "or else", "in order to", ", so "];
/// The protocol's own modules, each with at least 3 reasons in 100 lines.
const REASONED: &[&str] = &[
    "core/proto/src/link",
    "core/proto/src/peering",
    "core/proto/src/route",
    "core/proto/src/message",
    "core/src/node",
];

/// This file lists the words.
fn is_checked(file: &SourceFile) -> bool {
    file.path != "tests/house/src/words.rs"
}

pub(crate) fn banned(workspace: &Workspace) -> Result<Check> {
    let mut complaints = Vec::new();
    let mut comments = 0;
    for file in workspace.files.iter().filter(|file| is_checked(file)) {
        comments += in_texts(file, &mut complaints);
        in_identifiers(file, &mut complaints);
    }
    let lines = in_documents(workspace, &mut complaints)?;
    let figures = vec![format!(
        "{} in {comments} comment lines of sources and {lines} lines of documents",
        complaints.len()
    )];
    Ok(Check {
        name: "words",
        rule: "Comments, identifiers, messages and documents are in plain technical English.",
        remedy: "a noun phrase for a type, a verb phrase for a function, a full sentence with a subject for a reason",
        complaints,
        figures,
    })
}

/// Adds the banned words in the comments and literals of a file. Returns the number of comment lines.
fn in_texts(file: &SourceFile, complaints: &mut Vec<Complaint>) -> usize {
    let mut comments = 0;
    let mut continued = false;
    let mut previous = 0;
    for text in texts(&file.text) {
        let mut found = banned_words(text.text);
        if text.kind == Kind::Comment {
            comments += 1;
            let begins = !(continued && text.line == previous + 1);
            let first = text.text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            if begins && HEADLESS.contains(&first) && !text.text.contains('?') {
                found.push(first);
            }
            continued = !text.text.is_empty() && !text.text.ends_with(['.', ':']);
            previous = text.line;
        }
        complaints.extend(found.into_iter().map(|word| quoted(&file.path, text.line, word)));
    }
    comments
}

/// Adds the identifiers of a file that have a banned word as a part.
fn in_identifiers(file: &SourceFile, complaints: &mut Vec<Complaint>) {
    let is_banned = |part: &String| [BANNED, BANNED_PARTS].concat().contains(&part.as_str());
    for (n, line) in file.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        let found = words.filter(|word| parts(word).iter().any(is_banned));
        complaints.extend(found.map(|word| quoted(&file.path, n + 1, word)));
    }
}

/// Adds the banned words in the prose of documents, scripts and settings. Returns the number of their lines.
fn in_documents(workspace: &Workspace, complaints: &mut Vec<Complaint>) -> Result<usize> {
    let mut lines = 0;
    let files = listed(&workspace.root, "*")?;
    for path in files.iter().filter(|path| DOCUMENTS.iter().any(|ending| path.ends_with(ending))) {
        let text = fs::read_to_string(workspace.root.join(path))?;
        for (n, line) in text.lines().enumerate() {
            lines += 1;
            // Names between backticks are those of programs.
            let prose = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
            complaints.extend(banned_words(&prose).into_iter().map(|word| quoted(path, n + 1, word)));
        }
    }
    Ok(lines)
}

fn quoted(path: &str, line: usize, word: &str) -> Complaint {
    Complaint { at: format!("{path}:{line}"), text: format!("\u{201c}{word}\u{201d}") }
}

/// The words of an identifier, in lower case.
fn parts(identifier: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut previous = '_';
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && previous.is_lowercase()) {
            parts.push(String::new());
        }
        if c != '_'
            && let Some(part) = parts.last_mut()
        {
            part.extend(c.to_lowercase());
        }
        previous = c;
    }
    parts
}

/// The banned words and phrases in a piece of text.
fn banned_words(text: &str) -> Vec<&str> {
    let lower = text.to_lowercase();
    let plain: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
    let has = |phrase: &str| {
        let phrase: Vec<&str> = phrase.split(' ').collect();
        plain.windows(phrase.len()).any(|words| words == phrase)
    };
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| {
        let lower = word.to_lowercase();
        BANNED.contains(&lower.as_str())
    });
    let phrases = BANNED_PHRASES.iter().copied().filter(|phrase| has(phrase));
    words.chain(phrases).collect()
}

pub(crate) fn reasons(workspace: &Workspace) -> Check {
    let mut complaints = Vec::new();
    let mut figures = Vec::new();
    for area in REASONED {
        let (mut lines, mut reasons) = (0, 0);
        let inside =
            |path: &str| path.strip_prefix(area).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'));
        for file in workspace.files.iter().filter(|file| inside(&file.path)) {
            lines += file.text.lines().count();
            reasons += texts(&file.text)
                .iter()
                .filter(|text| text.kind == Kind::Comment && gives_reason(text.text))
                .count();
        }
        let hundredths = reasons * 10_000 / lines.max(1);
        figures.push(format!("{area}: {}.{:02} in 100 lines", hundredths / 100, hundredths % 100));
        if hundredths < 300 {
            complaints.push(Complaint {
                at: (*area).to_owned(),
                text: format!("{reasons} reasons in {lines} lines, less than 3 of 100"),
            });
        }
    }
    Check {
        name: "reasons",
        rule: "At least 3 of 100 lines of the protocol are comments that give a reason.",
        remedy: "write why, at the places where a reader would ask; delete comments that repeat the code",
        complaints,
        figures,
    }
}

fn gives_reason(text: &str) -> bool {
    let lower = text.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).any(|word| REASONS.contains(&word))
        || REASON_PHRASES.iter().any(|phrase| lower.contains(phrase))
        || lower.starts_with("so ")
}

#[cfg(test)]
mod tests {
    use super::{banned_words, gives_reason, parts};

    #[test]
    fn an_identifier_has_the_words_between_underscores_and_capitals() {
        assert_eq!(parts("what_he_Told"), ["what", "he", "told"]);
        assert_eq!(parts("TellTale2"), ["tell", "tale2"]);
    }

    #[test]
    fn words_are_found_whole_and_in_any_case() {
        assert_eq!(banned_words("Nobody says so of late"), ["Nobody", "says", "of late"]);
        assert!(banned_words("the whole tellurium essays of latest frames").is_empty());
    }

    #[test]
    fn a_reason_is_recognised_by_its_words() {
        assert!(gives_reason("Bounded, since a peer chooses it."));
        assert!(!gives_reason("The number of frames."));
    }
}
