//! Enemies on a link and before one: strangers that knock without end, neighbours that break every rule. The daemon counts what
//! it refuses and goes on serving everybody else.

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

/// A daemon with a friend.
fn two() -> (Daemon, Daemon) {
    let daemon = programs!().daemon().start();
    let friend = programs!().daemon().peer(&daemon.uri()).start();
    friend.route_to(daemon.address());
    daemon.route_to(friend.address());
    (daemon, friend)
}

/// Attacks a daemon while its friend talks with it, and sees to it that the link between the two is the same afterwards.
#[track_caller]
fn beside_a_friend(name: &str, target: impl FnOnce(SocketAddr) -> Target) -> (Daemon, Daemon, Report) {
    let (daemon, friend) = two();
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
    assert_eq!(since(&daemon), before, "the link to the friend was made anew");
    assert_eq!(
        daemon.rouse(&["recv", "--timeout", "1ms"]).exits(4).text(),
        "",
        "nothing came twice, or of nobody"
    );
    (daemon, friend, report)
}

fn for_a_while(to: SocketAddr) -> Target {
    Target { time: Duration::from_millis(1500), count: 1_000_000, ..Target::at(to) }
}

#[test]
fn frames_that_come_again_change_nothing() {
    let (daemon, _friend, report) = beside_a_friend("replay-frames", for_a_while);
    assert!(report.get("replayed") > 1000);
    // From the same place into the same session; from elsewhere, and into a later one.
    assert!(drops(&daemon, "replay") > 100);
    assert!(drops(&daemon, "unknown_session") > 100);
}

#[test]
fn what_was_overheard_of_two_is_of_no_use_in_their_next_session() {
    let daemon = programs!().daemon().start();
    let cable = Relay::new(&daemon.uri());
    let mut friend = programs!().daemon().peer(&cable.uri()).start();
    talk(&friend, &daemon, "once");
    let old = cable.tapped();
    assert!(old.len() >= 8);
    // All of it again from the friend's own place: in this session, and in the next.
    let again =
        |times: usize| (0..times).for_each(|_| old.iter().for_each(|frame| drop(cable.inject(frame))));
    again(20);
    until("it is counted", || (drops(&daemon, "replay") > 20).then_some(()));
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
    let (daemon, _friend, report) = beside_a_friend("replay-handshake", for_a_while);
    assert!(report.get("replayed") > 100);
    // The friend's and the hostile's own.
    assert_eq!(daemon.json(&["status"])["counters"]["handshakes_done"], 2);
}

#[test]
fn thousands_of_half_handshakes_keep_no_peer_out_and_take_no_memory() {
    let daemon = programs!().daemon().start();
    let target = |count, time| Target { time, count, ..Target::at(port(&daemon)) };
    let attack = Attack::named("half-open").unwrap();
    // What is made once is made by the first thousands.
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
        "{} got in, the last to after {longest:?}; {} KiB then {} KiB\n{report}",
        friends.len(),
        before >> 10,
        after >> 10
    );
    assert!(report.get("begun") > 5_000 && !friends.is_empty());
    assert!(longest < Duration::from_secs(10), "{longest:?}");
    // A friend takes its share: sixteen KiB, and what an allocator likes to keep.
    assert!(after <= before + (4 << 20), "{} KiB more", (after - before) >> 10);
    assert!(drops(&daemon, "handshake_limit") > 1_000);
}

#[test]
fn a_crowd_of_one_network_leaves_a_place_for_whoever_comes_from_another() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("roused.toml");
    std::fs::write(&config, "[limits]\nneighbours = 32\n").unwrap();
    let daemon = programs!().daemon().argument("--config").argument(config.to_str().unwrap()).start();
    let target = Target { time: Duration::from_secs(5), ..Target::at(port(&daemon)) };
    let running = std::thread::spawn(move || Attack::named("crowd").unwrap().run(&target).unwrap());
    until("all places are taken", || {
        (daemon.json(&["status"])["neighbours"].as_u64() >= Some(32)).then_some(())
    });
    let friends = [(); 2].map(|()| programs!().daemon().peer(&daemon.uri()).start());
    for friend in &friends {
        daemon.neighbour(friend.address());
        talk(friend, &daemon, "there is room");
    }
    assert!(!running.is_finished(), "while the crowd was there");
    assert_eq!(daemon.json(&["status"])["neighbours"], 32);
    assert!(drops(&daemon, "neighbour_limit") > 0);
    println!("{}", running.join().unwrap());
    for friend in &friends {
        talk(&daemon, friend, "still");
    }
}

#[test]
fn a_stranger_gets_back_no_more_than_it_sends() {
    let (_daemon, _friend, report) = beside_a_friend("amplify", for_a_while);
    assert!(report.get("datagrams") > 1_000 && report.get("bytes_returned") > 0);
    assert!(report.get("percent_returned") <= 100, "{report}");
    assert!(report.get("longest_returned") <= 256, "{report}");
}

#[test]
fn malformed_control_of_every_kind_is_counted_and_ends_no_link_but_its_own() {
    let (daemon, _friend, report) = beside_a_friend("malformed-control", for_a_while);
    assert!(report.get("said") > 500 && report.get("broken") > 0, "{report}");
    assert_eq!(report.get("link_lost"), 0, "what only makes no sense is counted and passed over");
    for cause in ["malformed_packet", "unknown_record", "bad_announce"] {
        assert!(drops(&daemon, cause) > 0, "{cause}");
    }
}

#[test]
fn malformed_packets_are_counted() {
    let (daemon, _friend, report) = beside_a_friend("malformed-packets", for_a_while);
    assert!(report.get("sent") > 500);
    assert_eq!(report.get("link_lost"), 0);
    for cause in ["malformed_packet", "no_route", "hop_limit"] {
        assert!(drops(&daemon, cause) > 0, "{cause}");
    }
}

#[test]
fn a_control_stream_with_gaps_that_nobody_acknowledges_takes_little_memory() {
    let (daemon, friend) = two();
    let before = usage(daemon.pid()).rss;
    let report = Attack::named("slow-loris").unwrap().run(&for_a_while(port(&daemon))).unwrap();
    let after = usage(daemon.pid()).rss;
    println!("{} KiB more\n{report}", after.saturating_sub(before) >> 10);
    assert!(report.get("segments") > 1_000);
    assert!(after <= before + (4 << 20), "{} KiB more", (after - before) >> 10);
    talk(&friend, &daemon, "as if nothing had been");
    assert!(drops(&daemon, "duplicate") > 1_000);
}

#[test]
fn a_flood_on_the_control_channel_keeps_nobody_else_waiting() {
    let (daemon, _friend, report) = beside_a_friend("huge-stream", for_a_while);
    assert!(report.get("bytes") > 100_000);
    assert!(usage(daemon.pid()).rss < 64 << 20);
}

#[test]
fn answers_asked_for_in_the_name_of_another_are_limited() {
    let (daemon, friend, report) = beside_a_friend("reflect", for_a_while);
    assert!(report.get("asked") > 1_000);
    // Two thousand and more were asked for; a thousand at once and five hundred a second are given.
    if report.get("asked") > 4_000 {
        assert!(drops(&daemon, "reply_limit") > 0);
    }
    // To the friend they are answers that it never asked for.
    assert!(drops(&friend, "duplicate") > 0);
}

#[test]
fn nobody_says_goodbye_for_another() {
    let (daemon, _friend, report) = beside_a_friend("goodbye", for_a_while);
    assert!(report.get("forged") > 100);
    assert_eq!(report.get("links_lost"), 0);
    assert!(drops(&daemon, "bad_seal") > 10 && drops(&daemon, "unknown_session") > 10);
}

#[test]
fn each_attack_says_what_it_did_and_nobody_attacks_the_internet() {
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
    let (done, said, _) = run(&["--to", &to, "amplify", "--seconds", "1", "--count", "500"]);
    assert!(done && said.contains("bytes_returned"), "{said}");
    let (done, _, complaint) = run(&["--to", "192.0.2.1:7700", "amplify"]);
    assert!(!done && complaint.contains("--anywhere"), "{complaint}");
}
