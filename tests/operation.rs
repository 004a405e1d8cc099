//! The operation of a daemon: the key of its mesh, its default configuration file, and the state that it reports.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rouse_tests::{Daemon, Output, programs, until};
use serde_json::Value;

/// A daemon with the state of another one, which is stopped first.
fn restarted(mut daemon: Daemon, peer: Option<&str>) -> Daemon {
    daemon.text(&["stop"]);
    daemon.process().end();
    let builder = programs!().daemon().state_of(&daemon);
    match peer {
        Some(uri) => builder.peer(uri).start(),
        None => builder.start(),
    }
}

#[test]
fn an_open_mesh_is_stated_once_in_the_log_and_in_the_status() {
    let mut daemon = programs!().daemon().start();
    assert_eq!(daemon.json(&["status"])["mesh"], "open");
    assert!(daemon.text(&["status"]).contains("\nmesh open: every node"));
    let log = daemon.process().complaints();
    assert_eq!(log.matches("the mesh is open").count(), 1, "{log}");
    assert!(log.contains("rouse mesh new") && log.contains(env!("CARGO_PKG_VERSION")), "{log}");
}

#[test]
fn a_mesh_is_closed_by_a_key_and_open_again_without_it() {
    let programs = programs!();
    let (first, second) = (programs.daemon().start(), programs.daemon().start());
    assert_eq!(first.json(&["mesh", "show"])["mesh"], "open");
    assert_eq!(first.rouse(&["--json", "mesh", "leave"]).exits(1).error()["code"], "not_found");

    let made = first.json(&["mesh", "new"]);
    let file = first.state().join("mesh.key");
    assert_eq!(made["key_file"], file.to_str().unwrap());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(first.rouse(&["--json", "mesh", "new"]).exits(1).error()["code"], "exists");
    let first = restarted(first, None);
    assert_eq!(first.json(&["status"])["mesh"], "closed");
    let shown = first.json(&["mesh", "show"]);
    assert_eq!((&shown["mesh"], &shown["fingerprint"]), (&Value::from("closed"), &made["fingerprint"]));

    let joined = second.json(&["mesh", "new", file.to_str().unwrap()]);
    assert_eq!(joined["fingerprint"], made["fingerprint"], "the same key has the same fingerprint");
    let second = restarted(second, Some(&first.uri()));
    first.neighbour(second.address());

    assert_eq!(second.json(&["mesh", "leave"])["mesh"], "open");
    assert!(!second.state().join("mesh.key").exists());
    let second = restarted(second, Some(&first.uri()));
    assert_eq!(second.json(&["status"])["mesh"], "open");
    until("the node without the key is refused", || {
        let peers = second.json(&["peers"]);
        peers
            .as_array()?
            .iter()
            .any(|peer| peer["state"] != "up" && peer["last_error"].is_string())
            .then_some(())
    });
}

#[test]
fn a_file_that_is_no_key_is_refused_and_not_copied() {
    let daemon = programs!().daemon().start();
    let wrong = daemon.state().join("wrong");
    fs::write(&wrong, "not a key\n").unwrap();
    daemon.rouse(&["mesh", "new", wrong.to_str().unwrap()]).exits(2);
    assert!(!daemon.state().join("mesh.key").exists());
}

#[test]
fn the_configuration_of_the_user_is_read_without_a_flag() {
    let programs = programs!();
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join(".config/rouse/roused.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "[node]\nname = \"kitchen\"\n").unwrap();
    let mut roused = std::process::Command::new(programs.folder().join("roused"));
    roused.arg("--print-config").env_clear().env("HOME", folder.path());
    assert!(Output::of(&mut roused).exits(0).text().contains("name = \"kitchen\""));
    fs::write(&file, "[node]\nnme = \"kitchen\"\n").unwrap();
    let error = Output::of(&mut roused).exits(2).stderr;
    assert!(error.contains(file.to_str().unwrap()) && error.contains("line 2"), "{error}");
}

#[test]
fn the_status_counts_the_messages_that_wait_and_dates_the_oldest() {
    let daemon = programs!().daemon().start();
    let absent = programs!().daemon().start().address().to_owned();
    let empty = daemon.json(&["status"]);
    for queue in ["inbox", "outbox"] {
        assert_eq!(empty[queue], serde_json::json!({ "messages": 0, "bytes": 0, "oldest": null }));
    }
    for text in ["one", "three"] {
        daemon.text(&["send", daemon.address(), text]);
    }
    daemon.text(&["send", &absent, "four"]);
    let status = daemon.json(&["status"]);
    assert_eq!((&status["inbox"]["messages"], &status["inbox"]["bytes"]), (&Value::from(2), &Value::from(8)));
    assert_eq!(
        (&status["outbox"]["messages"], &status["outbox"]["bytes"]),
        (&Value::from(1), &Value::from(4))
    );
    let first = daemon.json(&["recv", "--timeout", "60"]);
    assert_eq!(status["inbox"]["oldest"], first["received_at"]);
    assert!(status["outbox"]["oldest"].is_string());
    let text = daemon.text(&["status"]);
    assert!(text.contains("inbox 1 message (5 B), the oldest from "), "{text}");
    assert!(text.contains("outbox 1 message (4 B), the oldest from "), "{text}");
}

/// The stages of a probe as `name:ok`.
fn stages(document: &Value) -> Vec<String> {
    let stage = |stage: &Value| format!("{}:{}", stage["stage"].as_str().unwrap(), stage["ok"]);
    document["stages"].as_array().unwrap().iter().map(stage).collect()
}

#[test]
fn a_probe_names_the_first_stage_that_fails_and_the_next_step() {
    let programs = programs!();
    let first = programs.daemon().start();
    let failed = |peer: &str, options: &[&str]| {
        let mut arguments = vec!["--json", "probe", peer];
        arguments.extend(options);
        let output = first.rouse(&arguments);
        let error = output.error();
        assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{error}");
        (output.code, stages(&output.json()), error)
    };
    let (code, passed, error) = failed(programs.daemon().start().address(), &[]);
    assert_eq!(
        (code, passed),
        (Some(1), vec!["name:true".into(), "address:true".into(), "route:false".into()])
    );
    assert!(error["message"].as_str().unwrap().contains("no neighbours"), "{error}");

    let second = programs.daemon().peer(&first.uri()).start();
    first.route_to(second.address());
    let reached = first.json(&["probe", second.address()]);
    let expected = ["name:true", "address:true", "route:true", "link:true", "reply:true"];
    assert_eq!(
        (&reached["ok"], stages(&reached)),
        (&Value::from(true), expected.map(str::to_owned).to_vec())
    );
    let (code, passed, _) = failed(second.address(), &["--deliver", "--timeout", "0.2"]);
    assert_eq!((code, passed.last().map(String::as_str)), (Some(1), Some("inbox:false")));
    let _receiver = second.start(&["recv", "--follow"]);
    let delivered = first.json(&["probe", second.address(), "--deliver", "--timeout", "60"]);
    assert_eq!(stages(&delivered).last().unwrap(), "inbox:true");
    let text = first.text(&["probe", second.address()]);
    assert!(text.lines().all(|line| line.starts_with("ok ")), "{text}");

    let unknown = first.rouse(&["--json", "probe", "bob"]).exits(2);
    assert_eq!(stages(&unknown.json()), ["name:false"]);
}

#[test]
fn a_bench_measures_round_trips_loss_and_messages() {
    let programs = programs!();
    let first = programs.daemon().start();
    let second = programs.daemon().peer(&first.uri()).start();
    first.route_to(second.address());
    let _receiver = second.start(&["recv", "--follow", "--raw"]);
    let result = first.json(&["bench", second.address(), "--time", "0.3", "--size", "4KiB"]);
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("no number in {result}"));
    let times = ["min", "median", "p99", "max"].map(|name| number(&result["rtt_ms"][name]));
    assert!(times[0] > 0.0 && times.is_sorted(), "{result}");
    assert!(number(&result["pings"]["sent"]) > 0.0);
    assert_eq!(second.json(&["status"])["drops"]["reply_limit"], 0, "a node answers so many pings");
    assert!(
        number(&result["messages"]["bytes_per_s"]) > 0.0 && number(&result["messages"]["delivered"]) > 0.0
    );
    let absent = programs.daemon().start().address().to_owned();
    first.rouse(&["bench", &absent, "--time", "0.1"]).exits(1);
    // The size is refused before anything is measured, and before memory for it is allocated.
    first.rouse(&["bench", second.address(), "--size", "100000000000000"]).exits(1);
}

#[test]
fn a_doctor_finds_the_file_that_is_damaged_and_the_key_that_others_can_read() {
    let daemon = programs!().daemon().start();
    let checks = |daemon: &Daemon, code: i32| -> Vec<(String, String)> {
        let document = daemon.rouse(&["--json", "doctor"]).exits(code).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let checks = document["checks"].as_array().unwrap();
        checks.iter().map(|check| (text(&check["check"]), text(&check["level"]))).collect()
    };
    let level = |checks: &[(String, String)], name: &str| {
        checks.iter().filter(|(check, _)| check == name).map(|(_, level)| level.clone()).max()
    };
    let good = checks(&daemon, 0);
    for (name, expected) in
        [("daemon", "ok"), ("sockets", "ok"), ("clock", "ok"), ("state", "ok"), ("mesh", "warn")]
    {
        assert_eq!(level(&good, name).as_deref(), Some(expected), "{name} in {good:?}");
    }
    assert!(level(&good, "multicast").is_some() && level(&good, "disk").is_some());

    daemon.text(&["mesh", "new"]);
    let key = daemon.state().join("mesh.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(level(&checks(&daemon, 1), "key").as_deref(), Some("error"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(daemon.state().join("names.toml"), "[names\n").unwrap();
    let damaged = daemon.rouse(&["doctor"]).exits(1);
    assert!(damaged.text().contains("names.toml"), "{}", damaged.text());
    let path = daemon.state().to_str().unwrap().to_owned();
    drop(daemon);
    let nothing = Output::of(&mut programs!().rouse(&["--state-dir", &path, "--json", "doctor"]));
    assert_eq!(nothing.exits(1).json()["checks"][0]["level"], "error", "no daemon runs");
}

#[test]
fn a_node_that_the_configuration_denies_loses_its_link_at_the_reload_and_learns_why() {
    let programs = programs!();
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("roused.toml");
    fs::write(&file, "").unwrap();
    let first = programs.daemon().argument("--config").argument(file.to_str().unwrap()).start();
    let denied = programs.daemon().peer(&first.uri()).start();
    let other = programs.daemon().peer(&first.uri()).start();
    first.neighbour(denied.address());
    first.neighbour(other.address());

    let names = format!("[names]\neve = \"{}\"\n", denied.address());
    fs::write(&file, format!("[mesh]\ndeny = [\"eve\"]\n{names}")).unwrap();
    assert!(first.text(&["reload"]).is_empty());
    until("the denied node knows the reason", || {
        let peers = denied.json(&["peers"]);
        let shown =
            |peer: &Value| peer["last_error"].as_str().is_some_and(|text| text.contains("does not admit"));
        peers.as_array()?.iter().any(shown).then_some(())
    });
    let up = first.json(&["peers"]);
    let up: Vec<&Value> = up.as_array().unwrap().iter().filter(|peer| peer["state"] == "up").collect();
    assert!(up.len() == 1 && up[0]["address"] == other.address(), "{up:?}");
    assert!(first.json(&["status"])["drops"]["not_allowed"].as_u64() > Some(0));

    for (list, wrong) in [("allow = [\"evee\"]", "did you mean `eve`?"), ("deny = [\"rouse1x\"]", "rouse1x")]
    {
        fs::write(&file, format!("[mesh]\n{list}\n{names}")).unwrap();
        let refused = first.rouse(&["--json", "reload"]).exits(2).error();
        let text = refused["message"].as_str().unwrap();
        assert!(text.contains(wrong) && text.contains("roused.toml, line 2"), "{text}");
    }
    // A list of those that are allowed has the same effect on all others.
    fs::write(&file, format!("[mesh]\nallow = [\"eve\"]\n{names}")).unwrap();
    first.text(&["reload"]);
    until("the other node has no link", || {
        let peers = first.json(&["peers"]);
        peers.as_array()?.iter().all(|peer| peer["address"] != other.address()).then_some(())
    });
    // The one that is not denied any more is dialled at once, and has not to wait for the end of its own pause.
    first.neighbour(denied.address());
    let mut first = first;
    let log = first.process().complaints();
    assert!(log.contains("its configuration does not admit the neighbour"), "{log}");
    assert!(!log.contains("the neighbour's configuration"), "it blames the other side: {log}");
}
