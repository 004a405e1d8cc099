//! The simulator's program: its table, its complaints, and the same figures for the same seeds.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_mesh-sim");
    Command::new(program).args(arguments).output().expect("mesh-sim runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_ring_that_is_cut_heals_within_its_bar_and_the_table_shows_it() {
    let ran = run(&["--topology", "ring", "--nodes", "8", "--fault", "link", "--seeds", "3"]);
    let table = text(&ran.stdout);
    assert!(ran.status.success(), "{table}{}", text(&ran.stderr));
    let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(
        line("reachable again").contains("400 ms") && line("reachable again").ends_with("met"),
        "{table}"
    );
    assert!(line("loops seen").contains(" 0, after"), "{table}");
    for figure in ["cold start", "fault: sent per node", "memory", "wall time"] {
        assert!(!line(figure).is_empty(), "no {figure}:\n{table}");
    }
}

#[test]
fn the_same_seed_shows_the_same_figures_over_real_links() {
    let figures = || {
        let ran =
            run(&["--topology", "ring", "--nodes", "6", "--fault", "silence", "--seed", "9", "--seeds", "1"]);
        let table = text(&ran.stdout);
        let figures: Vec<String> = table
            .lines()
            .filter(|line| {
                line.starts_with("reachable") || line.starts_with("fault") || line.starts_with("loops")
            })
            .map(str::to_owned)
            .collect();
        assert_eq!(figures.len(), 3, "{table}");
        figures
    };
    assert_eq!(figures(), figures());
}

#[test]
fn nodes_that_open_links_to_each_other_at_once_have_one_link_each_and_the_suite_shows_it() {
    let ran = run(&["--suite", "--only", "peering: simultaneous opening"]);
    let table = text(&ran.stdout);
    assert!(ran.status.success(), "{table}{}", text(&ran.stderr));
    for figure in ["linked", "links beyond one each"] {
        assert!(
            table.lines().any(|line| line.contains(figure) && line.ends_with(" met")),
            "no {figure}:\n{table}"
        );
    }
}

#[test]
fn a_violation_ends_it_with_the_command_that_replays_it() {
    // Nine of ten frames are lost: to start takes longer than a run waits.
    let arguments = [
        "--topology",
        "grid",
        "--nodes",
        "64",
        "--fault",
        "none",
        "--seed",
        "5",
        "--seeds",
        "2",
        "--loss",
        "0.9",
    ];
    let ran = run(&arguments);
    let table = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(1), "{table}");
    assert!(table.contains("VIOLATED with seed 5: "), "{table}");
    let command = table.lines().last().unwrap_or_default().trim();
    let (_, replayed) = command.split_once("mesh-sim -- ").expect("a command");
    let replayed: Vec<&str> = replayed.split(' ').collect();
    assert!(replayed.windows(2).any(|pair| pair == ["--seed", "5"]), "{command}");
    let again = run(&replayed);
    let violated = |table: &str| table.lines().find(|line| line.starts_with("VIOLATED")).map(str::to_owned);
    assert_eq!(violated(&text(&again.stdout)), violated(&table));
}

#[test]
fn wrong_arguments_are_refused_with_the_right_ones() {
    for (arguments, hint) in [
        (&["--nodes", "97"][..], "try --nodes 100"),
        (&["--nodes", "many"], "invalid digit"),
        (&["--topology", "mesh"], "geometric"),
        (&["--loss", "2"], "from 0 to 0.9"),
        (&["--fault", "asymmetry", "--depth", "route"], "--depth link"),
        (&["--topology", "line", "--fault", "silence"], "no path around"),
        (&["--only", "ring"], "--suite"),
    ] {
        let ran = run(arguments);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}");
        let complaint = text(&ran.stderr);
        assert!(complaint.contains(hint), "{arguments:?}: {complaint}");
    }
}
