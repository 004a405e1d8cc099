//! End-to-end sessions for the benchmarks: two ends, and the payloads between them.

use std::time::Duration;

use rouse_proto::address::Address;
use rouse_proto::identity::Identity;
use rouse_proto::session::{PreviousHop, SessionInput, SessionOutput, Sessions, Standing};
use rouse_proto::time::Time;
use rouse_proto::types::Ends;
use rouse_proto::wire::session::PAYLOAD_PART;
use rouse_tests::handshake_pair::Cipher;

/// One end.
pub(crate) struct SessionEnd {
    sessions: Sessions,
    pair: Ends,
}

/// The payloads that an end sends, until they are delivered.
pub(crate) type Payloads = Vec<Vec<u8>>;

fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

impl SessionEnd {
    /// The two ends of the session `number`, without a session yet.
    pub(crate) fn pair(cipher: Cipher, number: u64) -> [Self; 2] {
        [(1, 2), (2, 1)].map(|(local, peer)| {
            let mut seed = [local; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            let mut sessions = Sessions::with_suites(seed, cipher.offered());
            sessions.add_local(&identity(local));
            let pair = Ends { local: identity(local).address(), peer: identity(peer).address() };
            SessionEnd { sessions, pair }
        })
    }

    /// Begins a handshake.
    pub(crate) fn connect(&mut self) -> Payloads {
        let input = SessionInput::Connect { pair: self.pair, standing: Standing::default() };
        let _ = self.sessions.handle(Time::from_millis(1000), input);
        self.outputs()
    }

    /// Takes the payloads of the other end. Returns the answers.
    pub(crate) fn take(&mut self, payloads: Payloads) -> Payloads {
        let now = Time::from_millis(1000) + Duration::from_millis(1);
        let hop = PreviousHop { neighbour: Address::from_bytes([9; 32]), host: 1, group: 1 };
        let local = self.pair.local;
        for mut payload in payloads {
            let taken = match payload.first() {
                Some(&PAYLOAD_PART) => {
                    self.sessions.handle(now, SessionInput::Part { local, hop, payload: &payload })
                }
                _ => self.sessions.open(now, &local, &mut payload).map(drop),
            };
            assert_eq!(taken, Ok(()), "two honest ends");
        }
        self.outputs()
    }

    fn outputs(&mut self) -> Payloads {
        let mut payloads = Payloads::new();
        while let Some(output) = self.sessions.poll_output() {
            match output {
                SessionOutput::Transmit { payload, .. } => payloads.push(payload),
                SessionOutput::Requested { pair, .. } => {
                    let input = SessionInput::Accept { pair, standing: Standing::default() };
                    let _ = self.sessions.handle(Time::from_millis(1000), input);
                }
                _ => {}
            }
        }
        payloads
    }

    /// Whether there is a session.
    pub(crate) fn is_ready(&self) -> bool {
        self.sessions.is_ready(&self.pair)
    }

    /// Appends one sealed payload to `out`.
    pub(crate) fn seal(&mut self, content: &[u8], out: &mut Vec<u8>) {
        let sealed = self.sessions.seal(
            Time::from_millis(1001),
            &self.pair,
            |out| {
                out.extend_from_slice(content);
                true
            },
            out,
        );
        assert_eq!(sealed, Ok(true), "there is a session");
    }

    /// Opens one payload in place; returns whether its seal was valid.
    pub(crate) fn open(&mut self, payload: &mut [u8]) -> bool {
        self.sessions.open(Time::from_millis(1001), &self.pair.local, payload).is_ok()
    }
}
