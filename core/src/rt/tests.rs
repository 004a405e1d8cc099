//! The virtual runtime: its clock, its timers and its tasks.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::notify::Notify;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn tasks_run_at_their_deadlines_in_the_order_of_these() {
    let runtime = VirtualRuntime::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let begun = runtime.enter(now);
    for wait in [3, 1, 2] {
        let seen = seen.clone();
        let task = async move {
            sleep(wait * SECOND).await;
            seen.lock().unwrap().push((wait, elapsed(begun)));
        };
        runtime.enter(|| drop(spawn(task)));
    }
    runtime.run_until_idle();
    assert!(seen.lock().unwrap().is_empty(), "no time has passed");
    runtime.advance(2 * SECOND);
    assert_eq!(*seen.lock().unwrap(), [(1, SECOND), (2, 2 * SECOND)]);
    assert_eq!(runtime.next_deadline(), Some(3 * SECOND));
    runtime.advance(2 * SECOND);
    assert_eq!(seen.lock().unwrap().last(), Some(&(3, 3 * SECOND)));
    assert_eq!((runtime.elapsed(), runtime.next_deadline()), (4 * SECOND, None));
}

#[test]
fn a_future_that_waits_for_time_lets_it_pass() {
    let (runtime, begun) = (VirtualRuntime::new(), Instant::now());
    let waited = runtime.block_on(async {
        let never = timeout(3600 * SECOND, sleep(Duration::MAX)).await;
        (never, timeout(2 * SECOND, sleep(SECOND)).await)
    });
    assert_eq!((waited, runtime.elapsed()), ((None, Some(())), 3601 * SECOND));
    assert!(begun.elapsed() < 60 * SECOND);
}

#[test]
fn an_alarm_that_is_set_to_an_earlier_moment_goes_off_then() {
    let runtime = VirtualRuntime::new();
    runtime.block_on(async {
        let mut alarm = Alarm::default();
        alarm.set(Some(now() + 5 * SECOND));
        alarm.set(Some(now() + SECOND));
        alarm.set(Some(now() + 9 * SECOND));
        alarm.wait().await;
    });
    assert_eq!(runtime.elapsed(), SECOND);
}

#[test]
fn a_cancelled_task_is_dropped_and_its_result_is_kept() {
    let (runtime, dropped) = (VirtualRuntime::new(), Arc::new(AtomicUsize::new(0)));
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    runtime.block_on(async {
        let held = Counted(dropped.clone());
        let waits = spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        let ends = spawn(async { 7 });
        yield_now().await;
        assert!(ends.is_finished() && !waits.is_finished());
        assert_eq!((ends.cancel().await, waits.cancel().await), (Some(7), None));
    });
    assert_eq!(dropped.load(Relaxed), 1);
    // The runtime drops the others, although each is held by the notice that it waits for.
    let (held, notice) = (Counted(dropped.clone()), Arc::new(Notify::new(false)));
    let waiting = notice.clone();
    runtime.enter(|| {
        drop(spawn(async move {
            waiting.when(|set| set.then_some(())).await;
            sleep(SECOND).await;
            drop(held);
        }));
    });
    runtime.run_until_idle();
    drop(runtime);
    assert_eq!((dropped.load(Relaxed), Arc::strong_count(&notice)), (2, 1));
}

#[test]
fn a_write_of_another_thread_wakes_a_runtime_that_has_nothing_else_to_do() {
    let runtime = VirtualRuntime::new();
    let notice = Arc::new(Notify::new(false));
    let written = notice.clone();
    let writer = std::thread::spawn(move || *written.write() = true);
    runtime.block_on(async {
        let waiting = notice.clone();
        let task = spawn(async move { waiting.when(|set| set.then_some(())).await });
        notice.when(|set| set.then_some(())).await;
        while !task.is_finished() {
            yield_now().await;
        }
    });
    writer.join().unwrap();
}

#[test]
fn a_runtime_may_be_dropped_at_the_end_of_its_thread() {
    thread_local!(static KEPT: std::cell::RefCell<Option<VirtualRuntime>> = const { std::cell::RefCell::new(None) });
    let thread = std::thread::spawn(|| {
        // Set before the runtime enters, so that it is dropped after the note of the runtime that the thread is within.
        KEPT.set(None);
        let runtime = VirtualRuntime::new();
        runtime.enter(|| drop(spawn(sleep(SECOND))));
        runtime.run_until_idle();
        KEPT.set(Some(runtime));
    });
    assert!(thread.join().is_ok());
}

#[test]
fn a_seed_repeats_random_bytes_the_wall_clock_and_the_order_of_tasks() {
    let run = |seed| {
        let runtime = VirtualRuntime::with_seed(seed);
        let order = Arc::new(Mutex::new(Vec::new()));
        for number in 0..20 {
            let order = order.clone();
            runtime.enter(|| drop(spawn(async move { order.lock().unwrap().push(number) })));
        }
        runtime.advance(SECOND);
        let order = order.lock().unwrap().clone();
        (order, runtime.enter(random_u64).unwrap(), runtime.enter(wall_clock))
    };
    let (first, again, other) = (run(1), run(1), run(2));
    assert_eq!(first, again);
    assert_ne!(first.0, other.0);
    assert_ne!(first.1, other.1);
    let ordered: Vec<_> = (0..20).collect();
    assert_ne!(first.0, ordered);
}

#[test]
fn without_a_seed_random_bytes_are_those_of_the_system() {
    let draw = || VirtualRuntime::new().enter(random_u64).unwrap();
    assert_ne!(draw(), draw());
    assert_ne!(random_u64().unwrap(), random_u64().unwrap());
}

#[test]
fn a_process_that_is_dropped_ends_its_tasks_and_those_that_they_spawned() {
    let (runtime, ran) = (VirtualRuntime::with_seed(3), Arc::new(AtomicUsize::new(0)));
    let (process, other) = (runtime.process(), runtime.process());
    let count = |ran: &Arc<AtomicUsize>| {
        let ran = ran.clone();
        async move {
            loop {
                ran.fetch_add(1, Relaxed);
                VirtualRuntime::sleep(SECOND).await;
            }
        }
    };
    let (child, counted) = (count(&ran), Arc::new(AtomicUsize::new(0)));
    process.spawn(async move { VirtualRuntime::spawn(child) });
    other.spawn(count(&counted));
    runtime.advance(SECOND * 3 / 2);
    assert_eq!((ran.load(Relaxed), counted.load(Relaxed)), (2, 2));
    // A task that a dropped future spawns never runs.
    struct SpawnsAtLast(Arc<AtomicUsize>);
    impl Drop for SpawnsAtLast {
        fn drop(&mut self) {
            let ran = self.0.clone();
            VirtualRuntime::spawn(async move { _ = ran.fetch_add(100, Relaxed) });
        }
    }
    let last = SpawnsAtLast(ran.clone());
    process.spawn(async move {
        std::future::pending::<()>().await;
        drop(last);
    });
    runtime.run_until_idle();
    drop(process);
    runtime.advance(SECOND);
    assert_eq!((ran.load(Relaxed), counted.load(Relaxed)), (2, 3));
}

#[test]
fn each_process_has_a_wall_clock_of_its_own() {
    let runtime = VirtualRuntime::with_seed(4);
    let (process, other) = (runtime.process(), runtime.process());
    process.set_clock_offset(-5000);
    runtime.advance(SECOND);
    let (early, right) = (process.enter(wall_clock), other.enter(wall_clock));
    assert_eq!((right.0 - early.0, right), (5000, runtime.enter(wall_clock)));
}
