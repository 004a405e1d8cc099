use proptest::prelude::*;

use super::*;
use crate::types::{Attributes, MessageId, MessageKind, Service};

fn header() -> MessageHeader {
    MessageHeader { number: 0x2122, open: 0x31, floor: 0x4142 }
}

#[test]
fn the_header_is_fixed() {
    let mut out = Vec::new();
    write_header(&header(), &mut out);
    let mut golden = vec![1];
    golden.extend([0x22, 0x21, 0, 0, 0, 0, 0, 0]);
    golden.extend([0x31, 0, 0, 0]);
    golden.extend([0x42, 0x41, 0, 0, 0, 0, 0, 0]);
    assert_eq!(out, golden);
    assert_eq!(out.len(), HEADER);
    let mut reader = Reader::new(&out);
    assert_eq!(reader.header(), Ok(header()));
    assert!(reader.is_at_end());
    out[0] = 2;
    assert_eq!(Reader::new(&out).header(), Err(Malformed));
}

#[test]
fn an_ack_is_fixed() {
    let mut ack = Ack::new(0x0203);
    assert!(ack.push(90, 100));
    assert!(ack.push(80, 85));
    let mut out = Vec::new();
    write_ack(&ack, &mut out);
    assert_eq!(out, [1, 100, 0, 0, 0, 0, 0, 0, 0, 3, 2, 0, 0, 2, 10, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0]);
    let mut reader = Reader::new(&out);
    assert_eq!(reader.frame(), Ok(Frame::Ack));
    assert_eq!(reader.ack(), Ok(ack));
    assert!(reader.is_at_end());
}

#[test]
fn acks_that_make_no_sense_are_refused() {
    let ack = |bytes: &[u8]| Reader::new(bytes).ack();
    assert_eq!(ack(&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed), "no range");
    assert_eq!(ack(&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 10, 0, 0, 0]), Err(Malformed), "below zero");
    let touching = [9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    assert_eq!(ack(&touching), Err(Malformed), "ranges that touch");
    let mut many = vec![0xff; 8];
    many.extend([0, 0, 0, 0, 33, 0, 0, 0, 0]);
    many.extend([1, 0, 0, 0, 0, 0, 0, 0].repeat(32));
    assert_eq!(ack(&many), Err(Malformed), "too many");
}

#[test]
fn a_credit_is_fixed() {
    let mut out = Vec::new();
    write_credit(0x0a0b, 0x0c0d_0e0f, 0x1011, &mut out);
    assert_eq!(out, [2, 0x0b, 0x0a, 0, 0, 0, 0, 0, 0, 0x0f, 0x0e, 0x0d, 0x0c, 0x11, 0x10]);
    assert_eq!(out.len(), CREDIT);
    let expected = Frame::Credit { taken: 0x0a0b, bytes: 0x0c0d_0e0f, messages: 0x1011 };
    assert_eq!(Reader::new(&out).frame(), Ok(expected));
}

#[test]
fn gathered_messages_are_fixed_and_cost_four_bytes_each() {
    let mut out = Vec::new();
    let count = write_messages(0x0102, Timestamp(0x0304), &mut out);
    assert_eq!(out.len(), BATCH_HEADER);
    write_entry(0, b"xy", &mut out);
    write_entry(0x0506, b"", &mut out);
    patch_count(count, 2, &mut out);
    assert_eq!(out, [3, 2, 1, 4, 3, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2, 0, b'x', b'y', 6, 5, 0, 0]);
    assert_eq!(out.len(), BATCH_HEADER + 2 * ENTRY_HEADER + 2);
    let mut reader = Reader::new(&out);
    assert_eq!(reader.frame(), Ok(Frame::Messages { above: 0x0102, sent_at: Timestamp(0x0304), count: 2 }));
    assert_eq!(reader.entry(), Ok((0, 17..19)));
    assert_eq!(reader.entry(), Ok((0x0506, 23..23)));
    assert!(reader.is_at_end());
}

#[test]
fn a_fragment_is_fixed() {
    let mut out = Vec::new();
    write_fragment(
        &FragmentHead { above: 1, sent_at: Timestamp(2), total: 0x0003_0000, offset: 0x0400 },
        b"abc",
        &mut out,
    );
    assert_eq!(out, [4, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 4, 0, 0, 3, 0, b'a', b'b', b'c']);
    assert_eq!(out.len(), FRAGMENT_HEADER + 3);
    let expected = Frame::Fragment {
        above: 1,
        sent_at: Timestamp(2),
        total: 0x0003_0000,
        offset: 0x0400,
        bytes: (21, 24),
    };
    assert_eq!(Reader::new(&out).frame(), Ok(expected));
}

#[test]
fn a_skip_a_ping_and_a_last_are_fixed() {
    let mut out = Vec::new();
    let count = write_skip(0x0102, &mut out);
    patch_count(count, 0x0304, &mut out);
    assert_eq!(out.len(), SKIP);
    write_ping(&mut out);
    write_last(&mut out);
    assert_eq!(out, [5, 2, 1, 4, 3, 6, 7]);
    let mut reader = Reader::new(&out);
    assert_eq!(reader.frame(), Ok(Frame::Skip { above: 0x0102, count: 0x0304 }));
    assert_eq!(reader.frame(), Ok(Frame::Ping));
    assert_eq!(reader.frame(), Ok(Frame::Last));
    assert_eq!(reader.frame(), Err(Malformed));
}

#[test]
fn attributes_are_fixed() {
    let service = Service::new("chat").unwrap();
    let all = Attributes {
        service,
        in_reply_to: Some(MessageId([9; 16])),
        kind: MessageKind::Request,
        durable: false,
    };
    let mut out = Vec::new();
    write_attributes(&all, &mut out);
    let mut golden = vec![8, 7, 4, b'c', b'h', b'a', b't'];
    golden.extend([9; 16]);
    assert_eq!((out.len(), &out), (attributes_len(&all), &golden));
    let mut reader = Reader::new(&out);
    assert_eq!(reader.frame(), Ok(Frame::Attributes));
    assert_eq!(reader.attributes(), Ok(all));
    assert!(reader.is_at_end());
    for end in 1..out.len() {
        assert_eq!(Reader::new(&out[1..end]).attributes(), Err(Malformed), "{end} bytes");
    }
    let longest = Attributes {
        service: Service::new(&"x".repeat(64)).unwrap(),
        ..Reader::new(&out[1..]).attributes().unwrap()
    };
    assert_eq!(attributes_len(&longest), MAX_ATTRIBUTES);
}

#[test]
fn a_length_beyond_the_packet_is_refused() {
    let mut out = Vec::new();
    write_fragment(
        &FragmentHead { above: 1, sent_at: Timestamp(2), total: 100, offset: 0 },
        b"abc",
        &mut out,
    );
    for end in 0..out.len() {
        assert_eq!(Reader::new(&out[..end]).frame(), Err(Malformed));
    }
    assert_eq!(Reader::new(&[0, 0, 4, 0, 1, 2, 3]).entry(), Err(Malformed));
}

proptest! {
    #[test]
    fn attributes_have_one_encoding(fields in prop::collection::vec(any::<u8>(), 1..90), flags in 0u8..128, length in 0u8..70) {
        let mut fields = fields;
        fields[0] = flags;
        if let Some(place) = fields.get_mut(1) {
            *place = length;
        }
        fields.iter_mut().skip(2).for_each(|byte| *byte &= 0x7f);
        let mut reader = Reader::new(&fields);
        if let Ok(attributes) = reader.attributes() {
            let mut out = Vec::new();
            write_attributes(&attributes, &mut out);
            prop_assert_eq!(&out[1..], &fields[..reader.position()]);
            prop_assert_eq!(out.len(), attributes_len(&attributes));
        }
    }

    #[test]
    fn acks_are_read_as_they_were_written(
        top in 1u64 << 40..u64::MAX,
        ranges in prop::collection::vec((1u32..1000, 0u32..1000), 1..=MAX_RANGES),
    ) {
        let mut ack = Ack::new(7);
        let mut high = top;
        for (gap, length) in ranges {
            let low = high - u64::from(length);
            ack.push(low, high);
            high = low - u64::from(gap) - 1;
        }
        let mut out = Vec::new();
        write_ack(&ack, &mut out);
        prop_assert_eq!(Reader::new(&out[1..]).ack(), Ok(ack));
    }
}
