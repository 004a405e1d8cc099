//! The state of a conversation towards the journal.

use std::collections::VecDeque;

use crate::session::PreviousHop;
use crate::types::Message;

/// The state of a conversation towards the journal.
#[derive(Default)]
pub(crate) struct JournaledState {
    /// Whether its state is being read, so that it is not used yet.
    pub(crate) is_opening: bool,
    /// The error of the last attempt to read it.
    pub(crate) error: Option<String>,
    /// The neighbour over which a session was requested meanwhile.
    pub(crate) requested_by: Option<PreviousHop>,
    /// Whether the journal has a record of it.
    pub(crate) is_recorded: bool,
    pub(crate) is_reserving: bool,
    pub(crate) is_renewing: bool,
    /// Whether the task of the inbox has it in its list.
    pub(crate) is_listed: bool,
    /// Whether messages of it are in a commit that is under way.
    pub(crate) is_storing: bool,
    /// Whether the journal has refused the messages in `unstored`.
    pub(crate) is_refused: bool,
    /// The messages that are to be stored and are not on the disk yet.
    pub(crate) unstored: VecDeque<Message>,
}
