//! Comparison of the constants of links in the specification with those of the code, so that neither changes alone.

use super::LinkConfig;
use super::control::receiver::{ACK_DELAY, MAX_STREAM};
use super::control::{MAX_BODY, MAX_MESSAGE, QUEUE, WINDOW, sender};
use super::established::ECHO_LIFE;
use super::handshake::{
    FINISH_LIFE, HOLD_FINISH, HOLD_FINISH_ELSEWHERE, INBOUND_LIFE, REPEATS, dial, limiter,
};
use super::liveness::{limits, rest};
use super::quality::{
    INITIAL_CREDIT, MAX_COST, MAX_RTT, MEMORY_FRAMES, MIN_COST, MIN_RTT_SPAN, SCALE, US_PER_COST,
};
use super::{keys, liveness, mtu, noise, path_validation, rekey, replay};
use crate::protocol_tests::specified;
use crate::rate_limit;
use crate::wire::link::{INITIATION_LEN, MAX_HANDSHAKE_LEN};

#[test]
fn the_specification_has_the_constants_of_the_handshake() {
    let config = LinkConfig::default();
    specified! {
        "**must** have at least {}": INITIATION_LEN;
        "at least 6 and at most {} bytes long": MAX_HANDSHAKE_LEN;
        "waits {} for the finish": INBOUND_LIFE;
        "for {}, or for {} if that other handshake comes from another endpoint":
            HOLD_FINISH, HOLD_FINISH_ELSEWHERE;
        "the response comes again, for {}": FINISH_LIFE;
        "its initiation {} times at most, {} apart, doubling": dial::TRIES, dial::FIRST_DELAY;
        "that has had {} without an answer gives way": dial::MIN_DIAL_TIME;
        "again {}, {} and {} later": seconds(REPEATS[0]), seconds(REPEATS[1]), REPEATS[2];
        "after {} to each initiation sent": dial::MAX_BAD_RESPONSES;
        "a secret renewed every {}": limiter::SECRET_LIFE;
        "{} endpoints and {} groups are remembered": rate_limit::MAX_KEYS, rate_limit::MAX_KEYS;
        "under load also more than {} from this host (IP address), or {} from this group":
            config.rate, config.rate * limiter::HOSTS_OF_GROUP;
        "{} a second of a host, {} at once": limiter::HOST_SESSIONS.tokens, limiter::HOST_SESSIONS.burst;
        "{} a second of an address, {} at once":
            limiter::ADDRESS_SESSIONS.tokens, limiter::ADDRESS_SESSIONS.burst;
        "{} answers wait": config.max_answers;
        "When {} of its own handshakes are under way": config.max_dials;
        "more than {} a second (at once: {}) from this endpoint": config.rate, config.rate;
        "more than {} initiations in this second or the last": config.load;
        "```text {} ```": noise::PROLOGUE;
        "info = \"{}\" ‖ suite": keys::DATA_LABEL;
    }
}

#[test]
fn the_specification_has_the_constants_of_data_frames_and_of_rekeying() {
    specified! {
        "A window of {} counters": replay::WINDOW;
        "a budget of {} frames": keys::REJECT_AFTER_FRAMES;
        "after {}, up to a tenth later, or after {} frames in either direction": rekey::KEY_LIFE, keys::REKEY_AFTER_FRAMES;
        "opens both for {}": rekey::OLD_KEY_LIFE;
        "after max({}, 2·srtt), doubling to {}; after {}, a pause of {}":
            rekey::FIRST_DELAY, rekey::MAX_DELAY, rekey::TRIES, rekey::PAUSE;
        "For {} after one that did not verify": rekey::BAD_MESSAGE_PAUSE;
        "The prologue is `{}` and the new generation": noise::REKEY_PROLOGUE;
        "as input and `{}` as info": keys::REKEY_LABEL;
    }
}

#[test]
fn the_specification_has_the_constants_of_vitals_and_liveness() {
    specified! {
        "none came in the last {}": ECHO_LIFE;
        "{} is passed over": MAX_RTT;
        "its least value of the last {} to {} is kept": MIN_RTT_SPAN.as_secs(), MIN_RTT_SPAN * 2;
        "begin with {} good frames": INITIAL_CREDIT / SCALE;
        "are {} frames or more": MEMORY_FRAMES / SCALE;
        "clamp( ({} + rttmin / {} ms) × ETX², {}, {} )":
            MIN_COST, US_PER_COST as f64 / 1000.0, MIN_COST, MAX_COST;
        "((({} + rttmin in µs) × ETX²) / 2³²) / {}, {}, {} )":
            u64::from(MIN_COST) * US_PER_COST, US_PER_COST, MIN_COST, MAX_COST;
        "every {}, give or take an eighth; {} while a link": liveness::HELLO_INTERVAL, liveness::HELLO_INTERVAL_UNCERTAIN;
        "{} after the packet, unless": liveness::ANSWER_DELAY;
        "at once, but {} apart": liveness::ANSWER_GAP;
        "max(3·srtt, {}); max(3·h, {}) before a round trip is known": liveness::ANSWER_TIMEOUT, liveness::FIRST_ANSWER_TIMEOUT;
        "when for {} no packet passed": rest::REST_AFTER;
        "after {}, then {}, then every {}, give or take an eighth":
            liveness::HELLO_INTERVAL * 2, liveness::HELLO_INTERVAL * 4, rest::HELLO_INTERVAL_AT_REST;
        "nothing came for {}, or for {} more than the last hello stated": limits::IDLE_TIMEOUT, rest::REST_MARGIN;
        "it counts as at most {}": rest::MAX_STATED;
        "max({}, srtt/2) apart; {}, or {} where": liveness::PROBE_GAP, liveness::MAX_PROBES, liveness::MAX_PROBES * 2;
        "max({}, srtt/2) apart": limits::SUSPECT_PROBE_GAP;
        "{} after it became suspect": liveness::DOWN_AFTER;
        "more than {} late | proves nothing; {} times in a row": liveness::LATE_TIMER, liveness::MAX_EXCUSES;
        "**away** {} later": liveness::CUT_TIMEOUT;
        "at once and after {} and {}, then {} later, doubling to {}":
            liveness::CUT_PROBE_GAP.as_millis() as u64, liveness::CUT_PROBE_GAP * 2, liveness::CUT_PROBE_GAP * 2, liveness::HELLO_INTERVAL;
        "After {} more of silence": liveness::AWAY_LIFE;
    }
}

#[test]
fn the_specification_has_the_constants_of_the_control_stream() {
    specified! {
        "(2 bytes, 1 to {})": MAX_MESSAGE;
        "| stream | 1…{} |": MAX_BODY;
        "At most {} segments are unacknowledged": WINDOW;
        "segments up to {} ahead": WINDOW - 1;
        "Up to {} may wait": QUEUE;
        "{} of stream unread": MAX_STREAM;
        "It acknowledges within {}": ACK_DELAY;
        "The window begins with {}": sender::INITIAL_WINDOW;
        "never below {}": sender::MIN_WINDOW;
        "lost when {} sent after it are acknowledged": sender::PACKET_THRESHOLD;
        "after srtt + 4·rttvar + {} (at least {}; {} before a round trip is known), doubling to {}":
            ACK_DELAY, sender::MIN_TIMEOUT, sender::FIRST_TIMEOUT, sender::MAX_TIMEOUT;
        "and never more than {}": sender::TIMEOUT_CEILING;
        "the oldest segment for {}, through {} time-outs": sender::GIVE_UP_AFTER, sender::GIVE_UP_TIMEOUTS;
    }
}

#[test]
fn the_specification_has_the_constants_of_the_mtu_and_of_roaming() {
    specified! {
        "The lengths tried are {}, {}, {}, {}, the base, {}, {} and the most": mtu::STEPS[0], mtu::STEPS[1], mtu::STEPS[2],
            mtu::STEPS[3], mtu::STEPS[4], mtu::STEPS[5];
        "When {} frames have been sent": mtu::WARM_UP_FRAMES;
        "Unanswered for max({}, 3·srtt), {} for a probe of the present length, it is sent again ({} before a round trip is known)":
            mtu::PROBE_TIMEOUT, mtu::CONFIRM_TIMEOUT, mtu::FIRST_PROBE_TIMEOUT;
        "a probe of the present length follows every {}": mtu::CONFIRM_INTERVAL;
        "{} lost ({} where a sixteenth": capital(mtu::MAX_PROBES), mtu::MAX_PROBES * 2;
        "When {} ({}) stay unanswered though the": mtu::CONFIRM_TRIES, mtu::MAX_PROBES * 2;
        "and the next try is in {}": mtu::RAISE_INTERVAL;
        "It is tried again after {}, doubling to {}": mtu::BLACK_HOLE_RETRY, mtu::RAISE_INTERVAL;
        "at most {} endpoints at a time, each asked at most every {}, for {}": path_validation::MAX_CHALLENGES, path_validation::CHALLENGE_GAP, path_validation::CHALLENGE_LIFE;
        "repeated after max({}, 2·srtt) without a response ({} before a round trip is known), and once more after twice that":
            path_validation::CHALLENGE_GAP, path_validation::FIRST_TIMEOUT;
    }
}
