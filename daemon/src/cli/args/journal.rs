//! The arguments of `outbox` and `inbox`.

use clap::Subcommand;

/// The commands for messages that are not delivered yet.
#[derive(Clone, Debug, Subcommand)]
pub enum OutboxCommand {
    /// List them, by recipient and in their order
    List,
    /// Show a message and its text; of a long text a terminal shows the beginning
    Show {
        /// The id that `send` has printed
        id: String,
        /// Print only the bytes of the message
        #[arg(long)]
        raw: bool,
    },
    /// Cancel a message; the recipient may have it nevertheless if a part of it was sent
    Cancel {
        /// The id that `send` has printed
        id: String,
    },
}

/// The commands for messages that were received and not acknowledged.
#[derive(Clone, Debug, Subcommand)]
pub enum InboxCommand {
    /// List those that wait for an application
    List,
    /// List the dead letters: messages that no application has acknowledged in 16 attempts
    Dead,
    /// Show a message and its text, which stays where it is; of a long text a terminal shows the beginning
    Peek {
        /// The id, as the list shows it
        id: String,
        /// Print only the bytes of the message
        #[arg(long)]
        raw: bool,
    },
    /// Let a dead letter wait for an application again
    Revive {
        /// The id, as `rouse inbox dead` shows it
        id: String,
    },
    /// Remove a message, waiting or dead
    Discard {
        /// The id, as the list shows it
        id: String,
    },
}
