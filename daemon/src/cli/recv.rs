//! `recv`, which prints messages or runs a command for each.

use std::cell::Cell;
use std::time::{Duration, Instant};

use async_io::Timer;
use rouse_core::ipc::{ClientError, ClientMailbox, Delivery, Search};
use rouse_core::{Address, Client, MessageId};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::args::Recv;
use super::child::{CommandOutput, UserCommand};
use super::failure::CommandFailure;
use super::message::{ReceivedLine, until};
use super::output::Output;
use super::{address, connect, reconnect};
use crate::text;
use crate::units;

/// The first and the longest pause after a command has failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The longest time that the end of the program waits for the disk of the daemon.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// The columns between the tab stops of a terminal.
const TAB_STOP: usize = 8;

/// A `recv` that runs, which may outlive a connection to the daemon.
struct Reception<'a> {
    out: &'a Output,
    options: &'a Recv,
    command: Option<UserCommand>,
    deadline: Option<Instant>,
    wanted: u64,
    got: Cell<u64>,
    /// The pause after the next failure of the command.
    pause: Cell<Duration>,
}

/// The JSON document of a message that a command has handled.
#[derive(Serialize)]
struct HandledLine<'a> {
    id: MessageId,
    from: Address,
    from_name: Option<&'a str>,
    bytes: usize,
    state: &'static str,
    error: Option<&'a str>,
    took_ms: f64,
}

pub(super) async fn recv(search: &Search, out: &Output, options: Recv) -> Result<(), CommandFailure> {
    let command = options.exec.as_ref().map(|text| UserCommand::shell(text, options.exec_timeout));
    let deadline = options.timeout.map(|timeout| Instant::now() + timeout);
    let wanted = if options.follow { u64::MAX } else { options.count.unwrap_or(1) };
    let (got, pause) = (Cell::new(0), Cell::new(FIRST_PAUSE));
    let reception = Reception { out, options: &options, command, deadline, wanted, got, pause };
    if !options.follow {
        return reception.run(&connect::connect(search).await?).await;
    }
    let work = async |client: Client| reception.run(&client).await;
    match reconnect::through_restarts(search, out, deadline, work).await {
        // The time was over while there was no daemon.
        Err(failure) if failure.has_timed_out() => reception.timed_out(),
        ended => ended,
    }
}

impl Reception<'_> {
    /// Receives over one connection.
    async fn run(&self, client: &Client) -> Result<(), CommandFailure> {
        let from = match &self.options.from {
            Some(from) => Some(address::resolve(client, from).await?),
            None => None,
        };
        let to = match &self.options.to {
            Some(to) => address::resolve_own(client, to).await?,
            None => client.address(),
        };
        let mailbox = client.mailbox(&to).service(self.options.service.as_str());
        let mailbox =
            mailbox.map_err(|error| CommandFailure::wrong(error.to_string(), "use a shorter name"))?;
        let result = self.receive(&mailbox, from.as_ref()).await;
        // The last acknowledgement, or the message that is given back, reaches the daemon.
        client.flush().await;
        if self.got.get() > 0 {
            self.settle(client).await;
        }
        result
    }

    /// Waits until the daemon has the acknowledgements on its disk, so that no message comes again once this program has ended.
    async fn settle(&self, client: &Client) {
        let failure = match until(Some(Instant::now() + SETTLE_TIMEOUT), client.acknowledged()).await {
            Some(Ok(())) => return,
            // With the connection, the daemon has ended, and `--follow` goes on with the next one.
            Some(Err(ClientError::Disconnected(_))) => return,
            Some(Err(error)) => error.to_string(),
            None => format!("its disk takes longer than {}", units::time(SETTLE_TIMEOUT)),
        };
        self.out.notice(&format!("the daemon may give the last messages again after a crash: {failure}"));
    }

    async fn receive(&self, mailbox: &ClientMailbox, from: Option<&Address>) -> Result<(), CommandFailure> {
        while self.got.get() < self.wanted {
            let Some(delivery) = until(self.deadline, mailbox.delivery(from)).await else {
                return self.timed_out();
            };
            self.handle(delivery?).await?;
        }
        Ok(())
    }

    fn timed_out(&self) -> Result<(), CommandFailure> {
        let (got, wanted) = (self.got.get(), self.wanted);
        if self.options.follow && got > 0 {
            return Ok(());
        }
        let text = match (self.options.follow, wanted) {
            (true, _) | (_, 1) => "no message arrived in time".to_owned(),
            _ => format!("{got} of {wanted} messages arrived in time"),
        };
        Err(CommandFailure::timed_out(text, ""))
    }

    /// Prints a message or runs the command for it. It is acknowledged only after that; otherwise the daemon puts it back
    /// at the head of its inbox.
    async fn handle(&self, delivery: Delivery) -> Result<(), CommandFailure> {
        if let Some(command) = &self.command {
            return self.execute(command, delivery).await;
        }
        print(self.out, &delivery, self.options.raw)?;
        self.done(delivery);
        Ok(())
    }

    fn done(&self, delivery: Delivery) {
        delivery.done();
        self.got.set(self.got.get() + 1);
        self.pause.set(FIRST_PAUSE);
    }

    async fn execute(&self, command: &UserCommand, delivery: Delivery) -> Result<(), CommandFailure> {
        let begun = Instant::now();
        let output = if self.out.is_json() { CommandOutput::Stderr } else { CommandOutput::Stdout };
        let message = delivery.message();
        let ran = command.run(message, delivery.from_name(), output).await;
        let error = ran.err();
        self.out.json(&HandledLine {
            id: message.id,
            from: message.from,
            from_name: delivery.from_name(),
            bytes: message.body.len(),
            state: if error.is_none() { "handled" } else { "given_back" },
            error: error.as_deref(),
            took_ms: begun.elapsed().as_secs_f64() * 1e3,
        })?;
        let Some(error) = error else {
            self.done(delivery);
            return Ok(());
        };
        let text = format!("message {} from {}: {error}", message.id, self.out.address(&message.from));
        drop(delivery);
        if !self.options.follow {
            let hint = "the message is back at the head of its inbox; with --follow it is handled again after a pause";
            return Err(CommandFailure::no("command_failed", text, hint));
        }
        let pause = self.pause.get();
        self.pause.set((pause * 2).min(LONGEST_PAUSE));
        self.out.notice(&format!("{text}; given back, and handled again after {}", units::time(pause)));
        // The deadline ends the wait for the next message.
        let _ = until(self.deadline, Timer::after(pause)).await;
        Ok(())
    }
}

fn print(out: &Output, delivery: &Delivery, raw: bool) -> Result<(), CommandFailure> {
    let message = delivery.message();
    if raw {
        return out.raw(&message.body);
    }
    if out.is_json() {
        return out.json(&ReceivedLine::of(message, delivery.from_name()));
    }
    // `line` would trim line ends, and those of a message belong to it.
    let sender = match delivery.from_name() {
        Some(name) => text::one_line(name).into_owned(),
        None => out.address(&message.from),
    };
    out.raw(received_line(&sender, &message.body, out.width()).as_bytes())
}

/// A message as a line: its sender, a tab, and its text. On a terminal the lines of the text after the first are indented;
/// in a pipe they are escaped, so that each line is one message.
fn received_line(sender: &str, body: &[u8], width: Option<usize>) -> String {
    let text = String::from_utf8_lossy(body);
    let Some(width) = width else { return format!("{sender}\t{}\n", text::one_field(&text)) };
    let column = (sender.width() / TAB_STOP + 1) * TAB_STOP;
    format!("{sender}\t{}\n", text::paragraph(&text, column, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_look_like_another_one() {
        let from = rouse_core::Identity::from_seed(&[1; 32]).address();
        let forged =
            format!("hi{}\n{from}\tpay me\r{from}\tpay me\u{2028}\u{202e}{from}\tpay me", " ".repeat(99));
        let starts = |line: &str| line.starts_with(&from.to_string()) || line.starts_with(&from.short());
        let piped = received_line(&from.to_string(), forged.as_bytes(), None);
        assert_eq!(piped.lines().count(), 1, "{piped}");
        assert_eq!(piped.matches('\t').count(), 1, "{piped}");
        for width in [20, 80, 200] {
            let shown = received_line(&from.short(), forged.as_bytes(), Some(width));
            assert_eq!(shown.lines().filter(|line| starts(line)).count(), 1, "{shown}");
            assert!(!shown.contains(['\r', '\u{2028}', '\u{202e}']), "{shown}");
        }
    }
}
