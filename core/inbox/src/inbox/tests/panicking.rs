//! A waker that panics is the fault of its own task.

use super::*;

struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("a fault of a waker");
    }
}

/// Waits with a waker that panics.
fn park_panicking<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    let waker = Waker::from(Arc::new(Panicking));
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    future
}

/// An operation that wakes readers, the number of readers that it wakes.
type Operation = (&'static str, usize, fn(&Arc<Inbox<u32>>));

#[test]
fn a_reader_whose_waker_panics_harms_neither_a_writer_nor_the_reader_behind_it() {
    let operations: [Operation; 5] = [
        ("try_push", 1, |inbox| inbox.try_push(1).unwrap()),
        ("push", 1, |inbox| assert!(Task::new(inbox, inbox.push(1)).poll().is_ready())),
        ("try_push_batch", 2, |inbox| assert_eq!(inbox.try_push_batch(&mut vec![1, 2]), Ok(2))),
        ("push_front", 1, |inbox| inbox.push_front(1)),
        ("close", 2, |inbox| assert!(inbox.close())),
    ];
    for (name, wakes, operation) in operations {
        let inbox = inbox(10, Full::Wait);
        let broken = park_panicking(inbox.recv());
        let mut sound = Task::parked(&inbox, inbox.recv());
        operation(&inbox);
        assert_eq!(sound.wakes(), wakes - 1, "{name}");
        // The reader that was not woken leaves, and hands its wake on.
        drop(broken);
        assert_eq!(sound.wakes(), 1, "{name}");
        assert!(sound.poll().is_ready(), "{name}");
    }
}

#[test]
fn a_writer_whose_waker_panics_harms_neither_a_reader_nor_the_writer_behind_it() {
    let inbox = inbox(2, Full::Wait);
    inbox.try_push_batch(&mut vec![1, 2]).unwrap();
    let broken = park_panicking(inbox.push(3));
    let mut sound = Task::parked(&inbox, inbox.push(4));
    assert_eq!(inbox.try_recv_batch(&mut Vec::new(), 2), Ok(2));
    assert_eq!(sound.wakes(), 1);
    drop(broken);
    assert!(sound.poll().is_ready());
}
