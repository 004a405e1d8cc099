//! Requests of every kind from clients to the daemon.

use std::time::Duration;

use crate::layers::{REQUESTS, RequestFields, SocketLayer, request};

use crate::layer::{Input, Layer, MINUTE, Subject};
use crate::measure::LATER;
use crate::meter::allocated;
use crate::pools::{CALLS, WAITING_MESSAGES};
use crate::recipe::{Gene, Kind, Part, Recipe, gene};

const ASKED: &[Gene] = &[
    gene("call", 1, &[0, 1, 2, 1000]),
    gene("a", 1, &[0, 1, 2, 3, 6, 255, u64::MAX]),
    gene("b", 1, &[0, 1, 2, 64, 1000, 4096, u32::MAX as u64, u64::MAX]),
    gene("length", 4, &[0, 1, 4, 64, 1000, 4000]),
    gene("pieces", 1, &[1, 1, 2, 16, 64]),
];

/// Pauses while memory is given back, at most.
const SETTLING: usize = 200;

/// The requests before this one are calls, which take a place until they are answered; the others are not answered.
const CALLS_END: usize = 21;
const REMOVE_NAME: usize = 15;

const KINDS: &[Kind] = &{
    let mut kinds = [const { Kind { name: "", genes: ASKED, prepares: false, pool: None } }; REQUESTS.len()];
    let mut nth = 0;
    while nth < kinds.len() {
        kinds[nth].name = REQUESTS[nth];
        if nth < CALLS_END {
            kinds[nth].pool = Some(CALLS);
        }
        nth += 1;
    }
    kinds
};

pub(crate) const SUBJECT: Subject = Subject {
    kinds: KINDS,
    make: || Box::new(Client(SocketLayer::new())),
    weight: 1,
    silence: MINUTE,
    works_in_silence: false,
    usual,
    seeds,
    places,
    // A message that was given to be sent waits until it is delivered or its time is over.
    stays: |recipe| (REQUESTS[recipe.dear.kind] == "request: submit").then_some(WAITING_MESSAGES),
};

/// One request after the other: a name that is not there is removed.
fn usual(length: usize) -> Recipe {
    let removal =
        Part::usual(KINDS, REMOVE_NAME).with(KINDS, "length", length.saturating_sub(16).max(1) as u64);
    Recipe::usual(removal.counting(KINDS, "call"))
}

/// Calls that wait for as long as their client does: for a message or for an answer that never comes.
fn places(kind: usize) -> Option<Recipe> {
    let waits = ["request: receive", "request: ping", "request: trace"].contains(&REQUESTS[kind]);
    let call = || Part::usual(KINDS, kind).counting(KINDS, "call").with(KINDS, "b", 1 << 40);
    waits.then(|| Recipe::usual(call()))
}

/// Many calls in one write.
fn seeds(kind: usize) -> Vec<Recipe> {
    let many = Part::usual(KINDS, kind).counting(KINDS, "call").with(KINDS, "pieces", 64);
    let far = Part::usual(KINDS, kind).counting(KINDS, "call").with(KINDS, "b", u64::MAX);
    vec![Recipe::usual(far), Recipe::usual(many)]
}

struct Client(SocketLayer);

/// Waits while the other threads of the daemon give back what the client held.
fn settle() {
    let mut before = allocated();
    for _ in 0..SETTLING {
        async_io::block_on(async_io::Timer::after(Duration::from_millis(5)));
        let now = allocated();
        if now >= before {
            break;
        }
        before = now;
    }
}

impl Layer for Client {
    fn input(&mut self, part: &Part, nth: u64) -> Input {
        let pieces = part.number(KINDS, "pieces", nth).clamp(1, 128);
        let mut bytes = Vec::new();
        for piece in 0..pieces {
            let nth = nth.wrapping_mul(pieces).wrapping_add(piece);
            let number = |name| part.number(KINDS, name, nth);
            let asked = RequestFields {
                id: number("call"),
                a: number("a"),
                b: number("b"),
                length: number("length") as usize % 5000,
            };
            bytes.extend(request(part.kind, asked));
        }
        Input { from: 0, received: bytes.len(), bytes, count: pieces }
    }

    fn take(&mut self, input: Input) {
        self.0.send(&input.bytes);
    }

    /// The client reads what is answered later. A silent one may stay for as long as it likes; one that has gone leaves nothing.
    fn pass(&mut self, span: Duration) {
        if span > Duration::from_secs(1) {
            self.0.hang_up();
            settle();
        } else if span >= LATER {
            self.0.read_for(span);
        }
    }
}
