//! A whole handshake between two nodes, from fixed seeds.

use curve25519_dalek::montgomery::MontgomeryPoint;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use ring::{aead, hkdf};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};

use super::*;
use crate::identity::Identity;
use crate::link::{HandshakeOutput, Handshakes, LinkConfig, Path, Session, Suite};
use crate::netmod::Endpoint;
use crate::time::Time;
use crate::wire::codec::{decode, encode};
use crate::wire::link::{
    Cookie, Finish, Initiation, Introduction, KEY_LEN, Opening, Refusal, Response, TAG_LEN, frame, split,
};

const INITIATOR: u8 = 1;
const RESPONDER: u8 = 2;
const MESH_KEY: [u8; 32] = [7; 32];
const PROLOGUE: &[u8] = b"rouse link 1; ChaCha20-Poly1305, AES-256-GCM";

fn identity(who: u8) -> Identity {
    Identity::from_seed(&[who; 32])
}

/// All randomness of a node's handshakes.
fn seed(who: u8) -> [u8; 32] {
    [0x10 + who; 32]
}

fn config(who: u8) -> LinkConfig {
    LinkConfig {
        instance: Some(0x1111_1111_1111_1111 * u64::from(who)),
        suites: Suite::CHACHA,
        ..LinkConfig::default()
    }
}

fn path() -> Path {
    Path { netmod: 0, endpoint: Endpoint::new(b"there").unwrap() }
}

/// What a node wants to send, and the session if there is one.
fn outputs(node: &mut Handshakes) -> (Option<Vec<u8>>, Option<Session>) {
    let (mut sent, mut session) = (None, None);
    while let Some(output) = node.poll_output() {
        match output {
            HandshakeOutput::Transmit { frame, .. } => sent = Some(frame),
            HandshakeOutput::Established(made) => session = Some(*made),
            HandshakeOutput::Failed { reason, .. } => panic!("{reason}"),
        }
    }
    (sent, session)
}

fn answer(node: &mut Handshakes, frame: &[u8]) -> (Option<Vec<u8>>, Option<Session>) {
    // What is refused is answered too.
    let _ = node.handle(Time::from_millis(1), path(), 0, 1200, frame);
    outputs(node)
}

fn dialled(config: LinkConfig) -> (Handshakes, Vec<u8>) {
    let mut node = Handshakes::new(&identity(INITIATOR), config, seed(INITIATOR));
    node.dial(Time::from_millis(1), path(), 1200);
    let initiation = outputs(&mut node).0.expect("an initiation");
    (node, initiation)
}

struct Whole {
    initiation: Vec<u8>,
    response: Vec<u8>,
    finish: Vec<u8>,
    initiator: Session,
    responder: Session,
}

fn whole() -> Whole {
    let (mut first, initiation) = dialled(config(INITIATOR));
    let mut second = Handshakes::new(&identity(RESPONDER), config(RESPONDER), seed(RESPONDER));
    let response = answer(&mut second, &initiation).0.expect("a response");
    let (finish, initiator) = answer(&mut first, &response);
    let finish = finish.expect("a finish");
    let responder = answer(&mut second, &finish).1.expect("a session");
    Whole { initiation, response, finish, initiator: initiator.expect("a session"), responder }
}

/// The first frame that the initiator seals.
pub(super) fn first_frame() -> Vec<u8> {
    let mut out = Vec::new();
    whole().initiator.sealer.seal(|out| out.extend(link::probe()), &mut out).unwrap();
    out
}

/// What the responder finds in a frame of the initiator.
pub(super) fn opened(frame: &[u8]) -> Vec<u8> {
    whole().responder.opener.open(&mut frame.to_vec()).expect("a frame of this session").to_vec()
}

pub(super) fn made() -> Vec<(String, Vec<u8>)> {
    let Whole { initiation, response, finish, .. } = whole();
    let closed = dialled(LinkConfig { mesh_key: Some(MESH_KEY), ..config(INITIATOR) }).1;
    let busy = LinkConfig { load: 0, ..config(RESPONDER) };
    let mut busy = Handshakes::new(&identity(RESPONDER), busy, seed(RESPONDER));
    let cookie = answer(&mut busy, &initiation).0.expect("a cookie");
    let mut open = Handshakes::new(&identity(RESPONDER), config(RESPONDER), seed(RESPONDER));
    let refusal = answer(&mut open, &closed).0.expect("a refusal");
    let [of_responder, of_initiator] = introductions(&initiation, &response, &finish);
    let examples = [
        ("initiation", initiation),
        ("response", response),
        ("introduction-of-the-responder", of_responder),
        ("finish", finish),
        ("introduction-of-the-initiator", of_initiator),
        ("initiation-closed", closed),
        ("cookie", cookie),
        ("refusal", refusal),
    ];
    examples.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}

pub(super) fn read(name: &str, bytes: &[u8]) -> Reading {
    if name == "introduction" {
        return read_introduction(bytes);
    }
    let again;
    let rows = match name {
        "initiation" => {
            let (head, message) = split::<Initiation>(bytes).expect("an initiation");
            let (ephemeral, payload) = message.split_at(KEY_LEN);
            again = frame(&head, message);
            let mut rows = vec![
                Row::kind("frame", head.kind, name),
                Row::number("version", 1, head.version.into()),
                Row::number("flags", 1, head.flags.into()),
                Row::bytes("sender", &head.sender.to_le_bytes()),
                Row::bytes("cookie", &head.cookie),
                Row::bytes("ephemeral", ephemeral),
            ];
            if head.flags & Initiation::MESH == 0 {
                let (opening, padding) = split::<Opening>(payload).expect("an opening");
                rows.push(Row::bytes("instance", &opening.instance.to_le_bytes()));
                rows.push(Row::bytes("padding", padding));
            } else {
                let (sealed, tag) = payload.split_at(payload.len() - TAG_LEN);
                rows.push(Row::bytes("sealed", sealed));
                rows.push(Row::bytes("tag", tag));
            }
            rows
        }
        "response" => {
            let (head, message) = split::<Response>(bytes).expect("a response");
            again = frame(&head, message);
            let (ephemeral, message) = message.split_at(KEY_LEN);
            let (key, payload) = message.split_at(KEY_LEN + TAG_LEN);
            vec![
                Row::kind("frame", head.kind, name),
                Row::number("version", 1, head.version.into()),
                Row::bytes("sender", &head.sender.to_le_bytes()),
                Row::bytes("receiver", &head.receiver.to_le_bytes()),
                Row::bytes("ephemeral", ephemeral),
                Row::bytes("static", key),
                Row::bytes("payload", payload),
            ]
        }
        "finish" => {
            let (head, message) = split::<Finish>(bytes).expect("a finish");
            again = frame(&head, message);
            let (key, payload) = message.split_at(KEY_LEN + TAG_LEN);
            vec![
                Row::kind("frame", head.kind, name),
                Row::number("version", 1, head.version.into()),
                Row::bytes("receiver", &head.receiver.to_le_bytes()),
                Row::bytes("static", key),
                Row::bytes("payload", payload),
            ]
        }
        "cookie" => {
            let cookie = decode::<Cookie>(bytes).expect("a cookie");
            again = frame(&cookie, &[]);
            vec![
                Row::kind("frame", cookie.kind, name),
                Row::number("version", 1, cookie.version.into()),
                Row::bytes("receiver", &cookie.receiver.to_le_bytes()),
                Row::bytes("echo", &cookie.echo),
                Row::bytes("cookie", &cookie.cookie),
            ]
        }
        _ => {
            let refusal = decode::<Refusal>(bytes).expect("a refusal");
            again = frame(&refusal, &[]);
            vec![
                Row::kind("frame", refusal.kind, name),
                Row::number("version", 1, refusal.version.into()),
                Row::bytes("receiver", &refusal.receiver.to_le_bytes()),
                Row::bytes("echo", &refusal.echo),
                Row::number("reason", 1, refusal.reason.into()),
            ]
        }
    };
    Reading { rows, again, kinds: vec![(Layer::Frame, bytes[0])] }
}

fn read_introduction(bytes: &[u8]) -> Reading {
    let introduction = decode::<Introduction>(bytes).expect("an introduction");
    let rows = vec![
        Row::bytes("address", introduction.address.as_bytes()),
        Row::bytes("index", &introduction.index.to_le_bytes()),
        Row::bytes("instance", &introduction.instance.to_le_bytes()),
        Row::number("mtu", 2, introduction.mtu.into()),
        Row::number("suites", 1, introduction.suites.into()),
        Row::number("capabilities", 4, introduction.capabilities.into()),
    ];
    Reading { rows, again: encode(&introduction).unwrap(), kinds: Vec::new() }
}

/// The ephemeral secret of a node, found by its public key among all that its seed can have given.
fn ephemeral(who: u8, public: &[u8]) -> [u8; 32] {
    let mut secrets = (0..256).map(|word| {
        let (mut inner, mut secret) = ([0; 32], [0; 32]);
        let mut outer = ChaCha20Rng::from_seed(seed(who));
        outer.set_word_pos(word);
        outer.fill_bytes(&mut inner);
        ChaCha20Rng::from_seed(inner).fill_bytes(&mut secret);
        secret
    });
    let fits = |secret: &[u8; 32]| MontgomeryPoint::mul_base_clamped(*secret).as_bytes() == public;
    secrets.find(fits).expect("the ephemeral key comes from the seed")
}

/// What `snow` itself brings, and no randomness: the ephemeral keys are given.
struct Plain;

impl CryptoResolver for Plain {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        struct Never;
        impl Random for Never {
            fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), snow::Error> {
                Err(snow::Error::Rng)
            }
        }
        Some(Box::new(Never))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// One side of the handshake as `snow` alone has it, told the secrets.
fn plain(who: u8, ephemeral: &[u8; 32]) -> snow::HandshakeState {
    let secret = identity(who).x25519_secret();
    let pattern = "Noise_XX_25519_ChaChaPoly_BLAKE2s".parse().unwrap();
    let builder = snow::Builder::with_resolver(pattern, Box::new(Plain))
        .prologue(PROLOGUE)
        .and_then(|builder| builder.local_private_key(secret.as_slice()))
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(ephemeral);
    let side = if who == INITIATOR { builder.build_initiator() } else { builder.build_responder() };
    side.unwrap()
}

/// Both sides, after a handshake with the secrets of the example; the payloads are those that it had.
fn played(frames: [&[u8]; 3]) -> ([snow::HandshakeState; 2], [Vec<u8>; 3]) {
    let messages = [&frames[0][23..], &frames[1][10..], &frames[2][6..]];
    let first = ephemeral(INITIATOR, &messages[0][..KEY_LEN]);
    let second = ephemeral(RESPONDER, &messages[1][..KEY_LEN]);
    let mut sides = [plain(INITIATOR, &first), plain(RESPONDER, &second)];
    let mut payloads: [Vec<u8>; 3] = Default::default();
    for (nth, message) in messages.into_iter().enumerate() {
        let [initiator, responder] = &mut sides;
        let (from, to) = if nth == 1 { (responder, initiator) } else { (initiator, responder) };
        let mut payload = vec![0; 512];
        let length = to.read_message(message, &mut payload).expect("the message of the example");
        payload.truncate(length);
        let mut again = vec![0; 512];
        let length = from.write_message(&payload, &mut again).unwrap();
        assert_eq!(hex(&again[..length]), hex(message), "message {}, written again", nth + 1);
        payloads[nth] = payload;
    }
    (sides, payloads)
}

fn introductions(initiation: &[u8], response: &[u8], finish: &[u8]) -> [Vec<u8>; 2] {
    let (_, [_, of_responder, of_initiator]) = played([initiation, response, finish]);
    [of_responder, of_initiator]
}

/// The key of one direction, by RFC 5869 alone.
fn data_key(salt: &[u8], split: &[u8], suite: u8) -> [u8; 32] {
    struct Length;
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            32
        }
    }
    let mut key = [0; 32];
    let info = [b"rouse link data 1".as_slice(), &[suite]];
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(split);
    secret.expand(&info, Length).and_then(|okm| okm.fill(&mut key)).unwrap();
    key
}

/// All secrets of the example, and what comes of them.
pub(super) fn keys() -> Vec<Row> {
    let Whole { initiation, response, finish, .. } = whole();
    let (mut sides, _) = played([&initiation, &response, &finish]);
    let mut rows = Vec::new();
    for (who, name, public) in
        [(INITIATOR, "initiator", &initiation[23..55]), (RESPONDER, "responder", &response[10..42])]
    {
        let secret = identity(who).x25519_secret();
        let key = MontgomeryPoint::mul_base_clamped(*secret).to_bytes();
        rows.push(Row::bytes(&format!("{name}-seed"), &[who; 32]));
        rows.push(Row::bytes(&format!("{name}-address"), identity(who).address().as_bytes()));
        rows.push(Row::bytes(&format!("{name}-static-secret"), secret.as_slice()));
        rows.push(Row::bytes(&format!("{name}-static-public"), &key));
        rows.push(Row::bytes(&format!("{name}-ephemeral-secret"), &ephemeral(who, public)));
    }
    let hash = sides[0].get_handshake_hash().to_vec();
    let (first, second) = sides[0].dangerously_get_raw_split();
    rows.push(Row::bytes("handshake-hash", &hash));
    for (name, split) in [("to-responder", first), ("to-initiator", second)] {
        rows.push(Row::bytes(&format!("split-{name}"), &split));
        rows.push(Row::bytes(&format!("chacha20-{name}"), &data_key(&hash, &split, Suite::CHACHA)));
        rows.push(Row::bytes(&format!("aes256-{name}"), &data_key(&hash, &split, Suite::AES)));
    }
    rows
}

#[test]
fn the_printed_key_opens_the_printed_frame_without_any_of_our_code() {
    let keys = parse(&blocks("keys")["handshake"]);
    let key = keys.iter().find(|row| row.name == "chacha20-to-responder").unwrap();
    let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &key.bytes).unwrap();
    let frame = bytes_of(&parse(&blocks("hex")["data-frame"]));
    let (header, body) = frame.split_at(14);
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&header[6..14]);
    let mut body = body.to_vec();
    let plaintext = aead::LessSafeKey::new(key)
        .open_in_place(aead::Nonce::assume_unique_for_key(nonce), aead::Aad::from(header), &mut body)
        .expect("the frame opens");
    assert_eq!(plaintext, bytes_of(&parse(&blocks("hex")["probe"])));
}

#[test]
fn the_printed_secrets_give_the_printed_handshake_without_any_of_our_code() {
    let blocks = blocks("hex");
    let frame = |name: &str| bytes_of(&parse(&blocks[name]));
    let frames = [frame("initiation"), frame("response"), frame("finish")];
    let ([initiator, responder], payloads) = played([&frames[0], &frames[1], &frames[2]]);
    assert_eq!(initiator.get_handshake_hash(), responder.get_handshake_hash());
    assert_eq!(payloads[1], frame("introduction-of-the-responder"));
    assert_eq!(payloads[2], frame("introduction-of-the-initiator"));
}

#[test]
fn the_printed_initiation_of_a_closed_mesh_opens_with_the_mesh_key_alone() {
    let message = bytes_of(&parse(&blocks("hex")["initiation-closed"]))[23..].to_vec();
    for (key, opens) in [(MESH_KEY, true), ([8; 32], false)] {
        let pattern = "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s".parse().unwrap();
        let secret = identity(RESPONDER).x25519_secret();
        let mut responder = snow::Builder::with_resolver(pattern, Box::new(Plain))
            .prologue(PROLOGUE)
            .and_then(|builder| builder.local_private_key(secret.as_slice()))
            .and_then(|builder| builder.psk(0, &key))
            .and_then(|builder| builder.build_responder())
            .unwrap();
        let mut payload = [0; 512];
        let read = responder.read_message(&message, &mut payload);
        assert_eq!(read.ok().map(|_| payload[..8].to_vec()), opens.then_some(vec![0x11; 8]));
    }
}
