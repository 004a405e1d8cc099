//! Counters. Each drop is counted by its cause, so that `rouse status` can explain lost frames, packets and messages.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// Its name in `rouse status --json`.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

table! {
    /// The cause for which a frame, a packet, a record or a message was dropped.
    DropCause {
        /// Not a frame, or a frame shorter than its fixed part.
        MalformedFrame = "malformed_frame",
        /// An authenticated frame with malformed content.
        MalformedPacket = "malformed_packet",
        /// A handshake message that is malformed or does not verify.
        BadHandshake = "bad_handshake",
        /// A handshake beyond its source's quota, or while too many others are in progress.
        HandshakeLimit = "handshake_limit",
        /// A frame for a session that does not exist (any more).
        UnknownSession = "unknown_session",
        /// A frame of a session from an endpoint that is not known as its neighbour's: either it is beyond the number of such
        /// frames that are opened, or its seal does not verify.
        Stranger = "stranger",
        /// A frame with a seal that does not verify.
        BadSeal = "bad_seal",
        /// A frame that was received before, or that is older than the replay window.
        Replay = "replay",
        /// A neighbour's inbox was full.
        InboxFull = "inbox_full",
        /// A link's egress queue was full.
        EgressFull = "egress_full",
        /// A packet that had waited too long in a link's egress queue.
        QueueDelay = "queue_delay",
        /// No route to the packet's destination.
        NoRoute = "no_route",
        /// The packet's hop limit ran out.
        HopLimit = "hop_limit",
        /// The packet is longer than the next link carries.
        TooLong = "too_long",
        /// The netmod could not send it.
        SendFailed = "send_failed",
        /// A routing message that breaks the rules, or does not verify.
        BadAnnounce = "bad_announce",
        /// A destination beyond the neighbour's quota or the table's bound.
        DestinationLimit = "destination_limit",
        /// An announce or a hop proof beyond the number verified for a neighbour at a time: it is requested again.
        VerifyLimit = "verify_limit",
        /// A routing message of a kind that this version does not know.
        UnknownRecord = "unknown_record",
        /// A message packet without the seal of a session, which any node could have made.
        ClearMessage = "clear_message",
        /// A malformed part of a message.
        MalformedMessage = "malformed_message",
        /// A message part that had arrived before.
        Duplicate = "duplicate",
        /// A sender beyond the bound on conversations.
        SenderLimit = "sender_limit",
        /// A message part beyond the credit that its sender was given.
        OverCredit = "over_credit",
        /// A message part, or all parts received from a sender, beyond the bytes of unfinished messages of all senders.
        ReassemblyLimit = "reassembly_limit",
        /// A stored message of another node that this one could not store: its inbox has no room, or its disk fails. The sender
        /// keeps it, and it is tried again.
        NotStored = "not_stored",
        /// A message's time to live ran out.
        Expired = "expired",
        /// A neighbour beyond the bound on neighbours.
        NeighbourLimit = "neighbour_limit",
        /// A neighbour whose address the configuration does not admit.
        NotAllowed = "not_allowed",
        /// An answer to a request that was not made here, or has ended.
        Unrequested = "unrequested",
        /// A request for a reply (ping, trace) beyond its rate, or a request to a missing service beyond the number that is
        /// answered.
        ReplyLimit = "reply_limit",
        /// An event that a slow subscriber did not fetch before the queue was full.
        EventLost = "event_lost",
    }
}

table! {
    /// The events that are counted besides drops.
    Counter {
        /// Frames received, valid or not.
        FramesIn = "frames_in",
        /// Frames sent.
        FramesOut = "frames_out",
        /// Packets forwarded for others.
        PacketsForwarded = "packets_forwarded",
        /// Packets of our own sent.
        PacketsOut = "packets_out",
        /// Packets that arrived for us.
        PacketsIn = "packets_in",
        /// Handshakes begun.
        HandshakesStarted = "handshakes_started",
        /// Handshakes completed.
        HandshakesDone = "handshakes_done",
        /// End-to-end sessions begun, each renewal of one included.
        SessionsBegun = "sessions_begun",
        /// Routing messages received.
        ControlIn = "control_in",
        /// Routing messages sent.
        ControlOut = "control_out",
        /// Messages accepted from applications.
        MessagesQueued = "messages_queued",
        /// Messages for which a receipt has arrived.
        MessagesDelivered = "messages_delivered",
        /// Messages put into an inbox.
        MessagesReceived = "messages_received",
        /// Message packets sent again.
        Retransmits = "retransmits",
        /// Connections of clients that were refused: no place, no greeting in time, another version or another protocol.
        ClientsRefused = "clients_refused",
        /// Connections that were ended because their client broke the rules, read nothing, or held memory for which others waited.
        ClientsEnded = "clients_ended",
    }
}

/// The counters of one node.
#[derive(Debug)]
pub struct Stats {
    drops: Vec<AtomicU64>,
    counters: Vec<AtomicU64>,
}

impl Default for Stats {
    fn default() -> Self {
        let zeroes = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        Stats { drops: zeroes(DropCause::ALL.len()), counters: zeroes(Counter::ALL.len()) }
    }
}

impl Stats {
    /// Counts a drop.
    #[inline]
    pub fn drop(&self, cause: DropCause) {
        self.drop_n(cause, 1);
    }

    /// Counts `n` drops for one cause.
    #[inline]
    pub fn drop_n(&self, cause: DropCause, n: u64) {
        // Callers mostly report no drop, and a write would take the cache line away from other cores.
        if n > 0 {
            self.drops[cause as usize].fetch_add(n, Relaxed);
        }
    }

    /// Counts `n` events.
    #[inline]
    pub fn count(&self, counter: Counter, n: u64) {
        if n > 0 {
            self.counters[counter as usize].fetch_add(n, Relaxed);
        }
    }

    /// The drops by the names of their causes.
    pub fn drops(&self) -> BTreeMap<String, u64> {
        table(DropCause::ALL.iter().map(|cause| cause.name()), &self.drops)
    }

    /// The other events by their names.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        table(Counter::ALL.iter().map(|counter| counter.name()), &self.counters)
    }
}

fn table<'a>(names: impl Iterator<Item = &'a str>, values: &[AtomicU64]) -> BTreeMap<String, u64> {
    names.zip(values).map(|(name, value)| (name.to_owned(), value.load(Relaxed))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_name_and_counter() {
        let stats = Stats::default();
        for (n, cause) in DropCause::ALL.iter().enumerate() {
            stats.drop_n(*cause, n as u64 + 1);
        }
        let drops = stats.drops();
        assert_eq!(drops.len(), DropCause::ALL.len(), "no two causes share a name");
        assert_eq!(drops["malformed_frame"], 1);
    }

    #[test]
    fn the_specification_explains_each_cause_of_a_drop_and_no_other() {
        let text = include_str!("../../PROTOCOL.md");
        let section = text.split("\n## 10 ").nth(1).and_then(|rest| rest.split("\n## 11 ").next()).unwrap();
        let first_cells =
            section.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
        let mut explained: Vec<&str> =
            first_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        let mut causes: Vec<&str> = DropCause::ALL.iter().map(|cause| cause.name()).collect();
        explained.sort_unstable();
        causes.sort_unstable();
        assert_eq!(explained, causes);
    }
}
