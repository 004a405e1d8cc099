//! A neighbour that sends false routing information: it changes no route, and each record is counted.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rouse_tests::hostile::{Attack, Report, Target};
use rouse_tests::{Daemon, programs, until, usage};
use serde_json::Value;

fn port(daemon: &Daemon) -> SocketAddr {
    daemon.uri().trim_start_matches("udp:").parse().unwrap()
}

fn attack(name: &str, target: &Target) -> Report {
    Attack::named(name).unwrap().run(target).unwrap()
}

fn drops(daemon: &Daemon, cause: &str) -> u64 {
    daemon.json(&["status"])["drops"][cause].as_u64().unwrap()
}

/// The next hop and the number of hops of the route in use.
fn route(from: &Daemon, to: &Daemon) -> (Value, Value) {
    let route = from.route_to(to.address());
    (route["next_hop"].clone(), route["hops"].clone())
}

fn talk(from: &Daemon, to: &Daemon, text: &str) {
    from.talk(to, text);
}

/// A line of three daemons, of which the middle one is attacked.
struct Line([Daemon; 3]);

impl Line {
    fn new() -> Self {
        let line = Line(programs!().line());
        line.assert_intact();
        line
    }

    fn middle(&self) -> &Daemon {
        &self.0[1]
    }

    /// Checks that every route is the direct one, and that messages arrive.
    fn assert_intact(&self) {
        let [left, middle, right] = &self.0;
        for (end, far) in [(left, right), (right, left)] {
            until("the route over the middle", || {
                let straight = (Value::from(middle.address()), Value::from(2));
                (route(end, far) == straight).then_some(())
            });
            assert_eq!(route(middle, end), (end.address().into(), 1.into()));
        }
        talk(left, right, "over the middle");
        talk(right, middle, "next door");
    }
}

/// Attacks the middle of the line, and checks all the time that no route changes.
#[track_caller]
fn never_moves(line: &Line, name: &str, time: Duration) -> Report {
    let target = Target { time, ..Target::at(port(line.middle())) };
    let [left, middle, right] = &line.0;
    let straight = [left, right].map(|end| route(middle, end));
    let running = std::thread::spawn({
        let name = name.to_owned();
        move || attack(&name, &target)
    });
    let mut looks = 0;
    while !running.is_finished() || looks == 0 {
        assert_eq!([left, right].map(|end| route(middle, end)), straight, "{name}");
        assert_eq!(route(left, right).0, middle.address(), "{name}");
        looks += 1;
        // A pause, because each look costs the daemon something that is not part of the attack.
        std::thread::sleep(time / 30);
    }
    let report = running.join().unwrap();
    println!("{name}: routes looked at {looks} times\n{report}");
    line.assert_intact();
    report
}

#[test]
fn false_distances_change_no_route_and_are_counted() {
    let line = Line::new();
    let report = never_moves(&line, "lie-metric", Duration::from_millis(1500));
    assert!(report.get("forged") > 200);
    let counted = drops(line.middle(), "bad_announce");
    assert!(counted > report.get("forged") / 4, "{counted} counted of {}", report.get("forged"));
}

#[test]
fn forged_announces_change_no_route_and_are_counted() {
    let line = Line::new();
    let report = never_moves(&line, "lie-origin", Duration::from_millis(1500));
    assert!(report.get("forged") > 100);
    let counted = drops(line.middle(), "bad_announce") + drops(line.middle(), "verify_limit");
    assert!(counted > report.get("forged") / 8, "{counted} counted of {}", report.get("forged"));
}

/// A number of the output, which is a string where it is beyond 2⁵³.
fn number(value: &serde_json::Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap()
}

#[test]
fn replayed_announces_change_no_route() {
    let line = Line::new();
    let report = never_moves(&line, "replay-announce", Duration::from_millis(1500));
    assert!(report.get("replayed") > 100);
}

#[test]
fn an_announce_without_a_valid_signature_raises_no_sequence_number() {
    let line = Line::new();
    let [left, middle, right] = &line.0;
    let seq = |of: &Daemon| number(&left.route_to(of.address())["seq"]);
    let before = [middle, right].map(seq);
    let report = never_moves(&line, "your-highest", Duration::from_millis(1500));
    assert!(report.get("sent") > 100);
    assert_eq!([middle, right].map(seq), before);
    for origin in [middle, right] {
        assert!(!origin.json(&["status"])["health"].to_string().contains("elsewhere"));
    }
    assert!(drops(middle, "bad_announce") > 10);
}

#[test]
fn seqno_requests_without_end_raise_the_sequence_number_a_few_steps_a_second() {
    let line = Line::new();
    let [left, middle, right] = &line.0;
    let seq = |of: &Daemon| number(&left.route_to(of.address())["seq"]);
    let (before, began) = ([middle, right].map(seq), Instant::now());
    let report = never_moves(&line, "seq-req", Duration::from_millis(1500));
    assert!(report.get("requested") > 100);
    // Sixteen steps at once, then ten a second, and a second more for the requests in transit.
    let most = 16 + 10 * (began.elapsed().as_secs() + 1);
    for (before, after) in before.into_iter().zip([middle, right].map(seq)) {
        assert!(after - before <= most, "{} steps in {:?}", after - before, began.elapsed());
    }
}

#[test]
fn destinations_that_flap_are_damped_before_they_are_advertised() {
    let line = Line::new();
    let received = || line.0[0].neighbour(line.middle().address())["rx_bytes"].as_u64().unwrap();
    let (before, began) = (received(), Instant::now());
    let report = never_moves(&line, "flap", Duration::from_secs(6));
    let (bytes, took) = (received() - before, began.elapsed());
    println!("{bytes} bytes to the neighbour in {took:?}");
    // A thousand destinations take 200 bytes each time: five times before the damping, and once every two seconds after it. A
    // slow verifier requests again the announces that were withdrawn meanwhile, and the bound allows for that. Without damping
    // it would be more than a million bytes a second.
    assert!(report.get("flaps") > 5_000);
    let most = 1_200_000 + 500_000 * (took.as_secs() + 1);
    assert!(bytes < most, "{bytes} in {took:?}");
}

/// Bytes, and a share of one processor: a build without optimisation, as `cargo test` makes it, verifies far slower.
const MOST_RSS: u64 = 32 << 20;
const MOST_CPU: f64 = if cfg!(debug_assertions) { 1.0 } else { 0.1 };

#[test]
fn ten_thousand_invented_identities_cost_little_and_evict_no_destination() {
    let line = Line::new();
    let middle = line.middle();
    let time = Duration::from_secs(if cfg!(debug_assertions) { 6 } else { 10 });
    let (before, began) = (usage(middle.pid()), Instant::now());
    let report = never_moves(&line, "invent", time);
    let (after, took) = (usage(middle.pid()), began.elapsed());
    assert_eq!((report.get("invented"), report.get("link_lost")), (10_000, 0));
    let share = (after.cpu - before.cpu).as_secs_f64() / took.as_secs_f64();
    let grown = after.rss.saturating_sub(before.rss);
    println!("invented: {:.1} % of a processor over {took:?}, {} KiB more", share * 100.0, grown >> 10);
    assert!(grown <= MOST_RSS, "{} KiB more", grown >> 10);
    assert!(share <= MOST_CPU, "{:.1} % of a processor", share * 100.0);
    assert!(drops(middle, "destination_limit") > 5_000, "each refused destination is counted");
    let known = middle.json(&["status"])["routes"].as_u64().unwrap();
    let most = 2_100 + 20 * took.as_secs();
    assert!((2_000..most).contains(&known), "{known}: a burst of 2048, and 20 a second for {took:?}");
}

#[test]
fn replayed_announces_do_not_hide_a_peer_that_has_restarted() {
    let programs = programs!();
    let middle = programs.daemon().start();
    let mut right = programs.daemon().peer(&middle.uri()).start();
    middle.route_to(right.address());
    // The attacker records the announces of both daemons, and replays them when one of them has restarted.
    let target = Target { time: Duration::from_secs(2), ..Target::at(port(&middle)) };
    let running = std::thread::spawn({
        let target = target.clone();
        move || attack("replay-announce", &target)
    });
    right.process().kill();
    let back = programs.daemon().peer(&middle.uri()).state_of(&right).start();
    until("the direct route", || (route(&middle, &back) == (back.address().into(), 1.into())).then_some(()));
    talk(&middle, &back, "welcome");
    running.join().unwrap();
    assert_eq!(route(&middle, &back), (back.address().into(), 1.into()));
    talk(&back, &middle, "thank you");
}
