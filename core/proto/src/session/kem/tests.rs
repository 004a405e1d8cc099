//! ML-KEM-768 against the vectors of NIST, and what a session relies on.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::*;

const VECTORS: &str = include_str!("vectors.txt");

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    unhex(text).try_into().unwrap()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// The fields of the vectors of this name.
fn vectors(name: &str) -> Vec<Vec<&'static str>> {
    let lines = VECTORS.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines.filter(|fields| fields[0] == name).map(|fields| fields[1..].to_vec()).collect()
}

/// The key pair of an expanded decapsulation key, as NIST prints it.
fn expanded(dk: &str) -> KemKeyPair {
    let bytes: [u8; 2400] = array(dk);
    #[expect(deprecated, reason = "the vectors of NIST for decapsulation have no seed")]
    let key = DecapsulationKey::from_expanded((&bytes).into());
    KemKeyPair(key.unwrap())
}

fn seed(byte: u8) -> Zeroizing<[u8; 64]> {
    Zeroizing::new([byte; 64])
}

#[test]
fn the_key_pairs_are_those_of_nist() {
    let all = vectors("keygen");
    assert_eq!(all.len(), 25);
    for fields in all {
        let [number, d, z, public] = fields[..] else { panic!("{fields:?}") };
        let seed = Zeroizing::new([array::<32>(d), array::<32>(z)].concat().try_into().unwrap());
        assert_eq!(sha256(&KemKeyPair::from_seed(&seed).public()), unhex(public), "{number}");
    }
}

#[test]
fn the_encapsulations_are_those_of_nist() {
    let all = vectors("encaps");
    assert_eq!(all.len(), 4);
    for fields in all {
        let [number, public, randomness, ciphertext, secret] = fields[..] else { panic!("{fields:?}") };
        let made = encapsulate(&array(public), &Zeroizing::new(array(randomness))).unwrap();
        assert_eq!(sha256(&made.0), unhex(ciphertext), "{number}");
        assert_eq!(made.1.to_vec(), unhex(secret), "{number}");
    }
}

#[test]
fn the_decapsulations_are_those_of_nist_also_of_altered_ciphertexts() {
    let pair = expanded(vectors("dk")[0][0]);
    let all = vectors("decaps");
    assert_eq!(all.len(), 10);
    assert!(["valid", "altered"].iter().all(|kind| all.iter().any(|fields| fields[1] == *kind)));
    for fields in all {
        let [number, _, ciphertext, secret] = fields[..] else { panic!("{fields:?}") };
        assert_eq!(pair.decapsulate(&array(ciphertext)).to_vec(), unhex(secret), "{number}");
    }
}

#[test]
fn both_ends_have_the_same_secret_and_an_altered_ciphertext_gives_another_each_time() {
    let pair = KemKeyPair::from_seed(&seed(1));
    let (ciphertext, secret) = encapsulate(&pair.public(), &Zeroizing::new([2; 32])).unwrap();
    assert_eq!(pair.decapsulate(&ciphertext), secret);
    let mut seen = vec![secret];
    for at in [0, 500, KEM_CIPHERTEXT_LEN - 1] {
        let mut altered = ciphertext;
        altered[at] ^= 1;
        let rejected = pair.decapsulate(&altered);
        assert_eq!(pair.decapsulate(&altered), rejected, "the same ciphertext gives the same secret");
        assert!(!seen.contains(&rejected));
        seen.push(rejected);
    }
    let other = KemKeyPair::from_seed(&seed(3));
    assert!(!seen.contains(&other.decapsulate(&ciphertext)));
}

#[test]
fn a_public_key_that_is_not_canonical_is_refused() {
    let mut public = KemKeyPair::from_seed(&seed(1)).public();
    assert!(encapsulate(&public, &Zeroizing::new([2; 32])).is_some());
    // The first coefficient becomes 4095, which is not below 3329.
    public[0] = 0xff;
    public[1] |= 0x0f;
    assert!(encapsulate(&public, &Zeroizing::new([2; 32])).is_none());
}
