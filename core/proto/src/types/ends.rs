//! The two ends of a conversation.

use crate::address::Address;

/// The two ends of a conversation or of an end-to-end session, as one of them sees it. The order is by the peer first, so that a
/// table has all conversations with one peer side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    /// The address at the other end.
    pub peer: Address,
    /// The address at this end.
    pub local: Address,
}
