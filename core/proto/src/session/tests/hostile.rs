//! Relays, strangers and hostile peers.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

use super::world::{Flight, World, identity, standing};
use crate::identity::{Identity, x25519_public};
use crate::link::{NoisePattern, Secret, SplitKeys, StaticKeys, Suite, fresh_seed};
use crate::session::exchange::{
    InitiationSeeds, OpenRequest, PATTERN, ResponseError, SESSION_PROLOGUE, SessionInitiation, Terms,
};
use crate::session::keys::{EpochKeys, EpochRole};
use crate::session::sessions::UNPROVED;
use crate::session::{PreviousHop, SessionInput, SessionOutput, Sessions};
use crate::stats::DropCause;
use crate::time::Time;
use crate::types::Ends;
use crate::wire::codec;
use crate::wire::session::{MESSAGE_REQUEST, MESSAGE_RESPONSE, SessionRequest, parts};

const SECOND: Duration = Duration::from_secs(1);

fn terms(index: u32) -> Terms {
    Terms { index, suites: Suite::CHACHA, standing: standing(0) }
}

fn seed(byte: u8) -> Secret {
    Zeroizing::new([byte; 32])
}

fn seeds(byte: u8) -> InitiationSeeds {
    InitiationSeeds { noise: seed(byte), kem: Zeroizing::new([byte; 64]), id: u32::from(byte) }
}

fn keys(identity: &Identity) -> StaticKeys {
    StaticKeys::new(identity, None)
}

/// The first message of one identity for another.
fn initiation(from: &Identity, to: &Identity, byte: u8) -> SessionInitiation {
    let addresses = [&from.address(), &to.address()];
    SessionInitiation::start(&keys(from), addresses, &terms(u32::from(byte)), &seeds(byte)).unwrap()
}

/// Noise `IK` with any payload, as a node that breaks the protocol would make it.
fn request_with(from: &Identity, to: &Identity, payload: &[u8]) -> Vec<u8> {
    let remote = x25519_public(&to.address()).unwrap();
    let prologue = [SESSION_PROLOGUE, to.address().as_bytes()].concat();
    let pattern = NoisePattern {
        name: PATTERN,
        prologue: &prologue,
        remote: Some(&remote),
        psk: None,
        initiator: true,
    };
    keys(from).begin(&pattern, &seed(9)).unwrap().write(payload).unwrap()
}

fn request(from: &Identity) -> SessionRequest {
    let kem_key = crate::session::kem::KemKeyPair::from_seed(&Zeroizing::new([3; 64])).public();
    SessionRequest {
        address: from.address(),
        index: 5,
        suites: Suite::CHACHA,
        capabilities: 0,
        standing: standing(0),
        kem_key,
    }
}

/// Appends a content, as the layer above does.
fn writes(out: &mut Vec<u8>, content: &[u8]) -> bool {
    out.extend_from_slice(content);
    true
}

#[test]
fn the_split_alone_opens_nothing_not_even_for_an_attacker_with_every_x25519_secret() {
    let split = SplitKeys { of_initiator: seed(1), of_responder: seed(2), hash: [3; 32] };
    let role = |initiator| EpochRole { suite: Suite::ChaCha20Poly1305, initiator, remote_index: 7 };
    let secret = seed(4);
    let mut sender = EpochKeys::new(&split, Some(&secret), role(true)).unwrap();
    let mut sealed = Vec::new();
    assert_eq!(sender.sealer.seal(|out| writes(out, b"\x01hello"), &mut sealed), Ok(true));
    for guess in [None, Some(&seed(5))] {
        let mut attacker = EpochKeys::new(&split, guess, role(false)).unwrap();
        assert_eq!(attacker.opener.open(&mut sealed.clone()), Err(DropCause::BadSeal));
        assert_ne!(attacker.chain, sender.chain, "nor does it follow a rekeying");
    }
    let mut receiver = EpochKeys::new(&split, Some(&secret), role(false)).unwrap();
    assert_eq!(receiver.opener.open(&mut sealed.clone()).unwrap(), b"\x01hello");
    assert_eq!(receiver.opener.open(&mut sealed), Err(DropCause::Replay));
}

#[test]
fn a_request_without_its_kem_key_or_with_a_broken_one_is_refused() {
    let (from, to) = (identity(0), identity(1));
    let whole = codec::encode(&request(&from)).unwrap();
    let read = |payload: &[u8]| {
        let message = request_with(&from, &to, payload);
        OpenRequest::read(&keys(&to), &to.address(), &message, &seed(1))
    };
    assert!(read(&whole).is_ok());
    assert!(read(&[&whole[..], b"a field to come"].concat()).is_ok());
    for length in [0, 10, whole.len() - 1184, whole.len() - 1] {
        assert!(read(&whole[..length]).is_err(), "{length} bytes");
    }
    let broken = codec::encode(&SessionRequest { kem_key: [0xff; 1184], ..request(&from) }).unwrap();
    assert!(read(&broken).unwrap().answer(&terms(1), &seed(2)).is_err());
    let mut target = Sessions::with_suites([7; 32], Suite::CHACHA);
    target.add_local(&to);
    let (now, local) = (Time::from_millis(1000), to.address());
    let hop = PreviousHop { neighbour: local, host: 1, group: 1 };
    for payload in parts(MESSAGE_REQUEST, 1, &request_with(&from, &to, &broken)) {
        target.handle(now, SessionInput::Part { local, hop, payload: &payload }).unwrap();
    }
    let pair = Ends { local, peer: from.address() };
    let accept = SessionInput::Accept { pair, standing: standing(1) };
    assert_eq!(target.handle(now, accept), Err(DropCause::BadHandshake));
    assert_eq!(target.load(), (0, 0, 0));
}

#[test]
fn a_response_without_its_ciphertext_ends_the_handshake_and_an_altered_one_does_not() {
    let (from, to) = (identity(0), identity(1));
    let mut ours = initiation(&from, &to, 1);
    let opened = OpenRequest::read(&keys(&to), &to.address(), &ours.message, &seed(1)).unwrap();
    let (response, _) = opened.answer(&terms(2), &seed(3)).unwrap();
    for at in [0, 40, response.len() - 1] {
        let mut altered = response.clone();
        altered[at] ^= 1;
        assert_eq!(ours.finish(&altered).err(), Some(ResponseError::Forged), "byte {at}");
    }
    assert!(ours.finish(&response).is_ok());

    let mut ours = initiation(&from, &to, 4);
    let prologue = [SESSION_PROLOGUE, to.address().as_bytes()].concat();
    let pattern =
        NoisePattern { name: PATTERN, prologue: &prologue, remote: None, psk: None, initiator: false };
    let mut noise = keys(&to).begin(&pattern, &seed(5)).unwrap();
    noise.read(&ours.message).unwrap();
    let short = noise.write(&[0; 45 + 1087]).unwrap();
    assert_eq!(ours.finish(&short).err(), Some(ResponseError::Broken));
}

#[test]
fn only_the_owner_of_an_address_makes_a_session_in_its_name() {
    let (from, to, other) = (identity(0), identity(1), identity(2));
    let claimed = SessionRequest { address: other.address(), ..request(&from) };
    let own = SessionRequest { address: to.address(), ..request(&from) };
    for payload in [claimed, own] {
        let message = request_with(&from, &to, &codec::encode(&payload).unwrap());
        assert!(OpenRequest::read(&keys(&to), &to.address(), &message, &seed(1)).is_err());
    }
    let elsewhere = initiation(&from, &other, 1);
    assert!(OpenRequest::read(&keys(&to), &to.address(), &elsewhere.message, &seed(1)).is_err());
}

#[test]
fn a_replayed_request_gets_a_response_that_makes_nothing_and_disturbs_no_session() {
    let mut world = World::new(2, 1);
    world.queue(1, 0, 0..2);
    assert!(world.run(SECOND, World::is_done));
    let old: Vec<Flight> = world.sent.iter().filter(|one| one.is_part() && one.from == 1).cloned().collect();
    world.pass(Duration::from_secs(100));
    for round in 0..5 {
        old.iter().for_each(|flight| world.transmit(flight.clone()));
        world.queue(0, 1, round..round + 1);
        world.queue(1, 0, 2 + round..3 + round);
        assert!(world.run(SECOND, World::is_done), "round {round}");
        world.pass(Duration::from_secs(3));
    }
    assert!(world.nodes.iter().all(|node| node.ready.len() == 1 && node.ended.is_empty()));
    world.pass(Duration::from_secs(50));
    assert_eq!(world.nodes[0].sessions.load(), (1, 0, 0));
}

#[test]
fn a_replayed_request_delays_the_peers_own_handshake_once() {
    let mut world = World::new(2, 1);
    world.queue(0, 1, 0..1);
    assert!(world.run(SECOND, World::is_done));
    let old: Vec<Flight> = world.sent.iter().filter(|one| one.is_part() && one.from == 0).cloned().collect();
    world.pass(Duration::from_secs(20 * 60));
    for node in [0, 1] {
        world.restart(node);
    }
    world.queue(1, 0, 0..1);
    for _ in 0..40 {
        old.iter().for_each(|flight| world.deliver(flight.clone()));
        world.pass(Duration::from_millis(100));
    }
    assert!(world.is_done(), "it waits for two seconds");
}

#[test]
fn no_change_of_any_byte_of_a_packet_is_accepted() {
    let mut world = World::new(2, 1);
    world.queue(0, 1, 0..1);
    assert!(world.run(SECOND, World::is_done));
    let pair = world.pair(0, 1);
    let now = world.now;
    let mut payload = Vec::new();
    let sealed = world.nodes[0].sessions.seal(now, &pair, |out| writes(out, b"\x01item"), &mut payload);
    assert_eq!(sealed, Ok(true));
    let local = world.nodes[1].address;
    let receiver = &mut world.nodes[1].sessions;
    for bit in 0..payload.len() * 8 {
        let mut altered = payload.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(receiver.open(now, &local, &mut altered).is_err(), "bit {bit}");
    }
    for length in 0..payload.len() {
        assert!(receiver.open(now, &local, &mut payload[..length].to_vec()).is_err());
    }
    let elsewhere = world.nodes[0].address;
    assert_eq!(
        world.nodes[1].sessions.open(now, &elsewhere, &mut payload.clone()).unwrap_err(),
        DropCause::UnknownSession,
        "a packet for another address"
    );
    assert!(world.nodes[1].sessions.open(now, &local, &mut payload).is_ok());
}

/// The reaction of the layer above to each request of a flood.
#[derive(Clone, Copy)]
enum Reaction {
    /// It accepts the request, which keeps its place until a first packet comes.
    Accept,
    /// It refuses the request, which gives its place back.
    Refuse,
    /// It accepts the request, and closes the conversation at once, which gives the place back.
    AcceptAndClose,
}

/// Sends the requests of many invented identities to one node over this neighbour. Returns the number that was read.
fn flood(
    target: &mut Sessions,
    to: &Identity,
    now: Time,
    hop: PreviousHop,
    (count, reaction): (u32, Reaction),
) -> usize {
    let mut rng = ChaCha20Rng::seed_from_u64(now.as_nanos() ^ u64::from(hop.neighbour.as_bytes()[0]));
    let mut read = 0;
    for _ in 0..count {
        let from = Identity::from_seed(&fresh_seed(&mut rng));
        let ours = initiation(&from, to, 1);
        for payload in parts(MESSAGE_REQUEST, 1, &ours.message) {
            let local = to.address();
            let _ = target.handle(now, SessionInput::Part { local, hop, payload: &payload });
        }
        while let Some(output) = target.poll_output() {
            if let SessionOutput::Requested { pair, .. } = output {
                read += 1;
                let accept = SessionInput::Accept { pair, standing: standing(1) };
                let inputs = match reaction {
                    Reaction::Accept => vec![accept],
                    Reaction::Refuse => vec![SessionInput::Refuse { pair }],
                    Reaction::AcceptAndClose => vec![accept, SessionInput::Close { pair }],
                };
                for input in inputs {
                    target.handle(now, input).unwrap();
                }
            }
        }
    }
    read
}

/// A neighbour of a host and a network of its own.
fn hop_of(number: u8) -> PreviousHop {
    PreviousHop {
        neighbour: identity(usize::from(number)).address(),
        host: u64::from(number),
        group: u64::from(number),
    }
}

#[test]
fn requests_that_keep_no_place_are_read_at_the_rate_of_a_neighbour() {
    let to = identity(1);
    let (burst, rate) = (200, 100);
    for reaction in [Reaction::Refuse, Reaction::AcceptAndClose] {
        let mut target = Sessions::with_suites([7; 32], Suite::CHACHA);
        target.add_local(&to);
        let now = Time::from_millis(1000);
        assert_eq!(flood(&mut target, &to, now, hop_of(3), (220, reaction)), burst, "the burst");
        assert_eq!(target.load(), (0, 0, 0), "no request has kept its place");
        for second in 1..4 {
            let now = now + second * SECOND;
            assert_eq!(flood(&mut target, &to, now, hop_of(3), (120, reaction)), rate, "second {second}");
        }
        let now = now + 3 * SECOND;
        assert_eq!(flood(&mut target, &to, now, hop_of(4), (20, reaction)), 20, "another neighbour");
    }
}

#[test]
fn a_flood_of_invented_identities_is_bounded_and_leaves_room_for_others() {
    let to = identity(1);
    let mut target = Sessions::with_suites([7; 32], Suite::CHACHA);
    target.add_local(&to);
    let now = Time::from_millis(1000);
    let accept = |count| (count, Reaction::Accept);
    let places = UNPROVED.each_neighbour;
    assert_eq!(flood(&mut target, &to, now, hop_of(3), accept(220)), places, "the places of a neighbour");
    assert_eq!(target.load(), (places, places, 0));
    let turns = (1..9).map(|turn| flood(&mut target, &to, now + turn * UNPROVED.turn, hop_of(3), accept(90)));
    assert_eq!(turns.collect::<Vec<_>>(), [places; 8], "each of them gives way after its turn");
    assert_eq!(target.load(), (places, places, 0));
    let now = now + 8 * UNPROVED.turn;
    assert_eq!(flood(&mut target, &to, now, hop_of(4), accept(20)), 20, "another neighbour is not concerned");
    target.handle_timeout(now + Duration::from_secs(46));
    assert_eq!(target.load(), (0, 0, 0));
    assert_eq!(target.next_deadline(), None);
}

#[test]
fn responses_that_do_not_verify_are_read_four_times_for_each_request() {
    let mut world = World::new(2, 1);
    world.filter = Box::new(|_, _| true);
    world.queue(0, 1, 0..1);
    let pair: Ends = world.pair(0, 1);
    let id = world.nodes[0].sessions.awaited_index(&pair).unwrap();
    let (local, hop) = (pair.local, world.hop(1));
    let mut causes = Vec::new();
    for round in 0..6u8 {
        for payload in parts(MESSAGE_RESPONSE, id, &[round; 1177]) {
            let result = world.input(0, SessionInput::Part { local, hop, payload: &payload });
            causes.extend(result.err());
        }
    }
    assert_eq!(causes[..4], [DropCause::BadHandshake; 4]);
    assert!(causes[4..].iter().all(|cause| *cause == DropCause::HandshakeLimit) && causes.len() >= 6);
    world.filter = Box::new(|_, _| false);
    assert!(world.run(SECOND, World::is_done), "the true response is read after the next request");
}

#[test]
fn a_crowd_that_comes_at_once_over_one_neighbour_has_its_sessions_within_two_seconds() {
    let mut world = World::new(160, 3);
    world.relay = Some(1);
    for node in 1..160 {
        world.queue(node, 0, 0..1);
    }
    assert!(world.run(Duration::from_secs(2), World::is_done), "{:?}", world.nodes[0].drops);
}
