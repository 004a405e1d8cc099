//! `ping` and `trace`.

use std::time::Duration;

use async_io::Timer;
use futures::StreamExt;
use rouse_core::ipc::ClientError;
use rouse_core::{Client, Hop, PingError, Pong};
use serde_json::json;

use super::address;
use super::args::Ping;
use super::failure::CommandFailure;
use super::output::Output;
use crate::units::milliseconds;

/// The longest time to wait for the reply to a ping, and for that of each hop of a trace.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// The time between two pings.
const PING_INTERVAL: Duration = Duration::from_secs(1);

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

pub(super) async fn ping(client: &Client, out: &Output, ping: Ping) -> Result<(), CommandFailure> {
    let peer = address::resolve(client, &ping.peer).await?;
    let mut last = None;
    let mut replies = 0u32;
    for seq in 1..=ping.count {
        if seq > 1 {
            Timer::after(PING_INTERVAL).await;
        }
        match client.ping(&peer, REPLY_TIMEOUT).await {
            Ok(Pong { rtt_us, hops }) => {
                replies += 1;
                let rtt_ms = milliseconds(rtt_us);
                let plural = if hops == 1 { "" } else { "s" };
                let text = format!("seq {seq}: {rtt_ms:.2} ms, {hops} hop{plural}");
                out.line(&text, &json!({ "seq": seq, "rtt_ms": rtt_ms, "hops": hops }))?;
            }
            Err(ClientError::Ping(error)) => {
                let error_word = error_text(&error);
                out.line(&format!("seq {seq}: {error_word}"), &json!({ "seq": seq, "error": error_word }))?;
                last = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    match last {
        Some(error) if replies == 0 => Err(ClientError::Ping(error).into()),
        _ => Ok(()),
    }
}

pub(super) async fn trace(client: &Client, out: &Output, peer: &str) -> Result<(), CommandFailure> {
    let peer = address::resolve(client, peer).await?;
    let mut hops = client.trace(&peer, MAX_HOPS, REPLY_TIMEOUT);
    let mut number = 0;
    let mut silent = 0;
    let mut last = PingError::NoRoute(peer);
    while let Some(hop) = hops.next().await {
        match hop {
            Ok(Hop { hop, address, rtt_us }) => {
                let rtt_ms = milliseconds(rtt_us);
                let text = format!("{hop}  {address}  {rtt_ms:.2} ms");
                out.line(&text, &json!({ "hop": hop, "address": address, "rtt_ms": rtt_ms }))?;
                if address == peer {
                    return Ok(());
                }
                number = hop;
                silent = 0;
            }
            Err(ClientError::Ping(error)) => {
                number = number.saturating_add(1);
                silent += 1;
                let error_word = error_text(&error);
                out.line(&format!("{number}  {error_word}"), &json!({ "hop": number, "error": error_word }))?;
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
