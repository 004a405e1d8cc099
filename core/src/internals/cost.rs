//! Steps of the data path and of the cryptography for the benchmarks, without sockets.

use crate::link::{Sealer, Session};

pub use crate::fixtures::handshake_pair::{Cipher, HandshakePair};
pub use crate::node::cost::{Codec, Relay, Routes};

/// One direction of a link: the sealer of one end and the opener of the other.
pub struct Channel {
    sealer: Sealer,
    opener: Box<Session>,
    out: Vec<u8>,
}

impl Channel {
    /// A link with this cipher.
    pub fn new(cipher: Cipher) -> Self {
        let (a, b) = HandshakePair::sessions(cipher);
        Channel { sealer: a.sealer, opener: b, out: Vec::with_capacity(4096) }
    }

    /// Seals one frame; returns it.
    pub fn seal(&mut self, content: &[u8]) -> &mut [u8] {
        self.out.clear();
        let sealed = self.sealer.seal(|out| out.extend_from_slice(content), &mut self.out);
        assert!(sealed.is_ok());
        &mut self.out
    }

    /// Opens one frame in place; returns whether its seal was valid.
    pub fn open(&mut self, frame: &mut [u8]) -> bool {
        self.opener.opener.open(frame).is_ok()
    }
}
