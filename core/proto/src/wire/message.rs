//! The formats of the message layer, which transports messages between two addresses over any number of routers.
//!
//! A message packet is the content of a sealed packet (see `wire/session.rs`). It has a fixed header, followed by frames until its
//! end. All integers are little-endian. The code is written by hand and not derived, because a short message among a thousand others
//! must cost only a few bytes, and because bodies are slices of the packet that carried them.
//!
//! | header | bytes | |
//! |---|---|---|
//! | kind | 1 | [`CONTENT_MESSAGE`] |
//! | number | 8 | packet number, never used twice by an incarnation |
//! | open | 4 | distance from this packet's number back to the oldest packet that is neither acknowledged nor lost |
//! | floor | 8 | the lowest message sequence that is not settled; frames count from here |
//!
//! | frame | bytes after its kind |
//! |---|---|
//! | 1 ack | largest number 8, delay in µs 4, ranges 1, length of the first 4, then gap 4 and length 4 of each further one |
//! | 2 credit | taken 8, bytes 4, messages 2 |
//! | 3 messages | sequence above floor 2, sent at 8, count 2, then for each: ms later 2, length 2, body |
//! | 4 fragment | sequence above floor 2, sent at 8, total 4, offset 4, length 2, bytes |
//! | 5 skip | sequence above floor 2, count 2 |
//! | 6 ping | nothing: an ack is wanted at once |
//! | 7 last | nothing: no more waits to be sent, a receipt is wanted soon |
//! | 8 attributes | flags 1, service (length 1, bytes) and id of the answered message 16 if flagged: for the messages after it |
#[path = "message_ack.rs"]
mod ack;
#[path = "message_attributes.rs"]
mod attributes;

use std::ops::Range;

use crate::types::{Attributes, Timestamp};
use crate::wire::codec::Malformed;
pub use ack::Ack;
use attributes::{ATTRIBUTES, read_attributes};
pub use attributes::{MAX_ATTRIBUTES, are_durable, attributes_len, write_attributes};

/// The first byte of a content that belongs to the message layer.
pub const CONTENT_MESSAGE: u8 = 1;
/// Bytes of the header.
pub const HEADER: usize = 21;
/// Bytes of a messages frame before its first message.
pub const BATCH_HEADER: usize = 13;
/// Bytes before the body of each message in a messages frame.
pub const ENTRY_HEADER: usize = 4;
/// Bytes of a fragment frame before its bytes.
pub const FRAGMENT_HEADER: usize = 21;
/// Bytes of a skip frame.
pub const SKIP: usize = 5;
/// Bytes of a last frame.
pub const LAST: usize = 1;
/// Bytes of a credit frame.
pub const CREDIT: usize = 15;
/// The most ranges of packet numbers in one ack. Older ranges can be left out, because earlier acks carried them several times.
pub const MAX_RANGES: usize = 32;

/// The most frames in one packet. Without this bound a packet of many tiny frames would cost a multiple of the CPU time of
/// another packet of its length.
pub const MAX_FRAMES: usize = 64;
/// The most messages that come whole in one packet. Without this bound a packet of messages of one byte would cost some fifty times
/// as much CPU time as one with a single message of its length, since each message is delivered by itself.
pub const MAX_MESSAGES: usize = 48;

/// Packet numbers and the floor are below this, so that counting up from them never reaches the end of 64 bits (RFC 9000,
/// section 12.3, has the same bound for packet numbers).
pub const NUMBERS_END: u64 = 1 << 62;

const ACK: u8 = 1;
const CREDIT_KIND: u8 = 2;
const MESSAGES: u8 = 3;
const FRAGMENT: u8 = 4;
const SKIP_KIND: u8 = 5;
const PING: u8 = 6;
const LAST_KIND: u8 = 7;

/// The header of every message packet; its fields are described in the table of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHeader {
    /// The number of the packet.
    pub number: u64,
    /// The distance from this packet's number back to the oldest packet that is neither acknowledged nor lost.
    pub open: u32,
    /// The lowest sequence number that is not settled. Frames count from here.
    pub floor: u64,
}

/// One frame of a packet that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Ranges follow, to be read with [`Reader::ack`].
    Ack,
    /// Every message with a sequence below `taken` is settled, and the sender may have `bytes` and `messages` beyond it in
    /// flight.
    Credit {
        /// The first sequence number that is not settled.
        taken: u64,
        /// The bytes beyond it.
        bytes: u32,
        /// The number of messages beyond it.
        messages: u16,
    },
    /// `count` entries follow, to be read with [`Reader::entry`].
    Messages {
        /// The sequence number of the first, as its distance above the floor.
        above: u16,
        /// The moment at which the first was sent.
        sent_at: Timestamp,
        /// The number of entries.
        count: u16,
    },
    /// A part of a message that is longer than a packet.
    Fragment {
        /// The sequence number of the message, as its distance above the floor.
        above: u16,
        /// The moment at which the message was sent.
        sent_at: Timestamp,
        /// The length of the whole message, in bytes.
        total: u32,
        /// The position of the part in the message.
        offset: u32,
        /// The position of the part in the packet: from and to.
        bytes: (usize, usize),
    },
    /// Messages that their sender has withdrawn.
    Skip {
        /// The sequence number of the first, as its distance above the floor.
        above: u16,
        /// The number of messages.
        count: u16,
    },
    /// An ack is wanted at once.
    Ping,
    /// No more messages wait to be sent: a receipt is wanted soon.
    Last,
    /// Fields follow that hold for the messages and fragments after it, to be read with [`Reader::attributes`].
    Attributes,
}

/// Appends the header of a packet.
pub fn write_header(header: &MessageHeader, out: &mut Vec<u8>) {
    out.push(CONTENT_MESSAGE);
    out.extend_from_slice(&header.number.to_le_bytes());
    out.extend_from_slice(&header.open.to_le_bytes());
    out.extend_from_slice(&header.floor.to_le_bytes());
}

/// Appends an ack.
pub fn write_ack(ack: &Ack, out: &mut Vec<u8>) {
    out.push(ACK);
    out.extend_from_slice(&ack.largest().to_le_bytes());
    out.extend_from_slice(&ack.delay_us.to_le_bytes());
    out.push(u8::try_from(ack.ranges().len()).unwrap_or(u8::MAX));
    let mut above = None;
    for &(low, high) in ack.ranges() {
        if let Some(above) = above {
            let gap = u64::saturating_sub(above, high).saturating_sub(1);
            out.extend_from_slice(&clamp32(gap).to_le_bytes());
        }
        out.extend_from_slice(&clamp32(high.saturating_sub(low)).to_le_bytes());
        above = Some(low);
    }
}

/// Appends a credit.
pub fn write_credit(taken: u64, bytes: u32, messages: u16, out: &mut Vec<u8>) {
    out.push(CREDIT_KIND);
    out.extend_from_slice(&taken.to_le_bytes());
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(&messages.to_le_bytes());
}

/// Appends the request for an ack.
pub fn write_ping(out: &mut Vec<u8>) {
    out.push(PING);
}

/// Appends the mark that no more messages wait.
pub fn write_last(out: &mut Vec<u8>) {
    out.push(LAST_KIND);
}

/// Begins a messages frame. The caller writes its count with [`patch_count`] at the returned position, once it is known.
pub fn write_messages(above: u16, sent_at: Timestamp, out: &mut Vec<u8>) -> usize {
    out.push(MESSAGES);
    out.extend_from_slice(&above.to_le_bytes());
    out.extend_from_slice(&sent_at.0.to_le_bytes());
    let at = out.len();
    out.extend_from_slice(&[0, 0]);
    at
}

/// Appends one whole message, sent `later_ms` after the one before it, inside [`Frame::Messages`].
pub fn write_entry(later_ms: u16, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&later_ms.to_le_bytes());
    out.extend_from_slice(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(body);
}

/// The fields of a fragment frame before its bytes.
pub struct FragmentHead {
    /// The sequence of the message, above the floor.
    pub above: u16,
    /// The moment at which the message was sent.
    pub sent_at: Timestamp,
    /// The length of the whole message.
    pub total: u32,
    /// The position of the fragment in it.
    pub offset: u32,
}

/// Appends a part of a message.
pub fn write_fragment(head: &FragmentHead, bytes: &[u8], out: &mut Vec<u8>) {
    let FragmentHead { above, sent_at, total, offset } = head;
    out.push(FRAGMENT);
    out.extend_from_slice(&above.to_le_bytes());
    out.extend_from_slice(&sent_at.0.to_le_bytes());
    out.extend_from_slice(&total.to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Begins a skip frame. The caller writes its count with [`patch_count`] at the returned position, once it is known.
pub fn write_skip(above: u16, out: &mut Vec<u8>) -> usize {
    out.push(SKIP_KIND);
    out.extend_from_slice(&above.to_le_bytes());
    let at = out.len();
    out.extend_from_slice(&[0, 0]);
    at
}

/// Writes the number of entries into the frame at `at`, once it is known.
pub fn patch_count(at: usize, count: u16, out: &mut [u8]) {
    if let Some(place) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) {
        *place = count.to_le_bytes();
    }
}

fn clamp32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Reads a packet from front to end. Byte strings are returned as ranges of the packet, so that nothing is copied.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of a packet's payload.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// The number of bytes that have been read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Whether all bytes have been read.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Reads the header.
    ///
    /// # Errors
    /// When the bytes are not a header of the message layer.
    pub fn header(&mut self) -> Result<MessageHeader, Malformed> {
        if self.array::<1>()? != [CONTENT_MESSAGE] {
            return Err(Malformed);
        }
        let header = MessageHeader { number: self.u64()?, open: self.u32()?, floor: self.u64()? };
        if header.number >= NUMBERS_END || header.floor >= NUMBERS_END {
            return Err(Malformed);
        }
        Ok(header)
    }

    /// Reads the next frame, or its fixed part where its entries are read one by one.
    ///
    /// # Errors
    /// When the bytes are not a frame.
    pub fn frame(&mut self) -> Result<Frame, Malformed> {
        let [kind] = self.array()?;
        match kind {
            ACK => Ok(Frame::Ack),
            CREDIT_KIND => {
                Ok(Frame::Credit { taken: self.u64()?, bytes: self.u32()?, messages: self.u16()? })
            }
            MESSAGES => Ok(Frame::Messages {
                above: self.u16()?,
                sent_at: Timestamp(self.u64()?),
                count: self.u16()?,
            }),
            FRAGMENT => {
                let (above, sent_at) = (self.u16()?, Timestamp(self.u64()?));
                let (total, offset, length) = (self.u32()?, self.u32()?, self.u16()?);
                let bytes = self.take(usize::from(length))?;
                Ok(Frame::Fragment { above, sent_at, total, offset, bytes: (bytes.start, bytes.end) })
            }
            SKIP_KIND => Ok(Frame::Skip { above: self.u16()?, count: self.u16()? }),
            PING => Ok(Frame::Ping),
            LAST_KIND => Ok(Frame::Last),
            ATTRIBUTES => Ok(Frame::Attributes),
            _ => Err(Malformed),
        }
    }

    /// The next message of a messages frame: the milliseconds between the first message and this one, and the range of its body.
    pub fn entry(&mut self) -> Result<(u16, Range<usize>), Malformed> {
        let (later, length) = (self.u16()?, self.u16()?);
        Ok((later, self.take(usize::from(length))?))
    }

    /// Reads the fields of an attributes frame, after its kind.
    ///
    /// # Errors
    /// When they are not those of a message, or when a value has a shorter encoding.
    pub fn attributes(&mut self) -> Result<Attributes, Malformed> {
        let (attributes, rest) = read_attributes(self.bytes.get(self.at..).unwrap_or_default())?;
        self.at = self.bytes.len().saturating_sub(rest.len());
        Ok(attributes)
    }

    /// Reads the ranges of an ack, after its kind.
    pub fn ack(&mut self) -> Result<Ack, Malformed> {
        let (largest, delay_us) = (self.u64()?, self.u32()?);
        let [count] = self.array()?;
        let mut ack = Ack::new(delay_us);
        let mut high = largest;
        for nth in 0..count {
            if nth > 0 {
                let gap = u64::from(self.u32()?);
                if gap == 0 {
                    return Err(Malformed);
                }
                high = high.checked_sub(gap).and_then(|high| high.checked_sub(1)).ok_or(Malformed)?;
            }
            let low = high.checked_sub(u64::from(self.u32()?)).ok_or(Malformed)?;
            if !ack.push(low, high) {
                return Err(Malformed);
            }
            high = low;
        }
        if ack.ranges().is_empty() { Err(Malformed) } else { Ok(ack) }
    }

    fn take(&mut self, length: usize) -> Result<Range<usize>, Malformed> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len()).ok_or(Malformed)?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let array = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()).copied();
        self.at = self.at.saturating_add(N);
        array.ok_or(Malformed)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
