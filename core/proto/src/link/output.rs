//! The values that a [`Link`](super::Link) returns to its caller: states, outputs and metrics.

use std::time::Duration;

use bytes::Bytes;

use super::keys::DataKey;
use crate::endpoint::Endpoint;
use crate::time::Time;
use crate::wire::link::KIND_GOODBYE;

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// The neighbour answers.
    Up,
    /// An answer of the neighbour is overdue. Routes over other links are preferred until it is heard again.
    Suspect,
    /// The medium reports that nothing gets through, so nothing is sent or routed over the link. The session is kept
    /// for a few seconds, so that a cable that is plugged in again needs no handshake and loses nothing of the control
    /// channel.
    Away,
    /// The link has ended. This state is final: only a new handshake makes a new link.
    Down(DownReason),
}

/// The reason for the end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// Nothing was received from the neighbour for too long.
    #[error("the neighbour stopped answering")]
    Silent,
    /// The medium reported that nothing gets through, and nothing was received since.
    #[error("the path to the neighbour is cut: check that the interface is up and has a carrier")]
    Cut,
    /// The neighbour ended the link in order, by a goodbye.
    #[error("the neighbour closed the link")]
    Goodbye,
    /// The neighbour refused the link, because it has as many neighbours as it may.
    #[error("refused: the neighbour has as many links as it may have")]
    Full,
    /// The neighbour refused the link, because this host or network has too many, or this node began too many in a
    /// short time.
    #[error("refused: the neighbour has too many links from this host or its network")]
    Crowded,
    /// The neighbour refused the link, because its configuration does not admit the address of this node.
    #[error("refused: the neighbour's configuration does not admit this node")]
    NotAllowed,
    /// The neighbour reported that it receives nothing from this node, or acknowledged nothing for too long.
    #[error(
        "the neighbour receives nothing from this node: check for a firewall or a link that works one way only"
    )]
    Unheard,
    /// The neighbour violated the protocol of the control channel.
    #[error("the neighbour violated the protocol")]
    Violation,
    /// The session's key has sealed as many frames as it may.
    #[error("the key of the session is used up")]
    Exhausted,
    /// This node ended the link.
    #[error("closed on this side")]
    Closed,
}

impl DownReason {
    /// The code of the reason in a goodbye. Several reasons share code 1, since the neighbour acts the same on all of
    /// them.
    fn code(self) -> u8 {
        match self {
            DownReason::Silent | DownReason::Cut => 2,
            DownReason::Violation => 3,
            DownReason::Full => 4,
            DownReason::Crowded => 5,
            DownReason::NotAllowed => 6,
            _ => 1,
        }
    }

    /// The plaintext of a goodbye that carries this reason.
    pub fn goodbye(self) -> Vec<u8> {
        vec![KIND_GOODBYE, self.code()]
    }

    /// The reason for this side, from the code in a goodbye of the neighbour.
    pub(super) fn from_code(code: u8) -> Self {
        match code {
            2 => DownReason::Unheard,
            3 => DownReason::Violation,
            4 => DownReason::Full,
            5 => DownReason::Crowded,
            6 => DownReason::NotAllowed,
            _ => DownReason::Goodbye,
        }
    }

    /// The text for the node that has refused the link or ended it for this reason. The text of the reason itself is for the
    /// neighbour that is sent it.
    pub fn on_this_side(self) -> String {
        match self {
            DownReason::NotAllowed => {
                "ended by this node: its configuration does not admit the neighbour (see `allow` and `deny`)"
                    .to_owned()
            }
            DownReason::Full => "ended by this node: it has as many links as it may have".to_owned(),
            DownReason::Crowded => {
                "ended by this node: there are too many links from the neighbour's host or network".to_owned()
            }
            reason => reason.to_string(),
        }
    }

    /// Whether a working neighbour refused this link. It is not dialled again soon, because the answer would be the
    /// same.
    pub fn is_refusal(self) -> bool {
        matches!(self, DownReason::Full | DownReason::Crowded | DownReason::NotAllowed)
    }
}

/// The content of a frame that was opened.
#[derive(Debug, PartialEq, Eq)]
pub enum FrameContent<'a> {
    /// A packet of the layer above, borrowed from the frame so that it is not copied: it lies after the header and the
    /// kind byte, and ends [`TAG_LEN`](crate::wire::link::TAG_LEN) bytes before the end.
    Packet(&'a mut [u8]),
    /// Content for the link itself, which has been handled.
    Consumed,
}

/// An action that a link requests, or an event that it reports.
#[derive(Debug)]
pub enum LinkOutput {
    /// Seal and send this plaintext ahead of queued packets, since a late answer or acknowledgement would make the
    /// neighbour suspect this node or retransmit.
    Transmit(Vec<u8>),
    /// Give this key to the sealer, which seals all following frames with it.
    Rekeyed(Box<DataKey>),
    /// Seal this plaintext and send it to this endpoint, which is not the link's own: the challenge of a path
    /// validation.
    TransmitTo(Endpoint, Vec<u8>),
    /// The neighbour has moved: send everything to this endpoint from now on.
    Moved(Endpoint),
    /// The maximum length of a frame has changed to this number of bytes.
    MtuChanged(usize),
    /// Deliver this message of the neighbour's router.
    Control(Bytes),
    /// The state of the link has changed to this one.
    StateChanged(LinkState),
    /// The cost of the link has changed to this one, in the unit of the routing metric, without the netmod's own cost.
    CostChanged(u16),
}

/// Measurements of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkMetrics {
    /// The state of the link.
    pub state: LinkState,
    /// The smoothed round trip; `None` before the first measurement.
    pub rtt: Option<Duration>,
    /// The smallest round trip of the last 30 to 60 seconds.
    pub rtt_min: Option<Duration>,
    /// The share of frames that would be lost on a round trip, 0 to 1.
    pub loss: f64,
    /// The cost for the routing metric, 32 to 1000.
    pub cost: u16,
    /// The time of the last authentic frame of the neighbour.
    pub heard: Time,
    /// The number of frames that were opened, and of their bytes.
    pub frames_in: u64,
    /// See [`LinkMetrics::frames_in`].
    pub bytes_in: u64,
    /// The number of frames with packets, and of their bytes, that [`Link::note_sent`](super::Link::note_sent) has
    /// counted.
    pub frames_out: u64,
    /// See [`LinkMetrics::frames_out`].
    pub bytes_out: u64,
    /// The bytes of the control channel that wait to be sent or acknowledged.
    pub control_queued: usize,
    /// The number of retransmissions of control segments.
    pub control_repeated: u64,
}
