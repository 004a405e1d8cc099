//! One end of an established link, to which the neighbour at the other end sends sealed frames.

use rouse_proto::link::{Link, LinkOutput, Sealer};
use rouse_proto::time::Time;
use rouse_tests::handshake_pair::{Cipher, HandshakePair};

/// One end of a link, and what seals at the other.
pub(crate) struct LinkLayer {
    link: Link,
    neighbour: Sealer,
    here: Sealer,
}

impl LinkLayer {
    /// A link with ChaCha20-Poly1305, which costs the same on every machine.
    pub(crate) fn new(now: Time) -> Self {
        // The neighbour has dialled, so that it is the one that begins to renew keys.
        let (there, here) = HandshakePair::sessions(Cipher::ChaCha);
        let (here, neighbour) = (*here, there.sealer);
        let mut link =
            Link::new(now, here.peer, here.opener, here.mtu, [5; 32]).with_renewal(now, here.renewal);
        // Something waits to be sent, so that acknowledgements have something to look through.
        for _ in 0..256 {
            let _ = link.send_control(&[7; 1000]);
        }
        let mut layer = LinkLayer { link, neighbour, here: here.sealer };
        layer.outputs(now);
        layer
    }

    /// Seals a plaintext as the neighbour does.
    pub(crate) fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(plaintext.len() + Sealer::OVERHEAD);
        let sealed = self.neighbour.seal(|out| out.extend_from_slice(plaintext), &mut frame);
        assert!(sealed.is_ok(), "a new key is not worn");
        frame
    }

    /// Takes a frame, and does all that follows from it.
    pub(crate) fn take(&mut self, now: Time, frame: &mut [u8]) {
        // Why it was refused is counted, and nothing else comes of it.
        let _ = self.link.handle_frame(now, frame);
        self.outputs(now);
    }

    /// Does all that is due up to this time.
    pub(crate) fn pass(&mut self, now: Time) {
        while let Some(due) = self.link.next_deadline().filter(|due| *due <= now) {
            self.link.handle_timeout(due);
            self.outputs(due);
        }
    }

    fn outputs(&mut self, now: Time) {
        while let Some(output) = self.link.poll_output(now) {
            match output {
                LinkOutput::Transmit(plaintext) => self.send(&plaintext),
                LinkOutput::TransmitTo(_, plaintext) => self.send(&plaintext),
                LinkOutput::Rekeyed(key) => self.here.renew(*key),
                _ => {}
            }
        }
    }

    fn send(&mut self, plaintext: &[u8]) {
        let mut frame = Vec::with_capacity(plaintext.len() + Sealer::OVERHEAD);
        let _ = self.here.seal(|out| out.extend_from_slice(plaintext), &mut frame);
    }
}
