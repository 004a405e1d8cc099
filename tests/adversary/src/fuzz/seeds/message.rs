//! Seeds of the targets `message` and `packet`.

use std::time::Duration;

use crate::fuzz::message::{
    ARRIVE, ConversationWorld, DAMAGE, FRAMES, HONEST, LOSE, OVERTAKE, RAW, READ, ROUTE, SEND, TWICE, WAIT,
};
use crate::fuzz::packet::{self, node_identity};
use crate::fuzz::script::ScriptWriter;
use crate::fuzz::seed::Seed;
use rouse_proto::address::Address;
use rouse_proto::wire::message::HEADER;
use rouse_proto::wire::packet::Class;
use rouse_proto::wire::packet::{FLAG_TRACE, HOP_LIMIT, Probe, payload, write_header};

pub(crate) fn seeds() -> Vec<Seed> {
    let spoken = spoken();
    let mut seeds = lines();
    let mut raw = ScriptWriter::default();
    let mut frames = ScriptWriter::default();
    let mut packets = ScriptWriter::default();
    raw.u8(0).u8(SEND).u8(0).u16(9000).u8(60).u8(SEND).u8(1).u16(30).u8(60);
    frames.u8(0).u8(SEND).u8(0).u16(9000).u8(60);
    for (to, packet) in &spoken {
        raw.u8(RAW).u8(*to as u8).bytes(packet).u8(WAIT).u16(3);
        let (head, rest) = packet.split_at(HEADER);
        frames.u8(FRAMES).u8(*to as u8).u8(0).u8(0);
        // The fields number, open and floor of the packet's header.
        frames.put(&head[HEADER - 20..]).bytes(rest);
        packets.u8(packet::PAYLOAD).u8(0).u8(0).u8(HOP_LIMIT).bytes(packet).u8(packet::FETCH);
    }
    seeds.push(Seed::new("message", "spoken", raw.done()));
    seeds.push(Seed::new("message", "spoken-frames", frames.done()));
    seeds.push(Seed::new("packet", "spoken", packets.done()));
    seeds.extend(probes());
    seeds
}

/// Messages of many lengths over lines without faults, and over lines that lose, reorder, repeat and damage packets.
fn lines() -> Vec<Seed> {
    let kinds = [
        ("good", HONEST, ARRIVE),
        ("lossy", HONEST, LOSE),
        ("reorders", HONEST, OVERTAKE),
        ("repeats", HONEST, TWICE),
        ("away", HONEST, ROUTE),
        ("unread", HONEST, READ),
        ("damages", 0, DAMAGE),
    ];
    let script = |(name, flags, what): (&str, u8, u8)| {
        let mut writer = ScriptWriter::default();
        writer.u8(flags);
        for nth in 0..8u16 {
            writer.u8(SEND).u8((nth & 1) as u8).u16(nth * nth * 97);
            if flags & HONEST == 0 {
                writer.u8(60);
            }
            writer.u8(what);
            match what {
                DAMAGE => drop(writer.u8(2).u16(21 + nth * 5).u8(1)),
                ROUTE => drop(writer.u8(0).u8((nth & 1) as u8)),
                READ => drop(writer.u8(1)),
                _ => {}
            }
            writer.u8(ARRIVE).u8(ARRIVE).u8(WAIT).u16(nth * 13);
        }
        Seed::new("message", name, writer.done())
    };
    kinds.map(script).into()
}

/// The packets of a conversation with gaps, fragments and gathered messages, each with the number of its recipient.
fn spoken() -> Vec<(usize, Vec<u8>)> {
    let mut world = ConversationWorld::new(true);
    let mut spoken = Vec::new();
    for nth in 0..10 {
        world.send_message(nth % 2, [3, 30, 300, 3000, 9000][nth / 2]);
        world.settle();
        let mut here = 0;
        while let Some((to, packet)) = world.next() {
            here += 1;
            // Every seventh packet is lost, so that the acknowledgements have gaps.
            if here % 7 != 3 {
                spoken.push((to, packet.to_vec()));
                world.arrive(to, packet);
                world.settle();
            }
        }
        world.wait(Duration::from_millis(30));
    }
    spoken.truncate(48);
    spoken
}

fn probes() -> Vec<Seed> {
    let me = node_identity().address();
    let other = Address::from_bytes([3; 32]);
    let mut seeds = Vec::new();
    for (name, kind, flags, to) in [
        ("ping", payload::PING, 0, me),
        ("pong", payload::PONG, 0, me),
        ("trace", payload::TRACE, FLAG_TRACE, me),
        ("trace-passing", payload::TRACE, FLAG_TRACE, other),
        ("hop", payload::HOP, 0, me),
        ("passing", payload::PING, 0, other),
    ] {
        let mut bytes = Vec::new();
        let hop_limit = if flags == 0 { HOP_LIMIT } else { 1 };
        write_header(&mut bytes, Class::Interactive, flags, hop_limit, &to);
        Probe { kind, source: other, nonce: 7, value: 64 }.write(&mut bytes);
        seeds.push(Seed::new(
            "packet",
            name,
            ScriptWriter::default().u8(packet::PACKET).bytes(&bytes).done(),
        ));
    }
    seeds
}
