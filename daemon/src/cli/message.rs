//! `send`, and the documents of messages.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_io::Timer;
use base64::Engine;
use futures::future::{Either, select};
use rouse_core::ipc::{ClientError, ClientSent};
use rouse_core::{
    Address, Client, Health, Level, MAX_MESSAGE, Message, MessageId, MessageKind, Outgoing, Protection,
    Receipt, RouteState, SendError, Timestamp,
};
use serde::Serialize;

use super::address;
use super::args::{Send, Wait};
use super::failure::CommandFailure;
use super::output::Output;
use crate::units::milliseconds;

/// The default timeout of `send`.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The JSON document of `send`.
#[derive(Serialize)]
pub(crate) struct SentLine {
    id: MessageId,
    pub(crate) state: &'static str,
    durable: bool,
    bytes: u64,
    rtt_ms: Option<f64>,
}

impl SentLine {
    /// A message that was accepted and may still be on its way.
    pub(crate) fn queued(sent: &ClientSent) -> Self {
        SentLine { id: sent.id, state: "queued", durable: sent.durable, bytes: sent.bytes, rtt_ms: None }
    }

    /// Notes that the recipient has it.
    pub(crate) fn delivered(&mut self, receipt: &Receipt) -> f64 {
        let rtt_ms = milliseconds(receipt.elapsed_us);
        self.state = "delivered";
        self.rtt_ms = Some(rtt_ms);
        rtt_ms
    }

    /// The line for users: the state and the id.
    fn text(&self) -> String {
        format!("{} {}", self.state, self.id)
    }
}

pub(super) async fn send(client: &Client, out: &Output, send: Send) -> Result<(), CommandFailure> {
    let to = address::resolve(client, &send.peer).await?;
    let from = match &send.from {
        Some(from) => Some(address::resolve_own(client, from).await?),
        None => None,
    };
    let mut message = Outgoing::new(to, read_body(send.text, send.file).await?);
    if let Some(from) = from {
        message = message.from(from);
    }
    if let Some(service) = &send.service {
        message = message.service(service.as_str());
    }
    if let Some(id) = send.reply_to {
        message = message.in_reply_to(id);
    }
    if let Some(ttl) = send.ttl {
        message = message.ttl(ttl);
    }
    if send.volatile {
        message = message.volatile();
    }
    let deadline = Some(Instant::now() + send.timeout.unwrap_or(SEND_TIMEOUT));
    let Some(sent) = until(deadline, client.submit(message)).await else {
        return Err(no_room(client, &send.peer, &to).await);
    };
    let sent = sent?;
    let mut line = SentLine::queued(&sent);
    // An interruption comes too late to take the message back, so the user still needs its id.
    out.when_interrupted(&line.text(), &line)?;
    let has_route = is_reached(client, &to).await?;
    if !has_route {
        out.notice(&format!("queued, no route now: the message waits for a route to {}", send.peer));
    }
    if send.wait == Wait::Queued {
        return out.line(&line.text(), &line);
    }
    match until(deadline, sent.delivered()).await {
        Some(Ok(receipt)) => {
            let rtt_ms = line.delivered(&receipt);
            out.line(&format!("{} in {rtt_ms:.2} ms", line.text()), &line)
        }
        Some(Err(error)) => {
            // A daemon that is gone may have sent the message before, like one in which it expired on its way.
            let has_expired = matches!(error, ClientError::Send(SendError::Expired(_)));
            line.state = if has_expired { "expired" } else { "unknown" };
            out.line(&line.text(), &line)?;
            Err(error.into())
        }
        None => {
            out.line(&line.text(), &line)?;
            let hint = "the message remains here, in transit or in the recipient's mailbox until its time to live has passed";
            Err(CommandFailure::timed_out("the recipient has not confirmed it in time", hint))
        }
    }
}

/// Whether a message to this address can leave now: over a route, or into an inbox of this node.
async fn is_reached(client: &Client, to: &Address) -> Result<bool, CommandFailure> {
    let routes = client.routes_to(*to).await?;
    if *to == client.address() || routes.iter().any(|route| route.state == RouteState::Active) {
        return Ok(true);
    }
    Ok(client.identities().await?.iter().any(|identity| identity.address == *to))
}

/// The failure that a message was not accepted in time, which names the peer whose messages occupy the room.
pub(crate) async fn no_room(client: &Client, peer: &str, to: &Address) -> CommandFailure {
    let is_own = client.identities().await.is_ok_and(|all| all.iter().any(|one| one.address == *to));
    if is_own {
        return CommandFailure::timed_out(
            format!("the inbox of {peer} on this node was full all the time"),
            "`rouse recv` takes messages from it",
        );
    }
    // Where the journal is the cause, its finding names it, and the next step.
    let status = client.status().await;
    let is_cause = |line: &&Health| line.level == Level::Error && line.text.starts_with("the journal");
    if let Some(finding) = status.iter().flat_map(|status| &status.health).find(is_cause) {
        return CommandFailure::timed_out(finding.text.clone(), finding.hint.clone());
    }
    let has_route = is_reached(client, to).await.unwrap_or(true);
    let cause = if has_route { "it does not receive them" } else { "there is no route to it now" };
    CommandFailure::timed_out(
        format!("the queue to {peer} was full all the time: earlier messages wait for it, and {cause}"),
        format!("see `rouse routes {peer}` and `rouse ping {peer}`; `--timeout` waits longer"),
    )
}

pub(super) async fn read_body(
    text: Option<String>,
    file: Option<PathBuf>,
) -> Result<Vec<u8>, CommandFailure> {
    let read = |name: String, open: fn(&str) -> io::Result<Box<dyn Read>>| async move {
        let opened = name.clone();
        let result = blocking::unblock(move || {
            let mut bytes = Vec::new();
            // One byte more than the limit is enough to detect that the message is too long.
            open(&opened)?.take(MAX_MESSAGE as u64 + 1).read_to_end(&mut bytes)?;
            io::Result::Ok(bytes)
        });
        result.await.map_err(|error| CommandFailure::file(&name, &error))
    };
    let bytes = match (text, file) {
        (Some(text), _) if text == "-" => {
            read("standard input".to_owned(), |_| Ok(Box::new(io::stdin()))).await?
        }
        (Some(text), _) => text.into_bytes(),
        (None, Some(path)) => match path.into_os_string().into_string() {
            Ok(path) => read(path, |path| Ok(Box::new(File::open(path)?))).await?,
            Err(path) => {
                return Err(CommandFailure::wrong(format!("{path:?} is not text"), "use a path in UTF-8"));
            }
        },
        (None, None) => {
            return Err(CommandFailure::wrong(
                "there is nothing to send",
                "give a text, - for standard input, or --file PATH",
            ));
        }
    };
    match bytes.len() {
        length if length > MAX_MESSAGE => {
            let text = format!("the message has more than {MAX_MESSAGE} bytes, which is the limit");
            Err(CommandFailure::no("too_long", text, "split it into several messages"))
        }
        _ => Ok(bytes),
    }
}

/// The output of `future`, or `None` when the deadline passes first.
pub(crate) async fn until<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    let Some(deadline) = deadline else { return Some(future.await) };
    match select(std::pin::pin!(future), Timer::at(deadline)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

/// The JSON document of a received message.
#[derive(Serialize)]
pub(crate) struct ReceivedLine<'a> {
    id: MessageId,
    from: Address,
    from_name: Option<&'a str>,
    to: Address,
    sent_at: Timestamp,
    received_at: Timestamp,
    bytes: usize,
    protection: Protection,
    service: Option<&'a str>,
    in_reply_to: Option<MessageId>,
    kind: MessageKind,
    #[serde(flatten)]
    body: BodyText<'a>,
}

/// The body of a message in JSON: text where it is UTF-8, base64 otherwise.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BodyText<'a> {
    Text(&'a str),
    Base64(String),
}

impl<'a> BodyText<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        match std::str::from_utf8(body) {
            Ok(text) => BodyText::Text(text),
            Err(_) => BodyText::Base64(base64::engine::general_purpose::STANDARD.encode(body)),
        }
    }
}

impl<'a> ReceivedLine<'a> {
    pub(crate) fn of(message: &'a Message, from_name: Option<&'a str>) -> Self {
        ReceivedLine {
            id: message.id,
            from: message.from,
            from_name,
            to: message.to,
            sent_at: message.sent_at,
            received_at: message.received_at,
            bytes: message.body.len(),
            protection: message.protection,
            service: Some(message.service.as_str()).filter(|name| !name.is_empty()),
            in_reply_to: message.in_reply_to,
            kind: message.kind,
            body: BodyText::of(&message.body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_text_where_it_is_utf8_and_base64_otherwise() {
        let text = serde_json::to_value(BodyText::of("grüß".as_bytes())).unwrap();
        assert_eq!(text, serde_json::json!({ "text": "grüß" }));
        let binary = serde_json::to_value(BodyText::of(&[0xff, 0])).unwrap();
        assert_eq!(binary, serde_json::json!({ "base64": "/wA=" }));
    }
}
