//! The program that simulates whole nodes: the same trace for the same seed, and its complaints.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_node-sim");
    Command::new(program).args(arguments).output().expect("node-sim runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_same_seeds_have_the_same_traces_in_two_processes_and_other_seeds_have_others() {
    let hashes = || {
        let ran = run(&["--seeds", "6", "--jobs", "1", "--verbose"]);
        let table = text(&ran.stdout);
        assert!(ran.status.success(), "{table}{}", text(&ran.stderr));
        let hash = |line: &str| Some(line.split_once("hash ")?.1.split(',').next()?.to_owned());
        let hashes: Vec<String> = table.lines().filter_map(hash).collect();
        assert_eq!(hashes.len(), 6, "{table}");
        hashes
    };
    let first = hashes();
    assert_eq!(first, hashes());
    assert!((1..first.len()).all(|n| !first[..n].contains(&first[n])), "{first:?}");
}

#[test]
fn a_seed_that_breaks_a_rule_ends_it_with_the_command_that_replays_it() {
    // Messages under way at the last fault need a moment more.
    let ran = run(&["--seeds", "50", "--jobs", "1", "--patience", "0"]);
    let table = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(1), "{table}");
    let command = table.lines().find_map(|line| line.strip_prefix("replay it: ")).expect("a command");
    let (_, arguments) = command.split_once("node-sim -- ").expect("a command");
    let again = run(&arguments.split(' ').collect::<Vec<_>>());
    let broken = |table: &str| {
        table.lines().find(|line| line.starts_with("seed ") && line.contains("last fault")).map(str::to_owned)
    };
    assert!(broken(&table).is_some(), "{table}");
    assert_eq!(broken(&text(&again.stdout)), broken(&table));
}

#[test]
fn the_trace_of_a_seed_names_every_message_and_fault() {
    let ran = run(&["--seed", "4", "--trace"]);
    let log = text(&ran.stdout);
    for part in [
        "sends 0 to",
        "0 is accepted as",
        "takes 0 in run 1",
        "the outcome of 0",
        "fault: ",
        "all faults end",
    ] {
        assert!(log.contains(part), "no {part:?} in the trace:\n{log}");
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in [&["--trace"][..], &["--seed", "1", "--seeds", "2"], &["--file", "/nonexistent/seeds"]] {
        let ran = run(arguments);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {}", text(&ran.stderr));
    }
}
