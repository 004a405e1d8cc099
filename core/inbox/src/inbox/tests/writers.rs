//! Writes to a full inbox, under each of its policies.

use super::*;

fn sized(items: usize, bytes: usize, full: Full) -> Arc<Inbox<u32>> {
    Arc::new(Inbox::with_bytes(items, bytes, |item| *item as usize, full))
}

#[test]
fn a_full_inbox_drops_its_oldest_under_that_policy() {
    let inbox = inbox(2, Full::DropOldest);
    for item in 1..=3 {
        inbox.try_push(item).unwrap();
    }
    let mut batch = vec![4, 5, 6];
    assert_eq!(inbox.try_push_batch(&mut batch), Ok(3));
    assert!(batch.is_empty());
    assert_eq!((inbox.try_recv(), inbox.try_recv(), inbox.len()), (Ok(5), Ok(6), 0));
    let counters = Counters { pushed: 6, evicted: 4, received: 2, ..Counters::default() };
    assert_eq!(inbox.counters(), counters);
}

#[test]
fn a_full_inbox_refuses_the_newest_under_that_policy() {
    let inbox = inbox(2, Full::RefuseNewest);
    let mut batch = vec![1, 2, 3];
    assert_eq!(Task::new(&inbox, inbox.push_batch(&mut batch)).poll(), Poll::Ready(Ok(2)));
    assert_eq!(batch, [3]);
    assert_eq!(inbox.try_push(3), Err(PushError::Full(3)));
    assert_eq!(Task::new(&inbox, inbox.push(3)).poll(), Poll::Ready(Err(PushError::Full(3))));
    assert_eq!(inbox.counters().refused, 3);
}

#[test]
fn a_writer_waits_for_room_and_is_woken_by_the_reader_that_makes_it() {
    let inbox = inbox(1, Full::Wait);
    inbox.try_push(1).unwrap();
    assert_eq!(inbox.try_push(9), Err(PushError::Full(9)));
    let mut first = Task::parked(&inbox, inbox.push(2));
    let mut second = Task::parked(&inbox, inbox.push(3));
    assert_eq!(inbox.try_recv(), Ok(1));
    assert_eq!((first.wakes(), second.wakes()), (1, 0), "room for one");
    assert_eq!(first.poll(), Poll::Ready(Ok(())));
    assert_eq!(inbox.try_recv(), Ok(2));
    assert_eq!(second.wakes(), 1);
    assert_eq!(second.poll(), Poll::Ready(Ok(())));
    assert_eq!(inbox.counters().pushed, 3);
}

#[test]
fn a_cancelled_write_has_written_nothing_and_hands_its_wake_on() {
    let inbox = inbox(1, Full::Wait);
    inbox.try_push(1).unwrap();
    let mut first = Task::parked(&inbox, inbox.push(2));
    let mut second = Task::parked(&inbox, inbox.push(3));
    assert_eq!(inbox.try_recv(), Ok(1));
    first.cancel();
    assert_eq!(second.wakes(), 1);
    assert_eq!(second.poll(), Poll::Ready(Ok(())));
    assert_eq!((inbox.try_recv(), inbox.len()), (Ok(3), 0));
}

#[test]
fn a_batch_larger_than_the_inbox_goes_through_in_parts() {
    let inbox = inbox(3, Full::Wait);
    let mut items: Vec<u32> = (0..8).collect();
    let mut writer = Task::parked(&inbox, inbox.push_batch(&mut items));
    let mut read = Vec::new();
    while read.len() < 8 {
        inbox.try_recv_batch(&mut read, 10).unwrap();
        let done = writer.poll();
        assert_eq!(done.is_ready(), read.len() >= 5, "done once the rest fits");
        if done.is_ready() {
            assert_eq!(done, Poll::Ready(Ok(8)));
            inbox.try_recv_batch(&mut read, 10).unwrap();
        }
    }
    assert_eq!(read, (0..8).collect::<Vec<_>>());
}

#[test]
fn a_cancelled_batch_leaves_what_it_has_not_written() {
    let inbox = inbox(3, Full::Wait);
    let mut items: Vec<u32> = (0..8).collect();
    let mut writer = Task::parked(&inbox, inbox.push_batch(&mut items));
    writer.cancel();
    drop(writer);
    assert_eq!((inbox.len(), items), (3, vec![3, 4, 5, 6, 7]));
}

#[test]
fn bytes_are_bounded_and_an_item_that_can_never_fit_is_refused_as_such() {
    let inbox = sized(100, 10, Full::Wait);
    assert_eq!(inbox.try_push(11), Err(PushError::TooLarge(11)));
    inbox.try_push(6).unwrap();
    assert_eq!(inbox.try_push(5), Err(PushError::Full(5)));
    let mut batch = vec![2, 50, 1, 9, 1];
    assert_eq!(inbox.try_push_batch(&mut batch), Ok(2));
    assert_eq!((inbox.bytes(), &batch[..]), (9, &[9, 1][..]), "in order: a small item does not overtake");
    assert_eq!((inbox.counters().too_large, inbox.counters().refused), (2, 3));
    let mut read = Vec::new();
    inbox.try_recv_batch(&mut read, 2).unwrap();
    assert_eq!((read, inbox.bytes()), (vec![6, 2], 1));
}

#[test]
fn as_many_old_items_go_as_the_new_one_needs_bytes() {
    let inbox = sized(100, 10, Full::DropOldest);
    inbox.try_push_batch(&mut vec![3, 3, 4]).unwrap();
    inbox.try_push(5).unwrap();
    assert_eq!((inbox.bytes(), inbox.counters().evicted, inbox.try_recv()), (9, 2, Ok(4)));
}

#[test]
fn an_item_given_back_is_the_next_and_exempt_from_the_bound() {
    let inbox = inbox(1, Full::Wait);
    inbox.try_push(1).unwrap();
    assert_eq!(inbox.try_recv(), Ok(1));
    inbox.try_push(2).unwrap();
    inbox.push_front(1);
    assert_eq!(inbox.len(), 2);
    let writer = Task::parked(&inbox, inbox.push(3));
    assert_eq!(inbox.try_recv(), Ok(1));
    assert_eq!(writer.wakes(), 0, "still full");
    assert_eq!(inbox.try_recv(), Ok(2));
    assert_eq!(writer.wakes(), 1);
    inbox.close();
    inbox.push_front(2);
    assert_eq!((inbox.try_recv(), inbox.counters().given_back), (Ok(2), 2));
}

#[test]
fn small_items_do_not_keep_a_large_one_out_for_ever() {
    let inbox = sized(100, 10, Full::Wait);
    inbox.try_push_batch(&mut vec![2, 2, 2, 2]).unwrap();
    let mut large = Task::parked(&inbox, inbox.push(9));
    assert_eq!(inbox.try_push(2), Err(PushError::Full(2)), "not past the writer that waits");
    let mut small = Task::parked(&inbox, inbox.push(1));
    for _ in 0..4 {
        assert_eq!((large.wakes(), small.wakes()), (0, 0));
        inbox.try_recv().unwrap();
    }
    assert_eq!((large.wakes(), small.wakes()), (1, 1), "room for both");
    assert_eq!(inbox.try_push(2), Err(PushError::Full(2)), "the room of the woken large one is reserved");
    assert_eq!(small.poll(), Poll::Ready(Ok(())));
    assert_eq!(large.poll(), Poll::Ready(Ok(())));
    assert_eq!(inbox.bytes(), 10);
}

#[test]
fn a_large_one_that_gives_up_lets_the_small_ones_in() {
    let inbox = sized(100, 10, Full::Wait);
    inbox.try_push(4).unwrap();
    let mut large = Task::parked(&inbox, inbox.push(9));
    let mut small = Task::parked(&inbox, inbox.push(1));
    large.cancel();
    assert_eq!(small.wakes(), 1);
    assert_eq!(small.poll(), Poll::Ready(Ok(())));
}

#[test]
fn a_writer_whose_room_was_taken_gives_its_room_to_an_earlier_one_that_fits() {
    let inbox = sized(3, 10, Full::Wait);
    inbox.try_push_batch(&mut vec![1, 9]).unwrap();
    let mut small = Task::parked(&inbox, inbox.push(1));
    let mut large = Task::parked(&inbox, inbox.push(8));
    inbox.try_recv().unwrap();
    inbox.try_recv().unwrap();
    assert_eq!((small.wakes(), large.wakes()), (1, 1));
    // Other writers are faster, so that the small one returns to its place in line before the large one.
    inbox.try_push_batch(&mut vec![0, 0, 0]).unwrap();
    assert!(small.poll().is_pending());
    inbox.try_recv().unwrap();
    inbox.try_push(2).unwrap();
    inbox.try_recv().unwrap();
    inbox.try_recv().unwrap();
    assert_eq!(small.wakes(), 1, "the room is reserved for the large one, which was woken");
    // An item that was given back is exempt from the bounds, so the reserved room is gone when the large one runs.
    inbox.push_front(1);
    assert!(large.poll().is_pending());
    assert_eq!(small.wakes(), 2);
    assert_eq!(small.poll(), Poll::Ready(Ok(())));
}

#[test]
fn a_deferred_write_is_readable_at_once_and_wakes_when_the_writer_drops_the_wake() {
    let inbox = inbox(1, Full::DropOldest);
    let mut reader = Task::parked(&inbox, inbox.recv());
    let (result, first) = inbox.try_push_deferred(1);
    let (_, second) = inbox.try_push_deferred(2);
    assert_eq!((result, inbox.len(), reader.wakes()), (Ok(()), 1, 0));
    drop((first, second));
    assert_eq!((reader.wakes(), reader.poll()), (1, Poll::Ready(Ok(2))));
    assert_eq!(inbox.counters().evicted, 1);
}

#[test]
fn a_deferred_write_without_room_is_handed_back_and_counted() {
    let inbox = inbox(1, Full::RefuseNewest);
    inbox.try_push(1).unwrap();
    assert_eq!(inbox.try_push_deferred(2).0, Err(PushError::Full(2)));
    inbox.close();
    assert_eq!(inbox.try_push_deferred(3).0, Err(PushError::Closed(3)));
    assert_eq!((inbox.counters().refused, inbox.counters().after_close), (1, 1));
}
