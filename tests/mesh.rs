//! Several daemons on real sockets: messages find their way, whatever happens to it.

use std::time::Duration;

use rouse_tests::{Daemon, Relay, Running, programs, until};
use serde_json::Value;

/// Daemons one behind the other, each dialling the one before.
fn line(length: usize) -> Vec<Daemon> {
    let mut daemons: Vec<Daemon> = Vec::new();
    for _ in 0..length {
        let mut builder = programs!().daemon();
        if let Some(last) = daemons.last() {
            builder = builder.peer(&last.uri());
        }
        daemons.push(builder.start());
    }
    daemons
}

/// The text of the next message.
fn received(daemon: &Daemon) -> String {
    let message = daemon.json(&["recv", "--timeout", "60s"]);
    message["text"].as_str().expect("it is text").to_owned()
}

#[test]
fn two_nodes_exchange_messages_both_ways() {
    let nodes = line(2);
    let (sent, message) = nodes[1].talk(&nodes[0], "there");
    assert_eq!(message["id"], sent["id"]);
    assert_eq!(message["from"], nodes[1].address());
    assert_eq!(message["to"], nodes[0].address());
    assert_eq!(message["text"], "there");
    nodes[0].talk(&nodes[1], "and back");
}

#[test]
fn a_receiver_that_waits_gets_each_message_as_it_comes() {
    let nodes = line(2);
    let mut receiver = nodes[0].start(&["recv", "--follow"]);
    for n in 0..5 {
        let (from, text) = (nodes[1].address(), n.to_string());
        let sending = nodes[1].send(&nodes[0], &[&text]);
        assert_eq!(receiver.line().as_deref(), Some(format!("{from}\t{text}").as_str()));
        sending.delivered();
    }
}

#[test]
fn over_a_line_of_five_ping_prints_four_hops_and_trace_names_each() {
    let nodes = line(5);
    let last = nodes[4].address();
    assert_eq!(nodes[0].route_to(last)["hops"], 4);
    // The answer needs a way back.
    nodes[4].route_to(nodes[0].address());
    let pong = nodes[0].json(&["ping", last]);
    assert_eq!(pong["hops"], 4);
    assert!(pong["rtt_ms"].as_f64().is_some_and(|rtt| rtt > 0.0));
    assert!(nodes[0].text(&["ping", last]).contains("4 hops"));

    let trace = nodes[0].rouse(&["--json", "trace", last]).exits(0).text();
    let hops: Vec<Value> = trace.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = hops.iter().map(|hop| hop["address"].as_str().unwrap()).collect();
    assert_eq!(seen, nodes[1..].iter().map(Daemon::address).collect::<Vec<_>>());
}

#[test]
fn a_message_of_60_000_bytes_crosses_a_line_of_five_whole() {
    let nodes = line(5);
    let body: Vec<u8> = (0..60_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let file = nodes[0].state().join("body");
    std::fs::write(&file, &body).unwrap();
    let path = file.to_str().unwrap();
    let sending = nodes[0].send(&nodes[4], &["--file", path]);
    assert_eq!(nodes[4].rouse(&["recv", "--raw", "--timeout", "60s"]).exits(0).stdout, body);
    assert_eq!(sending.delivered()["bytes"], 60_000);
}

#[test]
fn when_the_relay_in_use_is_killed_messages_take_the_other_way() {
    let programs = programs!();
    let left = programs.daemon().start();
    let relays = [(); 2].map(|()| programs.daemon().peer(&left.uri()).start());
    let right = programs.daemon().peer(&relays[0].uri()).peer(&relays[1].uri()).start();
    for relay in &relays {
        left.neighbour(relay.address());
        right.neighbour(relay.address());
    }
    left.talk(&right, "before");

    let used = left.route_to(right.address())["next_hop"].as_str().unwrap().to_owned();
    let (mut killed, other): (Vec<_>, Vec<_>) = relays.into_iter().partition(|relay| relay.address() == used);
    assert_eq!((killed.len(), other.len()), (1, 1));
    killed[0].process().kill();
    left.talk(&right, "after");
    assert_eq!(left.route_to(right.address())["next_hop"], other[0].address());
}

#[test]
fn a_message_waits_for_a_peer_that_is_away_and_arrives_when_it_is_back() {
    let programs = programs!();
    let sender = programs.daemon().start();
    let mut recipient = programs.daemon().peer(&sender.uri()).start();
    let address = recipient.address().to_owned();
    sender.route_to(&address);
    recipient.text(&["stop"]);
    assert!(recipient.process().end().success());

    assert_eq!(sender.json(&["send", &address, "welcome back"])["state"], "queued");
    assert_eq!(sender.json(&["status"])["journal"]["messages"], 1);
    let recipient = programs.daemon().peer(&sender.uri()).state_of(&recipient).start();
    assert_eq!(recipient.address(), address, "the identity is kept");
    assert_eq!(received(&recipient), "welcome back");
    until("the receipt is back", || (sender.json(&["status"])["journal"]["messages"] == 0).then_some(()));
}

#[test]
fn a_message_waits_for_a_peer_that_was_never_heard_of() {
    let programs = programs!();
    let sender = programs.daemon().start();
    let recipient = programs.daemon().start();
    let text = "from a sender that you do not know yet";
    assert_eq!(sender.json(&["send", recipient.address(), text])["state"], "queued");
    recipient.text(&["peer", "add", &sender.uri()]);
    assert_eq!(received(&recipient), text);
}

#[test]
fn a_peer_that_was_killed_and_comes_back_is_reached_again() {
    let programs = programs!();
    let stays = programs.daemon().start();
    let mut killed = programs.daemon().peer(&stays.uri()).start();
    stays.talk(&killed, "before");
    killed.process().kill();
    let back = programs.daemon().peer(&stays.uri()).state_of(&killed).start();
    stays.talk(&back, "after");
}

#[test]
fn over_a_cable_that_loses_a_tenth_a_long_message_arrives_whole() {
    let programs = programs!();
    let recipient = programs.daemon().start();
    let cable = Relay::new(&recipient.uri());
    let sender = programs.daemon().peer(&cable.uri()).start();
    sender.route_to(recipient.address());
    cable.lose(100);
    let mut send =
        sender.start(&["send", recipient.address(), "-", "--wait", "delivered", "--timeout", "60s"]);
    let body = "every word of it ".repeat(12_000);
    std::io::Write::write_all(&mut send.take_input(), body.as_bytes()).unwrap();
    // The body ends with its input.
    let raw = recipient.rouse(&["recv", "--raw", "--timeout", "60s"]).exits(0).stdout;
    assert!(send.end().success());
    assert!(raw == body.as_bytes(), "{} bytes came, {} were sent", raw.len(), body.len());
}

#[test]
fn a_cable_that_is_cut_is_noticed_and_one_that_heals_carries_again() {
    let programs = programs!();
    let recipient = programs.daemon().start();
    let cable = Relay::new(&recipient.uri());
    let sender = programs.daemon().peer(&cable.uri()).start();
    sender.route_to(recipient.address());
    let mut watch = sender.start(&["--json", "watch"]);
    wait_for_watcher(&sender, &mut watch);
    cable.cut();
    let down = watch.json_where(|event| event["event"] == "neighbour_down");
    assert_eq!(down["address"], recipient.address());
    assert_eq!(sender.json(&["send", recipient.address(), "when you can"])["state"], "queued");
    cable.heal();
    assert_eq!(received(&recipient), "when you can");
}

#[test]
fn two_addresses_of_one_node_write_to_each_other_and_are_reached_from_afar() {
    let nodes = line(2);
    let second = nodes[1].json(&["id", "new", "second"])["address"].as_str().unwrap().to_owned();
    let list = nodes[1].json(&["id", "list"]);
    assert_eq!(list[1]["label"], "second");
    nodes[1].text(&["send", &second, "from next door"]);
    nodes[0].text(&["send", &second, "from afar"]);
    let both =
        nodes[1].rouse(&["recv", "--as", "second", "--count", "2", "--timeout", "60s"]).exits(0).text();
    let mut texts: Vec<_> = both.lines().map(|line| line.split('\t').nth(1).unwrap()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["from afar", "from next door"]);
    nodes[1].text(&["send", nodes[0].address(), "in its name", "--as", "second"]);
    assert_eq!(nodes[0].json(&["recv", "--timeout", "60s"])["from"], second.as_str());
}

#[test]
fn a_neighbour_that_stops_sends_a_goodbye_and_is_gone_at_once() {
    let mut nodes = line(2);
    let [stays, goes] = &mut nodes[..] else { panic!("two") };
    stays.route_to(goes.address());
    let mut watch = stays.start(&["--json", "watch"]);
    wait_for_watcher(stays, &mut watch);
    goes.text(&["stop"]);
    assert!(goes.process().end().success());
    // The order of the two events is not specified.
    let down = |event: &Value| event["event"] == "neighbour_down" && event["address"] == goes.address();
    let lost = |event: &Value| event["destination"] == goes.address() && event["next_hop"].is_null();
    let first = watch.json_where(|event| down(event) || lost(event));
    watch.json_where(|event| if down(&first) { lost(event) } else { down(event) });
}

#[test]
fn a_recipient_that_stops_at_once_has_sent_its_receipt() {
    let nodes = line(2);
    nodes[0].route_to(nodes[1].address());
    let mut receiver = nodes[1].start(&["recv"]);
    let mut send =
        nodes[0].start(&["--json", "send", nodes[1].address(), "last words", "--wait", "delivered"]);
    assert!(receiver.line().is_some());
    nodes[1].text(&["stop"]);
    assert_eq!(send.json_where(|_| true)["state"], "delivered");
}

/// Causes events until the watcher prints one, and so prints every later event.
fn wait_for_watcher(daemon: &Daemon, watch: &mut Running) {
    until("the watcher sees something", || {
        daemon.text(&["send", daemon.address(), "is a watcher there?"]);
        watch.line_within(Duration::from_millis(200))
    });
}
