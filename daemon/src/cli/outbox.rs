//! `outbox`, which shows and cancels the durable messages that are not delivered yet.

use rouse_core::{Client, MessageId, Timestamp, WaitingMessage};
use serde::Serialize;
use serde_json::json;

use super::args::OutboxCommand;
use super::failure::CommandFailure;
use super::message::BodyText;
use super::output::Output;
use super::table::Columns;
use crate::text;
use crate::units::{bytes, seconds};

/// The most messages that are listed.
pub(crate) const MOST_LISTED: usize = 10_000;

/// The JSON document of one message with its body.
#[derive(Serialize)]
pub(crate) struct ShownMessage<'a> {
    #[serde(flatten)]
    message: &'a WaitingMessage,
    #[serde(flatten)]
    body: BodyText<'a>,
}

impl<'a> ShownMessage<'a> {
    pub(crate) fn of(message: &'a WaitingMessage, body: &'a [u8]) -> Self {
        ShownMessage { message, body: BodyText::of(body) }
    }
}

pub(super) async fn outbox(
    client: &Client,
    out: &Output,
    command: Option<OutboxCommand>,
) -> Result<(), CommandFailure> {
    match command.unwrap_or(OutboxCommand::List) {
        OutboxCommand::List => list(client, out).await,
        OutboxCommand::Show { id } => {
            let (message, body) = client.outbox_message(&parse(&id)?).await?;
            let shown = ShownMessage::of(&message, &body);
            let text = text::one_field(&String::from_utf8_lossy(&body));
            let head = format!(
                "{}\nfrom {}\nto {}\n{}, sent {} ago, expires in {}",
                message.id,
                out.address(&message.from),
                out.address(&message.to),
                bytes(message.bytes),
                age(message.sent_at),
                seconds(message.expires_in_ms / 1000),
            );
            out.line(&format!("{head}\n{text}"), &shown)
        }
        OutboxCommand::Cancel { id } => {
            let id = parse(&id)?;
            client.cancel(&id).await?;
            out.notice(&format!("cancelled {id}"));
            out.json(&json!({ "cancelled": id }))
        }
    }
}

async fn list(client: &Client, out: &Output) -> Result<(), CommandFailure> {
    let all = client.outbox(MOST_LISTED).await?;
    let row = |message: &WaitingMessage| {
        [
            message.id.to_string().into(),
            message.to.into(),
            bytes(message.bytes).into(),
            age(message.sent_at).into(),
            seconds(message.expires_in_ms / 1000).into(),
        ]
    };
    let columns = Columns { titles: ["ID", "TO", "BYTES", "AGE", "EXPIRES IN"], long: &[] };
    out.line(&columns.table(out.width(), &all.iter().map(row).collect::<Vec<_>>()), &all)?;
    if all.is_empty() {
        out.notice("no durable messages wait; `rouse status` counts all that wait");
    }
    if all.len() >= MOST_LISTED {
        out.notice(&format!(
            "the first {MOST_LISTED} messages are listed; `rouse status` shows how many wait"
        ));
    }
    Ok(())
}

fn age(since: Timestamp) -> String {
    seconds(Timestamp::now().0.saturating_sub(since.0) / 1000)
}

fn parse(id: &str) -> Result<MessageId, CommandFailure> {
    id.parse().map_err(|_| {
        CommandFailure::wrong(format!("{id} is not the id of a message"), "`rouse outbox` lists the ids")
    })
}
