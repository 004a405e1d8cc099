//! The handshake of the examples once more, by `snow`, HKDF and AEAD alone and from the printed secrets: what the
//! specification says of them is enough.

use curve25519_dalek::montgomery::MontgomeryPoint;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use ring::{aead, hkdf};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};

use super::handshake::{INITIATOR, MESH_KEY, RESPONDER, Whole, identity, seed, whole};
use super::*;
use crate::link::Suite;
use crate::wire::link::KEY_LEN;

const PROLOGUE: &[u8] = b"rouse link 1; ChaCha20-Poly1305, AES-256-GCM";

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
fn side(who: u8, ephemeral: &[u8; 32]) -> snow::HandshakeState {
    let secret = identity(who).x25519_secret();
    let pattern = "Noise_XX_25519_ChaChaPoly_BLAKE2s".parse().unwrap();
    let builder = snow::Builder::with_resolver(pattern, Box::new(Plain))
        .prologue(PROLOGUE)
        .and_then(|builder| builder.local_private_key(secret.as_slice()))
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(ephemeral);
    let built = if who == INITIATOR { builder.build_initiator() } else { builder.build_responder() };
    built.unwrap()
}

/// Both sides, after a handshake with the secrets of the example; the payloads are those that it had.
fn played(frames: [&[u8]; 3]) -> ([snow::HandshakeState; 2], [Vec<u8>; 3]) {
    let messages = [&frames[0][23..], &frames[1][10..], &frames[2][6..]];
    let first = ephemeral(INITIATOR, &messages[0][..KEY_LEN]);
    let second = ephemeral(RESPONDER, &messages[1][..KEY_LEN]);
    let mut sides = [side(INITIATOR, &first), side(RESPONDER, &second)];
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

pub(super) fn introductions(initiation: &[u8], response: &[u8], finish: &[u8]) -> [Vec<u8>; 2] {
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
