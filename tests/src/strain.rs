//! What others notice of a daemon while a neighbour strains it: round trips, the table of routes, news that pass it, links.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_std::task;
use rouse_core::{Address, Client};

/// A line of daemons by their sockets: what is under strain stands between the two others.
pub struct Strain {
    left: Client,
    middle: Client,
    right: Client,
}

/// What was noticed in a while.
#[derive(Clone, Debug, Default)]
pub struct Noticed {
    /// Round trips from left to right, sorted; those without an answer count as [`Strain::PATIENCE`].
    pub pings: Vec<Duration>,
    /// How long the middle took to list its routes, at the most.
    pub routes: Duration,
    /// How long a new address of the left one took to be known to the right one, at the most.
    pub news: Duration,
    /// How long it took until the right one had lost that address again, at the most.
    pub gone: Duration,
    /// Rounds of all that.
    pub rounds: u32,
}

impl Noticed {
    /// The round trip that 99 of 100 do not exceed.
    pub fn p99(&self) -> Duration {
        self.pings.get(self.pings.len() * 99 / 100).copied().unwrap_or_default()
    }

    /// The round trip in the middle.
    pub fn p50(&self) -> Duration {
        self.pings.get(self.pings.len() / 2).copied().unwrap_or_default()
    }
}

impl Strain {
    /// A ping is waited for so long.
    pub const PATIENCE: Duration = Duration::from_secs(5);

    /// Connects to the three.
    ///
    /// # Errors
    /// When one of them does not answer.
    pub fn connect(left: PathBuf, middle: PathBuf, right: PathBuf) -> anyhow::Result<Self> {
        task::block_on(async {
            let [left, middle, right] =
                [left, middle, right].map(|socket| async { Client::connect(socket).await });
            Ok(Strain { left: left.await?, middle: middle.await?, right: right.await? })
        })
    }

    /// Looks on for so long, and to the end of the round that is under way then.
    ///
    /// # Errors
    /// When a daemon is gone.
    pub fn watch(&self, time: Duration) -> anyhow::Result<Noticed> {
        task::block_on(async {
            let (mut noticed, began) = (Noticed::default(), Instant::now());
            let right = self.right.address();
            while began.elapsed() < time {
                for _ in 0..40 {
                    let pong = self.left.ping(&right, Self::PATIENCE).await;
                    noticed
                        .pings
                        .push(pong.map_or(Self::PATIENCE, |pong| Duration::from_micros(pong.rtt_us)));
                    task::sleep(Duration::from_millis(5)).await;
                }
                let asked = Instant::now();
                self.middle.routes().await?;
                noticed.routes = noticed.routes.max(asked.elapsed());
                let new = self.left.new_identity(None).await?.address;
                noticed.news = noticed.news.max(self.until_known(new, true).await?);
                self.left.remove_identity(&new).await?;
                noticed.gone = noticed.gone.max(self.until_known(new, false).await?);
                noticed.rounds += 1;
            }
            noticed.pings.sort_unstable();
            Ok(noticed)
        })
    }

    async fn until_known(&self, address: Address, known: bool) -> anyhow::Result<Duration> {
        let began = Instant::now();
        while began.elapsed() < crate::PATIENCE {
            let routes = self.right.routes_to(address).await?;
            if routes.iter().any(|route| route.state == rouse_core::RouteState::Active) == known {
                break;
            }
            task::sleep(Duration::from_millis(2)).await;
        }
        Ok(began.elapsed())
    }
}
