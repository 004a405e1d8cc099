//! Forged frames, and plaintexts with any fields.

use rouse_proto::address::Address;
use rouse_proto::wire::link::{
    Acknowledged, COOKIE, COOKIE_LEN, Cookie, DATA, INITIATION, INITIATION_LEN, Initiation, KIND_ACK,
    KIND_CONTROL, Segment, VERSION, frame, plaintext, split,
};
use rouse_proto::wire::packet::Class;
use rouse_proto::wire::packet::{self, Probe};

/// First byte of the plaintext of a part of the control stream.
pub const CONTROL: u8 = KIND_CONTROL;
/// First byte of an acknowledgement's plaintext.
pub const ACK: u8 = KIND_ACK;
/// The bound (exclusive) on the kinds of plaintext, which begin at 0.
pub const KINDS: u8 = rouse_proto::wire::link::KIND_REST + 1;
/// First byte of the plaintext that ends a link.
pub const GOODBYE: u8 = rouse_proto::wire::link::KIND_GOODBYE;
/// The highest kind of handshake frame; they begin at 1.
pub const HANDSHAKES: u8 = rouse_proto::wire::link::REFUSAL;
/// The length of an initiation, in bytes.
pub const INITIATION_BYTES: usize = INITIATION_LEN;
/// The hop limit with which nodes send packets.
pub const HOP_LIMIT: u8 = packet::HOP_LIMIT;
/// Kind of a payload that requests a pong.
pub const PING: u8 = packet::payload::PING;
/// Kind of a payload that requests an answer of the node at which the hop limit runs out.
pub const TRACE: u8 = packet::payload::TRACE;
/// Flag of a packet that lets the relay at which its hop limit runs out answer.
pub const FLAG_TRACE: u8 = packet::FLAG_TRACE;

/// The fields of a forged initiation, made without any key agreement.
#[derive(Clone, Copy, Debug)]
pub struct ForgedInitiation {
    /// The protocol's version; the true one unless changed.
    pub version: u8,
    /// Bit 0: a mesh key is used.
    pub flags: u8,
    /// The index that the dialler claims for itself.
    pub sender: u32,
    /// The cookie that a responder under load requested.
    pub cookie: [u8; COOKIE_LEN],
    /// Any bytes in the place of a public key: the responder does not detect before the last message that no secret key belongs
    /// to them.
    pub ephemeral: [u8; 32],
    /// The number that identifies a run of the dialler.
    pub instance: u64,
    /// The length of the frame, in bytes.
    pub length: usize,
}

impl ForgedInitiation {
    /// An initiation that a responder cannot distinguish from a true one.
    pub fn new(sender: u32, ephemeral: [u8; 32]) -> Self {
        ForgedInitiation {
            version: VERSION,
            flags: 0,
            sender,
            cookie: [0; COOKIE_LEN],
            ephemeral,
            instance: u64::from(sender) << 8 | 1,
            length: INITIATION_LEN,
        }
    }

    /// Its bytes. Without a mesh key the payload is in clear, so that no key is needed.
    pub fn bytes(&self) -> Vec<u8> {
        let ForgedInitiation { version, flags, sender, cookie, .. } = *self;
        let head = Initiation { kind: INITIATION, version, flags, sender, cookie };
        let mut rest = self.ephemeral.to_vec();
        rest.extend_from_slice(&self.instance.to_le_bytes());
        let mut bytes = frame(&head, &rest);
        bytes.resize(self.length, 0);
        bytes
    }
}

/// The cookie in a responder's cookie frame; `None` for other frames.
pub fn requested_cookie(frame: &[u8]) -> Option<[u8; COOKIE_LEN]> {
    let (cookie, rest) = split::<Cookie>(frame).ok()?;
    (cookie.kind == COOKIE && rest.is_empty()).then_some(cookie.cookie)
}

/// A data frame with this index and counter, and any bytes in the place of its seal.
pub fn forged(index: u32, counter: u64, sealed: &[u8]) -> Vec<u8> {
    let mut bytes = vec![DATA, 0];
    bytes.extend_from_slice(&index.to_le_bytes());
    bytes.extend_from_slice(&counter.to_le_bytes());
    bytes.extend_from_slice(sealed);
    bytes
}

/// The plaintext of a control segment with any number and any acknowledgement.
pub fn segment(sequence: u32, (ack, sack): (u32, u64), body: &[u8]) -> Vec<u8> {
    let mut bytes = plaintext(KIND_CONTROL, &Segment { acknowledged: Acknowledged { ack, sack }, sequence });
    bytes.extend_from_slice(body);
    bytes
}

/// The plaintext of a packet.
pub fn packet(to: &Address, flags: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(packet::HEADER + payload.len());
    packet::write_header(&mut bytes, Class::Interactive, flags, hop_limit, to);
    bytes.extend_from_slice(payload);
    bytes
}

/// The destination of a packet.
pub fn destination(packet: &[u8]) -> Option<Address> {
    packet::read_header(packet).map(|header| header.destination)
}

/// The payload of a ping or a trace with any source.
pub fn probe(kind: u8, source: Address, nonce: u64, value: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    Probe { kind, source, nonce, value }.write(&mut bytes);
    bytes
}
