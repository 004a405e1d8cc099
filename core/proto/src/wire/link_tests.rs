use proptest::prelude::*;

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn same<T>(value: T, bytes: &str)
where
    T: Encode + for<'a> codec::BorrowDecode<'a, ()> + PartialEq + std::fmt::Debug,
{
    let encoded = codec::encode(&value).unwrap();
    assert_eq!(hex(&encoded), bytes.replace(' ', ""));
    assert_eq!(codec::decode::<T>(&encoded), Ok(value));
    for length in 0..encoded.len() {
        assert!(codec::decode::<T>(&encoded[..length]).is_err(), "{length} bytes are too few");
    }
}

#[test]
fn handshake_frames_are_these_bytes() {
    let cookie = std::array::from_fn(|n| 0xc0 + n as u8);
    let echo = [0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7];
    let (sender, receiver) = (0x0403_0201, 0x1413_1211);
    same(
        Initiation { kind: INITIATION, version: VERSION, flags: Initiation::MESH, sender, cookie },
        "01 01 01 01020304 c0c1c2c3c4c5c6c7c8c9cacbcccdcecf",
    );
    same(Response { kind: RESPONSE, version: VERSION, sender, receiver }, "02 01 01020304 11121314");
    same(Finish { kind: FINISH, version: VERSION, receiver }, "03 01 11121314");
    same(
        Cookie { kind: COOKIE, version: VERSION, receiver, echo, cookie },
        "04 01 11121314 e0e1e2e3e4e5e6e7 c0c1c2c3c4c5c6c7c8c9cacbcccdcecf",
    );
    same(
        Refusal { kind: REFUSAL, version: VERSION, receiver, echo, reason: Refusal::MESH },
        "05 01 11121314 e0e1e2e3e4e5e6e7 02",
    );
}

#[test]
fn handshake_payloads_are_these_bytes() {
    same(Opening { instance: 0x0807_0605_0403_0201 }, "0102030405060708");
    let introduction = Introduction {
        address: Address::from_bytes([0xaa; 32]),
        index: 0x0403_0201,
        instance: 0x1817_1615_1413_1211,
        mtu: 0x05dc,
        suites: 3,
        capabilities: 0x2423_2221,
    };
    same(introduction, &format!("{} 01020304 1112131415161718 dc05 03 21222324", "aa".repeat(32)));
    assert_eq!(codec::encode(&introduction).unwrap().len(), INTRODUCTION_LEN);
}

#[test]
fn plaintexts_of_data_frames_are_these_bytes() {
    let vitals = Vitals { sent: 1, echo: 2, held: Vitals::NO_ECHO, expected: 4, received: 3 };
    same(vitals, "01000000 02000000 ffffffff 0400000000000000 0300000000000000");
    let acknowledged = Acknowledged { ack: 5, sack: 0x8000_0000_0000_0001 };
    same(acknowledged, "05000000 0100000000000080");
    let segment = Segment { acknowledged, sequence: 6 };
    same(segment, "05000000 0100000000000080 06000000");
    assert_eq!(plaintext(KIND_CONTROL, &segment).len(), SEGMENT_OVERHEAD);
    let kinds = [KIND_PACKET, KIND_CONTROL, KIND_ACK, KIND_HELLO, KIND_PROBE, KIND_ANSWER, KIND_GOODBYE];
    assert_eq!(kinds, [0, 1, 2, 3, 4, 5, 6]);
    let message = std::array::from_fn(|n| n as u8);
    let hex: String = message.iter().map(|byte: &u8| format!("{byte:02x}")).collect();
    same(Rekey { generation: 0x0403_0201, message }, &format!("01020304 {hex}"));
    same(MtuAnswer { id: 0x0403_0201, length: 1452 }, "01020304 ac05");
    same(ChallengeToken { token: 0x0807_0605_0403_0201 }, "0102030405060708");
    let kinds =
        [KIND_REKEY, KIND_REKEYED, KIND_MTU_PROBE, KIND_MTU_ANSWER, KIND_CHALLENGE, KIND_RESPONSE, KIND_REST];
    assert_eq!(kinds, [7, 8, 9, 10, 11, 12, 13]);
}

#[test]
fn fields_of_later_versions_are_skipped() {
    let mut bytes = codec::encode(&Opening { instance: 7 }).unwrap();
    bytes.extend([1, 2, 3]);
    assert_eq!(split::<Opening>(&bytes), Ok((Opening { instance: 7 }, &[1, 2, 3][..])));
}

#[test]
fn frames_are_distinguished_by_their_first_byte() {
    assert_eq!(peek(&[]), None);
    for kind in 0..=255 {
        let mut frame = [0; HEADER_LEN + TAG_LEN];
        frame[0] = kind;
        frame[2..6].copy_from_slice(&0x0403_0201u32.to_le_bytes());
        let expected = match kind {
            1..=5 => Some(FrameKind::Handshake),
            0x10 => Some(FrameKind::Data { index: 0x0403_0201 }),
            _ => None,
        };
        assert_eq!(peek(&frame), expected);
    }
    let mut short = [0; HEADER_LEN + TAG_LEN - 1];
    short[0] = DATA;
    assert_eq!(peek(&short), None, "shorter than its fixed part");
    assert_eq!(peek(&[INITIATION, VERSION, 0, 0, 0]), None);
    assert_eq!(peek(&[INITIATION; MAX_HANDSHAKE_LEN]), Some(FrameKind::Handshake));
    assert_eq!(peek(&[INITIATION; MAX_HANDSHAKE_LEN + 1]), None, "longer than any handshake frame");
}

proptest! {
    #[test]
    fn random_bytes_cause_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = peek(&bytes);
        let _ = split::<Initiation>(&bytes);
        let _ = split::<Introduction>(&bytes);
        let _ = codec::decode::<Vitals>(&bytes);
        let _ = split::<Segment>(&bytes);
    }
}
