//! `inbox`, which shows the received messages in the journal that no application has acknowledged, and revives dead letters.

use rouse_core::{Client, UnreadMessage};
use serde::Serialize;
use serde_json::json;

use super::args::InboxCommand;
use super::failure::CommandFailure;
use super::message::BodyText;
use super::outbox::{MOST_LISTED, age, body_text, parse};
use super::output::Output;
use super::table::Columns;
use crate::text;
use crate::units::{bytes, counted};

/// The JSON document of one message with its body.
#[derive(Serialize)]
pub(crate) struct UnreadWithBody<'a> {
    #[serde(flatten)]
    message: &'a UnreadMessage,
    #[serde(flatten)]
    body: BodyText<'a>,
}

impl<'a> UnreadWithBody<'a> {
    pub(crate) fn of(message: &'a UnreadMessage, body: &'a [u8]) -> Self {
        UnreadWithBody { message, body: BodyText::of(body) }
    }
}

pub(super) async fn inbox(
    client: &Client,
    out: &Output,
    command: Option<InboxCommand>,
) -> Result<(), CommandFailure> {
    match command.unwrap_or(InboxCommand::List) {
        InboxCommand::List => list(client, out, false).await,
        InboxCommand::Dead => list(client, out, true).await,
        InboxCommand::Peek { id, raw } => {
            let (message, body) = client.inbox_message(&parse(&id, "inbox")?).await?;
            if raw {
                return out.raw(&body);
            }
            let head = format!(
                "{}\nfrom {}\nto {}{}\n{}, received {} ago, {}",
                message.id,
                out.address(&message.from),
                out.address(&message.to),
                service(&message).map(|name| format!(", service {name}")).unwrap_or_default(),
                bytes(message.bytes),
                age(message.received_at),
                state(&message),
            );
            let text = body_text(&body, out.width());
            out.line(&format!("{head}\n{text}"), &UnreadWithBody::of(&message, &body))
        }
        InboxCommand::Revive { id } => {
            let id = parse(&id, "inbox dead")?;
            client.revive_message(&id).await?;
            out.notice(&format!("revived {id}; `rouse recv` receives it"));
            out.json(&json!({ "revived": id }))
        }
        InboxCommand::Discard { id } => {
            let id = parse(&id, "inbox")?;
            client.discard_message(&id).await?;
            out.notice(&format!("discarded {id}"));
            out.json(&json!({ "discarded": id }))
        }
    }
}

fn service(message: &UnreadMessage) -> Option<String> {
    (!message.service.is_default()).then(|| text::one_line(message.service.as_str()).into_owned())
}

fn state(message: &UnreadMessage) -> String {
    let attempts = counted(message.deliveries.into(), "attempt");
    if message.is_leased { format!("{attempts}, in delivery") } else { attempts }
}

async fn list(client: &Client, out: &Output, dead: bool) -> Result<(), CommandFailure> {
    let all = client.inbox(dead, MOST_LISTED).await?;
    let row = |message: &UnreadMessage| {
        [
            message.id.to_string().into(),
            message.from.into(),
            service(message).into(),
            bytes(message.bytes).into(),
            age(message.received_at).into(),
            state(message).into(),
        ]
    };
    let columns = Columns {
        titles: ["ID", "FROM", "SERVICE", "BYTES", "AGE", "ATTEMPTS"],
        long: &["SERVICE", "ATTEMPTS"],
    };
    out.line(&columns.table(out.width(), &all.iter().map(row).collect::<Vec<_>>()), &all)?;
    match (all.len(), dead) {
        (0, true) => out.notice("there are no dead letters"),
        (0, false) => out.notice("no durable messages wait; `rouse status` counts all that wait"),
        (MOST_LISTED.., _) => out.notice(&format!(
            "the first {MOST_LISTED} messages are listed; `rouse status` shows how many there are"
        )),
        _ => {}
    }
    Ok(())
}
