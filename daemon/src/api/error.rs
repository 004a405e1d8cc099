//! The errors of calls: a number of JSON-RPC, and the stable code, message and hint of the command line.

use rouse_core::ipc::{ClientError, ConnectError};
use serde::{Serialize, Serializer};
use serde_json::json;

use crate::cli::CommandFailure;

/// The line is not JSON.
const PARSE_ERROR: i32 = -32700;
/// The document is no request.
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
/// The call was executed and failed. The first number that the standard leaves to servers.
const FAILED: i32 = -32000;

/// The error of a call.
#[derive(Debug)]
pub(super) struct ApiError {
    number: i32,
    code: String,
    message: String,
    hint: String,
}

impl ApiError {
    fn new(number: i32, code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        ApiError { number, code: code.to_owned(), message: message.into(), hint: hint.into() }
    }

    pub(super) fn parse(message: impl Into<String>) -> Self {
        Self::new(PARSE_ERROR, "parse", message, "each line is one JSON document")
    }

    pub(super) fn request(message: impl Into<String>) -> Self {
        let hint = r#"a request is {"jsonrpc": "2.0", "id": 1, "method": "status", "params": {}}"#;
        Self::new(INVALID_REQUEST, "request", message, hint)
    }

    pub(super) fn method(name: &str, near: Option<&str>) -> Self {
        let hint = near.map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
        Self::new(METHOD_NOT_FOUND, "method", format!("there is no method `{name}`"), hint)
    }

    pub(super) fn params(message: impl Into<String>) -> Self {
        Self::new(INVALID_PARAMS, "params", message, "")
    }

    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self::new(FAILED, "busy", message, "wait for answers before you make more calls")
    }

    /// A bound of the connection that only the program can make room within.
    pub(super) fn full(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(FAILED, "busy", message, hint)
    }

    /// A receiver, a subscription or a message that the connection does not have.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(FAILED, "not_found", message, "")
    }
}

/// The beginning of a text that may come from the peer and have any length.
pub(super) fn clip(text: &str) -> String {
    const MAX: usize = 200;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl From<CommandFailure> for ApiError {
    fn from(failure: CommandFailure) -> Self {
        Self::new(FAILED, failure.code(), failure.message(), failure.hint())
    }
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        CommandFailure::from(error).into()
    }
}

impl From<ConnectError> for ApiError {
    fn from(error: ConnectError) -> Self {
        CommandFailure::from(error).into()
    }
}

impl Serialize for ApiError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hint = Some(&self.hint).filter(|hint| !hint.is_empty());
        let data = json!({ "code": self.code, "hint": hint });
        json!({ "code": self.number, "message": self.message, "data": data }).serialize(serializer)
    }
}
