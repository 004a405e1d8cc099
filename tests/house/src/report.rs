//! Complaints of a check, and how it is printed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The most complaints of one rule that are listed.
const SHOWN: usize = 40;

/// One violation of one rule.
pub(crate) struct Complaint {
    /// File and line, or the name of a crate.
    pub(crate) at: String,
    pub(crate) text: String,
}

/// The outcome of one check.
pub(crate) struct Check {
    /// The name of the rule in `debts`.
    pub(crate) name: &'static str,
    /// The rule, as a sentence.
    pub(crate) rule: &'static str,
    /// How a complaint is resolved.
    pub(crate) remedy: &'static str,
    pub(crate) complaints: Vec<Complaint>,
    /// Measured figures, for `--figures`.
    pub(crate) figures: Vec<String>,
}

/// Prints the outcome of a check; `true` when it has more complaints than its debt allows.
pub(crate) fn print(check: &Check, debts: &BTreeMap<String, usize>, figures: bool) -> bool {
    let debt = debts.get(check.name).copied().unwrap_or_default();
    let count = check.complaints.len();
    let fails = count > debt;
    if figures || fails {
        println!("{} [{}: {count} of at most {debt}]", check.rule, check.name);
    }
    if figures {
        check.figures.iter().for_each(|figure| println!("  {figure}"));
    }
    if figures || fails {
        let shown = if figures { count } else { SHOWN };
        check
            .complaints
            .iter()
            .take(shown)
            .for_each(|complaint| println!("  {}: {}", complaint.at, complaint.text));
    }
    if fails {
        if count > SHOWN {
            println!("  and {} more: `cargo run -p rouse-house -- --figures` lists all", count - SHOWN);
        }
        println!("  Remedy: {}\n", check.remedy);
    } else if count < debt {
        println!("{}: only {count} complaints are left: write that into tests/house/debts", check.name);
    }
    fails
}

/// How many complaints of each rule are known and not yet resolved: one name and one number a line.
pub(crate) fn debts(root: &Path) -> Result<BTreeMap<String, usize>> {
    let path = root.join("tests/house/debts");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut debts = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, count) = line.split_once(' ').with_context(|| format!("{}: {line}", path.display()))?;
        debts.insert(
            name.to_owned(),
            count.trim().parse().with_context(|| format!("{}: {line}", path.display()))?,
        );
    }
    Ok(debts)
}
