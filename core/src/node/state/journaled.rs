//! The state of a conversation towards the journal.

use crate::session::PreviousHop;

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
}
