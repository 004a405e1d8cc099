//! The target `handshake`: two nodes, and an attacker that controls the line between them.

use std::sync::LazyLock;
use std::time::Duration;

use crate::fuzz::script::{Script, damaged};
use rouse_proto::address::Address;
use rouse_proto::endpoint::Endpoint;
use rouse_proto::identity::Identity;
use rouse_proto::link::{HandshakeOutput, Handshakes, LinkConfig, Path, Session, Source, Suite};
use rouse_proto::time::Time;
use rouse_proto::wire::link::{INITIATION, MAX_HANDSHAKE_LEN};

/// The number of frames that a script can replay, the latest ones.
const MEMORY: usize = 64;

/// Flag in the first byte of a script: the nodes have a mesh key.
pub(crate) const CLOSED: u8 = 1;
/// Flag: the second node has another mesh key, or none.
pub(crate) const STRANGER: u8 = 2;
/// Flag: the first node is under load from the beginning.
pub(crate) const LOAD: u8 = 4;
/// Flag: at the end an honest handshake must succeed.
pub(crate) const AFTERWARDS: u8 = 8;

/// Step of a script: a frame of any bytes arrives at a node from any endpoint.
pub(crate) const RAW: u8 = 0;
/// A node dials the other.
pub(crate) const DIAL: u8 = 1;
/// The oldest frame on the line arrives.
pub(crate) const ARRIVE: u8 = 2;
/// One of the latest frames arrives again.
pub(crate) const REPLAY: u8 = 3;
/// The oldest frame on the line arrives damaged.
pub(crate) const DAMAGE: u8 = 4;
/// One of the latest frames arrives damaged, at either node, from any endpoint.
pub(crate) const FORGE: u8 = 5;
/// Time passes.
pub(crate) const WAIT: u8 = 6;
/// The oldest frame on the line is lost.
pub(crate) const LOSE: u8 = 7;
/// A node learns that its last session is in use.
pub(crate) const CONFIRM: u8 = 8;
const STEPS: usize = 9;

static IDENTITIES: LazyLock<[Identity; 2]> =
    LazyLock::new(|| [Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32])]);

#[derive(Clone)]
struct Flying {
    to: usize,
    frame: Vec<u8>,
}

struct HandshakeWorld {
    now: Time,
    nodes: [Handshakes; 2],
    addresses: [Address; 2],
    line: Vec<Flying>,
    /// The [`MEMORY`] latest frames.
    seen: Vec<Flying>,
    sessions: [Option<Box<Session>>; 2],
    may_meet: bool,
}

fn path(endpoint: u8) -> Path {
    let endpoint = Endpoint::new(&[endpoint]).expect("one byte is an endpoint");
    Path { netmod: 0, endpoint }
}

/// Runs a script against two nodes' handshakes.
///
/// For any frames, no answer is longer than the frame that it answers, no frame is longer than every netmod carries, and a session
/// is with the other node only. Afterwards an honest handshake succeeds.
pub fn handshake(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    let mut world = HandshakeWorld::new(flags);
    while let Some(step) = script.step() {
        world.step(step, &mut script);
    }
    if flags & AFTERWARDS != 0 && world.may_meet {
        world.meet();
    }
}

impl HandshakeWorld {
    fn new(flags: u8) -> Self {
        let suites = Suite::CHACHA;
        let key = (flags & CLOSED != 0).then_some([7; 32]);
        let other = match (flags & STRANGER != 0, key) {
            (false, key) => key,
            (true, Some(_)) => None,
            (true, None) => Some([8; 32]),
        };
        let load = if flags & LOAD != 0 { 1 } else { 50 };
        let open = LinkConfig { suites, max_answers: 8, max_dials: 8, ..LinkConfig::default() };
        let configs = [(key, load), (other, open.load)].map(|(key, load)| LinkConfig {
            mesh_key: key.map(Into::into),
            load,
            ..open.clone()
        });
        let mut seed = 1;
        let mut identities = IDENTITIES.iter();
        let nodes = configs.map(|config| {
            seed += 1;
            Handshakes::new(identities.next().expect("two of them"), config, [seed; 32])
        });
        HandshakeWorld {
            now: Time::from_millis(5000),
            nodes,
            addresses: [IDENTITIES[0].address(), IDENTITIES[1].address()],
            line: Vec::new(),
            seen: Vec::new(),
            sessions: [None, None],
            may_meet: flags & STRANGER == 0,
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step % STEPS as u8 {
            RAW => {
                let (to, from) = (script.below(2), script.u8());
                self.arrive(to, from, script.bytes());
            }
            DIAL => {
                let from = script.below(2);
                self.nodes[from].dial(self.now, path(1 - from as u8), 1200);
                self.collect(from);
            }
            ARRIVE => {
                if let Some(Flying { to, frame }) = self.next() {
                    self.arrive(to, 1 - to as u8, &frame);
                }
            }
            REPLAY => {
                if let Some(Flying { to, frame }) = self.pick(script) {
                    self.arrive(to, 1 - to as u8, &frame);
                }
            }
            DAMAGE => {
                if let Some(Flying { to, frame }) = self.next() {
                    self.arrive(to, 1 - to as u8, &damaged(script, &frame));
                }
            }
            FORGE => {
                if let Some(Flying { frame, .. }) = self.pick(script) {
                    let (to, from) = (script.below(2), script.u8());
                    self.arrive(to, from, &damaged(script, &frame));
                }
            }
            WAIT => self.wait(Duration::from_millis(script.u16().into())),
            LOSE => drop(self.next()),
            _ => {
                let node = script.below(2);
                if let Some(session) = &self.sessions[node] {
                    let index = session.local_index;
                    self.nodes[node].confirm(self.now, index);
                    self.collect(node);
                }
            }
        }
    }

    fn next(&mut self) -> Option<Flying> {
        (!self.line.is_empty()).then(|| self.line.remove(0))
    }

    fn pick(&self, script: &mut Script<'_>) -> Option<Flying> {
        let nth = usize::from(script.u8());
        (!self.seen.is_empty()).then(|| self.seen[nth % self.seen.len()].clone())
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let next = self.nodes.iter().filter_map(Handshakes::next_deadline).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            for node in 0..2 {
                self.nodes[node].handle_timeout(self.now);
                self.collect(node);
                let due = self.nodes[node].next_deadline();
                assert!(due.is_none_or(|due| due > self.now), "a deadline that does not move");
            }
        }
        self.now = end;
    }

    fn arrive(&mut self, to: usize, from: u8, frame: &[u8]) {
        // The node classifies frames before it parses them; the parser must refuse all frames that this would refuse.
        let sorted = rouse_proto::wire::link::peek(frame);
        let result =
            self.nodes[to].handle(self.now, path(from), Source::isolated(u64::from(from)), 1200, frame);
        if sorted.is_none() {
            assert!(result.is_err(), "bytes that are not a frame were accepted");
        }
        let sent = self.collect(to);
        if frame.first() == Some(&INITIATION) {
            assert!(sent <= frame.len(), "{sent} bytes in answer to {}", frame.len());
        }
        let (dials, kept, answers) = self.nodes[to].under_way();
        assert!(
            dials <= 8 && answers <= 8 && kept <= 64,
            "more handshakes in progress than the bounds allow"
        );
    }

    /// Handles the outputs of a node; returns the number of bytes that it sends.
    fn collect(&mut self, node: usize) -> usize {
        let mut sent = 0;
        while let Some(output) = self.nodes[node].poll_output() {
            match output {
                HandshakeOutput::Transmit { path, frame } => {
                    assert!(frame.len() <= MAX_HANDSHAKE_LEN);
                    sent += frame.len();
                    let flying = Flying { to: 1 - node, frame };
                    if path.endpoint.as_bytes() == [1 - node as u8] {
                        self.line.push(flying.clone());
                    }
                    if self.seen.len() >= MEMORY {
                        self.seen.remove(0);
                    }
                    self.seen.push(flying);
                }
                HandshakeOutput::Established(session) => {
                    assert!(self.may_meet, "a session across two meshes");
                    assert_eq!(session.peer, self.addresses[1 - node], "a session with another node");
                    self.sessions[node] = Some(session);
                }
                HandshakeOutput::Failed { .. } => {}
            }
        }
        sent
    }

    /// Requires that an honest handshake succeeds, with keys that match, once the attacker has left the line.
    fn meet(&mut self) {
        self.line.clear();
        self.wait(Duration::from_secs(60));
        self.line.clear();
        self.sessions = [None, None];
        self.nodes[0].dial(self.now, path(1), 1200);
        self.collect(0);
        for _ in 0..32 {
            while let Some(Flying { to, frame }) = self.next() {
                self.arrive(to, 1 - to as u8, &frame);
            }
            if self.sessions.iter().all(Option::is_some) {
                break;
            }
            self.wait(Duration::from_millis(500));
        }
        let [Some(mut first), Some(mut second)] = std::mem::take(&mut self.sessions) else {
            panic!("an honest handshake fails after the script");
        };
        for (from, to) in [(&mut first.sealer, &mut second.opener), (&mut second.sealer, &mut first.opener)] {
            let mut frame = Vec::new();
            from.seal(|out| out.extend_from_slice(b"hello"), &mut frame).expect("a new key is not worn");
            assert_eq!(to.open(&mut frame).as_deref(), Ok(&b"hello"[..]), "the keys differ");
        }
    }
}
