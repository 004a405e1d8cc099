//! A session between two addresses, from fixed seeds, and its keys, computed again by `snow`, `ml-kem`, HKDF and AEAD alone.

use curve25519_dalek::montgomery::MontgomeryPoint;
use ml_kem::Decapsulate;
use ml_kem::ml_kem_768::DecapsulationKey;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use ring::aead;

use super::handshake::{INITIATOR, RESPONDER, identity};
use super::plain::{KnownKeys, derived, play, printed, side};
use super::*;
use crate::link::Suite;
use crate::session::Standing;
use crate::session::examples::{
    EPHEMERAL_SEEDS, KEM_RANDOMNESS, KEM_SEED, REKEY_SEEDS, SessionExample, session_example,
};
use crate::wire::codec::{decode, encode};
use crate::wire::session as wire;
use crate::wire::session::{PartHeader, SessionRekey, SessionRequest, SessionResponse};

const PROLOGUE: &[u8] = b"rouse session 1; ML-KEM-768; ChaCha20-Poly1305, AES-256-GCM";

fn example() -> SessionExample {
    session_example(&identity(INITIATOR), &identity(RESPONDER), &super::message::hello())
}

fn ephemeral(seed: [u8; 32]) -> [u8; 32] {
    let mut secret = [0; 32];
    ChaCha20Rng::from_seed(seed).fill_bytes(&mut secret);
    secret
}

fn remote(end: u8) -> [u8; 32] {
    MontgomeryPoint::mul_base_clamped(*identity(end).x25519_secret()).to_bytes()
}

/// Both sides after the handshake of the example, and the payloads.
fn played(request: &[u8], response: &[u8]) -> ([snow::HandshakeState; 2], Vec<Vec<u8>>) {
    let prologue = [PROLOGUE, identity(RESPONDER).address().as_bytes()].concat();
    let pattern = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
    let of_responder = remote(RESPONDER);
    let mut sides =
        [(INITIATOR, EPHEMERAL_SEEDS[0], Some(&of_responder)), (RESPONDER, EPHEMERAL_SEEDS[1], None)].map(
            |(end, seed, remote)| {
                side(pattern, &prologue, end, &ephemeral(seed), KnownKeys { psk: None, remote })
            },
        );
    let payloads = play(&mut sides, &[request, response]);
    (sides, payloads)
}

/// The secret of ML-KEM, from the seed of the initiator and the ciphertext in the opened response.
fn kem_secret(response: &[u8]) -> [u8; 32] {
    let ciphertext: [u8; 1088] = response[41..].try_into().unwrap();
    DecapsulationKey::from_seed(KEM_SEED.into()).decapsulate(&ciphertext.into()).0
}

/// The keys that result from a completed handshake, and the pre-shared key of the next one.
fn outcome(done: &mut snow::HandshakeState, kem: &[u8], next: &str) -> Vec<Row> {
    let hash = done.get_handshake_hash().to_vec();
    let (first, second) = done.dangerously_get_raw_split();
    let mut rows = vec![Row::bytes("handshake-hash", &hash)];
    for (name, split) in [("to-responder", first), ("to-initiator", second)] {
        rows.push(Row::bytes(&format!("split-{name}"), &split));
        for (cipher, suite) in [("chacha20", Suite::CHACHA), ("aes256", Suite::AES)] {
            let key = derived(&hash, &[&split, kem].concat(), &[b"rouse session data 1", &[suite]]);
            rows.push(Row::bytes(&format!("{cipher}-{name}"), &key));
        }
    }
    let psk = derived(&hash, &[&first, &second, kem].concat(), &[b"rouse session rekey 1"]);
    rows.push(Row::bytes(next, &psk));
    rows
}

/// All secrets of the session, and the keys that result from them.
pub(super) fn session_keys() -> Vec<Row> {
    let SessionExample { request, response, .. } = example();
    let ([mut initiator, _], payloads) = played(&request, &response);
    let secret = kem_secret(&payloads[1]);
    let mut rows = vec![
        Row::bytes("initiator-ephemeral-secret", &ephemeral(EPHEMERAL_SEEDS[0])),
        Row::bytes("responder-ephemeral-secret", &ephemeral(EPHEMERAL_SEEDS[1])),
        Row::bytes("kem-seed", &KEM_SEED),
        Row::bytes("kem-randomness", &KEM_RANDOMNESS),
        Row::bytes("kem-secret", &secret),
    ];
    rows.extend(outcome(&mut initiator, &secret, "psk"));
    rows
}

/// Both sides of the rekeying, whose pre-shared key is the one of the handshake.
fn rekeyed() -> [snow::HandshakeState; 2] {
    let SessionExample { rekey, rekeyed, .. } = example();
    let psk = session_keys().pop().expect("the last row").bytes.try_into().expect("32 bytes");
    let prologue = [b"rouse session rekey 1".as_slice(), &1u32.to_le_bytes()].concat();
    let mut sides = [(INITIATOR, RESPONDER, REKEY_SEEDS[0]), (RESPONDER, INITIATOR, REKEY_SEEDS[1])].map(
        |(end, other, seed)| {
            let pattern = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s";
            side(
                pattern,
                &prologue,
                end,
                &ephemeral(seed),
                KnownKeys { psk: Some(&psk), remote: Some(&remote(other)) },
            )
        },
    );
    assert!(play(&mut sides, &[&rekey[9..], &rekeyed[9..]]).iter().all(Vec::is_empty), "no payload is sent");
    sides
}

pub(super) fn rekey_keys() -> Vec<Row> {
    let mut rows = vec![
        Row::bytes("initiator-ephemeral-secret", &ephemeral(REKEY_SEEDS[0])),
        Row::bytes("responder-ephemeral-secret", &ephemeral(REKEY_SEEDS[1])),
    ];
    let [mut initiator, _] = rekeyed();
    rows.extend(outcome(&mut initiator, &[], "psk-of-the-next"));
    rows
}

pub(super) fn made() -> Vec<(String, Vec<u8>)> {
    let SessionExample { request, response, part, packet, message, rekey, rekeyed } = example();
    let (_, payloads) = played(&request, &response);
    let examples = [
        ("session-part", part),
        ("session-request", request),
        ("session-request-opened", payloads[0].clone()),
        ("session-response", response),
        ("session-response-opened", payloads[1].clone()),
        ("session-packet", packet),
        ("session-message", message),
        ("session-confirm", vec![wire::CONTENT_CONFIRM]),
        ("session-confirmed", vec![wire::CONTENT_CONFIRMED]),
        ("session-rekey", rekey),
        ("session-rekeyed", rekeyed),
    ];
    examples.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}

pub(super) fn read(name: &str, bytes: &[u8]) -> Reading {
    match name {
        "session-part" => read_part(bytes),
        "session-packet" | "session-message" => read_packet(bytes),
        "session-request-opened" => {
            let request: SessionRequest = decode(bytes).expect("a request");
            let mut rows = vec![Row::bytes("address", request.address.as_bytes())];
            rows.extend(terms(request.index, request.suites, request.capabilities, &request.standing));
            rows.push(Row::bytes("kem-key", &request.kem_key));
            Reading { rows, again: encode(&request).unwrap(), kinds: Vec::new() }
        }
        "session-response-opened" => {
            let response: SessionResponse = decode(bytes).expect("a response");
            let mut rows = terms(response.index, response.suites, response.capabilities, &response.standing);
            rows.push(Row::bytes("kem-ciphertext", &response.kem_ciphertext));
            Reading { rows, again: encode(&response).unwrap(), kinds: Vec::new() }
        }
        "session-request" | "session-response" => {
            let (ephemeral, rest) = bytes.split_at(32);
            let (key, payload) = rest.split_at(if name == "session-request" { 48 } else { 0 });
            let mut rows = vec![Row::bytes("ephemeral", ephemeral)];
            rows.extend((!key.is_empty()).then(|| Row::bytes("static", key)));
            rows.push(Row::bytes("payload", payload));
            Reading { rows, again: bytes.to_vec(), kinds: Vec::new() }
        }
        _ => read_content(bytes),
    }
}

fn terms(index: u32, suites: u8, capabilities: u32, standing: &Standing) -> Vec<Row> {
    vec![
        Row::bytes("index", &index.to_le_bytes()),
        Row::number("suites", 1, suites.into()),
        Row::number("capabilities", 4, capabilities.into()),
        Row::bytes("incarnation", &standing.incarnation.to_le_bytes()),
        Row::number("floor", 8, standing.floor),
        Row::bytes("peer-incarnation", &standing.peer_incarnation.to_le_bytes()),
        Row::number("taken", 8, standing.taken),
    ]
}

fn read_part(bytes: &[u8]) -> Reading {
    let (header, part) = PartHeader::read(bytes).expect("a part");
    let name = if header.message == wire::MESSAGE_REQUEST { "request" } else { "response" };
    let rows = vec![
        Row::kind("payload", header.kind, "part"),
        Row::kind("message", header.message, name),
        Row::bytes("id", &header.id.to_le_bytes()),
        Row::number("number", 1, header.number.into()),
        Row::number("total", 2, header.total.into()),
        Row::bytes("bytes", part),
    ];
    Reading {
        rows,
        again: [&encode(&header).unwrap()[..], part].concat(),
        kinds: vec![(Layer::Payload, bytes[0])],
    }
}

fn read_packet(bytes: &[u8]) -> Reading {
    let (index, counter) = wire::read_session_header(bytes).expect("a packet");
    let (_, sealed) = bytes.split_at(wire::SESSION_HEADER_LEN);
    let (ciphertext, tag) = sealed.split_at(sealed.len() - wire::SESSION_TAG_LEN);
    let rows = vec![
        Row::kind("payload", bytes[0], "session"),
        Row::bytes("receiver", &index.to_le_bytes()),
        Row::number("counter", 8, counter),
        Row::bytes("ciphertext", ciphertext),
        Row::bytes("tag", tag),
    ];
    let again = [&wire::session_header(index, counter)[..], sealed].concat();
    Reading { rows, again, kinds: vec![(Layer::Payload, bytes[0])] }
}

fn read_content(bytes: &[u8]) -> Reading {
    let name = match bytes[0] {
        wire::CONTENT_CONFIRM => "confirm",
        wire::CONTENT_CONFIRMED => "confirmed",
        wire::CONTENT_REKEY => "rekey",
        wire::CONTENT_REKEYED => "rekeyed",
        kind => panic!("{kind} is no content of a session"),
    };
    let mut rows = vec![Row::kind("content", bytes[0], name)];
    let mut again = vec![bytes[0]];
    if bytes.len() > 1 {
        let rekey: SessionRekey = decode(&bytes[1..]).expect("a rekey");
        again = wire::rekey_content(bytes[0], &rekey);
        let (ephemeral, tag) = rekey.message.split_at(32);
        rows.push(Row::number("generation", 4, rekey.generation.into()));
        rows.push(Row::bytes("index", &rekey.index.to_le_bytes()));
        rows.push(Row::bytes("ephemeral", ephemeral));
        rows.push(Row::bytes("tag", tag));
    }
    Reading { rows, again, kinds: vec![(Layer::Content, bytes[0])] }
}

#[test]
fn the_printed_secrets_give_the_printed_session_without_any_of_our_code() {
    let block = |name: &str| bytes_of(&parse(&blocks("hex")[name]));
    let (request, response) = (block("session-request"), block("session-response"));
    let ([initiator, responder], payloads) = played(&request, &response);
    assert_eq!(payloads, [block("session-request-opened"), block("session-response-opened")]);
    for side in [initiator, responder] {
        assert_eq!(side.get_handshake_hash(), printed("session", "handshake-hash"));
    }
    let seed: [u8; 64] = printed("session", "kem-seed").try_into().unwrap();
    let pair = DecapsulationKey::from_seed(seed.into());
    let randomness: [u8; 32] = printed("session", "kem-randomness").try_into().unwrap();
    let (ciphertext, secret) = pair.encapsulation_key().encapsulate_deterministic(&randomness.into());
    assert_eq!(ciphertext.0[..], payloads[1][41..]);
    assert_eq!(secret.0[..], printed("session", "kem-secret"));
    for side in rekeyed() {
        assert_eq!(side.get_handshake_hash(), printed("session-rekey", "handshake-hash"));
    }
}

#[test]
fn the_printed_key_opens_the_printed_packets_of_the_session() {
    for (packet, content) in [("session-packet", "session-confirm"), ("session-message", "message")] {
        let [packet, content] = [packet, content].map(|name| bytes_of(&parse(&blocks("hex")[name])));
        assert_eq!(hex(&opened(&packet)), hex(&content));
    }
}

/// The content of a packet, opened with the printed key.
fn opened(packet: &[u8]) -> Vec<u8> {
    let key = printed("session", "chacha20-to-responder");
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &key).unwrap());
    let (header, body) = packet.split_at(13);
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&header[5..13]);
    let mut body = body.to_vec();
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    key.open_in_place(nonce, aead::Aad::from(header), &mut body).expect("it opens").to_vec()
}

/// The packet of the session that carries the example of a message.
pub(super) fn sealed_message() -> Vec<u8> {
    example().message
}
