//! The handshake of a session, as steps without time: Noise `IK` with an ML-KEM-768 exchange in its payloads.
//!
//! The initiator knows the responder's address, which is its static key, so one round trip is enough. The static keys
//! prove both addresses, as in a link. The responder's address is in the prologue, because an address and its negation
//! have the same X25519 key; the initiator's address is inside the seal of the first message and must convert to its
//! static key.
//!
//! The first message carries an encapsulation key, the second one a ciphertext for it. Both are inside the seal of the
//! handshake and therefore part of its hash, from which the keys of packets are derived together with the encapsulated
//! secret. A message without its part of the KEM, or with one of another length, ends the handshake. There is no other
//! suite of key agreements to fall back to, so there is nothing to downgrade to.
//!
//! An attacker that has the responder's static key can forge a first message in the name of any initiator (Noise section
//! 7.7, IK pattern), and any old first message can be replayed. Therefore a responder uses the keys only after a packet
//! of the initiator has opened under them, which takes the initiator's ephemeral key.

use zeroize::Zeroizing;

use super::kem::{self, KemKeyPair};
use super::keys::{EpochKeys, EpochRole};
use crate::address::Address;
use crate::identity::x25519_public;
use crate::link::{NoiseError, NoiseHandshake, NoisePattern, Secret, StaticKeys, Suite};
use crate::wire::codec;
use crate::wire::session::{SESSION_REKEY_LEN, SessionRequest, SessionResponse, Standing};

/// The Noise protocol of a handshake.
pub(super) const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
/// The Noise protocol of a rekeying.
pub(super) const REKEY_PATTERN: &str = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s";
/// The beginning of the prologue, which the responder's address follows.
pub(super) const SESSION_PROLOGUE: &[u8] = b"rouse session 1; ML-KEM-768; ChaCha20-Poly1305, AES-256-GCM";
/// The beginning of the prologue of a rekeying, which the generation of the next keys follows.
pub(super) const SESSION_REKEY_PROLOGUE: &[u8] = b"rouse session rekey 1";

/// The part of a handshake that each end chooses for itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The index by which this end finds the session.
    pub(super) index: u32,
    /// The cipher suites that it offers.
    pub(super) suites: u8,
    /// Its end of the conversation.
    pub(super) standing: Standing,
}

/// The result of a handshake at one end.
pub(super) struct Agreed {
    pub(super) keys: EpochKeys,
    pub(super) suite: Suite,
    /// The incarnation of this end that the other one has learnt.
    pub(super) incarnation: u64,
    /// The other end of the conversation.
    pub(super) standing: Standing,
}

/// The reason for which a response makes no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseError {
    /// It does not verify. Another one may be read.
    Forged,
    /// It is authentic and breaks the protocol, so that the handshake has ended.
    Broken,
}

fn prologue(responder: &Address) -> Vec<u8> {
    [SESSION_PROLOGUE, responder.as_bytes()].concat()
}

/// The randomness of a handshake that this end begins. It must be used once.
pub(super) struct InitiationSeeds {
    pub(super) noise: Secret,
    pub(super) kem: Zeroizing<[u8; 64]>,
    /// The number that names the request.
    pub(super) id: u32,
}

/// A handshake that this end began.
pub(super) struct SessionInitiation {
    noise: NoiseHandshake,
    kem: KemKeyPair,
    suites: u8,
    /// The incarnation of this end that the message names.
    incarnation: u64,
    /// The index of this end, which the response names.
    pub(super) index: u32,
    /// The random number that names the request. It is not the index, because a relay could recognize the response by
    /// that.
    pub(super) id: u32,
    /// The first message, kept because its repetitions must be the same bytes.
    pub(super) message: Vec<u8>,
}

impl SessionInitiation {
    /// Makes the first message of a handshake with `peer`.
    ///
    /// # Errors
    /// [`NoiseError`] when the address is not a usable key.
    pub(super) fn start(
        keys: &StaticKeys,
        [local, peer]: [&Address; 2],
        terms: &Terms,
        seeds: &InitiationSeeds,
    ) -> Result<Self, NoiseError> {
        let remote = x25519_public(peer).ok_or(NoiseError)?;
        let prologue = prologue(peer);
        let pattern = NoisePattern {
            name: PATTERN,
            prologue: &prologue,
            remote: Some(&remote),
            psk: None,
            initiator: true,
        };
        let mut noise = keys.begin(&pattern, &seeds.noise)?;
        let kem = KemKeyPair::from_seed(&seeds.kem);
        let request = SessionRequest {
            address: *local,
            index: terms.index,
            suites: terms.suites,
            capabilities: 0,
            standing: terms.standing,
            kem_key: kem.public(),
        };
        let payload = codec::encode(&request).map_err(|_| NoiseError)?;
        let message = noise.write(&payload)?;
        let Terms { index, suites, standing: Standing { incarnation, .. } } = *terms;
        Ok(SessionInitiation { noise, kem, suites, incarnation, index, id: seeds.id, message })
    }

    /// Reads the response.
    pub(super) fn finish(&mut self, message: &[u8]) -> Result<Agreed, ResponseError> {
        let payload = self.noise.read(message).map_err(|_| ResponseError::Forged)?;
        self.agree(&payload).map_err(|NoiseError| ResponseError::Broken)
    }

    fn agree(&mut self, payload: &[u8]) -> Result<Agreed, NoiseError> {
        let (response, _) = codec::decode_prefix::<SessionResponse>(payload).map_err(|_| NoiseError)?;
        let secret = self.kem.decapsulate(&response.kem_ciphertext);
        let suite = Suite::agree(self.suites, response.suites).ok_or(NoiseError)?;
        let split = self.noise.split_secrets().ok_or(NoiseError)?;
        let role = EpochRole { suite, initiator: true, remote_index: response.index };
        let keys = EpochKeys::new(&split, Some(&secret), role).ok_or(NoiseError)?;
        Ok(Agreed { keys, suite, incarnation: self.incarnation, standing: response.standing })
    }
}

/// A first message that has been read and not answered.
pub(super) struct OpenRequest {
    noise: NoiseHandshake,
    pub(super) request: SessionRequest,
}

impl OpenRequest {
    /// Reads a first message that arrived for `local`. This costs two key agreements, and a third one for the address.
    pub(super) fn read(
        keys: &StaticKeys,
        local: &Address,
        message: &[u8],
        seed: &Secret,
    ) -> Result<Self, NoiseError> {
        let prologue = prologue(local);
        let pattern =
            NoisePattern { name: PATTERN, prologue: &prologue, remote: None, psk: None, initiator: false };
        let mut noise = keys.begin(&pattern, seed)?;
        let payload = noise.read(message)?;
        let (request, _) = codec::decode_prefix::<SessionRequest>(&payload).map_err(|_| NoiseError)?;
        let key = x25519_public(&request.address).ok_or(NoiseError)?;
        let proved = noise.remote_static() == Some(key.as_slice());
        if proved && request.address != *local { Ok(OpenRequest { noise, request }) } else { Err(NoiseError) }
    }

    /// Makes the second message and the keys.
    pub(super) fn answer(
        mut self,
        terms: &Terms,
        randomness: &Secret,
    ) -> Result<(Vec<u8>, Agreed), NoiseError> {
        let suite = Suite::agree(terms.suites, self.request.suites).ok_or(NoiseError)?;
        let (kem_ciphertext, secret) =
            kem::encapsulate(&self.request.kem_key, randomness).ok_or(NoiseError)?;
        let response = SessionResponse {
            index: terms.index,
            suites: terms.suites,
            capabilities: 0,
            standing: terms.standing,
            kem_ciphertext,
        };
        let payload = codec::encode(&response).map_err(|_| NoiseError)?;
        let message = self.noise.write(&payload)?;
        let split = self.noise.split_secrets().ok_or(NoiseError)?;
        let role = EpochRole { suite, initiator: false, remote_index: self.request.index };
        let keys = EpochKeys::new(&split, Some(&secret), role).ok_or(NoiseError)?;
        let Standing { incarnation, .. } = terms.standing;
        Ok((message, Agreed { keys, suite, incarnation, standing: self.request.standing }))
    }
}

/// The inputs of a rekeying that both ends have.
pub(super) struct RekeyTerms<'a> {
    pub(super) keys: &'a StaticKeys,
    pub(super) peer: &'a Address,
    pub(super) chain: &'a Secret,
    pub(super) generation: u32,
    pub(super) initiator: bool,
}

impl RekeyTerms<'_> {
    /// Begins this end's side of the rekeying.
    pub(super) fn begin(&self, seed: &Secret) -> Result<NoiseHandshake, NoiseError> {
        let remote = x25519_public(self.peer).ok_or(NoiseError)?;
        let prologue = [SESSION_REKEY_PROLOGUE, &self.generation.to_le_bytes()].concat();
        let pattern = NoisePattern {
            name: REKEY_PATTERN,
            prologue: &prologue,
            remote: Some(&remote),
            psk: Some(self.chain),
            initiator: self.initiator,
        };
        self.keys.begin(&pattern, seed)
    }
}

/// Writes the next message of a rekeying, which has a fixed length.
pub(super) fn rekey_message(noise: &mut NoiseHandshake) -> Result<[u8; SESSION_REKEY_LEN], NoiseError> {
    noise.write(&[])?.try_into().map_err(|_| NoiseError)
}
