//! Services and requests through daemons and the command line.

use rouse_tests::{Daemon, programs, until};

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
