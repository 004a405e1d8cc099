//! Complaints of a check, and how it is printed.

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
    /// The name of the rule.
    pub(crate) name: &'static str,
    /// The rule, as a sentence.
    pub(crate) rule: &'static str,
    /// How a complaint is resolved.
    pub(crate) remedy: &'static str,
    pub(crate) complaints: Vec<Complaint>,
    /// Measured figures, for `--figures`.
    pub(crate) figures: Vec<String>,
}

/// Prints the outcome of a check; `true` when it has a complaint.
pub(crate) fn print(check: &Check, figures: bool) -> bool {
    let count = check.complaints.len();
    let fails = count > 0;
    if figures || fails {
        println!("{} [{}: {count}]", check.rule, check.name);
    }
    if figures {
        check.figures.iter().for_each(|figure| println!("  {figure}"));
    }
    if fails {
        let shown = if figures { count } else { SHOWN };
        check
            .complaints
            .iter()
            .take(shown)
            .for_each(|complaint| println!("  {}: {}", complaint.at, complaint.text));
        if count > shown {
            println!("  and {} more: `cargo run -p rouse-house -- --figures` lists all", count - shown);
        }
        println!("  Remedy: {}\n", check.remedy);
    }
    fails
}
