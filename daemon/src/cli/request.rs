//! `request` and `serve`.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rouse_core::{Address, Client, MAX_MESSAGE, Message, MessageId, MessageKind, Outgoing};
use serde::Serialize;

use super::address;
use super::args::{Serve, ServiceRequest};
use super::failure::CommandFailure;
use super::message::{ReceivedLine, read_body};
use super::output::Output;
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
    let answer = client.submit_request(message, timeout).await?;
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

pub(super) async fn serve(client: &Client, out: &Output, serve: Serve) -> Result<(), CommandFailure> {
    let own = match &serve.to {
        Some(to) => address::resolve_own(client, to).await?,
        None => client.address(),
    };
    let inbox = client.mailbox(&own).service(serve.service.as_str());
    let inbox = inbox.map_err(|error| CommandFailure::wrong(error.to_string(), "use a shorter name"))?;
    let command: Rc<[OsString]> = serve.command.into();
    let limit = usize::try_from(serve.parallel).unwrap_or(usize::MAX);
    let handler = async |request: Message| {
        let begun = Instant::now();
        let (command, body) = (command.to_vec(), request.body.clone());
        let (from, id) = (request.from, request.id);
        let result = blocking::unblock(move || run(&command, &body, from, id)).await;
        let line = ServedLine {
            id: request.id,
            from: request.from,
            bytes: request.body.len(),
            state: match (&result, request.kind) {
                (Err(_), _) => "failed",
                (Ok(_), MessageKind::Request) => "answered",
                (Ok(_), _) => "received",
            },
            answer_bytes: result.as_ref().ok().map(Vec::len),
            error: result.as_ref().err().cloned(),
            took_ms: begun.elapsed().as_secs_f64() * 1e3,
        };
        let cause = line.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        let text = format!("{}\t{} {}{cause}", out.address(&request.from), line.state, request.id);
        // An output that is closed is no reason to leave a request without its answer.
        let _ = out.line(&out.safe_line(&text), &line);
        result
    };
    client.serve_inbox(&inbox, limit, handler).await?;
    Ok(())
}

/// Runs the command with a request on its standard input. Its standard output is the answer. The error is a text for the
/// requester, which does not show the command.
fn run(command: &[OsString], request: &[u8], from: Address, id: MessageId) -> Result<Vec<u8>, String> {
    let (program, arguments) = command.split_first().ok_or("there is no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("ROUSE_FROM", from.to_string())
        .env("ROUSE_ID", id.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the command does not start: {error}"))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut answer = Vec::new();
    std::thread::scope(|scope| {
        // Written beside the reading, since a command may write before it has read everything.
        scope.spawn(move || {
            // A command need not read the request, so that a closed pipe is no error.
            stdin.map(|mut stdin| stdin.write_all(request))
        });
        // One byte more than the limit shows that the answer is too long.
        stdout.map(|stdout| stdout.take(MAX_MESSAGE as u64 + 1).read_to_end(&mut answer)).transpose()
    })
    .map_err(|error| format!("the answer of the command cannot be read: {error}"))?;
    if answer.len() > MAX_MESSAGE {
        // The rest would block the command for ever.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| format!("the command cannot be waited for: {error}"))?;
    match (status.success(), answer.len() > MAX_MESSAGE) {
        (_, true) => Err(format!("the answer has more than {MAX_MESSAGE} bytes, which is the limit")),
        (true, false) => Ok(answer),
        (false, false) => Err(format!("the command ended with {status}")),
    }
}
