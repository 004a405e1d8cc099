//! Time that a reader of the routes waits while they are being written.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Instant;

use rouse_core::internals::cost::Routes;

const ROUTES: usize = 32_000;
/// The number of times that a writer installs all, changes all, and removes all.
const TURNS: usize = 20;

pub(crate) fn run() {
    let routes = Routes::new(ROUTES);
    let mut alone = Vec::with_capacity(1 << 20);
    for n in 0..200_000 {
        alone.push(look(&routes, n));
    }
    let done = AtomicBool::new(false);
    let (mut during, written) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut times = Vec::with_capacity(8 << 20);
            let mut n = 0;
            while !done.load(SeqCst) && times.len() < times.capacity() {
                times.push(look(&routes, n));
                n += 1;
            }
            times
        });
        let begun = Instant::now();
        for _ in 0..TURNS {
            routes.install_all(false);
            routes.install_all(true);
            routes.remove_all();
        }
        let written = begun.elapsed().as_secs_f64() / (TURNS * ROUTES * 3) as f64 * 1e9;
        done.store(true, SeqCst);
        (reader.join().unwrap_or_default(), written)
    });
    println!(
        "FIB: one look-up, while {ROUTES} routes are installed, changed and removed {TURNS} times (a clock's reading included)"
    );
    print("no writer", &mut alone);
    print("a writer at work", &mut during);
    println!("  one write                         {written:7.0} ns");
}

fn look(routes: &Routes, n: usize) -> u32 {
    let begun = Instant::now();
    std::hint::black_box(routes.look(n.wrapping_mul(7919)));
    u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX)
}

fn print(name: &str, times: &mut [u32]) {
    times.sort_unstable();
    let at = |share: f64| f64::from(times[((times.len() - 1) as f64 * share) as usize]);
    println!(
        "  {name:<20} p50 {:.0} ns   p99 {:.0} ns   p99.9 {:.1} µs   p99.99 {:.1} µs   most {:.1} µs   ({} looks)",
        at(0.5),
        at(0.99),
        at(0.999) / 1e3,
        at(0.9999) / 1e3,
        at(1.0) / 1e3,
        times.len()
    );
}
