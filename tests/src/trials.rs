//! Tests that need network namespaces: run where those can be made, and counted as ignored, with a notice, elsewhere.

use libtest_mimic::{Arguments, Failed, Trial};

use crate::namespace::may_make_namespaces;

/// Runs `tests`, each by its name, beside each other, as the test program that this is called from, and ends it.
pub fn run_in_namespaces(tests: &[(&str, fn())]) -> ! {
    run(Arguments::from_args(), tests)
}

/// Does the same for tests that measure how long something takes: each runs alone, whatever `--test-threads` asks for. Otherwise
/// a test would measure the load of those beside it.
pub fn run_timed_in_namespaces(tests: &[(&str, fn())]) -> ! {
    run(Arguments { test_threads: Some(1), ..Arguments::from_args() }, tests)
}

fn run(arguments: Arguments, tests: &[(&str, fn())]) -> ! {
    let may = may_make_namespaces();
    if !may {
        eprintln!("skipped: network namespaces need root, and `ip` of iproute2");
    }
    let trial = |&(name, test): &(&str, fn())| {
        let run = move || -> Result<(), Failed> {
            test();
            Ok(())
        };
        let trial = Trial::test(name, run).with_ignored_flag(!may);
        if may { trial } else { trial.with_kind("needs root") }
    };
    libtest_mimic::run(&arguments, tests.iter().map(trial).collect()).exit()
}
