//! The target `text`: addresses, message ids and endpoints as users type them.

use std::fmt::Display;
use std::str::FromStr;

use rouse_proto::address::Address;
use rouse_proto::types::MessageId;

/// Reads a text as an address and as a message id. What reads is printed so that it reads as the same.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(address) = reads_again::<Address>(text) {
        assert!(address.to_string().eq_ignore_ascii_case(text.trim()), "two texts for one address");
        assert!(!address.short().is_empty());
    }
    reads_again::<MessageId>(text);
}

fn reads_again<T: FromStr + Display + PartialEq>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    assert!(value.to_string().parse().ok().as_ref() == Some(&value), "{text:?} reads otherwise when printed");
    Some(value)
}
