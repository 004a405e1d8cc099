//! The arguments and the exit codes of `rouse`.

use std::time::Duration;

use super::args::{Cli, Command, ManPage, Wait};
use super::failure::CommandFailure;
use clap::{CommandFactory, Parser};
use rouse_core::ipc::{AdminError, ClientError, ConnectError, Denial};
use rouse_core::{Identity, PingError, SendError};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("rouse").chain(line.split_whitespace()))
}

#[test]
fn the_definitions_of_the_commands_are_consistent() {
    Cli::command().debug_assert();
    for page in [ManPage::Rouse, ManPage::Roused] {
        let text = String::from_utf8(super::manual::pages(page).unwrap()).unwrap();
        for section in [".SH NAME", ".SH OPTIONS", ".SH FILES", ".SH EXAMPLES", ".SH \"EXIT STATUS\""] {
            let plain = section.replace('"', "");
            assert!(text.contains(section) || text.contains(&plain), "{section} of {page:?}");
        }
    }
}

#[test]
fn every_command_of_the_interface_is_parsed() {
    for line in [
        "id",
        "id new",
        "id new label",
        "id list",
        "id remove x",
        "status --json",
        "--json status",
        "--socket /s peers",
        "--state-dir /d peers",
        "peers --state-dir /d",
        "routes",
        "routes bob",
        "send bob hello",
        "send bob -",
        "send bob --file /f",
        "send bob hello --as me --ttl 7d --wait delivered --timeout 30s",
        "send bob -- -5",
        "recv --from bob --as me --count 3 --timeout 1s --raw",
        "send bob hello --service chat --reply-to 00112233445566778899aabbccddeeff",
        "recv --service chat",
        "request bob clock now",
        "request bob clock - --as me --timeout 5s --raw",
        "request bob clock --file /f",
        "serve clock -- date -u",
        "serve clock --as me --parallel 2 -- sh -c true",
        "recv --follow",
        "ping bob",
        "ping bob -c 3",
        "ping -c 3 -i 0.2 -W 2 bob",
        "recv --timeout 5",
        "trace bob",
        "peer add udp:h:1",
        "peer remove udp:h:1",
        "peer list",
        "name add bob rouse1x",
        "name list",
        "name remove bob",
        "probe bob",
        "probe --deliver --timeout 3 bob",
        "bench bob",
        "bench bob --time 5 --size 64KiB",
        "doctor",
        "mesh new",
        "mesh new /key",
        "mesh show",
        "mesh leave",
        "watch",
        "reload",
        "stop",
        "completions bash",
        "man",
        "man roused",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn invalid_arguments_are_refused_with_exit_code_2() {
    for line in [
        "",
        "sned bob hello",
        "send bob",
        "send bob hello --file /f",
        "send bob hello --ttl soon",
        "send bob hello --wait maybe",
        "recv --count 0",
        "recv --count 2 --follow",
        "recv --raw --json",
        "recv --timeout 5x",
        "ping bob -c 0",
        "ping bob -W soon",
        "--socket /s --state-dir /d id",
        "top",
        "queue list",
        "completions cmd.exe",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn the_options_of_a_message_are_parsed() {
    let Command::Send(send) = parse("send bob hello --ttl 7d --timeout 1500ms").unwrap().command else {
        panic!()
    };
    assert_eq!(send.ttl, Some(Duration::from_secs(7 * 86400)));
    assert_eq!(send.timeout, Some(Duration::from_millis(1500)));
    assert_eq!(send.wait, Wait::Queued);
}

#[test]
fn each_failure_has_its_exit_code() {
    let address = Identity::from_seed(&[1; 32]).address();
    let denied = |denial| ClientError::Refused(AdminError::new(denial, "x", "y")).into();
    let cases: Vec<(CommandFailure, u8)> = vec![
        (ConnectError::NoDaemon { tried: vec![] }.into(), 3),
        (ConnectError::Permission("/s".into()).into(), 1),
        (ClientError::Stopped.into(), 3),
        (ClientError::Ping(PingError::NoRoute(address)).into(), 1),
        (ClientError::Send(SendError::Expired(address)).into(), 1),
        (ClientError::Send(SendError::Unknown(address)).into(), 1),
        (ClientError::NoSuchAddress(address).into(), 2),
        (denied(Denial::ReadOnly), 1),
        (denied(Denial::NotFound), 2),
        (CommandFailure::timed_out("", ""), 4),
        (CommandFailure::interrupted(async_signal::Signal::Int), 130),
        (CommandFailure::interrupted(async_signal::Signal::Term), 143),
        (CommandFailure::unknown_name("bob", None), 2),
        (CommandFailure::output(std::io::ErrorKind::BrokenPipe.into()), 0),
        (CommandFailure::output(std::io::ErrorKind::StorageFull.into()), 1),
    ];
    for (failure, code) in cases {
        assert_eq!(failure.exit_code(), code, "{failure:?}");
    }
}
