//! Requests for end-to-end sessions, of which a node reads so many in a second, and what only looks like one.

use std::time::Duration;

use rouse_adversary::raw::frames;
use rouse_core::session::{SessionInput, SessionOutput, Sessions, Standing};
use rouse_core::time::Time;
use rouse_core::{Address, Identity};

use crate::layer::{Input, Layer, MINUTE, SEAL, Subject, no_places};
use crate::layers::NodeLayer;
use crate::pools::{CONVERSATIONS, Pool};
use crate::recipe::{Gene, Kind, Part, Recipe, gene, kind};
use rouse_proto::types::Ends;

/// The bytes of a frame that carries a whole part.
const FRAME: usize = 36 + 446 + SEAL;

/// `state`: 0 out of nothing, 1 as it should be, 2 as it should be but for its last byte, 3 as it should be but for the key that
/// comes first. `parts`: how many of the four arrive.
const REQUEST: &[Gene] = &[
    gene("sender", 0, &[0, 1, 2, 1000]),
    gene("state", 1, &[0, 1, 2, 3]),
    gene("parts", 4, &[1, 2, 3, 4]),
    gene("message", 1, &[0, 1, 2, 3, 255]),
];

const KINDS: &[Kind] = &[kind("payload 07: parts of a session's handshake", REQUEST)];

pub(crate) const SUBJECT: Subject = Subject {
    kinds: KINDS,
    make: || Box::new(Requests(NodeLayer::new())),
    weight: 2,
    silence: MINUTE,
    works_in_silence: true,
    usual,
    seeds,
    places: no_places,
    stays,
};

/// Each from another identity, as many as are read.
fn usual(_: usize) -> Recipe {
    Recipe { pace: 12_000, ..Recipe::usual(Part::usual(KINDS, 0).counting(KINDS, "sender")) }
}

/// Requests that verify up to their end or not at all, and such that never come whole.
fn seeds(_: usize) -> Vec<Recipe> {
    let part = || Part::usual(KINDS, 0).counting(KINDS, "sender");
    let mut all: Vec<_> = [0, 2, 3].map(|state| Recipe::usual(part().with(KINDS, "state", state))).into();
    all.push(Recipe::usual(part().with(KINDS, "parts", 3)));
    all.push(Recipe::usual(part()));
    all
}

/// The conversation of a request stays for half a minute, and the handshake for 45 s.
fn stays(_: &Recipe) -> Option<Pool> {
    Some(CONVERSATIONS)
}

struct Requests(NodeLayer);

/// The packets of the request of a new identity.
fn request(sender: u64, to: Address) -> Vec<Vec<u8>> {
    let mut seed = [0x5b; 32];
    seed[..8].copy_from_slice(&sender.to_le_bytes());
    let identity = Identity::from_seed(&seed);
    let mut sessions = Sessions::new(seed);
    sessions.add_local(&identity);
    let pair = Ends { local: identity.address(), peer: to };
    let standing = Standing { incarnation: 7, ..Standing::default() };
    let _ = sessions.handle(Time::from_millis(1000), SessionInput::Connect { pair, standing });
    let outputs = std::iter::from_fn(|| sessions.poll_output());
    let payloads = outputs.filter_map(|output| match output {
        SessionOutput::Transmit { payload, .. } => Some(payload),
        _ => None,
    });
    payloads.map(|payload| frames::packet(&to, 0, 64, &payload)).collect()
}

impl Layer for Requests {
    fn input(&mut self, part: &Part, nth: u64) -> Input {
        let number = |name| part.number(KINDS, name, nth);
        let mut packets = request(number("sender"), self.0.address());
        packets.truncate(number("parts") as usize);
        for packet in &mut packets {
            packet[37] = number("message") as u8;
            if number("state") == 0 {
                packet[45..].fill(0xaa);
            }
        }
        if let Some(last) = packets.last_mut().and_then(|last| last.last_mut()) {
            *last ^= u8::from(number("state") == 2);
        }
        if let Some(first) = packets.first_mut() {
            first[45] ^= u8::from(number("state") == 3);
        }
        let frames: Vec<_> = packets.iter().map(|packet| self.0.seal(packet)).collect();
        let bytes = frames.concat();
        Input { from: 0, received: bytes.len(), bytes, count: 1 }
    }

    fn take(&mut self, input: Input) {
        self.0.take(&input.bytes, FRAME);
    }

    fn pass(&mut self, span: Duration) {
        self.0.pass(span);
    }
}
