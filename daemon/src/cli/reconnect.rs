//! Commands that go on when the daemon is started again.

use std::time::{Duration, Instant};

use async_io::Timer;
use rouse_core::Client;
use rouse_core::ipc::{ConnectError, Search};

use super::connect;
use super::failure::CommandFailure;
use super::message::until;
use super::output::Output;

/// The first and the longest pause between two looks for a daemon.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The life of a connection after which the pauses are short again.
const LONG_LIFE: Duration = Duration::from_secs(10);

/// Runs `work` with a connection to the daemon, and again with a new one whenever the daemon has ended, until the work
/// ends in another way or the deadline passes while there is no daemon. There has to be a daemon at the beginning.
pub(super) async fn through_restarts(
    search: &Search,
    out: &Output,
    deadline: Option<Instant>,
    work: impl AsyncFn(Client) -> Result<(), CommandFailure>,
) -> Result<(), CommandFailure> {
    let mut client = connect::connect(search).await?;
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        match work(client).await {
            Err(failure) if failure.has_lost_daemon() => {
                out.progress("reconnecting", &format!("{}; waiting for the daemon", failure.message()));
            }
            ended => return ended,
        }
        if begun.elapsed() > LONG_LIFE {
            pause = FIRST_PAUSE;
        }
        let Some(found) = until(deadline, look(search, &mut pause)).await else {
            return Err(CommandFailure::timed_out("the daemon was not started again in time", ""));
        };
        client = found?;
        out.progress("connected", "connected to the daemon again");
    }
}

/// Looks for a daemon until there is one, or one that this program cannot use.
async fn look(search: &Search, pause: &mut Duration) -> Result<Client, CommandFailure> {
    let search = Search { patience: Some(Duration::ZERO), ..search.clone() };
    loop {
        Timer::after(*pause).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        match Client::find(&search).await {
            Err(ConnectError::NoDaemon { .. } | ConnectError::Busy(_) | ConnectError::Io { .. }) => {}
            found => return Ok(found?),
        }
    }
}
