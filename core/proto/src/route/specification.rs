//! The constants of routing in the specification, with their values taken from the code.

use super::{
    RouterConfig, accounts, advertise, destination, flap_history, metric, neighbour, neighbour_events,
    origin, quota, score, scoring, select, seqno_relay, seqno_request, sweep, verify,
};
use crate::protocol_tests::specified;

#[test]
fn the_specification_has_the_constants_of_reception_and_selection() {
    specified! {
        "senders pack up to {}": neighbour::PACKED_SIZE;
        "forgotten {} after its last announce expired": std::time::Duration::from_secs(sweep::GRACE.into());
        "better by an eighth for {}": select::SWITCH_DELAY;
        "better by a sixteenth for {}, counted": select::SLIGHT_SWITCH_DELAY;
        "one such destination every {} s, {} at once": select::LOW_GAIN_TOKENS, select::LOW_GAIN.burst / select::LOW_GAIN_TOKENS;
        "it is asked for as well, at most every {}": select::BETTER_REQUEST_INTERVAL;
        "the last {} attempts for each destination and relay that loses ({} pairs)": score::WINDOW, scoring::MAX_SCORES;
        "If fewer than {} arrived, the route counts {} times its metric": score::MIN_ARRIVED, score::PENALTY;
        "It ends early if {} of {} arrived": score::RECOVERED, score::WINDOW;
        "for {}, and twice as long each time that it happens again within {}": score::PENALTY_TIME, score::MAX_PENALTY_TIME;
        "goes down within {} of the verdict": score::LINK_FAILURE_WINDOW;
    }
}

#[test]
fn the_specification_has_the_constants_of_advertising() {
    specified! {
        "a batch that leaves {} to {} after the first change": advertise::BATCH.0.as_millis() as u64, advertise::BATCH.1;
        "not before {} after the last loss": destination::HOLD_DOWN;
        "that came within {} of the one before": destination::LOSS_MEMORY;
        "{} apart, doubling to {}": advertise::HOLD, advertise::MAX_HOLD;
        "at a random time in the next {}": advertise::RENEWAL_SPREAD;
        "learnt less than {} s ago": advertise::OFFER_AGE;
        "{} records every {}": advertise::CHUNK, advertise::CHUNK_INTERVAL;
        "went down {} times": flap_history::FLAPS_BEFORE_PROBATION;
        "for {} for each failure from the third on": flap_history::PROBATION;
        "it receives the table only after {}": neighbour_events::PROBATION_DUMP_DELAY;
        "answers to WANT take {} of that at most, and renewals {}":
            share(advertise::DUMP_SHARE), share(advertise::RENEWAL_SHARE);
    }
}

#[test]
fn the_specification_has_the_constants_of_seqno_requests_and_of_origins() {
    let config = RouterConfig::default();
    specified! {
        "It goes at once to {} of the neighbours": seqno_request::FAN_OUT;
        "again after {}, doubling to {}": seqno_request::RETRY, seqno_request::MAX_RETRY;
        "From the {} repetition on": nth(seqno_request::RESTART_SUSPECTED as u64);
        "and {} have passed since the last request": seqno_relay::RELAY_INTERVAL;
        "remembers the requester for {} ({} of them": seqno_relay::REQUESTER_TIME, seqno_relay::MAX_REQUESTERS;
        "not among the last {} seen": seqno_relay::MAX_IDS;
        "({} a second, {} at once)": origin::RAISE.tokens, origin::RAISE.burst;
        "({} at once) it advertises it to all its other neighbours": origin::ADVERTISE_RAISED.burst;
        "After {} jumps within {}": origin::MAX_JUMPS, origin::JUMP_WINDOW;
        "does not jump for {}": origin::YIELD;
        "| lifetime | 2 | seconds that it is good for; here {} |": config.lifetime;
        "(counter + 1) every {}": config.refresh;
    }
}

#[test]
fn the_specification_has_the_constants_of_quotas() {
    let config = RouterConfig::default();
    specified! {
        "may introduce {} a second, {} at once": config.new_per_second, config.new_burst;
        "its idx is noted ({} for a neighbour)": neighbour::MAX_NOTED;
        "For each neighbour {} are verified a second, {} at once":
            accounts::SIGNATURES.tokens, accounts::SIGNATURES.burst;
        "one that does not hold counts as {}": verify::FORGED;
        "{} announces of a neighbour may wait for that, and {} YOUR_HIGHEST": verify::MAX_PENDING, verify::MAX_HIGHEST;
        "For each neighbour {} rounds of hop chains are computed a second, {} at once": accounts::HASHES.tokens, accounts::HASHES.burst;
        "a proof that does not hold counts as {} more": accounts::FALSE_PROOF;
        "for a twentieth of the time, {} a second at once": share(u64::from(1_000_000 / accounts::TIME.burst));
        "a configured one for {} times that": accounts::CONFIGURED_TIME;
        "its host, of {} times as much": accounts::HOST;
        "(for IP the /24 or /64), of {} times as much": accounts::NETWORK;
        "{} quotas that are not full are remembered": accounts::MAX_ACCOUNTS;
        "has a {}nd part of each of these quotas in reserve": accounts::RESERVE;
        "The reserves of {} links come to the quota of one network, and of {} to that of one host":
            accounts::RESERVE * accounts::NETWORK, accounts::RESERVE * accounts::HOST;
        "their reserves of {} a second": accounts::SIGNATURES.tokens / accounts::RESERVE;
        "at least {} proofs of full length a second": accounts::HASHES.tokens / accounts::RESERVE / u32::from(metric::MAX_HOPS);
        "reserves of a {}th of the time": 1_000_000 / accounts::TIME.tokens * accounts::RESERVE;
        "- **Table.** {} destinations, and never more than {}": config.destinations, RouterConfig::MAX_DESTINATIONS;
        "its FD kept for {} more": quota::EVICTION_HOLD;
        "have learnt of that; {} of these at most": quota::MAX_EVICTED;
    }
}
