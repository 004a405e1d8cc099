//! The cost table: no input costs more than its share.
//!
//! The program that prints the table searches for the costliest input of each kind, and ends with an error when one is beyond its
//! bound. Times are the least of several measurements, by the clock that counts only what this thread has computed, beside an ordinary
//! input on the same machine: what else runs there does not count.

use std::process::{Command, Output};

use serde_json::Value;

fn cost(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_cost");
    Command::new(program).args(arguments).output().expect("cost runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Searches for some seconds among the inputs whose name contains this.
#[track_caller]
fn within_bounds(only: &str, seconds: &str, at_least: usize) {
    let ran = memory_within_bounds(only, seconds, at_least);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
}

/// The same, without the time of the processor.
#[track_caller]
fn memory_within_bounds(only: &str, seconds: &str, at_least: usize) -> Output {
    let ran = cost(&["--json", "--seed", "1", "--seconds", seconds, "--only", only]);
    let rows: Value = serde_json::from_slice(&ran.stdout).expect("the table is JSON");
    let rows = rows.as_array().expect("one row for each kind");
    assert!(rows.len() >= at_least, "{} rows of {only}", rows.len());
    for row in rows {
        assert!(row["tried"].as_u64() >= Some(4), "{row}");
        assert!(row["pool"].as_u64() <= Some(8 << 20), "{row}");
        let complaints = row["memory_complaints"].as_array();
        assert!(complaints.is_some_and(Vec::is_empty), "{row}");
    }
    ran
}

#[test]
fn no_handshake_frame_costs_more_than_its_share() {
    within_bounds("handshake 0", "2", 5);
}

#[test]
fn no_content_of_a_data_frame_costs_more_than_its_share() {
    within_bounds("content ", "2", 14);
}

#[test]
fn no_control_record_costs_more_than_its_share() {
    within_bounds("record ", "2", 7);
}

/// In one run, since the ordinary inputs beside which they are measured are the same.
#[test]
fn no_ping_no_trace_and_no_packet_in_clear_of_a_session_or_for_one_costs_more_than_its_share() {
    within_bounds("payload ", "4", 8);
}

/// In a build without optimisation each message of a packet costs so much beside its bytes that a packet of many one-byte messages
/// is at the bound of 20. The time is bounded by the release build of the program, in `.ci/run`.
#[test]
fn no_message_frame_holds_more_than_its_share() {
    memory_within_bounds("message frame", "4", 10);
}

#[test]
fn no_request_of_an_application_costs_more_than_its_share() {
    within_bounds("request: ", "2", 26);
}

#[test]
fn no_beacon_costs_more_than_its_share() {
    within_bounds("beacon", "1", 1);
}

#[test]
fn the_table_fits_a_terminal_and_names_the_inputs_that_were_tried() {
    let ran = cost(&["--seconds", "0.5", "--only", "content 00"]);
    let table = text(&ran.stdout);
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    for word in ["input", "ratio", "held/B", "content 00: packet", "slow", "large"] {
        assert!(table.contains(word), "no {word}:\n{table}");
    }
    let nothing = cost(&["--only", "no such input"]);
    assert!(!nothing.status.success() && text(&nothing.stderr).contains("no such input"));
}
