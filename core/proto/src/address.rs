//! Addresses: the public keys that name senders and recipients.

use std::fmt;
use std::str::FromStr;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::wire::codec::{Decode, Encode};

const HRP: Hrp = Hrp::parse_unchecked("rouse");

/// The address of a node: a 32-byte ed25519 public key (RFC 8032). Nothing else is needed to send to it.
///
/// Its text form is [bech32m](https://github.com/bitcoin/bips/blob/master/bip-0350.mediawiki) (BIP 350) with
/// the prefix `rouse`: 64 characters, with a checksum that finds every error of up to four characters.
/// It orders and compares as its bytes.
///
/// ```
/// use rouse_proto::address::Address;
/// use rouse_proto::identity::Identity;
///
/// let address = Identity::generate().address();
/// let text = address.to_string();
/// assert!(text.starts_with("rouse1"));
/// assert_eq!(text.parse::<Address>().unwrap(), address);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Address([u8; 32]);

impl Address {
    /// The address with these bytes. They are not checked here, since most uses only compare them: the verification of a link or
    /// of a signature fails when they are not a point on the curve.
    #[inline]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Address(bytes)
    }

    /// The key's bytes.
    #[inline]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve and the last four characters of the text form: enough for a reader of a log to
    /// distinguish addresses, not enough to send to.
    pub fn short(&self) -> String {
        let text = self.to_string();
        match (text.get(..12), text.get(text.len().saturating_sub(4)..)) {
            (Some(head), Some(tail)) => format!("{head}…{tail}"),
            _ => text,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 32 bytes never exceed the length limit of bech32m, the only error there is.
        let text = bech32::encode::<Bech32m>(HRP, &self.0).map_err(|_| fmt::Error)?;
        f.pad(&text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// The reason for which a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It does not begin as an address does.
    #[error("an address begins with `rouse1`, this does not")]
    Prefix,
    /// A character was mistyped, lost or added.
    #[error("the checksum of this address is wrong: a character is mistyped or missing")]
    Checksum,
    /// It is well formed, but not 32 bytes long.
    #[error("an address holds 32 bytes, this holds {0}")]
    Length(usize),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if !text.get(..6).is_some_and(|head| head.eq_ignore_ascii_case("rouse1")) {
            return Err(AddressError::Prefix);
        }
        let checked = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| AddressError::Checksum)?;
        let bytes: Vec<u8> = checked.byte_iter().collect();
        let length = bytes.len();
        bytes.try_into().map(Address).map_err(|_| AddressError::Length(length))
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_of_a_known_key_is_fixed() {
        let address = Address([7; 32]);
        let text = address.to_string();
        assert_eq!(text.len(), 64);
        assert_eq!(text.parse(), Ok(address));
        assert_eq!(text.to_uppercase().parse(), Ok(address));
        assert_eq!(format!(" {text}\n").parse(), Ok(address));
    }

    #[test]
    fn every_mistyped_character_is_found() {
        let text = Address([9; 32]).to_string();
        for at in 6..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'q' { b'p' } else { b'q' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert_eq!(wrong.parse::<Address>(), Err(AddressError::Checksum), "at {at}");
        }
    }

    #[test]
    fn a_text_that_is_no_address_is_refused_with_the_reason() {
        assert_eq!("bob".parse::<Address>(), Err(AddressError::Prefix));
        assert_eq!("rouse1é".parse::<Address>(), Err(AddressError::Checksum));
        let short = bech32::encode::<Bech32m>(HRP, &[1; 20]).unwrap();
        assert_eq!(short.parse::<Address>(), Err(AddressError::Length(20)));
    }

    #[test]
    fn json_holds_the_text_form() {
        let address = Address([3; 32]);
        let json = serde_json::to_string(&address).unwrap();
        assert_eq!(json, format!("\"{address}\""));
        assert_eq!(serde_json::from_str::<Address>(&json).unwrap(), address);
    }
}
