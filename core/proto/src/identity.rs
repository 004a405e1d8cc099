//! Identities: the secret keys of addresses, and the verification of signatures.

use std::fmt;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::address::Address;

/// An ed25519 key pair. Its holder can act as the address: sign its announces, complete its handshakes and receive its messages.
///
/// The secret is erased from memory when it is dropped, and never printed: `Debug` prints the address.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
}

impl Identity {
    /// A new identity, from the operating system's source of randomness.
    ///
    /// # Panics
    /// When the operating system has no randomness to give, in which case nothing that follows would be safe.
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).expect("the operating system gives random bytes");
        Self::from_seed(&seed)
    }

    /// The identity of a 32-byte secret seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Identity { key: SigningKey::from_bytes(seed) }
    }

    /// The address of this identity: its public key.
    pub fn address(&self) -> Address {
        Address::from_bytes(self.key.verifying_key().to_bytes())
    }

    /// An ed25519 signature (RFC 8032) of `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// The X25519 secret of the same key (RFC 7748), for handshakes.
    pub fn x25519_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_scalar_bytes())
    }

    /// The secret from which the hop chain of an announce begins: the same for the same `seq`, so that nothing has to be
    /// stored, and secret until the origin sends it to its neighbours.
    pub fn chain_seed(&self, seq: u64) -> [u8; 16] {
        let secret = Zeroizing::new(self.key.to_bytes());
        let key = Zeroizing::new(blake3::derive_key("rouse 2026 hop chain", secret.as_ref()));
        let hash = blake3::keyed_hash(&key, &seq.to_le_bytes());
        let (head, _) = hash.as_bytes().split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        *head
    }

    /// The secret seed from which [`Identity::from_seed`] makes the same identity, for a file that only its owner reads.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.address()).finish()
    }
}

/// Verifies many ed25519 signatures, `(address, message, signature)`, which costs less than to verify each by itself; returns for
/// each whether it is valid. Small-order and non-canonical keys are refused.
///
/// The result for a signature does not depend on the others of its batch: a valid batch fulfils the equation with the cofactor
/// (RFC 8032, section 5.1.7), and when a batch fails each signature is verified by that equation. Otherwise the owner of a key
/// could make signatures that one node accepts and passes on, and that the next node counts as forged.
pub fn verify_all(claims: &[(&Address, &[u8], &[u8; 64])]) -> Vec<bool> {
    let keys: Vec<Option<VerifyingKey>> = claims.iter().map(|(address, ..)| strict_key(address)).collect();
    let sound = claims.iter().zip(&keys).filter_map(|((_, message, signature), key)| {
        Some((*message, ed25519_dalek::Signature::from_bytes(signature), (*key)?))
    });
    let (messages, rest): (Vec<_>, Vec<_>) =
        sound.map(|(message, signature, key)| (message, (signature, key))).unzip();
    let (signatures, sound): (Vec<_>, Vec<_>) = rest.into_iter().unzip();
    if sound.len() > 1 && ed25519_dalek::verify_batch(&messages, &signatures, &sound).is_ok() {
        return keys.iter().map(Option::is_some).collect();
    }
    let each = claims.iter().zip(keys);
    each.map(|((address, message, signature), key)| {
        key.is_some_and(|key| holds(address, &key, message, signature).unwrap_or(false))
    })
    .collect()
}

/// The equation with the cofactor: 8·(s·B − h·A − R) is nothing. `None` when `s` is not canonical or R not a point.
fn holds(address: &Address, key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> Option<bool> {
    let (point, s) = signature.split_first_chunk::<32>()?;
    let s = Option::from(Scalar::from_canonical_bytes(s.try_into().ok()?))?;
    let h = challenge(point, address, message);
    let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&h, &-key.to_edwards(), &s);
    Some((expected - CompressedEdwardsY(*point).decompress()?).is_small_order())
}

fn challenge(point: &[u8; 32], address: &Address, message: &[u8]) -> Scalar {
    let hash = Sha512::new().chain_update(point).chain_update(address.as_bytes()).chain_update(message);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

/// The key of an address that is a point in its canonical form, and not of small order.
fn strict_key(address: &Address) -> Option<VerifyingKey> {
    // Not canonical: y from 2^255 - 19 on. (The other such form, of x = 0, is of small order.)
    let [low, middle @ .., high] = address.as_bytes();
    if *low >= 0xed && high & 0x7f == 0x7f && middle.iter().all(|byte| *byte == 0xff) {
        return None;
    }
    VerifyingKey::from_bytes(address.as_bytes()).ok().filter(|key| !key.is_weak())
}

/// The X25519 public key of an address, or `None` when it is not a point, not canonical or of small order.
pub fn x25519_public(address: &Address) -> Option<[u8; 32]> {
    let key = VerifyingKey::from_bytes(address.as_bytes()).ok()?;
    if key.is_weak() || key.as_bytes() != &key.to_edwards().compress().to_bytes() {
        return None;
    }
    Some(key.to_montgomery().to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_not_printed() {
        let identity = Identity::from_seed(&[0xab; 32]);
        assert!(!format!("{identity:?}").contains("abab"));
    }

    #[test]
    fn both_forms_of_the_key_belong_together() {
        let identity = Identity::from_seed(&[5; 32]);
        let secret = *identity.x25519_secret();
        let public = curve25519_dalek::montgomery::MontgomeryPoint::mul_base_clamped(secret);
        assert_eq!(x25519_public(&identity.address()), Some(public.to_bytes()));
        assert_eq!(x25519_public(&Address::from_bytes([0; 32])), None, "a small-order key is refused");
    }

    #[test]
    fn in_a_batch_exactly_the_bad_ones_are_refused() {
        let signed: Vec<_> = (0..9u8)
            .map(|n| {
                let identity = Identity::from_seed(&[n; 32]);
                (identity.address(), vec![n; 40], identity.sign(&[n; 40]))
            })
            .collect();
        fn claims(signed: &[(Address, Vec<u8>, [u8; 64])]) -> Vec<(&Address, &[u8], &[u8; 64])> {
            signed.iter().map(|(address, message, signature)| (address, &message[..], signature)).collect()
        }
        assert_eq!(verify_all(&claims(&signed)), [true; 9]);
        assert_eq!(verify_all(&claims(&signed[..1])), [true]);
        assert_eq!(verify_all(&[]), [false; 0]);
        let mut bad = signed.clone();
        bad[3].2[5] ^= 1;
        bad[7].1[0] ^= 1;
        // A key of small order verifies anything; one that is not canonical has a twin.
        bad[5].0 = Address::from_bytes([0; 32]);
        let mut twin = [0xff; 32];
        (twin[0], twin[31]) = (0xf0, 0x7f);
        bad[8].0 = Address::from_bytes(twin);
        let verdict = verify_all(&claims(&bad));
        assert_eq!(verdict, [true, true, true, false, true, false, true, false, false]);
        // The identity element as key and R with s = 0 satisfies the bare equation.
        let mut one = [0; 32];
        one[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        bad[0] = (Address::from_bytes(one), b"anything".to_vec(), signature);
        assert!(!verify_all(&claims(&bad))[0]);
        assert_eq!(verify_all(&claims(&bad[..1])), [false]);
    }

    #[test]
    fn a_signature_with_torsion_holds_for_all_or_for_none_whatever_it_is_verified_with() {
        let honest: Vec<_> = (0..5u8)
            .map(|n| (Identity::from_seed(&[n; 32]), vec![n; 40]))
            .map(|(identity, message)| (identity.address(), message.clone(), identity.sign(&message)))
            .collect();
        let secret = ed25519_dalek::hazmat::ExpandedSecretKey::from(&[9; 32]);
        let address = Identity::from_seed(&[9; 32]).address();
        for number in 0..64u8 {
            let nonce = Scalar::from(1_000 + u64::from(number));
            let torsion = curve25519_dalek::constants::EIGHT_TORSION[usize::from(number % 8)];
            let point = (EdwardsPoint::mul_base(&nonce) + torsion).compress().to_bytes();
            let message = vec![number; 40];
            let s = nonce + challenge(&point, &address, &message) * secret.scalar;
            let signature: [u8; 64] = [point, s.to_bytes()].concat().try_into().unwrap();
            let crafted = (address, message, signature);
            let claim = |(address, message, signature)| -> (&Address, &[u8], &[u8; 64]) {
                let message: &Vec<u8> = message;
                (address, message, signature)
            };
            let alone = verify_all(&[claim((&crafted.0, &crafted.1, &crafted.2))]);
            let others =
                honest.iter().map(|(address, message, signature)| claim((address, message, signature)));
            let all: Vec<_> = others.chain([claim((&crafted.0, &crafted.1, &crafted.2))]).collect();
            assert_eq!((alone, verify_all(&all)), (vec![true], vec![true; 6]), "{number}");
        }
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_only() {
        let identity = Identity::from_seed(&[5; 32]);
        let signature = identity.sign(b"m");
        let verify =
            |address: &Address, message: &[u8]| verify_all(&[(address, message, &signature)]) == [true];
        assert!(verify(&identity.address(), b"m"));
        assert!(!verify(&identity.address(), b"n"));
        assert!(!verify(&Identity::from_seed(&[6; 32]).address(), b"m"));
    }
}
