//! A neighbour that says as much as its link takes: the others notice little of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rouse_tests::hostile::{Aim, Attack, Report};
use rouse_tests::{Daemon, Noticed, Strain, programs, usage};

/// So long each attack lasts.
const TIME: Duration = Duration::from_secs(5);
/// Longer than anything takes that does not wait for all that the enemy has said.
const MOST: Duration = Duration::from_millis(750);

/// A line of three, of which the one in the middle is attacked.
struct Line([Daemon; 3]);

impl Line {
    fn new() -> Self {
        let middle = programs!().daemon().start();
        let left = programs!().daemon().peer(&middle.uri()).start();
        let right = programs!().daemon().peer(&middle.uri()).start();
        left.route_to(right.address());
        right.route_to(left.address());
        Line([left, middle, right])
    }

    fn aim(&self) -> Aim {
        let to: SocketAddr = self.0[1].uri().trim_start_matches("udp:").parse().unwrap();
        Aim { time: TIME, count: u64::MAX, ..Aim::at(to) }
    }

    /// Since when the links of the middle to the two others are up.
    fn links(&self) -> [String; 2] {
        [0, 2].map(|end| self.0[1].neighbour(self.0[end].address())["since"].to_string())
    }

    /// Under this attack others are served as on any day, give or take what a busy machine and a build without optimisation
    /// add; the figures beside those of calm are printed.
    fn bears(&self, name: &str) -> Report {
        let [left, middle, right] = [0, 1, 2].map(|nth| self.0[nth].socket().to_owned());
        let strain = Strain::connect(left, middle, right).unwrap();
        let calm = strain.watch(Duration::from_secs(1)).unwrap();
        let (links, began, before) = (self.links(), Instant::now(), usage(self.0[1].pid()));
        let (attack, aim) = (Attack::named(name).unwrap(), self.aim());
        let running = std::thread::spawn(move || attack.run(&aim).unwrap());
        let strained = strain.watch(TIME).unwrap();
        let report = running.join().unwrap();
        let share = (usage(self.0[1].pid()).cpu - before.cpu).as_secs_f64() / began.elapsed().as_secs_f64();
        for (when, noticed) in [("calm", &calm), ("strained", &strained)] {
            println!(
                "{name:<14}{when:<10}ping p50 {:?} p99 {:?}, routes {:?}, news {:?}, gone {:?}, {} rounds",
                noticed.p50(),
                noticed.p99(),
                noticed.routes,
                noticed.news,
                noticed.gone,
                noticed.rounds
            );
        }
        println!("{name:<14}{:.0} % of a processor\n{report}", share * 100.0);
        assert_eq!(self.links(), links, "{name}: no other link is lost");
        let Noticed { routes, news, gone, .. } = strained;
        for (what, took) in
            [("ping", strained.p99()), ("routes", routes), ("what is new", news), ("what is gone", gone)]
        {
            assert!(took <= MOST, "{name}: {what} took {took:?}");
        }
        report
    }
}

#[test]
fn proofs_that_do_not_hold_keep_nobody_waiting() {
    let report = Line::new().bears("false-proofs");
    assert!(report.get("said") > 10_000 && report.get("link_lost") == 0);
}

#[test]
fn offers_of_what_nobody_knows_keep_nobody_waiting() {
    assert!(Line::new().bears("offer").get("said") > 10_000);
}

#[test]
fn destinations_that_come_and_go_keep_nobody_waiting() {
    assert!(Line::new().bears("flap").get("flaps") > 10_000);
}

#[test]
fn asking_for_announces_keeps_nobody_waiting() {
    assert!(Line::new().bears("want").get("said") > 10_000);
}

#[test]
fn forged_announces_keep_nobody_waiting() {
    assert!(Line::new().bears("lie-origin").get("forged") > 1_000);
}

#[test]
fn asking_for_seqs_keeps_nobody_waiting() {
    assert!(Line::new().bears("seq-req").get("asked") > 1_000);
}
