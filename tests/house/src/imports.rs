//! Imports among the files of a crate, and circles of them.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use syn::visit::{self, Visit};
use syn::{Item, UseTree};

use crate::report::{Check, Complaint};
use crate::tree::{FileId, Module, Workspace, is_for_tests, uses};

/// One import: from a file to a file, first at a line.
pub(crate) type Imports = BTreeMap<(FileId, FileId), usize>;

/// No import circle among the files of a crate.
pub(crate) fn circles(workspace: &Workspace) -> Check {
    let mut complaints = Vec::new();
    let mut figures = Vec::new();
    for target in &workspace.targets {
        let imports = imports(workspace, &target.root);
        let graph: DiGraphMap<FileId, ()> = imports.keys().copied().collect();
        let mut circles = 0;
        for circle in tarjan_scc(&graph) {
            if circle.len() < 2 {
                continue;
            }
            circles += 1;
            let name = |id: FileId| workspace.files[id].path.clone();
            let inside: BTreeSet<_> = circle.iter().copied().collect();
            let mut text: Vec<_> = imports
                .iter()
                .filter(|((from, to), _)| inside.contains(from) && inside.contains(to))
                .map(|((from, to), line)| format!("\n    {}:{line} imports {}", name(*from), name(*to)))
                .collect();
            text.sort();
            complaints.push(Complaint {
                at: target.name.clone(),
                text: format!("a circle of {} files{}", circle.len(), text.concat()),
            });
        }
        figures.push(format!("{}: {} imports, {circles} circles", target.name, imports.len()));
    }
    Check {
        name: "circles",
        rule: "No import circle among files.",
        remedy: "move what both files need into a file that imports neither, or hand it in as an argument",
        complaints,
        figures,
    }
}

/// All imports among the files of a target, outside what is compiled for tests only.
pub(crate) fn imports(workspace: &Workspace, root: &Module) -> Imports {
    let mut found = Imports::new();
    walk(workspace, root, root, &mut Vec::new(), &mut found);
    found
}

fn walk(workspace: &Workspace, root: &Module, module: &Module, path: &mut Vec<String>, found: &mut Imports) {
    let file = &workspace.files[module.file];
    if file.test {
        return;
    }
    let items = items_at(&file.ast.items, root, module, path);
    let mut visitor = Visitor { workspace, root, module, path: path.clone(), found };
    for item in items {
        visitor.visit_item(item);
    }
    for (name, child) in &module.children {
        path.push(name.clone());
        walk(workspace, root, child, path, found);
        path.pop();
    }
}

/// The items of a module: of its file, or of the inline module that it is.
fn items_at<'a>(items: &'a [Item], root: &Module, module: &Module, path: &[String]) -> Vec<&'a Item> {
    // How many of the last parts of the path are inline modules of this file.
    let inline = (0..path.len())
        .rev()
        .take_while(|n| find(root, &path[..*n]).is_some_and(|parent| parent.file == module.file))
        .count();
    let mut items: Vec<&Item> = items.iter().collect();
    for name in &path[path.len() - inline..] {
        let inner = items.into_iter().find_map(|item| match item {
            Item::Mod(item) if item.ident == *name => item.content.as_ref(),
            _ => None,
        });
        items = inner.map(|(_, items)| items.iter().collect()).unwrap_or_default();
    }
    items
}

fn find<'a>(root: &'a Module, path: &[String]) -> Option<&'a Module> {
    path.iter().try_fold(root, |module, name| module.children.get(name))
}

struct Visitor<'a> {
    workspace: &'a Workspace,
    root: &'a Module,
    module: &'a Module,
    path: Vec<String>,
    found: &'a mut Imports,
}

impl Visitor<'_> {
    fn import(&mut self, path: &[String], line: usize) {
        let Some(to) = locate(self.workspace, self.root, &self.path, path, 0) else { return };
        if to != self.module.file {
            let first = self.found.entry((self.module.file, to)).or_insert(line);
            *first = line.min(*first);
        }
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = attributes(item);
        if attributes.is_some_and(is_for_tests) {
            return;
        }
        match item {
            // Modules are visited by themselves.
            Item::Mod(_) => {}
            Item::Use(item) => {
                // A name that is passed on is resolved by those that import it.
                if matches!(item.vis, syn::Visibility::Inherited) {
                    for (path, _) in uses(&item.tree) {
                        self.import(&path, line(&item.tree));
                    }
                }
            }
            item => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if parts.len() > 1 {
            let line = path.segments[0].ident.span().start().line;
            self.import(&parts, line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, _: &'ast syn::Macro) {}
}

fn line(tree: &UseTree) -> usize {
    match tree {
        UseTree::Path(path) => path.ident.span().start().line,
        UseTree::Name(name) => name.ident.span().start().line,
        _ => 0,
    }
}

/// A path from the root of the crate; `None` where it leads into another crate.
fn absolute(root: &Module, here: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut base = here.to_vec();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        first => {
            find(root, here)?.children.get(first)?;
        }
    }
    base.extend_from_slice(rest);
    Some(base)
}

/// The file that defines what a path names, seen from the module `here`; `None` where the path leads out of the workspace.
fn locate(
    workspace: &Workspace,
    root: &Module,
    here: &[String],
    path: &[String],
    depth: usize,
) -> Option<FileId> {
    if let Some(path) = absolute(root, here, path) {
        return Some(resolve(workspace, root, &path, depth));
    }
    let (first, rest) = path.split_first()?;
    Some(resolve(workspace, workspace.library(first)?, rest, depth))
}

/// The file that defines what a path from the root of a crate names.
fn resolve(workspace: &Workspace, root: &Module, path: &[String], depth: usize) -> FileId {
    let mut module = root;
    for (n, part) in path.iter().enumerate() {
        if let Some(child) = module.children.get(part) {
            module = child;
            continue;
        }
        if depth < 8
            && let Some(reexport) = module.reexports.get(part)
        {
            let target = [reexport, &path[n + 1..]].concat();
            return locate(workspace, root, &path[..n], &target, depth + 1).unwrap_or(module.file);
        }
        break;
    }
    module.file
}

fn attributes(item: &Item) -> Option<&[syn::Attribute]> {
    Some(match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return None,
    })
}
