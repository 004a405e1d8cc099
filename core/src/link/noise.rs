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
use crate::wire::link::{KEY_LEN, MAX_HANDSHAKE_LEN};

/// The prologue that both sides hash first: the protocol, its version, and its cipher suites. A handshake between two
/// protocols fails, because their hashes differ.
pub(super) const PROLOGUE: &[u8] = b"rouse link 1; ChaCha20-Poly1305, AES-256-GCM";

/// The prologue of a rekeying, which the generation of the next keys follows.
pub(super) const REKEY_PROLOGUE: &[u8] = b"rouse link rekey 1";

/// The message could not be written, or does not verify. There is no detail, because a caller must treat all causes
/// alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoiseError;

impl From<snow::Error> for NoiseError {
    fn from(_: snow::Error) -> Self {
        NoiseError
    }
}

/// A node's static keys for handshakes, and the pre-shared key of its mesh.
pub(super) struct StaticKeys {
    secret: Zeroizing<[u8; KEY_LEN]>,
    public: [u8; KEY_LEN],
    mesh: Option<Zeroizing<[u8; 32]>>,
}

impl StaticKeys {
    /// Derives the X25519 key pair from the identity, so that an address proves the static key.
    pub(super) fn new(identity: &Identity, mesh: Option<Zeroizing<[u8; 32]>>) -> Self {
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
        Ok(NoiseHandshake(self.builder(seed)?.build_initiator()?))
    }

    /// Begins a handshake as the responder.
    pub(super) fn responder(&self, seed: &[u8; 32]) -> Result<NoiseHandshake, NoiseError> {
        Ok(NoiseHandshake(self.builder(seed)?.build_responder()?))
    }

    /// Begins a rekeying as the initiator.
    pub(super) fn rekey_initiator(
        &self,
        rekey: &RekeyInput<'_>,
        seed: &[u8; 32],
    ) -> Result<NoiseHandshake, NoiseError> {
        Ok(NoiseHandshake(self.rekey_builder(rekey, &prologue(rekey.generation), seed)?.build_initiator()?))
    }

    /// Begins a rekeying as the responder.
    pub(super) fn rekey_responder(
        &self,
        rekey: &RekeyInput<'_>,
        seed: &[u8; 32],
    ) -> Result<NoiseHandshake, NoiseError> {
        Ok(NoiseHandshake(self.rekey_builder(rekey, &prologue(rekey.generation), seed)?.build_responder()?))
    }

    fn rekey_builder<'a>(
        &'a self,
        rekey: &RekeyInput<'a>,
        prologue: &'a [u8],
        seed: &[u8; 32],
    ) -> Result<Builder<'a>, NoiseError> {
        let params: NoiseParams = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s".parse()?;
        let resolver = Resolver { seed: Zeroizing::new(*seed), public: self.public };
        let builder = Builder::with_resolver(params, Box::new(resolver))
            .prologue(prologue)?
            .local_private_key(self.secret.as_slice())?
            .remote_public_key(rekey.remote)?
            .psk(0, rekey.chain)?;
        Ok(builder)
    }

    fn builder(&self, seed: &[u8; 32]) -> Result<Builder<'_>, NoiseError> {
        let pattern = match self.mesh {
            Some(_) => "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s",
            None => "Noise_XX_25519_ChaChaPoly_BLAKE2s",
        };
        let params: NoiseParams = pattern.parse()?;
        let resolver = Resolver { seed: Zeroizing::new(*seed), public: self.public };
        let mut builder = Builder::with_resolver(params, Box::new(resolver))
            .prologue(PROLOGUE)?
            .local_private_key(self.secret.as_slice())?;
        if let Some(mesh) = &self.mesh {
            builder = builder.psk(0, mesh)?;
        }
        Ok(builder)
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

fn prologue(generation: u32) -> Vec<u8> {
    [REKEY_PROLOGUE, &generation.to_le_bytes()].concat()
}

/// A key that is overwritten when it is dropped, so that no copy stays in memory.
type Secret = Zeroizing<[u8; 32]>;

/// The state of one side of one handshake.
pub(super) struct NoiseHandshake(HandshakeState);

impl NoiseHandshake {
    /// Writes the next message, which carries `payload`.
    pub(super) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let mut message = vec![0; MAX_HANDSHAKE_LEN];
        let length = self.0.write_message(payload, &mut message)?;
        message.truncate(length);
        Ok(message)
    }

    /// Reads the next message and returns its payload.
    ///
    /// After an error an initiator may read another message 2. A responder may read another message 3 only if
    /// [`NoiseHandshake::remote_static`] is still `None`, since otherwise the key that was read has changed its state.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
        if message.len() > MAX_HANDSHAKE_LEN {
            return Err(NoiseError);
        }
        let mut payload = vec![0; MAX_HANDSHAKE_LEN];
        let length = self.0.read_message(message, &mut payload)?;
        payload.truncate(length);
        Ok(payload)
    }

    /// The static key of the other side, once it is known.
    pub(super) fn remote_static(&self) -> Option<&[u8]> {
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
