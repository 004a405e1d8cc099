//! The inbox of frames when it is full.

use super::*;
use crate::node::neighbour::{SHORT_FRAME, SHORT_FRAME_PART};
use crate::node::state::neighbour::INBOX_BYTES;

/// That many frames of this length.
fn frames(count: usize, length: usize) -> Vec<BytesMut> {
    vec![BytesMut::zeroed(length); count]
}

#[test]
fn long_frames_leave_a_part_of_the_inbox_to_short_ones() {
    let (_shared, neighbour, _link) = silent_neighbour();
    let (reserve, most) = (1024 / SHORT_FRAME_PART, 1024 - 1024 / SHORT_FRAME_PART);
    for _ in 0..3 {
        neighbour.push_frames(&mut frames(256, 1200));
    }
    let mut mixed = frames(256, 1200);
    mixed.insert(255, BytesMut::zeroed(100));
    mixed.push(BytesMut::zeroed(SHORT_FRAME));
    assert_eq!(
        neighbour.push_frames(&mut mixed),
        256 - (most as u64 - 768),
        "the long ones beyond the bound"
    );
    assert!(mixed.is_empty());
    assert_eq!(neighbour.inbox.len(), most + 2, "both short ones have a place");
    assert_eq!(neighbour.push_frames(&mut frames(1, SHORT_FRAME + 1)), 1);
    assert_eq!(neighbour.push_frames(&mut frames(reserve, 100)), 2, "short ones use all that is left");
    assert_eq!(neighbour.inbox.len(), 1024);
}

#[test]
fn the_longest_frames_leave_bytes_to_short_ones() {
    let (_shared, neighbour, _link) = silent_neighbour();
    neighbour.push_frames(&mut frames(1000, 9000));
    let held = neighbour.inbox.bytes();
    assert!(held <= INBOX_BYTES - INBOX_BYTES / SHORT_FRAME_PART, "{held}");
    assert!(held + 9000 > INBOX_BYTES - INBOX_BYTES / SHORT_FRAME_PART, "{held}");
    assert_eq!(neighbour.push_frames(&mut frames(256, 100)), 0);
}

#[test]
fn a_full_inbox_counts_the_frames_that_find_no_room_and_a_closed_one_all() {
    let (_shared, neighbour, _link) = silent_neighbour();
    assert_eq!(neighbour.push_frames(&mut frames(1100, 100)), 76);
    neighbour.close_inbox();
    assert_eq!(neighbour.push_frames(&mut frames(7, 100)), 7);
}
