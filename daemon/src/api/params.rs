//! The parameters of calls.

use std::time::Duration;

use base64::Engine;
use rouse_core::{MAX_MESSAGE, MessageId, Service};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_json::value::RawValue;

use super::error::{ApiError, clip};
use crate::{names, units};

/// A time: a number of seconds, or a text such as `"500ms"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub(super) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeVisitor;
        impl Visitor<'_> for TimeVisitor {
            type Value = Time;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time, as a number of seconds or a text like \"500ms\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                units::duration(text).map(Time).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Time, E> {
                Ok(Time(Duration::from_secs(seconds)))
            }
            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Time, E> {
                Duration::try_from_secs_f64(seconds).map(Time).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(TimeVisitor)
    }
}

/// Reads the parameters of a call. A call without parameters has empty ones.
pub(super) fn read<'a, P: serde::Deserialize<'a>>(params: Option<&'a RawValue>) -> Result<P, ApiError> {
    let text = params.map_or("{}", RawValue::get);
    if !text.starts_with('{') {
        return Err(ApiError::params("the parameters of a call are an object, in which each has its name"));
    }
    serde_json::from_str(text).map_err(|error| ApiError::params(plain(&error)))
}

/// The text of an error without the place, which counts from the beginning of the parameters and not of the line.
pub(super) fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    clip(text.rsplit_once(" at line ").map_or(&*text, |(text, _)| text))
}

/// No parameters.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The body of a message.
pub(super) fn body(text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, ApiError> {
    let bytes = match (text, base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(base64)) => base64::engine::general_purpose::STANDARD
            .decode(base64)
            .map_err(|error| ApiError::params(format!("base64: {error}")))?,
        _ => return Err(ApiError::params("a message has either `text` or `base64`")),
    };
    match bytes.len() > MAX_MESSAGE {
        true => Err(ApiError::params(format!("a message has at most {MAX_MESSAGE} bytes"))),
        false => Ok(bytes),
    }
}

/// The name of a service, which is visible as on the command line.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceName(pub(super) Service);

impl<'de> Deserialize<'de> for ServiceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        names::mailbox(&text).map(ServiceName).map_err(de::Error::custom)
    }
}

/// The state of a message that `send` waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WaitFor {
    #[default]
    Queued,
    Delivered,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SendParams {
    pub(super) peer: String,
    pub(super) text: Option<String>,
    pub(super) base64: Option<String>,
    #[serde(rename = "as")]
    pub(super) from: Option<String>,
    pub(super) service: Option<ServiceName>,
    pub(super) in_reply_to: Option<MessageId>,
    pub(super) ttl: Option<Time>,
    #[serde(default)]
    pub(super) volatile: bool,
    #[serde(default)]
    pub(super) wait: WaitFor,
    pub(super) timeout: Option<Time>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestParams {
    pub(super) peer: String,
    pub(super) service: ServiceName,
    pub(super) text: Option<String>,
    pub(super) base64: Option<String>,
    #[serde(rename = "as")]
    pub(super) from: Option<String>,
    pub(super) timeout: Option<Time>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenReceiverParams {
    pub(super) from: Option<String>,
    #[serde(rename = "as")]
    pub(super) to: Option<String>,
    #[serde(default)]
    pub(super) service: ServiceName,
    /// The most messages that wait for their acknowledgement.
    pub(super) limit: Option<usize>,
}

/// A message that was delivered, by its id; and by its sender, when two of them use the same id.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveredParams {
    pub(super) id: MessageId,
    pub(super) from: Option<rouse_core::Address>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CloseReceiverParams {
    pub(super) receiver: u64,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CloseSubscriptionParams {
    pub(super) subscription: u64,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeerParams {
    pub(super) peer: String,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaybePeerParams {
    pub(super) peer: Option<String>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PingParams {
    pub(super) peer: String,
    pub(super) timeout: Option<Time>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProbeParams {
    pub(super) peer: String,
    #[serde(default)]
    pub(super) deliver: bool,
    pub(super) timeout: Option<Time>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UriParams {
    pub(super) uri: String,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NameParams {
    pub(super) name: String,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedAddressParams {
    pub(super) name: String,
    pub(super) address: String,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LabelParams {
    pub(super) label: Option<String>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnAddressParams {
    pub(super) address: String,
}

/// A message by its id.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitingParams {
    pub(super) id: MessageId,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutboxParams {
    /// The most messages to list.
    pub(super) limit: Option<usize>,
}
