//! Each example does what its first lines describe.

use std::process::Command;

use rouse_tests::{Output, Programs, Running, built_program};

fn run(program: &str) -> String {
    Output::of(&mut Command::new(program)).exits(0).text()
}

#[test]
fn the_client_sends_to_itself_and_to_other_nodes_through_the_daemon() {
    let programs = Programs::new(built_program("roused", "roused"), built_program("roused", "rouse"));
    let daemon = programs.daemon().start();
    let client = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
        Output::of(command.args(arguments).env("ROUSE_SOCKET", daemon.socket()))
    };
    let output = client(&[]).exits(0).text();
    assert!(output.contains(daemon.address()) && output.contains("wrote: hello, daemon"), "{output}");

    let other = programs.daemon().peer(&daemon.uri()).start();
    let mut receiver = other.start(&["--json", "recv", "--timeout", "60s"]);
    assert!(client(&[other.address(), "dinner is ready"]).exits(0).text().contains("delivered in"));
    assert_eq!(receiver.json_where(|_| true)["text"], "dinner is ready");
    client(&["not an address", "x"]).exits(1);
}

#[test]
fn two_participants_chat_in_a_room_and_one_in_another_room_receives_nothing() {
    let chat = |name: &str, room: &str, peer: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chat"));
        command.args([name, "--room", room, "--listen", "127.0.0.1:0"]);
        if let Some(peer) = peer {
            command.args(["--peer", peer]);
        }
        let mut chat = Running::start(&mut command);
        let listening = chat.line_where(|line| line.contains("listening at"));
        (chat, listening.rsplit(' ').next().unwrap().to_owned())
    };
    let (mut ada, uri) = chat("ada", "engines", None);
    let (mut stranger, _) = chat("stranger", "kitchen", Some(&uri));
    let (mut grace, _) = chat("grace", "engines", Some(&uri));
    ada.line_where(|line| line.ends_with(" came"));
    grace.line_where(|line| line.ends_with(" came"));
    ada.write_line("is it Sunday?");
    grace.line_where(|line| line == "ada: is it Sunday?");
    grace.write_line("all day");
    ada.line_where(|line| line == "grace: all day");
    drop(grace.take_input());
    assert!(grace.end().success());
    ada.line_where(|line| line.ends_with(" left"));
    drop(stranger.take_input());
    assert!(stranger.end().success());
    assert_eq!(stranger.rest(), [] as [&str; 0]);
}

#[test]
fn an_application_with_a_node_inside_runs_on_async_std() {
    greenhouse(env!("CARGO_BIN_EXE_embed"));
}

#[test]
fn an_application_with_a_node_inside_runs_on_tokio() {
    greenhouse(env!("CARGO_BIN_EXE_embed_tokio"));
}

fn greenhouse(program: &str) {
    let output = run(program);
    assert_eq!(output.lines().count(), 4, "{output}");
    assert!(output.lines().nth(2).unwrap().ends_with("open the window"), "{output}");
}

#[test]
fn a_service_answers_requests_and_reports_what_it_cannot_do() {
    let output = run(env!("CARGO_BIN_EXE_request"));
    assert_eq!(output, "the square of 7 is 49\nthe square of 12 is 144\nno square: many is not a number");
}

#[test]
fn nodes_communicate_over_a_custom_netmod() {
    let output = run(env!("CARGO_BIN_EXE_custom_netmod"));
    assert!(output.contains("wrote: over a custom netmod") && output.contains("delivered in"), "{output}");
}
