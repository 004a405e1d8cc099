//! `request` and `serve`.

use std::time::{Duration, Instant};

use rouse_core::ipc::{ClientError, Search};
use rouse_core::{Address, Client, Message, MessageId, MessageKind, Outgoing, RequestError, Service};
use serde::Serialize;

use super::args::{Serve, ServiceRequest};
use super::child::{CommandOutput, UserCommand};
use super::failure::CommandFailure;
use super::message::{ReceivedLine, read_body};
use super::output::Output;
use super::{address, reconnect};
use crate::text;

/// The default timeout of `request`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn request(
    client: &Client,
    out: &Output,
    request: ServiceRequest,
) -> Result<(), CommandFailure> {
    let to = address::resolve(client, &request.peer).await?;
    let body = read_body(request.text, request.file).await?;
    let mut message = Outgoing::new(to, body).service(request.service.as_str());
    if let Some(from) = &request.from {
        message = message.from(address::resolve_own(client, from).await?);
    }
    let timeout = request.timeout.unwrap_or(REQUEST_TIMEOUT);
    let answer = client.submit_request(message, timeout).await;
    let answer = answer.map_err(|error| unanswered(error, &request.peer, &request.service))?;
    if out.is_json() {
        return out.json(&ReceivedLine::of(&answer, None));
    }
    match out.width().filter(|_| !request.raw) {
        // In a pipe the answer is what the service has written, byte for byte.
        None => out.raw(&answer.body),
        Some(width) => {
            let text = text::paragraph(&String::from_utf8_lossy(&answer.body), 0, width);
            out.raw(format!("{}\n", text.trim_end_matches('\n')).as_bytes())
        }
    }
}

/// The failure of a request, which names the peer as the user does.
fn unanswered(error: ClientError, peer: &str, service: &Service) -> CommandFailure {
    let text = match &error {
        ClientError::Request(RequestError::NoSuchService { .. }) => {
            format!("{peer} has no service {service:?}: no program serves it there")
        }
        ClientError::Request(RequestError::Failed { text, .. }) => {
            format!("the service {service:?} of {peer} failed: {text}")
        }
        ClientError::Request(RequestError::TimedOut(_)) => {
            format!("no answer from {peer} in time: it may be away or slow")
        }
        _ => return error.into(),
    };
    CommandFailure::from(error).with_message(text)
}

/// The JSON document of a request that was served.
#[derive(Serialize)]
struct ServedLine {
    id: MessageId,
    from: Address,
    bytes: usize,
    state: &'static str,
    answer_bytes: Option<usize>,
    error: Option<String>,
    took_ms: f64,
}

pub(super) async fn serve(search: &Search, out: &Output, serve: Serve) -> Result<(), CommandFailure> {
    let command = UserCommand::new(serve.command.clone(), serve.timeout)
        .ok_or_else(|| CommandFailure::wrong("there is no command", "name it after --"))?;
    let work = async |client: Client| serve_at(&client, out, &serve, &command).await;
    reconnect::through_restarts(search, out, None, work).await
}

/// Serves over one connection.
async fn serve_at(
    client: &Client,
    out: &Output,
    serve: &Serve,
    command: &UserCommand,
) -> Result<(), CommandFailure> {
    let own = match &serve.to {
        Some(to) => address::resolve_own(client, to).await?,
        None => client.address(),
    };
    let inbox = client.mailbox(&own).service(serve.service.as_str());
    let inbox = inbox.map_err(|error| CommandFailure::wrong(error.to_string(), "use a shorter name"))?;
    let limit = usize::try_from(serve.parallel).unwrap_or(usize::MAX);
    let handler = async |request: Message| {
        let begun = Instant::now();
        let result = command.run(&request, None, CommandOutput::Returned).await;
        print_served(out, &request, &result, begun.elapsed());
        result
    };
    client.serve_inbox(&inbox, limit, handler).await?;
    Ok(())
}

fn print_served(out: &Output, request: &Message, result: &Result<Vec<u8>, String>, took: Duration) {
    let line = ServedLine {
        id: request.id,
        from: request.from,
        bytes: request.body.len(),
        state: match (result, request.kind) {
            (Err(_), _) => "failed",
            (Ok(_), MessageKind::Request) => "answered",
            (Ok(_), _) => "received",
        },
        answer_bytes: result.as_ref().ok().map(Vec::len),
        error: result.as_ref().err().cloned(),
        took_ms: took.as_secs_f64() * 1e3,
    };
    let cause = line.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    let text = format!("{}\t{} {}{cause}", out.address(&request.from), line.state, request.id);
    // An output that is closed is no reason to leave a request without its answer.
    let _ = out.line(&out.safe_line(&text), &line);
}
