//! The journal on a simulated disk.
#![allow(clippy::single_range_in_vec_init, reason = "a list of ranges often has one")]

#[path = "journal/damage.rs"]
mod damage;
#[path = "journal/disk_full.rs"]
mod disk_full;
#[path = "journal/durability.rs"]
mod durability;
#[path = "journal/inbox.rs"]
mod inbox;
#[path = "journal/model.rs"]
mod model;
#[path = "journal/outbox.rs"]
mod outbox;
#[path = "journal/quotas.rs"]
mod quotas;
#[path = "journal/setup.rs"]
mod setup;
#[path = "journal/thread.rs"]
mod thread;
