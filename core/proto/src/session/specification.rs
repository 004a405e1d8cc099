//! The constants of sessions in the specification, compared with their values in the code.

use super::exchange::{SESSION_PROLOGUE, SESSION_REKEY_PROLOGUE};
use super::inbound::{CROSSING, INBOUND_SESSION_LIFE};
use super::keys::{CHAIN_LABEL, SESSION_LABEL};
use super::limiter::{ADDRESS_REQUESTS, ALL_REQUESTS, GROUP_REQUESTS, NEIGHBOUR_REQUESTS, RESERVED_REQUESTS};
use super::pair::{HYBRID_LIFE, IDLE_LIFE, MAX_INBOUND, OLD_SESSION_LIFE, RESPONDER_HYBRID_LIFE};
use super::parts::{PARTIAL_MESSAGES, PARTS_LIFE};
use super::rekey::{MAX_REKEY_DELAY, REKEY_PAUSE, REKEY_TRIES, SESSION_KEY_LIFE};
use super::repetition::FIRST_DELAY;
use super::sessions::{HOLD_ATTEMPT, SESSIONS, UNPROVED};
use super::timers::{CONFIRM_TRIES, MAX_CONFIRM_DELAY, MAX_REQUEST_DELAY, REQUEST_LIFE, RESPONSES};
use crate::link::{REJECT_AFTER_FRAMES, REKEY_AFTER_FRAMES};
use crate::protocol_tests::specified;
use crate::wire::session::{
    KEM_CIPHERTEXT_LEN, KEM_KEY_LEN, MAX_MESSAGE_LEN, PART_HEADER_LEN, PART_LEN, SESSION_HEADER_LEN,
    SESSION_REKEY_LEN,
};

#[test]
fn the_specification_has_the_formats_of_sessions() {
    specified! {
        "cut into parts of {} bytes": PART_LEN;
        "a part is {} bytes long": PART_HEADER_LEN + PART_LEN;
        "length of the whole message, at most {} |": MAX_MESSAGE_LEN;
        "these {} bytes of ASCII and the 32 bytes of the responder's address": SESSION_PROLOGUE.len();
        "{} ```": SESSION_PROLOGUE;
        "| kem-key | {} |": KEM_KEY_LEN;
        "| kem-ciphertext | {} | |": KEM_CIPHERTEXT_LEN;
        "info = \"{}\" ‖ suite": SESSION_LABEL;
        "info = \"{}\", 32 bytes": CHAIN_LABEL;
        "└──────── {} bytes, authenticated ────┘": SESSION_HEADER_LEN;
        "rekey | generation 4, index 4, Noise message 1 ({}) |": SESSION_REKEY_LEN;
        "The prologue is `{}` and the generation (4 bytes). Both sides name": SESSION_REKEY_PROLOGUE;
        "the budget of {} for each key are those of links": REJECT_AFTER_FRAMES;
    }
}

#[test]
fn the_specification_has_the_constants_of_sessions() {
    assert_eq!(UNPROVED.each_host, PARTIAL_MESSAGES.each_host);
    specified! {
        "keeps the parts of a message for {},": PARTS_LIFE;
        "{} messages may be in parts, {} from one host, {} from one neighbour":
            PARTIAL_MESSAGES.all, PARTIAL_MESSAGES.each_host, PARTIAL_MESSAGES.each_neighbour;
        "the same bytes, {} later, doubling to {}, for as long": FIRST_DELAY, MAX_REQUEST_DELAY;
        "after {} it makes another one": REQUEST_LIFE;
        "At most {} responses to each transmission": RESPONSES;
        "repeated after {}, doubling to {}, until a packet": FIRST_DELAY, MAX_CONFIRM_DELAY;
        "after {} it gives the session up": CONFIRM_TRIES;
        "with the same response, and keeps that for {}": INBOUND_SESSION_LIFE;
        "Of one peer {} requests are kept": MAX_INBOUND;
        "the keys before are opened for {}": OLD_SESSION_LIFE;
        "within {} after it has sent or repeated its": CROSSING;
        "own, or within {} after its own": CROSSING;
        "wait for {} when one comes, but only once": HOLD_ATTEMPT;
        "{} a second after {} at once for a neighbour and for a host, {} after {} for a network, {} after {} for all":
            NEIGHBOUR_REQUESTS.tokens, NEIGHBOUR_REQUESTS.burst,
            GROUP_REQUESTS.tokens, GROUP_REQUESTS.burst,
            ALL_REQUESTS.tokens, ALL_REQUESTS.burst;
        "each neighbour has {} a second after {} at once of its own":
            RESERVED_REQUESTS.tokens, RESERVED_REQUESTS.burst;
        "begin {} session a second, {} at once": ADDRESS_REQUESTS.tokens, ADDRESS_REQUESTS.burst;
        "{} requests may wait for their first packet, {} from one host, {} from one neighbour":
            UNPROVED.all, UNPROVED.each_host, UNPROVED.each_neighbour;
        "keeps its place for {} against": UNPROVED.turn;
        "There are {} sessions": SESSIONS.all;
        "without packets is forgotten after {}": IDLE_LIFE;
        "begins after {} of use or {} packets in either direction; keys": SESSION_KEY_LIFE, REKEY_AFTER_FRAMES;
        "is repeated after {}, doubling to {}; after {} a pause of {}": FIRST_DELAY, MAX_REKEY_DELAY, REKEY_TRIES, REKEY_PAUSE;
        "Every {} the side that began": HYBRID_LIFE;
        "does so after {} if that": RESPONDER_HYBRID_LIFE;
    }
}
