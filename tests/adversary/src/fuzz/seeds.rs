//! Scripts of exchanges that really happen, for the fuzzers to begin with.

mod link;
mod message;
mod route;
mod session;

use crate::fuzz::script::ScriptWriter;
use crate::fuzz::seed::Seed;
use crate::fuzz::socket::{RAW, record};
use rouse_proto::identity::Identity;
use rouse_proto::types::MessageId;

/// Some for each target of this crate.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = link::seeds();
    seeds.extend(route::seeds());
    seeds.extend(message::seeds());
    seeds.extend(session::seeds());
    seeds.extend(socket());
    seeds.extend(text());
    seeds
}

/// A link's first frames between two real nodes, as a medium saw them: for [`handshake`](crate::fuzz::handshake()) and
/// [`frame`](crate::fuzz::frame()).
pub fn overheard(name: &str, frames: &[Vec<u8>]) -> Vec<Seed> {
    let mut handshakes = ScriptWriter::default();
    let mut sealed = ScriptWriter::default();
    handshakes.u8(0);
    sealed.u8(0);
    for frame in frames {
        match rouse_proto::wire::link::peek(frame) {
            Some(rouse_proto::wire::link::FrameKind::Handshake) => {
                handshakes.u8(crate::fuzz::handshake::RAW).u8(1).u8(0).bytes(frame);
            }
            _ => drop(sealed.u8(crate::fuzz::frame::RAW).bytes(frame)),
        }
    }
    vec![
        Seed::new("handshake", format!("overheard-{name}"), handshakes.done()),
        Seed::new("frame", format!("overheard-{name}"), sealed.done()),
    ]
}

/// A client and a daemon, byte by byte, and frame by frame.
fn socket() -> Vec<Seed> {
    let (up, down) = record();
    let mut seeds = Vec::new();
    for (target, sent) in [("daemon_socket", up), ("client_socket", down)] {
        let mut raw = ScriptWriter::default();
        raw.u8(RAW).put(&sent.concat());
        seeds.push(Seed::new(target, "whole", raw.done()));
        // The greeting, and the daemon's welcome, come by themselves.
        let opening = if target == "daemon_socket" { 1 } else { 2 };
        let mut all = ScriptWriter::default();
        all.u8(0);
        for (nth, frame) in sent.iter().skip(opening).enumerate() {
            let content = frame.get(4..).unwrap_or_default();
            all.bytes(content);
            let mut one = ScriptWriter::default();
            seeds.push(Seed::new(target, format!("frame-{nth:02}"), one.u8(0).bytes(content).done()));
        }
        seeds.push(Seed::new(target, "frames", all.done()));
    }
    seeds
}

fn text() -> Vec<Seed> {
    let address = Identity::from_seed(&[1; 32]).address().to_string();
    let upper = address.to_uppercase();
    let id = MessageId([7; 16]).to_string();
    let v6 = [[0x20; 16].as_slice(), &[0x1e, 0x14], &[0; 4]].concat();
    let texts: [(&str, &[u8]); 11] = [
        ("address", address.as_bytes()),
        ("upper-case", upper.as_bytes()),
        ("message-id", id.as_bytes()),
        ("listen", b"udp:[::]:7700"),
        ("listen-v4", b"127.0.0.1:7001"),
        ("zone", b"[fe80::1%1]:9"),
        ("peer", b"udp:192.0.2.7:7700"),
        ("name", b"rouse.example:7700"),
        ("no-port", b"[2001:db8::7]"),
        ("endpoint-v4", &[192, 0, 2, 7, 0x1e, 0x14]),
        ("endpoint-v6", &v6),
    ];
    texts.map(|(name, text)| Seed::new("text", name, text.to_vec())).into()
}
