//! The layers of the core and its crates: each module imports only those that its row in the document allows.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::imports::imports;
use crate::report::{Check, Complaint};
use crate::tree::Workspace;

/// The document that has the table, and the line that begins it.
const ARCHITECTURE: &str = "core/ARCHITECTURE.md";
const HEAD: &str = "| Module | may import |";
/// The root of a crate, which may import everything and is imported by nothing.
const ROOT: &str = "lib";
/// The sources of the crates whose modules are layers.
const ROOTS: &[&str] =
    &["core/src/", "core/inbox/src/", "core/journal/src/", "core/proto/src/", "core/sim/src/"];

/// The modules of the core import only the layers below them.
pub(crate) fn check(workspace: &Workspace) -> Result<Check> {
    let table = table(&workspace.root)?;
    let mut complaints = Vec::new();
    let mut missing = BTreeSet::new();
    let layered = workspace.targets.iter().filter(|target| {
        let path = &workspace.files[target.root.file].path;
        ROOTS.iter().any(|root| path.starts_with(root))
    });
    for ((from, to), line) in layered.flat_map(|target| imports(workspace, &target.root)) {
        let (from, to) = (&workspace.files[from].path, &workspace.files[to].path);
        let (Some(from_layer), Some(to_layer)) = (layer(from), layer(to)) else { continue };
        if from_layer == to_layer || from_layer == ROOT {
            continue;
        }
        let at = || format!("{from}:{line}");
        match table.iter().find(|(name, _)| name == from_layer) {
            Some((_, allowed)) if allowed.iter().any(|name| name == to_layer) => {}
            Some(_) => {
                complaints.push(Complaint { at: at(), text: format!("{from_layer} imports {to_layer}") })
            }
            None if missing.insert(from_layer) => {
                complaints
                    .push(Complaint { at: at(), text: format!("{from_layer} has no row in {ARCHITECTURE}") });
            }
            None => {}
        }
    }
    Ok(Check {
        name: "layers",
        rule: "A layer imports only the layers below it, as the table in core/ARCHITECTURE.md states.",
        remedy: "move the item down to a layer that both may import, or pass it in from above",
        complaints,
        figures: vec![format!("{} layers", table.len())],
    })
}

/// The layer of a file: the first part of its path below one of [`ROOTS`]. The codec is a layer of its own, since it is written in
/// terms of bytes alone and therefore lies below the types that have an encoding.
fn layer(path: &str) -> Option<&str> {
    if path == "core/proto/src/wire/codec.rs" {
        return Some("codec");
    }
    // The simulator is one layer, and so is the journal.
    for (root, name) in [("core/sim/src/", "sim"), ("core/journal/src/", "journal")] {
        if path.starts_with(root) {
            return Some(name);
        }
    }
    let inner = ROOTS.iter().find_map(|root| path.strip_prefix(root))?;
    let first = inner.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

/// Each layer with the layers that it may import.
fn table(root: &Path) -> Result<Vec<(String, Vec<String>)>> {
    parse(&fs::read_to_string(root.join(ARCHITECTURE)).context(ARCHITECTURE)?)
}

/// Reads the table. A row may name only rows above it, so that the table itself has no circle.
fn parse(text: &str) -> Result<Vec<(String, Vec<String>)>> {
    let rows = text.lines().skip_while(|line| *line != HEAD).skip(2).take_while(|line| line.starts_with('|'));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut table: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows {
        let mut cells = row.split('|').skip(1).map(names);
        let (Some(mut name), Some(allowed)) = (cells.next(), cells.next()) else { continue };
        let name = name.pop().with_context(|| format!("a row without a module: {row}"))?;
        for below in &allowed {
            let is_above = table.iter().any(|(known, _)| known == below);
            ensure!(is_above, "{ARCHITECTURE}: {name} may import only rows above it, not {below}");
        }
        table.push((name, allowed));
    }
    ensure!(!table.is_empty(), "{ARCHITECTURE} has no table with the head {HEAD}");
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::{HEAD, parse};

    #[test]
    fn a_layer_imports_only_from_rows_above() {
        let table = format!("{HEAD}\n|---|---|\n| `a` | — |\n| `b` | `a` |\n");
        assert_eq!(
            parse(&table).unwrap(),
            [("a".to_owned(), vec![]), ("b".to_owned(), vec!["a".to_owned()])]
        );
        assert!(parse(&table.replace('—', "`b`")).is_err(), "a circle");
        assert!(parse("no table").is_err());
    }
}
