//! Ten nodes on one LAN, one of which attacks two of the others with everything at once: the nine serve as before.
//!
//! Each of the nine sends the next one messages at a steady rate that the machine carries with ease, and pings it: first without
//! the attack, then during it. The attacker sends at a bounded rate and yields the processor to every other process, so that the
//! difference is the cost of its inputs and not that of another program on the same two processors. The calm round trip is
//! measured before and after, and the worse one counts, because the machine is shared.
//!
//! It takes some 20 s; `ATTACKED_SECONDS=60` makes it a minute of attack.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_std::task::{block_on, sleep, spawn};
use futures::StreamExt;
use rouse_core::{Address, Client, Event, RouteState};
use rouse_tests::{Daemon, Family, Lan, PATIENCE, Stream, built_program, programs, run_in_namespaces, until};

const NODES: usize = 9;
/// Messages a second from each to the next.
const MESSAGES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);
/// The least rate of messages, as a share of the calm one.
const LEAST: f64 = 0.8;
/// The greatest 99th percentile of round trips, as a multiple of the calm one.
const MOST: u32 = 3;

fn main() {
    run_in_namespaces(&[("nine_nodes_serve_as_before_while_the_tenth_attacks_with_everything", attacked)]);
}

/// The figures of a phase.
#[derive(Debug)]
struct Phase {
    /// Messages a second, all together.
    rate: f64,
    /// The 99th percentile of all pings, those that were lost included.
    p99: Duration,
    lost: usize,
}

struct Mesh {
    clients: Vec<Client>,
    addresses: Vec<Address>,
    streams: Vec<Stream>,
}

type Links = BTreeSet<(usize, Address)>;

impl Mesh {
    fn new(daemons: &[Daemon]) -> Self {
        let client = |daemon: &Daemon| block_on(Client::connect(daemon.socket())).unwrap();
        let addresses: Vec<Address> =
            daemons.iter().map(|daemon| daemon.address().parse().unwrap()).collect();
        let streams = (0..daemons.len()).map(|from| {
            let to = (from + 1) % daemons.len();
            Stream::start(client(&daemons[from]), client(&daemons[to]), addresses[to], MESSAGES)
        });
        let streams: Vec<Stream> = streams.collect();
        let clients = daemons.iter().map(client).collect();
        for stream in &streams {
            stream.wait_for(Instant::now(), 10, PATIENCE).unwrap();
        }
        Mesh { clients, addresses, streams }
    }

    /// Pings and counts messages for a while; meanwhile no route may be missing.
    fn phase(&self, name: &str, time: Duration) -> Phase {
        let began = Instant::now();
        let pings: Vec<_> = (0..self.clients.len())
            .map(|from| {
                let (client, to) =
                    (self.clients[from].clone(), self.addresses[(from + 1) % self.clients.len()]);
                spawn(async move {
                    let mut times = Vec::new();
                    while began.elapsed() < time {
                        let pong = client.ping(&to, Duration::from_secs(2)).await;
                        times.push(pong.ok().map(|pong| Duration::from_micros(pong.rtt_us)));
                        sleep(PAUSE).await;
                    }
                    times
                })
            })
            .collect();
        while began.elapsed() < time {
            let missing = self.missing();
            assert!(missing.is_empty(), "{name}: no route from and to {missing:?}");
            std::thread::sleep(Duration::from_millis(500));
        }
        let times: Vec<_> = pings.into_iter().flat_map(block_on).collect();
        let came: usize = self.streams.iter().map(|stream| stream.come_since(began)).sum();
        let rate = came as f64 / began.elapsed().as_secs_f64();
        let lost = times.iter().filter(|time| time.is_none()).count();
        let mut times: Vec<Duration> =
            times.into_iter().map(|time| time.unwrap_or(Duration::from_secs(2))).collect();
        times.sort_unstable();
        let phase = Phase { rate, p99: times[times.len() * 99 / 100], lost };
        println!("{name}: {phase:?} of {} pings", times.len());
        phase
    }

    /// The pairs between which there is no route in use.
    fn missing(&self) -> Vec<(usize, usize)> {
        let mut missing = Vec::new();
        for (from, client) in self.clients.iter().enumerate() {
            let routes = block_on(client.routes()).unwrap();
            let reached = |to: &Address| {
                routes.iter().any(|route| route.destination == *to && route.state == RouteState::Active)
            };
            let others = self.addresses.iter().enumerate().filter(|(to, _)| *to != from);
            missing.extend(others.filter(|(_, to)| !reached(to)).map(|(to, _)| (from, to)));
        }
        missing
    }

    /// The links among the nine. A link that is suspected for a moment, because the machine was busy, counts.
    fn links(&self) -> Links {
        let mut links = Links::new();
        for (from, client) in self.clients.iter().enumerate() {
            let peers = block_on(client.peers()).unwrap();
            let among = peers.into_iter().filter_map(|peer| peer.address);
            links.extend(among.filter(|address| self.addresses.contains(address)).map(|to| (from, to)));
        }
        links
    }

    /// Records each link among the nine that ends from now on, with the reason.
    fn watch(&self) -> Arc<Mutex<Vec<String>>> {
        let ended = Arc::<Mutex<Vec<String>>>::default();
        for (from, client) in self.clients.iter().enumerate() {
            let (ended, among, mut events) = (ended.clone(), self.addresses.clone(), client.events());
            spawn(async move {
                while let Some((_, event)) = events.next().await {
                    if let Event::NeighbourDown { address, reason, .. } = event
                        && among.contains(&address)
                    {
                        ended.lock().unwrap().push(format!("{from}: {address:?}: {reason}"));
                    }
                }
            });
        }
        ended
    }
}

fn attacked() {
    let attacked: u64 =
        std::env::var("ATTACKED_SECONDS").ok().map_or(8, |text| text.parse().expect("a number of seconds"));
    let calm = Duration::from_secs(4);
    let hostile = built_program("rouse-tests", "hostile");
    let lan = Lan::new(NODES as u8 + 1, Family::Ipv4);
    let daemons: Vec<Daemon> =
        (0..NODES).map(|n| programs!().daemon().with_defaults().namespace(lan.host(n)).start()).collect();
    let mesh = Mesh::new(&daemons);
    until("all are linked with all", || (mesh.links().len() == NODES * (NODES - 1)).then_some(()));
    until("all routes are there", || mesh.missing().is_empty().then_some(()));
    let (links, ended) = (mesh.links(), mesh.watch());
    let before = mesh.phase("calm", calm);
    let mut attackers: Vec<_> = [(0, 1), (4, 5)]
        .map(|(to, also)| {
            let at = |n: usize| format!("10.77.0.{}:7700", n + 1);
            let mut command = Command::new("nice");
            command.args(["-n", "19", "ip", "netns", "exec", lan.host(NODES)]);
            command.arg(&hostile);
            command.args(["everything", "--to", &at(to), "--also", &at(also), "--seed", &to.to_string()]);
            command.args(["--seconds", &attacked.to_string()]);
            command.stdout(Stdio::piped()).spawn().unwrap()
        })
        .into();
    let under = mesh.phase("attacked", Duration::from_secs(attacked));
    for attacker in attackers.drain(..) {
        let output = attacker.wait_with_output().unwrap();
        println!("{}", String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success(), "the attack ran to its end");
    }
    let after = mesh.phase("calm again", calm);
    let ended = ended.lock().unwrap().clone();
    assert!(ended.is_empty(), "links that were lost: {ended:?}");
    assert_eq!(mesh.links(), links, "the links that there were");
    assert!(under.rate >= LEAST * before.rate, "{under:?} beside {before:?}");
    let bound = MOST * before.p99.max(after.p99);
    assert!(under.p99 <= bound, "{:?} under attack, {:?} and {:?} without", under.p99, before.p99, after.p99);
    assert!(under.lost <= before.lost.max(after.lost), "{} pings were lost", under.lost);
}
