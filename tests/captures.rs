//! Confidentiality on the wire. Every frame between daemons is captured, from the first beacon to the last message: the frames
//! reveal neither addresses nor payload, and a node without the key of a closed mesh gets no link and no answer with content.

use std::collections::HashSet;
use std::path::Path;

use curve25519_dalek::edwards::CompressedEdwardsY;
use rouse_tests::{Capture, Daemon, DaemonBuilder, Family, Lan, programs, run_in_namespaces, until};

fn main() {
    run_in_namespaces(&[
        ("a_capture_shows_neither_addresses_nor_payload", open_mesh),
        ("a_capture_of_a_closed_mesh_shows_neither_addresses_nor_payload", closed_mesh),
        ("a_node_without_the_mesh_key_learns_nothing_and_gets_no_link", stranger),
        ("a_node_with_a_mesh_key_gets_no_link_in_an_open_mesh", keyed_in_an_open_mesh),
    ]);
}

/// So many consecutive bytes of a secret in a frame are a leak, because they do not occur by chance.
const PIECE: usize = 16;

/// Every piece of every secret that must not be on the wire.
#[derive(Default)]
struct Secrets(HashSet<Vec<u8>>);

impl Secrets {
    fn add(&mut self, secret: &[u8]) {
        assert!(secret.len() >= PIECE);
        self.0.extend(secret.windows(PIECE).map(<[u8]>::to_vec));
    }

    /// Adds an address in every encoding.
    fn add_address(&mut self, text: &str) {
        let bytes = *text.parse::<rouse_core::Address>().unwrap().as_bytes();
        let point = CompressedEdwardsY(bytes).decompress().expect("an address is a key");
        self.add(&bytes);
        self.add(point.to_montgomery().as_bytes());
        self.add(text.strip_prefix("rouse1").unwrap().as_bytes());
    }

    fn is_in(&self, frame: &[u8]) -> bool {
        frame.windows(PIECE).any(|piece| self.0.contains(piece))
    }
}

/// A payload of which no piece occurs by chance.
fn payload(length: usize) -> String {
    let word = |n: usize| blake3::hash(&n.to_le_bytes()).to_hex().to_string();
    (0..).map(word).flat_map(|word| word.into_bytes()).take(length).map(char::from).collect()
}

fn start(lan: &Lan, host: usize, with: impl FnOnce(DaemonBuilder) -> DaemonBuilder) -> Daemon {
    with(programs!().daemon().with_defaults().namespace(lan.host(host))).start()
}

/// A configuration with a mesh key; in a folder that is removed when it is dropped.
struct Key(tempfile::TempDir);

impl Key {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), text).unwrap();
        std::fs::write(folder.path().join("roused.toml"), "[mesh]\nkey = \"key\"\n").unwrap();
        Key(folder)
    }

    fn give(&self, builder: DaemonBuilder) -> DaemonBuilder {
        let path: &Path = &self.0.path().join("roused.toml");
        builder.argument("--config").argument(path.to_str().unwrap())
    }
}

/// 32 bytes in base64.
const KEY: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n";

fn open_mesh() {
    assert_confidential(|builder| builder);
}

fn closed_mesh() {
    let key = Key::new(KEY);
    assert_confidential(|builder| key.give(builder));
}

/// Two daemons discover each other, complete a handshake, announce themselves, ping and exchange messages; no frame reveals a
/// secret.
fn assert_confidential(with: impl Fn(DaemonBuilder) -> DaemonBuilder) {
    let lan = Lan::new(2, Family::Ipv6);
    let capture = Capture::start(lan.hub());
    let (one, other) = (start(&lan, 0, &with), start(&lan, 1, &with));
    one.route_to(other.address());
    other.route_to(one.address());
    let (short, long) = (payload(100), payload(20_000));
    for text in [&short, &long] {
        one.talk(&other, text);
    }
    other.talk(&one, &short);
    one.json(&["ping", other.address()]);
    let frames = capture.end();

    let mut secrets = Secrets::default();
    secrets.add_address(one.address());
    secrets.add_address(other.address());
    secrets.add(long.as_bytes());
    // The search itself is checked first, since one that finds nothing would always pass.
    let bytes = *one.address().parse::<rouse_core::Address>().unwrap().as_bytes();
    assert!(secrets.is_in(&[b"before", &bytes[3..21], b"behind"].concat()));
    assert!(secrets.is_in(&long.as_bytes()[500..600]));
    // The capture is complete: it has beacons, and more bytes than the long message.
    assert!(frames.iter().any(|frame| frame.windows(4).any(|word| word == b"rous")));
    assert!(frames.iter().map(Vec::len).sum::<usize>() > 20_000);
    for frame in &frames {
        assert!(!secrets.is_in(frame), "{frame:02x?}");
    }
}

/// The UDP payloads of the frames from one IPv4 host to another.
fn udp(frames: &[Vec<u8>], from: u8, to: u8) -> Vec<&[u8]> {
    let between = |frame: &&Vec<u8>| {
        frame.get(12..14) == Some(&[8, 0])
            && frame.get(23) == Some(&17)
            && frame.get(26..30) == Some(&[10, 77, 0, from])
            && frame.get(30..34) == Some(&[10, 77, 0, to])
    };
    frames.iter().filter(between).filter_map(|frame| frame.get(42..)).collect()
}

fn counter(daemon: &Daemon, name: &str) -> u64 {
    daemon.json(&["status"])["netmods"][0]["counters"][name].as_u64().expect("it is counted")
}

/// The peer of a node whose dial has failed, with the error.
fn refused(daemon: &Daemon) -> serde_json::Value {
    until("the dial has failed", || {
        let peers = daemon.json(&["peers"]);
        let peer = peers.as_array()?.first()?.clone();
        peer["last_error"].is_string().then_some(peer)
    })
}

/// Checks that the dialler and the others have no link and no route to each other, and that the dialler reports the reason.
fn apart(dialler: &Daemon, others: &[&Daemon], frames: &[Vec<u8>], (from, to): (u8, u8)) {
    let peer = refused(dialler);
    assert_eq!(peer["address"], serde_json::Value::Null);
    assert_eq!(peer["state"], "down");
    let reason = peer["last_error"].as_str().unwrap();
    assert!(reason.contains("mesh"), "{reason}");
    assert_eq!(dialler.json(&["peers"]).as_array().unwrap().len(), 1, "only the peer that it dials");
    assert_eq!(dialler.json(&["routes"]), serde_json::json!([]));
    for other in others {
        let peers = other.json(&["peers"]);
        assert!(peers.as_array().unwrap().iter().all(|peer| peer["address"] != dialler.address()), "{peers}");
        assert_eq!(other.json(&["routes", dialler.address()]), serde_json::json!([]));
    }
    let dials = udp(frames, to, from);
    assert!(!dials.is_empty(), "it has dialled");
    // The answer is a refusal of a few bytes, too short for a key, and the more so for a key and its proof.
    for answer in udp(frames, from, to) {
        assert!(answer.len() < 32, "{answer:02x?}");
    }
}

fn stranger() {
    let (key, lan) = (Key::new(KEY), Lan::new(3, Family::Ipv4));
    let capture = Capture::start(lan.hub());
    let members = [0, 1].map(|host| start(&lan, host, |builder| key.give(builder)));
    members[0].neighbour(members[1].address());
    let stranger = start(&lan, 2, |builder| builder.peer("udp:10.77.0.1:7700"));
    let text = payload(20_000);
    members[0].talk(&members[1], &text);
    refused(&stranger);
    // Each has received the beacons of the other mesh and ignored them.
    until("the beacons of strangers", || {
        let foreign = [&members[0], &members[1], &stranger].map(|one| counter(one, "beacons_foreign"));
        (!foreign.contains(&0)).then_some(())
    });
    let frames = capture.end();
    apart(&stranger, &[&members[0], &members[1]], &frames, (1, 3));
    assert!(udp(&frames, 2, 3).is_empty(), "a member that it has not dialled sends it nothing");
    let mut secrets = Secrets::default();
    secrets.add(text.as_bytes());
    for daemon in [&members[0], &members[1], &stranger] {
        secrets.add_address(daemon.address());
    }
    assert!(frames.iter().all(|frame| !secrets.is_in(frame)));
}

fn keyed_in_an_open_mesh() {
    let (key, lan) = (Key::new(KEY), Lan::new(2, Family::Ipv4));
    let capture = Capture::start(lan.hub());
    let open = start(&lan, 0, |builder| builder);
    let keyed = start(&lan, 1, |builder| key.give(builder).peer("udp:10.77.0.1:7700"));
    refused(&keyed);
    until("the beacons of strangers", || {
        (counter(&open, "beacons_foreign") > 0 && counter(&keyed, "beacons_foreign") > 0).then_some(())
    });
    let frames = capture.end();
    apart(&keyed, &[&open], &frames, (1, 2));
    let mut secrets = Secrets::default();
    secrets.add_address(open.address());
    secrets.add_address(keyed.address());
    assert!(frames.iter().all(|frame| !secrets.is_in(frame)));
}
