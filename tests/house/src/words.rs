//! The language of comments, identifiers and messages: words that no RFC would use, and comments that give a reason.

use crate::report::{Check, Complaint};
use crate::text::{Kind, texts};
use crate::tree::{SourceFile, Workspace};

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
/// Parts of identifiers.
const BANNED_PARTS: &[&str] = &["nobody", "somebody", "whoever", "leisure", "dearness", "shunned", "told"];
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

pub(crate) fn banned(workspace: &Workspace) -> Check {
    let mut complaints = Vec::new();
    let mut comments: usize = 0;
    for file in workspace.files.iter().filter(|file| is_checked(file)) {
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
            let at = format!("{}:{}", file.path, text.line);
            complaints.extend(
                found
                    .iter()
                    .map(|word| Complaint { at: at.clone(), text: format!("\u{201c}{word}\u{201d}") }),
            );
        }
        for (n, line) in file.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in code.split(|c: char| !c.is_alphanumeric() && c != '_') {
                let parts = word.split('_').any(|part| BANNED_PARTS.contains(&part.to_lowercase().as_str()));
                if parts {
                    complaints
                        .push(Complaint { at: format!("{}:{}", file.path, n + 1), text: word.to_owned() });
                }
            }
        }
    }
    let figures = vec![format!("{} in {comments} comment lines", complaints.len())];
    Check {
        name: "words",
        rule: "Comments, identifiers and messages are in plain technical English.",
        remedy: "a noun phrase for a type, a verb phrase for a function, a full sentence with a subject for a reason",
        complaints,
        figures,
    }
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
    use super::{banned_words, gives_reason};

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
