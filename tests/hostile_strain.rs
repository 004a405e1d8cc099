//! A neighbour that sends as much as its link takes: the service for the others stays within bounds.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rouse_tests::hostile::{Attack, Report, Target};
use rouse_tests::{Daemon, Noticed, Strain, programs, usage};

/// The length of each attack: a dozen rounds of measurements also on a slow machine, of which the median counts.
const TIME: Duration = Duration::from_secs(10);
/// Longer than any request takes that does not wait for all the input of the attacker.
const MOST: Duration = Duration::from_millis(750);
/// The 99th percentile of pings is at most this multiple of the calm one at the same time,
const TIMES_CALM: u32 = 3;
/// and this addition: some time slices of the system's scheduler, which makes a busy program wait before an idle one.
const SLICES: Duration = Duration::from_millis(10);

/// Held during an attack, because two attacks on the same processors would be measured together.
static ALONE: Mutex<()> = Mutex::new(());

/// A line of three daemons.
struct Line([Daemon; 3]);

impl Line {
    fn new() -> Self {
        Line(programs!().line())
    }

    fn strain(&self) -> Strain {
        let [left, middle, right] = [0, 1, 2].map(|nth| self.0[nth].socket().to_owned());
        Strain::connect(left, middle, right).unwrap()
    }

    /// An attack on the daemon in the middle.
    fn target(&self) -> Target {
        let to: SocketAddr = self.0[1].uri().trim_start_matches("udp:").parse().unwrap();
        Target { time: TIME, count: u64::MAX, ..Target::at(to) }
    }

    /// The times since which the links of the middle to the two others are up.
    fn links(&self) -> [String; 2] {
        [0, 2].map(|end| self.0[1].neighbour(self.0[end].address())["since"].to_string())
    }
}

/// Attacks the middle of a line, and holds the service that the others get beside that of a line which is not attacked: both are
/// measured in turns, so that the machine and the attacker itself burden them alike.
fn attack_beside_calm(name: &str) -> Report {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (attacked, calm) = (Line::new(), Line::new());
    let (links, began, before) = (attacked.links(), Instant::now(), usage(attacked.0[1].pid()));
    let (attack, target) = (Attack::named(name).unwrap(), attacked.target());
    let running = std::thread::spawn(move || attack.run(&target).unwrap());
    let [strained, beside] = attacked.strain().watch_beside(&calm.strain(), TIME).unwrap();
    let report = running.join().unwrap();
    let share = (usage(attacked.0[1].pid()).cpu - before.cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    for (line, noticed) in [("attacked", &strained), ("in calm", &beside)] {
        let Noticed { routes, news, gone, worst, .. } = noticed;
        println!(
            "{name:<14}{line:<10}ping p50 {:?} p99 {:?} usual p99 {:?}, routes {routes:?}, news {news:?}, gone {gone:?}, {} rounds",
            noticed.p50(),
            noticed.p99(),
            noticed.usual_p99(),
            worst.len(),
        );
    }
    println!("{name:<14}{:.0} % of a processor\n{report}", share * 100.0);
    assert_eq!(attacked.links(), links, "{name}: no other link is lost");
    let Noticed { routes, news, gone, .. } = strained;
    for (what, took) in
        [("ping", strained.p99()), ("routes", routes), ("what is new", news), ("what is gone", gone)]
    {
        assert!(took <= MOST, "{name}: {what} took {took:?}");
    }
    let bound = TIMES_CALM * beside.usual_p99() + SLICES;
    let took = strained.usual_p99();
    assert!(took <= bound, "{name}: pings took {took:?} at the 99th percentile, and may take {bound:?}");
    report
}

#[test]
fn invalid_proofs_delay_no_other() {
    let report = attack_beside_calm("false-proofs");
    assert!(report.get("sent") > 10_000 && report.get("link_lost") == 0);
}

#[test]
fn offers_of_unknown_destinations_delay_no_other() {
    assert!(attack_beside_calm("offer").get("sent") > 10_000);
}

#[test]
fn destinations_that_flap_delay_no_other() {
    assert!(attack_beside_calm("flap").get("flaps") > 10_000);
}

#[test]
fn requests_for_announces_delay_no_other() {
    assert!(attack_beside_calm("want").get("sent") > 10_000);
}

#[test]
fn forged_announces_delay_no_other() {
    assert!(attack_beside_calm("lie-origin").get("forged") > 1_000);
}

#[test]
fn seqno_requests_delay_no_other() {
    assert!(attack_beside_calm("seq-req").get("requested") > 1_000);
}

#[test]
fn forged_announces_for_their_origins_delay_no_other() {
    assert!(attack_beside_calm("your-highest").get("sent") > 1_000);
}
