//! The processes of a virtual runtime, and the wall clock of each.

use std::collections::BTreeMap;

pub(super) type ProcessId = u64;

/// The processes of a runtime, with the offset of the wall clock of each, in milliseconds.
#[derive(Default)]
pub(super) struct Processes {
    /// The process that runs; 0 for the tasks that belong to none.
    pub(super) current: ProcessId,
    pub(super) clock_offsets: BTreeMap<ProcessId, i64>,
}

impl Processes {
    pub(super) fn is_alive(&self, process: ProcessId) -> bool {
        process == 0 || self.clock_offsets.contains_key(&process)
    }

    pub(super) fn clock_offset(&self) -> i64 {
        self.clock_offsets.get(&self.current).copied().unwrap_or(0)
    }
}
