//! Packets: the units that routers forward.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | kind of the frame's content: [`KIND`] |
//! | 1 | version (high 4 bits, 0) and class (low 4 bits): 0 bulk, 1 interactive |
//! | 1 | flags: bit 0 trace |
//! | 1 | hop limit |
//! | 32 | destination |
//! | rest | payload; its first byte is its kind: [`payload`] |
//!
//! The header has no source, because routers forward by the destination alone. The payloads to which a node answers carry their
//! source themselves.

use crate::address::Address;
use crate::wire::link::KIND_PACKET;

/// The kind byte that begins a frame's content when it is a packet.
pub const KIND: u8 = KIND_PACKET;
/// Bytes before the payload, the kind byte included.
pub const HEADER: usize = 36;
/// The hop limit with which packets are sent.
pub const HOP_LIMIT: u8 = 64;
/// Flag of a trace: the relay at which the hop limit runs out answers with its address.
pub const FLAG_TRACE: u8 = 1;

const CLASS_INTERACTIVE: u8 = 1;
const HOP_AT: usize = 3;
const DESTINATION_AT: usize = 4;

/// The first byte of a payload.
pub mod payload {
    /// A part of a conversation without a seal, as nodes of before sent it. It is dropped.
    pub const CLEAR_MESSAGE: u8 = 1;
    /// A [`Probe`](super::Probe) that requests a PONG from its destination. `value` is the hop limit with which it was sent.
    pub const PING: u8 = 2;
    /// The answer to a PING: it carries the ping's nonce, and in `value` the links that the ping crossed.
    pub const PONG: u8 = 3;
    /// A probe that requests a HOP from the node at which its hop limit runs out. `value` is the hop limit with which it was sent.
    pub const TRACE: u8 = 4;
    /// The answer to a TRACE: it carries the nonce and `value` of the trace; `source` is the node that answers.
    pub const HOP: u8 = 5;
    /// A sealed packet of a session: see `wire/session.rs`.
    pub const SESSION: u8 = 6;
    /// A part of a session's handshake.
    pub const PART: u8 = 7;
}

/// The urgency of a packet. A higher class is sent before a lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Hellos and routes, on which every other packet depends.
    Control,
    /// Short packets that a user waits for: pings and traces.
    Interactive,
    /// Messages.
    Bulk,
}

/// Appends a packet's header to `out`.
pub fn write_header(out: &mut Vec<u8>, class: Class, flags: u8, hop_limit: u8, destination: &Address) {
    let class = match class {
        Class::Bulk => 0,
        Class::Interactive | Class::Control => CLASS_INTERACTIVE,
    };
    out.extend_from_slice(&[KIND, class, flags, hop_limit]);
    out.extend_from_slice(destination.as_bytes());
}

/// The header of a received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The queue in which each hop sends it.
    pub class: Class,
    /// [`FLAG_TRACE`]; the other bits are passed on as they are.
    pub flags: u8,
    /// The number of hops that it may still be passed on.
    pub hop_limit: u8,
    /// The address of its recipient.
    pub destination: Address,
}

/// Reads the header of a packet (kind byte included); `None` when the bytes are not a packet of this version.
#[inline]
pub fn read_header(packet: &[u8]) -> Option<Header> {
    let (&[kind, class, flags, hop_limit], rest) = packet.split_first_chunk()?;
    let (destination, _) = rest.split_first_chunk::<32>()?;
    if kind != KIND || class >> 4 != 0 {
        return None;
    }
    Some(Header {
        class: if class & 0x0f == CLASS_INTERACTIVE { Class::Interactive } else { Class::Bulk },
        flags,
        hop_limit,
        destination: Address::from_bytes(*destination),
    })
}

/// The destination of what may be a packet; `None` when it is too short to have one.
#[inline]
pub fn destination(packet: &[u8]) -> Option<Address> {
    destination_bytes(packet).map(|bytes| Address::from_bytes(*bytes))
}

/// The bytes of the destination of what may be a packet.
#[inline]
pub fn destination_bytes(packet: &[u8]) -> Option<&[u8; 32]> {
    packet.get(DESTINATION_AT..)?.first_chunk()
}

/// Sets the hop limit of a packet.
#[inline]
pub fn set_hop_limit(packet: &mut [u8], hop_limit: u8) {
    if let Some(byte) = packet.get_mut(HOP_AT) {
        *byte = hop_limit;
    }
}

/// The payload of ping and trace and of their replies: kind 1, source 32, nonce 8, value 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whether it is a ping, a trace or one of their replies.
    pub kind: u8,
    /// The sender.
    pub source: Address,
    /// A number that the reply repeats.
    pub nonce: u64,
    /// A byte whose meaning depends on the kind.
    pub value: u8,
}

impl Probe {
    /// Appends its bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(self.kind);
        out.extend_from_slice(self.source.as_bytes());
        out.extend_from_slice(&self.nonce.to_le_bytes());
        out.push(self.value);
    }

    /// `None` when it is no probe.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (&kind, rest) = payload.split_first()?;
        let (source, rest) = rest.split_first_chunk::<32>()?;
        let (nonce, rest) = rest.split_first_chunk::<8>()?;
        let &[value] = rest else { return None };
        if !(payload::PING..=payload::HOP).contains(&kind) {
            return None;
        }
        let source = Address::from_bytes(*source);
        Some(Probe { kind, source, nonce: u64::from_le_bytes(*nonce), value })
    }

    /// The number of links that a ping with this hop limit has crossed: 1 to 255, whatever its sender claims. The relays on
    /// the way have each taken one off the limit; the last link takes none.
    pub fn crossed(&self, hop_limit: u8) -> u8 {
        self.value.saturating_sub(hop_limit).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_header_is_these_bytes() {
        let mut bytes = Vec::new();
        let to = Address::from_bytes([0xaa; 32]);
        write_header(&mut bytes, Class::Interactive, FLAG_TRACE, 64, &to);
        assert_eq!(bytes.len(), HEADER);
        assert_eq!(bytes[..5], [KIND, 1, 1, 64, 0xaa]);
        let header = read_header(&bytes).unwrap();
        assert_eq!(header, Header { class: Class::Interactive, flags: 1, hop_limit: 64, destination: to });
        set_hop_limit(&mut bytes, 9);
        assert_eq!(read_header(&bytes).unwrap().hop_limit, 9);
    }

    #[test]
    fn bytes_that_are_not_a_packet_are_refused() {
        let mut bytes = Vec::new();
        write_header(&mut bytes, Class::Bulk, 0, 64, &Address::from_bytes([1; 32]));
        for length in 0..HEADER {
            assert_eq!(read_header(&bytes[..length]), None);
        }
        bytes[1] = 0x10;
        assert_eq!(read_header(&bytes), None, "another version");
    }

    #[test]
    fn the_links_that_a_ping_has_crossed_are_1_to_255_whatever_its_sender_claims() {
        let crossed = |value: u8, hop_limit: u8| {
            Probe { kind: payload::PING, source: Address::from_bytes([1; 32]), nonce: 2, value }
                .crossed(hop_limit)
        };
        for (value, hop_limit, links) in [(64, 64, 1), (64, 62, 3), (3, 64, 1), (255, 0, 255), (0, 0, 1)] {
            assert_eq!(crossed(value, hop_limit), links, "sent with {value}, received with {hop_limit}");
        }
    }

    #[test]
    fn a_probe_is_these_bytes() {
        let probe = Probe { kind: payload::PING, source: Address::from_bytes([1; 32]), nonce: 2, value: 64 };
        let mut bytes = Vec::new();
        probe.write(&mut bytes);
        assert_eq!(bytes.len(), 42);
        assert_eq!((bytes[0], bytes[1], bytes[33], bytes[41]), (2, 1, 2, 64));
        assert_eq!(Probe::read(&bytes), Some(probe));
        assert_eq!(Probe::read(&bytes[..41]), None);
        bytes.push(0);
        assert_eq!(Probe::read(&bytes), None);
    }
}
