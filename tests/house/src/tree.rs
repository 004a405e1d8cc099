//! The source files of the workspace, as the compiler finds them: from the root of each target along its `mod` items.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use syn::{Attribute, Item, ItemMod, Meta};

/// The number of a file in [`Workspace::files`].
pub(crate) type FileId = usize;

pub(crate) struct SourceFile {
    /// Relative to the root of the workspace.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) ast: syn::File,
    /// Compiled for tests or benchmarks only.
    pub(crate) test: bool,
}

/// A module of a crate, of a file or inline.
pub(crate) struct Module {
    pub(crate) file: FileId,
    pub(crate) children: BTreeMap<String, Module>,
    /// Names that the module passes on, with the path that each `use` names.
    pub(crate) reexports: BTreeMap<String, Vec<String>>,
}

/// A library, program or test, with all its modules.
pub(crate) struct Target {
    /// The name of the package, and of the target where it differs.
    pub(crate) name: String,
    pub(crate) root: Module,
}

pub(crate) struct Workspace {
    pub(crate) files: Vec<SourceFile>,
    pub(crate) targets: Vec<Target>,
    pub(crate) root: PathBuf,
}

impl Workspace {
    /// Reads the workspace that contains the current directory.
    pub(crate) fn load() -> Result<Self> {
        let output = Command::new("cargo")
            .args(["metadata", "--no-deps", "--format-version", "1", "--locked"])
            .output()?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let root = PathBuf::from(metadata["workspace_root"].as_str().context("no workspace_root")?);
        let mut loader = Loader { root: root.clone(), files: Vec::new(), seen: BTreeMap::new() };
        let mut targets = Vec::new();
        for package in metadata["packages"].as_array().into_iter().flatten() {
            let name = package["name"].as_str().unwrap_or_default();
            for target in package["targets"].as_array().into_iter().flatten() {
                let kinds: Vec<_> =
                    target["kind"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                if kinds.contains(&"custom-build") {
                    continue;
                }
                let test = kinds.iter().any(|kind| ["test", "bench"].contains(kind));
                let path = PathBuf::from(target["src_path"].as_str().context("no src_path")?);
                let target = target["name"].as_str().unwrap_or_default();
                let name = if kinds.contains(&"lib") { name.to_owned() } else { format!("{name}/{target}") };
                let directory = path.parent().context("a root without a directory")?.to_owned();
                targets.push(Target { name, root: loader.module(&path, &directory, test)? });
            }
        }
        Ok(Workspace { files: loader.files, targets, root })
    }

    /// The root of the library that source code names `name`.
    pub(crate) fn library(&self, name: &str) -> Option<&Module> {
        let package = name.replace('_', "-");
        self.targets.iter().find(|target| target.name == package).map(|target| &target.root)
    }
}

/// The files that the repository has, by a pattern of git.
pub(crate) fn listed(root: &Path, pattern: &str) -> Result<Vec<String>> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-co", "--exclude-standard", pattern])
        .output()?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let is_there = |path: &&str| root.join(path).exists();
    Ok(String::from_utf8(output.stdout)?.lines().filter(is_there).map(str::to_owned).collect())
}

struct Loader {
    root: PathBuf,
    files: Vec<SourceFile>,
    seen: BTreeMap<PathBuf, FileId>,
}

impl Loader {
    /// Reads the module of the file at `path`, whose children are in `directory`.
    fn module(&mut self, path: &Path, directory: &Path, test: bool) -> Result<Module> {
        let file = self.file(path, test)?;
        let items = self.files[file].ast.items.clone();
        self.items(&items, file, directory, path.parent().unwrap_or(directory), test)
    }

    fn file(&mut self, path: &Path, test: bool) -> Result<FileId> {
        let path = path.canonicalize().with_context(|| path.display().to_string())?;
        if let Some(id) = self.seen.get(&path) {
            // Part of the product as soon as one target that is not a test contains it.
            self.files[*id].test &= test;
            return Ok(*id);
        }
        let text = fs::read_to_string(&path)?;
        let ast = syn::parse_file(&text).with_context(|| path.display().to_string())?;
        let relative = path.strip_prefix(&self.root).unwrap_or(&path).display().to_string();
        let id = self.files.len();
        self.files.push(SourceFile { path: relative, text, ast, test });
        self.seen.insert(path, id);
        Ok(id)
    }

    fn items(
        &mut self,
        items: &[Item],
        file: FileId,
        directory: &Path,
        beside: &Path,
        test: bool,
    ) -> Result<Module> {
        let mut module = Module { file, children: BTreeMap::new(), reexports: BTreeMap::new() };
        for item in items {
            match item {
                Item::Mod(item) => {
                    let test = test || is_for_tests(&item.attrs);
                    let name = item.ident.to_string();
                    let inner = directory.join(&name);
                    let child = match &item.content {
                        Some((_, items)) => self.items(items, file, &inner, &inner, test)?,
                        None => {
                            let path = path_of(item, &inner, beside);
                            let directory =
                                if item_path(item).is_some() { beside.join(&name) } else { inner };
                            self.module(&path, &directory, test)?
                        }
                    };
                    // A module that exists twice, for different configurations, is read twice and resolved as the first.
                    module.children.entry(name).or_insert(child);
                }
                Item::Use(item)
                    if !matches!(item.vis, syn::Visibility::Inherited) && !is_for_tests(&item.attrs) =>
                {
                    for (path, name) in uses(&item.tree) {
                        module.reexports.insert(name, path);
                    }
                }
                _ => {}
            }
        }
        Ok(module)
    }
}

fn item_path(item: &ItemMod) -> Option<String> {
    item.attrs.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(literal) => match &literal.lit {
                syn::Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}

fn path_of(item: &ItemMod, inner: &Path, beside: &Path) -> PathBuf {
    if let Some(path) = item_path(item) {
        return beside.join(path);
    }
    let flat = inner.with_extension("rs");
    if flat.exists() { flat } else { inner.join("mod.rs") }
}

/// Whether an item is compiled for tests, or for the models of the heart, only.
pub(crate) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else { return attribute.path().is_ident("test") };
        let condition = list.tokens.to_string().replace(' ', "");
        list.path.is_ident("cfg") && (condition.starts_with("test") || condition.starts_with("all(test"))
            || list.path.is_ident("cfg") && condition.contains("loom") && !condition.starts_with("not(")
    })
}

/// The paths that a `use` names, each with the name that it gives; a glob's name is `*`.
pub(crate) fn uses(tree: &syn::UseTree) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    collect(tree, &mut Vec::new(), &mut found);
    found
}

fn collect(tree: &syn::UseTree, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    let with = |path: &[String], name: &syn::Ident| [path, &[name.to_string()]].concat();
    match tree {
        syn::UseTree::Path(part) => {
            path.push(part.ident.to_string());
            collect(&part.tree, path, found);
            path.pop();
        }
        syn::UseTree::Name(name) if name.ident == "self" => {
            found.push((path.clone(), path.last().cloned().unwrap_or_default()));
        }
        syn::UseTree::Name(name) => found.push((with(path, &name.ident), name.ident.to_string())),
        syn::UseTree::Rename(rename) if rename.ident == "self" => {
            found.push((path.clone(), rename.rename.to_string()))
        }
        syn::UseTree::Rename(rename) => found.push((with(path, &rename.ident), rename.rename.to_string())),
        syn::UseTree::Glob(_) => found.push((path.clone(), "*".to_owned())),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| collect(tree, path, found)),
    }
}

/// The files that belong to the product: neither tests nor benchmarks.
pub(crate) fn product(workspace: &Workspace) -> impl Iterator<Item = &SourceFile> {
    workspace.files.iter().filter(|file| !file.test)
}

/// The files of one target, in the order of their numbers.
pub(crate) fn files_of(module: &Module, found: &mut BTreeSet<FileId>) {
    found.insert(module.file);
    module.children.values().for_each(|child| files_of(child, found));
}
