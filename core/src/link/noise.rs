//! The NoiseHandshake handshake itself: a thin layer over `snow`.
//!
//! `Noise_XX_25519_ChaChaPoly_BLAKE2s`, or `Noise_XXpsk0_…` with a mesh key; for the next keys of a session
//! `Noise_KKpsk0_…`, as both sides know each other by then. Nothing here draws randomness: an ephemeral key
//! comes from a seed that the caller hands in, so that a handshake can be repeated byte by byte.

use curve25519_dalek::montgomery::MontgomeryPoint;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use zeroize::{Zeroize, Zeroizing};

use super::keys::{self, Key, Opener, Sealer, Suite};
use crate::identity::Identity;
use crate::wire::link::{KEY_LEN, MAX_HANDSHAKE_LEN};

/// Both sides hash this before anything else: the protocol, its version, and the cipher suites it knows.
pub(super) const PROLOGUE: &[u8] = b"rouse link 1; ChaCha20-Poly1305, AES-256-GCM";

/// The same for a rekeying, followed by the generation of the keys to come.
pub(super) const REKEY_PROLOGUE: &[u8] = b"rouse link rekey 1";

/// The message could not be made, or was not made for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoiseError;

impl From<snow::Error> for NoiseError {
    fn from(_: snow::Error) -> Self {
        NoiseError
    }
}

/// A node's long-term keys for handshakes.
pub(super) struct StaticKeys {
    secret: Zeroizing<[u8; KEY_LEN]>,
    public: [u8; KEY_LEN],
    mesh: Option<Zeroizing<[u8; 32]>>,
}

impl StaticKeys {
    pub(super) fn new(identity: &Identity, mesh: Option<Zeroizing<[u8; 32]>>) -> Self {
        let secret = identity.x25519_secret();
        let public = MontgomeryPoint::mul_base_clamped(*secret).to_bytes();
        StaticKeys { secret, public, mesh }
    }

    pub(super) fn has_mesh_key(&self) -> bool {
        self.mesh.is_some()
    }

    /// The side that sends message 1.
    pub(super) fn initiator(&self, seed: &[u8; 32]) -> Result<NoiseHandshake, NoiseError> {
        Ok(NoiseHandshake(self.builder(seed)?.build_initiator()?))
    }

    /// The side that sends message 2.
    pub(super) fn responder(&self, seed: &[u8; 32]) -> Result<NoiseHandshake, NoiseError> {
        Ok(NoiseHandshake(self.builder(seed)?.build_responder()?))
    }

    /// The side that sends message 1 for the next keys of a session.
    pub(super) fn rekey_initiator(
        &self,
        rekey: &RekeyInput<'_>,
        seed: &[u8; 32],
    ) -> Result<NoiseHandshake, NoiseError> {
        Ok(NoiseHandshake(self.rekey_builder(rekey, &prologue(rekey.generation), seed)?.build_initiator()?))
    }

    /// The side that sends message 2 for them.
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

/// What both sides of a rekeying know before it begins.
pub(super) struct RekeyInput<'a> {
    /// The other side's static key.
    pub(super) remote: &'a [u8; KEY_LEN],
    /// What the present keys left for it.
    pub(super) chain: &'a [u8; 32],
    /// Of the keys to come.
    pub(super) generation: u32,
}

fn prologue(generation: u32) -> Vec<u8> {
    [REKEY_PROLOGUE, &generation.to_le_bytes()].concat()
}

/// A key that is wiped.
type Secret = Zeroizing<[u8; 32]>;

/// One side of one handshake under way.
pub(super) struct NoiseHandshake(HandshakeState);

impl NoiseHandshake {
    /// The next message, carrying `payload`.
    pub(super) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let mut message = vec![0; MAX_HANDSHAKE_LEN];
        let length = self.0.write_message(payload, &mut message)?;
        message.truncate(length);
        Ok(message)
    }

    /// The payload of the next message. After an error an initiator may try another message 2; a responder another
    /// message 3 only if no remote static key has become known.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
        if message.len() > MAX_HANDSHAKE_LEN {
            return Err(NoiseError);
        }
        let mut payload = vec![0; MAX_HANDSHAKE_LEN];
        let length = self.0.read_message(message, &mut payload)?;
        payload.truncate(length);
        Ok(payload)
    }

    /// The other side's static key, once it is known.
    pub(super) fn remote_static(&self) -> Option<&[u8]> {
        self.0.get_remote_static()
    }

    /// The keys for data, once the last message is written or read. `index` is the neighbour's.
    pub(super) fn split(&mut self, suite: Suite, index: u32) -> Option<(Sealer, Opener)> {
        let (out, inward) = self.raw_split()?;
        let hash = self.0.get_handshake_hash();
        Sealer::new(suite, hash, &out, index).zip(Opener::new(suite, hash, &inward))
    }

    /// The keys of the next generation, once the last message is written or read: for what leaves and for what comes.
    pub(super) fn split_keys(&mut self, suite: Suite, generation: u32) -> Option<(Key, Key)> {
        let (out, inward) = self.raw_split()?;
        let hash = self.0.get_handshake_hash();
        Key::new(suite, hash, &out, generation).zip(Key::new(suite, hash, &inward, generation))
    }

    /// What the next rekeying is bound to.
    pub(super) fn chain(&mut self) -> Option<Zeroizing<[u8; 32]>> {
        let (out, inward) = self.raw_split()?;
        let (first, second) = if self.0.is_initiator() { (&out, &inward) } else { (&inward, &out) };
        keys::chain(self.0.get_handshake_hash(), first, second)
    }

    /// The raw keys for what leaves and for what comes.
    fn raw_split(&mut self) -> Option<(Secret, Secret)> {
        if !self.0.is_handshake_finished() {
            return None;
        }
        let (mut first, mut second) = self.0.dangerously_get_raw_split();
        let split = (Zeroizing::new(first), Zeroizing::new(second));
        first.zeroize();
        second.zeroize();
        // The first key is for what the initiator sends.
        Some(if self.0.is_initiator() { split } else { (split.1, split.0) })
    }
}

/// Gives `snow` its primitives: randomness from a seed, and a key agreement that wipes its secrets.
struct Resolver {
    seed: Zeroizing<[u8; 32]>,
    /// The public half of the static key, so that it is not computed again for every handshake.
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

struct SeededRandom(ChaCha20Rng);

impl Random for SeededRandom {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

/// X25519 (RFC 7748). `snow` sets a static key and generates an ephemeral one.
struct X25519Agreement {
    secret: Zeroizing<[u8; KEY_LEN]>,
    /// Until a key is generated, the public half of the static key.
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
        // A point of small order would make the result the same for every secret (RFC 7748, section 6.1).
        if shared.iter().fold(0, |all, byte| all | byte) == 0 {
            return Err(snow::Error::Dh);
        }
        for (to, from) in out.iter_mut().zip(shared.iter()) {
            *to = *from;
        }
        Ok(())
    }
}
