//! Tests that need network namespaces: run where those can be made, and counted as ignored, with a notice, elsewhere.

use libtest_mimic::{Arguments, Failed, Trial};

use crate::namespace::{may_make_namespaces, may_use_nft};

/// The condition for a test, beside that network namespaces can be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Namespaces,
    Nft,
}

/// Runs `tests`, each by its name, beside each other, as the test program that this is called from, and ends it.
pub fn run_in_namespaces(tests: &[(&str, fn())]) -> ! {
    run_in_namespaces_and_with_nft(tests, &[])
}

/// Does the same, and runs `with_nft` too where `nft` of nftables can be used in network namespaces.
pub fn run_in_namespaces_and_with_nft(tests: &[(&str, fn())], with_nft: &[(&str, fn())]) -> ! {
    let needs = |need| move |&(name, test): &(&str, fn())| (name.to_owned(), test, need);
    let with_nft = with_nft.iter().map(needs(Needs::Nft));
    run(Arguments::from_args(), tests.iter().map(needs(Needs::Namespaces)).chain(with_nft).collect())
}

/// Runs tests that measure times: each runs alone, whatever `--test-threads` requests, because otherwise a test would measure the
/// load of the tests beside it.
pub fn run_timed_in_namespaces(tests: &[(&str, fn())]) -> ! {
    let tests = tests.iter().map(|&(name, test)| (name.to_owned(), test, Needs::Namespaces));
    run(Arguments { test_threads: Some(1), ..Arguments::from_args() }, tests.collect())
}

fn run(arguments: Arguments, tests: Vec<(String, fn(), Needs)>) -> ! {
    let may = may_make_namespaces();
    if !may {
        eprintln!("skipped: network namespaces need root, and `ip` of iproute2");
    }
    let may_nft = may && tests.iter().any(|(_, _, needs)| *needs == Needs::Nft) && may_use_nft();
    let trial = |(name, test, needs): (String, fn(), Needs)| {
        let run = move || -> Result<(), Failed> {
            test();
            Ok(())
        };
        let may_run = if needs == Needs::Nft { may_nft } else { may };
        if may && !may_run {
            eprintln!("skipped: {name} needs `nft` of nftables");
        }
        let trial = Trial::test(name, run).with_ignored_flag(!may_run);
        match (may, may_run) {
            (_, true) => trial,
            (true, false) => trial.with_kind("needs nft"),
            (false, false) => trial.with_kind("needs root"),
        }
    };
    libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect()).exit()
}
