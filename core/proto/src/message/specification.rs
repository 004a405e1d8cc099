//! The constants of conversations in the specification, compared with their values in the code.

use super::{
    CONFIRM_DELAY, INITIAL_MESSAGES, MAX_PACKET_AGE, MAX_SILENCE, RECEIPT_DELAY, WINDOW,
    config::INITIAL_CREDIT,
};
use super::{incoming, outcome, packet_builder, packet_size, ranges, reassembly, recovery, rtt};
use crate::protocol_tests::specified;
use crate::wire::message::{MAX_FRAMES, MAX_MESSAGES, NUMBERS_END};
use crate::wire::session::SEAL;

#[test]
fn the_specification_has_the_constants_of_conversations() {
    specified! {
        "it is {} and {} messages": INITIAL_CREDIT, INITIAL_MESSAGES;
        "At most {} sequences from the floor": WINDOW;
        "{} after if a *last* came": RECEIPT_DELAY;
        "After {} without a packet of the sender": CONFIRM_DELAY;
        "else within {}": rtt::MAX_ACK_DELAY;
        "of {} ranges of numbers the oldest": ranges::MAX_RANGES;
        "first round trip {}": rtt::INITIAL;
        "none below {} bytes": packet_builder::SMALLEST_CUT;
        "After {} probe time-outs packets are at most {} bytes, after two more, or if they were no longer, {}":
            packet_size::BLACK_HOLE, packet_size::SMALLER_PACKETS[0] + SEAL, packet_size::SMALLER_PACKETS[1] + SEAL;
        "a long one is tried after {}, doubling to {}": packet_size::FIRST_RAISE, packet_size::LAST_RAISE;
        "at most {} pieces below {} bytes": reassembly::MAX_SMALL_PIECES, reassembly::SMALL_PIECE;
        "{} times its length besides the bodies": incoming::STRUCTURE_FACTOR;
        "`number` and `floor` are below {};": NUMBERS_END;
        "reserved on the disk {} at a time": super::queue::RESERVE_AHEAD;
        "to the end of the packet, {} at most": MAX_FRAMES;
        "more than {} frames, or more than {} messages that come whole": MAX_FRAMES, MAX_MESSAGES;
        "at most {} packets that ask for an ack": recovery::MAX_OPEN_PACKETS;
        "and {} have passed, in which a packet on its way arrives or is lost; after {} in any case": MAX_PACKET_AGE, MAX_SILENCE;
        "counts as {} lost": outcome::VERDICT;
        "at least {} after the first, counts": outcome::SILENCE_EVERY;
        "at most {} of one congestion event": outcome::OF_A_ROUND;
        "one more time-out for each {}th, whole or begun, that was lost of the last {} to {} packets":
            outcome::SHARE, outcome::ENOUGH / 2, outcome::ENOUGH;
        "those of the peer by gaps in their numbers), {} more at most": outcome::MORE_TIMEOUTS;
    }
}
