//! Tests that need network namespaces: run where those can be made, and counted as ignored, aloud, where not.

use libtest_mimic::{Arguments, Failed, Trial};

use crate::namespace::may_make_namespaces;

/// Runs `tests`, each by its name, as the test program that this is called from, and ends it.
pub fn run_in_namespaces(tests: &[(&str, fn())]) -> ! {
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
    libtest_mimic::run(&Arguments::from_args(), tests.iter().map(trial).collect()).exit()
}
