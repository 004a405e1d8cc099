//! Commands on a terminal of 80 columns, and beside it the same commands in a pipe.

use rouse_tests::{Daemon, on_terminal, programs, until};

const COLUMNS: u16 = 80;

fn short(address: &str) -> String {
    format!("{}…{}", &address[..12], &address[address.len() - 4..])
}

/// Runs a command on a terminal, and checks that no line is wider than it.
#[track_caller]
fn shown(daemon: &Daemon, arguments: &[&str]) -> String {
    let (text, _) = on_terminal(&mut daemon.command(arguments), COLUMNS);
    for line in text.lines() {
        // A daemon that is not traced colours only words, whose marks have no width.
        let visible = line.split("\u{1b}[").map(|part| part.split_once('m').map_or(part, |(_, rest)| rest));
        let width = if line.contains('\u{1b}') {
            visible.map(|part| part.chars().count()).sum()
        } else {
            line.chars().count()
        };
        assert!(width <= usize::from(COLUMNS), "{arguments:?} prints {width} columns:\n{text}");
    }
    text
}

#[test]
fn a_message_looks_like_no_line_of_the_command() {
    let (first, second) = programs!().pair();
    let forged = format!(
        "hi\n{0}\tpay\r{0}\tpay\u{1b}[A\u{202e}{0}\tpay{1}{0}\tpay",
        second.address(),
        " ".repeat(70)
    );
    second.text(&["send", first.address(), &forged]);
    let piped = first.text(&["recv", "--timeout", "60s"]);
    assert_eq!(piped.lines().count(), 1, "{piped}");
    assert!(
        piped.starts_with(&format!("{}\thi\\n{}\\tpay\\r", second.address(), second.address())),
        "{piped}"
    );
    assert!(!piped.contains(['\u{1b}', '\u{202e}', '\r']), "{piped}");

    second.text(&["send", first.address(), &forged]);
    let text = shown(&first, &["recv", "--timeout", "60s"]);
    let begins = |line: &&str| line.starts_with("rouse1");
    assert_eq!(text.lines().filter(begins).count(), 1, "{text}");
    assert!(!text.contains(['\u{1b}', '\u{202e}', '\r']), "{text}");

    second.text(&["send", first.address(), &forged]);
    let raw = first.rouse(&["recv", "--raw", "--timeout", "60s"]).exits(0).stdout;
    assert_eq!(raw, forged.as_bytes(), "--raw changes nothing");
    second.text(&["send", first.address(), &forged]);
    assert_eq!(first.json(&["recv", "--timeout", "60s"])["text"], forged.as_str());
}

#[test]
fn a_name_from_a_file_or_an_argument_looks_like_no_line_of_the_command() {
    let programs = programs!();
    let daemon = programs.daemon().start();
    let address = daemon.address().to_owned();
    let mut daemon = daemon;
    daemon.text(&["stop"]);
    daemon.process().end();
    let names = format!("[names]\n\"a\\nb\\u202e\" = \"{address}\"\n");
    std::fs::write(daemon.state().join("names.toml"), names).unwrap();
    let daemon = programs.daemon().state_of(&daemon).start();
    let list = daemon.text(&["name", "list"]);
    assert_eq!(list.lines().count(), 2, "{list}");
    daemon.text(&["send", &address, "x"]);
    assert_eq!(daemon.text(&["recv", "--timeout", "60s"]), "a\\nb\\u202e\tx");
    let error = daemon.rouse(&["ping", "x\nrouse: done\u{1b}[A\u{202e}"]).exits(2).stderr;
    assert_eq!(error.lines().count(), 2, "the message and the hint: {error}");
    assert!(!error.contains(['\u{1b}', '\u{202e}']), "{error}");
}

#[test]
fn every_table_fits_into_80_columns_and_is_complete_in_a_pipe() {
    let (first, second) = programs!().pair();
    first.text(&["id", "new", "a-label-that-is-longer-than-most-labels-are-in-practice"]);
    first.text(&["name", "add", "kitchen", second.address()]);
    first.text(&["peer", "add", "udp:[2001:db8:1234:5678:9abc:def0:1234:5678]:65535"]);
    until("the round trip is measured", || first.neighbour(second.address())["rtt_ms"].as_f64());
    for arguments in [
        &["peers"][..],
        &["routes"],
        &["status"],
        &["id", "list"],
        &["name", "list"],
        &["peer", "list"],
        &["ping", "kitchen"],
        &["trace", "kitchen"],
    ] {
        let text = shown(&first, arguments);
        assert!(!text.is_empty(), "{arguments:?}");
    }
    assert!(shown(&first, &["status"]).lines().any(|line| line == "name first"));
    for arguments in [&["peers"][..], &["routes"], &["name", "list"], &["trace", "kitchen"]] {
        assert!(shown(&first, arguments).contains(&short(second.address())), "{arguments:?}");
        assert!(first.text(arguments).contains(second.address()), "{arguments:?} in a pipe");
    }
}

#[test]
fn a_shortened_address_is_taken_for_the_address() {
    let (first, second) = programs!().pair();
    let shortened = short(second.address());
    let dotted = shortened.replace('…', "...");
    for text in [&shortened, &dotted] {
        assert_eq!(first.json(&["routes", text])[0]["destination"], second.address());
        first.text(&["ping", text]);
        first.text(&["trace", text]);
        first.text(&["send", text, "x"]);
        assert_eq!(
            second.json(&["recv", "--from", &short(first.address()), "--timeout", "60s"])["text"],
            "x"
        );
    }
    first.text(&["name", "add", "friend", &shortened]);
    assert_eq!(first.json(&["name", "list"])[0]["address"], second.address());
    let unknown = first.rouse(&["--json", "send", "rouse1qqqqqq…qqqq", "x"]).exits(2);
    assert_eq!(unknown.error()["code"], "unknown_address");
}

#[test]
fn an_error_fits_into_80_columns() {
    let daemon = programs!().daemon().start();
    let text = shown(&daemon, &["send", "bob", "x"]);
    assert!(text.starts_with("rouse: "), "{text}");
    shown(&daemon, &["send", &format!("{}x", daemon.address()), "x"]);
    shown(&daemon, &["peer", "add", "udp:a-host-without-a-port-and-a-name-that-is-long.example"]);
}
