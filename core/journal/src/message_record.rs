//! The record of a message, in the outbox and in the inbox.

use bytes::Bytes;
use rouse_proto::types::{MessageId, Service, Timestamp};

use crate::error::StoreError;
use crate::record::{FieldReader, FieldWriter};

/// A message as it is stored. The body is borrowed, so that a list of messages copies none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MessageRecord<'a> {
    pub(crate) id: MessageId,
    pub(crate) sent_at: Timestamp,
    /// In the outbox, the age of the journal at which the message expires; in the inbox, the time of its arrival.
    pub(crate) time: u64,
    pub(crate) service: Service,
    pub(crate) in_reply_to: Option<MessageId>,
    pub(crate) body: &'a [u8],
}

impl<'a> MessageRecord<'a> {
    pub(crate) fn seal(&self, key: &[u8]) -> Vec<u8> {
        let mut fields = FieldWriter::default();
        fields.fixed(&self.id.0);
        fields.u64(self.sent_at.0);
        fields.u64(self.time);
        fields.bytes(self.service.as_str().as_bytes());
        fields.u8(u8::from(self.in_reply_to.is_some()));
        fields.fixed(&self.in_reply_to.unwrap_or(MessageId([0; 16])).0);
        fields.bytes(self.body);
        fields.seal(key)
    }

    pub(crate) fn unseal(key: &[u8], record: &'a [u8]) -> Result<Self, StoreError> {
        let mut fields = FieldReader::unseal(key, record)?;
        Self::read(&mut fields).ok_or_else(|| StoreError::damaged("a message lacks fields"))
    }

    fn read(fields: &mut FieldReader<'a>) -> Option<Self> {
        let (id, sent_at, time) = (MessageId(fields.fixed()?), Timestamp(fields.u64()?), fields.u64()?);
        let service = Service::new(std::str::from_utf8(fields.bytes()?).ok()?)?;
        let (is_reply, answered) = (fields.u8()? != 0, MessageId(fields.fixed()?));
        let body = fields.bytes()?;
        Some(MessageRecord { id, sent_at, time, service, in_reply_to: is_reply.then_some(answered), body })
    }

    pub(crate) fn body(&self) -> Bytes {
        Bytes::copy_from_slice(self.body)
    }
}

/// The id of the message with this sequence of this incarnation: the same at its sender and its recipient.
pub(crate) fn message_id(incarnation: u64, seq: u64) -> MessageId {
    MessageId(((u128::from(incarnation) << 64) | u128::from(seq)).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::MessageRecord;
    use rouse_proto::types::{MessageId, Service, Timestamp};

    #[test]
    fn a_record_has_all_fields_of_a_message() {
        let record = MessageRecord {
            id: MessageId([7; 16]),
            sent_at: Timestamp(1),
            time: 2,
            service: Service::new("größe").unwrap(),
            in_reply_to: Some(MessageId([9; 16])),
            body: b"body",
        };
        let plain =
            MessageRecord { service: Service::default(), in_reply_to: None, body: b"", ..record.clone() };
        for record in [record, plain] {
            assert_eq!(MessageRecord::unseal(b"key", &record.seal(b"key")).unwrap(), record);
        }
    }
}
