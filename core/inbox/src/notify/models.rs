//! Models of the cell under loom, which share their tasks with the models of the inbox.

use std::sync::Arc;
use std::task::Waker;

use loom::thread;

use super::*;
use crate::inbox::models::{LockCheck, Sleeper, block_on, check, poll_once};

fn assert_left<T>(cell: &Notify<T>) {
    assert_eq!(cell.cell.lock().waiters.len(), 0, "an entry was left behind");
}

#[test]
fn every_waiter_sees_every_write() {
    check(|| {
        let cell = Arc::new(Notify::new(0));
        let sleepers = [Sleeper::new(), Sleeper::new()];
        let waiters = sleepers.clone().map(|sleeper| {
            let cell = cell.clone();
            thread::spawn(move || sleeper.run(cell.when(|now| (*now > 0).then_some(*now))))
        });
        *cell.write() = 1;
        assert_eq!(waiters.map(|waiter| waiter.join().unwrap()), [1, 1]);
        assert!(sleepers.iter().all(|sleeper| sleeper.wakes() <= 1), "one write wakes each once");
        assert_left(&cell);
    });
}

#[test]
fn taking_something_out_wakes_no_task() {
    check(|| {
        let cell = Arc::new(Notify::new(0));
        let sleepers = [Sleeper::new(), Sleeper::new()];
        let takers = sleepers.clone().map(|sleeper| {
            let cell = cell.clone();
            let take = |left: &mut i32| {
                let there = *left > 0;
                *left -= i32::from(there);
                there.then_some(())
            };
            thread::spawn(move || sleeper.run(cell.take_when(take)))
        });
        *cell.write() += 2;
        for taker in takers {
            taker.join().unwrap();
        }
        assert!(
            sleepers.iter().all(|sleeper| sleeper.wakes() <= 1),
            "one write wakes each once, and taking does not"
        );
        assert_eq!(*cell.read(), 0);
        assert_left(&cell);
    });
}

#[test]
fn no_task_is_woken_under_the_lock() {
    check(|| {
        let cell = Arc::new(Notify::new(0));
        let mut waiter = cell.when(|now| (*now > 0).then_some(()));
        let waker = Waker::from(Arc::new(LockCheck({
            let cell = cell.clone();
            move || cell.cell.is_free()
        })));
        assert!(Pin::new(&mut waiter).poll(&mut Context::from_waker(&waker)).is_pending());
        let writer = thread::spawn({
            let cell = cell.clone();
            move || *cell.write() = 1
        });
        writer.join().unwrap();
        block_on(waiter);
    });
}

#[test]
fn cancelling_a_waiter_loses_no_wake_of_another() {
    check(|| {
        let cell = Arc::new(Notify::new(0));
        let cancelled = thread::spawn({
            let cell = cell.clone();
            move || {
                let _ = poll_once(&mut cell.when(|now| (*now > 0).then_some(())));
            }
        });
        let waiter = thread::spawn({
            let cell = cell.clone();
            move || block_on(cell.when(|now| (*now > 0).then_some(*now)))
        });
        *cell.write() = 1;
        cancelled.join().unwrap();
        assert_eq!(waiter.join().unwrap(), 1);
        assert_left(&cell);
    });
}

#[test]
fn a_write_that_gives_nothing_yet_is_followed_by_one_that_does() {
    check(|| {
        let cell = Arc::new(Notify::new(0));
        let waiter = thread::spawn({
            let cell = cell.clone();
            move || block_on(cell.when(|now| (*now > 1).then_some(*now)))
        });
        *cell.write() += 1;
        *cell.write() += 1;
        assert_eq!(waiter.join().unwrap(), 2);
        assert_left(&cell);
    });
}
