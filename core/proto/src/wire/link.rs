//! The formats of the link layer: frames, and the plaintexts inside data frames.
//!
//! A frame is the unit that a netmod carries. Its first byte is its kind: one of the five handshake frames, or data.
//! All integers are little-endian and of fixed size; nothing is aligned or padded unless noted.
//!
//! # Handshake frames
//!
//! ```text
//! Initiation  01  version 1  flags 1  sender 4  cookie 16  noise message 1
//! Response    02  version 1  sender 4  receiver 4  noise message 2
//! Finish      03  version 1  receiver 4  noise message 3
//! Cookie      04  version 1  receiver 4  echo 8  cookie 16
//! Refusal     05  version 1  receiver 4  echo 8  reason 1
//! ```
//!
//! `sender` is the index that the sender chose for frames sent to it, `receiver` the index that the other side chose. `echo` is
//! the first 8 bytes of the initiator's ephemeral key: it shows that the sender of the answer has seen the initiation. Bit 0
//! of `flags` is set when a mesh key is used. The whole of an `Initiation` is at least [`INITIATION_LEN`] bytes long, and no
//! answer is longer than the initiation, so that a forged source address cannot turn a responder into an amplifier.
//! `Refusal`, and the first 55 bytes of `Initiation` (up to the end of the ephemeral key), are the same in
//! every version of the protocol.
//!
//! The payload of noise message 1 is [`Opening`], padded with zeroes; of messages 2 and 3 it is [`Introduction`].
//! Bytes after the known fields are skipped, so that fields can be added.
//!
//! # Data frames
//!
//! ```text
//! Data        10  phase 1  receiver 4  counter 8  ciphertext  tag 16
//! ```
//!
//! The first 14 bytes are authenticated with the rest. The first byte of the plaintext is its kind:
//!
//! ```text
//! packet      00  a packet of the layer above
//! control     01  ack 4  sack 8  sequence 4  part of the control stream
//! ack         02  ack 4  sack 8
//! hello       03  vitals
//! probe       04  vitals; to be answered at once
//! answer      05  vitals
//! goodbye     06  reason 1
//! rekey       07  generation 4  noise message 1 (48)
//! rekeyed     08  generation 4  noise message 2 (48)
//! mtu probe   09  id 4  padding, 2 or more; to be answered
//! mtu answer  0a  id 4  length 2
//! challenge   0b  token 8; to be answered
//! response    0c  token 8
//! rest        0d  vitals, next 2 (ms)
//! ```
//!
//! `phase` is the generation of the keys modulo 256: 0 after the handshake, one more after each rekeying. The counter
//! continues across generations. `length` is the length of the whole frame that carried the probe.
//!
//! `vitals` are [`Vitals`]. The control stream is a sequence of messages, each preceded by its length (2 bytes, 1 to 4096).
//! It is cut into segments without regard to the ends of messages.
use super::codec::{self, Decode, Encode, Malformed};
use crate::address::Address;

/// The version of the link protocol. Initiations with any other version are refused.
pub const VERSION: u8 = 1;

/// First byte of the frame that opens a handshake.
pub const INITIATION: u8 = 0x01;
/// First byte of the frame that answers it.
pub const RESPONSE: u8 = 0x02;
/// First byte of the frame that completes it.
pub const FINISH: u8 = 0x03;
/// First byte of the frame that requests a proof of the dialler's source address.
pub const COOKIE: u8 = 0x04;
/// First byte of the frame that gives the reason for which a handshake is refused.
pub const REFUSAL: u8 = 0x05;
/// First byte of a sealed frame.
pub const DATA: u8 = 0x10;

/// The length of an initiation in bytes: longer than a response, with room for the fields of future versions.
pub const INITIATION_LEN: usize = 256;
/// The longest handshake frame, in bytes. It is also the smallest MTU that a netmod may have, since a handshake frame is not
/// divided.
pub const MAX_HANDSHAKE_LEN: usize = 512;
/// The length of an X25519 public key in bytes (RFC 7748).
pub const KEY_LEN: usize = 32;
/// The length of a cookie in bytes.
pub const COOKIE_LEN: usize = 16;
/// Bytes of the initiator's ephemeral key that an answer to an initiation repeats.
pub const ECHO_LEN: usize = 8;

/// The length of a data frame's header in bytes.
pub const HEADER_LEN: usize = 14;
/// The length of a data frame's tag in bytes.
pub const TAG_LEN: usize = 16;
/// First byte of a plaintext that is a packet of the layer above.
pub const KIND_PACKET: u8 = 0x00;
/// First byte of a segment of the control stream.
pub const KIND_CONTROL: u8 = 0x01;
/// First byte of an acknowledgement of control segments.
pub const KIND_ACK: u8 = 0x02;
/// First byte of a hello, the periodic proof that the sender is alive.
pub const KIND_HELLO: u8 = 0x03;
/// First byte of a probe: a hello that requests an answer at once.
pub const KIND_PROBE: u8 = 0x04;
/// First byte of the answer to a probe.
pub const KIND_ANSWER: u8 = 0x05;
/// First byte of the last frame of a link.
pub const KIND_GOODBYE: u8 = 0x06;
/// First byte of the request for the next generation of keys.
pub const KIND_REKEY: u8 = 0x07;
/// First byte of the answer to [`KIND_REKEY`].
pub const KIND_REKEYED: u8 = 0x08;
/// First byte of a padded frame that tests whether the path carries frames of its length.
pub const KIND_MTU_PROBE: u8 = 0x09;
/// First byte of the answer to [`KIND_MTU_PROBE`].
pub const KIND_MTU_ANSWER: u8 = 0x0a;
/// First byte of a path challenge (RFC 9000, section 8.2), which tests whether the neighbour receives at the endpoint from
/// which its frames arrive.
pub const KIND_CHALLENGE: u8 = 0x0b;
/// First byte of the answer to [`KIND_CHALLENGE`].
pub const KIND_RESPONSE: u8 = 0x0c;
/// First byte of a hello that states when the next one is due.
pub const KIND_REST: u8 = 0x0d;

/// Capability: the node understands [`KIND_REST`].
pub const CAPABILITY_REST: u32 = 1;
/// The capabilities of this implementation.
pub const CAPABILITIES: u32 = CAPABILITY_REST;

/// The part of the node that handles a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A frame for [`Handshakes`](crate::link::Handshakes).
    Handshake,
    /// A frame for the link with this local index.
    Data {
        /// The index that the receiver chose in the handshake.
        index: u32,
    },
}

/// Classifies `frame` by its first bytes. `None` when its kind is unknown, when it is shorter than its fixed part, or when it is
/// a handshake frame longer than [`MAX_HANDSHAKE_LEN`].
#[inline]
pub fn peek(frame: &[u8]) -> Option<FrameKind> {
    match *frame.first()? {
        INITIATION..=REFUSAL if (6..=MAX_HANDSHAKE_LEN).contains(&frame.len()) => Some(FrameKind::Handshake),
        DATA if frame.len() >= HEADER_LEN.saturating_add(TAG_LEN) => {
            let index = frame.get(2..6)?.try_into().ok()?;
            Some(FrameKind::Data { index: u32::from_le_bytes(index) })
        }
        _ => None,
    }
}

/// The fixed part of the frame that opens a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Initiation {
    /// [`INITIATION`].
    pub kind: u8,
    /// [`VERSION`].
    pub version: u8,
    /// [`Initiation::MESH`] or nothing.
    pub flags: u8,
    /// The index that the initiator chose for frames sent to it.
    pub sender: u32,
    /// The value that the responder requested in a [`Cookie`]; zeroes before that.
    pub cookie: [u8; COOKIE_LEN],
}

impl Initiation {
    /// A mesh key is mixed into the handshake.
    pub const MESH: u8 = 1;
    /// Bytes before the cookie.
    pub const COOKIE_AT: usize = 7;
    /// Bytes of the fixed part.
    pub const LEN: usize = Self::COOKIE_AT + COOKIE_LEN;
}

/// The fixed part of the frame that answers an initiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Response {
    /// [`RESPONSE`].
    pub kind: u8,
    /// [`VERSION`].
    pub version: u8,
    /// The index that the responder chose for frames sent to it.
    pub sender: u32,
    /// [`Initiation::sender`].
    pub receiver: u32,
}

/// The fixed part of the frame that completes a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Finish {
    /// [`FINISH`].
    pub kind: u8,
    /// [`VERSION`].
    pub version: u8,
    /// [`Response::sender`].
    pub receiver: u32,
}

/// A responder under load asks for the initiation again, with this cookie in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Cookie {
    /// [`COOKIE`].
    pub kind: u8,
    /// [`VERSION`].
    pub version: u8,
    /// [`Initiation::sender`].
    pub receiver: u32,
    /// The first bytes of the ephemeral key.
    pub echo: [u8; ECHO_LEN],
    /// To be put into the initiation.
    pub cookie: [u8; COOKIE_LEN],
}

/// The frame that refuses a handshake. It is only a hint, since it is not authenticated: any node that sees the initiation can
/// forge it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Refusal {
    /// [`REFUSAL`].
    pub kind: u8,
    /// The version that the refusing side speaks.
    pub version: u8,
    /// [`Initiation::sender`].
    pub receiver: u32,
    /// The first bytes of the ephemeral key.
    pub echo: [u8; ECHO_LEN],
    /// [`Refusal::VERSION`] or [`Refusal::MESH`].
    pub reason: u8,
}

impl Refusal {
    /// The responder does not support the version of the initiation.
    pub const VERSION: u8 = 1;
    /// The initiation uses a mesh key, and the responder has none.
    pub const MESH: u8 = 2;
}

/// The payload of noise message 1: in clear unless there is a mesh key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Opening {
    /// A random number that the initiator drew when it started. Its beacons carry the same one.
    pub instance: u64,
}

/// The payload of noise messages 2 and 3: the identity and the abilities of its sender. It is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Introduction {
    /// The sender's address. Its X25519 form is the static key of the handshake.
    pub address: Address,
    /// The index that the sender chose for frames sent to it.
    pub index: u32,
    /// A random number that the sender drew when it started.
    pub instance: u64,
    /// The longest frame that its side of the path takes, in bytes.
    pub mtu: u16,
    /// Bit 0: ChaCha20-Poly1305, which every node must support. Bit 1: AES-256-GCM, in hardware.
    pub suites: u8,
    /// Further abilities of the sender. Bit 0: [`CAPABILITY_REST`].
    pub capabilities: u32,
}

/// The length of an [`Introduction`] in bytes.
#[cfg(test)]
pub const INTRODUCTION_LEN: usize = 32 + 4 + 8 + 2 + 1 + 4;

/// The report of one side on the link, in every hello, probe and answer. Round-trip time and loss are measured from it.
///
/// RFC 8966 measures loss by the sequence numbers of hellos. Frame counters replace these here, because they cover every frame
/// and not only one a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Vitals {
    /// The sender's clock in microseconds, from an origin of its own, modulo 2³².
    pub sent: u32,
    /// [`Vitals::sent`] of the last report received from the other side.
    pub echo: u32,
    /// Time since that report was received, in microseconds; [`Vitals::NO_ECHO`] when none was received recently.
    pub held: u32,
    /// One more than the highest frame counter received from the other side: the least number of frames that it has sent.
    pub expected: u64,
    /// The number of those frames that were received.
    pub received: u64,
}

/// A hello of a link at rest, which states when the next one is due. It is sent only to a node with [`CAPABILITY_REST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RestHello {
    /// As in every hello.
    pub vitals: Vitals,
    /// The time within which the next hello is sent, in milliseconds.
    pub next_ms: u16,
}

impl Vitals {
    /// The value of `held` when `echo` has no meaning.
    pub const NO_ECHO: u32 = u32::MAX;
}

/// The acknowledgement of control segments of the other direction, in control segments and in acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Acknowledged {
    /// All segments before this one were received (modulo 2³²).
    pub ack: u32,
    /// Bit `i` is set when segment `ack + 1 + i` was received.
    pub sack: u64,
}

/// The fixed part of a control segment, after the kind byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Segment {
    /// Acknowledges segments of the other direction.
    pub acknowledged: Acknowledged,
    /// The number of this segment, counted from 0 modulo 2³².
    pub sequence: u32,
}

/// The length of either message of a rekeying: an ephemeral key and the tag of an empty payload.
pub const REKEY_LEN: usize = KEY_LEN + TAG_LEN;

/// A request for the next generation of keys, or the answer to it, after the kind byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rekey {
    /// The generation of the new keys: one more than that of the present keys.
    pub generation: u32,
    /// The noise message 1 or 2 of the rekeying handshake.
    pub message: [u8; REKEY_LEN],
}

/// The report that an MTU probe was received, after the kind byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MtuAnswer {
    /// The probe's number.
    pub id: u32,
    /// The length of the frame that carried the probe, in bytes.
    pub length: u16,
}

/// A challenge, and the answer to it, after the kind byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ChallengeToken {
    /// A random number, the same in both.
    pub token: u64,
}

/// Bytes of a control segment besides its part of the stream, kind included.
pub const SEGMENT_OVERHEAD: usize = 1 + 4 + 8 + 4;

/// A plaintext of `kind` with the body `value`.
pub fn plaintext<T: Encode>(kind: u8, value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    out.push(kind);
    // Fixed-size integers always encode.
    let encoded = codec::encode_into(value, &mut out);
    debug_assert!(encoded.is_ok());
    out
}

/// A handshake frame: the fixed part, then `rest`.
pub fn frame<T: Encode>(head: &T, rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rest.len().saturating_add(INITIATION_LEN));
    let encoded = codec::encode_into(head, &mut out);
    debug_assert!(encoded.is_ok());
    out.extend_from_slice(rest);
    out
}

/// Reads a fixed part; returns it and the bytes that follow it.
pub fn split<T: for<'a> codec::BorrowDecode<'a, ()>>(bytes: &[u8]) -> Result<(T, &[u8]), Malformed> {
    codec::decode_prefix(bytes)
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
