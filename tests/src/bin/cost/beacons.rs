//! Beacons, and other datagrams on their port.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rouse_netmod_udp::fuzz::BeaconReceiver;

use crate::layer::{Input, Layer, MINUTE, Subject};
use crate::pools::SENDERS;
use crate::recipe::{Kind, Part, Recipe, gene, kind};

const KINDS: &[Kind] = &[Kind {
    pool: Some(SENDERS),
    ..kind(
        "beacon",
        &[
            gene("host", 1, &[0, 1, 255, 256, u32::MAX as u64]),
            gene("port", 7700, &[0, 1, 7700, 65_535]),
            gene("instance", 1, &[0, 1, u64::MAX]),
            gene("version", 1, &[0, 1, 2]),
            gene("tag", 0, &[0, 1]),
            gene("length", 45, &[0, 44, 45, 46, 1400]),
        ],
    )
}];

pub(crate) const SUBJECT: Subject = Subject {
    kinds: KINDS,
    make: || Box::new(Beacons(BeaconReceiver::new())),
    weight: 1,
    silence: MINUTE,
    works_in_silence: true,
    usual,
    seeds,
    places: |_| Some(Recipe { pace: 20_000, ..usual(45) }),
    // A sender is remembered until another takes its place.
    stays: |_| Some(SENDERS),
};

/// Many hosts, one beacon each.
fn usual(length: usize) -> Recipe {
    let part = Part::usual(KINDS, 0).with(KINDS, "length", length.max(45) as u64);
    Recipe::usual(part.counting(KINDS, "host").counting(KINDS, "instance"))
}

/// Hosts that are not known yet, each heard after the one before it was taken up, when all places are taken.
fn seeds(_: usize) -> Vec<Recipe> {
    let host = || Part::usual(KINDS, 0).counting(KINDS, "host").counting(KINDS, "instance");
    let first = host().times(2048);
    let then = Recipe::after(vec![first], host().with(KINDS, "host", 100_000));
    vec![usual(45), Recipe { pace: 20_000, ..then }]
}

struct Beacons(BeaconReceiver);

impl Layer for Beacons {
    fn input(&mut self, part: &Part, nth: u64) -> Input {
        let number = |name| part.number(KINDS, name, nth);
        let mut bytes = b"rous".to_vec();
        bytes.push(number("version") as u8);
        bytes.extend_from_slice(&number("instance").to_le_bytes());
        bytes.resize(45, number("tag") as u8);
        bytes.resize(number("length") as usize % 1401, 0);
        let from = (number("host") & 0xffff_ffff) << 16 | number("port") & 0xffff;
        Input { from, received: bytes.len(), bytes, count: 1 }
    }

    fn take(&mut self, input: Input) {
        let host = Ipv4Addr::from((input.from >> 16) as u32);
        self.0.receive(SocketAddr::from((host, input.from as u16)), &input.bytes);
    }

    fn pass(&mut self, span: Duration) {
        self.0.advance(span);
    }
}
