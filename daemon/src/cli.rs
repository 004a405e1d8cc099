//! The command line: it finds the daemon, sends it requests and prints the answers.
//!
//! Data is written to standard output, notices and errors to standard error. Each command is a function of a connection
//! and an `Output`; an error is a [`CommandFailure`], which has the exit code.

pub(crate) mod address;
mod args;
mod bench;
mod child;
mod connect;
mod doctor;
mod failure;
pub(crate) mod inbox;
pub(crate) mod json;
mod manual;
mod mesh;
pub(crate) mod message;
pub(crate) mod outbox;
mod output;
pub(crate) mod probe;
mod reconnect;
mod recv;
mod registry;
mod request;
pub(crate) mod show;
pub(crate) mod stages;
mod table;
mod terminal;

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use async_signal::{Signal, Signals};
use blocking::Unblock;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use futures::StreamExt;
use futures::future::{Either, select};
use rouse_core::ipc::{ClientError, Search};
use rouse_core::{Client, Unfinished};

pub use args::{Cli, Command};
use args::{InboxCommand, OutboxCommand};
pub use failure::CommandFailure;
use output::Output;

use crate::api::{self, ApiEnd, LineBudget};

/// Runs the command that the arguments of the process name.
pub async fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let json = arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json");
    let out = Output::new(json);
    let result = match Cli::try_parse_from(&arguments) {
        Ok(cli) => interruptible(&out, run(cli, &out)).await,
        Err(error) if json => unparsed(&out, &error),
        Err(error) => {
            // clap prints help to standard output and errors to standard error. An error of printing cannot be
            // reported.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(json);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The answer, in JSON, to arguments that are not a command: an error, or the text that they request.
fn unparsed(out: &Output, error: &clap::Error) -> Result<(), CommandFailure> {
    match error.kind() {
        ErrorKind::DisplayHelp => out.json(&serde_json::json!({ "help": error.to_string() })),
        ErrorKind::DisplayVersion => out.json(&serde_json::json!({ "version": env!("CARGO_PKG_VERSION") })),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(CommandFailure::wrong("a command is missing", "`rouse help` lists the commands and options"))
        }
        _ => Err(CommandFailure::usage(error)),
    }
}

/// Runs `command`, and ends with [`CommandFailure::interrupted`] on Ctrl-C, or when it is asked to end. Dropping the
/// command returns messages that it had fetched and not printed, and ends the commands that it runs.
async fn interruptible(
    out: &Output,
    command: impl Future<Output = Result<(), CommandFailure>>,
) -> Result<(), CommandFailure> {
    let Ok(mut signals) = Signals::new([Signal::Int, Signal::Term, Signal::Hup]) else {
        return command.await;
    };
    // The command is dropped with the value of `select`.
    let ended = match select(Box::pin(command), signals.next()).await {
        Either::Left((result, _)) => Ok(result),
        Either::Right((signal, _)) => Err(signal.and_then(Result::ok).unwrap_or(Signal::Int)),
    };
    child::end_all().await;
    match ended {
        Ok(result) => result,
        Err(signal) => {
            out.interrupted()?;
            Err(CommandFailure::interrupted(signal))
        }
    }
}

async fn run(cli: Cli, out: &Output) -> Result<(), CommandFailure> {
    // clap finds conflicts of arguments only where both are on the same side of the command.
    if cli.socket.is_some() && cli.state_dir.is_some() {
        let text = "--socket and --state-dir name the daemon twice";
        return Err(CommandFailure::wrong(text, "use one of them"));
    }
    let is_raw = match &cli.command {
        Command::Recv(recv) => recv.raw,
        Command::Request(request) => request.raw,
        Command::Outbox { command: Some(OutboxCommand::Show { raw, .. }) } => *raw,
        Command::Inbox { command: Some(InboxCommand::Peek { raw, .. }) } => *raw,
        _ => false,
    };
    if cli.json && is_raw {
        let text = "--raw prints bytes, which is not JSON";
        return Err(CommandFailure::wrong(text, "leave out --raw or --json"));
    }
    let search = Search { socket: cli.socket, state_dir: cli.state_dir, ..Search::default() };
    let connect = async || connect::connect(&search).await;
    let administer = async || connect::administer(&search).await;
    match cli.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "rouse", &mut script);
            out.text(&script, "script")
        }
        Command::Man { page } => out.text(&manual::pages(page).map_err(CommandFailure::output)?, "manual"),
        Command::Id { command } => registry::id(&connect().await?, out, command).await,
        Command::Status => show::status(&administer().await?, out).await,
        Command::Peers => show::peers(&administer().await?, out).await,
        Command::Routes { peer } => show::routes(&connect().await?, out, peer.as_deref()).await,
        Command::Send(send) => {
            send.check()?;
            message::send(&connect().await?, out, send).await
        }
        Command::Recv(recv) => recv::recv(&search, out, recv).await,
        Command::Request(request) => request::request(&connect().await?, out, request).await,
        Command::Serve(serve) => request::serve(&search, out, serve).await,
        Command::Ping(ping) => probe::ping(&connect().await?, out, ping).await,
        Command::Probe(probe) => stages::probe(&connect().await?, out, probe).await,
        Command::Bench(bench) => bench::bench(&connect().await?, out, bench).await,
        Command::Doctor => doctor::doctor(&search, out).await,
        Command::Trace { peer } => probe::trace(&connect().await?, out, &peer).await,
        Command::Peer { command } => registry::peer(&connect().await?, out, command).await,
        Command::Name { command } => registry::name(&connect().await?, out, command).await,
        Command::Mesh { command } => mesh::mesh(&search, out, command).await,
        Command::Api => api(connect().await?).await,
        Command::Inbox { command } => inbox::inbox(&connect().await?, out, command).await,
        Command::Outbox { command } => outbox::outbox(&connect().await?, out, command).await,
        Command::Watch => show::watch(&search, out).await,
        Command::Reload => {
            let notes = administer().await?.reload().await?;
            out.notice(&notes);
            out.json(&serde_json::json!({ "reloaded": true, "notes": notes }))
        }
        Command::Stop => stop(&administer().await?, out).await,
    }
}

/// Serves JSON-RPC on standard input and output.
async fn api(client: Client) -> Result<(), CommandFailure> {
    let (input, output) = (Unblock::new(std::io::stdin()), Unblock::new(std::io::stdout()));
    match api::serve(client, input, output, &LineBudget::default()).await {
        Ok(()) => Ok(()),
        Err(ApiEnd::Stopped) => Err(ClientError::Stopped.into()),
        Err(ApiEnd::Io(error)) => Err(CommandFailure::output(error)),
    }
}

/// Stops the daemon, and prints what is lost with it.
async fn stop(client: &Client, out: &Output) -> Result<(), CommandFailure> {
    let lost = client.stop().await?;
    if lost != Unfinished::default() {
        out.notice(&format!("messages lost with the daemon: {lost}"));
    }
    out.json(&serde_json::json!({ "stopped": true, "unread": lost.unread, "waiting": lost.waiting }))
}

#[cfg(test)]
mod tests;
