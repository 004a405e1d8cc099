//! Tests of the bytes of every record, and of malformed ones.

use super::*;

fn signed_announce() -> SignedAnnounce {
    SignedAnnounce {
        dst: Address::from_bytes([0xd5; 32]),
        seq: 0x0102_0304_0506_0708,
        lifetime: 5400,
        caps: 0x0a0b,
        anchor: [0xa4; 16],
        signature: [0x51; 64],
        optional: None,
    }
}

fn attributes() -> RouteAttributes {
    RouteAttributes {
        idx: 0x0001_0203,
        metric: 0x1122,
        hops: 7,
        mtu: 1200,
        remaining: 3600,
        chain: [0xc4; 16],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out).unwrap();
    out
}

fn all() -> Vec<Record> {
    let optional =
        OptionalFields { prekey_id: 3, prekey: [0x9e; 32], extensions: Box::from([1, 2, 0xee, 0xff]) };
    vec![
        Record::Announce(signed_announce(), attributes()),
        Record::Announce(
            SignedAnnounce { optional: Some(Box::new(optional)), ..signed_announce() },
            attributes(),
        ),
        Record::Offer { key_hash: 0x1112_1314_1516_1718, seq: 9, attributes: attributes() },
        Record::Want { idx: 5 },
        Record::Update(Update::retract(5)),
        Record::Update(Update { idx: 5, metric: 96, hops: 3, chain: None }),
        Record::Update(Update { idx: 5, metric: 64, hops: 2, chain: Some([0xc5; 16]) }),
        Record::SeqnoRequest(SeqnoRequest {
            dst: Address::from_bytes([0xd5; 32]),
            seq: 9,
            ttl: 64,
            id: 0x0102_0304,
        }),
        Record::YourHighest(signed_announce()),
        Record::Reserved { kind: 7 },
        Record::Reserved { kind: 127 },
    ]
}

#[test]
fn every_record_has_its_golden_bytes() {
    let announce = format!(
        "{}0807060504030201{}{}{}{}{}{}{}",
        "d5".repeat(32),
        "1815",
        "0b0a",
        "a4".repeat(16),
        "0000",
        "00".repeat(32),
        "0000",
        "51".repeat(64)
    );
    let rich = format!(
        "{}0807060504030201{}{}{}{}{}{}{}{}",
        "d5".repeat(32),
        "1815",
        "0b0a",
        "a4".repeat(16),
        "0300",
        "9e".repeat(32),
        "0400",
        "0102eeff",
        "51".repeat(64)
    );
    let attributes = format!("03020100221107b004100e{}", "c4".repeat(16));
    let golden = [
        format!("01{announce}{attributes}"),
        format!("01{rich}{attributes}"),
        format!("0218171615141312110900000000000000{attributes}"),
        "0305000000".to_owned(),
        "0405000000ffff0000".to_owned(),
        "040500000060000300".to_owned(),
        format!("040500000040000201{}", "c5".repeat(16)),
        format!("05{}09000000000000004004030201", "d5".repeat(32)),
        format!("06{announce}"),
        "070000".to_owned(),
        "7f0000".to_owned(),
    ];
    let all = all();
    assert_eq!(all.len(), golden.len(), "each record has its bytes");
    for (record, golden) in all.iter().zip(golden) {
        let bytes = bytes_of(record);
        assert_eq!(hex(&bytes), golden);
        assert!(bytes.len() <= MAX_RECORD);
        assert_eq!(Record::decode(&bytes), Ok((record.clone(), &[][..])));
    }
}

#[test]
fn the_signed_bytes_and_the_key_hash_are_fixed() {
    let signed = signed_announce().signed().unwrap();
    assert_eq!(&signed[..16], b"rouse announce 1");
    assert_eq!(signed.len(), 16 + 96);
    assert_eq!(hex(&signed[16..56]), format!("{}0807060504030201", "d5".repeat(32)));
    let hash = blake3::hash(&[0xd5; 32]);
    assert_eq!(key_hash(&Address::from_bytes([0xd5; 32])).to_le_bytes(), hash.as_bytes()[..8]);
}

#[test]
fn records_follow_each_other_in_one_message() {
    let mut message = Vec::new();
    for record in all() {
        record.encode(&mut message).unwrap();
    }
    let mut rest = &message[..];
    for record in all() {
        let (read, left) = Record::decode(rest).unwrap();
        assert_eq!(read, record);
        rest = left;
    }
    assert!(rest.is_empty());
}

#[test]
fn a_record_cut_short_anywhere_is_refused() {
    for record in all() {
        let bytes = bytes_of(&record);
        for length in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..length]), Err(Malformed), "{record:?} cut to {length}");
        }
    }
}

#[test]
fn reserved_fields_unknown_kinds_and_bounds_are_checked() {
    let refused = |bytes: &[u8]| assert_eq!(Record::decode(bytes), Err(Malformed));
    for kind in [0, 128, 255] {
        refused(&[kind; 300]);
    }
    let mut long = bytes_of(&Record::Announce(signed_announce(), attributes()));
    long[96] = 2;
    refused(&long);
    refused(&bytes_of(&Record::Want { idx: MAX_IDX }));
    refused(&bytes_of(&Record::Update(Update { idx: MAX_IDX, metric: 1, hops: 0, chain: None })));
    refused(&bytes_of(&Record::Offer {
        key_hash: 1,
        seq: 1,
        attributes: RouteAttributes { idx: MAX_IDX, ..attributes() },
    }));
    let mut update = bytes_of(&Record::Update(Update { idx: 1, metric: 1, hops: 0, chain: None }));
    update[8] = 1;
    refused(&update);
    update.extend([0; 16]);
    assert!(Record::decode(&update).is_ok());
    update[8] = 2;
    refused(&update);
    let chain = Some([1; 16]);
    refused(&bytes_of(&Record::Update(Update { chain, ..Update::retract(1) })));
    let optional =
        OptionalFields { prekey_id: 0, prekey: [0; 32], extensions: Box::from([0; MAX_EXTENSIONS + 1]) };
    let mut out = Vec::new();
    assert!(
        Record::Announce(
            SignedAnnounce { optional: Some(Box::new(optional)), ..signed_announce() },
            attributes()
        )
        .encode(&mut out)
        .is_err()
    );
}

#[test]
fn records_of_later_versions_are_skipped() {
    let mut message = vec![8, 3, 0, 0xaa, 0xbb, 0xcc];
    message.extend(bytes_of(&Record::Want { idx: 5 }));
    let (record, rest) = Record::decode(&message).unwrap();
    assert_eq!(record, Record::Reserved { kind: 8 });
    assert_eq!(Record::decode(rest), Ok((Record::Want { idx: 5 }, &[][..])));
    assert_eq!(Record::decode(&message[..5]), Err(Malformed), "its length counts");
}

mod random {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic_and_what_decodes_encodes_back(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            kind in 0u8..7,
        ) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Ok((record, rest)) = Record::decode(&bytes) {
                let mut again = Vec::new();
                record.encode(&mut again).unwrap();
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - rest.len()]);
            }
        }
    }
}
