//! Receivers: messages as they come, each of which stays in its inbox until it is acknowledged.

use std::io;

use futures::io::AsyncWrite;
use rouse_core::Address;
use rouse_core::ipc::{ClientError, ClientMailbox, Delivery};
use serde_json::json;

use super::{Calls, InStream, Request, document};
use crate::api::error::ApiError;
use crate::api::params;
use crate::cli::{address, message};

/// The messages of a receiver that may wait for their acknowledgement, unless it names another number.
const DEFAULT_LIMIT: usize = 64;

/// The greatest such number.
const MAX_LIMIT: usize = 1024;

/// The parameters of a receiver, looked up.
struct Receiving {
    mailbox: ClientMailbox,
    from: Option<Address>,
    limit: usize,
}

impl<W: AsyncWrite + Unpin + Send> Calls<'_, W> {
    pub(super) async fn open_receiver(&self, request: &Request<'_>) -> io::Result<()> {
        let receiving = self.receiving(request).await;
        let opened = receiving.and_then(|receiving| Ok((receiving, self.streams.begin()?)));
        let (receiving, mut stream) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.reply(request, Err(error)).await,
        };
        let number = stream.number;
        self.reply(request, document(&json!({ "receiver": number }))).await?;
        let received = stream.run(self.receive(number, &receiving)).await;
        // Before the stream counts as closed, so that its messages are back when that is answered.
        self.held.give_back(number);
        received
    }

    async fn receiving(&self, request: &Request<'_>) -> Result<Receiving, ApiError> {
        let params::OpenReceiverParams { from, to, service, limit } = request.params()?;
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(ApiError::params(format!("`limit` is from 1 to {MAX_LIMIT}")));
        }
        let client = self.client;
        let from = match from {
            Some(from) => Some(address::resolve(client, &from).await?),
            None => None,
        };
        let to = match to {
            Some(to) => address::resolve_own(client, &to).await?,
            None => client.address(),
        };
        let mailbox = client.mailbox(&to).service(service.0.as_str());
        let mailbox = mailbox.map_err(|error| ApiError::params(error.to_string()))?;
        Ok(Receiving { mailbox, from, limit })
    }

    /// Delivers messages until the stream is closed or fails.
    async fn receive(&self, number: u64, receiving: &Receiving) -> io::Result<()> {
        let Receiving { mailbox, from, limit } = receiving;
        loop {
            let room = self.held.room(number, *limit).await;
            match mailbox.deliveries(from.as_ref(), room).await {
                Ok(deliveries) => self.deliver(number, deliveries).await?,
                Err(error) => return self.end(number, error).await,
            }
        }
    }

    async fn deliver(&self, number: u64, deliveries: Vec<Delivery>) -> io::Result<()> {
        // Dropped from the last to the first, so that they go back in their order.
        let mut left: Vec<Delivery> = deliveries.into_iter().rev().collect();
        while let Some(delivery) = left.pop() {
            let (message, from_name) = (delivery.message().clone(), delivery.from_name().map(str::to_owned));
            // It is held before it is written, since the acknowledgement may come at once.
            self.held.hold(number, delivery);
            let item = message::ReceivedLine::of(&message, from_name.as_deref());
            self.writer
                .notify("message", &InStream { subscription: None, receiver: Some(number), item })
                .await?;
        }
        Ok(())
    }

    async fn end(&self, number: u64, error: ClientError) -> io::Result<()> {
        let item = json!({ "error": ApiError::from(error) });
        self.writer.notify("closed", &InStream { subscription: None, receiver: Some(number), item }).await
    }

    pub(super) async fn close_receiver(
        &self,
        which: params::CloseReceiverParams,
    ) -> Result<Vec<u8>, ApiError> {
        let params::CloseReceiverParams { receiver } = which;
        match self.streams.close(receiver).await {
            true => document(&json!({ "closed": receiver })),
            false => Err(ApiError::not_found(format!("there is no receiver {receiver}"))),
        }
    }
}
