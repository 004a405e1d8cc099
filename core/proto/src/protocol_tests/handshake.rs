//! A whole handshake between two nodes, from fixed seeds.

use super::*;
use crate::endpoint::Endpoint;
use crate::identity::Identity;
use crate::link::{HandshakeOutput, Handshakes, LinkConfig, Opener, Path, Sealer, Session, Source, Suite};
use crate::time::Time;
use crate::wire::codec::{decode, encode};
use crate::wire::link::{
    Cookie, Finish, Initiation, Introduction, KEY_LEN, Opening, Refusal, Response, TAG_LEN, frame, split,
};

pub(super) const INITIATOR: u8 = 1;
pub(super) const RESPONDER: u8 = 2;
pub(super) const MESH_KEY: [u8; 32] = [7; 32];

pub(super) fn identity(end: u8) -> Identity {
    Identity::from_seed(&[end; 32])
}

/// All randomness of a node's handshakes.
pub(super) fn seed(end: u8) -> [u8; 32] {
    [0x10 + end; 32]
}

fn config(end: u8) -> LinkConfig {
    LinkConfig {
        instance: Some(0x1111_1111_1111_1111 * u64::from(end)),
        suites: Suite::CHACHA,
        ..LinkConfig::default()
    }
}

fn path() -> Path {
    Path { netmod: 0, endpoint: Endpoint::new(b"there").unwrap() }
}

/// The frames that a node sends, and its session once there is one.
fn outputs(node: &mut Handshakes) -> (Option<Vec<u8>>, Option<Session>) {
    let (mut sent, mut session) = (None, None);
    while let Some(output) = node.poll_output() {
        match output {
            HandshakeOutput::Transmit { frame, .. } => sent = Some(frame),
            HandshakeOutput::Established(made) => session = Some(*made),
            HandshakeOutput::Failed { reason, .. } => panic!("{reason}"),
        }
    }
    (sent, session)
}

fn answer(node: &mut Handshakes, frame: &[u8]) -> (Option<Vec<u8>>, Option<Session>) {
    // A refused initiation is answered too.
    let _ = node.handle(Time::from_millis(1), path(), Source::default(), 1200, frame);
    outputs(node)
}

/// The same node in a closed mesh.
fn closed(end: u8) -> LinkConfig {
    LinkConfig { mesh_key: Some(MESH_KEY.into()), ..config(end) }
}

fn dialled(config: LinkConfig) -> (Handshakes, Vec<u8>) {
    let mut node = Handshakes::new(&identity(INITIATOR), config, seed(INITIATOR));
    node.dial(Time::from_millis(1), path(), 1200);
    let initiation = outputs(&mut node).0.expect("an initiation");
    (node, initiation)
}

pub(super) struct Whole {
    pub(super) initiation: Vec<u8>,
    pub(super) response: Vec<u8>,
    pub(super) finish: Vec<u8>,
    pub(super) initiator: Session,
    pub(super) responder: Session,
}

pub(super) fn whole() -> Whole {
    whole_with(config)
}

/// The same handshake in a closed mesh.
pub(super) fn whole_closed() -> Whole {
    whole_with(closed)
}

fn whole_with(config: fn(u8) -> LinkConfig) -> Whole {
    let (mut first, initiation) = dialled(config(INITIATOR));
    let mut second = Handshakes::new(&identity(RESPONDER), config(RESPONDER), seed(RESPONDER));
    let response = answer(&mut second, &initiation).0.expect("a response");
    let (finish, initiator) = answer(&mut first, &response);
    let finish = finish.expect("a finish");
    let responder = answer(&mut second, &finish).1.expect("a session");
    Whole { initiation, response, finish, initiator: initiator.expect("a session"), responder }
}

/// The first frame that the initiator seals.
pub(super) fn first_frame() -> Vec<u8> {
    let mut out = Vec::new();
    whole().initiator.sealer.seal(|out| out.extend(link::probe()), &mut out).unwrap();
    out
}

/// The same frame with AES and the printed keys. (If both sides had offered AES, the introductions and with them the keys would
/// differ.)
pub(super) fn first_frame_of_aes() -> Vec<u8> {
    let (hash, split) = plain::to_responder();
    let index = whole().responder.local_index;
    let mut sealer = Sealer::new(Suite::Aes256Gcm, &hash, &split, index).expect("a key");
    let mut out = Vec::new();
    sealer.seal(|out| out.extend(link::probe()), &mut out).unwrap();
    out
}

/// The plaintext of the initiator's first frame, as the responder opens it.
pub(super) fn opened(frame: &[u8], suite: Suite) -> Vec<u8> {
    let mut opener = match suite {
        Suite::ChaCha20Poly1305 => whole().responder.opener,
        Suite::Aes256Gcm => {
            let (hash, split) = plain::to_responder();
            Opener::new(suite, &hash, &split).expect("a key")
        }
    };
    opener.open(&mut frame.to_vec()).expect("a frame of this session").to_vec()
}

pub(super) fn made() -> Vec<(String, Vec<u8>)> {
    let Whole { initiation, response, finish, .. } = whole();
    let closed = whole_closed();
    let busy = LinkConfig { load: 0, ..config(RESPONDER) };
    let mut busy = Handshakes::new(&identity(RESPONDER), busy, seed(RESPONDER));
    let cookie = answer(&mut busy, &initiation).0.expect("a cookie");
    let mut open = Handshakes::new(&identity(RESPONDER), config(RESPONDER), seed(RESPONDER));
    let refusal = answer(&mut open, &closed.initiation).0.expect("a refusal");
    let [of_responder, of_initiator] = plain::introductions(&initiation, &response, &finish);
    let examples = [
        ("initiation", initiation),
        ("response", response),
        ("introduction-of-the-responder", of_responder),
        ("finish", finish),
        ("introduction-of-the-initiator", of_initiator),
        ("initiation-closed", closed.initiation),
        ("response-closed", closed.response),
        ("finish-closed", closed.finish),
        ("cookie", cookie),
        ("refusal", refusal),
    ];
    examples.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}

pub(super) fn read(name: &str, bytes: &[u8]) -> Reading {
    if name == "introduction" {
        return read_introduction(bytes);
    }
    let (rows, again) = match name {
        "initiation" => read_initiation(bytes),
        "response" => read_response(bytes),
        "finish" => {
            let (head, message) = split::<Finish>(bytes).expect("a finish");
            let (key, payload) = message.split_at(KEY_LEN + TAG_LEN);
            let rows = vec![
                Row::kind("frame", head.kind, name),
                Row::number("version", 1, head.version.into()),
                Row::bytes("receiver", &head.receiver.to_le_bytes()),
                Row::bytes("static", key),
                Row::bytes("payload", payload),
            ];
            (rows, frame(&head, message))
        }
        "cookie" => {
            let cookie = decode::<Cookie>(bytes).expect("a cookie");
            let rows = vec![
                Row::kind("frame", cookie.kind, name),
                Row::number("version", 1, cookie.version.into()),
                Row::bytes("receiver", &cookie.receiver.to_le_bytes()),
                Row::bytes("echo", &cookie.echo),
                Row::bytes("cookie", &cookie.cookie),
            ];
            (rows, frame(&cookie, &[]))
        }
        _ => {
            let refusal = decode::<Refusal>(bytes).expect("a refusal");
            let rows = vec![
                Row::kind("frame", refusal.kind, name),
                Row::number("version", 1, refusal.version.into()),
                Row::bytes("receiver", &refusal.receiver.to_le_bytes()),
                Row::bytes("echo", &refusal.echo),
                Row::number("reason", 1, refusal.reason.into()),
            ];
            (rows, frame(&refusal, &[]))
        }
    };
    Reading { rows, again, kinds: vec![(Layer::Frame, bytes[0])] }
}

fn read_initiation(bytes: &[u8]) -> (Vec<Row>, Vec<u8>) {
    let (head, message) = split::<Initiation>(bytes).expect("an initiation");
    let (ephemeral, payload) = message.split_at(KEY_LEN);
    let mut rows = vec![
        Row::kind("frame", head.kind, "initiation"),
        Row::number("version", 1, head.version.into()),
        Row::number("flags", 1, head.flags.into()),
        Row::bytes("sender", &head.sender.to_le_bytes()),
        Row::bytes("cookie", &head.cookie),
        Row::bytes("ephemeral", ephemeral),
    ];
    if head.flags & Initiation::MESH == 0 {
        let (opening, padding) = split::<Opening>(payload).expect("an opening");
        rows.push(Row::bytes("instance", &opening.instance.to_le_bytes()));
        rows.push(Row::bytes("padding", padding));
    } else {
        let (sealed, tag) = payload.split_at(payload.len() - TAG_LEN);
        rows.push(Row::bytes("sealed", sealed));
        rows.push(Row::bytes("tag", tag));
    }
    (rows, frame(&head, message))
}

fn read_response(bytes: &[u8]) -> (Vec<Row>, Vec<u8>) {
    let (head, message) = split::<Response>(bytes).expect("a response");
    let again = frame(&head, message);
    let (ephemeral, message) = message.split_at(KEY_LEN);
    let (key, payload) = message.split_at(KEY_LEN + TAG_LEN);
    let rows = vec![
        Row::kind("frame", head.kind, "response"),
        Row::number("version", 1, head.version.into()),
        Row::bytes("sender", &head.sender.to_le_bytes()),
        Row::bytes("receiver", &head.receiver.to_le_bytes()),
        Row::bytes("ephemeral", ephemeral),
        Row::bytes("static", key),
        Row::bytes("payload", payload),
    ];
    (rows, again)
}

fn read_introduction(bytes: &[u8]) -> Reading {
    let introduction = decode::<Introduction>(bytes).expect("an introduction");
    let rows = vec![
        Row::bytes("address", introduction.address.as_bytes()),
        Row::bytes("index", &introduction.index.to_le_bytes()),
        Row::bytes("instance", &introduction.instance.to_le_bytes()),
        Row::number("mtu", 2, introduction.mtu.into()),
        Row::number("suites", 1, introduction.suites.into()),
        Row::number("capabilities", 4, introduction.capabilities.into()),
    ];
    Reading { rows, again: encode(&introduction).unwrap(), kinds: Vec::new() }
}
