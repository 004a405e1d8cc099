//! The processor time, memory and traffic of an idle daemon.

use std::thread;
use std::time::Duration;

use rouse_tests::{programs, usage};

/// How long it is watched: the time is what is measured, not something that is waited for.
const WATCHED: Duration = Duration::from_secs(10);
/// Half a percent of one processor. A build without optimisation, as `cargo test` makes it, works for longer: `.ci/run` runs
/// this with `--release` as well.
const CPU: f64 = if cfg!(debug_assertions) { 0.02 } else { 0.005 };
/// The heap and the stacks, in bytes.
const ANONYMOUS: u64 = 5 << 20;
/// All memory. In a build without optimisation the pages of the program are nine tenths of it, and show the compiler's work
/// more than the daemon's.
const RSS: u64 = if cfg!(debug_assertions) { 28 << 20 } else { 16 << 20 };

#[test]
fn an_idle_daemon_with_three_neighbours_costs_next_to_nothing() {
    let programs = programs!();
    let daemon = programs.daemon().start();
    let neighbours = [(); 3].map(|()| programs.daemon().peer(&daemon.uri()).start());
    for neighbour in &neighbours {
        daemon.neighbour(neighbour.address());
        daemon.route_to(neighbour.address());
    }
    let before = usage(daemon.pid());
    thread::sleep(WATCHED);
    let after = usage(daemon.pid());
    let share = (after.cpu - before.cpu).as_secs_f64() / WATCHED.as_secs_f64();
    println!(
        "idle: {:.2} % of a processor, {} KiB resident, {} KiB of them anonymous",
        share * 100.0,
        after.rss >> 10,
        after.anonymous >> 10
    );
    assert!(share < CPU, "{:.2} % of a processor", share * 100.0);
    assert!(after.rss <= RSS, "{} KiB resident", after.rss >> 10);
    assert!(after.anonymous <= ANONYMOUS, "{} KiB of heap and stacks", after.anonymous >> 10);
}
