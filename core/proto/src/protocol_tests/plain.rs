//! The handshake of the examples, computed again by `snow`, HKDF and AEAD alone from the printed secrets. It shows that the
//! specification is sufficient for another implementation.

use curve25519_dalek::montgomery::MontgomeryPoint;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use ring::{aead, hkdf};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};

use super::handshake::{INITIATOR, MESH_KEY, RESPONDER, Whole, identity, seed, whole, whole_closed};
use super::rekey::{Renewed, renewed};
use super::*;
use crate::address::Address;
use crate::link::Suite;
use crate::wire::link::KEY_LEN;

const PROLOGUE: &[u8] = b"rouse link 1; ChaCha20-Poly1305, AES-256-GCM";

/// An ephemeral secret, found by its public key among all that `seed` can have given.
fn ephemeral(seed: [u8; 32], public: &[u8]) -> [u8; 32] {
    let mut secrets = (0..256).map(|word| {
        let (mut inner, mut secret) = ([0; 32], [0; 32]);
        let mut outer = ChaCha20Rng::from_seed(seed);
        outer.set_word_pos(word);
        outer.fill_bytes(&mut inner);
        ChaCha20Rng::from_seed(inner).fill_bytes(&mut secret);
        secret
    });
    let fits = |secret: &[u8; 32]| MontgomeryPoint::mul_base_clamped(*secret).as_bytes() == public;
    secrets.find(fits).expect("the ephemeral key comes from the seed")
}

/// The default cryptography of `snow` without randomness, since the ephemeral keys are given.
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

/// The keys that a side has before the handshake.
#[derive(Clone, Copy, Default)]
pub(super) struct KnownKeys<'a> {
    /// A secret of both sides, which is mixed in first.
    pub(super) psk: Option<&'a [u8; 32]>,
    /// The other side's static key, where the pattern requires it.
    pub(super) remote: Option<&'a [u8; 32]>,
}

/// One side of a handshake as `snow` alone has it, given the secrets.
pub(super) fn side(
    pattern: &str,
    prologue: &[u8],
    number: u8,
    ephemeral: &[u8; 32],
    known: KnownKeys<'_>,
) -> snow::HandshakeState {
    let KnownKeys { psk, remote } = known;
    let secret = identity(number).x25519_secret();
    let mut builder = snow::Builder::with_resolver(pattern.parse().unwrap(), Box::new(Plain))
        .prologue(prologue)
        .and_then(|builder| builder.local_private_key(secret.as_slice()))
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(ephemeral);
    if let Some(psk) = psk {
        builder = builder.psk(0, psk).unwrap();
    }
    if let Some(remote) = remote {
        builder = builder.remote_public_key(remote).unwrap();
    }
    let built = if number == INITIATOR { builder.build_initiator() } else { builder.build_responder() };
    built.unwrap()
}

/// Lets both sides read these messages and write each again; returns the payloads.
pub(super) fn play(sides: &mut [snow::HandshakeState; 2], messages: &[&[u8]]) -> Vec<Vec<u8>> {
    let play = |(nth, message): (usize, &&[u8])| {
        let [initiator, responder] = &mut *sides;
        let (from, to) = if nth == 1 { (responder, initiator) } else { (initiator, responder) };
        let mut payload = vec![0; 2048];
        let length = to.read_message(message, &mut payload).expect("the message of the example");
        payload.truncate(length);
        let mut again = vec![0; 2048];
        let length = from.write_message(&payload, &mut again).unwrap();
        assert_eq!(hex(&again[..length]), hex(message), "message {}, written again", nth + 1);
        payload
    };
    messages.iter().enumerate().map(play).collect()
}

/// Both sides, after the handshake with the secrets of the example; the payloads are those that it had.
fn played(frames: [&[u8]; 3], mesh: Option<&[u8; 32]>) -> ([snow::HandshakeState; 2], Vec<Vec<u8>>) {
    let messages = [&frames[0][23..], &frames[1][10..], &frames[2][6..]];
    let pattern = match mesh {
        Some(_) => "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s",
        None => "Noise_XX_25519_ChaChaPoly_BLAKE2s",
    };
    let mut sides = [(INITIATOR, messages[0]), (RESPONDER, messages[1])].map(|(end, message)| {
        let ephemeral = ephemeral(seed(end), &message[..KEY_LEN]);
        side(pattern, PROLOGUE, end, &ephemeral, KnownKeys { psk: mesh, remote: None })
    });
    let payloads = play(&mut sides, &messages);
    (sides, payloads)
}

fn played_open() -> [snow::HandshakeState; 2] {
    let Whole { initiation, response, finish, .. } = whole();
    played([&initiation, &response, &finish], None).0
}

pub(super) fn introductions(initiation: &[u8], response: &[u8], finish: &[u8]) -> [Vec<u8>; 2] {
    let (_, payloads) = played([initiation, response, finish], None);
    [payloads[1].clone(), payloads[2].clone()]
}

/// 32 bytes by RFC 5869 alone.
pub(super) fn derived(salt: &[u8], ikm: &[u8], info: &[&[u8]]) -> [u8; 32] {
    struct Length;
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            32
        }
    }
    let mut key = [0; 32];
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(ikm);
    secret.expand(info, Length).and_then(|okm| okm.fill(&mut key)).unwrap();
    key
}

/// The key of one direction.
fn data_key(salt: &[u8], split: &[u8], suite: u8) -> [u8; 32] {
    derived(salt, split, &[b"rouse link data 1", &[suite]])
}

/// The value to which the next handshake (the rekeying) is bound.
fn next_psk(done: &mut snow::HandshakeState) -> [u8; 32] {
    let hash = done.get_handshake_hash().to_vec();
    let (first, second) = done.dangerously_get_raw_split();
    derived(&hash, &[first, second].concat(), &[b"rouse link rekey 1"])
}

/// The hash of the example's handshake, and the half of its split for what the initiator sends.
pub(super) fn to_responder() -> ([u8; 32], [u8; 32]) {
    let [mut initiator, _] = played_open();
    let hash = initiator.get_handshake_hash().try_into().unwrap();
    (hash, initiator.dangerously_get_raw_split().0)
}

/// The keys that result from a completed handshake.
fn outcome(done: &mut snow::HandshakeState) -> Vec<Row> {
    let hash = done.get_handshake_hash().to_vec();
    let (first, second) = done.dangerously_get_raw_split();
    let mut rows = vec![Row::bytes("handshake-hash", &hash)];
    for (name, split) in [("to-responder", first), ("to-initiator", second)] {
        rows.push(Row::bytes(&format!("split-{name}"), &split));
        rows.push(Row::bytes(&format!("chacha20-{name}"), &data_key(&hash, &split, Suite::CHACHA)));
        rows.push(Row::bytes(&format!("aes256-{name}"), &data_key(&hash, &split, Suite::AES)));
    }
    rows
}

/// All secrets of the example, and the keys that result from them.
fn handshake_keys() -> Vec<Row> {
    let Whole { initiation, response, .. } = whole();
    let mut rows = Vec::new();
    for (end, name, public) in
        [(INITIATOR, "initiator", &initiation[23..55]), (RESPONDER, "responder", &response[10..42])]
    {
        let secret = identity(end).x25519_secret();
        let key = MontgomeryPoint::mul_base_clamped(*secret).to_bytes();
        rows.push(Row::bytes(&format!("{name}-seed"), &[end; 32]));
        rows.push(Row::bytes(&format!("{name}-address"), identity(end).address().as_bytes()));
        rows.push(Row::bytes(&format!("{name}-static-secret"), secret.as_slice()));
        rows.push(Row::bytes(&format!("{name}-static-public"), &key));
        rows.push(Row::bytes(&format!("{name}-ephemeral-secret"), &ephemeral(seed(end), public)));
    }
    rows.extend(outcome(&mut played_open()[0]));
    rows
}

/// Those of the same handshake in a closed mesh.
fn closed_keys() -> Vec<Row> {
    let Whole { initiation, response, finish, .. } = whole_closed();
    let (mut sides, payloads) = played([&initiation, &response, &finish], Some(&MESH_KEY));
    let open = whole();
    let introductions = introductions(&open.initiation, &open.response, &open.finish);
    assert_eq!(payloads[1..], introductions, "both handshakes carry the same introductions");
    let mut rows = vec![Row::bytes("mesh-key", &MESH_KEY)];
    rows.extend(outcome(&mut sides[0]));
    rows
}

/// Both sides of the rekeying, and the secrets that they had.
fn rekeyed() -> ([snow::HandshakeState; 2], Vec<Row>) {
    let Renewed { rekey, rekeyed, .. } = renewed();
    let messages = [&rekey[5..], &rekeyed[5..]];
    let psk = next_psk(&mut played_open()[0]);
    let prologue = [b"rouse link rekey 1".as_slice(), &1u32.to_le_bytes()].concat();
    let mut rows = vec![Row::bytes("psk", &psk)];
    let mut sides = [(INITIATOR, RESPONDER, "initiator"), (RESPONDER, INITIATOR, "responder")].map(
        |(end, other, name)| {
            let public = if end == INITIATOR { messages[0] } else { messages[1] };
            let secret = ephemeral(rekey::seed(end), &public[..KEY_LEN]);
            rows.push(Row::bytes(&format!("{name}-ephemeral-secret"), &secret));
            let remote = MontgomeryPoint::mul_base_clamped(*identity(other).x25519_secret()).to_bytes();
            let pattern = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s";
            side(pattern, &prologue, end, &secret, KnownKeys { psk: Some(&psk), remote: Some(&remote) })
        },
    );
    assert!(play(&mut sides, &messages).iter().all(Vec::is_empty), "no payload is sent");
    (sides, rows)
}

fn rekey_keys() -> Vec<Row> {
    let ([mut initiator, _], mut rows) = rekeyed();
    rows.extend(outcome(&mut initiator));
    rows.push(Row::bytes("psk-of-the-next", &next_psk(&mut initiator)));
    rows
}

/// An address in each of its forms.
fn address() -> Vec<Row> {
    let address = identity(INITIATOR).address();
    let text = address.to_string();
    let data = bech32::decode(&text).expect("a checksum that holds");
    assert_eq!((data.0.as_str(), data.1.as_slice()), ("rouse", address.as_bytes().as_slice()));
    assert_eq!(text.parse::<Address>().expect("an address"), address);
    vec![
        Row::bytes("seed", &[INITIATOR; 32]),
        Row::bytes("address", address.as_bytes()),
        Row::bytes("key-hash", &blake3::hash(address.as_bytes()).as_bytes()[..8]),
        Row::text("text", text.as_bytes()),
    ]
}

/// All blocks of keys.
pub(super) fn keys() -> [(&'static str, Vec<Row>); 6] {
    [
        ("address", address()),
        ("handshake", handshake_keys()),
        ("handshake-closed", closed_keys()),
        ("rekey", rekey_keys()),
        ("session", session::session_keys()),
        ("session-rekey", session::rekey_keys()),
    ]
}

/// A row of a block of keys.
pub(super) fn printed(block: &str, name: &str) -> Vec<u8> {
    let keys = parse(&blocks("keys")[block]);
    keys.into_iter().find(|row| row.name == name).expect("a key of this name").bytes
}

#[test]
fn the_printed_keys_open_the_printed_frames_without_any_of_our_code() {
    for (frame, block, name, algorithm, phase, content) in [
        ("data-frame", "handshake", "chacha20-to-responder", &aead::CHACHA20_POLY1305, 0, "probe"),
        ("data-frame-of-aes", "handshake", "aes256-to-responder", &aead::AES_256_GCM, 0, "probe"),
        ("data-frame-renewed", "rekey", "chacha20-to-responder", &aead::CHACHA20_POLY1305, 1, "packet"),
    ] {
        let key = aead::UnboundKey::new(algorithm, &printed(block, name)).unwrap();
        let frame = bytes_of(&parse(&blocks("hex")[frame]));
        let (header, body) = frame.split_at(14);
        assert_eq!(header[1], phase);
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&header[6..14]);
        let mut body = body.to_vec();
        let plaintext = aead::LessSafeKey::new(key)
            .open_in_place(aead::Nonce::assume_unique_for_key(nonce), aead::Aad::from(header), &mut body)
            .expect("the frame opens");
        assert_eq!(plaintext, bytes_of(&parse(&blocks("hex")[content])));
    }
}

#[test]
fn the_printed_secrets_give_the_printed_handshake_without_any_of_our_code() {
    let blocks = blocks("hex");
    let frame = |name: &str| bytes_of(&parse(&blocks[name]));
    for (mesh, names, keys) in [
        (None, ["initiation", "response", "finish"], "handshake"),
        (Some(&MESH_KEY), ["initiation-closed", "response-closed", "finish-closed"], "handshake-closed"),
    ] {
        let frames = names.map(frame);
        let ([initiator, responder], payloads) = played([&frames[0], &frames[1], &frames[2]], mesh);
        assert_eq!(initiator.get_handshake_hash(), printed(keys, "handshake-hash"));
        assert_eq!(responder.get_handshake_hash(), printed(keys, "handshake-hash"));
        assert_eq!(payloads[1], frame("introduction-of-the-responder"));
        assert_eq!(payloads[2], frame("introduction-of-the-initiator"));
    }
}

#[test]
fn both_ends_of_the_printed_rekeying_come_to_the_printed_keys() {
    let ([mut initiator, mut responder], _) = rekeyed();
    assert_eq!(initiator.get_handshake_hash(), printed("rekey", "handshake-hash"));
    assert_eq!(responder.get_handshake_hash(), printed("rekey", "handshake-hash"));
    let (first, second) = initiator.dangerously_get_raw_split();
    assert_eq!(first.as_slice(), printed("rekey", "split-to-responder"));
    assert_eq!(second.as_slice(), printed("rekey", "split-to-initiator"));
    assert_eq!((first, second), responder.dangerously_get_raw_split());
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
