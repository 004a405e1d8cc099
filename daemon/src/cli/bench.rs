//! `bench`: the round trip to a peer and the loss on its path; on request also the throughput of messages.

use std::time::{Duration, Instant};

use async_io::Timer;
use futures::{Stream, StreamExt, stream};
use rouse_core::ipc::ClientError;
use rouse_core::{Address, Client, MAX_MESSAGE, Outgoing, PingError, SendError};
use serde_json::json;

use super::address;
use super::args::Bench;
use super::failure::CommandFailure;
use super::output::Output;
use crate::units::{bytes, counted, milliseconds};

/// The pings one after another from which the round trip is measured, at most.
const SERIAL: usize = 100;

/// The time between two pings from which the loss is measured. A node answers 500 a second, and drops the others.
const PACE: Duration = Duration::from_millis(5);

/// The pings or messages that are under way at the same time, at most.
const UNDER_WAY: usize = 512;
const MESSAGES_UNDER_WAY: usize = 32;

/// The longest time to wait for a reply. One that comes later counts as lost.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// The result of a series of pings.
#[derive(Debug, Default)]
struct Series {
    round_trips_ms: Vec<f64>,
    lost: u64,
}

impl Series {
    fn sent(&self) -> u64 {
        self.round_trips_ms.len() as u64 + self.lost
    }

    /// The share of pings without a reply.
    fn loss(&self) -> f64 {
        self.lost as f64 / self.sent().max(1) as f64
    }

    /// The round trip that this share of all does not exceed. The round trips are sorted.
    fn quantile(&self, share: f64) -> Option<f64> {
        let last = self.round_trips_ms.len().checked_sub(1)?;
        self.round_trips_ms.get((last as f64 * share).round() as usize).copied()
    }
}

/// Sends a ping for each item of `starts`, and `at_once` of them at the same time at most.
async fn pings<T>(
    client: &Client,
    peer: &Address,
    starts: impl Stream<Item = T>,
    at_once: usize,
) -> Result<Series, CommandFailure> {
    let replies = starts.map(|_| client.ping(peer, REPLY_TIMEOUT)).buffer_unordered(at_once);
    let mut replies = std::pin::pin!(replies);
    let mut series = Series::default();
    while let Some(reply) = replies.next().await {
        match reply {
            Ok(pong) => series.round_trips_ms.push(milliseconds(pong.rtt_us)),
            Err(ClientError::Ping(PingError::TimedOut)) => series.lost += 1,
            Err(error) => return Err(error.into()),
        }
    }
    series.round_trips_ms.sort_by(f64::total_cmp);
    Ok(series)
}

/// The items of a stream until `time` has passed.
fn during<T>(time: Duration, stream: impl Stream<Item = T>) -> impl Stream<Item = T> {
    let begun = Instant::now();
    stream.take_while(move |_| std::future::ready(begun.elapsed() < time))
}

/// The messages that a series delivered.
#[derive(Debug, Default)]
struct Delivered {
    messages: u64,
    bytes: u64,
    expired: u64,
    elapsed: Duration,
}

/// Sends messages of `size` bytes for `time`, and waits until they are delivered or expired.
async fn messages(
    client: &Client,
    peer: &Address,
    time: Duration,
    size: usize,
) -> Result<Delivered, CommandFailure> {
    let begun = Instant::now();
    let body = rouse_core::Body::from(vec![0; size]);
    // A message that no application receives expires soon, so that it does not stay in the peer's inbox. It is held in memory,
    // because the network is measured and not the disk.
    let message = || Outgoing::new(*peer, body.clone()).ttl(time + REPLY_TIMEOUT).volatile();
    let numbers = during(time, stream::iter(0u64..));
    let send = async |_| client.submit(message()).await?.delivered().await;
    let mut receipts = std::pin::pin!(numbers.map(send).buffer_unordered(MESSAGES_UNDER_WAY));
    let mut delivered = Delivered::default();
    while let Some(receipt) = receipts.next().await {
        match receipt {
            Ok(_) => {
                delivered.messages += 1;
                delivered.bytes += size as u64;
            }
            Err(ClientError::Send(SendError::Expired(_) | SendError::Unknown(_))) => delivered.expired += 1,
            Err(error) => return Err(error.into()),
        }
    }
    delivered.elapsed = begun.elapsed();
    Ok(delivered)
}

pub(super) async fn bench(client: &Client, out: &Output, bench: Bench) -> Result<(), CommandFailure> {
    let peer = address::resolve(client, &bench.peer).await?;
    // Before the measurements, so that no time and no memory is spent for a message that is refused.
    let size = bench.size.as_ref().map(|size| size.0);
    if let Some(length) = size.filter(|size| *size > MAX_MESSAGE as u64) {
        return Err(ClientError::Send(SendError::TooLong { length }).into());
    }
    let serial = pings(client, &peer, during(bench.time, stream::iter(0..SERIAL)), 1).await?;
    let Some(median) = serial.quantile(0.5) else {
        let hint = format!("`rouse probe {}` finds the stage that fails", bench.peer);
        return Err(CommandFailure::no("no_reply", format!("{} does not reply", bench.peer), hint));
    };
    let (min, max) = (serial.quantile(0.0).unwrap_or(median), serial.quantile(1.0).unwrap_or(median));
    let high = serial.quantile(0.99).unwrap_or(median);
    let text = format!("min/median/99 %/max {min:.2}/{median:.2}/{high:.2}/{max:.2} ms");
    let of = format!("{} of {} lost", serial.lost, counted(serial.sent(), "ping"));
    show(out, &format!("round trip  {text}; {of}"))?;

    let paced = pings(client, &peer, during(bench.time, Timer::interval(PACE)), UNDER_WAY).await?;
    let of = format!("{} of {}", paced.lost, counted(paced.sent(), "ping"));
    let rate = 1000 / PACE.as_millis();
    show(out, &format!("loss        {of} at {rate}/s ({:.2} %)", 100.0 * paced.loss()))?;

    let mut delivered = None;
    if let Some(size) = size {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let sent = messages(client, &peer, bench.time, size).await?;
        let second = sent.elapsed.as_secs_f64().max(f64::EPSILON);
        let rate = format!("{}/s", bytes((sent.bytes as f64 / second) as u64));
        let count = counted(sent.messages, "message");
        show(out, &format!("messages    {rate}, {count} delivered, {} expired", sent.expired))?;
        delivered = Some(json!({
            "bytes_per_s": sent.bytes as f64 / second,
            "delivered": sent.messages,
            "expired": sent.expired,
        }));
    }
    out.json(&json!({
        "rtt_ms": { "min": min, "median": median, "p99": high, "max": max },
        "pings": { "sent": paced.sent(), "lost": paced.lost, "loss": paced.loss() },
        "messages": delivered,
    }))?;
    match &delivered {
        Some(messages) if messages["delivered"] == 0 => Err(CommandFailure::no(
            "not_delivered",
            "no message was delivered",
            "an application has to receive them: run `rouse recv --follow --raw >/dev/null` there",
        )),
        _ => Ok(()),
    }
}

/// Writes a line for users, and nothing for programs.
fn show(out: &Output, text: &str) -> Result<(), CommandFailure> {
    if out.is_json() { Ok(()) } else { out.line(&out.safe_line(text), &()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_measured_values() {
        let series = Series { round_trips_ms: (1..=100).map(f64::from).collect(), lost: 25 };
        let all = [0.0, 0.5, 0.99, 1.0].map(|share| series.quantile(share).unwrap());
        assert_eq!(all, [1.0, 51.0, 99.0, 100.0]);
        assert_eq!(series.loss(), 0.2);
        assert_eq!(Series::default().quantile(0.5), None);
    }
}
