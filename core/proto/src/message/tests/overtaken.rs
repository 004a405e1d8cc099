//! A message that is sent whole first, then in parts because its packet is taken for lost: the packet arrives after them.

use super::hostile::{SESSION, fragment, packet, recipient};
use crate::message::*;
use crate::stats::DropCause;
use crate::wire::message as wire;

const LENGTH: usize = 600;

/// The message with this sequence, whole.
fn whole(number: u64, above: u16) -> Bytes {
    packet(number, |out| {
        let count = wire::write_messages(above, Timestamp(0), out);
        wire::write_entry(0, &[1; LENGTH], out);
        wire::patch_count(count, 1, out);
    })
}

fn half(number: u64, above: u16, which: u32) -> Bytes {
    fragment(number, above, LENGTH as u32, which * LENGTH as u32 / 2, LENGTH / 2)
}

#[test]
fn a_message_that_is_complete_from_parts_survives_a_late_copy_in_one_piece() {
    // The next message, and one behind it.
    for above in [0, 1] {
        let mut to = recipient();
        for number in 0..2 {
            assert_eq!(to.handle(Time::ZERO, &SESSION, &half(number, above, number as u32)), Ok(()));
        }
        assert_eq!(to.handle(Time::ZERO, &SESSION, &whole(2, above)), Ok(()));
        assert_eq!(to.incoming.bytes(), LENGTH, "the copy changes nothing");
        if above == 1 {
            assert_eq!(to.handle(Time::ZERO, &SESSION, &whole(3, 0)), Ok(()));
            assert!(to.next_message(Timestamp(0)).is_some());
        }
        assert_eq!(to.next_message(Timestamp(0)).unwrap().body[..], [1; LENGTH]);
    }
}

#[test]
fn a_copy_in_one_piece_that_is_refused_leaves_the_parts_that_were_acknowledged() {
    let mut to = recipient();
    assert_eq!(to.handle(Time::ZERO, &SESSION, &half(0, 1, 0)), Ok(()));
    let held = to.incoming.held();
    // The node has no room for the whole of it at this moment.
    to.set_room(LENGTH / 2);
    assert_eq!(to.handle(Time::ZERO, &SESSION, &whole(1, 1)), Err(DropCause::ReassemblyLimit));
    assert_eq!((to.incoming.bytes(), to.incoming.held()), (LENGTH / 2, held));
    to.set_room(usize::MAX);
    assert_eq!(to.handle(Time::ZERO, &SESSION, &half(2, 1, 1)), Ok(()));
    assert_eq!(to.handle(Time::ZERO, &SESSION, &whole(3, 0)), Ok(()));
    assert!(to.next_message(Timestamp(0)).is_some());
    assert_eq!(to.next_message(Timestamp(0)).unwrap().body[..], [1; LENGTH]);
}

#[test]
fn a_copy_in_one_piece_takes_the_place_of_parts_that_are_not_complete() {
    let mut to = recipient();
    assert_eq!(to.handle(Time::ZERO, &SESSION, &half(0, 0, 1)), Ok(()));
    assert_eq!(to.handle(Time::ZERO, &SESSION, &whole(1, 0)), Ok(()));
    assert_eq!(to.incoming.bytes(), LENGTH);
    assert_eq!(to.next_message(Timestamp(0)).unwrap().body[..], [1; LENGTH]);
    assert!(to.incoming.is_empty());
}
