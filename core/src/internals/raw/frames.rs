//! Frames and plaintexts out of nothing.

use crate::address::Address;
use crate::egress::Class;
use crate::wire::link::{
    Acknowledged, COOKIE, COOKIE_LEN, Cookie, DATA, INITIATION, INITIATION_LEN, Initiation, KIND_ACK,
    KIND_CONTROL, Segment, VERSION, frame, plaintext, split,
};
use crate::wire::packet::{self, Probe};

/// First byte of the plaintext of a part of the control stream.
pub const CONTROL: u8 = KIND_CONTROL;
/// First byte of an acknowledgement's plaintext.
pub const ACK: u8 = KIND_ACK;
/// The kinds of plaintext that there are: 0 up to before this.
pub const KINDS: u8 = crate::wire::link::KIND_RESPONSE + 1;
/// First byte of the plaintext that ends a link.
pub const GOODBYE: u8 = crate::wire::link::KIND_GOODBYE;
/// The kinds of handshake frames: 1 to this.
pub const HANDSHAKES: u8 = crate::wire::link::REFUSAL;
/// What a handshake frame that opens a handshake has, in bytes.
pub const INITIATION_BYTES: usize = INITIATION_LEN;
/// The hop limit that packets set out with.
pub const HOP_LIMIT: u8 = packet::HOP_LIMIT;
/// Payload of a packet: are you there?
pub const PING: u8 = packet::payload::PING;
/// Payload of a packet: who is on the way?
pub const TRACE: u8 = packet::payload::TRACE;
/// Flag of a packet: the relay at which its hop limit runs out answers.
pub const FLAG_TRACE: u8 = packet::FLAG_TRACE;

/// Fields of an initiation that nobody means to complete.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// The protocol's version; the true one unless changed.
    pub version: u8,
    /// Bit 0: a mesh key is used.
    pub flags: u8,
    /// Where the answer is wanted.
    pub sender: u32,
    /// What a responder under load asked for.
    pub cookie: [u8; COOKIE_LEN],
    /// Stands for a public key: any bytes do, nobody computes with them before the end.
    pub ephemeral: [u8; 32],
    /// The number that stands for a run of the dialler.
    pub instance: u64,
    /// Bytes in all.
    pub length: usize,
}

impl Opening {
    /// One that is in order, as far as anybody can tell.
    pub fn new(sender: u32, ephemeral: [u8; 32]) -> Self {
        Opening {
            version: VERSION,
            flags: 0,
            sender,
            cookie: [0; COOKIE_LEN],
            ephemeral,
            instance: u64::from(sender) << 8 | 1,
            length: INITIATION_LEN,
        }
    }

    /// Its bytes. Without a mesh key its payload is in clear, so that nothing needs to be computed.
    pub fn bytes(&self) -> Vec<u8> {
        let Opening { version, flags, sender, cookie, .. } = *self;
        let head = Initiation { kind: INITIATION, version, flags, sender, cookie };
        let mut rest = self.ephemeral.to_vec();
        rest.extend_from_slice(&self.instance.to_le_bytes());
        let mut bytes = frame(&head, &rest);
        bytes.resize(self.length, 0);
        bytes
    }
}

/// What a responder under load asks for, if the frame is that.
pub fn asked_cookie(frame: &[u8]) -> Option<[u8; COOKIE_LEN]> {
    let (cookie, rest) = split::<Cookie>(frame).ok()?;
    (cookie.kind == COOKIE && rest.is_empty()).then_some(cookie.cookie)
}

/// A data frame with this index and counter; nobody has the key that its seal is made with.
pub fn forged(index: u32, counter: u64, sealed: &[u8]) -> Vec<u8> {
    let mut bytes = vec![DATA, 0];
    bytes.extend_from_slice(&index.to_le_bytes());
    bytes.extend_from_slice(&counter.to_le_bytes());
    bytes.extend_from_slice(sealed);
    bytes
}

/// A plaintext: a part of the control stream under any number, with any acknowledgement.
pub fn segment(sequence: u32, (ack, sack): (u32, u64), body: &[u8]) -> Vec<u8> {
    let mut bytes = plaintext(KIND_CONTROL, &Segment { acknowledged: Acknowledged { ack, sack }, sequence });
    bytes.extend_from_slice(body);
    bytes
}

/// A plaintext: a packet.
pub fn packet(to: &Address, flags: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(packet::HEADER + payload.len());
    packet::write_header(&mut bytes, Class::Interactive, flags, hop_limit, to);
    bytes.extend_from_slice(payload);
    bytes
}

/// Whither a packet goes.
pub fn destination(packet: &[u8]) -> Option<Address> {
    packet::read_header(packet).map(|header| header.destination)
}

/// The payload of a packet that asks for an answer, in anybody's name.
pub fn probe(kind: u8, source: Address, nonce: u64, value: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    Probe { kind, source, nonce, value }.write(&mut bytes);
    bytes
}
