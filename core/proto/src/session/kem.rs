//! The post-quantum part of a session's keys: ML-KEM-768 (FIPS 203). No other file names the library.
//!
//! The library is `ml-kem`. `libcrux-ml-kem` is about four times as fast, but its current release, the only one without
//! an advisory in its dependencies, does not build with the compilers that this project promises, wipes no secret, and
//! has a tree of dependencies three times as large. `ml-kem` has no advisory, needs Rust 1.87 and wipes its keys.
//!
//! Randomness comes from the caller, so that a test can repeat every run.

use ml_kem::array::Array;
use ml_kem::ml_kem_768::{Ciphertext, DecapsulationKey, EncapsulationKey};
use ml_kem::{Decapsulate, Key, KeyExport};
use zeroize::Zeroizing;

use crate::wire::session::{KEM_CIPHERTEXT_LEN, KEM_KEY_LEN};

/// A secret that both ends of an encapsulation share. It is overwritten when it is dropped.
pub(super) type KemSecret = Zeroizing<[u8; 32]>;

/// A key pair for one encapsulation. The library overwrites it when it is dropped.
pub(super) struct KemKeyPair(DecapsulationKey);

impl KemKeyPair {
    /// Derives the key pair of a seed: `d` and `z` of FIPS 203, algorithm 16.
    pub(super) fn from_seed(seed: &Zeroizing<[u8; 64]>) -> Self {
        // The copy is one of the library's, which overwrites it with the key.
        KemKeyPair(DecapsulationKey::from_seed(Array(**seed)))
    }

    /// The encapsulation key, which is public.
    pub(super) fn public(&self) -> [u8; KEM_KEY_LEN] {
        self.0.encapsulation_key().to_bytes().0
    }

    /// The secret that was encapsulated. A ciphertext that was not made for this key gives a secret that nothing else
    /// leads to (implicit rejection), so that the seals of the two ends do not fit each other.
    pub(super) fn decapsulate(&self, ciphertext: &[u8; KEM_CIPHERTEXT_LEN]) -> KemSecret {
        let ciphertext: &Ciphertext = ciphertext.into();
        let mut secret = self.0.decapsulate(ciphertext);
        take(&mut secret.0)
    }
}

/// Makes a secret for the owner of a public key, and its ciphertext; `None` when the key is not canonical (FIPS 203,
/// section 7.2). `randomness` must be used for nothing else.
pub(super) fn encapsulate(
    public: &[u8; KEM_KEY_LEN],
    randomness: &Zeroizing<[u8; 32]>,
) -> Option<([u8; KEM_CIPHERTEXT_LEN], KemSecret)> {
    let public: &Key<EncapsulationKey> = public.into();
    let key = EncapsulationKey::new(public).ok()?;
    let (ciphertext, mut secret) = key.encapsulate_deterministic((&**randomness).into());
    Some((ciphertext.0, take(&mut secret.0)))
}

/// Moves a secret out of the library's array, which would not be overwritten.
fn take(secret: &mut [u8; 32]) -> KemSecret {
    let taken = Zeroizing::new(*secret);
    zeroize::Zeroize::zeroize(secret);
    taken
}

impl std::fmt::Debug for KemKeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KemKeyPair").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
