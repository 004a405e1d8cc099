//! Two links with a faulty network between them, under a virtual clock.

mod control;
mod hostile;
mod liveness;
mod mtu;
mod narrow_path;
mod path_validation;
mod quality;
mod rekey;
mod rest;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::link::keys::{Sealer, Suite};

/// The faults of the network in one direction.
#[derive(Clone, Copy, Debug)]
struct Wire {
    delay: Duration,
    jitter: Duration,
    /// Lost frames in hundredths, and duplicated ones below.
    loss: u32,
    duplicates: u32,
    /// The length above which frames are lost, in bytes.
    hole: usize,
}

impl Wire {
    fn good(delay: Duration) -> Self {
        Wire { delay, jitter: Duration::ZERO, loss: 0, duplicates: 0, hole: usize::MAX }
    }
}

/// Two links, 0 and 1. `wires[n]` carries the frames that `n` sends.
struct Pair {
    now: Time,
    links: [Link; 2],
    sealers: [Sealer; 2],
    wires: [Wire; 2],
    rng: ChaCha20Rng,
    flying: BTreeMap<(Time, u64), (usize, Vec<u8>)>,
    count: u64,
    /// The time until which a node handles nothing.
    asleep: [Time; 2],
    states: [Vec<(u64, LinkState)>; 2],
    costs: [Vec<u16>; 2],
    control: [Vec<Bytes>; 2],
    packets: [u64; 2],
    rekeyed: [u32; 2],
    /// The frames that were sent to endpoints other than the link's own.
    elsewhere: [Vec<(Endpoint, Vec<u8>)>; 2],
    /// The endpoints to which the neighbour has moved.
    moves: [Vec<Endpoint>; 2],
    mtus: [Vec<(u64, usize)>; 2],
    timers: [u32; 2],
    transmitted: [Vec<u8>; 2],
    drops: [Vec<DropCause>; 2],
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn sessions() -> [(Sealer, Opener); 2] {
    let hash = [1; 32];
    let key = |n: u8| [n; 32];
    let sealer = |n| Sealer::new(Suite::ChaCha20Poly1305, &hash, &key(n), 0).unwrap();
    let opener = |n| Opener::new(Suite::ChaCha20Poly1305, &hash, &key(n)).unwrap();
    [(sealer(0), opener(1)), (sealer(1), opener(0))]
}

impl Pair {
    fn new(seed: u8, wire: Wire) -> Self {
        let now = Time::from_millis(5_000);
        let [(sealer0, opener0), (sealer1, opener1)] = sessions();
        let link =
            |n: u8, opener| Link::new(now, Address::from_bytes([n; 32]), opener, 1200, [seed ^ (n << 7); 32]);
        let mut pair = Pair {
            now,
            links: [link(0, opener0), link(1, opener1)],
            sealers: [sealer0, sealer1],
            wires: [wire; 2],
            rng: ChaCha20Rng::from_seed([seed; 32]),
            flying: BTreeMap::new(),
            count: 0,
            asleep: [Time::ZERO; 2],
            states: Default::default(),
            costs: Default::default(),
            control: Default::default(),
            packets: [0; 2],
            rekeyed: [0; 2],
            elsewhere: Default::default(),
            moves: Default::default(),
            mtus: Default::default(),
            timers: [0; 2],
            transmitted: Default::default(),
            drops: Default::default(),
        };
        pair.poll(0);
        pair.poll(1);
        pair
    }

    /// A pair that has measured its first round trip.
    fn settled(seed: u8, delay: Duration) -> Self {
        let mut pair = Pair::new(seed, Wire::good(delay));
        pair.run(delay * 4 + ms(10));
        assert!(pair.links.iter().all(|link| link.metrics().rtt == Some(delay * 2)));
        pair
    }

    fn seal(&mut self, from: usize, plaintext: &[u8]) {
        let mut frame = Vec::new();
        self.sealers[from].seal(|out| out.extend_from_slice(plaintext), &mut frame).unwrap();
        self.fly(from, frame);
    }

    fn fly(&mut self, from: usize, frame: Vec<u8>) {
        let wire = self.wires[from];
        if self.rng.next_u32() % 100 < wire.loss || frame.len() > wire.hole {
            return;
        }
        let copies = if self.rng.next_u32() % 100 < wire.duplicates { 2 } else { 1 };
        for _ in 0..copies {
            let jitter = wire.jitter.mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX));
            self.count += 1;
            self.flying.insert((self.now + wire.delay + jitter, self.count), (1 - from, frame.clone()));
        }
    }

    fn packet(&mut self, from: usize) {
        self.seal(from, &[KIND_PACKET; 200]);
        self.links[from].note_sent(self.now, 1, 230);
        self.poll(from);
    }

    fn poll(&mut self, node: usize) {
        while let Some(output) = self.links[node].poll_output(self.now) {
            match output {
                LinkOutput::Transmit(plaintext) => {
                    self.transmitted[node].push(plaintext[0]);
                    self.seal(node, &plaintext);
                }
                LinkOutput::Rekeyed(key) => {
                    self.sealers[node].renew(*key);
                    self.rekeyed[node] += 1;
                }
                LinkOutput::TransmitTo(endpoint, plaintext) => {
                    let mut frame = Vec::new();
                    self.sealers[node].seal(|out| out.extend_from_slice(&plaintext), &mut frame).unwrap();
                    self.elsewhere[node].push((endpoint, frame));
                }
                LinkOutput::Moved(endpoint) => self.moves[node].push(endpoint),
                LinkOutput::MtuChanged(mtu) => {
                    self.mtus[node].push((self.now.as_micros() / 1000 - 5_000, mtu));
                }
                LinkOutput::Control(message) => self.control[node].push(message),
                LinkOutput::StateChanged(state) => {
                    self.states[node].push((self.now.as_micros() / 1000 - 5_000, state));
                }
                LinkOutput::CostChanged(cost) => self.costs[node].push(cost),
            }
        }
    }

    fn deliver(&mut self, to: usize, mut frame: Vec<u8>) {
        match self.links[to].handle_frame(self.now, &mut frame) {
            Ok(FrameContent::Packet(packet)) => {
                assert!(packet.len() >= 199 && packet.iter().all(|byte| *byte == KIND_PACKET));
                self.packets[to] += 1;
            }
            Ok(FrameContent::Consumed) => {}
            Err(cause) => self.drops[to].push(cause),
        }
        self.poll(to);
    }

    fn timer_at(&self, node: usize) -> Option<Time> {
        Some(self.links[node].next_deadline()?.max(self.asleep[node]))
    }

    /// Handles the next event up to `end`. A timer precedes a frame of the same time, because that is the harder case:
    /// the frame could have prevented a suspicion.
    fn step(&mut self, end: Time) -> bool {
        let timer = [0, 1].into_iter().filter_map(|node| Some((self.timer_at(node)?, node))).min();
        let key = self.flying.iter().map(|(key, (to, _))| (key.0.max(self.asleep[*to]), *key)).min();
        match (timer, key) {
            (Some((at, node)), _) if at <= end && key.is_none_or(|(arrives, _)| at <= arrives) => {
                self.now = self.now.max(at);
                self.timers[node] += 1;
                self.links[node].handle_timeout(self.now);
                self.poll(node);
            }
            (_, Some((arrives, key))) if arrives <= end => {
                self.now = self.now.max(arrives);
                if let Some((to, frame)) = self.flying.remove(&key) {
                    self.deliver(to, frame);
                }
            }
            _ => return false,
        }
        true
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    fn state(&self, node: usize) -> LinkState {
        self.links[node].state()
    }

    /// Packets from `from`, one every `every`, for `time`.
    fn traffic(&mut self, from: usize, every: Duration, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.packet(from);
            self.run(every);
        }
    }

    fn cut(&mut self) {
        self.wires[0].loss = 100;
        self.wires[1].loss = 100;
        self.flying.clear();
    }
}
