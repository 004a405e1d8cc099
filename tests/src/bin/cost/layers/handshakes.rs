//! The handshakes of one node, to which strangers send frames.

use rouse_proto::endpoint::Endpoint;
use rouse_proto::identity::Identity;
use rouse_proto::link::{HandshakeOutput, Handshakes, LinkConfig, Path, Source};
use rouse_proto::time::Time;

/// The handshakes of one node.
pub(crate) struct HandshakeLayer {
    handshakes: Handshakes,
}

/// Many endpoints in many groups: the number's lower byte counts the ports of one address.
fn path(endpoint: u32) -> Path {
    let endpoint = Endpoint::new(&endpoint.to_be_bytes()).unwrap_or_else(|| unreachable!("four bytes"));
    Path { netmod: 0, endpoint }
}

/// Its ports share a host, and 256 hosts a network.
fn source(endpoint: u32) -> Source {
    Source { host: u64::from(endpoint >> 8), group: u64::from(endpoint >> 16) }
}

impl HandshakeLayer {
    /// A node with the bounds that every node has, and perhaps the key of a closed mesh.
    pub(crate) fn new(identity: &Identity, mesh_key: Option<[u8; 32]>, seed: [u8; 32]) -> Self {
        let config = LinkConfig { mesh_key: mesh_key.map(Into::into), ..LinkConfig::default() };
        HandshakeLayer { handshakes: Handshakes::new(identity, config, seed) }
    }

    /// Handshakes of others that may be under way.
    pub(crate) fn most_answers() -> usize {
        LinkConfig::default().max_answers
    }

    /// Begins a handshake with an endpoint; returns the frames that leave.
    pub(crate) fn dial(&mut self, now: Time, endpoint: u32) -> Vec<Vec<u8>> {
        self.handshakes.dial(now, path(endpoint), 1452);
        self.outputs()
    }

    /// Takes a frame from an endpoint; returns the frames that leave.
    pub(crate) fn take(&mut self, now: Time, endpoint: u32, frame: &[u8]) -> Vec<Vec<u8>> {
        // Why it was refused is counted, and nothing else comes of it.
        let _ = self.handshakes.handle(now, path(endpoint), source(endpoint), 1452, frame);
        self.outputs()
    }

    /// Does all that is due up to this time.
    pub(crate) fn pass(&mut self, now: Time) {
        while let Some(due) = self.handshakes.next_deadline().filter(|due| *due <= now) {
            self.handshakes.handle_timeout(due);
            self.outputs();
        }
    }

    fn outputs(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(output) = self.handshakes.poll_output() {
            if let HandshakeOutput::Transmit { frame, .. } = output {
                frames.push(frame);
            }
        }
        frames
    }
}
