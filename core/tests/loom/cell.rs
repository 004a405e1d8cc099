//! The models of the wake-on-write cell.

use loom::thread;
use rouse_core::notify::Notify;

use super::*;

#[test]
fn a_write_reaches_one_who_is_about_to_wait() {
    check(|| {
        let cell = Arc::new(Notify::new(0));
        let writer = thread::spawn({
            let cell = cell.clone();
            move || *cell.write() = 7
        });
        assert_eq!(block_on(cell.when(|value| (*value > 0).then_some(*value))), 7);
        writer.join().unwrap();
    });
}

#[test]
fn a_write_reaches_all_who_wait() {
    check(|| {
        let cell = Arc::new(Notify::new(0));
        let waiting = [(); 2].map(|()| {
            let cell = cell.clone();
            thread::spawn(move || block_on(cell.when(|value| (*value > 0).then_some(*value))))
        });
        *cell.write() = 7;
        assert_eq!(waiting.map(|waiting| waiting.join().unwrap()), [7, 7]);
    });
}

#[test]
fn the_cell_wakes_with_its_lock_free() {
    check(|| {
        let cell = Arc::new(Notify::new(0));
        let writer = thread::spawn({
            let cell = cell.clone();
            move || *cell.write() = 7
        });
        let touched = cell.clone();
        let task = Task::that(move || drop(touched.read()));
        assert_eq!(task.run(cell.when(|value| (*value > 0).then_some(*value))), 7);
        writer.join().unwrap();
        assert!(task.wakes() <= 1, "one write is one wake");
    });
}

#[test]
fn what_is_there_is_taken_once_and_the_taker_wakes_nobody() {
    check(|| {
        let cell = Arc::new(Notify::new(0));
        let takers = [(); 2].map(|()| {
            let (cell, task) = (cell.clone(), Task::new());
            let take = |left: &mut u32| (*left > 0).then(|| *left -= 1);
            (task.clone(), thread::spawn(move || task.run(cell.take_when(take))))
        });
        *cell.write() = 2;
        for (task, taker) in takers {
            taker.join().unwrap();
            assert!(task.wakes() <= 1, "one write is one wake");
        }
        assert_eq!(*cell.read(), 0);
    });
}

#[test]
fn one_who_gives_up_leaves_the_others_waiting_soundly() {
    check(|| {
        let cell = Arc::new(Notify::new(0));
        let fickle = thread::spawn({
            let cell = cell.clone();
            move || poll_once(pin!(cell.when(|value| (*value > 0).then_some(())))).is_ready()
        });
        let steady = thread::spawn({
            let cell = cell.clone();
            move || block_on(cell.when(|value| (*value > 0).then_some(*value)))
        });
        *cell.write() = 7;
        fickle.join().unwrap();
        assert_eq!(steady.join().unwrap(), 7);
    });
}
