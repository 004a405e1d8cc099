//! The resolution of an argument to an address: an address itself, or a name or label for one.

use rouse_core::{Address, Client};

use super::failure::CommandFailure;
use crate::names;

/// Whether a text is meant as an address, so that a typing error is reported as one in an address and not as an unknown
/// name.
fn looks_like_address(text: &str) -> bool {
    text.trim().get(..6).is_some_and(|head| head.eq_ignore_ascii_case("rouse1"))
}

/// Parses an address where no name is accepted.
pub(super) fn parse(text: &str) -> Result<Address, CommandFailure> {
    text.parse().map_err(|error| CommandFailure::bad_address(text, &error))
}

/// The address `text`, or the address that the address book has for the name `text`.
pub(super) async fn resolve(client: &Client, text: &str) -> Result<Address, CommandFailure> {
    if looks_like_address(text) {
        return parse(text);
    }
    let names = client.names().await?;
    match names.iter().find(|info| info.name == text) {
        Some(info) => Ok(info.address),
        None => Err(CommandFailure::unknown_name(
            text,
            names::nearest(text, names.iter().map(|info| info.name.as_str())),
        )),
    }
}

/// One of the node's own addresses: the address `text`, or the one with this label or name.
pub(super) async fn resolve_own(client: &Client, text: &str) -> Result<Address, CommandFailure> {
    if !looks_like_address(text) {
        let identities = client.identities().await?;
        if let Some(found) = identities.iter().find(|identity| identity.label.as_deref() == Some(text)) {
            return Ok(found.address);
        }
    }
    resolve(client, text).await
}
