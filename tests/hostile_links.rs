//! Attacks on a link and on its handshake: strangers that dial without end, neighbours that break every rule. The daemon counts
//! each refused input and serves all other peers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rouse_tests::hostile::{Attack, Report, Target};
use rouse_tests::{Daemon, Relay, programs, until, usage};
use serde_json::Value;

fn port(daemon: &Daemon) -> SocketAddr {
    daemon.uri().trim_start_matches("udp:").parse().unwrap()
}

fn drops(daemon: &Daemon, cause: &str) -> u64 {
    daemon.json(&["status"])["drops"][cause].as_u64().unwrap()
}

fn talk(from: &Daemon, to: &Daemon, text: &str) {
    from.talk(to, text);
}

/// A daemon with an honest peer.
fn pair() -> (Daemon, Daemon) {
    let daemon = programs!().daemon().start();
    let friend = programs!().daemon().peer(&daemon.uri()).start();
    friend.route_to(daemon.address());
    daemon.route_to(friend.address());
    (daemon, friend)
}

/// Attacks a daemon while its honest peer exchanges messages with it, and checks that the link between the two is the same
/// afterwards.
#[track_caller]
fn beside_a_peer(name: &str, target: impl FnOnce(SocketAddr) -> Target) -> (Daemon, Daemon, Report) {
    let (daemon, friend) = pair();
    let since = |daemon: &Daemon| daemon.neighbour(friend.address())["since"].clone();
    let before = since(&daemon);
    let target = target(port(&daemon));
    let running = std::thread::spawn({
        let name = name.to_owned();
        move || Attack::named(&name).unwrap().run(&target).unwrap()
    });
    let mut talks = 0;
    while !running.is_finished() || talks == 0 {
        talk(&friend, &daemon, &format!("{talks} there"));
        talk(&daemon, &friend, &format!("{talks} and back"));
        talks += 1;
    }
    let report = running.join().unwrap();
    println!("{name}: {talks} exchanges meanwhile\n{report}");
    assert_eq!(since(&daemon), before, "the link to the peer was replaced");
    assert_eq!(
        daemon.rouse(&["recv", "--timeout", "1ms"]).exits(4).text(),
        "",
        "no message was delivered twice or invented"
    );
    (daemon, friend, report)
}

fn briefly(to: SocketAddr) -> Target {
    Target { time: Duration::from_millis(1500), count: 1_000_000, ..Target::at(to) }
}

#[test]
fn frames_that_come_again_change_nothing() {
    let (daemon, _friend, report) = beside_a_peer("replay-frames", briefly);
    assert!(report.get("replayed") > 1000);
    // The first cause is a replay into its own session, the second one from another address and into a later session.
    assert!(drops(&daemon, "replay") > 100);
    assert!(drops(&daemon, "unknown_session") > 100);
}

#[test]
fn frames_that_were_captured_in_one_session_have_no_effect_in_the_next() {
    let daemon = programs!().daemon().start();
    let cable = Relay::new(&daemon.uri());
    let mut friend = programs!().daemon().peer(&cable.uri()).start();
    talk(&friend, &daemon, "once");
    let old = cable.captured();
    assert!(old.len() >= 8);
    // All frames again from the peer's own address, in this session and in the next.
    let again =
        |times: usize| (0..times).for_each(|_| old.iter().for_each(|frame| drop(cable.inject(frame))));
    again(20);
    until("the replays in the counter", || (drops(&daemon, "replay") > 20).then_some(()));
    talk(&friend, &daemon, "twice");
    friend.process().kill();
    let friend = programs!().daemon().peer(&cable.uri()).state_of(&friend).start();
    friend.route_to(daemon.address());
    again(20);
    talk(&friend, &daemon, "and after a new start");
    talk(&daemon, &friend, "and back");
    assert_eq!(
        daemon.rouse(&["recv", "--timeout", "1ms"]).exits(4).text(),
        "",
        "nothing was delivered again"
    );
    let peers = daemon.json(&["peers"]);
    let to_friend = |peer: &&Value| peer["address"] == friend.address() && peer["state"] == "up";
    assert_eq!(peers.as_array().unwrap().iter().filter(to_friend).count(), 1);
}

#[test]
fn a_handshake_that_comes_again_makes_no_link() {
    let (daemon, _friend, report) = beside_a_peer("replay-handshake", briefly);
    assert!(report.get("replayed") > 100);
    // The peer's handshake and the attacker's own.
    assert_eq!(daemon.json(&["status"])["counters"]["handshakes_done"], 2);
}

#[test]
fn thousands_of_half_handshakes_keep_no_peer_out_and_take_no_memory() {
    let daemon = programs!().daemon().start();
    let target = |count, time| Target { time, count, ..Target::at(port(&daemon)) };
    let attack = Attack::named("half-open").unwrap();
    // The first thousands cause every allocation that happens once.
    attack.run(&target(4_000, Duration::from_secs(10))).unwrap();
    let before = usage(daemon.pid()).rss;
    let running = std::thread::spawn({
        let target = target(1_000_000, Duration::from_secs(5));
        move || attack.run(&target).unwrap()
    });
    let mut longest = Duration::ZERO;
    let mut friends = Vec::new();
    while !running.is_finished() && friends.len() < 6 {
        let began = Instant::now();
        let friend = programs!().daemon().peer(&daemon.uri()).start();
        friend.neighbour(daemon.address());
        longest = longest.max(began.elapsed());
        friends.push(friend);
    }
    let report = running.join().unwrap();
    let after = usage(daemon.pid()).rss;
    println!(
        "{} peers were linked, each within {longest:?}; {} KiB then {} KiB\n{report}",
        friends.len(),
        before >> 10,
        after >> 10
    );
    assert!(report.get("begun") > 5_000 && !friends.is_empty());
    assert!(longest < Duration::from_secs(10), "{longest:?}");
    // A peer takes sixteen KiB, and an allocator keeps some memory for later.
    assert!(after <= before + (4 << 20), "{} KiB more", (after - before) >> 10);
    assert!(drops(&daemon, "handshake_limit") > 1_000);
}

#[test]
fn peers_of_one_network_leave_a_place_for_a_peer_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("roused.toml");
    std::fs::write(&config, "[limits]\nneighbours = 32\n").unwrap();
    let daemon = programs!().daemon().argument("--config").argument(config.to_str().unwrap()).start();
    let target = Target { time: Duration::from_secs(5), ..Target::at(port(&daemon)) };
    let running = std::thread::spawn(move || Attack::named("crowd").unwrap().run(&target).unwrap());
    until("32 neighbours", || (daemon.json(&["status"])["neighbours"].as_u64() >= Some(32)).then_some(()));
    let friends = [(); 2].map(|()| programs!().daemon().peer(&daemon.uri()).start());
    for friend in &friends {
        daemon.neighbour(friend.address());
        talk(friend, &daemon, "there is room");
    }
    assert!(!running.is_finished(), "the attack still goes on");
    assert_eq!(daemon.json(&["status"])["neighbours"], 32);
    assert!(drops(&daemon, "neighbour_limit") > 0);
    println!("{}", running.join().unwrap());
    for friend in &friends {
        talk(&daemon, friend, "still");
    }
}

#[test]
fn a_stranger_gets_back_no_more_than_it_sends() {
    let (_daemon, _friend, report) = beside_a_peer("amplify", briefly);
    assert!(report.get("datagrams") > 1_000 && report.get("bytes_returned") > 0);
    assert!(report.get("percent_returned") <= 100, "{report}");
    assert!(report.get("longest_returned") <= 256, "{report}");
}

#[test]
fn malformed_control_messages_of_every_kind_are_counted_and_end_no_link_but_their_own() {
    let (daemon, _friend, report) = beside_a_peer("malformed-control", briefly);
    assert!(report.get("sent") > 500 && report.get("broken") > 0, "{report}");
    assert_eq!(report.get("link_lost"), 0, "a malformed record is counted and ignored");
    for cause in ["malformed_packet", "unknown_record", "bad_announce"] {
        assert!(drops(&daemon, cause) > 0, "{cause}");
    }
}

#[test]
fn malformed_packets_are_counted() {
    let (daemon, _friend, report) = beside_a_peer("malformed-packets", briefly);
    assert!(report.get("sent") > 500);
    assert_eq!(report.get("link_lost"), 0);
    for cause in ["malformed_packet", "no_route", "hop_limit"] {
        assert!(drops(&daemon, cause) > 0, "{cause}");
    }
}

#[test]
fn a_control_stream_with_gaps_takes_little_memory() {
    let (daemon, friend) = pair();
    let before = usage(daemon.pid()).rss;
    let report = Attack::named("slow-loris").unwrap().run(&briefly(port(&daemon))).unwrap();
    let after = usage(daemon.pid()).rss;
    println!("{} KiB more\n{report}", after.saturating_sub(before) >> 10);
    assert!(report.get("segments") > 1_000);
    assert!(after <= before + (4 << 20), "{} KiB more", (after - before) >> 10);
    talk(&friend, &daemon, "after the attack");
    assert!(drops(&daemon, "duplicate") > 1_000);
}

#[test]
fn a_flood_on_the_control_channel_delays_no_other_peer() {
    let (daemon, _friend, report) = beside_a_peer("huge-stream", briefly);
    assert!(report.get("bytes") > 100_000);
    assert!(usage(daemon.pid()).rss < 64 << 20);
}

#[test]
fn replies_to_requests_in_the_name_of_another_node_are_limited() {
    let (daemon, friend, report) = beside_a_peer("reflect", briefly);
    assert!(report.get("requested") > 1_000);
    // More replies were requested than the limit allows: a thousand at once and five hundred a second.
    if report.get("requested") > 4_000 {
        assert!(drops(&daemon, "reply_limit") > 0);
    }
    // The peer drops the replies, because it never sent the requests.
    assert!(drops(&friend, "duplicate") > 0);
}

#[test]
fn a_goodbye_that_another_node_forged_ends_no_link() {
    let (daemon, _friend, report) = beside_a_peer("goodbye", briefly);
    assert!(report.get("forged") > 100);
    assert_eq!(report.get("links_lost"), 0);
    assert!(drops(&daemon, "bad_seal") > 10 && drops(&daemon, "unknown_session") > 10);
}

#[test]
fn the_hostile_program_reports_its_counts_and_refuses_public_addresses() {
    let program = rouse_tests::built_program("rouse-tests", "hostile");
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(&program).args(arguments).output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (_, help, _) = run(&["--help"]);
    assert!(help.contains("half-open") && help.contains("black-hole"), "{help}");
    let daemon = programs!().daemon().start();
    let to = port(&daemon).to_string();
    let (done, report, _) = run(&["--to", &to, "amplify", "--seconds", "1", "--count", "500"]);
    assert!(done && report.contains("bytes_returned"), "{report}");
    let (done, _, complaint) = run(&["--to", "192.0.2.1:7700", "amplify"]);
    assert!(!done && complaint.contains("--anywhere"), "{complaint}");
}
