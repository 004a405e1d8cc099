//! Every command, option, target and file that a document names exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;
use syn::visit::{self, Visit};
use syn::{Attribute, Field, ItemEnum, Meta};

use crate::report::{Check, Complaint};
use crate::tree::{Workspace, listed, product};

/// Options that every program has.
const STANDARD: &[&str] = &["help", "version"];
/// Options of cargo whose value names a target or a package.
const TARGETS: &[&str] = &["-p", "--bin", "--test", "--bench", "--example"];
/// Endings of the files that a document may name.
const FILES: &[&str] = &[".rs", ".md", ".sh", ".py"];

pub(crate) fn check(workspace: &Workspace) -> Result<Check> {
    let mut known = Known { options: BTreeSet::new(), commands: BTreeSet::new() };
    known.options.extend(STANDARD.iter().map(|name| (*name).to_owned()));
    product(workspace).for_each(|file| known.visit_file(&file.ast));
    let members = Members::of(workspace);
    let mut complaints = Vec::new();
    let (mut documents, mut pieces) = (0, 0);
    let files = listed(&workspace.root, "*")?;
    for path in files.iter().filter(|path| path.ends_with(".md")) {
        documents += 1;
        let text = fs::read_to_string(workspace.root.join(path))?;
        for (line, code) in code(&text) {
            pieces += 1;
            let words: Vec<&str> = code.split_whitespace().collect();
            // The specification quotes constants that begin with the name of the project.
            let unknown =
                if path.ends_with("PROTOCOL.md") { Vec::new() } else { known.unknown(workspace, &words) };
            let unknown = unknown.into_iter().chain(missing(&files, path, &words));
            let unknown = unknown.chain(members.unknown(code));
            complaints.extend(unknown.map(|text| Complaint { at: format!("{path}:{line}"), text }));
        }
        for Located { line, name, file } in located(&text) {
            let source = files.iter().find(|known| *known == file).map(|known| workspace.root.join(known));
            let source = source.map(fs::read_to_string).transpose()?.unwrap_or_default();
            if !has_word(&source, name) {
                complaints
                    .push(Complaint { at: format!("{path}:{line}"), text: format!("no {name} in {file}") });
            }
        }
    }
    Ok(Check {
        name: "documents",
        rule: "Every command, option, target and file that a document names exists.",
        remedy: "correct the document, or the program if the document promises it",
        complaints,
        figures: vec![format!("{pieces} pieces of code in {documents} documents")],
    })
}

/// The lines of fenced blocks for a shell, and the code spans, each with its line.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (n, line) in text.lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language) };
        } else if let Some(language) = fence {
            if language == "sh" {
                found.push((n + 1, line.split(" #").next().unwrap_or_default()));
            }
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(|span| (n + 1, span)));
        }
    }
    found
}

/// A name that a document places in a source file: `name` in `file`, or several names before one file.
#[derive(Debug, PartialEq, Eq)]
struct Located<'a> {
    line: usize,
    /// Without the type before it.
    name: &'a str,
    file: &'a str,
}

fn located(text: &str) -> Vec<Located<'_>> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut names: Vec<&str> = Vec::new();
    // Prose and code take turns.
    let mut before = "";
    for (n, piece) in text.split('`').enumerate() {
        if n % 2 == 0 {
            before = piece.trim();
        } else if piece.ends_with(".rs") {
            let is_place = before == "in" && !names.is_empty();
            let named = names.drain(..).filter(|_| is_place);
            found.extend(named.map(|name| Located {
                line,
                name: name.rsplit("::").next().unwrap_or(name),
                file: piece,
            }));
        } else {
            if ![",", "and", "or"].contains(&before) {
                names.clear();
            }
            names.push(piece);
        }
        line += piece.matches('\n').count();
    }
    found
}

/// Whether a text has a name as a word of its own.
fn has_word(text: &str, name: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
}

/// Names that the command lines of the programs declare.
struct Known {
    options: BTreeSet<String>,
    commands: BTreeSet<String>,
}

impl Known {
    /// The commands, options and targets of one piece of code that do not exist.
    fn unknown(&self, workspace: &Workspace, words: &[&str]) -> Vec<String> {
        let mut unknown = Vec::new();
        let programs = ["rouse", "roused", "cargo"];
        for (n, word) in words.iter().enumerate().filter(|(_, word)| programs.contains(word)) {
            let end = words[n + 1..].iter().position(|word| ["|", "&", "&&", ";"].contains(word));
            let mut rest = &words[n + 1..end.map_or(words.len(), |end| n + 1 + end)];
            if *word == "cargo" {
                unknown.extend(unknown_targets(workspace, rest));
                // The options before belong to cargo.
                rest = rest.iter().position(|word| *word == "--").map_or(&[], |at| &rest[at + 1..]);
            }
            unknown.extend(self.unknown_options(rest));
            if *word == "rouse" {
                unknown.extend(self.unknown_command(rest));
            }
        }
        if let [single] = words {
            unknown.extend(self.unknown_options(&[*single]));
        }
        unknown
    }

    fn unknown_options(&self, words: &[&str]) -> Vec<String> {
        let name = |word: &&str| {
            word.strip_prefix("--").map(|name| name.split(['=', ',']).next().unwrap_or_default().to_owned())
        };
        let is_name =
            |name: &String| name.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !name.is_empty();
        let options = words.iter().filter_map(name).filter(is_name);
        options
            .filter(|name| !self.options.contains(name))
            .map(|name| format!("no option --{name}"))
            .collect()
    }

    /// The command after the options that come before it, each of which has a value.
    fn unknown_command(&self, words: &[&str]) -> Option<String> {
        let mut words = words;
        while let [option, _, rest @ ..] = words
            && option.starts_with("--")
        {
            words = rest;
        }
        let command = words.first()?.trim_end_matches([',', '.']);
        let is_name = command.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !command.is_empty();
        (is_name && !command.starts_with('-') && !self.commands.contains(command))
            .then(|| format!("no command rouse {command}"))
    }
}

fn unknown_targets(workspace: &Workspace, words: &[&str]) -> Vec<String> {
    let exists = |name: &str| {
        workspace
            .targets
            .iter()
            .any(|target| target.name == name || target.name.split('/').any(|part| part == name))
    };
    let pairs =
        words.windows(2).filter(|pair| TARGETS.contains(&pair[0]) && pair[1].chars().any(char::is_lowercase));
    pairs.filter(|pair| !exists(pair[1])).map(|pair| format!("no target {} {}", pair[0], pair[1])).collect()
}

/// The functions and fields of all types and traits of the product, each with the name of its type.
#[derive(Default)]
struct Members(BTreeSet<(String, String)>);

impl Members {
    fn of(workspace: &Workspace) -> Self {
        let mut members = Members::default();
        product(workspace).for_each(|file| members.visit_file(&file.ast));
        members
    }

    fn add(&mut self, owner: &syn::Ident, member: &syn::Ident) {
        self.0.insert((owner.to_string(), member.to_string()));
    }

    /// The name of a function or a field, `Type::function`, that does not exist.
    fn unknown(&self, code: &str) -> Option<String> {
        let (owner, member) = code.split_once("::")?;
        let is_type =
            owner.starts_with(|c: char| c.is_ascii_uppercase()) && owner.chars().all(char::is_alphanumeric);
        let is_member = member.starts_with(|c: char| c.is_ascii_lowercase())
            && member.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        (is_type && is_member && !self.0.contains(&(owner.to_owned(), member.to_owned())))
            .then(|| format!("no function or field {owner}::{member}"))
    }
}

impl<'ast> Visit<'ast> for Members {
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let syn::Type::Path(owner) = &*item.self_ty
            && let Some(owner) = owner.path.segments.last()
        {
            for member in &item.items {
                if let syn::ImplItem::Fn(function) = member {
                    self.add(&owner.ident, &function.sig.ident);
                }
            }
        }
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        for member in &item.items {
            if let syn::TraitItem::Fn(function) = member {
                self.add(&item.ident, &function.sig.ident);
            }
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        item.fields
            .iter()
            .filter_map(|field| field.ident.as_ref())
            .for_each(|field| self.add(&item.ident, field));
    }
}

/// The files among `words` that the repository does not have: from its root, beside the document, or below some folder.
fn missing(files: &[String], document: &str, words: &[&str]) -> Vec<String> {
    let folder = Path::new(document).parent().unwrap_or(Path::new(""));
    let has = |name: &str| {
        let beside = folder.join(name).display().to_string();
        files.iter().any(|file| file == name || *file == beside || file.ends_with(&format!("/{name}")))
    };
    let is_file = |word: &&&str| {
        FILES.iter().any(|ending| word.ends_with(ending) && word.len() > ending.len())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
            && !word.starts_with(['/', '.'])
    };
    words.iter().filter(is_file).filter(|word| !has(word)).map(|word| format!("no file {word}")).collect()
}

impl<'ast> Visit<'ast> for Known {
    fn visit_field(&mut self, field: &'ast Field) {
        if let Some(name) = &field.ident {
            let name = name.to_string().trim_start_matches("r#").replace('_', "-");
            self.options.extend(long(&field.attrs, &name));
        }
        visit::visit_field(self, field);
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        if item.attrs.iter().any(|attribute| derives(attribute, "Subcommand")) {
            self.commands.extend(item.variants.iter().map(|variant| kebab(&variant.ident.to_string())));
        }
        visit::visit_item_enum(self, item);
    }
}

fn derives(attribute: &Attribute, name: &str) -> bool {
    matches!(&attribute.meta, Meta::List(list) if list.path.is_ident("derive") && list.tokens.to_string().contains(name))
}

/// The long option that a field declares, if it declares one.
fn long(attributes: &[Attribute], field: &str) -> Option<String> {
    let arguments = attributes.iter().filter(|attribute| attribute.path().is_ident("arg"));
    arguments
        .filter_map(|attribute| match &attribute.meta {
            Meta::List(list) => Some(list.tokens.to_string()),
            _ => None,
        })
        .find_map(|tokens| {
            let (_, rest) = tokens.split_once("long")?;
            let given = rest.trim_start().strip_prefix('=').map(str::trim_start);
            let given =
                given.and_then(|value| value.strip_prefix('"')).and_then(|value| value.split('"').next());
            Some(given.unwrap_or(field).to_owned())
        })
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use syn::visit::Visit;

    use super::{Known, Located, Members, code, has_word, kebab, located};

    #[test]
    fn names_before_a_file_are_placed_in_it() {
        let text = "First `a`, `B::c` and `d`\nin `x.rs`; `e` of `y.rs`, `f` in\n`z.rs`.";
        let placed = |line, name, file| Located { line, name, file };
        let of_x = ["a", "c", "d"].map(|name| placed(2, name, "x.rs"));
        assert_eq!(located(text), of_x.into_iter().chain([placed(3, "f", "z.rs")]).collect::<Vec<_>>());
        assert!(has_word("fn open_frames() {}", "open_frames") && !has_word("fn reopen() {}", "open"));
    }

    #[test]
    fn a_function_is_one_of_its_type_and_not_of_another_in_the_same_file() {
        let mut members = Members::default();
        let file = "struct Opener { window: u8 } impl Opener { fn open() {} } struct Link; trait Netmod { fn send(); }";
        members.visit_file(&syn::parse_file(file).unwrap());
        let unknown = |code| members.unknown(code);
        assert_eq!(
            [unknown("Opener::open"), unknown("Opener::window"), unknown("Netmod::send")],
            [None, None, None]
        );
        assert_eq!(unknown("Link::open"), Some("no function or field Link::open".to_owned()));
        assert_eq!(unknown("Link"), None);
    }

    #[test]
    fn code_is_what_stands_in_spans_and_in_blocks_for_a_shell() {
        let text = "Run `rouse id`, then\n```sh\nrouse ping x   # a comment\n```\n```toml\nlisten = 1\n```\n";
        assert_eq!(code(text), [(1, "rouse id"), (3, "rouse ping x  ")]);
    }

    #[test]
    fn the_command_is_found_behind_options_with_values() {
        let known = Known { options: ["state-dir".to_owned()].into(), commands: ["send".to_owned()].into() };
        assert_eq!(known.unknown_command(&["--state-dir", "/tmp/a", "send", "x"]), None);
        assert_eq!(known.unknown_command(&["sing"]), Some("no command rouse sing".to_owned()));
        assert_eq!(known.unknown_options(&["--state-dir", "--stat"]), ["no option --stat"]);
    }

    #[test]
    fn variants_become_words_with_hyphens() {
        assert_eq!(kebab("PrintConfig"), "print-config");
    }
}
