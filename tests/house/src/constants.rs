//! Constants of the specification are imported by its tests, and not read from source text or written a second time.

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Expr, LitStr, Macro, Token};

use crate::report::{Check, Complaint};
use crate::tree::Workspace;

/// The macro that compares sentences of the specification with constants.
const COMPARISON: &str = "specified";
/// Macros that read a file at compile time.
const READERS: &[&str] = &["include_str", "include_bytes"];
/// The packages that the specification describes.
const SPECIFIED: &[&str] = &["core/proto/src/", "netmod-udp/src/"];

pub(crate) fn check(workspace: &Workspace) -> Check {
    let mut complaints = Vec::new();
    let mut compared = 0;
    for file in &workspace.files {
        let mut comparisons = Comparisons { values: 0, found: Vec::new() };
        comparisons.visit_file(&file.ast);
        compared += comparisons.values;
        let is_specified = SPECIFIED.iter().any(|package| file.path.starts_with(package));
        let found = comparisons.found.into_iter().filter(|found| is_specified || !found.reads_source);
        complaints.extend(
            found.map(|Found { line, text, .. }| Complaint { at: format!("{}:{line}", file.path), text }),
        );
    }
    Check {
        name: "constants",
        rule: "The tests of the specification import its constants.",
        remedy: "name the constant itself in the comparison, and make it visible to the test",
        complaints,
        figures: vec![format!("{compared} values in sentences of the specification")],
    }
}

struct Found {
    line: usize,
    text: String,
    /// The source of the program is read as text.
    reads_source: bool,
}

struct Comparisons {
    values: usize,
    found: Vec<Found>,
}

impl<'ast> Visit<'ast> for Comparisons {
    fn visit_macro(&mut self, item: &'ast Macro) {
        let name = item.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
        let line = item.path.segments.first().map_or(0, |first| first.ident.span().start().line);
        if name == COMPARISON {
            match item.parse_body::<Sentences>() {
                Ok(sentences) => self.compare(sentences),
                Err(error) => {
                    let text = format!("the sentences cannot be read: {error}");
                    self.found.push(Found { line, text, reads_source: false });
                }
            }
        } else if READERS.contains(&name.as_str())
            && item.parse_body::<LitStr>().is_ok_and(|path| path.value().ends_with(".rs"))
        {
            let text = "reads the source of the program as text".to_owned();
            self.found.push(Found { line, text, reads_source: true });
        }
        visit::visit_macro(self, item);
    }
}

impl Comparisons {
    fn compare(&mut self, sentences: Sentences) {
        for Sentence { text, values } in sentences.0 {
            for value in values {
                self.values += 1;
                let mut names = Names(0);
                names.visit_expr(&value);
                if names.0 == 0 {
                    let line = text.span().start().line;
                    let text = format!("a value without a constant, of \u{201c}{}\u{201d}", text.value());
                    self.found.push(Found { line, text, reads_source: false });
                }
            }
        }
    }
}

/// The arguments of the comparison: `"sentence with {}": CONSTANT, CONSTANT;`, any number of times.
struct Sentences(Vec<Sentence>);

struct Sentence {
    text: LitStr,
    values: Punctuated<Expr, Token![,]>,
}

impl Parse for Sentences {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let mut sentences = Vec::new();
        while !input.is_empty() {
            let text = input.parse()?;
            input.parse::<Token![:]>()?;
            let values = Punctuated::parse_separated_nonempty(input)?;
            input.parse::<Token![;]>()?;
            sentences.push(Sentence { text, values });
        }
        Ok(Sentences(sentences))
    }
}

/// Counts the names in an expression, other than those of functions: what they are given may be a copy of the constant.
struct Names(usize);

impl<'ast> Visit<'ast> for Names {
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        call.args.iter().for_each(|argument| self.visit_expr(argument));
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        self.0 += 1;
        visit::visit_expr_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use syn::visit::Visit;

    use super::Comparisons;

    fn found(code: &str) -> (usize, Vec<String>) {
        let mut comparisons = Comparisons { values: 0, found: Vec::new() };
        comparisons.visit_file(&syn::parse_file(&format!("fn test() {{ {code} }}")).unwrap());
        (comparisons.values, comparisons.found.into_iter().map(|found| found.text).collect())
    }

    #[test]
    fn a_value_of_the_specification_is_a_constant_and_no_copy_of_it() {
        let constants =
            "specified! { \"{} to {}\": FIRST, config.rate * 2; \"of {}\": Duration::from_micros(ORDER); }";
        assert_eq!(found(constants), (3, vec![]));
        for copy in ["512", "Duration::from_secs(2)"] {
            let (_, complaints) =
                found(&format!("crate::protocol_tests::specified! {{ \"every {{}}\": {copy}; }}"));
            assert_eq!(complaints, ["a value without a constant, of \u{201c}every {}\u{201d}"], "{copy}");
        }
    }

    #[test]
    fn the_source_of_the_program_is_not_read_as_text() {
        assert_eq!(found("let text = include_str!(\"../../PROTOCOL.md\");"), (0, vec![]));
        let (_, complaints) = found("let text = include_str!(\"route.rs\");");
        assert_eq!(complaints, ["reads the source of the program as text"]);
    }
}
