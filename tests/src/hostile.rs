//! A hostile node: a link over a real socket that is kept alive as any other, and that sends arbitrary records and frames.
//!
//! [`HostileLink`] is one link of it. Each attack is one function, listed in [`ATTACKS`]; `cargo run -p rouse-tests --bin hostile`
//! runs one of them, and the tests run them against daemons and check the effect.

mod combined;
mod frames;
mod handshakes;
mod link;
mod random;
mod routes;
mod target;

use anyhow::{Context, Result};

pub use link::HostileLink;
pub use random::Random;
pub use routes::BlackHole;
pub use target::{Report, Target};

/// One attack.
#[derive(Clone, Copy)]
pub struct Attack {
    /// The name on the command line.
    pub name: &'static str,
    /// A description for the command line.
    pub about: &'static str,
    run: fn(&Target) -> Result<Report>,
}

impl Attack {
    /// The attack of this name.
    pub fn named(name: &str) -> Option<&'static Attack> {
        ATTACKS.iter().find(|attack| attack.name == name)
    }

    /// Runs the attack to its end.
    ///
    /// # Errors
    /// When the victim does not answer, or when the attack needs a second node and has none.
    pub fn run(&self, target: &Target) -> Result<Report> {
        (self.run)(target).with_context(|| format!("{} against {}", self.name, target.to))
    }
}

const fn attack(name: &'static str, run: fn(&Target) -> Result<Report>, about: &'static str) -> Attack {
    Attack { name, about, run }
}

/// Every attack.
pub const ATTACKS: &[Attack] = &[
    attack("lie-metric", routes::forge_metric, "claims impossible distances, and hops without their proof"),
    attack("lie-origin", routes::forge_origin, "announces other nodes with fields that they did not sign"),
    attack("replay-announce", routes::replay_announce, "sends old announces of other origins again"),
    attack(
        "replay-frames",
        frames::replay,
        "sends sealed frames again, from another address and in a later session",
    ),
    attack("replay-handshake", handshakes::replay, "sends the frames of a handshake again"),
    attack("invent", routes::invent, "announces --count identities, all duly signed"),
    attack("flap", routes::flap, "announces and withdraws a thousand destinations without end"),
    attack("half-open", handshakes::half_open, "begins --count handshakes and finishes none"),
    attack("crowd", handshakes::crowd, "occupies as many neighbour slots as it gets"),
    attack(
        "malformed-control",
        frames::control,
        "sends control messages of every kind, damaged in every way",
    ),
    attack("malformed-packets", frames::packets, "sends packets and plaintexts that are malformed"),
    attack(
        "false-proofs",
        routes::false_proofs,
        "claims to be nearer without end, with proofs that are costly to refute",
    ),
    attack("want", routes::want, "requests announces without end"),
    attack("offer", routes::offer, "offers unknown destinations without end"),
    attack("black-hole", routes::black_hole, "offers a route to --also, and drops the packets"),
    attack("slow-loris", frames::slow_loris, "leaves gaps in the control stream and acknowledges nothing"),
    attack("huge-stream", frames::huge_stream, "sends as much as the control channel takes"),
    attack("seq-req", routes::seq_req, "requests newer sequence numbers without end"),
    attack("your-highest", routes::your_highest, "reports announces to origins that they never made"),
    attack("reflect", frames::reflect, "pings and traces in the name of another node"),
    attack(
        "amplify",
        handshakes::amplify,
        "sends every input that a stranger may send, and counts the bytes that come back",
    ),
    attack(
        "everything",
        combined::everything,
        "runs every attack of a member at once, against --to and through it --also",
    ),
    attack("goodbye", frames::goodbye, "sends goodbyes on links of other nodes"),
];
