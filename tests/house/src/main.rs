//! Checks what a compiler does not check about the sources: layers, sizes, names and words. Each complaint names its remedy.
//!
//! `cargo run -p rouse-house` checks the whole workspace and exits with 1 when it has a complaint; `--figures` prints the measured
//! figures as well.

mod bounds;
mod constants;
mod documents;
mod imports;
mod layers;
mod names;
mod report;
mod text;
mod tree;
mod waits;
mod words;

use std::process::ExitCode;

use anyhow::Result;

fn main() -> Result<ExitCode> {
    let figures = std::env::args().any(|argument| argument == "--figures");
    let workspace = tree::Workspace::load()?;
    let checks = [
        layers::check(&workspace)?,
        imports::circles(&workspace),
        bounds::check(&workspace),
        names::types(&workspace),
        names::globs(&workspace),
        words::banned(&workspace)?,
        words::reasons(&workspace),
        waits::check(&workspace),
        documents::check(&workspace)?,
        constants::check(&workspace),
    ];
    let failed = checks.iter().filter(|check| report::print(check, figures)).count();
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
