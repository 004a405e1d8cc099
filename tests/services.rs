//! Services and requests through daemons and the command line.

use rouse_tests::{Daemon, programs, until};
use rustix::process::{Pid, Signal, kill_process};

fn signal_process(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().expect("a process id is small")).expect("it is not zero");
    kill_process(pid, signal).expect("it runs");
}

/// Two daemons with a link.
fn pair() -> (Daemon, Daemon) {
    let programs = programs!();
    let first = programs.daemon().start();
    let second = programs.daemon().peer(&first.uri()).start();
    (first, second)
}

#[test]
fn a_command_serves_requests_of_other_nodes_and_of_this_one() {
    let (here, there) = pair();
    let mut serve = there.start(&["--json", "serve", "upper", "--", "tr", "a-z", "A-Z"]);
    // The service is open from the moment at which its daemon knows of it, which no line announces.
    until("the service is open", || {
        (there.rouse(&["request", there.address(), "upper", "x"]).code == Some(0)).then_some(())
    });
    for from in [&here, &there] {
        assert_eq!(from.text(&["request", there.address(), "upper", "dinner"]), "DINNER");
        let answer = from.json(&["request", there.address(), "upper", "dinner"]);
        assert_eq!((&answer["text"], &answer["kind"]), (&"DINNER".into(), &"answer".into()));
        assert_eq!(answer["from"], there.address());
        assert_eq!(answer["protection"], if from.address() == here.address() { "e2e" } else { "local" });
    }
    let served = serve.json_where(|line| line["from"] == here.address());
    assert_eq!((&served["state"], &served["answer_bytes"]), (&"answered".into(), &6.into()));
    serve.kill();
}

#[test]
fn a_missing_service_and_a_failing_command_are_answered_at_once() {
    let (here, there) = pair();
    let missing =
        here.rouse(&["--json", "request", there.address(), "clock", "x", "--timeout", "60s"]).exits(1);
    assert_eq!(missing.error()["code"], "no_such_service");
    let mut serve = there.start(&["serve", "fail", "--", "sh", "-c", "echo half; exit 3"]);
    until("the service is open", || {
        let failed =
            here.rouse(&["--json", "request", there.address(), "fail", "x", "--timeout", "60s"]).exits(1);
        (failed.error()["code"] == "service_failed").then_some(())
    });
    let failed = here.rouse(&["request", there.address(), "fail", "x"]).exits(1);
    assert!(failed.stderr.contains("exit status: 3"), "{}", failed.stderr);
    serve.kill();
    // The service ends with the program that serves it.
    until("the service is closed", || {
        let refused =
            here.rouse(&["--json", "request", there.address(), "fail", "x", "--timeout", "60s"]).exits(1);
        (refused.error()["code"] == "no_such_service").then_some(())
    });
    let mut slow = there.start(&["serve", "slow", "--", "sleep", "30"]);
    until("the service is open", || {
        let late = here.rouse(&["request", there.address(), "slow", "x", "--timeout", "1s"]);
        (late.code == Some(4)).then_some(())
    });
    slow.kill();
}

#[test]
fn receivers_of_different_services_share_an_address() {
    let (here, there) = pair();
    let mut chat = there.start(&["--json", "recv", "--service", "chat", "--count", "2"]);
    let mut plain = there.start(&["--json", "recv"]);
    here.text(&["send", there.address(), "--service", "chat", "one"]);
    here.text(&["send", there.address(), "no service"]);
    let first = chat.json_where(|_| true);
    assert_eq!((&first["text"], &first["service"]), (&"one".into(), &"chat".into()));
    let other = plain.json_where(|_| true);
    assert_eq!((&other["text"], other["service"].is_null()), (&"no service".into(), true));
    let id = first["id"].as_str().unwrap();
    here.text(&["send", there.address(), "--service", "chat", "--reply-to", id, "two"]);
    let second = chat.json_where(|_| true);
    assert_eq!((&second["text"], &second["in_reply_to"]), (&"two".into(), &id.into()));
    here.rouse(&["send", there.address(), "--service", &"x".repeat(65), "long"]).exits(2);
    here.rouse(&["send", there.address(), "--reply-to", "nothing", "x"]).exits(2);
}

/// The processes one of whose arguments is this word.
fn processes_with(word: &str) -> Vec<u32> {
    let all =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let has_word = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    };
    all.filter_map(|name| name.parse().ok()).filter(has_word).collect()
}

#[test]
fn the_requests_of_a_server_that_ends_fail_at_once_and_its_commands_end_with_it() {
    let (here, there) = pair();
    for (number, signal) in [Signal::TERM, Signal::INT, Signal::KILL].into_iter().enumerate() {
        // A time that no other process sleeps.
        let time = format!("9{}.{number}", std::process::id());
        let script = format!("sleep {time} & wait");
        let mut serve = there.start(&["serve", "slow", "--parallel", "2", "--", "sh", "-c", &script]);
        until("the service is open", || {
            let late = here.rouse(&["request", there.address(), "slow", "x", "--timeout", "300ms"]);
            (late.code == Some(4)).then_some(())
        });
        until("its command runs", || (processes_with(&time).len() == 1).then_some(()));
        // The command runs for one of the requests, while two more wait in the service.
        let request = ["--json", "request", there.address(), "slow", "x", "--timeout", "10m"];
        let mut waiting: Vec<_> = (0..3).map(|_| here.start(&request)).collect();
        until("the command runs for one more", || (processes_with(&time).len() == 2).then_some(()));
        until("the requests have arrived", || {
            (there.json(&["status"])["inbox"]["messages"].as_u64() >= Some(2)).then_some(())
        });
        signal_process(serve.pid(), signal);
        for request in &mut waiting {
            assert_eq!(request.end().code(), Some(1), "{signal:?}");
            assert!(request.complaints().contains("service_failed"));
        }
        let expected = match signal {
            Signal::TERM => Some(143),
            Signal::INT => Some(130),
            _ => None,
        };
        assert_eq!(serve.end().code(), expected);
        if expected.is_some() {
            until("its command has ended", || (processes_with(&time).is_empty()).then_some(()));
        } else {
            // Nothing can end the commands of a process that was killed.
            processes_with(&time).into_iter().for_each(|pid| signal_process(pid, Signal::KILL));
        }
    }
}

#[test]
fn a_command_that_takes_too_long_is_ended_and_the_requester_learns_it() {
    let (here, there) = pair();
    let _serve = there.start(&[
        "serve",
        "slow",
        "--timeout",
        "200ms",
        "--",
        "sh",
        "-c",
        "trap '' TERM; sleep 97531.5 & wait; wait",
    ]);
    until("the service is open", || {
        let ended =
            here.rouse(&["--json", "request", there.address(), "slow", "x", "--timeout", "60s"]).exits(1);
        (ended.error()["code"] == "service_failed").then(|| {
            let text = ended.error()["message"].as_str().unwrap().to_owned();
            assert!(text.contains("200 ms") && text.contains(there.address()), "{text}");
        })
    });
    until("its command has ended", || (processes_with("97531.5").is_empty()).then_some(()));
    // The error names the peer as the user does.
    here.text(&["name", "add", "there", there.address()]);
    let failed = here.rouse(&["request", "there", "slow", "x", "--timeout", "60s"]).exits(1);
    assert!(
        failed.stderr.contains("of there failed") && !failed.stderr.contains("rouse1"),
        "{}",
        failed.stderr
    );
    let missing = here.rouse(&["request", "there", "missing", "x", "--timeout", "60s"]).exits(1);
    assert!(missing.stderr.contains("there has no service"), "{}", missing.stderr);
}

#[test]
fn a_service_has_a_visible_name_for_every_command() {
    let daemon = programs!().daemon().start();
    let own = daemon.address();
    for name in ["a\nb", "\u{1b}[2J", "a\u{202e}b"] {
        for command in [
            &["send", own, "x", "--service", name][..],
            &["recv", "--timeout", "1s", "--service", name],
            &["request", own, name, "x"],
            &["serve", name, "--", "cat"],
        ] {
            let refused = daemon.rouse(command).exits(2);
            assert!(refused.stderr.contains("invisible"), "{command:?}: {}", refused.stderr);
        }
        for (method, body) in [("send", true), ("request", true), ("receive.open", false)] {
            let mut params = serde_json::json!({ "service": name });
            if body {
                params["peer"] = own.into();
                params["text"] = "x".into();
            }
            let mut api = daemon.start(&["api"]);
            let request =
                serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
            api.write_line(&request.to_string());
            let answer = api.json_where(|_| true);
            assert_eq!(answer["error"]["code"], -32602, "{answer}");
        }
    }
}
