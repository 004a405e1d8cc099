//! Puts messages into the packet being built: many small ones share one frame, large ones are cut.

use bytes::Bytes;

use super::recovery::Piece;
use crate::types::{Attributes, Timestamp};
use crate::wire::message::{
    self as wire, BATCH_HEADER, ENTRY_HEADER, FRAGMENT_HEADER, HEADER, LAST, MAX_FRAMES, MAX_MESSAGES, SKIP,
};

/// The smallest part, in bytes, that is cut to fill the rest of a packet, since each part has a header and an entry at
/// the recipient.
pub(super) const SMALLEST_CUT: usize = 128;

/// The most frames of messages in one packet: an ack, a credit, and a last or a ping are sent besides.
const MAX_MESSAGE_FRAMES: usize = MAX_FRAMES - 3;
/// The bytes of a frame that restores the default attributes.
const RESET: usize = 2;

/// The last frame, as long as messages with consecutive sequences can be appended to it. Its count is patched for each,
/// so that they share one header.
enum OpenFrame {
    Nothing,
    Messages { count_at: usize, next: u64, count: u16, sent_at: Timestamp },
    Skip { count_at: usize, next: u64, count: u16 },
}

/// The amount of a message that was written into the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// All of it.
    All,
    /// The bytes up to this offset.
    UpTo(u32),
    /// Nothing, because the packet is full.
    Nothing,
}

/// A message of the queue.
pub(super) struct MessageContent<'a> {
    pub seq: u64,
    pub sent_at: Timestamp,
    /// `None` for the default ones.
    pub attributes: Option<&'a Attributes>,
    pub body: &'a Bytes,
}

impl MessageContent<'_> {
    /// The bytes of the attributes in a packet that has no others before them.
    fn attributes_len(&self) -> usize {
        self.attributes.map_or(0, wire::attributes_len)
    }
}

/// Writes messages into one packet, and records what it carries.
pub(super) struct PacketBuilder<'a> {
    out: &'a mut Vec<u8>,
    /// The length of `out` at which the packet is full.
    limit: usize,
    /// The longest packet, including its header.
    max: usize,
    /// The attributes that hold for the next message of the packet; `None` for the default ones. They are remembered so
    /// that messages with the same attributes share one frame.
    attributes: Option<Attributes>,
    floor: u64,
    pieces: &'a mut Vec<Piece>,
    open: OpenFrame,
    frames: usize,
    messages: usize,
    /// Whether something in the packet was sent before.
    pub has_retransmission: bool,
}

impl<'a> PacketBuilder<'a> {
    /// Appends to `out` until it is `limit` bytes long, less the room of a last frame. `max` is the length of a packet,
    /// including its header.
    pub(super) fn new(
        out: &'a mut Vec<u8>,
        limit: usize,
        max: usize,
        floor: u64,
        pieces: &'a mut Vec<Piece>,
    ) -> Self {
        PacketBuilder {
            out,
            limit: limit.saturating_sub(LAST),
            max,
            attributes: None,
            floor,
            pieces,
            open: OpenFrame::Nothing,
            frames: 0,
            messages: 0,
            has_retransmission: false,
        }
    }

    /// Whether a message is sent in one part. A longer one is cut, because it would not fit into a packet, or its length
    /// not into two bytes.
    pub(super) fn is_whole(&self, message: &MessageContent<'_>) -> bool {
        let besides = (HEADER + BATCH_HEADER + ENTRY_HEADER + LAST).saturating_add(message.attributes_len());
        message.body.len() <= self.max.saturating_sub(besides).min(usize::from(u16::MAX))
    }

    fn room(&self) -> usize {
        self.limit.saturating_sub(self.out.len())
    }

    /// Reserves another frame of this many bytes, if there is room.
    fn begins(&mut self, bytes: usize) -> bool {
        // The recipient refuses a packet with more frames, since each costs it work.
        let begins = bytes <= self.room() && self.frames < MAX_MESSAGE_FRAMES;
        self.frames = self.frames.saturating_add(usize::from(begins));
        begins
    }

    /// The bytes of the attributes frame that has to precede a message here; 0 if its attributes hold already.
    fn needed_attributes(&self, message: &MessageContent<'_>) -> usize {
        match (message.attributes, &self.attributes) {
            (wanted, present) if wanted == present.as_ref() => 0,
            (Some(wanted), _) => wire::attributes_len(wanted),
            (None, _) => RESET,
        }
    }

    /// Reserves a frame of this many bytes for a message, and writes the attributes that have to precede it.
    fn begins_message(&mut self, message: &MessageContent<'_>, bytes: usize) -> bool {
        let attributes = self.needed_attributes(message);
        // Attributes without their message would be wasted, so both are reserved before either is written.
        if attributes == 0 {
            return self.begins(bytes);
        }
        if self.frames.saturating_add(1) >= MAX_MESSAGE_FRAMES
            || !self.begins(bytes.saturating_add(attributes))
        {
            return false;
        }
        self.frames = self.frames.saturating_add(1);
        self.attributes = message.attributes.cloned();
        wire::write_attributes(message.attributes.unwrap_or(&Attributes::default()), self.out);
        true
    }

    /// Writes a whole message.
    pub(super) fn whole(&mut self, message: &MessageContent<'_>) -> Written {
        // The recipient refuses a packet with more messages, since each costs it work.
        if self.messages == MAX_MESSAGES {
            return Written::Nothing;
        }
        let MessageContent { seq, sent_at, body, .. } = *message;
        let needed = body.len().saturating_add(ENTRY_HEADER);
        if let OpenFrame::Messages { count_at, next, count, sent_at: first } = self.open
            && next == seq
            && self.needed_attributes(message) == 0
            && let Some(later) = sent_at.0.checked_sub(first.0).and_then(|later| u16::try_from(later).ok())
        {
            if needed > self.room() {
                return Written::Nothing;
            }
            wire::write_entry(later, body, self.out);
            let count = count.saturating_add(1);
            wire::patch_count(count_at, count, self.out);
            self.open = OpenFrame::Messages { count_at, next: next.saturating_add(1), count, sent_at: first };
        } else {
            let Some(above) = self.above(seq) else { return Written::Nothing };
            if !self.begins_message(message, needed.saturating_add(BATCH_HEADER)) {
                return Written::Nothing;
            }
            let count_at = wire::write_messages(above, sent_at, self.out);
            wire::write_entry(0, body, self.out);
            wire::patch_count(count_at, 1, self.out);
            self.open = OpenFrame::Messages { count_at, next: seq.saturating_add(1), count: 1, sent_at };
        }
        self.messages = self.messages.saturating_add(1);
        self.note(seq);
        Written::All
    }

    /// Writes the withdrawal of a message.
    pub(super) fn skip(&mut self, seq: u64) -> Written {
        if let OpenFrame::Skip { count_at, next, count } = self.open
            && next == seq
        {
            let count = count.saturating_add(1);
            wire::patch_count(count_at, count, self.out);
            self.open = OpenFrame::Skip { count_at, next: next.saturating_add(1), count };
        } else {
            let Some(above) = self.above(seq) else { return Written::Nothing };
            if !self.begins(SKIP) {
                return Written::Nothing;
            }
            let count_at = wire::write_skip(above, self.out);
            wire::patch_count(count_at, 1, self.out);
            self.open = OpenFrame::Skip { count_at, next: seq.saturating_add(1), count: 1 };
        }
        self.note(seq);
        Written::All
    }

    /// Writes the bytes `from..to` of a message, or as many of them as fit.
    pub(super) fn part(&mut self, message: &MessageContent<'_>, from: u32, to: u32) -> Written {
        let MessageContent { seq, sent_at, body, .. } = *message;
        let Some(above) = self.above(seq) else { return Written::Nothing };
        let wanted = to.saturating_sub(from) as usize;
        let besides = FRAGMENT_HEADER.saturating_add(self.needed_attributes(message));
        let length = self.room().saturating_sub(besides).min(wanted).min(usize::from(u16::MAX));
        // The shortest packets have no room for a part of the usual length beside long attributes.
        let headers = (HEADER + LAST + FRAGMENT_HEADER).saturating_add(message.attributes_len());
        let most = self.max.saturating_sub(headers);
        // A shorter rest of the packet stays unused, since many tiny parts would exhaust the recipient's bounds.
        if length < wanted.min(SMALLEST_CUT).min(most) || !self.begins_message(message, FRAGMENT_HEADER) {
            return Written::Nothing;
        }
        let start = from as usize;
        let total = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let Some(bytes) = body.get(start..start.saturating_add(length)) else { return Written::Nothing };
        wire::write_fragment(&wire::FragmentHead { above, sent_at, total, offset: from }, bytes, self.out);
        self.open = OpenFrame::Nothing;
        // A part ends the frame before it, so the next whole message starts a new one.
        let end = from.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        self.pieces.push(Piece::Part { seq, from, to: end });
        if end == to { Written::All } else { Written::UpTo(end) }
    }

    fn above(&self, seq: u64) -> Option<u16> {
        seq.checked_sub(self.floor).and_then(|above| u16::try_from(above).ok())
    }

    fn note(&mut self, seq: u64) {
        if let Some(Piece::Messages { first, count }) = self.pieces.last_mut()
            && first.saturating_add(u64::from(*count)) == seq
            && *count < u16::MAX
        {
            *count = count.saturating_add(1);
        } else {
            self.pieces.push(Piece::Messages { first: seq, count: 1 });
        }
    }
}
