//! What the specification says of the constants of conversations, with their values taken from the code.

use super::{CONFIRM_DELAY, FORGOTTEN, INITIAL_CREDIT, INITIAL_MESSAGES, QUIET, RECEIPT_DELAY, WINDOW};
use super::{fill, meeting, outcome, ranges, rtt, transmit};
use crate::protocol_tests::specified;

#[test]
fn the_specification_has_the_constants_of_conversations() {
    specified! {
        "it is {} and {} messages": INITIAL_CREDIT, INITIAL_MESSAGES;
        "At most {} sequences from the floor": WINDOW;
        "{} after if a *last* came": RECEIPT_DELAY;
        "After {} without a packet of the sender": CONFIRM_DELAY;
        "else within {}": rtt::MAX_ACK_DELAY;
        "of {} ranges of numbers the oldest": ranges::KEPT;
        "first round trip {}": rtt::INITIAL;
        "none below {} bytes": fill::SMALLEST_CUT;
        "After {} probe time-outs packets are at most {} bytes, after two more, or if they were no longer, {}":
            transmit::BLACK_HOLE, transmit::SMALLER_PACKETS[0], transmit::SMALLER_PACKETS[1];
        "a long one is tried after {}, doubling to {}": transmit::FIRST_RAISE, transmit::LAST_RAISE;
        "at least {} apart": meeting::GREETING_INTERVAL;
        "and {} have passed, in which a packet on its way arrives or is lost; after {} in any case": QUIET, FORGOTTEN;
        "counts as {} lost": outcome::VERDICT;
        "at least {} after the first, counts": outcome::SILENCE_EVERY;
    }
}
