//! No sleep in a loop in the library: what waits, waits on a `Notify` or an `Inbox`.

use syn::visit::{self, Visit};

use crate::report::{Check, Complaint};
use crate::tree::{Workspace, product};

/// Functions that end after a time and not by an event.
const SLEEPS: &[&str] = &["sleep", "after_delay"];
/// Packages whose code is a library.
const LIBRARIES: &[&str] = &[
    "core/src/",
    "core/inbox/src/",
    "core/journal/src/",
    "core/proto/src/",
    "core/sim/src/",
    "netmod-udp/src/",
];

pub(crate) fn check(workspace: &Workspace) -> Check {
    let mut complaints = Vec::new();
    let inside = |path: &str| LIBRARIES.iter().any(|library| path.starts_with(library));
    for file in product(workspace).filter(|file| inside(&file.path)) {
        let mut sleeps = Sleeps { loops: 0, found: Vec::new() };
        sleeps.visit_file(&file.ast);
        for line in sleeps.found {
            complaints
                .push(Complaint { at: format!("{}:{line}", file.path), text: "sleeps in a loop".to_owned() });
        }
    }
    Check {
        name: "sleeps",
        rule: "The library does not sleep in a loop.",
        remedy: "wait for the event itself, on a Notify or an Inbox, with a deadline beside it",
        complaints,
        figures: Vec::new(),
    }
}

struct Sleeps {
    loops: usize,
    found: Vec<usize>,
}

impl<'ast> Visit<'ast> for Sleeps {
    fn visit_expr_loop(&mut self, item: &'ast syn::ExprLoop) {
        self.loops += 1;
        visit::visit_expr_loop(self, item);
        self.loops -= 1;
    }

    fn visit_expr_while(&mut self, item: &'ast syn::ExprWhile) {
        self.loops += 1;
        visit::visit_expr_while(self, item);
        self.loops -= 1;
    }

    fn visit_expr_for_loop(&mut self, item: &'ast syn::ExprForLoop) {
        self.loops += 1;
        visit::visit_expr_for_loop(self, item);
        self.loops -= 1;
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if self.loops > 0
            && let syn::Expr::Path(path) = &*call.func
            && let Some(last) = path.path.segments.last()
            && SLEEPS.contains(&last.ident.to_string().as_str())
        {
            self.found.push(last.ident.span().start().line);
        }
        visit::visit_expr_call(self, call);
    }
}
