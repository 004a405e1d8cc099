//! The resolution of an argument to an address: an address itself, its shortened form, or a name or label for one.

use std::collections::BTreeSet;

use rouse_core::{Address, Client};

use super::failure::CommandFailure;
use crate::names;

const PREFIX: &str = "rouse1";

/// The fewest characters of an address before and after the gap of its shortened form. Fewer would be easy to find by
/// trial for another node that wants to be taken for this one.
const MIN_PART: usize = 4;

/// Whether a text is meant as an address, so that a typing error is reported as one in an address and not as an unknown
/// name.
pub(super) fn looks_like_address(text: &str) -> bool {
    text.trim().get(..PREFIX.len()).is_some_and(|head| head.eq_ignore_ascii_case(PREFIX))
}

/// The beginning and the end of a shortened address, `rouse1abcd…wxyz` or `rouse1abcd...wxyz`.
fn parts(text: &str) -> Option<(String, String)> {
    let text = text.trim().to_ascii_lowercase();
    let (head, tail) = text.split_once('…').or_else(|| text.split_once(".."))?;
    Some((head.to_owned(), tail.trim_start_matches('.').to_owned()))
}

/// The one of the addresses that has the shortened form `text`.
fn expand(
    text: &str,
    (head, tail): (String, String),
    known: &BTreeSet<Address>,
) -> Result<Address, CommandFailure> {
    if head.len() < PREFIX.len() + MIN_PART || tail.len() < MIN_PART {
        return Err(CommandFailure::short_address(text));
    }
    let fits = |address: &&Address| {
        let full = address.to_string();
        full.len() > head.len() + tail.len() && full.starts_with(&head) && full.ends_with(&tail)
    };
    only(text, &known.iter().filter(fits).collect::<Vec<_>>())
}

/// The only address that was found for `text`.
fn only(text: &str, found: &[&Address]) -> Result<Address, CommandFailure> {
    match found {
        [address] => Ok(**address),
        [] => Err(CommandFailure::unknown_short_address(text)),
        _ => Err(CommandFailure::ambiguous_address(text, found)),
    }
}

/// The addresses that the daemon knows: its own, those with a name, those with a route and the neighbours.
async fn known(client: &Client) -> Result<BTreeSet<Address>, CommandFailure> {
    let mut known: BTreeSet<Address> =
        client.identities().await?.iter().map(|identity| identity.address).collect();
    known.extend(client.names().await?.iter().map(|name| name.address));
    known.extend(client.routes().await?.iter().map(|route| route.destination));
    known.extend(client.peers().await?.iter().filter_map(|peer| peer.address));
    Ok(known)
}

/// The address `text`, in full or shortened, where no name is accepted.
pub(crate) async fn resolve_address(client: &Client, text: &str) -> Result<Address, CommandFailure> {
    match parts(text).filter(|_| looks_like_address(text)) {
        Some(parts) => expand(text, parts, &known(client).await?),
        None => text.parse().map_err(|error| CommandFailure::bad_address(text, &error)),
    }
}

/// The address `text`, or the address that the address book has for the name `text`.
pub(crate) async fn resolve(client: &Client, text: &str) -> Result<Address, CommandFailure> {
    if looks_like_address(text) {
        return resolve_address(client, text).await;
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
pub(crate) async fn resolve_own(client: &Client, text: &str) -> Result<Address, CommandFailure> {
    if looks_like_address(text) {
        return resolve_address(client, text).await;
    }
    let identities = client.identities().await?;
    if let Some(found) = identities.iter().find(|identity| identity.label.as_deref() == Some(text)) {
        return Ok(found.address);
    }
    let names = client.names().await?;
    let named = names.iter().find(|info| info.name == text);
    named.map(|info| info.address).ok_or_else(|| CommandFailure::unknown_identity(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rouse_core::Identity;

    fn expand_among(text: &str, known: &[Address]) -> Result<Address, u8> {
        let parts = parts(text).expect("it is a shortened address");
        expand(text, parts, &known.iter().copied().collect()).map_err(|failure| failure.exit_code())
    }

    #[test]
    fn a_shortened_address_stands_for_the_only_one_that_has_it() {
        let [first, second] = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]).address());
        assert_eq!(expand_among(&first.short(), &[first, second]), Ok(first));
        assert_eq!(
            expand_among(&first.short().replace('…', "...").to_uppercase(), &[first, second]),
            Ok(first)
        );
        assert_eq!(expand_among(&first.short(), &[second]), Err(2));
        assert_eq!(expand_among("rouse1abc…wxyz", &[first]), Err(2), "too short to distinguish addresses");
    }

    #[test]
    fn a_shortened_address_that_several_have_is_refused() {
        let [first, second] = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]).address());
        let failure = only("rouse1abcd…wxyz", &[&first, &second]).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
    }
}
