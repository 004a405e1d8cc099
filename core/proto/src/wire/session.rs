//! The formats of end-to-end sessions: the payloads of packets that carry them, and the contents inside their seal.
//!
//! # Payloads of packets
//!
//! ```text
//! session packet   06  receiver 4  counter 8  ciphertext  tag 16
//! handshake part   07  message 1  id 4  number 1  total 2  bytes
//! ```
//!
//! The first 13 bytes of a session packet are authenticated with the rest. `receiver` is the index that the receiver chose for these
//! keys. A handshake message is longer than a packet, so it travels in parts of [`PART_LEN`] bytes, the last of which holds the
//! rest; `total` is the length of the whole message. The `id` of a request is a random number that names nothing else; that of a
//! response is the index which the request carried inside its seal. Therefore the parts do not link the two directions.
//!
//! # Payloads of the handshake's messages
//!
//! The payload of the first message is [`SessionRequest`], that of the second [`SessionResponse`]. Bytes after the known fields are
//! skipped, so that fields can be added.
//!
//! # Contents of a session packet
//!
//! ```text
//! confirm     10  a packet of the same keys is wanted
//! confirmed   11  answers a confirm
//! rekey       12  generation 4  index 4  noise message 1 (48)
//! rekeyed     13  generation 4  index 4  noise message 2 (48)
//! ```
//!
//! All other kinds belong to the layer above.
use super::codec::{self, Decode, Encode, Malformed};
use super::packet::payload;
use crate::address::Address;

/// The first byte of a payload that is sealed with the keys of a session.
pub const PAYLOAD_SESSION: u8 = payload::SESSION;
/// The first byte of a payload that is a part of a handshake message.
pub const PAYLOAD_PART: u8 = payload::PART;

/// The length of a session packet's header in bytes.
pub const SESSION_HEADER_LEN: usize = 13;
/// The length of a session packet's tag in bytes.
pub const SESSION_TAG_LEN: usize = 16;
/// The bytes that a sealed payload has beside its content.
pub const SEAL: usize = SESSION_HEADER_LEN + SESSION_TAG_LEN;

/// The first message of a handshake.
pub const MESSAGE_REQUEST: u8 = 1;
/// The second message of a handshake.
pub const MESSAGE_RESPONSE: u8 = 2;
/// The longest handshake message that is put together, in bytes. Later versions have this much room for fields.
pub const MAX_MESSAGE_LEN: usize = 2048;
/// The length of a part's header in bytes.
pub const PART_HEADER_LEN: usize = 9;
/// The bytes of a handshake message in each of its parts but the last. With its header a part has 446 bytes, the longest payload
/// that every route carries, so that a handshake does not depend on what is known of the path.
pub const PART_LEN: usize = 437;
/// The most parts of a message.
pub const MAX_PARTS: usize = MAX_MESSAGE_LEN.div_ceil(PART_LEN);

/// The first byte of a content that asks for a packet under the same keys.
pub const CONTENT_CONFIRM: u8 = 0x10;
/// The first byte of the answer to [`CONTENT_CONFIRM`].
pub const CONTENT_CONFIRMED: u8 = 0x11;
/// The first byte of the request for the next generation of keys.
pub const CONTENT_REKEY: u8 = 0x12;
/// The first byte of the answer to [`CONTENT_REKEY`].
pub const CONTENT_REKEYED: u8 = 0x13;
/// The length of a handshake message of a rekeying: an ephemeral key and a tag.
pub const SESSION_REKEY_LEN: usize = 48;

/// The length of an encapsulation key of ML-KEM-768 in bytes (FIPS 203, table 3).
pub const KEM_KEY_LEN: usize = 1184;
/// The length of a ciphertext of ML-KEM-768 in bytes (FIPS 203, table 3).
pub const KEM_CIPHERTEXT_LEN: usize = 1088;

/// The header of a handshake part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PartHeader {
    /// [`PAYLOAD_PART`].
    pub kind: u8,
    /// [`MESSAGE_REQUEST`] or [`MESSAGE_RESPONSE`].
    pub message: u8,
    /// The handshake that the part belongs to.
    pub id: u32,
    /// The number of the part, from 0.
    pub number: u8,
    /// The length of the whole message in bytes.
    pub total: u16,
}

impl PartHeader {
    /// Reads a part. The bytes must have exactly the length that the number and the total require.
    pub fn read(payload: &[u8]) -> Result<(PartHeader, &[u8]), Malformed> {
        let (header, bytes) = codec::decode_prefix::<PartHeader>(payload)?;
        let total = usize::from(header.total);
        let known = matches!(header.message, MESSAGE_REQUEST | MESSAGE_RESPONSE);
        let start = usize::from(header.number).saturating_mul(PART_LEN);
        let expected = total.saturating_sub(start).min(PART_LEN);
        let fits = total <= MAX_MESSAGE_LEN && expected > 0 && bytes.len() == expected;
        if header.kind == PAYLOAD_PART && known && fits { Ok((header, bytes)) } else { Err(Malformed) }
    }
}

/// Cuts a handshake message into the payloads of packets. The message must not be longer than [`MAX_MESSAGE_LEN`].
pub fn parts(message: u8, id: u32, bytes: &[u8]) -> Vec<Vec<u8>> {
    let total = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let part = |(number, part): (u8, &[u8])| {
        let mut payload = Vec::with_capacity(PART_HEADER_LEN.saturating_add(part.len()));
        let header = PartHeader { kind: PAYLOAD_PART, message, id, number, total };
        // Writing fixed fields into a vector does not fail.
        let _ = codec::encode_into(&header, &mut payload);
        payload.extend_from_slice(part);
        payload
    };
    (0..).zip(bytes.chunks(PART_LEN)).map(part).collect()
}

/// The state of one direction of a conversation, as one end knows it. It travels inside the handshake, so that both ends know
/// which incarnation of the other is alive before the first message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Standing {
    /// The sender's own incarnation.
    pub incarnation: u64,
    /// The lowest sequence of its own messages that is not settled.
    pub floor: u64,
    /// The incarnation of the other end that the sender knows; 0 when it knows none.
    pub peer_incarnation: u64,
    /// The lowest sequence of that incarnation that the sender has neither taken nor skipped. With [`FORGOTTEN`] it has lost
    /// all that it knew besides, because its memory began again and only its disk remembers.
    pub taken: u64,
}

/// The bit of [`Standing::taken`] by which an end reports that it has no packets and no unfinished messages of the other
/// end any more. Sequences are below 2⁶².
pub const FORGOTTEN: u64 = 1 << 63;

impl Standing {
    /// [`Standing::taken`] without the bit beside it.
    pub fn taken_below(&self) -> u64 {
        self.taken & !FORGOTTEN
    }

    /// Whether the sender has lost all but what is below [`Standing::taken_below`].
    pub fn has_forgotten(&self) -> bool {
        self.taken & FORGOTTEN != 0
    }
}

/// The result of a handshake for the conversation above it: the two incarnations that the session is between, and the
/// peer's end of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvedStanding {
    /// The number of the session at this node. A session that came into use later has a greater number.
    pub session: u64,
    /// The incarnation of this end that the handshake has named to the peer.
    pub incarnation: u64,
    /// The peer's end, as it was at the time of the handshake.
    pub peer: Standing,
}

/// The payload of a handshake's first message.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SessionRequest {
    /// The address of the initiator, which must belong to its static key.
    pub address: Address,
    /// The index by which the initiator finds the session.
    pub index: u32,
    /// The cipher suites that the initiator offers, as bits.
    pub suites: u8,
    /// The optional features of the initiator, as bits. None is defined yet.
    pub capabilities: u32,
    /// The initiator's end of the conversation.
    pub standing: Standing,
    /// The encapsulation key of the initiator, made for this handshake.
    pub kem_key: [u8; KEM_KEY_LEN],
}

/// The payload of a handshake's second message.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SessionResponse {
    /// The index by which the responder finds the session.
    pub index: u32,
    /// The cipher suites that the responder offers, as bits.
    pub suites: u8,
    /// The optional features of the responder, as bits. None is defined yet.
    pub capabilities: u32,
    /// The responder's end of the conversation.
    pub standing: Standing,
    /// The encapsulated secret.
    pub kem_ciphertext: [u8; KEM_CIPHERTEXT_LEN],
}

/// The fields of a rekey and of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SessionRekey {
    /// The generation of the next keys.
    pub generation: u32,
    /// The index by which the sender finds the session under the next keys.
    pub index: u32,
    /// The handshake message.
    pub message: [u8; SESSION_REKEY_LEN],
}

/// The content that carries a rekey or its answer.
pub fn rekey_content(kind: u8, rekey: &SessionRekey) -> Vec<u8> {
    let mut content = vec![kind];
    // Writing fixed fields into a vector does not fail.
    let _ = codec::encode_into(rekey, &mut content);
    content
}

/// The index of the receiver in the header of a session packet, and the counter. `None` when the payload is shorter than its fixed
/// parts or of another kind.
pub fn read_session_header(payload: &[u8]) -> Option<(u32, u64)> {
    let (header, rest) = payload.split_first_chunk::<SESSION_HEADER_LEN>()?;
    let [PAYLOAD_SESSION, i0, i1, i2, i3, counter @ ..] = *header else { return None };
    (rest.len() >= SESSION_TAG_LEN)
        .then(|| (u32::from_le_bytes([i0, i1, i2, i3]), u64::from_le_bytes(counter)))
}

/// The header of a session packet.
pub fn session_header(index: u32, counter: u64) -> [u8; SESSION_HEADER_LEN] {
    let [i0, i1, i2, i3] = index.to_le_bytes();
    let [c0, c1, c2, c3, c4, c5, c6, c7] = counter.to_le_bytes();
    [PAYLOAD_SESSION, i0, i1, i2, i3, c0, c1, c2, c3, c4, c5, c6, c7]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{link, packet};

    #[test]
    fn a_part_fills_the_shortest_packet_that_a_route_may_carry() {
        let overhead = link::HEADER_LEN + link::TAG_LEN + packet::HEADER;
        // The smallest MTU of a netmod is the length of the longest handshake frame of a link.
        assert_eq!(PART_HEADER_LEN + PART_LEN + overhead, link::MAX_HANDSHAKE_LEN);
    }

    #[test]
    fn the_parts_of_a_message_have_the_lengths_that_follow_from_its_own() {
        for total in [1, PART_LEN, PART_LEN + 1, 1353, MAX_MESSAGE_LEN] {
            let message: Vec<u8> = (0..total).map(|at| at as u8).collect();
            let all = parts(MESSAGE_REQUEST, 7, &message);
            assert!(all.len() <= MAX_PARTS);
            let mut together = Vec::new();
            for (number, payload) in all.iter().enumerate() {
                let (header, bytes) = PartHeader::read(payload).unwrap();
                assert_eq!((usize::from(header.number), header.id), (number, 7));
                together.extend_from_slice(bytes);
            }
            assert_eq!(together, message);
        }
    }

    #[test]
    fn a_part_of_another_length_number_or_message_is_malformed() {
        let whole = parts(MESSAGE_RESPONSE, 7, &[5; 900]);
        let mut long = whole[2].clone();
        long.push(0);
        let mut beyond = whole[2].clone();
        beyond[6] = 3;
        let mut unknown = whole[0].clone();
        unknown[1] = 3;
        let mut huge = whole[0].clone();
        huge[7..9].copy_from_slice(&2049u16.to_le_bytes());
        let empty = PartHeader { kind: PAYLOAD_PART, message: 1, id: 7, number: 0, total: 0 };
        let empty = codec::encode(&empty).unwrap();
        for bad in [&long[..], &whole[0][..400], &beyond, &unknown, &huge, &empty, &[]] {
            assert_eq!(PartHeader::read(bad), Err(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn the_header_of_a_session_packet_is_read_back() {
        let mut payload = session_header(0x0102_0304, 5).to_vec();
        assert_eq!(read_session_header(&payload), None, "there is no tag");
        payload.extend_from_slice(&[0; SESSION_TAG_LEN]);
        assert_eq!(payload[..6], [6, 4, 3, 2, 1, 5]);
        assert_eq!(read_session_header(&payload), Some((0x0102_0304, 5)));
    }
}
