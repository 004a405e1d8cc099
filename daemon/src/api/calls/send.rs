//! Messages to send. Their sending is begun in the order of their lines, and each is then waited for by itself.

use std::io;
use std::time::Instant;

use futures::future::{BoxFuture, FutureExt};
use futures::io::AsyncWrite;
use rouse_core::ipc::{ClientError, ClientSent};
use rouse_core::{Address, Client, Outgoing, SendError};
use serde_json::value::RawValue;

use super::{Calls, Request, SEND_TIMEOUT, document};
use crate::api::error::ApiError;
use crate::api::line_reader::WholeLine;
use crate::api::params::{self, WaitFor};
use crate::cli::{address, message};

/// A message that is on its way to the daemon.
struct BegunSend {
    peer: String,
    to: Address,
    wait: WaitFor,
    deadline: Option<Instant>,
    accepted: BoxFuture<'static, Result<ClientSent, ClientError>>,
}

impl<W: AsyncWrite + Unpin + Send> Calls<'_, W> {
    /// Whether a line may be a call of `send`. It is parsed only where it may be, since other calls begin in any order.
    pub(in crate::api) fn may_send(line: &[u8]) -> bool {
        const METHOD: &[u8] = b"\"send\"";
        line.windows(METHOD.len()).any(|part| part == METHOD)
    }

    /// Begins the call of a line, and returns the rest of it. That of `send` has begun when the daemon gets its message before
    /// those whose sending is begun later.
    pub(in crate::api) async fn begin_send<'a>(
        &'a self,
        line: WholeLine<'a>,
    ) -> BoxFuture<'a, io::Result<()>> {
        let (id, begun) = match Request::parse(&line) {
            Ok(request) if request.method == "send" => {
                let begun = match request.params() {
                    Ok(params) => self.begin(params).await,
                    Err(error) => Err(error),
                };
                (request.id.map(RawValue::to_owned), begun)
            }
            _ => return self.answer(line).boxed(),
        };
        let rest = async move {
            let result = match begun {
                Ok(begun) => finish(self.client, begun).await,
                Err(error) => Err(error),
            };
            self.reply_to(id.as_deref(), result).await
        };
        rest.boxed()
    }

    /// Sends a message without regard to those of other lines.
    pub(super) async fn send(&self, send: params::SendParams) -> Result<Vec<u8>, ApiError> {
        finish(self.client, self.begin(send).await?).await
    }

    async fn begin(&self, send: params::SendParams) -> Result<BegunSend, ApiError> {
        let client = self.client;
        let to = address::resolve(client, &send.peer).await?;
        let mut message = Outgoing::new(to, params::body(send.text, send.base64)?);
        if let Some(from) = &send.from {
            message = message.from(address::resolve_own(client, from).await?);
        }
        if let Some(params::ServiceName(service)) = &send.service {
            message = message.service(service.as_str());
        }
        if let Some(id) = send.in_reply_to {
            message = message.in_reply_to(id);
        }
        if let Some(ttl) = send.ttl {
            message = message.ttl(ttl.0);
        }
        if send.volatile {
            message = message.volatile();
        }
        let deadline = Some(Instant::now() + send.timeout.map_or(SEND_TIMEOUT, |time| time.0));
        match message::until(deadline, client.begin_send(message)).await {
            Some(accepted) => {
                let accepted = accepted?.boxed();
                Ok(BegunSend { peer: send.peer, to, wait: send.wait, deadline, accepted })
            }
            None => Err(message::no_room(client, &send.peer, &to).await.into()),
        }
    }
}

/// Waits until a message is accepted, or delivered if that was requested.
async fn finish(client: &Client, begun: BegunSend) -> Result<Vec<u8>, ApiError> {
    let BegunSend { peer, to, wait, deadline, accepted } = begun;
    let Some(sent) = message::until(deadline, accepted).await else {
        return Err(message::no_room(client, &peer, &to).await.into());
    };
    let sent = sent?;
    let mut line = message::SentLine::queued(&sent);
    if wait == WaitFor::Delivered {
        match message::until(deadline, sent.delivered()).await {
            Some(Ok(receipt)) => {
                line.delivered(&receipt);
            }
            Some(Err(ClientError::Send(SendError::Expired(_)))) => line.state = "expired",
            Some(Err(ClientError::Send(SendError::Unknown(_)))) => line.state = "unknown",
            Some(Err(error)) => return Err(error.into()),
            // It is still on its way.
            None => {}
        }
    }
    document(&line)
}
