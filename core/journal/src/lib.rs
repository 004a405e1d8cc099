//! The durable store of messages: an outbox and an inbox that survive crashes, power cuts and full disks.
//!
//! A message in the outbox waits until its recipient has it; one in the inbox waits until an application has
//! acknowledged it. Beside them are the receive windows, by which each message is received once, and the sequences of
//! each conversation, with which a restarted node goes on. [`Journal`] lists the operations, [`StoredJournal`] is the
//! implementation, and [`Disk`] is what it is written to: a [folder](FolderDisk), [memory](MemoryDisk), or the simulated
//! disk of `rouse-sim`.
//!
//! ```text
//! Journal::put ─▶ queue ─▶ the journal's thread ─▶ Engine::turn ─▶ one Transaction ─▶ redb ─▶ Disk
//!      ▲                     (gathers a group)                        │
//!      └────────────── Completion: ready after the sync ◀─────────────┘
//! ```
//!
//! # What holds
//!
//! 1. A [`Completion`] is ready after the sync of the commit that contains its operation. Operations that arrive during
//!    a sync share the next one; one that arrives alone does not wait for others.
//! 2. What was completed is there after a crash or a power cut, once. What was not completed is there once or not at
//!    all. A message whose [`Journal::put`] has failed is removed.
//! 3. Receive windows never go back, except when the file is damaged or replaced by an older copy.
//! 4. A commit that fails closes the file: nothing is assumed about pages that could not be written. It is opened again,
//!    and the group is tried once more. After a failed sync, all that the file holds is copied into a new file first.
//! 5. When the disk is full, messages are refused, and receipts, deletions and reads work.
//! 6. Damaged records are never returned. What can be read is copied into a new file, and what is lost is counted.
//! 7. No time at all depends on the wall clock, and no step at the start on the number of messages.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod delivery;
mod disk;
mod driver;
mod engine;
mod error;
mod holders;
mod inbox;
mod journal;
mod leases;
mod life;
mod limits;
mod message_record;
mod outbox;
mod overlay;
mod pair_record;
mod record;
mod request;
mod salvage;
mod spare;
mod status;
mod store;
mod stored;
mod tables;
mod totals;
mod transaction;
mod types;
mod window;
mod writer;

pub use delivery::LeaseLimit;
pub use disk::{Disk, DiskFile, FolderDisk, MemoryDisk};
pub use driver::Driver;
pub use error::{JournalError, Refusal};
pub use journal::Journal;
pub use limits::{JournalLimits, MAX_DELIVERIES, MAX_LEASES};
pub use request::Completion;
pub use rouse_proto::types::Service;
pub use status::JournalStatus;
pub use stored::StoredJournal;
pub use types::{
    Arrival, InboxEntry, InboxKey, InboxMessage, InboxPart, Lease, MailboxName, Moment, OutboxEntry,
    OutboxKey, OutboxMessage, Pair, PairState, Reception,
};
pub use window::ReceiveWindow;
