//! Durable messages of whole daemons: they survive `kill -9`, and are listed, shown and cancelled.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rouse_tests::{Daemon, on_terminal, programs, until};
use serde_json::Value;

/// The address of a node that is not there.
fn absent() -> String {
    let daemon = programs!().daemon().start();
    daemon.address().to_owned()
}

fn outbox(daemon: &Daemon) -> Vec<Value> {
    daemon.json(&["outbox"]).as_array().expect("a list").clone()
}

/// Sends numbered messages to both recipients in turn until the daemon is gone, which is killed a moment after so many of
/// them were accepted. Returns the next number, and the accepted messages.
fn send_and_kill(
    daemon: &Daemon,
    to: [&str; 2],
    first: u32,
    (count, moment): (usize, u64),
) -> (u32, Vec<(usize, u32)>) {
    let (mut number, mut accepted) = (first, Vec::new());
    let gone = AtomicBool::new(false);
    let (enough, is_enough) = channel();
    let pid = daemon.pid();
    thread::scope(|scope| {
        scope.spawn(|| {
            is_enough.into_iter().next();
            thread::sleep(Duration::from_millis(moment));
            let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
            assert!(killed.is_ok_and(|status| status.success()));
            gone.store(true, SeqCst);
        });
        while !gone.load(SeqCst) {
            if accepted.len() >= count {
                let _ = enough.send(());
            }
            let which = (number % 2) as usize;
            let output = daemon.rouse(&["--json", "send", to[which], &number.to_string(), "--timeout", "5"]);
            if output.code == Some(0) {
                accepted.push((which, number));
            }
            number += 1;
        }
        drop(enough);
    });
    (number, accepted)
}

/// The numbers that have arrived at a recipient so far.
fn received(recipient: &Daemon) -> Vec<u32> {
    let mut numbers = Vec::new();
    loop {
        let output = recipient.rouse(&["--json", "recv", "--timeout", "0.2"]);
        if output.code != Some(0) {
            return numbers;
        }
        numbers.push(output.json()["text"].as_str().expect("a text").parse().expect("a number"));
    }
}

#[test]
fn a_sender_that_is_killed_at_any_moment_loses_and_repeats_nothing_that_it_has_accepted() {
    let programs = programs!();
    let recipients = [programs.daemon().start(), programs.daemon().start()];
    let start = |state: Option<&Daemon>| {
        let daemon = programs.daemon().peer(&recipients[0].uri()).peer(&recipients[1].uri());
        match state {
            Some(state) => daemon.state_of(state).start(),
            None => daemon.start(),
        }
    };
    let to = [recipients[0].address(), recipients[1].address()];
    let (mut sender, mut next, mut accepted) = (start(None), 0, Vec::new());
    // The moments are spread over the start, the first sync, the handshakes and the receipts.
    let rounds = [(3, 0), (1, 4), (4, 9), (0, 0), (2, 1), (5, 15), (3, 2), (0, 20), (6, 7), (2, 30)];
    for round in rounds {
        let (number, some) = send_and_kill(&sender, to, next, round);
        sender.process().end();
        next = number;
        accepted.extend(some);
        sender = start(Some(&sender));
    }
    let mut got = [Vec::new(), Vec::new()];
    until("all accepted messages have arrived", || {
        for (numbers, recipient) in got.iter_mut().zip(&recipients) {
            numbers.extend(received(recipient));
        }
        (outbox(&sender).is_empty()).then_some(())
    });
    for (numbers, recipient) in got.iter_mut().zip(&recipients) {
        numbers.extend(received(recipient));
    }
    assert!(accepted.len() >= rounds.iter().map(|round| round.0).sum(), "{} were accepted", accepted.len());
    for (which, numbers) in got.iter().enumerate() {
        assert!(numbers.is_sorted_by(|one, next| one < next), "once and in order: {numbers:?}");
        let missing: Vec<_> =
            accepted.iter().filter(|(to, number)| *to == which && !numbers.contains(number)).collect();
        assert!(missing.is_empty(), "{missing:?} of {}", accepted.len());
    }
}

/// Ends a daemon with `kill -9`, and starts it again.
fn kill_and_start(mut daemon: Daemon) -> Daemon {
    daemon.process().kill();
    programs!().daemon().state_of(&daemon).start()
}

#[test]
fn received_messages_survive_a_recipient_that_is_killed_and_each_is_read_once() {
    let recipient = programs!().daemon().start();
    let mut sender = programs!().daemon().peer(&recipient.uri()).start();
    for number in 0..20 {
        // There is no reader: the receipt means that the message is on the disk of the recipient.
        sender.rouse(&["send", recipient.address(), &number.to_string(), "--wait", "delivered"]).exits(0);
    }
    let local = recipient.json(&["send", recipient.address(), "20", "--wait", "delivered"]);
    assert_eq!(local["durable"], true, "{local}");
    sender.process().kill();
    let recipient = kill_and_start(recipient);
    assert_eq!(recipient.json(&["status"])["inbox"]["messages"], 21);
    let mut numbers = received(&recipient);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..21).collect::<Vec<_>>());
    until("the acknowledgements are on the disk", || {
        (recipient.json(&["status"])["inbox"]["messages"] == 0).then_some(())
    });
    let recipient = kill_and_start(recipient);
    assert_eq!(received(&recipient), [0u32; 0], "they are not delivered again");
}

#[test]
fn a_stop_counts_no_received_message_that_is_on_the_disk_as_lost() {
    let recipient = programs!().daemon().start();
    let sender = programs!().daemon().peer(&recipient.uri()).start();
    sender.rouse(&["send", recipient.address(), "it stays", "--wait", "delivered"]).exits(0);
    assert_eq!(recipient.json(&["stop"])["unread"], 0);
}

#[test]
fn waiting_messages_are_listed_shown_and_cancelled() {
    let daemon = programs!().daemon().start();
    let absent = absent();
    let sent = daemon.json(&["send", &absent, "to be cancelled"]);
    assert_eq!(sent["durable"], true);
    daemon.json(&["send", &absent, "to stay", "--service", "alarms"]);
    assert_eq!(daemon.json(&["send", "--volatile", &absent, "not listed"])["durable"], false);
    let id = sent["id"].as_str().unwrap();
    let listed = outbox(&daemon);
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[0]["id"], &listed[0]["to"]), (&sent["id"], &Value::from(&*absent)));
    assert_eq!((&listed[0]["service"], &listed[1]["service"]), (&Value::Null, &"alarms".into()));
    let list = daemon.text(&["outbox", "list"]);
    assert!(list.contains(id) && list.contains("alarms"), "{list}");
    let shown = daemon.json(&["outbox", "show", id]);
    assert_eq!((&shown["text"], &shown["bytes"]), (&Value::from("to be cancelled"), &Value::from(15)));
    assert!(daemon.text(&["outbox", "show", id]).ends_with("to be cancelled"));
    assert_eq!(daemon.json(&["outbox", "cancel", id])["cancelled"], id);
    let gone = daemon.rouse(&["--json", "outbox", "cancel", id]).exits(2).error();
    assert!(gone["hint"].as_str().unwrap().contains("rouse outbox"), "{gone}");
    assert_eq!(outbox(&daemon).len(), 1);
    daemon.rouse(&["outbox", "show", "not-an-id"]).exits(2);
}

#[test]
fn a_stop_prints_no_loss_of_durable_messages_and_they_are_there_at_the_next_start() {
    let mut daemon = programs!().daemon().start();
    let absent = absent();
    daemon.json(&["send", &absent, "it stays"]);
    let stopped = daemon.rouse(&["stop"]).exits(0);
    assert!(!stopped.stderr.contains("lost"), "{}", stopped.stderr);
    daemon.process().end();
    let daemon = programs!().daemon().state_of(&daemon).start();
    assert_eq!(outbox(&daemon).len(), 1);
    assert_eq!(daemon.json(&["status"])["outbox"]["messages"], 1);
}

#[test]
fn without_a_journal_nothing_is_durable_and_no_folder_is_made() {
    let daemon = programs!().daemon().argument("--volatile-only").start();
    assert_eq!(daemon.json(&["send", &absent(), "x"])["durable"], false);
    assert!(!daemon.state().join("journal").exists());
    assert!(outbox(&daemon).is_empty());
}

#[test]
fn a_journal_that_cannot_be_opened_ends_the_start_with_the_next_step() {
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("journal"), "in the way").unwrap();
    let output = programs!().daemon().state_at(state.path()).output();
    assert_eq!(output.code, Some(1), "{output:?}");
    let error = output.stderr.lines().last().unwrap();
    assert!(error.contains("a file where a folder has to be") && error.contains("move it away"), "{error}");
    assert!(output.stdout.is_empty(), "it reports no readiness");
}

#[test]
fn a_full_journal_names_the_peer_whose_messages_hold_the_room() {
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), "[limits]\njournal = \"1MiB\"\n").unwrap();
    let daemon = programs!().daemon().argument("--config").argument(config.path().to_str().unwrap()).start();
    let absent = absent();
    let body = daemon.state().join("body");
    std::fs::write(&body, vec![b'x'; 100_000]).unwrap();
    let send = || daemon.rouse(&["--json", "send", &absent, "--file", body.to_str().unwrap()]);
    let refused = until("the journal is full", || {
        let output = send();
        (output.code != Some(0)).then_some(output)
    });
    let error = refused.exits(1).error();
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&absent) && message.contains("limits.journal"), "{message}");
    // The same cause is named when the time of the command is over first, and the node counts as unhealthy.
    let body_path = body.to_str().unwrap();
    let late = ["--json", "send", &absent, "--file", body_path, "--timeout", "1s"];
    let late = daemon.rouse(&late).exits(4).error();
    let text = late["message"].as_str().unwrap();
    assert!(text.contains("the journal is full") && text.contains(&absent), "{text}");
    assert!(late["hint"].as_str().unwrap().contains("limits.journal"), "{late}");
    let unhealthy = daemon.rouse(&["--json", "status"]).exits(1);
    let health = unhealthy.json()["health"].clone();
    let is_full =
        |line: &&Value| line["level"] == "error" && line["text"].as_str().unwrap().contains(&absent);
    assert!(health.as_array().unwrap().iter().any(|line| is_full(&line)), "{health}");
    let first = outbox(&daemon)[0]["id"].as_str().unwrap().to_owned();
    daemon.text(&["outbox", "cancel", &first]);
    until("the node is well", || (daemon.rouse(&["status"]).code == Some(0)).then_some(()));
    send().exits(0);
}

#[test]
fn received_messages_are_listed_shown_revived_and_discarded() {
    let programs = programs!();
    let home = programs.daemon().start();
    let sender = programs.daemon().peer(&home.uri()).start();
    for (text, service) in [("kept\n", "alarms"), ("poison", "broken")] {
        sender.text(&["send", home.address(), text, "--service", service]);
    }
    let inbox = || home.json(&["inbox"]).as_array().expect("a list").clone();
    until("both have arrived", || (inbox().len() == 2).then_some(()));
    for _ in 0..16 {
        home.rouse(&["recv", "--service", "broken", "--exec", "false"]).exits(1);
    }
    let dead = home.json(&["inbox", "dead"]);
    assert_eq!((dead.as_array().unwrap().len(), &dead[0]["deliveries"]), (1, &16.into()));
    let status = home.rouse(&["--json", "status"]).json();
    assert_eq!((&status["dead_letters"]["messages"], &status["inbox"]["messages"]), (&1.into(), &1.into()));
    assert!(home.rouse(&["status"]).text().contains("1 dead letter"), "{}", home.rouse(&["status"]).text());
    // It is delivered no more until it is revived.
    home.rouse(&["recv", "--service", "broken", "--timeout", "200ms"]).exits(4);
    let id = dead[0]["id"].as_str().unwrap();
    let (list, _) = on_terminal(&mut home.command(&["inbox"]), 80);
    assert!(list.contains("alarms") && list.lines().all(|line| line.chars().count() <= 80), "{list}");
    assert_eq!(home.json(&["inbox", "peek", id])["text"], "poison");
    home.text(&["inbox", "revive", id]);
    assert!(home.text(&["recv", "--service", "broken", "--timeout", "60s"]).ends_with("poison"));
    let kept = inbox()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(home.rouse(&["inbox", "peek", &kept, "--raw"]).exits(0).stdout, b"kept\n");
    home.text(&["inbox", "discard", &kept]);
    assert!(inbox().is_empty());
    let gone = home.rouse(&["--json", "inbox", "peek", &kept]).exits(2).error();
    assert!(gone["hint"].as_str().unwrap().contains("rouse inbox"), "{gone}");
}
