//! Sizes: lines of a file, lines and arguments of a function.

use syn::visit::{self, Visit};
use syn::{Block, Signature};

use crate::report::{Check, Complaint};
use crate::tree::Workspace;

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 60;
const ARGUMENTS: usize = 5;

pub(crate) fn check(workspace: &Workspace) -> Check {
    let mut complaints = Vec::new();
    let mut lengths = Vec::new();
    for file in &workspace.files {
        let lines = file.text.lines().count();
        if lines > FILE_LINES {
            complaints.push(Complaint {
                at: file.path.clone(),
                text: format!("{lines} lines, more than {FILE_LINES}"),
            });
        }
        let mut functions = Functions { found: Vec::new() };
        functions.visit_file(&file.ast);
        for Function { name, line, lines, arguments } in functions.found {
            lengths.push(lines);
            let at = format!("{}:{line}", file.path);
            if lines > FUNCTION_LINES {
                let text = format!("{name} has {lines} lines, more than {FUNCTION_LINES}");
                complaints.push(Complaint { at: at.clone(), text });
            }
            if arguments > ARGUMENTS {
                complaints.push(Complaint {
                    at,
                    text: format!("{name} has {arguments} arguments, more than {ARGUMENTS}"),
                });
            }
        }
    }
    lengths.sort_unstable();
    let at = |share: usize| lengths.get(lengths.len() * share / 100).copied().unwrap_or_default();
    let longest = lengths.last().copied().unwrap_or_default();
    Check {
        name: "sizes",
        rule: "A file has at most 400 lines, a function at most 60 lines and 5 arguments.",
        remedy: "split a file by subject, a function by its steps; arguments that travel together are a struct",
        complaints,
        figures: vec![format!(
            "{} functions: median {}, p90 {}, longest {longest} lines",
            lengths.len(),
            at(50),
            at(90)
        )],
    }
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
    /// Without `self`, which is no more to know for a caller.
    arguments: usize,
}

struct Functions {
    found: Vec<Function>,
}

impl Functions {
    fn add(&mut self, signature: &Signature, block: &Block) {
        let (first, last) = (signature.fn_token.span.start().line, block.brace_token.span.close().end().line);
        let arguments = signature.inputs.iter().filter(|input| matches!(input, syn::FnArg::Typed(_))).count();
        let name = signature.ident.to_string();
        self.found.push(Function { name, line: first, lines: last + 1 - first, arguments });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}
