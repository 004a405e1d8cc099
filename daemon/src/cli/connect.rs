//! The connection to the daemon. The library waits two seconds for a daemon that is just starting; a command ends earlier
//! when no daemon can be starting, because a user waits for its answer.

use std::fs;
use std::time::{Duration, Instant};

use rouse_core::Client;
use rouse_core::ipc::{ConnectError, Search};

use super::failure::CommandFailure;

/// The time between two looks for a daemon that is starting, and the shortest wait for one.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The longest wait for a daemon that is starting.
const START_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest time that a daemon takes to start, in seconds.
const MAX_START: u64 = 5;

/// The unit of the times in `/proc/PID/stat` on Linux, in parts of a second.
const TICKS_PER_SECOND: u64 = 100;

pub(super) async fn connect(search: &Search) -> Result<Client, CommandFailure> {
    unless_none_starts(search, Client::find).await
}

/// As [`connect`], for commands that the daemon answers even when it accepts no more connections.
pub(super) async fn administer(search: &Search) -> Result<Client, CommandFailure> {
    unless_none_starts(search, Client::find_to_administer).await
}

/// Looks for the daemon as long as one may be starting. A daemon that has a socket and is busy is waited for in any case.
async fn unless_none_starts(
    search: &Search,
    find: impl AsyncFn(&Search) -> Result<Client, ConnectError>,
) -> Result<Client, CommandFailure> {
    let search = Search { patience: Some(LOOK_INTERVAL), ..search.clone() };
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        match find(&search).await {
            Err(ConnectError::NoDaemon { .. }) if Instant::now() < deadline && is_starting() => {}
            found => return Ok(found?),
        }
    }
}

/// A process, as `/proc/PID/stat` describes it.
struct Process {
    name: String,
    parent: u32,
    /// The time from the start of the system to that of the process, in ticks.
    started: u64,
}

impl Process {
    fn of(pid: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name is in parentheses and may contain any character, so the fields after it are counted from its end.
    fn parse(stat: &str) -> Option<Self> {
        let (head, fields) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let mut fields = fields.split_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        Some(Process { name, parent, started })
    }
}

/// Whether a process was started in the last seconds that is a daemon, or that may become one: a copy of the shell that
/// started this command, which has not yet been replaced by its program. Where the processes cannot be listed, a daemon
/// may always be starting.
fn is_starting() -> bool {
    let uptime = fs::read_to_string("/proc/uptime").ok();
    let uptime = uptime.as_deref().and_then(|text| text.split('.').next()?.parse::<u64>().ok());
    let (Some(uptime), Ok(folder)) = (uptime, fs::read_dir("/proc")) else { return true };
    let own = std::process::id();
    let shell =
        Process::of("self").and_then(|this| Some((this.parent, Process::of(&this.parent.to_string())?.name)));
    let pids = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let others = pids.filter(|pid| pid.parse::<u32>().is_ok_and(|pid| pid != own));
    others.filter_map(|pid| Process::of(&pid)).any(|process| {
        let is_young = uptime.saturating_sub(process.started / TICKS_PER_SECOND) <= MAX_START;
        let is_copy =
            shell.as_ref().is_some_and(|(pid, name)| process.parent == *pid && process.name == *name);
        is_young && (process.name == "roused" || is_copy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name_contains() {
        let stat = "7 (a) b (c)) S 5 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        let process = Process::parse(stat).unwrap();
        assert_eq!((process.name.as_str(), process.parent, process.started), ("a) b (c)", 5, 12345));
        assert!(Process::of("self").is_some());
    }
}
