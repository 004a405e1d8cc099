//! `ping` and `trace`.

use std::time::Duration;

use async_io::Timer;
use futures::StreamExt;
use rouse_core::ipc::ClientError;
use rouse_core::{Address, Client, Hop, PingError, Pong};
use serde::Serialize;
use serde_json::json;

use super::address;
use super::args::Ping;
use super::failure::CommandFailure;
use super::output::Output;
use crate::units::{counted, milliseconds};

/// The longest time to wait for the reply of each hop of a trace.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// The most hops of a trace.
const MAX_HOPS: u8 = 64;

/// The number of hops in a row without a reply after which a trace ends.
const MAX_SILENT_HOPS: u32 = 3;

/// The short text of an error in the output of `ping` and `trace`.
fn error_text(error: &PingError) -> &'static str {
    match error {
        PingError::NoRoute(_) => "no route",
        PingError::TimedOut => "no reply in time",
        _ => "the node is stopping",
    }
}

/// The round trips that have come back so far.
#[derive(Debug, Default)]
struct Summary {
    sent: u32,
    round_trips_ms: Vec<f64>,
}

impl Summary {
    /// The line that ends a series of pings.
    fn text(&self) -> String {
        let received = self.round_trips_ms.len();
        let lost = f64::from(self.sent) - received as f64;
        let loss = 100.0 * lost / f64::from(self.sent.max(1));
        let mut text = format!("{} sent, {received} received, {loss:.0} % lost", self.sent);
        if received > 0 {
            let min = self.round_trips_ms.iter().copied().fold(f64::INFINITY, f64::min);
            let max = self.round_trips_ms.iter().copied().fold(0.0, f64::max);
            let avg = self.round_trips_ms.iter().sum::<f64>() / received as f64;
            text.push_str(&format!("; round trip min/avg/max {min:.2}/{avg:.2}/{max:.2} ms"));
        }
        text
    }
}

pub(super) async fn ping(client: &Client, out: &Output, ping: Ping) -> Result<(), CommandFailure> {
    let peer = address::resolve(client, &ping.peer).await?;
    let mut last = None;
    let mut summary = Summary::default();
    for seq in 1..=ping.count {
        if seq > 1 {
            Timer::after(ping.interval).await;
        }
        let reply = client.ping(&peer, ping.timeout).await;
        summary.sent += 1;
        match reply {
            Ok(Pong { rtt_us, hops }) => {
                let rtt_ms = milliseconds(rtt_us);
                summary.round_trips_ms.push(rtt_ms);
                let text = format!("seq {seq}: {rtt_ms:.2} ms, {}", counted(hops.into(), "hop"));
                out.line(&text, &json!({ "seq": seq, "rtt_ms": rtt_ms, "hops": hops }))?;
            }
            Err(ClientError::Ping(error)) => {
                let error_word = error_text(&error);
                out.line(&format!("seq {seq}: {error_word}"), &json!({ "seq": seq, "error": error_word }))?;
                last = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
        if !out.is_json() {
            out.when_interrupted(&summary.text(), &())?;
        }
    }
    if ping.count > 1 && !out.is_json() {
        out.raw(format!("{}\n", summary.text()).as_bytes())?;
    }
    match last {
        Some(error) if summary.round_trips_ms.is_empty() => Err(ClientError::Ping(error).into()),
        _ => Ok(()),
    }
}

/// A hop of a trace, or the error in its place.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HopLine {
    hop: u8,
    #[serde(flatten)]
    reply: HopReply,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum HopReply {
    Reached { address: Address, rtt_ms: f64 },
    Failed { error: &'static str },
}

pub(super) async fn trace(client: &Client, out: &Output, peer: &str) -> Result<(), CommandFailure> {
    let peer = address::resolve(client, peer).await?;
    let show = |line: &HopLine| {
        let hop = line.hop;
        match &line.reply {
            HopReply::Reached { address, rtt_ms } => {
                format!("{hop}  {}  {rtt_ms:.2} ms", out.address(address))
            }
            HopReply::Failed { error } => format!("{hop}  {error}"),
        }
    };
    walk(client, peer, |line| out.line(&show(&line), &line)).await
}

/// Passes each hop on the way to a peer to `each`, until the peer is reached or too many hops are silent.
pub(crate) async fn walk(
    client: &Client,
    peer: Address,
    mut each: impl FnMut(HopLine) -> Result<(), CommandFailure>,
) -> Result<(), CommandFailure> {
    let mut hops = client.trace(&peer, MAX_HOPS, REPLY_TIMEOUT);
    let mut number = 0;
    let mut silent = 0;
    let mut last = PingError::NoRoute(peer);
    while let Some(hop) = hops.next().await {
        match hop {
            Ok(Hop { hop, address, rtt_us }) => {
                each(HopLine { hop, reply: HopReply::Reached { address, rtt_ms: milliseconds(rtt_us) } })?;
                if address == peer {
                    return Ok(());
                }
                number = hop;
                silent = 0;
            }
            Err(ClientError::Ping(error)) => {
                number = number.saturating_add(1);
                silent += 1;
                each(HopLine { hop: number, reply: HopReply::Failed { error: error_text(&error) } })?;
                let ends = error != PingError::TimedOut || silent >= MAX_SILENT_HOPS;
                last = error;
                if ends {
                    break;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(ClientError::Ping(last).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_pings_has_the_loss_and_the_round_trips() {
        let summary = Summary { sent: 4, round_trips_ms: vec![1.0, 3.0, 2.0] };
        assert_eq!(summary.text(), "4 sent, 3 received, 25 % lost; round trip min/avg/max 1.00/2.00/3.00 ms");
        assert_eq!(Summary { sent: 2, ..Summary::default() }.text(), "2 sent, 0 received, 100 % lost");
    }
}
