//! A check that the specification contains the constants of dialling, with the values of the code.

use std::time::Duration;

use super::limits::{ANSWER, ENDPOINTS, FORGET, STAGGER};
use super::linked::GOODBYE_REST;
use super::{DIAL_ON_MEDIUM, HEARD, ORDER, backoff};
use crate::peering::NEIGHBOURS;
use crate::peering::sessions::SETTLING;
use crate::protocol_tests::specified;

#[test]
fn the_specification_has_the_constants_of_dialling() {
    specified! {
        "heard on one medium in the last {}": FORGET;
        "there are places: {}, of which each link holds one, and each dial for its first {}": DIAL_ON_MEDIUM, ANSWER;
        "neighbours as it is configured for, {} by default": NEIGHBOURS;
        "or within the {} before the answer": SETTLING;
        "comes in the first {} of the session while it is in use": SETTLING;
        "the number of the running {}": Duration::from_micros(ORDER);
        "It remembers {} instances, with {} endpoints each": HEARD, ENDPOINTS;
        "dialled {} apart until one answers": STAGGER;
        "the next try comes in {}, doubling to {}": backoff::FIRST_RETRY, backoff::LAST_RETRY;
        "that sent a goodbye is dialled again {} later": GOODBYE_REST;
        "heard and sent a goodbye {} later": backoff::LAST_REST;
        "dials again after {}, doubling to {}": backoff::FIRST_REFUSED, backoff::LAST_REFUSED;
        "link has lived {}": backoff::LIVED;
        "only {} after its begin, each further time twice as long after it, up to {}": backoff::FIRST_RETRY, backoff::LAST_REST;
        "the next is dialled at once, but not within {} of its begin": backoff::CUT_REST;
    }
}
