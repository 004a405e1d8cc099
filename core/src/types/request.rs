//! The reasons for which a request has no answer.

use crate::address::Address;
use crate::types::{SendError, Service};
use crate::wire::codec::{Decode, Encode};

/// The reason for which a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// No program at the peer serves or reads the service.
    #[error("{peer} has no service {service:?}: no program serves it there")]
    NoSuchService {
        /// The recipient of the request.
        peer: Address,
        /// The service.
        service: Service,
    },
    /// The service could not serve the request.
    #[error("the service {service:?} of {peer} failed: {text}")]
    Failed {
        /// The recipient of the request.
        peer: Address,
        /// The service.
        service: Service,
        /// The cause, as the service describes it.
        text: String,
    },
    /// No answer arrived in time.
    #[error("no answer from {0} in time: it may be away or slow")]
    TimedOut(Address),
    /// Too many requests wait for their answers.
    #[error("too many requests wait for answers, the limit is {0}: wait for some of them")]
    TooMany(u64),
}
