//! Who is meant: an address, or a name for one.

use rouse_core::{Address, Client};

use super::failure::CommandFailure;
use crate::names;

/// Whether this is to be read as an address: then a typing error is one in an address.
fn looks_like_address(text: &str) -> bool {
    text.trim().get(..6).is_some_and(|head| head.eq_ignore_ascii_case("rouse1"))
}

/// An address, which may not be a name.
pub(super) fn parse(text: &str) -> Result<Address, CommandFailure> {
    text.parse().map_err(|error| CommandFailure::bad_address(text, &error))
}

/// The address that `text` is, or that the address book has for it.
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

/// The same for one of the node's own addresses, which may also be known by its label.
pub(super) async fn resolve_own(client: &Client, text: &str) -> Result<Address, CommandFailure> {
    if !looks_like_address(text) {
        let identities = client.identities().await?;
        if let Some(found) = identities.iter().find(|identity| identity.label.as_deref() == Some(text)) {
            return Ok(found.address);
        }
    }
    resolve(client, text).await
}
