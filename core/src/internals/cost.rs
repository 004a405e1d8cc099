//! Steps of the data path and of the cryptography for the benchmarks, without sockets.

use crate::identity::Identity;
use crate::link::{HandshakeOutput, Handshakes, LinkConfig, Path, Sealer, Session, Source, Suite};
use crate::netmod::Endpoint;
use crate::time::Time;

pub use crate::node::cost::{Codec, Relay, Routes};

/// The cipher suites of data frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-256-GCM, where the hardware has it.
    Aes,
    /// ChaCha20-Poly1305.
    ChaCha,
}

impl Cipher {
    fn offered(self) -> u8 {
        match self {
            Cipher::Aes => Suite::CHACHA | Suite::AES,
            Cipher::ChaCha => Suite::CHACHA,
        }
    }
}

/// The two ends of a handshake that has not begun.
pub struct Ends {
    ends: [Handshakes; 2],
}

fn path(n: u8) -> Path {
    // One byte always fits.
    Path { netmod: 0, endpoint: Endpoint::new(&[n]).unwrap_or_else(|| unreachable!("one byte")) }
}

impl Ends {
    /// Two nodes, `number` of many pairs. When `loaded`, the second requests a cookie before it does any work.
    pub fn new(cipher: Cipher, loaded: bool, number: u64) -> Self {
        let config = LinkConfig {
            suites: cipher.offered(),
            rate: 1_000_000,
            load: if loaded { 0 } else { u32::MAX },
            max_answers: 1 << 20,
            max_dials: 1 << 20,
            ..LinkConfig::default()
        };
        let end = |n: u8| {
            let mut seed = [n; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            Handshakes::new(&Identity::from_seed(&[n; 32]), config.clone(), seed)
        };
        Ends { ends: [end(1), end(2)] }
    }

    /// Runs one whole handshake. Returns the session of each side and the number of frames.
    pub(crate) fn run(&mut self) -> (Box<Session>, Box<Session>, u32) {
        let mut done = [None, None];
        let mut frames = 0;
        self.ends[0].dial(Time::ZERO, path(1), 1452);
        while done.iter().any(Option::is_none) {
            for (here, done) in done.iter_mut().enumerate() {
                while let Some(output) = self.ends[here].poll_output() {
                    match output {
                        HandshakeOutput::Transmit { frame, .. } => {
                            frames += 1;
                            assert!(frames < 32, "a handshake between two honest ends comes to an end");
                            // The first initiation is refused when the responder requests a cookie.
                            let _ = self.ends[1 - here].handle(
                                Time::ZERO,
                                path(1),
                                Source::default(),
                                1452,
                                &frame,
                            );
                        }
                        HandshakeOutput::Established(session) => *done = Some(session),
                        HandshakeOutput::Failed { reason, .. } => unreachable!("{reason}"),
                    }
                }
            }
        }
        match done {
            [Some(a), Some(b)] => (a, b, frames),
            _ => unreachable!("both are done"),
        }
    }

    /// Runs one whole handshake. Returns the number of frames.
    pub fn handshake(&mut self) -> u32 {
        self.run().2
    }

    /// The sessions of two nodes after a handshake.
    pub(crate) fn sessions(cipher: Cipher) -> (Box<Session>, Box<Session>) {
        let (a, b, _) = Ends::new(cipher, false, 0).run();
        (a, b)
    }

    /// Answers `count` initiations of strangers with a request for a cookie each, and nothing more. Returns their bytes.
    pub fn cookies(&mut self, count: usize) -> usize {
        self.ends[0].dial(Time::ZERO, path(1), 1452);
        let Some(HandshakeOutput::Transmit { frame, .. }) = self.ends[0].poll_output() else { return 0 };
        let mut bytes = 0;
        for _ in 0..count {
            let _ = self.ends[1].handle(Time::ZERO, path(1), Source::default(), 1452, &frame);
            while let Some(HandshakeOutput::Transmit { frame, .. }) = self.ends[1].poll_output() {
                bytes += frame.len();
            }
        }
        bytes
    }
}

/// One direction of a link: the sealer of one end and the opener of the other.
pub struct Channel {
    sealer: Sealer,
    opener: Box<Session>,
    out: Vec<u8>,
}

impl Channel {
    /// A link with this cipher.
    pub fn new(cipher: Cipher) -> Self {
        let (a, b) = Ends::sessions(cipher);
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
