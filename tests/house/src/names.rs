//! Names: a type name once per crate, and no glob imports.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use crate::report::{Check, Complaint};
use crate::tree::{Workspace, files_of, is_for_tests, uses};

/// A type name occurs once per crate.
pub(crate) fn types(workspace: &Workspace) -> Check {
    let mut complaints = Vec::new();
    let mut figures = Vec::new();
    for target in &workspace.targets {
        let mut ids = BTreeSet::new();
        files_of(&target.root, &mut ids);
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for file in ids.into_iter().map(|id| &workspace.files[id]).filter(|file| !file.test) {
            let mut types = Types { found: Vec::new() };
            types.visit_file(&file.ast);
            for (name, line) in types.found {
                names.entry(name).or_default().push(format!("{}:{line}", file.path));
            }
        }
        figures.push(format!("{}: {} type names", target.name, names.len()));
        for (name, places) in names {
            if let [first, rest @ ..] = &places[..]
                && !rest.is_empty()
            {
                complaints.push(Complaint {
                    at: first.clone(),
                    text: format!("{name} also in {}", rest.join(", ")),
                });
            }
        }
    }
    Check {
        name: "type-names",
        rule: "A type name occurs once per crate.",
        remedy: "give each type the noun that distinguishes it from the others",
        complaints,
        figures,
    }
}

struct Types {
    found: Vec<(String, usize)>,
}

impl Types {
    fn add(&mut self, name: &syn::Ident, attributes: &[syn::Attribute]) {
        if !is_for_tests(attributes) {
            self.found.push((name.to_string(), name.span().start().line));
        }
    }
}

impl<'ast> Visit<'ast> for Types {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.ident, &item.attrs);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.ident, &item.attrs);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.ident, &item.attrs);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add(&item.ident, &item.attrs);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    // Types inside functions are local, as their names are.
    fn visit_block(&mut self, _: &'ast syn::Block) {}
}

/// No glob imports outside tests.
pub(crate) fn globs(workspace: &Workspace) -> Check {
    let mut complaints = Vec::new();
    for file in workspace.files.iter().filter(|file| !file.test) {
        let mut globs = Globs { found: Vec::new() };
        globs.visit_file(&file.ast);
        for (path, line) in globs.found {
            complaints
                .push(Complaint { at: format!("{}:{line}", file.path), text: format!("use {path}::*") });
        }
    }
    Check {
        name: "globs",
        rule: "No glob imports outside tests.",
        remedy: "name the items",
        complaints,
        figures: Vec::new(),
    }
}

struct Globs {
    found: Vec<(String, usize)>,
}

impl<'ast> Visit<'ast> for Globs {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for (path, name) in uses(&item.tree) {
            if name == "*" {
                self.found.push((path.join("::"), item.use_token.span.start().line));
            }
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}
