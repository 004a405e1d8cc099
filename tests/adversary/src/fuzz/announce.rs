//! Records of the route layer, and the signatures of announces.

use crate::fuzz::records::signed;
use crate::fuzz::script::Script;
use rouse_proto::identity::{self, Identity};
use rouse_proto::wire::route::{
    MAX_EXTENSIONS, MAX_IDX, OptionalFields, Record, RouteAttributes, SignedAnnounce,
};

/// First byte of a script: records, byte by byte.
pub(crate) const RECORDS: u8 = 0;
/// An announce with every field, signed; then one bit of it is another.
pub(crate) const ALTERED: u8 = 1;
const KINDS: u8 = 2;

/// Reads records; signs, alters and verifies announces.
///
/// A record that decodes encodes to the same bytes, and a number that is out of bounds does not decode. A signature holds for the
/// signed bytes, and for none that differ from them in a single bit.
pub fn announce(data: &[u8]) {
    let mut script = Script::new(data);
    match script.u8() % KINDS {
        RECORDS => records(script.rest()),
        _ => altered(&mut script),
    }
}

fn records(mut bytes: &[u8]) {
    while let Ok((record, rest)) = Record::decode(bytes) {
        let (taken, _) = bytes.split_at(bytes.len() - rest.len());
        assert!(!taken.is_empty());
        if let Record::Reserved { .. } = record {
            // The content of reserved records is skipped, so it cannot be compared.
            bytes = rest;
            continue;
        }
        let mut again = Vec::new();
        record.encode(&mut again).expect("what was read encodes");
        assert_eq!(again, taken, "a record that is written otherwise than it was read");
        assert_eq!(Record::decode(&again), Ok((record.clone(), &[][..])));
        if let Some(last) = taken.len().checked_sub(1) {
            // Cut short it is not another record.
            assert!(Record::decode(&taken[..last]).is_err());
        }
        if let Record::Announce(announce, _) | Record::YourHighest(announce) = &record {
            // Nearly nothing that is made up is signed, so that it is read is all there is to see.
            let _ = verifies(announce);
        }
        bytes = rest;
    }
}

fn verifies(announce: &SignedAnnounce) -> bool {
    let signed = announce.signed().expect("what was read encodes");
    identity::verify_all(&[(&announce.dst, &signed, &announce.signature)]) == [true]
}

fn altered(script: &mut Script<'_>) {
    let identity = Identity::from_seed(&[script.u8(); 32]);
    let extensions = script.bytes();
    let mut announce = signed(0, 1, 1);
    announce.dst = identity.address();
    announce.seq = script.u64();
    announce.lifetime = script.u16();
    announce.caps = script.u16();
    let optional = OptionalFields {
        prekey_id: script.u16(),
        prekey: [script.u8(); 32],
        extensions: extensions.get(..MAX_EXTENSIONS).unwrap_or(extensions).into(),
    };
    announce.optional = (optional != OptionalFields::default()).then(|| Box::new(optional));
    announce.signature = identity.sign(&announce.signed().expect("extensions within their bound"));
    assert!(verifies(&announce));

    let attributes = RouteAttributes {
        idx: script.u32() % MAX_IDX,
        metric: 40,
        hops: 1,
        mtu: 1200,
        remaining: 60,
        chain: [3; 16],
    };
    let record = Record::Announce(announce, attributes);
    let mut bytes = Vec::new();
    record.encode(&mut bytes).expect("extensions within their bound");
    assert_eq!(Record::decode(&bytes), Ok((record.clone(), &[][..])));
    let Record::Announce(announce, _) = record else { return };

    let mut head = Vec::new();
    Record::YourHighest(announce.clone()).encode(&mut head).expect("extensions within their bound");
    let bit = usize::from(script.u16()) % ((head.len() - 1) * 8);
    head[1 + bit / 8] ^= 1 << (bit % 8);
    if let Ok((Record::YourHighest(other), _)) = Record::decode(&head) {
        assert_ne!(other, announce);
        assert!(!verifies(&other), "a signature holds for what was not signed");
    }
}
