//! The models of the inbox, each with the fault that it must find.

use loom::thread;
use rouse_core::inbox::{Closed, Full, Inbox, PushError};

use super::*;
use crate::toy::{self, Toy};

impl Queue for Inbox<u32> {
    fn make() -> Self {
        Inbox::new(4, Full::Wait)
    }

    fn write(&self, item: u32) {
        self.try_push(item).unwrap();
    }

    async fn read(&self) -> u32 {
        self.recv().await.unwrap()
    }

    fn touch(&self) {
        self.len();
    }
}

/// Promise 1: a write between a reader's look and its parking makes it run again.
fn no_wake_is_lost<Q: Queue>() {
    let queue = Arc::new(Q::make());
    let writer = thread::spawn({
        let queue = queue.clone();
        move || queue.write(7)
    });
    assert_eq!(block_on(queue.read()), 7);
    writer.join().unwrap();
}

/// Promise 2: one write is at most one wake, and taking an item is none.
fn nobody_wakes_itself<Q: Queue>() {
    let queue = Arc::new(Q::make());
    let writer = thread::spawn({
        let queue = queue.clone();
        move || {
            queue.write(1);
            queue.write(2);
        }
    });
    let task = Task::new();
    assert_eq!([task.run(queue.read()), task.run(queue.read())], [1, 2]);
    writer.join().unwrap();
    assert!(task.wakes() <= 2, "{} wakes for 2 writes", task.wakes());
}

/// Promise 3: a waker that takes the lock itself finds it free.
fn no_wake_comes_under_the_lock<Q: Queue>() {
    let queue = Arc::new(Q::make());
    let writer = thread::spawn({
        let queue = queue.clone();
        move || queue.write(7)
    });
    let touched = queue.clone();
    assert_eq!(Task::that(move || touched.touch()).run(queue.read()), 7);
    writer.join().unwrap();
}

/// Promise 5: two items wake two readers, one each.
fn each_item_wakes_one_reader<Q: Queue>() {
    let queue = Arc::new(Q::make());
    let readers = [(); 2].map(|()| {
        let (queue, task) = (queue.clone(), Task::new());
        (task.clone(), thread::spawn(move || task.run(queue.read())))
    });
    queue.write(1);
    queue.write(2);
    let mut wakes = 0;
    let mut items = readers.map(|(task, reader)| {
        let item = reader.join().unwrap();
        wakes += task.wakes();
        item
    });
    items.sort_unstable();
    assert_eq!(items, [1, 2]);
    assert!(wakes <= 2, "{wakes} wakes for 2 items");
}

/// Promise 6: a reader that gives up, woken or not, leaves the item to the other.
fn a_cancelled_reader_hands_its_wake_on<Q: Queue>() {
    let queue = Arc::new(Q::make());
    let fickle = thread::spawn({
        let queue = queue.clone();
        move || {
            let mut reading = pin!(queue.read());
            match poll_once(reading.as_mut()) {
                Poll::Ready(item) => Some(item),
                Poll::Pending => None,
            }
        }
    });
    let steady = thread::spawn({
        let queue = queue.clone();
        move || block_on(queue.read())
    });
    queue.write(7);
    if let Some(item) = fickle.join().unwrap() {
        queue.write(item);
    }
    assert_eq!(steady.join().unwrap(), 7);
}

#[test]
fn the_inbox_loses_no_wake() {
    check(no_wake_is_lost::<Inbox<u32>>);
    check(no_wake_is_lost::<Toy<{ toy::SOUND }>>);
}

#[test]
fn waking_before_the_write_is_found_out() {
    assert!(refute(no_wake_is_lost::<Toy<{ toy::WAKES_BEFORE_THE_WRITE }>>).contains("deadlock"));
}

#[test]
fn taking_from_the_inbox_wakes_nobody() {
    check(nobody_wakes_itself::<Inbox<u32>>);
    check(nobody_wakes_itself::<Toy<{ toy::SOUND }>>);
}

#[test]
fn waking_oneself_is_found_out() {
    assert!(refute(nobody_wakes_itself::<Toy<{ toy::WAKES_ITSELF }>>).contains("wakes for 2 writes"));
}

#[test]
fn the_inbox_wakes_with_its_lock_free() {
    check(no_wake_comes_under_the_lock::<Inbox<u32>>);
    check(no_wake_comes_under_the_lock::<Toy<{ toy::SOUND }>>);
}

#[test]
fn waking_with_the_lock_held_is_found_out_by_a_waker_that_needs_it() {
    // Loom by itself sees nothing wrong: the woken thread merely waits a little.
    check(no_wake_is_lost::<Toy<{ toy::WAKES_UNDER_THE_LOCK }>>);
    assert!(
        refute(no_wake_comes_under_the_lock::<Toy<{ toy::WAKES_UNDER_THE_LOCK }>>).contains("lock is held")
    );
}

#[test]
fn each_item_in_the_inbox_wakes_one_reader() {
    check(each_item_wakes_one_reader::<Inbox<u32>>);
    check(each_item_wakes_one_reader::<Toy<{ toy::SOUND }>>);
}

#[test]
fn one_waker_slot_for_two_readers_is_found_out() {
    assert!(refute(each_item_wakes_one_reader::<Toy<{ toy::HAS_ONE_SLOT }>>).contains("deadlock"));
}

#[test]
fn a_cancelled_receive_of_the_inbox_hands_its_wake_on() {
    check(a_cancelled_reader_hands_its_wake_on::<Inbox<u32>>);
    check(a_cancelled_reader_hands_its_wake_on::<Toy<{ toy::SOUND }>>);
}

#[test]
fn keeping_a_wake_when_cancelled_is_found_out() {
    assert!(
        refute(a_cancelled_reader_hands_its_wake_on::<Toy<{ toy::KEEPS_ITS_WAKE }>>).contains("deadlock")
    );
}

#[test]
fn a_batch_wakes_as_many_readers_as_it_has_items() {
    check(|| {
        let inbox = Arc::new(Inbox::new(4, Full::Wait));
        let readers = [(); 2].map(|()| {
            let inbox = inbox.clone();
            thread::spawn(move || block_on(inbox.recv()).unwrap())
        });
        inbox.try_push_batch(&mut vec![1, 2]).unwrap();
        assert_eq!(readers.map(|reader| reader.join().unwrap()).iter().sum::<i32>(), 3);
    });
}

#[test]
fn closing_wakes_all() {
    check(|| {
        let inbox = Arc::new(Inbox::<u32>::new(4, Full::Wait));
        let readers = [(); 2].map(|()| {
            let inbox = inbox.clone();
            thread::spawn(move || block_on(inbox.recv()))
        });
        inbox.close();
        assert_eq!(readers.map(|reader| reader.join().unwrap()), [Err(Closed); 2]);
    });
}

#[test]
fn what_is_given_back_wakes_a_reader() {
    check(|| {
        let inbox = Arc::new(Inbox::new(1, Full::Wait));
        inbox.try_push(7).unwrap();
        let returning = thread::spawn({
            let inbox = inbox.clone();
            move || {
                if let Ok(item) = inbox.try_recv() {
                    inbox.push_front(item);
                }
            }
        });
        assert_eq!(block_on(inbox.recv()), Ok(7));
        returning.join().unwrap();
    });
}

#[test]
fn every_writer_that_waits_for_room_gets_it() {
    check(|| {
        let inbox = Arc::new(Inbox::new(1, Full::Wait));
        let writers = [1, 2].map(|item| {
            let inbox = inbox.clone();
            thread::spawn(move || block_on(inbox.push(item)).unwrap())
        });
        let (first, second) = (block_on(inbox.recv()).unwrap(), block_on(inbox.recv()).unwrap());
        assert_eq!(first + second, 3);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
}

#[test]
fn a_cancelled_writer_hands_its_room_on() {
    check(|| {
        let inbox = Arc::new(Inbox::new(1, Full::Wait));
        inbox.try_push(1).unwrap();
        let fickle = thread::spawn({
            let inbox = inbox.clone();
            move || poll_once(pin!(inbox.push(2))).is_ready()
        });
        let steady = thread::spawn({
            let inbox = inbox.clone();
            move || block_on(inbox.push(3)).unwrap()
        });
        assert_eq!(inbox.try_recv(), Ok(1));
        if fickle.join().unwrap() {
            // It was in time: its item takes the room until somebody reads it.
            let first = block_on(inbox.recv()).unwrap();
            assert!(first == 2 || first == 3);
        }
        steady.join().unwrap();
    });
}

#[test]
fn closing_frees_a_writer_that_waits() {
    check(|| {
        let inbox = Arc::new(Inbox::new(1, Full::Wait));
        inbox.try_push(1).unwrap();
        let writer = thread::spawn({
            let inbox = inbox.clone();
            move || block_on(inbox.push(2))
        });
        inbox.close();
        assert!(matches!(writer.join().unwrap(), Err(PushError::Closed(2))));
        assert_eq!(inbox.try_recv(), Ok(1));
    });
}
