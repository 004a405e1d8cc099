//! The calls of a connection.

mod inbox;
mod outbox;
mod receive;
mod send;

use std::io;
use std::time::Duration;

use futures::io::AsyncWrite;
use futures::stream::StreamExt;
use rouse_core::Client;
use rouse_core::Outgoing;
use rouse_core::ipc::ClientError;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::document_writer::DocumentWriter;
use super::error::{ApiError, clip};
use super::held::HeldMessages;
use super::line_reader::WholeLine;
use super::params::{self, Nothing};
use super::streams::Streams;
use crate::cli::{address, json, message, probe, show, stages};
use crate::names;
use crate::units::milliseconds;

/// The methods, in the order of the reference.
const METHODS: &[&str] = &[
    "version",
    "id",
    "id.list",
    "id.new",
    "id.remove",
    "status",
    "peers",
    "routes",
    "send",
    "request",
    "outbox.list",
    "outbox.show",
    "outbox.cancel",
    "inbox.list",
    "inbox.dead",
    "inbox.peek",
    "inbox.revive",
    "inbox.discard",
    "receive.open",
    "receive.close",
    "ack",
    "nack",
    "ping",
    "trace",
    "probe",
    "peer.add",
    "peer.remove",
    "peer.list",
    "name.add",
    "name.remove",
    "name.list",
    "events.open",
    "events.close",
];

/// The longest id of a request, in bytes of JSON.
const MAX_ID: usize = 128;

/// The default time-out of `send`, and of each reply to `ping` and `probe`.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// A request. One without an id is a notification, which has no answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request<'a> {
    jsonrpc: String,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

impl<'a> Request<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(line).map_err(|_| ApiError::parse("the line is not UTF-8"))?;
        let request: Request<'_> = match serde_json::from_str(text) {
            Ok(request) => request,
            // A request with a wrong field is JSON all the same.
            Err(error) if error.is_data() => return Err(ApiError::request(params::plain(&error))),
            Err(error) => return Err(ApiError::parse(clip(&error.to_string()))),
        };
        if request.jsonrpc != "2.0" {
            return Err(ApiError::request("`jsonrpc` is \"2.0\""));
        }
        let is_plain =
            |id: &RawValue| id.get().len() <= MAX_ID && !id.get().starts_with(['{', '[', 't', 'f']);
        if !request.id.is_none_or(is_plain) {
            return Err(ApiError::request(format!("an id is a number or a text of at most {MAX_ID} bytes")));
        }
        Ok(request)
    }

    fn params<P: Deserialize<'a>>(&self) -> Result<P, ApiError> {
        params::read(self.params)
    }
}

/// The document of a result.
fn document(value: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    json::document(value).map_err(|error| ApiError::parse(clip(&error.to_string())))
}

/// The calls of a connection, with what they share.
pub(super) struct Calls<'a, W> {
    pub(super) client: &'a Client,
    pub(super) writer: &'a DocumentWriter<W>,
    pub(super) streams: Streams,
    held: HeldMessages,
}

impl<'a, W: AsyncWrite + Unpin + Send> Calls<'a, W> {
    pub(super) fn new(client: &'a Client, writer: &'a DocumentWriter<W>) -> Self {
        Calls { client, writer, streams: Streams::new(), held: HeldMessages::new() }
    }

    /// Refuses a request because too many are under way, without looking at its method.
    pub(super) async fn refuse(&self, line: WholeLine<'_>) -> io::Result<()> {
        let id = Request::parse(&line).ok().and_then(|request| request.id);
        self.writer.failure(id, &ApiError::busy("too many calls are under way")).await
    }

    /// Answers a line that is no request.
    pub(super) async fn skip(&self, error: ApiError) -> io::Result<()> {
        self.writer.failure(None, &error).await
    }

    /// Executes the request of a line, and answers it.
    pub(super) async fn answer(&self, line: WholeLine<'_>) -> io::Result<()> {
        let request = match Request::parse(&line) {
            Ok(request) => request,
            Err(error) => return self.writer.failure(None, &error).await,
        };
        match request.method.as_str() {
            "receive.open" => self.open_receiver(&request).await,
            "events.open" => self.open_events(&request).await,
            _ => {
                let result = self.call(&request).await;
                self.reply(&request, result).await
            }
        }
    }

    async fn reply(&self, request: &Request<'_>, result: Result<Vec<u8>, ApiError>) -> io::Result<()> {
        self.reply_to(request.id, result).await
    }

    async fn reply_to(&self, id: Option<&RawValue>, result: Result<Vec<u8>, ApiError>) -> io::Result<()> {
        match id {
            Some(id) => self.writer.answer(id, result).await,
            None => Ok(()),
        }
    }

    async fn call(&self, request: &Request<'_>) -> Result<Vec<u8>, ApiError> {
        match request.method.as_str() {
            "version" | "id" | "id.list" | "status" | "peers" | "peer.list" | "name.list" => {
                request.params::<Nothing>()?;
                self.inspect(&request.method).await
            }
            "routes" => {
                let routes = match request.params::<params::MaybePeerParams>()?.peer {
                    Some(peer) => self.client.routes_to(address::resolve(self.client, &peer).await?).await?,
                    None => self.client.routes().await?,
                };
                document(&routes)
            }
            "send" => self.send(request.params()?).await,
            "request" => self.request(request.params()?).await,
            "outbox.list" | "outbox.show" | "outbox.cancel" => self.outbox(request).await,
            "inbox.list" | "inbox.dead" | "inbox.peek" | "inbox.revive" | "inbox.discard" => {
                self.inbox(request).await
            }
            "ack" => {
                let message = self.held.take(&request.params()?)?.done();
                self.client.acknowledged().await?;
                document(&json!({ "acknowledged": message.id }))
            }
            "nack" => {
                let delivery = self.held.take(&request.params()?)?;
                document(&json!({ "given_back": delivery.message().id }))
            }
            "receive.close" => self.close_receiver(request.params()?).await,
            "events.close" => {
                let params::CloseSubscriptionParams { subscription } = request.params()?;
                match self.streams.close(subscription).await {
                    true => document(&json!({ "closed": subscription })),
                    false => Err(ApiError::not_found(format!("there is no subscription {subscription}"))),
                }
            }
            "ping" | "trace" | "probe" => self.reach(request).await,
            name if METHODS.contains(&name) => self.administer(request).await,
            name => Err(ApiError::method(&clip(name), names::nearest(name, METHODS.iter().copied()))),
        }
    }

    /// The calls without parameters that change nothing.
    async fn inspect(&self, method: &str) -> Result<Vec<u8>, ApiError> {
        let client = self.client;
        match method {
            "version" => document(&json!({ "version": client.version() })),
            "id" => document(&json!({ "address": client.address() })),
            "id.list" => document(&client.identities().await?),
            "status" => document(&client.status().await?),
            "peers" => document(&client.peers().await?),
            "peer.list" => document(&client.peer_list().await?),
            _ => document(&client.names().await?),
        }
    }

    /// The calls that change what the daemon keeps.
    async fn administer(&self, request: &Request<'_>) -> Result<Vec<u8>, ApiError> {
        let client = self.client;
        match request.method.as_str() {
            "id.new" => {
                let params::LabelParams { label } = request.params()?;
                document(&client.new_identity(label).await?)
            }
            "id.remove" => {
                let params::OwnAddressParams { address } = request.params()?;
                let address = address::resolve_own(client, &address).await?;
                client.remove_identity(&address).await?;
                document(&json!({ "removed": address }))
            }
            "peer.add" => {
                let params::UriParams { uri } = request.params()?;
                client.add_peer(&uri).await?;
                document(&json!({ "added": uri }))
            }
            "peer.remove" => {
                let params::UriParams { uri } = request.params()?;
                let link = client.remove_peer(&uri).await?;
                document(&json!({ "removed": uri, "link": link }))
            }
            "name.add" => {
                let params::NamedAddressParams { name, address } = request.params()?;
                let address = address::resolve_address(client, &address).await?;
                client.add_name(&name, &address).await?;
                document(&json!({ "added": name, "address": address }))
            }
            _ => {
                let params::NameParams { name } = request.params()?;
                client.remove_name(&name).await?;
                document(&json!({ "removed": name }))
            }
        }
    }

    /// The calls that look for a peer in the mesh.
    async fn reach(&self, request: &Request<'_>) -> Result<Vec<u8>, ApiError> {
        let client = self.client;
        match request.method.as_str() {
            "ping" => {
                let params::PingParams { peer, timeout } = request.params()?;
                let peer = address::resolve(client, &peer).await?;
                let pong = client.ping(&peer, timeout.map_or(REPLY_TIMEOUT, |time| time.0)).await?;
                document(&json!({ "rtt_ms": milliseconds(pong.rtt_us), "hops": pong.hops }))
            }
            "trace" => {
                let params::PeerParams { peer } = request.params()?;
                let peer = address::resolve(client, &peer).await?;
                let mut hops = Vec::new();
                let walked = probe::walk(client, peer, |hop| {
                    hops.push(hop);
                    Ok(())
                });
                match walked.await {
                    // A trace without any hop has nothing to show but its error.
                    Err(failure) if hops.is_empty() => Err(failure.into()),
                    _ => document(&hops),
                }
            }
            _ => {
                let params::ProbeParams { peer, deliver, timeout } = request.params()?;
                let timeout = timeout.map_or(REPLY_TIMEOUT, |time| time.0);
                document(&stages::report(client, &peer, deliver, timeout).await?)
            }
        }
    }

    async fn request(&self, params: params::RequestParams) -> Result<Vec<u8>, ApiError> {
        let client = self.client;
        let to = address::resolve(client, &params.peer).await?;
        let body = params::body(params.text, params.base64)?;
        let service = names::service(params.service.0.as_str()).map_err(ApiError::params)?;
        let mut message = Outgoing::new(to, body).service(service.as_str());
        if let Some(from) = &params.from {
            message = message.from(address::resolve_own(client, from).await?);
        }
        let timeout = params.timeout.map_or(SEND_TIMEOUT, |time| time.0);
        let answer = client.submit_request(message, timeout).await?;
        document(&message::ReceivedLine::of(&answer, None))
    }

    async fn open_events(&self, request: &Request<'_>) -> io::Result<()> {
        let opened = request.params::<Nothing>().and_then(|_| self.streams.begin());
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) => return self.reply(request, Err(error)).await,
        };
        let number = stream.number;
        let mut events = self.client.events();
        self.reply(request, document(&json!({ "subscription": number }))).await?;
        let work = async {
            while let Some((at, event)) = events.next().await {
                let event = show::Stamped { at, event: &event };
                self.writer
                    .notify("event", &InStream { subscription: Some(number), receiver: None, item: event })
                    .await?;
            }
            let error = ApiError::from(events.failure().cloned().unwrap_or(ClientError::Stopped));
            let closed =
                InStream { subscription: Some(number), receiver: None, item: json!({ "error": error }) };
            self.writer.notify("closed", &closed).await
        };
        stream.run(work).await
    }
}

/// An item of a stream, with the number of the stream.
#[derive(Serialize)]
struct InStream<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiver: Option<u64>,
    #[serde(flatten)]
    item: T,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_has_each_method_and_no_other() {
        let reference = include_str!("../../API.md");
        let sections: Vec<&str> = reference.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        let sorted = |mut all: Vec<&str>| {
            all.sort_unstable();
            all.join(" ")
        };
        assert_eq!(sorted(sections), sorted(METHODS.to_vec()));
    }
}
