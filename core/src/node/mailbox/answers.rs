//! The way of each message that does not just wait in a mailbox.

use super::Mailbox;
use super::requests::RequestPlace;
use crate::types::{Message, MessageKind, Service};

/// The way of a message that has arrived.
pub(crate) enum Dispatch {
    /// It waits in a mailbox.
    Deliver(Message),
    /// It has answered a request.
    Answered,
    /// It answers no request that waits: the request has ended, or there was none.
    Unrequested(Message),
    /// It is a request for a service that no application has open.
    NoSuchService(Message),
}

impl Mailbox {
    /// Whether the way of a message depends on more than its service.
    pub(crate) fn needs_dispatch(message: &Message) -> bool {
        message.kind != MessageKind::Plain || message.in_reply_to.is_some()
    }

    /// Finds the way of a message. An answer is given to its request.
    pub(crate) fn dispatch(&self, message: Message) -> Dispatch {
        if message.kind == MessageKind::Request {
            return match self.is_open(&message.service) {
                true => Dispatch::Deliver(message),
                false => Dispatch::NoSuchService(message),
            };
        }
        let receipt = message.clone();
        match self.shared.requests.answer(message) {
            None => {
                self.mark_taken([&receipt]);
                Dispatch::Answered
            }
            Some(message)
                if message.kind == MessageKind::Plain && !self.shared.requests.is_over(&message) =>
            {
                Dispatch::Deliver(message)
            }
            Some(message) => Dispatch::Unrequested(message),
        }
    }

    /// Removes the requests that wait for a service which no application has open any more. They count as taken.
    pub(crate) fn take_unserved(&self, service: &Service) -> Vec<Message> {
        let unserved = self.shared.take_parked_requests(service);
        self.mark_taken(&unserved);
        unserved
    }

    /// A place for a request from this address; `None` when there are too many.
    pub(crate) fn request_place(&self) -> Option<RequestPlace> {
        self.shared.requests.place()
    }
}
