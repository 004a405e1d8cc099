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

/// The lines of a body that a terminal shows: with the properties of the message, less than the smallest terminal has.
const HEAD_LINES: usize = 16;

/// The columns that a terminal is taken to have at least.
const MIN_COLUMNS: usize = 20;

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
        OutboxCommand::Show { id, raw } => {
            let (message, body) = client.outbox_message(&parse(&id, "outbox")?).await?;
            if raw {
                return out.raw(&body);
            }
            let shown = ShownMessage::of(&message, &body);
            let text = body_text(&body, out.width());
            let service = message
                .service
                .as_ref()
                .map(|service| format!(", service {}", text::one_line(service.as_str())));
            let head = format!(
                "{}\nfrom {}\nto {}{}\n{}, sent {} ago, expires in {}",
                message.id,
                out.address(&message.from),
                out.address(&message.to),
                service.unwrap_or_default(),
                bytes(message.bytes),
                age(message.sent_at),
                seconds(message.expires_in_ms / 1000),
            );
            out.line(&format!("{head}\n{text}"), &shown)
        }
        OutboxCommand::Cancel { id } => {
            let id = parse(&id, "outbox")?;
            client.cancel(&id).await?;
            out.notice(&format!("cancelled {id}"));
            out.json(&json!({ "cancelled": id }))
        }
    }
}

/// The body of a message: one line in a pipe, and on a terminal of `width` columns the beginning of a long one.
pub(super) fn body_text(body: &[u8], width: Option<usize>) -> String {
    let Some(width) = width else { return text::one_field(&String::from_utf8_lossy(body)) };
    // No character takes more than four bytes.
    let longest = HEAD_LINES * width.max(MIN_COLUMNS) * 4;
    let head = String::from_utf8_lossy(body.get(..longest).unwrap_or(body));
    let shown = text::paragraph(head.trim_end_matches('\n'), 0, width);
    let lines = shown.split('\n').count();
    if lines <= HEAD_LINES && body.len() <= longest {
        return shown;
    }
    let head = shown.split('\n').take(HEAD_LINES).collect::<Vec<_>>().join("\n");
    format!("{head}\n(the beginning of {}; --raw prints all)", bytes(body.len() as u64))
}

async fn list(client: &Client, out: &Output) -> Result<(), CommandFailure> {
    let all = client.outbox(MOST_LISTED).await?;
    let row = |message: &WaitingMessage| {
        [
            message.id.to_string().into(),
            message.to.into(),
            message.service.as_ref().map(|service| text::one_line(service.as_str()).into_owned()).into(),
            bytes(message.bytes).into(),
            age(message.sent_at).into(),
            seconds(message.expires_in_ms / 1000).into(),
        ]
    };
    let columns =
        Columns { titles: ["ID", "TO", "SERVICE", "BYTES", "AGE", "EXPIRES IN"], long: &["SERVICE"] };
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

pub(super) fn age(since: Timestamp) -> String {
    seconds(Timestamp::now().0.saturating_sub(since.0) / 1000)
}

/// The id of a message that the command `list` lists.
pub(super) fn parse(id: &str, list: &str) -> Result<MessageId, CommandFailure> {
    id.parse().map_err(|_| {
        CommandFailure::wrong(
            format!("{id} is not the id of a message"),
            format!("`rouse {list}` lists the ids"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_shows_the_beginning_of_a_long_body_and_a_pipe_all_of_it() {
        for long in
            ["word ".repeat(1 << 18), "line\n".repeat(1 << 18), "長".repeat(1 << 18), "x".repeat(1 << 20)]
        {
            for width in [20, 80, 200] {
                let shown = body_text(long.as_bytes(), Some(width));
                assert!(shown.lines().count() <= HEAD_LINES + 1, "{}", shown.lines().count());
                assert!(shown.ends_with("--raw prints all)"), "{width}");
            }
            assert_eq!(body_text(long.as_bytes(), None), text::one_field(&long));
        }
        for whole in ["", "short", "two\nlines", &"x".repeat(80 * 15)] {
            assert!(!body_text(whole.as_bytes(), Some(80)).contains("--raw"), "{whole}");
        }
    }
}
