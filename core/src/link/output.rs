//! What a [`Link`](super::Link) tells its caller.

use std::time::Duration;

use bytes::Bytes;

use super::keys::Key;
use crate::netmod::Endpoint;
use crate::time::Time;
use crate::wire::link::KIND_GOODBYE;

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// The neighbour is there.
    Up,
    /// It should have answered: other ways are better for now.
    Suspect,
    /// The way there is cut, as far as the medium knows: nothing is sent or routed over it. The session is kept for a while, and
    /// when anything is heard the link is up again, and nothing of the control channel lost.
    Away,
    /// It is over. A link never comes back from this; a new session may.
    Down(DownReason),
}

/// Why a link is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DownReason {
    /// Nothing was heard of it for too long.
    #[error("the neighbour fell silent")]
    Silent,
    /// The medium says that nothing gets there any more, and nothing was heard of it since.
    #[error("the way to the neighbour is cut: its interface is down or has no carrier")]
    Cut,
    /// It said goodbye.
    #[error("the neighbour said goodbye")]
    Goodbye,
    /// The neighbour has no place for another neighbour.
    #[error("refused: the neighbour has as many links as it may have")]
    Full,
    /// The neighbour has too many links with this host or its network, or this node began too many of late.
    #[error("refused: the neighbour has too many links from this host or its network")]
    Crowded,
    /// It no longer hears us.
    #[error("the neighbour does not hear us")]
    Unheard,
    /// It broke the rules of the control channel.
    #[error("the neighbour broke the protocol")]
    Violation,
    /// The session has sealed as many frames as it may.
    #[error("the session is worn out")]
    Exhausted,
    /// We ended it.
    #[error("closed on this side")]
    Closed,
}

impl DownReason {
    /// What a goodbye says of the reason.
    fn code(self) -> u8 {
        match self {
            DownReason::Silent | DownReason::Cut => 2,
            DownReason::Violation => 3,
            DownReason::Full => 4,
            DownReason::Crowded => 5,
            _ => 1,
        }
    }

    /// The content of the goodbye that says so.
    pub(crate) fn goodbye(self) -> Vec<u8> {
        vec![KIND_GOODBYE, self.code()]
    }

    /// What a goodbye from the other side means for us.
    pub(super) fn from_code(code: u8) -> Self {
        match code {
            2 => DownReason::Unheard,
            3 => DownReason::Violation,
            4 => DownReason::Full,
            5 => DownReason::Crowded,
            _ => DownReason::Goodbye,
        }
    }

    /// Whether the neighbour works, and does not want this link: it is not to be dialled again soon.
    pub(crate) fn is_refusal(self) -> bool {
        matches!(self, DownReason::Full | DownReason::Crowded)
    }
}

/// What was inside a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameContent<'a> {
    /// A packet of the layer above, where it lies in the frame: after the header and the kind byte, to
    /// [`TAG_LEN`](crate::wire::link::TAG_LEN) before the end.
    Packet(&'a mut [u8]),
    /// The link's own affairs, done.
    Consumed,
}

/// What a link wants done, or has to tell.
#[derive(Debug)]
pub(crate) enum LinkOutput {
    /// To be sealed and sent ahead of packets.
    Transmit(Vec<u8>),
    /// For the sealer: what is sealed from here on is sealed with this key.
    Rekeyed(Box<Key>),
    /// To be sealed and sent to this endpoint, which is not the link's own.
    TransmitTo(Endpoint, Vec<u8>),
    /// The neighbour has moved: everything goes to this endpoint from now on.
    Moved(Endpoint),
    /// The longest frame that may be sent now, in bytes.
    MtuChanged(usize),
    /// A message of the neighbour's router.
    Control(Bytes),
    /// The link stands differently now.
    StateChanged(LinkState),
    /// It costs differently now, in the unit of the routing metric, without the netmod's own share.
    CostChanged(u16),
}

/// How a link is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LinkMetrics {
    /// Where it stands.
    pub state: LinkState,
    /// The smoothed round trip.
    pub rtt: Option<Duration>,
    /// The smallest of the last half to whole minute.
    pub rtt_min: Option<Duration>,
    /// The share of frames that do not survive the way there and back, 0 to 1.
    pub loss: f64,
    /// For the routes: 32 to 1000.
    pub cost: u16,
    /// When the neighbour was last heard.
    pub heard: Time,
    /// Frames and bytes that were opened.
    pub frames_in: u64,
    /// See [`LinkMetrics::frames_in`].
    pub bytes_in: u64,
    /// Frames and bytes of packets that were sent, as far as [`Link::note_sent`](super::Link::note_sent) was told.
    pub frames_out: u64,
    /// See [`LinkMetrics::frames_out`].
    pub bytes_out: u64,
    /// Bytes of the control channel that wait to be sent or acknowledged.
    pub control_queued: usize,
    /// Control segments sent more than once.
    pub control_repeated: u64,
}
