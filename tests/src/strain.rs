//! The service of a daemon to others while a neighbour strains it: round trips, the table of routes, news that pass it, links.
//!
//! A line under strain is measured beside a line in calm, in turns, so that whatever else the machine does meanwhile burdens both.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_std::task;
use rouse_core::{Address, Client};

/// A line of daemons by their sockets: the one under strain stands between the two others.
pub struct Strain {
    left: Client,
    middle: Client,
    right: Client,
}

/// The measurements of a while.
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
    /// The longest round trip of each round, sorted.
    pub worst: Vec<Duration>,
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

    /// The median over the rounds of the longest of their [`Strain::PINGS`] round trips: a 99th percentile that a hiccup of the
    /// machine in fewer than half of the rounds does not move.
    pub fn usual_p99(&self) -> Duration {
        self.worst.get(self.worst.len() / 2).copied().unwrap_or_default()
    }

    fn add(&mut self, round: Round) {
        self.worst.extend(round.pings.iter().max());
        self.pings.extend(round.pings);
        self.routes = self.routes.max(round.routes);
        self.news = self.news.max(round.news);
        self.gone = self.gone.max(round.gone);
    }

    fn sort(&mut self) {
        self.pings.sort_unstable();
        self.worst.sort_unstable();
    }
}

/// The measurements of one round.
#[derive(Default)]
struct Round {
    pings: Vec<Duration>,
    routes: Duration,
    news: Duration,
    gone: Duration,
}

impl Strain {
    /// A ping is waited for so long.
    pub const PATIENCE: Duration = Duration::from_secs(5);
    /// Pings of a round. Of 69, the longest is in the median the 99th percentile.
    pub const PINGS: usize = 69;

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

    /// Looks on for so long, and to the end of the round that is under way then, at this line and at one in calm beside it.
    ///
    /// # Errors
    /// When a daemon is gone.
    pub fn watch_beside(&self, calm: &Self, time: Duration) -> anyhow::Result<[Noticed; 2]> {
        task::block_on(async {
            let (mut noticed, began) = ([Noticed::default(), Noticed::default()], Instant::now());
            while began.elapsed() < time {
                let mut rounds = [Round::default(), Round::default()];
                for nth in 0..Self::PINGS {
                    // Neither line always has the moment after the pause.
                    for which in [nth % 2, 1 - nth % 2] {
                        rounds[which].pings.push([self, calm][which].round_trip().await);
                    }
                    task::sleep(Duration::from_millis(2)).await;
                }
                for (line, round) in [self, calm].into_iter().zip(&mut rounds) {
                    line.news(round).await?;
                }
                for (noticed, round) in noticed.iter_mut().zip(rounds) {
                    noticed.add(round);
                }
            }
            noticed.iter_mut().for_each(Noticed::sort);
            Ok(noticed)
        })
    }

    /// The round trip of one ping from left to right.
    async fn round_trip(&self) -> Duration {
        let pong = self.left.ping(&self.right.address(), Self::PATIENCE).await;
        pong.map_or(Self::PATIENCE, |pong| Duration::from_micros(pong.rtt_us))
    }

    async fn news(&self, round: &mut Round) -> anyhow::Result<()> {
        let asked = Instant::now();
        self.middle.routes().await?;
        round.routes = asked.elapsed();
        let new = self.left.new_identity(None).await?.address;
        round.news = self.until_known(new, true).await?;
        self.left.remove_identity(&new).await?;
        round.gone = self.until_known(new, false).await?;
        Ok(())
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
