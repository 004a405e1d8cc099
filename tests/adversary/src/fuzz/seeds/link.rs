//! Seeds of the targets `handshake` and `frame`.

use std::time::Duration;

use crate::fuzz::frame::{self, LinkSide};
use crate::fuzz::handshake::{
    AFTERWARDS, ARRIVE, CLOSED, CONFIRM, DAMAGE, DIAL, FORGE, LOAD, LOSE, REPLAY, STRANGER, WAIT,
};
use crate::fuzz::script::ScriptWriter;
use crate::fuzz::seed::Seed;
use rouse_proto::link::Suite;
use rouse_proto::link::session_pair::session_pair;
use rouse_proto::time::Time;

pub(crate) fn seeds() -> Vec<Seed> {
    let mut seeds = handshakes();
    seeds.extend(lines());
    seeds.push(plaintexts());
    seeds
}

fn handshakes() -> Vec<Seed> {
    let wait = [WAIT, 0xe8, 3];
    let dial: &[u8] = &[DIAL, 0, ARRIVE, ARRIVE, ARRIVE, CONFIRM, 0, CONFIRM, 1];
    let both: &[u8] = &[DIAL, 0, DIAL, 1, ARRIVE, ARRIVE, ARRIVE, ARRIVE, ARRIVE, ARRIVE];
    let lossy: &[u8] = &[DIAL, 0, LOSE, WAIT, 0xe8, 3, ARRIVE, LOSE, WAIT, 0xe8, 3, ARRIVE, ARRIVE, ARRIVE];
    let again: &[u8] =
        &[DIAL, 0, ARRIVE, ARRIVE, ARRIVE, REPLAY, 0, REPLAY, 1, REPLAY, 2, DIAL, 1, ARRIVE, ARRIVE];
    let forged: &[u8] = &[
        DIAL, 0, FORGE, 0, 1, 0, 2, 20, 0, 1, ARRIVE, FORGE, 1, 0, 1, 2, 30, 0, 4, ARRIVE, DAMAGE, 2, 40, 0,
        8,
    ];
    let kinds: [(&str, u8, &[u8]); 9] = [
        ("dialled", 0, dial),
        ("closed-mesh", CLOSED, dial),
        ("two-meshes", CLOSED | STRANGER, dial),
        ("stranger-with-key", STRANGER, dial),
        ("both-dial", 0, both),
        ("lossy", 0, lossy),
        ("replayed", 0, again),
        ("forged", 0, forged),
        // The second dial reaches a node under load, which requests a cookie.
        (
            "cookie",
            LOAD,
            &[DIAL, 1, DIAL, 1, REPLAY, 0, ARRIVE, DIAL, 1, ARRIVE, ARRIVE, ARRIVE, ARRIVE, ARRIVE],
        ),
    ];
    let mut seeds = Vec::new();
    for (name, flags, steps) in kinds {
        for (ending, flags) in [("", flags), ("-and-after", flags | AFTERWARDS)] {
            let bytes = [&[flags], steps, &wait].concat();
            seeds.push(Seed::new("handshake", format!("{name}{ending}"), bytes));
        }
    }
    seeds
}

/// Control streams over lines without faults, and over lines that lose, reorder, repeat and damage frames.
fn lines() -> Vec<Seed> {
    use frame::{AES, ARRIVE, HONEST, LOSE, MANGLE, OVERTAKE, PACKET, PASS, SEND, TWICE};
    let kinds =
        [("good", ARRIVE), ("lossy", LOSE), ("reorders", OVERTAKE), ("repeats", TWICE), ("mangles", MANGLE)];
    let script = |(name, what): (&str, u8)| {
        let mut writer = ScriptWriter::default();
        writer.u8(HONEST | if what == LOSE { AES } else { 0 });
        for nth in 0..12u16 {
            writer.u8(SEND).u8((nth & 1) as u8).u16(nth * 331).u8(what);
            if what == MANGLE {
                writer.u8(2).u16(nth * 7).u8(1);
            }
            writer.u8(PACKET).u8(0).bytes(b"packet").u8(ARRIVE).u8(ARRIVE).u8(PASS).u16(nth * 17);
        }
        Seed::new("frame", format!("honest-{name}"), writer.done())
    };
    kinds.map(script).into()
}

/// The plaintexts of a real link: hellos, probes, control segments, acknowledgements, packets and the goodbye.
fn plaintexts() -> Seed {
    let mut now = Time::from_millis(10_000);
    let Some(ends) = session_pair(Suite::ChaCha20Poly1305) else {
        return Seed::new("frame", "exchange", Vec::new());
    };
    let mut sides = ends.map(|end| LinkSide::new(now, end));
    let mut writer = ScriptWriter::default();
    writer.u8(0);
    for round in 0..30u32 {
        let message: Vec<u8> =
            round.to_le_bytes().into_iter().cycle().take(50 + 97 * round as usize).collect();
        sides[1].send_control(&message);
        sides[0].send_control(b"and back");
        writer.u8(frame::CONTROL).bytes(b"and back");
        for (from, to) in [(0, 1), (1, 0)] {
            for plaintext in sides[from].plaintexts(now) {
                if from == 1 {
                    writer.u8(frame::PLAIN).bytes(&plaintext);
                }
                let mut sealed = sides[from].seal(&plaintext);
                // An error only shows that the link has ended, which its state shows as well.
                let _ = sides[to].link.handle_frame(now, &mut sealed);
            }
        }
        let span = Duration::from_millis(if round % 10 == 9 { 1200 } else { 20 });
        now = now + span;
        sides.iter_mut().for_each(|side| side.link.handle_timeout(now));
        writer.u8(frame::WAIT).u16(u16::try_from(span.as_millis()).unwrap_or(u16::MAX));
    }
    let goodbye = sides[1].link.goodbye();
    writer
        .u8(frame::ACK)
        .u32(9)
        .u64(5)
        .u8(frame::PLAIN)
        .bytes(b"\0a packet")
        .u8(frame::GAP)
        .u8(3)
        .u8(frame::REPLAY)
        .u8(2);
    Seed::new("frame", "exchange", writer.u8(frame::PLAIN).bytes(&goodbye).done())
}
