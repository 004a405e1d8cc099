//! The Noise handshake itself: a thin layer over `snow`.
//!
//! The pattern is `Noise_XX_25519_ChaChaPoly_BLAKE2s`, because neither side knows the other's static key before; with a
//! mesh key it is `Noise_XXpsk0_…`. For the next keys of a session it is `Noise_KKpsk0_…`, since both static keys are
//! known by then. Nothing here draws randomness: an ephemeral key comes from a seed of the caller, so that a responder
//! can restore a handshake byte by byte, and a test can repeat it.

use curve25519_dalek::montgomery::MontgomeryPoint;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use zeroize::{Zeroize, Zeroizing};

use super::keys::{self, DataKey, Opener, Sealer, Suite};
use crate::identity::Identity;
use crate::wire::link::KEY_LEN;

/// The prologue that both sides hash first: the protocol, its version, and its cipher suites. A handshake between two
/// protocols fails, because their hashes differ.
pub(super) const PROLOGUE: &[u8] = b"rouse link 1; ChaCha20-Poly1305, AES-256-GCM";

/// The prologue of a rekeying, which the generation of the next keys follows.
pub(super) const REKEY_PROLOGUE: &[u8] = b"rouse link rekey 1";

/// The message could not be written, or does not verify. There is no detail, because a caller must treat all causes
/// alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoiseError;

impl From<snow::Error> for NoiseError {
    fn from(_: snow::Error) -> Self {
        NoiseError
    }
}

/// The longest message of a handshake that is read, in bytes. Callers have closer bounds.
const MAX_NOISE_LEN: usize = 2048;
/// The most bytes of a message beside its payload: an ephemeral key, a sealed static key, and the tag of the payload.
const MAX_NOISE_OVERHEAD: usize = 96;

/// A node's static keys for handshakes, and the pre-shared key of its mesh.
pub struct StaticKeys {
    secret: Zeroizing<[u8; KEY_LEN]>,
    public: [u8; KEY_LEN],
    mesh: Option<Zeroizing<[u8; 32]>>,
}

/// One side of a Noise handshake pattern.
pub struct NoisePattern<'a> {
    /// The name of the protocol (Noise revision 34, section 8).
    pub name: &'a str,
    /// The bytes that both sides hash first.
    pub prologue: &'a [u8],
    /// The static key of the other side, where it is known before.
    pub remote: Option<&'a [u8; KEY_LEN]>,
    /// The key that is mixed in before the first message.
    pub psk: Option<&'a [u8; 32]>,
    /// Whether this side begins.
    pub initiator: bool,
}

impl StaticKeys {
    /// Derives the X25519 key pair from the identity, so that an address proves the static key.
    pub fn new(identity: &Identity, mesh: Option<Zeroizing<[u8; 32]>>) -> Self {
        let secret = identity.x25519_secret();
        let public = MontgomeryPoint::mul_base_clamped(*secret).to_bytes();
        StaticKeys { secret, public, mesh }
    }

    /// Whether the mesh is closed.
    pub(super) fn has_mesh_key(&self) -> bool {
        self.mesh.is_some()
    }

    /// Begins a handshake as the initiator.
    pub(super) fn initiator(&self, seed: &[u8; 32]) -> Result<NoiseHandshake, NoiseError> {
        self.begin(&self.link_pattern(true), seed)
    }

    /// Begins a handshake as the responder.
    pub(super) fn responder(&self, seed: &[u8; 32]) -> Result<NoiseHandshake, NoiseError> {
        self.begin(&self.link_pattern(false), seed)
    }

    /// Begins a rekeying as the initiator.
    pub(super) fn rekey_initiator(
        &self,
        rekey: &RekeyInput<'_>,
        seed: &[u8; 32],
    ) -> Result<NoiseHandshake, NoiseError> {
        self.begin(&rekey.pattern(&prologue(rekey.generation), true), seed)
    }

    /// Begins a rekeying as the responder.
    pub(super) fn rekey_responder(
        &self,
        rekey: &RekeyInput<'_>,
        seed: &[u8; 32],
    ) -> Result<NoiseHandshake, NoiseError> {
        self.begin(&rekey.pattern(&prologue(rekey.generation), false), seed)
    }

    /// The pattern of the handshake of links.
    fn link_pattern(&self, initiator: bool) -> NoisePattern<'_> {
        let name = match self.mesh {
            Some(_) => "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s",
            None => "Noise_XX_25519_ChaChaPoly_BLAKE2s",
        };
        NoisePattern { name, prologue: PROLOGUE, remote: None, psk: self.mesh.as_deref(), initiator }
    }

    /// Begins one side of a handshake. All of its randomness comes from `seed`, which must be used once.
    pub fn begin(&self, pattern: &NoisePattern<'_>, seed: &[u8; 32]) -> Result<NoiseHandshake, NoiseError> {
        let params: NoiseParams = pattern.name.parse()?;
        let resolver = Resolver { seed: Zeroizing::new(*seed), public: self.public };
        let mut builder = Builder::with_resolver(params, Box::new(resolver))
            .prologue(pattern.prologue)?
            .local_private_key(self.secret.as_slice())?;
        if let Some(remote) = pattern.remote {
            builder = builder.remote_public_key(remote)?;
        }
        if let Some(psk) = pattern.psk {
            builder = builder.psk(0, psk)?;
        }
        let state = if pattern.initiator { builder.build_initiator()? } else { builder.build_responder()? };
        Ok(NoiseHandshake(state))
    }
}

/// The inputs of a rekeying that both sides have before it begins.
pub(super) struct RekeyInput<'a> {
    /// The static key of the other side.
    pub(super) remote: &'a [u8; KEY_LEN],
    /// The pre-shared key that was derived from the present keys.
    pub(super) chain: &'a [u8; 32],
    /// The generation of the next keys.
    pub(super) generation: u32,
}

impl<'a> RekeyInput<'a> {
    fn pattern(&self, prologue: &'a [u8], initiator: bool) -> NoisePattern<'a> {
        let name = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s";
        NoisePattern { name, prologue, remote: Some(self.remote), psk: Some(self.chain), initiator }
    }
}

fn prologue(generation: u32) -> Vec<u8> {
    [REKEY_PROLOGUE, &generation.to_le_bytes()].concat()
}

/// A key that is overwritten when it is dropped, so that no copy stays in memory.
pub type Secret = Zeroizing<[u8; 32]>;

/// The raw split of a completed handshake.
pub struct SplitKeys {
    /// The key of what the initiator sends.
    pub of_initiator: Secret,
    /// The key of what the responder sends.
    pub of_responder: Secret,
    /// The hash of the handshake, which both sides have only if they saw the same messages.
    pub hash: [u8; 32],
}

/// The state of one side of one handshake.
pub struct NoiseHandshake(HandshakeState);

impl NoiseHandshake {
    /// Writes the next message, which carries `payload`.
    pub fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let mut message = vec![0; payload.len().saturating_add(MAX_NOISE_OVERHEAD)];
        let length = self.0.write_message(payload, &mut message)?;
        message.truncate(length);
        Ok(message)
    }

    /// Reads the next message and returns its payload.
    ///
    /// After an error an initiator may read another message 2. A responder may read another message 3 only if
    /// [`NoiseHandshake::remote_static`] is still `None`, since otherwise the key that was read has changed its state.
    pub fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
        if message.len() > MAX_NOISE_LEN {
            return Err(NoiseError);
        }
        let mut payload = vec![0; message.len()];
        let length = self.0.read_message(message, &mut payload)?;
        payload.truncate(length);
        Ok(payload)
    }

    /// The static key of the other side, once it is known.
    pub fn remote_static(&self) -> Option<&[u8]> {
        self.0.get_remote_static()
    }

    /// The data keys, once the last message is written or read. `index` is the one that the neighbour chose.
    pub(super) fn split(&mut self, suite: Suite, index: u32) -> Option<(Sealer, Opener)> {
        let (out, inward) = self.raw_split()?;
        let hash = self.0.get_handshake_hash();
        Sealer::new(suite, hash, &out, index).zip(Opener::new(suite, hash, &inward))
    }

    /// The keys of the next generation for sending and receiving, once the last message is written or read.
    pub(super) fn split_keys(&mut self, suite: Suite, generation: u32) -> Option<(DataKey, DataKey)> {
        let (out, inward) = self.raw_split()?;
        let hash = self.0.get_handshake_hash();
        DataKey::new(suite, hash, &out, generation).zip(DataKey::new(suite, hash, &inward, generation))
    }

    /// The pre-shared key of the next rekeying.
    pub(super) fn chain(&mut self) -> Option<Zeroizing<[u8; 32]>> {
        let (out, inward) = self.raw_split()?;
        let (first, second) = if self.0.is_initiator() { (&out, &inward) } else { (&inward, &out) };
        keys::chain(self.0.get_handshake_hash(), first, second)
    }

    /// The raw split, once the last message is written or read, for a layer that derives its own keys.
    pub fn split_secrets(&mut self) -> Option<SplitKeys> {
        let (out, inward) = self.raw_split()?;
        let hash = self.0.get_handshake_hash().try_into().ok()?;
        let (of_initiator, of_responder) = if self.0.is_initiator() { (out, inward) } else { (inward, out) };
        Some(SplitKeys { of_initiator, of_responder, hash })
    }

    /// The raw split keys for sending and receiving.
    fn raw_split(&mut self) -> Option<(Secret, Secret)> {
        if !self.0.is_handshake_finished() {
            return None;
        }
        let (mut first, mut second) = self.0.dangerously_get_raw_split();
        let split = (Zeroizing::new(first), Zeroizing::new(second));
        first.zeroize();
        second.zeroize();
        // Noise assigns the first key to the direction from initiator to responder.
        Some(if self.0.is_initiator() { split } else { (split.1, split.0) })
    }
}

/// The primitives for `snow`: randomness from a seed, and a key agreement that overwrites its secrets when it is
/// dropped.
struct Resolver {
    seed: Zeroizing<[u8; 32]>,
    /// The public half of the static key, kept because computing it costs as much as a key agreement.
    public: [u8; KEY_LEN],
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SeededRandom(ChaCha20Rng::from_seed(*self.seed))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => {
                Some(Box::new(X25519Agreement { secret: Zeroizing::new([0; KEY_LEN]), public: self.public }))
            }
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// A generator that starts from the seed of the caller.
struct SeededRandom(ChaCha20Rng);

impl Random for SeededRandom {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

/// X25519 (RFC 7748) for `snow`, which sets a static key and generates an ephemeral one.
struct X25519Agreement {
    secret: Zeroizing<[u8; KEY_LEN]>,
    /// The public key: that of the static key until an ephemeral one is generated.
    public: [u8; KEY_LEN],
}

impl Dh for X25519Agreement {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_LEN
    }

    fn priv_len(&self) -> usize {
        KEY_LEN
    }

    fn set(&mut self, privkey: &[u8]) {
        for (to, from) in self.secret.iter_mut().zip(privkey) {
            *to = *from;
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(self.secret.as_mut())?;
        self.public = MontgomeryPoint::mul_base_clamped(*self.secret).to_bytes();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_slice()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let public: &[u8; KEY_LEN] = pubkey.first_chunk().ok_or(snow::Error::Dh)?;
        let shared = Zeroizing::new(MontgomeryPoint(*public).mul_clamped(*self.secret).to_bytes());
        // A public key of small order gives zero for every secret, so that an attacker would know the result (RFC 7748,
        // section 6.1).
        if shared.iter().fold(0, |all, byte| all | byte) == 0 {
            return Err(snow::Error::Dh);
        }
        for (to, from) in out.iter_mut().zip(shared.iter()) {
            *to = *from;
        }
        Ok(())
    }
}
