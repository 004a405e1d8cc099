//! The state of a link between two nodes.

use std::time::Duration;

use rouse_proto::impairment::Impairer;
use rouse_proto::route::NeighbourId;
use rouse_proto::time::Time;

/// A link between two nodes, and the channels over it.
pub(crate) struct Wire {
    pub(crate) ends: [usize; 2],
    pub(super) latency: Duration,
    /// The link is not cut. It may be up without sessions.
    pub(crate) up: bool,
    /// Each end's neighbour id for the other.
    pub(super) sessions: [Option<NeighbourId>; 2],
    /// The neighbour ids from before the link was cut, kept as long as its ends may not have noticed the cut.
    pub(super) former: [Option<NeighbourId>; 2],
    /// The share of frames lost on the way to each end.
    pub(super) loss: [f64; 2],
    /// The moment at which the last message to each end arrives: no later message may overtake it.
    pub(super) last: [Time; 2],
    /// The moment at which the channel to each end has room for the next message.
    pub(super) busy: [Time; 2],
    /// The medium towards each end, at [`Fidelity::Link`].
    pub(super) media: Option<Box<[Impairer; 2]>>,
}
