//! Wrong input of each kind: it is refused with a distinct exit code and a helpful message.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use rouse_tests::{Daemon, Output, programs};
use serde_json::Value;

/// The error of a command with `--json`, after a check that the plain output has the same message.
#[track_caller]
fn refused(daemon: &Daemon, arguments: &[&str], code: i32) -> Value {
    let mut all = vec!["--json"];
    all.extend(arguments);
    let error = daemon.rouse(&all).exits(code).error();
    let message = error["message"].as_str().expect("a message").to_owned();
    let plain = daemon.rouse(arguments).exits(code).stderr;
    assert!(plain.contains(&message), "{plain} does not contain {message}");
    error
}

#[test]
fn a_mistyped_address_is_found_by_its_checksum() {
    let daemon = programs!().daemon().start();
    let mut typed = daemon.address().to_owned();
    let last = typed.pop();
    typed.push(if last == Some('q') { 'p' } else { 'q' });
    for command in ["send", "ping", "trace"] {
        let arguments: &[&str] = if command == "send" { &["send", &typed, "x"] } else { &[command, &typed] };
        let error = refused(&daemon, arguments, 2);
        assert_eq!(error["code"], "bad_address");
        assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
    }
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest_one() {
    let daemon = programs!().daemon().start();
    daemon.text(&["name", "add", "kitchen", daemon.address()]);
    let error = refused(&daemon, &["send", "kichen", "x"], 2);
    assert_eq!(error["code"], "unknown_name");
    assert!(error["hint"].as_str().unwrap().contains("kitchen"));
    refused(&daemon, &["name", "remove", "bob"], 2);
}

#[test]
fn an_identity_that_is_not_there_is_looked_for_among_the_identities() {
    let daemon = programs!().daemon().start();
    for arguments in [&["id", "remove", "foo"][..], &["recv", "--as", "foo"]] {
        let error = refused(&daemon, arguments, 2);
        let hint = error["hint"].as_str().unwrap();
        assert!(hint.contains("rouse id list") && !hint.contains("name add"), "{hint}");
    }
}

#[test]
fn an_empty_list_states_to_readers_that_there_is_nothing() {
    let daemon = programs!().daemon().start();
    for (list, notice) in [("name", "no names"), ("peer", "no configured peers")] {
        let output = daemon.rouse(&[list, "list"]).exits(0);
        assert!(output.stderr.contains(notice), "{}", output.stderr);
        let json = daemon.rouse(&["--json", list, "list"]).exits(0);
        assert_eq!((json.stdout.trim_ascii(), json.stderr.trim()), (&b"[]"[..], ""));
    }
}

#[test]
fn a_port_in_use_is_named_once() {
    let programs = programs!();
    let daemon = programs.daemon().start();
    let refused = programs.daemon().listen(&daemon.uri()).output().exits(2);
    let error = refused.stderr.lines().find(|line| line.starts_with("roused: ")).expect("an error");
    assert_eq!(error.matches(&daemon.uri()).count(), 1, "{error}");
}

#[test]
fn a_name_must_not_look_like_an_address() {
    let daemon = programs!().daemon().start();
    refused(&daemon, &["name", "add", "rouse1bob", daemon.address()], 2);
}

#[test]
fn a_flag_or_command_that_there_is_not_is_a_wrong_usage() {
    let daemon = programs!().daemon().start();
    for arguments in [
        &["recv", "--colour"][..],
        &["sned", "x"],
        &["recv", "--count", "0"],
        &["recv", "--timeout", "soon"],
        &["send"],
        &["peer", "add"],
    ] {
        assert!(!daemon.rouse(arguments).exits(2).stderr.is_empty());
    }
    assert_eq!(daemon.rouse(&["--json", "recv", "--colour"]).exits(2).error()["code"], "usage");
}

#[test]
fn a_peer_that_is_no_place_is_refused() {
    let daemon = programs!().daemon().start();
    for uri in ["192.0.2.7", "carrier-pigeon:rooftop", "udp:", "udp:127.0.0.1:99999"] {
        let error = refused(&daemon, &["peer", "add", uri], 2);
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{uri}");
    }
    assert_eq!(daemon.json(&["peer", "list"]), serde_json::json!([]));
}

#[test]
fn a_file_that_is_not_there_or_too_long_is_not_sent() {
    let daemon = programs!().daemon().start();
    daemon.rouse(&["send", daemon.address(), "--file", "/nonexistent/file"]).exits(2);
    let path = daemon.state().join("long");
    fs::File::create(&path).unwrap().set_len((16 << 20) + 1).unwrap();
    let error = refused(&daemon, &["send", daemon.address(), "--file", path.to_str().unwrap()], 1);
    assert_eq!(error["code"], "too_long");
}

#[test]
fn without_a_daemon_the_error_shows_how_to_start_one() {
    let programs = programs!();
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    let output = Output::of(&mut programs.rouse(&["--state-dir", path, "id"])).exits(3);
    assert!(output.stderr.contains("roused"), "{}", output.stderr);
    let output = Output::of(&mut programs.rouse(&["--json", "--state-dir", path, "id"])).exits(3);
    assert!(output.error()["hint"].as_str().unwrap().contains("roused"));
}

#[test]
fn a_port_that_is_taken_is_named_and_ends_the_start_when_there_is_no_other() {
    let programs = programs!();
    let first = programs.daemon().start();
    let output = programs.daemon().listen(&first.uri()).output().exits(2);
    let port = first.uri().rsplit(':').next().unwrap().to_owned();
    assert!(output.stderr.contains(&port), "{}", output.stderr);

    let second = programs.daemon().argument("--listen").argument(&first.uri()).start();
    let status = second.rouse(&["--json", "status"]).json();
    let states: Vec<_> =
        status["netmods"].as_array().unwrap().iter().map(|netmod| &netmod["state"]).collect();
    assert!(states.contains(&&Value::from("up")) && states.contains(&&Value::from("retrying")), "{states:?}");
}

#[test]
fn a_configuration_with_an_unknown_key_is_refused_with_file_line_and_the_nearest_key() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("rouse.toml");
    let path = path.to_str().unwrap();
    fs::write(path, "[node]\nname = \"kitchen\"\n[limits]\nneighbors = 3\n").unwrap();
    let output = programs!().daemon().argument("--config").argument(path).output().exits(2);
    assert!(output.stderr.contains(path), "{}", output.stderr);
    assert!(output.stderr.contains("line 4"), "{}", output.stderr);
    assert!(output.stderr.contains("neighbours"), "{}", output.stderr);
    let check = programs!().daemon().argument("--config").argument(path).argument("--check");
    assert_eq!(check.output().exits(2).stderr, output.stderr);
}

#[test]
fn check_and_print_config_need_no_daemon_and_start_none() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("rouse.toml");
    let path = path.to_str().unwrap();
    fs::write(path, "[node]\nname = \"kitchen\"\n").unwrap();
    let state = folder.path().join("state");
    let with = |flag: &str| {
        let daemon = programs!().daemon().state_at(&state).argument("--config").argument(path);
        daemon.argument(flag).output().exits(0)
    };
    with("--check");
    let printed = with("--print-config").text();
    assert!(printed.contains("kitchen"), "{printed}");
    fs::write(path, &printed).unwrap();
    assert_eq!(
        with("--print-config").text(),
        printed,
        "what is printed is a configuration of the same effect"
    );
    assert!(!state.exists());
}

#[test]
fn a_configuration_that_is_missing_or_invalid_is_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("rouse.toml");
    let path = path.to_str().unwrap();
    let start = || programs!().daemon().argument("--config").argument(path).output();
    assert!(start().exits(2).stderr.contains(path));
    for nonsense in ["[node", "[limits]\nneighbours = \"many\"\n", "[[netmod]]\nkind = \"smoke\"\n"] {
        fs::write(path, nonsense).unwrap();
        assert!(start().exits(2).stderr.contains(path), "{nonsense}");
    }
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused_with_the_first_ones_pid() {
    let programs = programs!();
    let first = programs.daemon().start();
    let output = programs.daemon().state_of(&first).output();
    assert!(output.code.is_some_and(|code| code != 0));
    assert!(output.stderr.contains(&first.pid().to_string()), "{}", output.stderr);
    assert_eq!(first.text(&["id"]), first.address(), "the first one serves on");
}

#[test]
fn a_socket_left_behind_by_a_killed_daemon_is_taken_over() {
    let programs = programs!();
    let mut first = programs.daemon().start();
    first.process().kill();
    assert!(first.socket().exists(), "the socket of the killed daemon is left");
    first.rouse(&["id"]).exits(3);
    let second = programs.daemon().state_of(&first).start();
    assert_eq!(second.socket(), first.socket());
    assert_eq!(second.text(&["id"]), first.address());
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let below = file.join("state");
    let output = programs!().daemon().state_at(&below).output();
    assert!(output.code.is_some_and(|code| code != 0));
    assert!(output.stderr.contains(below.to_str().unwrap()), "{}", output.stderr);
}

#[test]
fn another_users_daemon_is_not_talked_to() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can run it as another user");
    }
    const OTHER_USER: u32 = 65534;
    let daemon = programs!().daemon().start();
    // Another user may have no access to the folder of the build, so the program is copied to one that is open to all.
    let folder = tempfile::TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("rouse");
    fs::copy(env!("CARGO_BIN_EXE_rouse"), &program).unwrap();
    let mut command = std::process::Command::new(program);
    command.arg("--json").arg("--socket").arg(daemon.socket()).arg("id");
    let error = Output::of(command.uid(OTHER_USER).gid(OTHER_USER)).exits(1).error();
    assert_eq!(error["code"], "permission");
    assert!(error["message"].as_str().unwrap().contains(daemon.socket().to_str().unwrap()));
}

#[test]
fn the_socket_and_the_identity_are_for_their_owner_alone() {
    let daemon = programs!().daemon().start();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(daemon.socket()), 0o600);
    for entry in fs::read_dir(daemon.state()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn a_client_that_breaks_the_socket_protocol_affects_no_other() {
    use std::io::{Read, Write};
    let daemon = programs!().daemon().start();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], &[0; 64]] {
        let mut stream = std::os::unix::net::UnixStream::connect(daemon.socket()).unwrap();
        // The daemon may close before all is written.
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 4096);
    }
    assert_eq!(daemon.text(&["id"]), daemon.address());
}

#[test]
fn a_daemon_stops_in_order_on_each_signal_that_asks_for_it() {
    for signal in ["-TERM", "-INT"] {
        let mut daemon = programs!().daemon().start();
        let kill = std::process::Command::new("kill").args([signal, &daemon.pid().to_string()]).status();
        assert!(kill.unwrap().success());
        assert_eq!(daemon.process().end().code(), Some(0), "{signal}");
    }
}
