//! Every command of `rouse`, and the fields of its JSON.

use std::collections::BTreeSet;

use rouse_tests::{Output, programs, until};
use serde_json::Value;

/// The fields of a document are these and no others.
#[track_caller]
fn has_fields(value: &Value, fields: &str) {
    let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    let there: BTreeSet<&str> = object.keys().map(String::as_str).collect();
    assert_eq!(there, fields.split_whitespace().collect(), "{value}");
}

#[track_caller]
fn is_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    // 2025-01-31T12:34:56.789Z
    assert_eq!((text.len(), &text[10..11], &text[23..]), (24, "T", "Z"), "{text}");
}

fn lines(output: &Output) -> Vec<Value> {
    output.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn id_prints_the_address_and_manages_further_ones() {
    let (first, second) = programs!().pair();
    assert_eq!(first.text(&["id"]), first.address());
    let id = first.json(&["id"]);
    has_fields(&id, "address");
    assert_eq!(id["address"], first.address());

    let new = first.json(&["id", "new", "work"]);
    let address = new["address"].as_str().unwrap().to_owned();
    let list = first.json(&["id", "list"]);
    assert_eq!(list.as_array().unwrap().len(), 2);
    for entry in list.as_array().unwrap() {
        has_fields(entry, "address label owner_uid");
    }
    assert_eq!(list[0]["address"], first.address());
    assert_eq!(list[1]["address"], address.as_str());
    second.route_to(&address);
    first.text(&["id", "remove", &address]);
    assert_eq!(first.json(&["id", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn status_shows_the_condition_of_the_node() {
    let (first, second) = programs!().pair();
    let status = first.json(&["status"]);
    has_fields(
        &status,
        "address name version uptime_s mesh netmods neighbours routes journal inbox dead_letters outbox counters drops health",
    );
    assert_eq!(status["address"], first.address());
    assert_eq!(status["name"], "first");
    assert_eq!(second.json(&["status"])["name"], Value::Null);
    assert_eq!(status["neighbours"], 1);
    assert_eq!(status["routes"], 1);
    has_fields(&status["journal"], "messages bytes");
    has_fields(&status["inbox"], "messages bytes oldest");
    has_fields(&status["outbox"], "messages bytes oldest");
    assert_eq!(status["mesh"], "open");
    let netmod = &status["netmods"][0];
    has_fields(netmod, "uri state mtu rx_frames tx_frames rx_bytes tx_bytes last_error counters");
    assert_eq!(netmod["state"], "up");
    assert!(netmod["rx_frames"].as_u64().unwrap() > 0);
    assert!(status["drops"].as_object().unwrap().contains_key("malformed_frame"));
    assert!(status["counters"]["handshakes_done"].as_u64().unwrap() > 0);
    for line in status["health"].as_array().unwrap() {
        has_fields(line, "level text hint");
    }
    let text = first.text(&["status"]);
    assert!(text.contains(first.address()) && text.contains("first"), "{text}");
    assert_eq!(status["counters"]["sessions_begun"], 0);
    first.talk(&second, "hello");
    assert_eq!(first.json(&["status"])["counters"]["sessions_begun"], 1);
}

#[test]
fn peers_and_routes_list_the_neighbours_and_the_reachable_nodes() {
    let (first, second) = programs!().pair();
    first.text(&["name", "add", "friend", second.address()]);
    let peer = first.neighbour(second.address());
    has_fields(
        &peer,
        "address name endpoint netmod state rtt_ms loss metric rx_bytes tx_bytes since last_error",
    );
    assert_eq!(peer["endpoint"], second.uri());
    assert_eq!(peer["netmod"], first.uri());
    is_time(&peer["since"]);
    until("the round trip is measured", || first.neighbour(second.address())["rtt_ms"].as_f64());

    let routes = first.json(&["routes"]);
    assert_eq!(routes.as_array().unwrap().len(), 1, "its own address is not listed");
    has_fields(&routes[0], "destination name next_hop metric hops seq age_s state");
    assert_eq!(routes[0]["destination"], second.address());
    assert_eq!((&routes[0]["hops"], &routes[0]["state"]), (&Value::from(1), &Value::from("active")));
    assert_eq!(routes[0]["name"], "friend");
    assert_eq!(first.json(&["routes", "friend"]), routes);
    assert!(first.text(&["peers"]).contains("friend"));
    assert!(first.text(&["routes"]).contains("friend"));
}

#[test]
fn send_and_recv_carry_text_and_any_bytes() {
    let (first, second) = programs!().pair();
    let (sent, message) = second.talk(&first, "grüß dich");
    has_fields(&sent, "id state durable bytes rtt_ms");
    assert_eq!((&sent["state"], &sent["bytes"]), (&Value::from("delivered"), &Value::from(11)));
    assert!(sent["rtt_ms"].as_f64().is_some_and(|rtt| rtt > 0.0));
    has_fields(
        &message,
        "id from from_name to sent_at received_at bytes protection service in_reply_to kind text",
    );
    assert_eq!((&message["id"], &message["text"]), (&sent["id"], &Value::from("grüß dich")));
    assert_eq!((&message["protection"], &message["from_name"]), (&Value::from("e2e"), &Value::Null));
    is_time(&message["sent_at"]);
    is_time(&message["received_at"]);

    let queued = second.json(&["send", first.address(), "x"]);
    assert_eq!((&queued["state"], &queued["rtt_ms"]), (&Value::from("queued"), &Value::Null));
    assert_eq!(first.text(&["recv", "--timeout", "60s"]), format!("{}\tx", second.address()));

    let file = second.state().join("bytes");
    std::fs::write(&file, [0xff, 0x00, 0xfe]).unwrap();
    second.text(&["send", first.address(), "--file", file.to_str().unwrap()]);
    let message = first.json(&["recv", "--timeout", "60s"]);
    has_fields(
        &message,
        "id from from_name to sent_at received_at bytes protection service in_reply_to kind base64",
    );
    assert_eq!(message["base64"], "/wD+");

    let mut send = second.start(&["send", first.address(), "-"]);
    std::io::Write::write_all(&mut send.take_input(), b"\x00raw\n").unwrap();
    assert!(send.end().success());
    assert_eq!(first.rouse(&["recv", "--raw", "--timeout", "60s"]).exits(0).stdout, b"\x00raw\n");
}

#[test]
fn recv_takes_as_many_messages_as_requested_and_from_the_requested_sender() {
    let (first, second) = programs!().pair();
    first.text(&["send", first.address(), "to myself"]);
    for n in 1..=3 {
        second.text(&["send", first.address(), &n.to_string()]);
    }
    let three = first
        .rouse(&["--json", "recv", "--from", second.address(), "--count", "3", "--timeout", "60s"])
        .exits(0);
    let texts: Vec<_> = lines(&three).iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(texts, ["1", "2", "3"]);
    assert_eq!(first.json(&["recv", "--timeout", "60s"])["protection"], "local");
    first.rouse(&["recv", "--timeout", "100ms"]).exits(4);
}

#[test]
fn a_message_that_was_not_received_in_time_expires() {
    let (first, _second) = programs!().pair();
    let absent = programs!().daemon().start();
    let sent = first
        .rouse(&["--json", "send", absent.address(), "x", "--ttl", "50ms", "--wait", "delivered"])
        .exits(1);
    assert_eq!(sent.json()["state"], "expired");
    assert!(sent.error()["message"].as_str().unwrap().contains(absent.address()));
    assert_eq!(first.json(&["status"])["drops"]["expired"], 1);
    first.rouse(&["send", absent.address(), "x", "--wait", "delivered", "--timeout", "50ms"]).exits(4);
}

#[test]
fn ping_and_trace_answer_a_line_each() {
    let (first, second) = programs!().pair();
    let pongs = lines(&first.rouse(&["--json", "ping", second.address(), "-c", "2"]).exits(0));
    assert_eq!(pongs.len(), 2);
    for (pong, seq) in pongs.iter().zip(1..) {
        has_fields(pong, "seq rtt_ms hops");
        assert_eq!((&pong["seq"], &pong["hops"]), (&Value::from(seq), &Value::from(1)));
    }
    let hops = lines(&first.rouse(&["--json", "trace", second.address()]).exits(0));
    assert_eq!(hops.len(), 1);
    has_fields(&hops[0], "hop address rtt_ms");
    assert_eq!(hops[0]["address"], second.address());

    let absent = programs!().daemon().start();
    let silent = first.rouse(&["--json", "ping", absent.address()]).exits(1);
    has_fields(&lines(&silent)[0], "seq error");
    let silent = first.rouse(&["--json", "trace", absent.address()]).exits(1);
    has_fields(&lines(&silent)[0], "hop error");
}

#[test]
fn peers_are_dialled_from_the_moment_they_are_added_and_remembered() {
    let programs = programs!();
    let first = programs.daemon().start();
    let mut second = programs.daemon().start();
    second.text(&["peer", "add", &first.uri()]);
    second.neighbour(first.address());
    let list = second.json(&["peer", "list"]);
    has_fields(&list[0], "uri source state");
    assert_eq!((&list[0]["uri"], &list[0]["source"]), (&Value::from(first.uri()), &Value::from("state")));
    assert!(second.text(&["peer", "list"]).contains(&first.uri()));

    second.text(&["stop"]);
    second.process().end();
    let second = programs.daemon().state_of(&second).start();
    second.neighbour(first.address());
    second.text(&["peer", "remove", &first.uri()]);
    assert_eq!(second.json(&["peer", "list"]), serde_json::json!([]));
}

#[test]
fn a_peer_on_the_command_line_is_configuration_and_not_removed_from_here() {
    let (first, second) = programs!().pair();
    let list = second.json(&["peer", "list"]);
    assert_eq!(list[0]["source"], "config");
    let refused = second.rouse(&["--json", "peer", "remove", &first.uri()]).exits(1);
    has_fields(&refused.error(), "code message hint");
}

#[test]
fn names_stand_for_addresses_and_survive_a_restart() {
    let programs = programs!();
    let friend = programs.daemon().start();
    let mut daemon = programs.daemon().start();
    daemon.text(&["name", "add", "bob", friend.address()]);
    let list = daemon.json(&["name", "list"]);
    has_fields(&list[0], "name address source");
    assert_eq!((&list[0]["name"], &list[0]["source"]), (&Value::from("bob"), &Value::from("state")));
    assert_eq!(daemon.json(&["send", "bob", "x"])["state"], "queued");

    daemon.text(&["stop"]);
    daemon.process().end();
    let daemon = programs.daemon().state_of(&daemon).start();
    assert_eq!(daemon.json(&["name", "list"]), list);
    daemon.text(&["name", "remove", "bob"]);
    assert_eq!(daemon.json(&["name", "list"]), serde_json::json!([]));
    daemon.rouse(&["send", "bob", "x"]).exits(2);
}

#[test]
fn watch_prints_a_line_for_each_event() {
    let programs = programs!();
    let first = programs.daemon().start();
    let mut watch = first.start(&["--json", "watch"]);
    // A watcher that is not there yet sees nothing, so the first thing happens until it is seen.
    until("the watcher is there", || {
        first.text(&["send", first.address(), "x"]);
        watch.line_within(std::time::Duration::from_millis(200))
    });
    let second = programs.daemon().peer(&first.uri()).start();
    let up = watch.json_where(|event| event["event"] == "neighbour_up");
    has_fields(&up, "at event address endpoint");
    is_time(&up["at"]);
    let route = watch.json_where(|event| event["event"] == "route_changed");
    has_fields(&route, "at event destination next_hop metric hops");
    let sent = second.json(&["send", first.address(), "hello"]);
    let came =
        watch.json_where(|event| event["event"] == "message_received" && event["from"] == second.address());
    has_fields(&came, "at event id from to bytes");
    assert_eq!(came["id"], sent["id"]);
    let (sent, _) = first.talk(&second, "hello");
    let went = watch.json_where(|event| event["event"] == "message_delivered" && event["id"] == sent["id"]);
    has_fields(&went, "at event id to elapsed_us");
}

#[test]
fn stop_prints_how_many_messages_are_lost() {
    let absent = programs!().daemon().start();
    let lose = || {
        let daemon = programs!().daemon().start();
        for text in ["1", "2"] {
            daemon.text(&["send", "--volatile", daemon.address(), text]);
        }
        for text in ["1", "2", "3"] {
            daemon.text(&["send", "--volatile", absent.address(), text]);
        }
        // Durable ones are not lost, so that they are not counted.
        daemon.text(&["send", absent.address(), "4"]);
        daemon.text(&["send", daemon.address(), "5"]);
        daemon
    };
    let stopped = lose().json(&["stop"]);
    has_fields(&stopped, "stopped unread waiting");
    assert_eq!((&stopped["unread"], &stopped["waiting"]), (&Value::from(2), &Value::from(3)));
    let stopped = lose().rouse(&["stop"]).exits(0);
    assert!(stopped.stderr.contains("2 unread, 3 waiting"), "{}", stopped.stderr);
}

#[test]
fn stop_ends_the_daemon_in_order() {
    let mut daemon = programs!().daemon().start();
    let socket = daemon.socket().to_owned();
    assert!(socket.exists());
    daemon.text(&["stop"]);
    assert!(daemon.process().end().success());
    assert!(!socket.exists());
    daemon.rouse(&["id"]).exits(3);
}

#[test]
fn reload_prints_the_changes() {
    let daemon = programs!().daemon().start();
    daemon.rouse(&["reload"]).exits(0);
}

#[test]
fn completions_and_the_manual_need_no_daemon() {
    let programs = programs!();
    for shell in ["bash", "zsh", "fish"] {
        let script = Output::of(&mut programs.rouse(&["completions", shell])).exits(0).text();
        assert!(script.contains("rouse") && script.contains("recv"), "{shell}");
    }
    let manual = Output::of(&mut programs.rouse(&["man"])).exits(0).text();
    assert!(manual.contains(".TH") && manual.contains("send"));
}

#[test]
fn commands_that_are_not_built_yet_do_not_appear() {
    let help = Output::of(&mut programs!().rouse(&["help"])).exits(0).text();
    for word in [
        "id", "status", "peers", "routes", "send", "recv", "ping", "trace", "peer", "name", "watch", "stop",
        "mesh", "probe", "bench", "doctor", "request", "serve",
    ] {
        assert!(help.lines().any(|line| line.split_whitespace().next() == Some(word)), "{word} is missing");
    }
    for word in ["queue", "file", "pipe", "top"] {
        assert!(!help.lines().any(|line| line.split_whitespace().next() == Some(word)), "{word} appears");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let daemon = programs!().daemon().start();
    let mut watch = daemon.command(&["--json", "recv", "--follow"]);
    let mut watch = watch.stdout(std::process::Stdio::piped()).spawn().unwrap();
    // Every write from now on fails with a broken pipe.
    drop(watch.stdout.take());
    daemon.text(&["send", daemon.address(), "x"]);
    assert!(watch.wait().unwrap().success());
}
