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
