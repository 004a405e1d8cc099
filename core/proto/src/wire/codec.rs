//! The codec: the only file that names bincode, so that the library can be replaced without touching the formats.
//!
//! Values are written with fixed-size little-endian integers; lengths are `u64`. Reading is always bounded by
//! [`MAX_VALUE`], so that a hostile length allocates nothing, and must consume the whole input.

use bincode::config::{self, Configuration, Fixint, Limit, LittleEndian};
pub use bincode::de::{BorrowDecoder, Decoder};
pub use bincode::enc::Encoder;
pub use bincode::error::{DecodeError, EncodeError};
pub use bincode::{BorrowDecode, Decode, Encode};

/// The most memory that decoding one value may claim, in bytes. Since lengths come from the wire, an unbounded one would let a
/// remote node exhaust the memory.
pub const MAX_VALUE: usize = 32 << 20;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<MAX_VALUE>> =
    config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<MAX_VALUE>();

/// The error of bytes that do not encode a value of the expected type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed")]
pub struct Malformed;

/// Appends the encoding of `value` to `out`.
pub fn encode_into<T: Encode>(value: &T, out: &mut Vec<u8>) -> Result<(), Malformed> {
    struct Append<'a>(&'a mut Vec<u8>);
    impl bincode::enc::write::Writer for Append<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }
    bincode::encode_into_writer(value, Append(out), CONFIG).map_err(|_| Malformed)
}

/// The encoding of `value`.
pub fn encode<T: Encode>(value: &T) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::new();
    encode_into(value, &mut out)?;
    Ok(out)
}

/// Reads a value that fills `bytes` exactly. It may borrow from them.
pub fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, Malformed> {
    match decode_prefix(bytes)? {
        (value, []) => Ok(value),
        _ => Err(Malformed),
    }
}

/// Reads a value from the head of `bytes`; returns it and the rest.
pub fn decode_prefix<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), Malformed> {
    let (value, used) = bincode::borrow_decode_from_slice(bytes, CONFIG).map_err(|_| Malformed)?;
    bytes.get(used..).map(|rest| (value, rest)).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Encode, BorrowDecode, PartialEq, Debug)]
    struct Sample<'a> {
        a: u16,
        b: &'a [u8],
    }

    #[test]
    fn integers_are_fixed_and_little_endian() {
        let sample = Sample { a: 0x0102, b: b"xy" };
        let bytes = encode(&sample).unwrap();
        assert_eq!(bytes, [2, 1, 2, 0, 0, 0, 0, 0, 0, 0, b'x', b'y']);
        assert_eq!(decode::<Sample>(&bytes), Ok(sample));
    }

    #[test]
    fn a_hostile_length_is_refused_before_anything_is_allocated() {
        for length in [3u64, 1 << 20, 1 << 40, u64::MAX] {
            let mut bytes = vec![2, 1];
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(b"xy");
            assert_eq!(decode::<Sample>(&bytes), Err(Malformed));
            assert_eq!(decode::<(u16, Vec<u8>)>(&bytes), Err(Malformed));
            assert_eq!(decode::<(u16, String)>(&bytes), Err(Malformed));
        }
    }

    #[test]
    fn left_over_bytes_are_refused() {
        let mut bytes = encode(&7u32).unwrap();
        bytes.push(0);
        assert_eq!(decode::<u32>(&bytes), Err(Malformed));
        assert_eq!(decode_prefix::<u32>(&bytes), Ok((7, &[0u8][..])));
    }
}
