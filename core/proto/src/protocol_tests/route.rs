//! Records of the routers.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use sha2::{Digest, Sha512};

use super::*;
use crate::identity::{Identity, verify_all};
use crate::wire::route::{
    Chain, INFINITY, LINKS, OptionalFields, Record, RouteAttributes, SeqnoRequest, SignedAnnounce, Update,
    advance, key_hash, leads_to,
};

fn origin() -> Identity {
    Identity::from_seed(&[3; 32])
}

/// The chain value of a node this many hops away.
fn chain(seq: u64, hops: u8) -> Chain {
    advance(&origin().address(), seq, origin().chain_seed(seq), hops)
}

fn signed_announce(seq: u64, optional: Option<Box<OptionalFields>>) -> SignedAnnounce {
    let (dst, anchor) = (origin().address(), chain(seq, LINKS));
    let mut announce =
        SignedAnnounce { dst, seq, lifetime: 5400, caps: 0, anchor, signature: [0; 64], optional };
    announce.signature = origin().sign(&announce.signed().unwrap());
    announce
}

/// The same announce with another signature by the same key. Its R has a part of order 8, which only the equation with the cofactor
/// ignores.
fn with_torsion(mut announce: SignedAnnounce) -> SignedAnnounce {
    let secret = ExpandedSecretKey::from(&[3; 32]);
    let nonce = Scalar::from(1000u16);
    let point = (EdwardsPoint::mul_base(&nonce) + EIGHT_TORSION[1]).compress().to_bytes();
    let hash = Sha512::new().chain_update(point).chain_update(announce.dst.as_bytes());
    let hash = hash.chain_update(announce.signed().unwrap()).finalize();
    let s = nonce + Scalar::from_bytes_mod_order_wide(&hash.into()) * secret.scalar;
    announce.signature = [point, s.to_bytes()].concat().try_into().unwrap();
    announce
}

#[test]
fn the_printed_signature_with_torsion_holds_by_the_equation_with_the_cofactor_only() {
    let announce = with_torsion(signed_announce((1_790_000_000 << 32) | 7, None));
    let (signed, signature) = (announce.signed().unwrap(), Signature::from_bytes(&announce.signature));
    let key = VerifyingKey::from_bytes(announce.dst.as_bytes()).unwrap();
    assert!(key.verify(&signed, &signature).is_err(), "the equation without it");
    assert!(key.verify_strict(&signed, &signature).is_err());
    assert_eq!(verify_all(&[(&announce.dst, &signed, &announce.signature)]), [true]);
    assert!(blocks("hex")["highest-with-torsion"].contains(&hex(&announce.signature[..32])));
}

pub(super) fn made() -> Vec<(String, Vec<u8>)> {
    let seq = (1_790_000_000 << 32) | 7;
    let optional = OptionalFields { prekey_id: 3, prekey: [0x9e; 32], extensions: Box::from(*b"\x01\x02hi") };
    let attributes =
        RouteAttributes { idx: 5, metric: 70, hops: 2, mtu: 1134, remaining: 5000, chain: chain(seq, 2) };
    let dst = origin().address();
    let records = [
        ("announce", Record::Announce(signed_announce(seq, None), attributes)),
        ("announce-extended", Record::Announce(signed_announce(seq, Some(Box::new(optional))), attributes)),
        ("offer", Record::Offer { key_hash: key_hash(&dst), seq, attributes }),
        ("want", Record::Want { idx: 5 }),
        ("update", Record::Update(Update { idx: 5, metric: 104, hops: 3, chain: None })),
        ("update-nearer", Record::Update(Update { idx: 5, metric: 36, hops: 1, chain: Some(chain(seq, 1)) })),
        ("update-retract", Record::Update(Update::retract(5))),
        ("seqreq", Record::SeqnoRequest(SeqnoRequest { dst, seq: seq + 1, ttl: 64, id: 0x0102_0304 })),
        ("highest", Record::YourHighest(signed_announce(seq, None))),
        ("highest-with-torsion", Record::YourHighest(with_torsion(signed_announce(seq, None)))),
    ];
    let bytes = |record: Record| {
        let mut out = Vec::new();
        record.encode(&mut out).unwrap();
        out
    };
    records.map(|(name, record)| (name.to_owned(), bytes(record))).into()
}

fn announce_rows(announce: &SignedAnnounce) -> Vec<Row> {
    let signed = announce.signed().unwrap();
    assert_eq!(verify_all(&[(&announce.dst, &signed, &announce.signature)]), [true], "the signature holds");
    let none = OptionalFields::default();
    let optional = announce.optional.as_deref().unwrap_or(&none);
    let mut rows = vec![
        Row::bytes("destination", announce.dst.as_bytes()),
        Row::number("counter", 4, announce.seq & 0xffff_ffff),
        Row::number("epoch", 4, announce.epoch().into()),
        Row::number("lifetime", 2, announce.lifetime.into()),
        Row::number("capabilities", 2, announce.caps.into()),
        Row::bytes("anchor", &announce.anchor),
        Row::number("prekey-id", 2, optional.prekey_id.into()),
        Row::bytes("prekey", &optional.prekey),
        Row::number("length", 2, optional.extensions.len() as u64),
    ];
    if !optional.extensions.is_empty() {
        rows.push(Row::bytes("extensions", &optional.extensions));
    }
    // The signature covers the printed bytes, preceded by the label.
    assert_eq!(announce.signed().unwrap(), [b"rouse announce 1".as_slice(), &bytes_of(&rows)].concat());
    rows.push(Row::bytes("signature", &announce.signature));
    rows
}

fn attribute_rows(attributes: &RouteAttributes) -> Vec<Row> {
    vec![
        Row::number("idx", 4, attributes.idx.into()),
        Row::number("metric", 2, attributes.metric.into()),
        Row::number("hops", 1, attributes.hops.into()),
        Row::number("mtu", 2, attributes.mtu.into()),
        Row::number("remaining", 2, attributes.remaining.into()),
        Row::bytes("chain", &attributes.chain),
    ]
}

pub(super) fn read(bytes: &[u8]) -> Reading {
    let (record, rest) = Record::decode(bytes).expect("a record");
    assert!(rest.is_empty(), "one record");
    let kind = bytes[0];
    let named = |name| vec![Row::kind("record", kind, name)];
    let rows = match &record {
        Record::Announce(announce, attributes) => {
            let proved =
                leads_to(&announce.dst, announce.seq, (attributes.hops, attributes.chain), &announce.anchor);
            assert!(proved, "the chain leads to the anchor");
            [named("ANNOUNCE"), announce_rows(announce), attribute_rows(attributes)].concat()
        }
        Record::Offer { key_hash, seq, attributes } => {
            let hash = *blake3::hash(origin().address().as_bytes()).as_bytes();
            assert_eq!(key_hash.to_le_bytes(), hash[..8], "of the origin of the announce");
            let head = vec![
                Row::bytes("key-hash", &key_hash.to_le_bytes()),
                Row::number("counter", 4, seq & 0xffff_ffff),
                Row::number("epoch", 4, seq >> 32),
            ];
            [named("OFFER"), head, attribute_rows(attributes)].concat()
        }
        Record::Want { idx } => [named("WANT"), vec![Row::number("idx", 4, (*idx).into())]].concat(),
        Record::Update(Update { idx, metric, hops, chain }) => {
            let metric = match *metric {
                INFINITY => Row { meaning: "no route".to_owned(), ..Row::bytes("metric", &[0xff; 2]) },
                metric => Row::number("metric", 2, metric.into()),
            };
            let mut fields = vec![
                Row::number("idx", 4, (*idx).into()),
                metric,
                Row::number("hops", 1, (*hops).into()),
                Row::number("flags", 1, chain.is_some().into()),
            ];
            fields.extend(chain.map(|chain| Row::bytes("chain", &chain)));
            [named("UPDATE"), fields].concat()
        }
        Record::SeqnoRequest(SeqnoRequest { dst, seq, ttl, id }) => {
            let fields = vec![
                Row::bytes("destination", dst.as_bytes()),
                Row::number("counter", 4, seq & 0xffff_ffff),
                Row::number("epoch", 4, seq >> 32),
                Row::number("ttl", 1, (*ttl).into()),
                Row::number("id", 4, (*id).into()),
            ];
            [named("SEQ_REQ"), fields].concat()
        }
        Record::YourHighest(announce) => [named("YOUR_HIGHEST"), announce_rows(announce)].concat(),
        Record::Reserved { .. } => unreachable!("no example is of a version to come"),
    };
    let mut again = Vec::new();
    record.encode(&mut again).unwrap();
    Reading { rows, again, kinds: vec![(Layer::Record, kind)] }
}
