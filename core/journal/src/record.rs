//! The bytes of a record: a version, a checksum, and fields in a fixed order.
//!
//! The store below checks its own pages only when it repairs a file, so each record has a checksum over its key and its
//! fields. A later version may append fields: a reader ignores what follows those that it knows.

use crate::error::StoreError;

/// The version of the fields of all records.
const VERSION: u8 = 1;
const CHECKSUM: usize = 8;
const HEAD: usize = 1 + CHECKSUM;

fn checksum(version: u8, key: &[u8], fields: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[version]);
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(fields);
    let mut sum = [0; CHECKSUM];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

/// The fields of a record, one after the other.
#[derive(Debug)]
pub(crate) struct FieldWriter(Vec<u8>);

impl Default for FieldWriter {
    fn default() -> Self {
        FieldWriter(vec![0; HEAD])
    }
}

impl FieldWriter {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// Bytes whose length the reader knows.
    pub(crate) fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Bytes with their length.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.fixed(bytes);
    }

    /// The record that is stored under `key`.
    pub(crate) fn seal(self, key: &[u8]) -> Vec<u8> {
        self.seal_as(VERSION, key)
    }

    fn seal_as(mut self, version: u8, key: &[u8]) -> Vec<u8> {
        let (head, fields) = self.0.split_at_mut(HEAD);
        let sum = checksum(version, key, fields);
        if let [first, place @ ..] = head {
            *first = version;
            place.copy_from_slice(&sum);
        }
        self.0
    }

    /// The fields alone.
    #[cfg(test)]
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.split_off(HEAD)
    }
}

/// Reads the fields of a record. Each method returns `None` where the record ends too early.
#[derive(Debug)]
pub(crate) struct FieldReader<'a>(&'a [u8]);

impl<'a> FieldReader<'a> {
    #[cfg(test)]
    pub(crate) fn new(fields: &'a [u8]) -> Self {
        FieldReader(fields)
    }

    /// The fields of the record that is stored under `key`, or an error when it is damaged.
    pub(crate) fn unseal(key: &[u8], record: &'a [u8]) -> Result<Self, StoreError> {
        let (head, fields) =
            record.split_at_checked(HEAD).ok_or_else(|| StoreError::damaged("a record is too short"))?;
        match head {
            [version, sum @ ..] if *version >= VERSION && *sum == checksum(*version, key, fields) => {
                Ok(FieldReader(fields))
            }
            _ => Err(StoreError::damaged("a record has a wrong checksum")),
        }
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.fixed().map(u64::from_be_bytes)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{FieldReader, FieldWriter};

    fn record() -> Vec<u8> {
        let mut fields = FieldWriter::default();
        fields.u8(1);
        fields.u64(2);
        fields.bytes(b"three");
        fields.seal(b"key")
    }

    #[test]
    fn a_record_with_any_bit_changed_or_under_another_key_is_damaged() {
        let whole = record();
        assert!(FieldReader::unseal(b"key", &whole).is_ok());
        assert!(FieldReader::unseal(b"kex", &whole).is_err());
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(FieldReader::unseal(b"key", &damaged).is_err(), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(FieldReader::unseal(b"key", &whole[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_record_of_a_later_version_with_more_fields_is_read() {
        let mut fields = FieldWriter::default();
        fields.u8(1);
        fields.bytes(b"more");
        let later = fields.seal_as(9, b"key");
        assert_eq!(FieldReader::unseal(b"key", &later).unwrap().u8(), Some(1));
    }
}
